"""What a run of the nightly flow has seen so far, and how each evaluation that ended is shown.

Owns no order: the flow and jobs.py do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from nightboard.flows.terminal import Terminal
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.collect import Collected, collect_attempt
from nightboard.tasks.records import Plan
from nightboard.tasks.settle import Settled, utc_now


@dataclass
class Night:
    """What a run of the flow has seen so far."""

    board: OpenBoard
    ui: Terminal
    started_at: datetime = field(default_factory=utc_now)
    settled: Settled = field(default_factory=lambda: Settled((), (), ()))
    collected: list[Collected] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def report_problems(self, problems: Iterable[str]) -> None:
        """Keep and show what an operator should look at, each thing once."""
        for problem in problems:
            if problem not in self.problems:
                self.problems.append(problem)
                self.ui.warn(problem)

    def collect(self, settled: Settled) -> None:
        """Take over what a look at the store has found; each ended evaluation is a task run of its own."""
        self.settled = settled
        self.report_problems(settled.problems)
        for each in settled.collected:
            self.collected.append(each)
            show_outcome(each, self.ui)

    def count_done(self, plan: Plan) -> int:
        """How many evaluations of the plan have ended."""
        return len({each.evaluation_id for each in self.collected} & {e.evaluation_id for e in plan.evaluations})

    def collect_elsewhere(self, plan: Plan, not_started: set[str]) -> None:
        """Take over evaluations of our plan that another flow launched or collected first."""
        seen = {each.evaluation_id for each in self.collected} | self.settled.in_flight | not_started
        for shard in (shard for job in plan.jobs for shard in job.shards):
            folder = self.board.store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt)
            if shard.evaluation_id not in seen and (folder / "outcome.json").exists():
                self.collected.append(collect_attempt(self.board.store, folder, utc_now()))
                show_outcome(self.collected[-1], self.ui)


def show_outcome(each: Collected, ui: Terminal) -> None:
    """One task run an evaluation, completed or failed as the evaluation is, and a line for the operator."""
    name = f"{each.model_id}@{each.revision[:7]} {each.suite}"

    @task(name="evaluation", task_run_name=name.replace("{", "").replace("}", ""), cache_policy=NO_CACHE)
    def evaluation() -> object:
        if each.state == "completed":
            return Completed(message="scored")
        return Failed(message=f"{each.state}: {each.reason}")

    evaluation(return_state=True)
    if each.state == "completed":
        ui.say(f"  done    {name}", style="green")
        return
    ui.warn(f"{each.state} {name}: {each.reason}")
    if each.has_started:
        ui.say(f"  log: {each.log}")
    for line in each.log_tail:
        ui.say(f"    | {line}", style="dim")
