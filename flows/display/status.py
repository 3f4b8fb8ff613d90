"""Shows what is running: a table for people, every field for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from nightboard.flows.display.console import duration, make_console
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.rows import print_result
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.runs.status import Status
from nightboard.warehouse.reader.result import Result

if TYPE_CHECKING:
    from nightboard.tasks.output_file import OutputFile

# The first to be shown where a terminal is narrow.
TELLING = ("model", "state", "left", "job", "benchmark", "age", "suite", "shard", "node")


def print_status(rows: Sequence[Status], form: Format, output: OutputFile | None) -> None:
    """Print running and waiting attempts: a table for people, every field for machines."""
    if form is not Format.table or output is not None:
        names = [field.name for field in fields(Status)]
        print_result(Result(names, [tuple(getattr(row, name) for name in names) for row in rows]), form, output)
        return
    titles = ["evaluation", "model", "revision", "suite", "shard", "state", "job", "node", "age", "benchmark", "left"]
    cells = [
        (
            row.evaluation_id[:8], row.model_id, row.revision[:7], row.suite,
            row.shard + (f" (try {row.attempt})" if row.attempt > 1 else ""), row.state, row.job_id or "",
            row.node or "", duration(row.age_s), _describe_progress(row),
            "" if row.left_s is None else f"~{duration(row.left_s)}",
        )
        for row in rows
    ]  # fmt: skip
    print_table(make_console(), cells_table(titles, cells, right=["age", "left"]), first=TELLING)


def _describe_progress(row: Status) -> str:
    if row.benchmark is None:
        return "" if row.state != "RUNNING" else "finishing" if row.finished else "loading"
    return f"{row.benchmark} ({row.finished + 1} of {row.total})" if row.total > 1 else row.benchmark
