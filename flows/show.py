"""Shows rows: as a table on a terminal, or in a machine's format on a file or a pipe.

Asks the warehouse; decides nothing about scores.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import IO, Any, cast

from nightboard.flows.formats import (
    Format,
    FormatError,
    Tell,
    to_plain,
    to_records,
    to_score_text,
    to_table,
    to_text,
    write_parquet,
    write_rows,
)
from nightboard.flows.terminal import Terminal, VisibleCodes, cells_table, count, duration, make_console, print_table
from nightboard.tasks.import_board import BoardImport
from nightboard.tasks.output_file import OutputFile
from nightboard.tasks.status import Status
from nightboard.tasks.store import Store
from nightboard.tasks.table_file import LeftOut
from nightboard.warehouse.query import NoBuildError, Result, connect, rank
from nightboard.warehouse.statements import Answer

# More of them would push the summary off the screen.
SHOWN_DISAGREEMENTS = 20
SHOWN_DATES = 10

# Rows that were left out, or groups of them.
SHOWN_LEFT_OUT = 20
# The value that a reason names.
_VALUE = re.compile(r" \(got .*\)", re.DOTALL)

# Nobody reads more in a terminal, and laying them out takes seconds.
SHOWN_ROWS = 1000


def print_status(rows: Sequence[Status], form: Format, output: OutputFile | None) -> None:
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
    console = make_console()
    print_table(console, cells_table(titles, cells, right=["age", "left"]))


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
        dict(zip(columns, (to_score_text(*cell) for cell in zip(columns, row, strict=True)), strict=True))
        for row in rows
    ]


def print_board_import(done: BoardImport, disagreements: Result, n_complete: int, form: Format) -> None:
    """What became of an imported board: what was left out, where its scores disagree with each other, and a summary.

    `n_complete`: how many of its rows have all benchmarks.
    """
    n_incomplete = done.n_imported - n_complete
    if form is Format.json:
        report = asdict(done) | {"n_imported": done.n_imported, "n_incomplete": n_incomplete}
        del report["evaluation_ids"]
        report["disagreements"] = to_records(disagreements)
        print_json(report)
        return
    if form is not Format.table:
        print_result(disagreements, form)
        return
    ui = Terminal()
    warn_left_out(ui, done.left_out)
    for each in done.unread_dates[:SHOWN_DATES]:
        ui.warn(f"imported without its date: {each.where}: {each.reason}")
    if len(done.unread_dates) > SHOWN_DATES:
        ui.warn(f"... and {len(done.unread_dates) - SHOWN_DATES:,} more dates; --format json has them all.")
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
    for era, n_rows in done.other_eras.items():
        ui.warn(
            f"here in era {era} too: {count(n_rows, 'row')} of the same model, commit and precision. If one of the two"
            f" eras is wrong: nightboard import forget --name {done.source.removeprefix('import:')} --era WRONG, with"
            " the same --store or --board."
        )
    if n_incomplete:
        ui.warn(
            f"{count(n_incomplete, 'row')} without all benchmarks: not ranked; what they lack is in table coverage."
        )
    if n_complete:
        ui.say(f"To see them: nightboard rank --suite {done.suite} --era {done.era}, with the same --store or --board.")


def warn_left_out(ui: Terminal, left_out: Sequence[LeftOut]) -> None:
    """Rows that were not imported, and why; when there are many, those with one reason are one line."""
    groups: dict[str, list[LeftOut]] = {}
    for number, each in enumerate(left_out):
        reason = _VALUE.sub("", each.reason) if len(left_out) > SHOWN_LEFT_OUT else str(number)
        groups.setdefault(reason, []).append(each)
    for first, *others in list(groups.values())[:SHOWN_LEFT_OUT]:
        more = f" and {count(len(others), 'other row')}" if others else ""
        ui.warn(f"left out: {first.where}{more}: {first.reason}")
    if hidden := list(groups.values())[SHOWN_LEFT_OUT:]:
        ui.warn(f"... and {sum(map(len, hidden)):,} more; --format json has them all.")


def print_result(result: Result, form: Format, output: OutputFile | None = None, tell: Tell = to_text) -> None:
    """Print rows to the terminal, or write them to `output`. Parquet goes to a file or a pipe only."""
    if form is Format.table and output is None:
        print_table(make_console(), to_table(result, {}, tell))
        return
    with open_output(form, output) as out:
        write_rows(result.columns, [result.rows], form, out, tell)


def tell_logs(store: Store) -> Tell:
    """Cells as a person reads them; paths of logs, which tables name from the store on, so that they can be pasted."""

    def tell(column: str, value: object) -> str:
        path = store.root / value if column == "log" and isinstance(value, str) else None
        return str(path) if path and path.exists() else to_text(column, value)

    return tell


def print_answers(
    answers: Sequence[Answer], form: Format, output: OutputFile | None = None, tell: Tell = to_text
) -> None:
    """Print what every statement gives, one table after the other; in a machine's format there can be one only.

    Raises FormatError where there are more, and for Parquet on a terminal.
    """
    if form is Format.table and output is None:
        for answer in answers:
            _print_first_rows(answer, tell)
        return
    if len(answers) > 1:
        holder = "a file" if output is not None else form
        raise FormatError(f"{len(answers)} statements give {len(answers)} tables, and {holder} holds one. Leave one.")
    with open_output(form, output) as out:
        if form is Format.parquet:
            # A reader that stays open, as in a traceback, would keep its build open, too.
            with answers[0].run_arrow() as reader:
                write_parquet(reader, out)
        else:
            write_rows(*answers[0].run(), form, out)


def _print_first_rows(answer: Answer, tell: Tell) -> None:
    columns, batches = answer.run()
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        rows += batch
        if len(rows) > SHOWN_ROWS:
            break
    print_result(Result(columns, rows[:SHOWN_ROWS]), Format.table, tell=tell)
    if len(rows) > SHOWN_ROWS:
        rest, is_all = _count_rest(batches, len(rows) - SHOWN_ROWS)
        more = f"{'' if is_all else 'at least '}{rest:,}"
        sys.stdout.flush()
        print(f"... and {more} more rows. --output rows.csv (or .parquet, .json) has them all.", file=sys.stderr)


def _count_rest(batches: Iterator[list[tuple[Any, ...]]], counted: int) -> tuple[int, bool]:
    """The number of rows, and whether these are all: nobody waits longer than a second for a number."""
    until = time.monotonic() + 1
    for batch in batches:
        counted += len(batch)
        if time.monotonic() > until:
            return counted, False
    return counted, True


def print_json(report: Mapping[str, Any]) -> None:
    """Print one JSON object to the standard output."""
    with open_output(Format.json, None) as out:
        out.write((json.dumps(report, indent=1, default=to_plain, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def open_output(form: Format, output: OutputFile | None) -> Iterator[IO[bytes]]:
    """A stream to `output`, or to the standard output; on a terminal, codes that would steer it are made visible.

    Raises FormatError for Parquet on a terminal.
    """
    with output.open() if output else contextlib.nullcontext(sys.stdout.buffer) as out:
        if form is Format.parquet and out.isatty():
            raise FormatError(
                "Parquet cannot be shown on a terminal. Name a file with --output, or redirect the output."
            )
        if form is Format.parquet and not out.seekable():
            with tempfile.TemporaryFile() as file:  # its writer must know where it is, which a pipe cannot tell
                yield file
                file.seek(0)
                shutil.copyfileobj(file, out)
        else:
            yield cast("IO[bytes]", VisibleCodes(out)) if out.isatty() else out
        out.flush()
