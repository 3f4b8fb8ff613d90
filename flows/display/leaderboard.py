"""Shows a leaderboard, and two models beside each other, on a terminal: what a reader needs first, and words for it.

Asks nothing and decides nothing about scores: rows come from the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nightboard.flows.display.console import cells_table, count, escape, make_console, measure, print_table
from nightboard.flows.display.formats import to_score_text, to_table
from nightboard.warehouse.reader.questions import Result

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
RANK_LESS_NEEDED = ("license", "params_b", "95%", "identical_to", "precision", "chat_template", "revision")
# Times have no rank intervals.
RANK_OFTEN_EMPTY = ("places", "95%", "identical_to")
OWN_SOURCE = "run"
APPROXIMATE = "~"
CUT_PROMPTS = "*"


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
    result = _with_places(_with_intervals(_with_marks(result)))
    columns, rows = result
    eras = {row[columns.index("era")] for row in rows}
    hidden = {"era"} | {c for i, c in enumerate(columns) if c in RANK_OFTEN_EMPTY and not any(row[i] for row in rows)}
    sources = {row[columns.index("source")] for row in rows}
    if len(sources) == 1:
        hidden.add("source")
    console = make_console()
    told = (f" (era {', '.join(eras)})" if rows else "") + (f": {filters}" if filters else "")
    console.print(f"[bold]{escape(heading)}[/bold]{escape(told)}")
    if not rows:
        console.print("  no row passes all filters" if filters else "  nothing complete to rank yet")
        return
    table = to_table(_without(result, hidden), RANK_TITLES, to_score_text)
    left_out = []
    for column in (each for each in RANK_LESS_NEEDED if each in columns and each not in hidden):
        if measure(console, table) <= console.width:
            break
        left_out.append(RANK_TITLES.get(column, column))
        table = to_table(_without(result, hidden := hidden | {column}), RANK_TITLES, to_score_text)
    if left_out:
        names = ", ".join(left_out)
        console.print(f"[dim]Left out for want of width: {names}. A wider terminal or --format csv has them.[/dim]")
    print_table(console, table)
    if "selected_rank" in columns:
        console.print("[dim]#: the place among all rows of the era; here: among those that pass the filters.[/dim]")
    if len(sources) == 1 and sources != {OWN_SOURCE}:
        console.print(f"[dim]Source of all rows: {escape(sources.pop())}.[/dim]")
    if "95%" not in hidden and any(str(row[columns.index("95%")]).startswith(APPROXIMATE) for row in rows):
        console.print(f"[dim]{APPROXIMATE}: an approximate interval, not from samples alone.[/dim]")
    if any(row[columns.index("model_id")].endswith(CUT_PROMPTS) for row in rows):
        console.print(
            f"[dim]{CUT_PROMPTS}: prompts that did not fit into the model's context lost their beginning; how many:"
            " column cut_prompts of table coverage.[/dim]"
        )


def _with_marks(result: Result) -> Result:
    """A mark after each model that was not asked all of what the others were, in place of the number of its prompts."""
    columns, rows = result
    at, cut = columns.index("model_id"), columns.index("cut_prompts")
    marked = [(*row[:at], f"{row[at]} {CUT_PROMPTS}" if row[cut] else row[at], *row[at + 1 :]) for row in rows]
    return _without(Result(columns, marked), {"cut_prompts"})


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
    bounds = {bound for _, low, high, _ in _INTERVALS.values() for bound in (low, high)} | {"is_approximate"}
    doubtful = result.columns.index("is_approximate")
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
            sign = APPROXIMATE if title == "95%" and row[doubtful] else ""
            cells_of.insert(at, "" if row[lows] is None else sign + form.format(row[lows], row[highs]))
    return Result(columns, [tuple(row) for row in rows])


# With fewer questions the normal distribution, by which intervals are made, is a rough one.
FEW_QUESTIONS = 30


def print_comparison(result: Result, names: Mapping[str, tuple[str, str]]) -> None:
    """Two models beside each other, a table a suite: score, difference with its interval, p-value, wins and losses.

    `names`: the two by suite, with the revisions that were compared there.
    """
    console, at = make_console(), result.columns.index
    for suite, era in dict.fromkeys((row[at("suite")], row[at("era")]) for row in result.rows):
        name_a, name_b = map(escape, names[suite])
        console.print(f"[bold]{name_a} (a) and {name_b} (b)[/bold] in {escape(suite)} (era {escape(era)})")
        cells = [
            (
                row[at("benchmark")], f"{row[at('n_questions')]:,}", to_score_text("", row[at("score_a")]),
                to_score_text("", row[at("score_b")]), f"{row[at('difference')]:+.2f}", _tell_interval(row, at),
                _tell_p_value(row[at("p_value")]), *(f"{row[at(name)]:,}" for name in ("wins", "losses", "ties")),
            )
            for row in result.rows
            if row[at("suite")] == suite
        ]  # fmt: skip
        titles = ["benchmark", "questions", "a", "b", "a - b", "95%", "p", "a better", "b better", "ties"]
        print_table(console, cells_table(titles, cells, right=titles[1:]))
    for note in list_footnotes(result):
        console.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)


def list_footnotes(result: Result) -> Iterator[str]:
    """What a reader must know of the numbers above."""
    yield "Scores are normalized, over the questions that both answered, without the clip at 0."
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    if any(row["low"] is None for row in rows):
        yield "No 95% or p: a task has one document, so there is no standard error."
    benchmarks = [row for row in rows if row["benchmark"] != "average" and row["low"] is not None]
    if few := dict.fromkeys(row["benchmark"] for row in benchmarks if row["n_questions"] < FEW_QUESTIONS):
        yield (
            f"Fewer than {FEW_QUESTIONS} questions in {', '.join(few)}: there the 95% interval is rough;"
            " trust p, which is exact."
        )


def _tell_interval(row: tuple[Any, ...], at: Callable[[str], int]) -> str:
    low, high = row[at("low")], row[at("high")]
    return "" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def _tell_p_value(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.2g}"


def _without(result: Result, hidden: set[str]) -> Result:
    kept = [index for index, column in enumerate(result.columns) if column not in hidden]
    return Result([result.columns[i] for i in kept], [tuple(row[i] for i in kept) for row in result.rows])
