"""Two to four models by benchmark: how much better or worse each is than the first, with paired 95% intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import Ask, Look, NothingToDrawError, Row, as_rows
from nightboard.tasks.page.pictures.axes import Entry, Scale, draw_legend, make_scale
from nightboard.tasks.page.pictures.drawing import BOLD_SIZE, SERIES, SHAPES, Drawing, fit, measure
from nightboard.warehouse.reader.questions import choose_ranking, compare, complete_name, list_benchmarks

if TYPE_CHECKING:
    import duckdb

_ROW = 18


class Compared(NamedTuple):
    """`suite`: its title. `rows`: by model, those of the macro compare, the model first and the reference second."""

    reference: str
    suite: str
    era: str
    titles: dict[str, str]
    rows: dict[str, list[Row]]


def read(con: duckdb.DuckDBPyConnection, ask: Ask) -> Compared:
    """Each model against the first one, over the questions that both answered."""
    names = [complete_name(con, name) for name in ask.names]
    reference, *others = dict.fromkeys(names)
    if not others:
        raise NothingToDrawError(f"{reference} is compared with itself. Name another model.")
    compared = {other: as_rows(compare(con, other, reference)) for other in others}
    suites = [row["suite"] for rows in compared.values() for row in rows]
    usual = choose_ranking(con, ask.usual_suite)[0]
    suite = usual if ask.suite or usual in suites else suites[0]
    rows = {other: [row for row in found if row["suite"] == suite] for other, found in compared.items()}
    missing = [other for other, found in rows.items() if not found]
    if missing:
        raise NothingToDrawError(f"{', '.join(missing)} and {reference} share no documents in suite {suite}.")
    titles = {key: title for key, title, *_ in list_benchmarks(con, suite).rows} | {"average": "Average"}
    _, title, _ = choose_ranking(con, suite)
    return Compared(reference, title, next(iter(rows.values()))[0]["era"], titles, rows)


def draw(data: Compared, look: Look) -> str:
    """The picture: a band for each benchmark, in it a row for each model."""
    benchmarks = list(dict.fromkeys(row["benchmark"] for rows in data.rows.values() for row in rows))
    # The average, which the macro has last, comes first.
    benchmarks.sort(key=lambda benchmark: benchmark != "average")
    drawing = Drawing(look.width, 0, f"{', '.join(data.rows)} compared with {data.reference}, suite {data.suite}")
    title = f"Score minus that of {data.reference}, {data.suite}"
    drawing.text((4, 18), fit(title, look.width - 8, BOLD_SIZE), bold=True)
    entries = [Entry(model, SERIES[place], SHAPES[place]) for place, model in enumerate(data.rows)]
    entries.append(Entry("hollow: may be chance (p ≥ 0.05 or unknown)", "quiet", "hollow"))
    top = 26 + draw_legend(drawing, 26, entries) + 14
    names = 44 + max(measure(data.titles.get(benchmark, benchmark)) for benchmark in benchmarks)
    left, right = min(names, look.width * 0.34), look.width - (14 if look.is_narrow else 210)
    values = [row[end] for rows in data.rows.values() for row in rows for end in ("low", "difference", "high")]
    x = make_scale([0, *(value for value in values if value is not None)], left, right)
    band = _ROW * len(data.rows) + 12
    bottom = top + band * len(benchmarks)
    _draw_grid(drawing, x, top, bottom)
    if not look.is_narrow:
        drawing.text((look.width - 196, top - 8), "score (difference, p-value)", "quiet")
    for place, benchmark in enumerate(benchmarks):
        start = top + band * place
        drawing.line((4, start), (look.width - 14, start), "grid")
        name = fit(data.titles.get(benchmark, benchmark), left - 12)
        drawing.text((4, start + band / 2 + 4), name, bold=benchmark == "average")
        for number, (model, rows) in enumerate(data.rows.items()):
            row = next((row for row in rows if row["benchmark"] == benchmark), None)
            if row:
                _draw_row(drawing, look, x, start + 6 + _ROW * (number + 0.5), number, model, row)
    meaning = f"points; right of 0: better than {data.reference}"
    drawing.text((4, bottom + 36), fit(meaning, look.width - 8), "quiet")
    drawing.height = bottom + 46
    return drawing.finish(look.style)


def _draw_grid(drawing: Drawing, x: Scale, top: float, bottom: float) -> None:
    for value, label in x.list_ticks(max(3, int((x.end - x.start) / 48))):
        at = x.place(value)
        drawing.line((at, top), (at, bottom), "grid" if value else "quiet", 1 if value else 1.5)
        drawing.text((at, bottom + 17), f"+{label}" if value > 0 else label, "quiet", "middle")


def _write_p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def _draw_row(drawing: Drawing, look: Look, x: Scale, y: float, number: int, model: str, row: Row) -> None:
    color, difference = SERIES[number], row["difference"]
    is_clear = row["p_value"] is not None and row["p_value"] < 0.05
    interval = ""
    if row["low"] is not None:
        drawing.line((x.place(row["low"]), y), (x.place(row["high"]), y), color, 2)
        interval = f" ({row['low']:+.1f} to {row['high']:+.1f})"
    scores = f"{row['score_a']:.2f} against {row['score_b']:.2f}, {row['n_questions']:,} questions"
    tested = f", {_write_p(row['p_value'])}" if row["p_value"] is not None else ""
    title = f"{model}\n{difference:+.2f}{interval}{tested}\n{scores}"
    at = (x.place(difference), y)
    drawing.dot(at, color, 4.5, SHAPES[number], title, look.link(model.partition("@")[0]), hollow=not is_clear)
    if not look.is_narrow:
        text = f"{row['score_a']:.1f} ({difference:+.1f}{tested})"
        drawing.text((look.width - 196, y + 4), text, "text" if is_clear else "quiet")
