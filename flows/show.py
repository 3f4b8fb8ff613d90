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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from nightboard.flows.formats import Format, to_plain, to_records, to_table, to_text, write_parquet, write_rows
from nightboard.flows.terminal import Terminal, cells_table, count, duration, escape, make_console
from nightboard.tasks.import_board import BoardImport
from nightboard.tasks.status import Status
from nightboard.tasks.store import Store, replace_atomically
from nightboard.warehouse.query import NoBuildError, Result, connect, rank
from nightboard.warehouse.statements import Answer

# Columns of a ranking that a reader needs first; the warehouse has the rest.
RANK_TITLES = {
    "selected_rank": "here",
    "rank": "#",
    "model_id": "model",
    "chat_template": "chat",
    "params_b": "params (B)",
    "license": "licence",
    "identical_to": "identical to",
}
# The first to go where a terminal is narrow.
RANK_LESS_NEEDED = ("license", "95%", "identical_to", "params_b", "precision", "chat_template", "revision")
# Times have no rank intervals.
RANK_OFTEN_EMPTY = ("places", "95%", "identical_to")

# More of them would push the summary off the screen.
SHOWN_DISAGREEMENTS = 20

# Nobody reads more in a terminal, and laying them out takes seconds.
SHOWN_ROWS = 1000


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


def print_ranking(result: Result, heading: str, beside: Sequence[tuple[str, int]] = (), filters: str = "") -> None:
    """A leaderboard for people: the columns that say something, as many as the terminal has room for.

    `beside`: other eras of the suite with the number of their rows; they do not compare with those that are shown.
    `filters`: what was chosen, in words.
    """
    _print_ranking(result, heading, filters)
    if beside:
        others = ", ".join(f"{era} ({count(rows, 'row')})" for era, rows in beside)
        make_console().print(f"[dim]Not comparable, so ranked apart: era {escape(others)}. Show one with --era.[/dim]")


def _print_ranking(result: Result, heading: str, filters: str) -> None:
    result = _with_places(_with_intervals(result))
    columns, rows = result
    eras = {row[columns.index("era")] for row in rows}
    hidden = {"era"} | {c for i, c in enumerate(columns) if c in RANK_OFTEN_EMPTY and not any(row[i] for row in rows)}
    console = make_console()
    told = (f" (era {', '.join(eras)})" if rows else "") + (f": {filters}" if filters else "")
    console.print(f"[bold]{escape(heading)}[/bold]{escape(told)}")
    if not rows:
        console.print("  no row passes all filters" if filters else "  nothing complete to rank yet")
        return
    table = to_table(_without(result, hidden), RANK_TITLES)
    left_out = []
    for column in (each for each in RANK_LESS_NEEDED if each in columns and each not in hidden):
        if _measure(console, table) <= console.width:
            break
        left_out.append(RANK_TITLES.get(column, column))
        table = to_table(_without(result, hidden := hidden | {column}), RANK_TITLES)
    if left_out:
        names = ", ".join(left_out)
        console.print(f"[dim]Left out for want of width: {names}. A wider terminal or --format csv has them.[/dim]")
    # What is still too wide runs over: a cut number would be a wrong number.
    console.width = max(console.width, _measure(console, table))
    console.print(table)
    if "selected_rank" in columns:
        console.print("[dim]#: the place among all rows of the era; here: among those that pass the filters.[/dim]")


def _with_places(result: Result) -> Result:
    """The place in a selection before the one among all, and only where it is another one."""
    columns, rows = result
    at, of_all = columns.index("selected_rank"), columns.index("rank")
    if all(row[at] == row[of_all] for row in rows):
        return _without(result, {"selected_rank"})
    names = ["selected_rank", *(each for each in columns if each != "selected_rank")]
    return Result(names, [(row[at], *row[:at], *row[at + 1 :]) for row in rows])


# Beside the column, its 95% interval: title, bounds, how they are written.
_INTERVALS = {
    "rank": ("places", "rank_low", "rank_high", "{}-{}"),
    "average": ("95%", "average_low", "average_high", "{:.2f}-{:.2f}"),
}


def _with_intervals(result: Result) -> Result:
    """Bounds as one column beside what they are of."""
    bounds = {bound for _, low, high, _ in _INTERVALS.values() for bound in (low, high)}
    columns = [each for each in result.columns if each not in bounds]
    rows = []
    for row in result.rows:
        cells = dict(zip(result.columns, row, strict=True))
        rows.append([cells[each] for each in columns])
    for of, (title, low, high, form) in _INTERVALS.items():
        at = columns.index(of) + 1
        columns.insert(at, title)
        lows, highs = (result.columns.index(bound) for bound in (low, high))
        for cells_of, row in zip(rows, result.rows, strict=True):
            cells_of.insert(at, "" if row[lows] is None else form.format(row[lows], row[highs]))
    return Result(columns, [tuple(row) for row in rows])


def print_comparison(result: Result, model_a: str, model_b: str) -> None:
    """Two models beside each other, a table a suite: score, difference with its interval, p-value, wins and losses."""
    console, at = make_console(), result.columns.index
    for suite, era in dict.fromkeys((row[at("suite")], row[at("era")]) for row in result.rows):
        console.print(
            f"[bold]{escape(model_a)} (a) and {escape(model_b)} (b)[/bold] in {escape(suite)} (era {escape(era)})"
        )
        cells = [
            (
                row[at("benchmark")], f"{row[at('n_questions')]:,}", to_text("", row[at("score_a")]),
                to_text("", row[at("score_b")]), f"{row[at('difference')]:+.2f}", _tell_interval(row, at),
                f"{row[at('p_value')]:.2g}", *(f"{row[at(name)]:,}" for name in ("wins", "losses", "ties")),
            )
            for row in result.rows
            if row[at("suite")] == suite
        ]  # fmt: skip
        titles = ["benchmark", "questions", "a", "b", "a - b", "95%", "p", "a better", "b better", "ties"]
        table = cells_table(titles, cells, right=titles[1:])
        console.width = max(console.width, _measure(console, table))
        console.print(table)
    console.print("[dim]Scores are normalized, over the questions that both answered, without the clip at 0.[/dim]")


def _tell_interval(row: tuple[Any, ...], at: Callable[[str], int]) -> str:
    low, high = row[at("low")], row[at("high")]
    return "" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def _measure(console: Console, table: Table) -> int:
    """Columns of text that the table takes when nothing is folded."""
    return console.measure(table, options=console.options.update(max_width=100_000)).maximum


def _without(result: Result, hidden: set[str]) -> Result:
    kept = [index for index, column in enumerate(result.columns) if column not in hidden]
    return Result([result.columns[i] for i in kept], [tuple(row[i] for i in kept) for row in result.rows])


def print_board_import(done: BoardImport, disagreements: Result, form: Format) -> None:
    """What became of an imported board: what was left out, where its scores disagree with each other, and a summary."""
    if form is Format.json:
        report = asdict(done) | {"disagreements": to_records(disagreements)}
        sys.stdout.write(json.dumps(report, indent=1, default=to_plain, ensure_ascii=False) + "\n")
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
    if done.n_imported:
        ui.say(f"To see them: nightboard rank --suite {done.suite} --era {done.era}, with the same --store or --board.")


def print_result(result: Result, form: Format, output: Path | None = None) -> None:
    """Print rows to the terminal, or write them to `output`. Parquet goes to a file or a pipe only."""
    if form is Format.table and output is None:
        table, console = to_table(result, {}), make_console()
        # What is too wide for the terminal runs over: a cut number would be a wrong number.
        narrowest = console.measure(table, options=console.options.update(max_width=100_000)).minimum
        console.width = max(console.width, narrowest)
        console.print(table)
        return
    with open_output(form, output) as out:
        write_rows(result.columns, [result.rows], form, out)


def print_answers(answers: Sequence[Answer], form: Format, output: Path | None = None) -> None:
    """Print what every statement gives, one table after the other; in a machine's format there can be one only.

    Raises ValueError where there are more, and for Parquet on a terminal.
    """
    if form is Format.table and output is None:
        for answer in answers:
            _print_first_rows(answer)
        return
    if len(answers) > 1:
        raise ValueError(f"{len(answers)} statements give {len(answers)} tables, and {form} holds one. Leave one.")
    with open_output(form, output) as out:
        if form is Format.parquet:
            write_parquet(answers[0].run_arrow(), out)
        else:
            write_rows(*answers[0].run(), form, out)


def _print_first_rows(answer: Answer) -> None:
    columns, batches = answer.run()
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        rows += batch
        if len(rows) > SHOWN_ROWS:
            break
    print_result(Result(columns, rows[:SHOWN_ROWS]), Format.table)
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


@contextlib.contextmanager
def open_output(form: Format, output: Path | None) -> Iterator[IO[bytes]]:
    """A stream to `output`, which appears whole or not at all, or to the standard output.

    Raises ValueError for Parquet on a terminal.
    """
    if output is not None and (output.is_file() or not output.exists()):
        with replace_atomically(output) as file:
            yield file
    elif output is not None:  # a named pipe, /dev/null
        with open(output, "wb") as file:
            yield file
    elif form is not Format.parquet:
        yield sys.stdout.buffer
        sys.stdout.flush()
    elif sys.stdout.isatty():
        raise ValueError("Parquet cannot be shown on a terminal. Name a file with --output, or redirect the output.")
    else:
        with tempfile.TemporaryFile() as file:  # its writer must know where it is, which a pipe cannot tell
            yield file
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
