"""What a run of the nightly flow has seen so far, and how each evaluation that ended is shown.

Owns no order: the flow and jobs.py do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from nightboard.flows.terminal import Terminal
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.collect import Collected, collect_attempt
from nightboard.tasks.records import Evaluation, Plan
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
    planned: dict[str, Evaluation] = field(default_factory=dict)
    attempts: dict[Path, None] = field(default_factory=dict)

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

    def add_plan(self, plan: Plan) -> None:
        """Remember what this night means to do; it may plan more than once."""
        self.planned |= {each.evaluation_id: each for each in plan.evaluations}
        shards = (shard for job in plan.jobs for shard in job.shards)
        self.attempts |= dict.fromkeys(
            self.board.store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt) for shard in shards
        )

    def collect_elsewhere(self, not_started: set[str]) -> None:
        """Take over evaluations of our plan that another flow launched or collected first."""
        seen = {each.evaluation_id for each in self.collected} | self.settled.in_flight | not_started
        for folder in self.attempts:
            if folder.parents[1].name not in seen and (folder / "outcome.json").exists():
                self.collected.append(collect_attempt(self.board.store, folder, utc_now()))
                show_outcome(self.collected[-1], self.ui)


def show_outcome(each: Collected, ui: Terminal) -> None:
    """One task run an attempt, completed or failed as it is, and a line for the operator."""
    name = f"{each.model_id}@{each.revision[:7]} {each.suite}{'' if each.shard == 'all' else f' {each.shard}'}"

    @task(name="evaluation", task_run_name=name.replace("{", "").replace("}", ""), cache_policy=NO_CACHE)
    def evaluation() -> object:
        if each.state == "completed":
            return Completed(message="scored")
        return Failed(message=f"{each.state}: {each.reason}")

    evaluation(return_state=True)
    if each.is_scored:
        ui.say(f"  done    {name}", style="green")
        return
    if each.state == "completed":
        ui.say(f"  part    {name}", style="dim")
        return
    ui.warn(f"{each.state} {name}: {each.reason}")
    if each.has_started:
        ui.say(f"  log: {each.log}")
    for line in each.log_tail:
        ui.say(f"    | {line}", style="dim")
