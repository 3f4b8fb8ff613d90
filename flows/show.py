"""Shows rows: as a table on a terminal, and in the formats that machines read.

Owns formats and rounding. Asks the warehouse; decides nothing about scores.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nightboard.flows.terminal import Terminal, cells_table, count, duration, make_console
from nightboard.tasks.import_board import BoardImport
from nightboard.tasks.import_results import ResultsFile, ResultsImport
from nightboard.tasks.status import Status
from nightboard.tasks.store import Store
from nightboard.warehouse.query import NoBuildError, Result, connect, rank

# Columns of a ranking that a reader needs first; the warehouse has the rest.
RANK_TITLES = {
    "rank": "#",
    "model_id": "model",
    "chat_template": "chat",
    "params_b": "params (B)",
    "license": "licence",
    "identical_to": "identical to",
}
# The first to go where a terminal is narrow.
RANK_LESS_NEEDED = ("license", "identical_to", "params_b", "precision", "chat_template", "revision")


# More of them would push the summary off the screen.
SHOWN_DISAGREEMENTS = 20


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    parquet = "parquet"


def print_status(rows: Sequence[Status], form: Format, output: Path | None) -> None:
    """What is under way: a table for people, every field for machines."""
    if form is not Format.table or output is not None:
        names = [field.name for field in fields(Status)]
        print_result(Result(names, [tuple(getattr(row, name) for name in names) for row in rows]), form, output)
        return
    titles = ["evaluation", "model", "revision", "suite", "shard", "state", "job", "node", "age", "benchmark", "left"]
    cells = [
        (
            row.evaluation_id[:8], row.model_id, row.revision[:7], row.suite,
            row.shard + (f" (try {row.attempt})" if row.attempt > 1 else ""), row.state, row.job_id or "",
            row.node or "", duration(row.age_s), _tell_progress(row), f"~{duration(row.left_s)}",
        )
        for row in rows
    ]  # fmt: skip
    console, table = make_console(), cells_table(titles, cells, right=["age", "left"])
    console.width = max(console.width, _measure(console, table))
    console.print(table)


def _tell_progress(row: Status) -> str:
    if row.benchmark is None:
        return "starting" if row.state == "RUNNING" else ""
    return f"{row.benchmark} ({row.finished + 1} of {row.total})" if row.total > 1 else row.benchmark


def rank_records(store: Store, suite: str) -> list[dict[str, Any]]:
    """A suite's ranking with scores rounded to 2 decimals, as a Prefect table artifact wants it; empty without one."""
    try:
        with connect(store.warehouse) as connection:
            columns, rows = rank(connection, suite=suite)
    except NoBuildError:
        return []
    return [
        dict(zip(columns, (to_text(*cell) for cell in zip(columns, row, strict=True)), strict=True)) for row in rows
    ]


def print_ranking(result: Result, heading: str, beside: Sequence[tuple[str, int]] = ()) -> None:
    """A leaderboard for people: the columns that say something, as many as the terminal has room for.

    `beside`: other eras of the suite with the number of their rows; they do not compare with those that are shown.
    """
    _print_ranking(result, heading)
    if beside:
        others = ", ".join(f"{era} ({count(rows, 'row')})" for era, rows in beside)
        make_console().print(f"[dim]Not comparable, so ranked apart: era {escape(others)}. Show one with --era.[/dim]")


def _print_ranking(result: Result, heading: str) -> None:
    columns, rows = result
    eras = {row[columns.index("era")] for row in rows}
    hidden = {"era"} | {c for i, c in enumerate(columns) if c == "identical_to" and not any(row[i] for row in rows)}
    console = make_console()
    console.print(f"[bold]{escape(heading)}[/bold]" + (f" (era {escape(', '.join(eras))})" if rows else ""))
    if not rows:
        console.print("  nothing complete to rank yet")
        return
    table = _table(_without(result, hidden), RANK_TITLES)
    left_out = []
    for column in (each for each in RANK_LESS_NEEDED if each in columns and each not in hidden):
        if _measure(console, table) <= console.width:
            break
        left_out.append(RANK_TITLES.get(column, column))
        table = _table(_without(result, hidden := hidden | {column}), RANK_TITLES)
    if left_out:
        names = ", ".join(left_out)
        console.print(f"[dim]Left out for want of width: {names}. A wider terminal or --format csv has them.[/dim]")
    # What is still too wide runs over: a cut number would be a wrong number.
    console.width = max(console.width, _measure(console, table))
    console.print(table)


def _measure(console: Console, table: Table) -> int:
    """Columns of text that the table takes when nothing is folded."""
    return console.measure(table, options=console.options.update(max_width=100_000)).maximum


def _without(result: Result, hidden: set[str]) -> Result:
    kept = [index for index, column in enumerate(result.columns) if column not in hidden]
    return Result([result.columns[i] for i in kept], [tuple(row[i] for i in kept) for row in result.rows])


def print_board_import(done: BoardImport, disagreements: Result, form: Format) -> None:
    """What became of an imported board: what was left out, where its scores disagree with each other, and a summary."""
    if form is Format.json:
        report = asdict(done) | {"disagreements": _records(disagreements)}
        sys.stdout.write(json.dumps(report, indent=1, default=_plain, ensure_ascii=False) + "\n")
        return
    if form is not Format.table:
        print_result(disagreements, form)
        return
    ui = Terminal()
    for each in done.left_out:
        ui.warn(f"left out: {each.where}: {each.reason}")
    if disagreements.rows:
        ui.step("Scores that differ from what their raw scores give; the computed ones are ranked")
        print_result(Result(disagreements.columns, disagreements.rows[:SHOWN_DISAGREEMENTS]), form)
        more = len(disagreements.rows) - SHOWN_DISAGREEMENTS
        if more > 0:
            ui.say(f"... and {more:,} more; --format json or csv has them all.")
    ui.say(
        f"{done.file}: {count(done.n_imported, 'row')} as {done.source} in suite {done.suite}, era {done.era}"
        f"{'' if done.is_new else ' (all of them were here before)'}; {done.n_without_sha} without a commit, "
        f"{len(done.left_out)} left out, {count(len(disagreements.rows), 'score')} in disagreement."
    )


def print_results_import(done: ResultsImport, form: Format) -> None:
    """What became of imported outputs of lm-eval: by model, what was left out and why, and a summary."""
    if form is Format.json:
        sys.stdout.write(json.dumps(asdict(done), indent=1, ensure_ascii=False) + "\n")
        return
    if form is not Format.table:
        names = [each.name for each in fields(ResultsFile)]
        print_result(Result(names, [tuple(getattr(each, name) for name in names) for each in done.imported]), form)
        return
    ui = Terminal()
    if done.imported:
        by_model: dict[str, list[ResultsFile]] = {}
        for each in done.imported:
            by_model.setdefault(each.model_id, []).append(each)
        titles = ["model", "results files", "new", "scores", "samples files"]
        rows = [
            (
                model, str(len(files)), str(sum(each.is_new for each in files)),
                f"{sum(each.n_scores for each in files):,}", str(sum(each.n_samples_files for each in files)),
            )
            for model, files in sorted(by_model.items())
        ]  # fmt: skip
        ui.console.print(cells_table(titles, rows, right=titles[1:]))
    for left in done.left_out:
        ui.warn(f"left out: {left.where}: {left.reason}")
    distinct = len({each.evaluation_id for each in done.imported})
    ui.say(
        f"{count(len(done.imported), 'results file')} with {distinct} different contents, "
        f"{sum(each.is_new for each in done.imported)} of them new; "
        f"{count(sum(each.n_samples_files for each in done.imported), 'samples file')}; {len(done.left_out)} left out."
    )


def print_result(result: Result, form: Format, output: Path | None = None) -> None:
    """Print rows to the terminal, or write them to `output`. Parquet goes to a file or a pipe only."""
    if form is Format.table and output is None:
        table, console = _table(result, {}), make_console()
        # What is too wide for the terminal runs over: a cut number would be a wrong number.
        narrowest = console.measure(table, options=console.options.update(max_width=100_000)).minimum
        console.width = max(console.width, narrowest)
        console.print(table)
        return
    data = to_bytes(result, form)
    if output is not None:
        output.write_bytes(data)
    elif form is Format.parquet and sys.stdout.isatty():
        raise ValueError("Parquet cannot be shown on a terminal. Name a file with --output, or redirect the output.")
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


def _table(result: Result, title_of: Mapping[str, str]) -> Table:
    columns, rows = result
    titles = [title_of.get(column, column) for column in columns]
    numeric = [title for index, title in enumerate(titles) if _is_numeric(row[index] for row in rows)]
    texts = [[to_text(*cell) for cell in zip(columns, row, strict=True)] for row in rows]
    return cells_table(titles, texts, right=numeric)


def to_bytes(result: Result, form: Format) -> bytes:
    """Rows in a machine's format, at full precision; a table or Markdown rounds to 2 decimals."""
    columns, rows = result
    text = io.StringIO()
    match form:
        case Format.json:
            records = [{key: _without_nan(value) for key, value in record.items()} for record in _records(result)]
            json.dump(records, text, indent=1, default=_plain, ensure_ascii=False, allow_nan=False)
            text.write("\n")
        case Format.csv:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        case Format.parquet:
            buffer = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(_records(result)), buffer, compression="zstd")
            return buffer.getvalue()
        case Format.markdown:
            text.write(_markdown(result))
        case Format.table:
            Console(file=text, width=200, highlight=False).print(_table(result, {}))
    return text.getvalue().encode()


def _records(result: Result) -> list[dict[str, Any]]:
    columns, rows = result
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _markdown(result: Result) -> str:
    columns, rows = result
    lines = [columns, ["---"] * len(columns)]
    lines += [
        [to_text(*cell).replace("|", "\\|").replace("\n", " ") for cell in zip(columns, row, strict=True)]
        for row in rows
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_text(column: str, value: object) -> str:
    """A cell for people: numbers with 2 decimals, short revisions, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | Decimal):
        return f"{value:.3g}" if column == "params_b" else f"{value:.2f}"
    if column in ("revision", "fingerprint") and isinstance(value, str) and len(value) >= 40:
        return value[:7]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


def _is_numeric(values: Iterable[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in present)


def _without_nan(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
