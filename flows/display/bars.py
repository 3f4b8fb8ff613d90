"""Draws progress bars with rich. Not in console.py: importing them takes time, and most commands draw none."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class _LeftColumn(ProgressColumn):
    """How long a task still takes, where its field `left` says so."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("left", ""), style="dim")


def make_bars(console: Console, *, is_shown: bool) -> Progress:
    """Bars that disappear when the work is done. A task's field `left` says how long it still takes."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _LeftColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not is_shown)
