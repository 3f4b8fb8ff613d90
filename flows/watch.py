"""Shows evaluations while they run: bars on a terminal, a progress artifact in Prefect.

Reads what the nodes write; changes nothing.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.markup import escape
from rich.progress import TaskID

from nightboard.flows.terminal import Terminal
from nightboard.tasks.attempt import Progress
from nightboard.tasks.records import Evaluation, Plan, RecordError
from nightboard.tasks.settle import OpenShard, Settled


class Watch:
    """A bar for the night and one for each evaluation under way."""

    def __init__(self, plan: Plan, ui: Terminal) -> None:
        self._key = f"{re.sub('[^a-z0-9]+', '-', plan.board)}-evaluations"
        self._evaluations: dict[str, Evaluation] = {each.evaluation_id: each for each in plan.evaluations}
        self._total = len(plan.evaluations)
        self._bars = ui.progress()
        self._running: dict[str, TaskID] = {}
        self._artifact: UUID | None = None
        self._shown_percent = -1.0

    def __enter__(self) -> Self:
        self._bars.start()
        self._night = self._bars.add_task("evaluations", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, settled: Settled, done: int) -> None:
        """Show the state of things; `done` counts the plan's evaluations that have ended."""
        self._bars.update(self._night, completed=done)
        for gone in set(self._running) - settled.in_flight:
            self._bars.remove_task(self._running.pop(gone))
        for each in settled.open:
            self._show(each)
        self._publish(100.0 * done / self._total if self._total else 100.0)

    def _show(self, each: OpenShard) -> None:
        try:
            progress = Progress.read(each.folder / "progress.json")
        except RecordError:
            return  # it has not begun yet
        key = each.shard.evaluation_id
        evaluation = self._evaluations.get(key)
        name = f"{evaluation.model_id} {evaluation.suite}" if evaluation else key
        text = f"  {escape(name)}: {progress.benchmark or 'starting'}"
        if key not in self._running:
            self._running[key] = self._bars.add_task(text, total=progress.total)
        self._bars.update(self._running[key], description=text, completed=len(progress.finished))

    def _publish(self, percent: float) -> None:
        if percent == self._shown_percent:
            return
        self._shown_percent = percent
        if self._artifact is None:
            created = create_progress_artifact(percent, key=self._key, description="Evaluations of tonight")
            # Without an event loop it is the id itself; the type says both.
            assert isinstance(created, UUID)
            self._artifact = created
        else:
            update_progress_artifact(self._artifact, percent)
