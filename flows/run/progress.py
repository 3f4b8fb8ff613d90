"""Shows evaluations while they run: bars on a terminal, a progress artifact in the history.

Reads what the nodes write; changes nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.progress import TaskID

from nightboard.flows.display.console import Terminal, escape
from nightboard.flows.run.state import RunState
from nightboard.tasks.evaluation.attempt import Progress
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.runs.reconcile import OpenRuns
from nightboard.tasks.store.layout import PROGRESS_FILE
from nightboard.tasks.store.records import PlannedAttempt, RecordError

# More bars than fit on a screen tell nobody anything.
MOST_BARS = 20


class ProgressDisplay:
    """A bar for the run, with jobs that wait and run, and one for each evaluation under way."""

    def __init__(self, plan: Plan, ui: Terminal) -> None:
        self._key = f"{re.sub('[^a-z0-9]+', '-', plan.board)}-evaluations"
        self._bars = ui.progress()
        self._running: dict[str, TaskID] = {}
        self._shown_percent = -1.0

    def __enter__(self) -> Self:
        self._bars.start()
        self._night = self._bars.add_task("evaluations", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, run: RunState, waiting: Sequence[PlannedAttempt]) -> None:
        """Show the state of things; `waiting` are shards that are not launched yet."""
        open_runs, total = run.open_runs, len(run.planned)
        under_way = open_runs.in_flight | {planned.evaluation_id for planned in waiting}
        done = len(run.planned.keys() - under_way)
        text = _describe(open_runs, waiting)
        self._bars.update(self._night, description=f"evaluations{text}", completed=done, total=total)
        shards: dict[str, list[OpenAttempt]] = defaultdict(list)
        for each in open_runs.open:
            shards[each.planned.evaluation_id].append(each)
        for gone in set(self._running) - shards.keys():
            self._bars.remove_task(self._running.pop(gone))
        left: dict[str, int] = defaultdict(int)
        for planned in waiting:
            left[planned.evaluation_id] += len(planned.shard.benchmarks)
        for key, found in shards.items():
            self._show(key, found, run, left[key])
        self._publish(run, 100.0 * done / total if total else 100.0)
        run.tell_news()

    def _show(self, key: str, shards: Sequence[OpenAttempt], run: RunState, waiting: int) -> None:
        """The benchmarks of all shards of an evaluation; `waiting` are those that are not launched yet."""
        progress = [found for each in shards if (found := _read_progress(each))]
        if not progress or (key not in self._running and len(self._running) >= MOST_BARS):
            return  # it has not begun yet
        evaluation = run.planned.get(key)
        name = f"{evaluation.model_id} {evaluation.suite}" if evaluation else key
        now = ", ".join(dict.fromkeys(each.benchmark or "starting" for each in progress))
        text = f"  {escape(name)}: {escape(now)}"
        under_way = sum(len(each.planned.shard.benchmarks) for each in shards)
        total = sum(len(shard.benchmarks) for shard in run.shards[key].shards) if key in run.shards else under_way
        if key not in self._running:
            self._running[key] = self._bars.add_task(text, total=total)
        finished = total - under_way - waiting + sum(len(each.finished) for each in progress)
        self._bars.update(self._running[key], description=text, completed=finished, total=total)

    def _publish(self, run: RunState, percent: float) -> None:
        if percent != self._shown_percent:
            self._shown_percent = percent
            run.history.show_progress(self._key, percent, "Evaluations of tonight")


def _describe(open_runs: OpenRuns, waiting: Sequence[PlannedAttempt]) -> str:
    """Jobs by the cluster's word, in small letters, and shards that are still to be launched."""
    states = {(each.launch_id, each.job_index): each.report.state for each in open_runs.open if each.report}
    counts: dict[str, int] = defaultdict(int)
    for state in states.values():
        counts[state.lower()] += 1
    words = [f"{number} {state}" for state, number in sorted(counts.items())]
    words += [f"{len(waiting)} to launch"] if waiting else []
    return f" ({', '.join(words)})" if words else ""


def _read_progress(each: OpenAttempt) -> Progress | None:
    try:
        return Progress.read(each.folder / PROGRESS_FILE)
    except RecordError:
        return None
