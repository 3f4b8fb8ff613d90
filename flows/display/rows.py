"""Shows rows: as a table on a terminal, or in a machine's format on a file or a pipe.

Asks the warehouse; decides nothing about scores.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from nightboard.flows.display.console import Terminal, VisibleCodes, make_console
from nightboard.flows.display.format_choice import Format, FormatError
from nightboard.flows.display.formats import (
    Tell,
    to_plain,
    to_table,
    to_text,
    write_parquet,
    write_rows,
)
from nightboard.flows.display.tables import fits, is_screen, print_records, print_table
from nightboard.warehouse.reader.result import Result

if TYPE_CHECKING:
    from nightboard.tasks.output_file import OutputFile
    from nightboard.tasks.store.layout import Store
    from nightboard.warehouse.reader.user_sql import StatementResult

# More rows are for a file, not for a terminal.
SHOWN_ROWS = 1000
# Rows that are too wide for a table are shown as lines of column and value, if these are not more than a screen has.
SCREEN_LINES = 40
# What a row is about: the first columns to be shown where a terminal is narrow.
TELLING = ("rank", "model_id", "suite", "benchmark", "task", "average", "score", "state", "reason")


def print_result(result: Result, form: Format, output: OutputFile | None = None, tell: Tell = to_text) -> None:
    """Print rows to the terminal, or write them to `output`. Parquet goes to a file or a pipe only."""
    if form is Format.table and output is None:
        print_table(make_console(), to_table(result, {}, tell), first=TELLING)
        return
    with open_output(form, output) as out:
        write_rows(result.columns, [result.rows], form, out, tell)


def tell_logs(store: Store) -> Tell:
    """Cells for people, with whole paths of logs, which can be pasted: the warehouse has them relative to the store."""

    def tell(column: str, value: object) -> str:
        path = store.root / value if column == "log" and isinstance(value, str) else None
        return str(path) if path and path.exists() else to_text(column, value)

    return tell


def print_answers(
    answers: Sequence[StatementResult], form: Format, output: OutputFile | None = None, tell: Tell = to_text
) -> None:
    """Print the result of every statement, one table after the other; in a machine's format only one is possible.

    Raises FormatError where there are more, and for Parquet on a terminal.
    """
    if form is Format.table and output is None:
        for answer in answers:
            _print_first_rows(answer, tell)
        return
    if len(answers) > 1:
        holder = "a file" if output is not None else form
        raise FormatError(f"{len(answers)} statements give {len(answers)} tables, and {holder} holds one. Keep one.")
    with open_output(form, output) as out:
        if form is Format.parquet:
            # A reader that stays open, as in a traceback, would keep its build open, too.
            with answers[0].run_arrow() as reader:
                write_parquet(reader, out)
        else:
            write_rows(*answers[0].run(), form, out)


def _print_first_rows(answer: StatementResult, tell: Tell) -> None:
    columns, batches = answer.run()
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        rows += batch
        if len(rows) > SHOWN_ROWS:
            break
    console, table = make_console(), to_table(Result(columns, rows[:SHOWN_ROWS]), {}, tell)
    if 0 < len(rows) * len(columns) <= SCREEN_LINES and not fits(console, table):
        print_records(console, table)
    else:
        print_table(console, table, first=TELLING)
    if not rows and is_screen(console):
        Terminal(console).say("No rows.", "dim")
    if len(rows) > SHOWN_ROWS:
        rest, is_all = _count_rest(batches, len(rows) - SHOWN_ROWS)
        more = f"{'' if is_all else 'at least '}{rest:,}"
        sys.stdout.flush()
        print(f"... and {more} more rows. --output rows.csv (or .parquet, .json) has them all.", file=sys.stderr)


def _count_rest(batches: Iterator[list[tuple[Any, ...]]], counted: int) -> tuple[int, bool]:
    """The number of rows, and whether these are all: counting stops after a second."""
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
            with tempfile.TemporaryFile() as file:  # Parquet's writer seeks, which a pipe cannot
                yield file
                file.seek(0)
                shutil.copyfileobj(file, out)
        else:
            yield cast("IO[bytes]", VisibleCodes(out)) if out.isatty() else out
        out.flush()
