"""Shows a leaderboard, and a comparison of two models, on a terminal: what a reader needs first, and words for it.

Asks nothing and decides nothing about scores: rows come from the warehouse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from typing import Any

from nightboard.flows.display.console import Terminal, count, make_console
from nightboard.flows.display.formats import to_score_text, to_table
from nightboard.flows.display.tables import ID_PARTS, TextColumn, cells_table, is_screen, print_table
from nightboard.warehouse.reader.questions import NO_FILTERS, Filters, Order, explain_comparison
from nightboard.warehouse.reader.result import Result

# Columns of a ranking that a reader needs first; the warehouse has the rest.
RANK_TITLES = {
    "selected_rank": "here",
    "rank": "#",
    "model_id": "model",
    "chat_template": "chat",
    "params_b": "params (B)",
    "identical_to": "identical to",
}
# Where a terminal is narrow: the first to be shown, and the last. Benchmarks are between them.
RANK_FIRST = ("here", "#", "model", "settings", "source", "average", "params (B)", "license", "places")
RANK_LAST = ("95%", "chat", "precision", "identical to", "revision")
# Past rankings have no intervals.
RANK_OFTEN_EMPTY = ("places", "95%", "settings", "identical_to")
FOLDED = ("license", "settings", "identical to", "source")
# What licenses take at least: apache-2.0 is not folded.
LICENSE_WIDTH = 12
OWN_SOURCE = "run"
# More rows are asked for with --top, or go to a file.
SHOWN_ROWS = 100
APPROXIMATE = "~"
CUT_PROMPTS = "*"


def print_ranking(
    result: Result,
    heading: str,
    beside: Sequence[tuple[str, int]] = (),
    filters: Filters = NO_FILTERS,
    order: Order | None = None,
    top: int | None = None,
    left_out: int = 0,
) -> None:
    """A leaderboard for people: the columns that say something, as many as the terminal has room for.

    `beside`: other eras of the suite with the number of their rows; they do not compare with those that are shown.
    `filters`, `order`, `top`: what was asked for. A terminal shows the first rows, if no `top` was. `left_out`: number
    of rows that are not of the board.
    """
    ui = Terminal(make_console())
    is_cut = top is None and is_screen(ui.console)
    shown = Result(result.columns, result.rows[:SHOWN_ROWS] if is_cut else result.rows)
    _print_ranking(ui, shown, heading, filters, order)
    if rest := len(result.rows) - len(shown.rows):
        ui.say(
            f"... and {count(rest, 'more row')}. `nightboard rank` shows them with --top {len(result.rows)};"
            " --output ranking.csv (or .parquet, .json) has them all."
        )
    if left_out:
        rows = count(left_out, "row")
        ui.say(f"{rows} of other boards or no longer watched: `nightboard rank` shows them with --all.", "dim")
    if beside:
        others = ", ".join(f"{era} ({count(rows, 'row')})" for era, rows in beside)
        ui.say(f"Other eras do not compare and are ranked separately: {others}. Show one with --era.", "dim")


def _print_ranking(ui: Terminal, result: Result, heading: str, filters: Filters, order: Order | None) -> None:
    result = _with_places(_with_intervals(_with_marks(result)))
    columns, rows = result
    eras = {row[columns.index("era")] for row in rows}
    hidden = {"era"} | {c for i, c in enumerate(columns) if c in RANK_OFTEN_EMPTY and not any(row[i] for row in rows)}
    sources = {row[columns.index("source")] for row in rows}
    if len(sources) == 1:
        hidden.add("source")
    era = f" (era {', '.join(eras)})" if rows else ""
    chosen = describe_filters(filters)
    choices = ", ".join(text for text in (chosen, f"sorted by {order.column}" if order else "") if text)
    ui.step(f"{heading}{era}{f': {choices}' if choices else ''}")
    if not rows:
        ui.say("  No row matches all filters." if chosen else "  No complete evaluation of this era to rank yet.")
        return
    table = to_table(_without(result, hidden), RANK_TITLES, to_score_text)
    telling = [column.title for column in table if column.title not in RANK_LAST]
    sorted_by = [RANK_TITLES.get(order.column, order.column)] if order else []
    if is_screen(ui.console):
        table = [_make_foldable(column) for column in table]
    shown = print_table(ui.console, table, first=[*RANK_FIRST[:3], *sorted_by, *RANK_FIRST, *telling, *RANK_LAST])
    if filters.as_of:
        ui.say("No places and no 95% with --as-of: the build computes them for the newest leaderboard only.", "dim")
    for note in _list_notes(result, shown):
        ui.say(note, "dim")


def describe_filters(filters: Filters) -> str:
    """In words, for a title; nothing where nothing is filtered."""
    texts = {
        "over {:g} B": filters.min_params_b,
        "up to {:g} B": filters.max_params_b,
        "type {}": filters.model_type,
        "precision {}": filters.precision,
        "license {}": filters.license,
        "organization {}": filters.organization,
        "country {}": filters.country,
        "no merges": None if filters.with_merges else "",
        "no flagged models": None if filters.with_flagged else "",
        "no unavailable models": None if filters.with_unavailable else "",
        "as of {}": None if filters.as_of is None else _format_time(filters.as_of),
    }
    return ", ".join(text.format(value) for text, value in texts.items() if value is not None)


def _format_time(moment: datetime) -> str:
    """A day where it is its end."""
    if moment.timetz() == time.max.replace(tzinfo=UTC):
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S UTC}".replace(":00 UTC", " UTC")


def _make_foldable(column: TextColumn) -> TextColumn:
    """Long licenses, ids and sources on two lines, so that few of them do not push other columns out."""
    least = LICENSE_WIDTH if column.title == "license" else column.least
    return replace(column, least=least, parts=ID_PARTS) if column.title in FOLDED else column


def _list_notes(result: Result, shown: Sequence[str]) -> Iterator[str]:
    """What a reader must know of the columns and marks that are shown."""
    columns, rows = result
    sources = Counter(row[columns.index("source")] for row in rows)
    if "here" in shown:
        yield "#: rank among all rows of the era; here: among the rows that are shown."
    if "places" in shown:
        yield "places: the range of ranks consistent with the noise."
    if len(sources) == 1 and OWN_SOURCE not in sources:
        yield f"Source of all rows: {next(iter(sources))}."
    if len(sources) > 1:
        mixed = ", ".join(f"{source} ({count(rows, 'row')})" for source, rows in sources.most_common())
        yield f"Rows of several sources, so a model may have several: {mixed}."
    if "settings" in shown:
        yield "settings: what can change a score, beside precision and chat template; empty: lm-eval's default."
    if "95%" in shown and any(str(row[columns.index("95%")]).startswith(APPROXIMATE) for row in rows):
        yield f"{APPROXIMATE}: an approximate interval, not computed from samples alone."
    if any(row[columns.index("model_id")].endswith(CUT_PROMPTS) for row in rows):
        yield (
            f"{CUT_PROMPTS}: prompts longer than the model's context lost their beginning; column cut_prompts of table"
            " coverage counts them."
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


# The order of columns by what they tell, where a terminal is narrow.
COMPARE_FIRST = ("benchmark", "a - b", "95%", "p", "a", "b", "Holm p", "detects", "questions")


def print_comparison(result: Result, names: Mapping[str, tuple[str, str]]) -> None:
    """Two models side by side, a table a suite: score, difference with its interval, p-value, wins and losses.

    `names`: the two by suite, with the revisions that were compared there.
    """
    ui, at = Terminal(make_console()), result.columns.index
    for suite, era in dict.fromkeys((row[at("suite")], row[at("era")]) for row in result.rows):
        name_a, name_b = names[suite]
        ui.step(f"{name_a} (a) and {name_b} (b) in {suite} (era {era})")
        cells = [
            (
                row[at("benchmark")], to_score_text("", row[at("score_a")]), to_score_text("", row[at("score_b")]),
                f"{row[at('difference')]:+.2f}", _format_interval(row, at), _format_p_value(row[at("p_value")]),
                _format_p_value(row[at("holm_p")]), to_score_text("", row[at("detectable_difference")]),
                *(f"{row[at(name)]:,}" for name in ("n_questions", "wins", "losses", "ties")),
            )
            for row in result.rows
            if row[at("suite")] == suite
        ]  # fmt: skip
        titles = ["benchmark", "a", "b", "a - b", "95%", "p", "Holm p", "detects"]
        titles += ["questions", "a wins", "b wins", "ties"]
        print_table(ui.console, cells_table(titles, cells, right=titles[1:]), first=COMPARE_FIRST)
    for note in explain_comparison([dict(zip(result.columns, row, strict=True)) for row in result.rows]):
        ui.say(note, "dim")


def _format_interval(row: tuple[Any, ...], at: Callable[[str], int]) -> str:
    low, high = row[at("low")], row[at("high")]
    return "" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def _format_p_value(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.2g}"


def _without(result: Result, hidden: set[str]) -> Result:
    kept = [index for index, column in enumerate(result.columns) if column not in hidden]
    return Result([result.columns[i] for i in kept], [tuple(row[i] for i in kept) for row in result.rows])
