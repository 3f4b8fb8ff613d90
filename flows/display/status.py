"""Shows what is running: a table for people, every field for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from nightboard.flows.display.console import cells_table, duration, make_console, print_table
from nightboard.flows.display.formats import Format
from nightboard.flows.display.rows import print_result
from nightboard.tasks.output_file import OutputFile
from nightboard.tasks.runs.status import Status
from nightboard.warehouse.reader.questions import Result


def print_status(rows: Sequence[Status], form: Format, output: OutputFile | None) -> None:
    """What is running or waiting: a table for people, every field for machines."""
    if form is not Format.table or output is not None:
        names = [field.name for field in fields(Status)]
        print_result(Result(names, [tuple(getattr(row, name) for name in names) for row in rows]), form, output)
        return
    titles = ["evaluation", "model", "revision", "suite", "shard", "state", "job", "node", "age", "benchmark", "left"]
    cells = [
        (
            row.evaluation_id[:8], row.model_id, row.revision[:7], row.suite,
            row.shard + (f" (try {row.attempt})" if row.attempt > 1 else ""), row.state, row.job_id or "",
            row.node or "", duration(row.age_s), _tell_progress(row),
            "" if row.left_s is None else f"~{duration(row.left_s)}",
        )
        for row in rows
    ]  # fmt: skip
    console = make_console()
    print_table(console, cells_table(titles, cells, right=["age", "left"]))


def _tell_progress(row: Status) -> str:
    if row.benchmark is None:
        return "" if row.state != "RUNNING" else "finishing" if row.finished else "loading"
    return f"{row.benchmark} ({row.finished + 1} of {row.total})" if row.total > 1 else row.benchmark
