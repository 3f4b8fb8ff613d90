"""Shows evaluations while they run: bars and an estimate of the end on a terminal, a progress artifact in the history.

Reads what the nodes write; changes nothing.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from types import TracebackType
from typing import Self

from rich.progress import TaskID

from nightboard.flows.display.console import Terminal, clean, duration
from nightboard.flows.run.state import RunState
from nightboard.flows.run.steps import show_news
from nightboard.flows.run.time_left import TimeLeft
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.open_runs import OpenAttempt, OpenRuns
from nightboard.tasks.runs.status import read_progress
from nightboard.tasks.store.records import Job, PlannedAttempt

# More bars do not fit on a screen.
MOST_BARS = 20


class ProgressDisplay:
    """A bar for the run, with jobs that wait and run, and one for each evaluation that runs."""

    def __init__(self, plan: Plan, ui: Terminal) -> None:
        self._key = f"{re.sub('[^a-z0-9]+', '-', plan.board)}-evaluations"
        self._bars = ui.progress()
        self._running: dict[str, TaskID] = {}
        self._time_left = TimeLeft()
        self._shown_percent = -1.0

    def __enter__(self) -> Self:
        self._bars.start()
        self._total = self._bars.add_task("evaluations", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, run: RunState, queue: Sequence[Job]) -> None:
        """Show the state of things; `queue` are jobs that are not launched yet."""
        open_runs, total = run.open_runs, len(run.planned)
        waiting = [planned for job in queue for planned in job.attempts]
        unfinished = open_runs.in_flight | {planned.evaluation_id for planned in waiting}
        n_done = len(run.planned.keys() - unfinished)
        text, left = f"evaluations{_describe(open_runs, waiting)}", self._estimate_left(run, queue)
        self._bars.update(self._total, description=text, completed=n_done, total=total, left=left)
        shards: dict[str, list[OpenAttempt]] = defaultdict(list)
        for attempt in open_runs.open:
            shards[attempt.planned.evaluation_id].append(attempt)
        for ended in set(self._running) - shards.keys():
            self._bars.remove_task(self._running.pop(ended))
        left_benchmarks: dict[str, int] = defaultdict(int)
        for planned in waiting:
            left_benchmarks[planned.evaluation_id] += len(planned.shard.benchmarks)
        for key, opened in shards.items():
            self._show(key, opened, run, left_benchmarks[key])
        self._publish(run, 100.0 * n_done / total if total else 100.0)
        show_news(run)

    def _estimate_left(self, run: RunState, queue: Sequence[Job]) -> str:
        """`~12 min left`, or nothing where no estimate makes sense."""
        running: dict[Hashable, float] = {}
        waiting: list[float] = [job.estimate_s for job in queue]
        busy = set()
        for attempt in run.open_runs.open:
            job = (attempt.launch_id, attempt.job_index)
            # The shards of a job run one after the other.
            if attempt.report and attempt.report.state == "RUNNING" and job not in busy:
                busy.add(job)
                running[_name(attempt.planned)] = attempt.planned.estimate_s
            else:
                waiting.append(attempt.planned.estimate_s)
        ends = (each for each in run.collected if each.state == "completed")
        completed: set[Hashable] = {(each.evaluation_id, each.shard, each.attempt) for each in ends}
        left_s = self._time_left.estimate(time.monotonic(), running, completed, waiting)
        return f"~{duration(left_s)} left" if left_s else ""

    def _show(self, key: str, shards: Sequence[OpenAttempt], run: RunState, waiting: int) -> None:
        """The benchmarks of all shards of an evaluation; `waiting` are those that are not launched yet."""
        progress = [read for attempt in shards if (read := read_progress(attempt.folder))]
        if not progress or (key not in self._running and len(self._running) >= MOST_BARS):
            return  # it has not begun yet
        evaluation = run.planned.get(key)
        name = f"{evaluation.model_id} {evaluation.suite}" if evaluation else key
        now = ", ".join(dict.fromkeys(each.benchmark or "finishing" for each in progress))
        text = clean(f"  {name}: {now}")
        n_open = sum(len(attempt.planned.shard.benchmarks) for attempt in shards)
        total = sum(len(shard.benchmarks) for shard in run.shards[key].shards) if key in run.shards else n_open
        if key not in self._running:
            self._running[key] = self._bars.add_task(text, total=total)
        finished = total - n_open - waiting + sum(len(each.finished) for each in progress)
        self._bars.update(self._running[key], description=text, completed=finished, total=total)

    def _publish(self, run: RunState, percent: float) -> None:
        if percent != self._shown_percent:
            self._shown_percent = percent
            run.history.show_progress(self._key, percent, "Evaluations of this run")


def _describe(open_runs: OpenRuns, waiting: Sequence[PlannedAttempt]) -> str:
    """Jobs by the cluster's word, in small letters, and shards that are still to be launched."""
    states = {(each.launch_id, each.job_index): each.report.state for each in open_runs.open if each.report}
    counts: dict[str, int] = defaultdict(int)
    for state in states.values():
        counts[state.lower()] += 1
    words = [f"{number} {state}" for state, number in sorted(counts.items())]
    words += [f"{len(waiting)} to launch"] if waiting else []
    return f" ({', '.join(words)})" if words else ""


def _name(planned: PlannedAttempt) -> tuple[str, str, int]:
    return planned.evaluation_id, planned.shard.name, planned.number
