"""What a run of the nightly flow has seen so far, and how each evaluation that ended is shown.

Owns no order: the flow and jobs.py do.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from nightboard.flows.history import NO_HISTORY, History
from nightboard.flows.terminal import Terminal
from nightboard.profiles.models import Ending
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.collect import Collected, collect_attempt
from nightboard.tasks.records import Evaluation, Parts, Plan
from nightboard.tasks.settle import OpenShard, Settled, utc_now

# More lines at once than these are told as a number.
MOST_LINES = 5


@dataclass
class Night:
    """What a run of the flow has seen so far."""

    board: OpenBoard
    ui: Terminal
    history: History = NO_HISTORY
    started_at: datetime = field(default_factory=utc_now)
    settled: Settled = field(default_factory=lambda: Settled((), (), ()))
    collected: list[Collected] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_cluster_away: bool = False
    planned: dict[str, Evaluation] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)
    first_attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    fetched: set[tuple[str, str]] = field(default_factory=set)

    def report_problems(self, problems: Iterable[str]) -> None:
        """Keep and show what an operator should look at, each thing once."""
        for problem in problems:
            if problem not in self.problems:
                self.problems.append(problem)
                self.ui.warn(problem)

    def tell_news(self) -> None:
        """Say what has happened to the history, which is no trouble of the night itself."""
        for text in self.history.take_news():
            self.ui.warn(text)

    def collect(self, settled: Settled) -> None:
        """Take over what a look at the store has found; each evaluation that ended is a task run of its own."""
        # Where nothing was asked, nothing is known.
        if settled.is_cluster_away or any(each.report for each in settled.open):
            self.tell_cluster(is_away=settled.is_cluster_away)
        self.settled = settled
        self.report_problems(settled.problems)
        self.collected += settled.collected
        # A node that fails takes many with it; what is tried again is told in few words.
        interrupted = [each for each in settled.collected if self._is_tried_again(each)]
        brief = {id(each) for each in interrupted}
        for each in settled.collected:
            show_outcome(each, self, is_brief=id(each) in brief, is_told=len(interrupted) <= MOST_LINES)
        if len(interrupted) > MOST_LINES:
            counts = Counter(each.state for each in interrupted)
            self.ui.warn(f"{_tell_counts(counts)}; what may be tried again tonight is.")

    def _is_tried_again(self, each: Collected) -> bool:
        if each.state == "completed":
            return False
        ending: Ending = each.state  # type: ignore[assignment]
        return self.board.bundle.cluster.retry(ending).tonight

    def see_open(self, opened: Sequence[OpenShard]) -> None:
        """Take over what is under way after something was launched."""
        self.settled = replace(self.settled, open=tuple(opened))

    def tell_cluster(self, *, is_away: bool) -> None:
        """Say once that the cluster does not answer, and once that it does again."""
        if is_away and not self.is_cluster_away:
            self.ui.warn("The cluster does not answer. Jobs that run go on; waiting for it ...")
        if self.is_cluster_away and not is_away:
            self.ui.say("The cluster answers again.")
        self.is_cluster_away = is_away

    def add_plan(self, plan: Plan) -> None:
        """Remember what this night means to do; it may plan more than once."""
        self.planned |= {each.evaluation_id: each for each in plan.evaluations}
        self.parts |= {each.evaluation_id: each for each in plan.parts}
        for shard in (shard for job in plan.jobs for shard in job.shards):
            self.first_attempts.setdefault((shard.evaluation_id, shard.shard), shard.attempt)

    def collect_elsewhere(self, not_started: set[str]) -> None:
        """Take over attempts at our plan's shards that another flow launched or collected first."""
        seen = {(each.evaluation_id, each.shard, each.attempt) for each in self.collected}
        under_way = self.settled.in_flight | not_started
        for (evaluation_id, shard), first in self.first_attempts.items():
            for attempt in itertools.count(first) if evaluation_id not in under_way else ():
                folder = self.board.store.attempt_dir(evaluation_id, shard, attempt)
                if not (folder / "outcome.json").exists():
                    break
                if (evaluation_id, shard, attempt) not in seen:
                    self.collected.append(collect_attempt(self.board.store, folder, utc_now()))
                    show_outcome(self.collected[-1], self)


def show_outcome(each: Collected, night: Night, *, is_brief: bool = False, is_told: bool = True) -> None:
    """A task run for an evaluation that is scored and for an attempt that is not completed, and lines for the operator.

    A shard of an evaluation that goes on is not worth a line: its bar shows it. `is_brief`: it is tried again, so its
    log is not; `is_told`: not even in one line, where there are many.
    """
    if each.state == "completed" and not each.is_scored:
        return
    name = f"{each.model_id}@{each.revision[:7]} {each.suite}"
    name += "" if each.shard == "all" or each.is_scored else f" {each.shard}"

    night.history.add_outcome(name, None if each.is_scored else f"{each.state}: {each.reason}")
    ui = night.ui
    if each.is_scored:
        ui.say(f"  done    {name}", style="green")
    elif is_told or not is_brief:
        ui.warn(f"{each.state} {name}: {each.reason}")
    if each.state == "completed" or is_brief:
        return
    if each.has_started:
        ui.say(f"  log: {each.log}")
    for line in each.log_tail:
        ui.say(f"    | {line}", style="dim")


def _tell_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} attempts {state.replace('_', ' ')}" for state, number in sorted(counts.items()))
