"""Score against cost: GPU-hours and CO2 of each model's evaluation, with the Pareto front of cheap and good ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import Ask, Look, Ranking, Row, as_rows, find_ranking, is_amount, require
from nightboard.tasks.page.pictures.axes import Entry, draw_legend
from nightboard.tasks.page.pictures.drawing import Drawing
from nightboard.tasks.page.pictures.scatter import draw_panel, make_marks
from nightboard.warehouse.reader.questions import list_scores

if TYPE_CHECKING:
    import duckdb

# Column of the cost, its unit, and the title of the axis.
_COSTS = (
    ("co2_kg", "kg CO2", "CO2 of the evaluation (kg)"),
    ("gpu_hours", "GPU-hours", "GPU-hours of the evaluation"),
)


class Costs(NamedTuple):
    """Models whose evaluation has a known cost."""

    ranking: Ranking
    rows: list[Row]


def read(con: duckdb.DuckDBPyConnection, ask: Ask) -> Costs:
    """The models of a ranking whose evaluation has a known cost; of copies, the evaluated one."""
    ranking = find_ranking(con, ask)
    rows = as_rows(list_scores(con, ranking.suite, ranking.era, ask.filters))
    known = [row for row in rows if not row["is_copy"] and any(is_amount(row[column]) for column, *_ in _COSTS)]
    return Costs(ranking, require(known, f"no evaluation that is ranked in {ranking} has a known cost."))


def draw(data: Costs, look: Look) -> str:
    """The picture: a panel for each cost that is known, beside each other where there is room."""
    panels = [cost for cost in _COSTS if any(is_amount(row[cost[0]]) for row in data.rows)]
    columns = 1 if look.is_narrow or look.width < 880 else len(panels)
    rows = -(-len(panels) // columns)
    panel_height = 380 if look.is_narrow else max(420, round(look.width * 0.5 / columns))
    estimated = any(row["is_estimated"] and row["co2_kg"] for row in data.rows)
    drawing = Drawing(look.width, 0, f"Score against cost, {data.ranking}: {len(data.rows):,} models")
    entries = [Entry("best of its cost and below", "s2"), Entry("other models", "others")]
    entries += [Entry("energy estimated, not measured", "others", "hollow")] if estimated else []
    top = draw_legend(drawing, 4, entries)
    drawing.height = top + rows * panel_height
    width = look.width / columns
    for place, (column, unit, title) in enumerate(panels):
        left, start = width * (place % columns), top + panel_height * (place // columns)
        area = left + 46, start + 34, left + width - 14, start + panel_height - 46
        hollow = "is_estimated" if column == "co2_kg" else ""
        y_title = f"Average, {data.ranking}" if place % columns == 0 else ""
        draw_panel(drawing, look, area, make_marks(data.rows, column, unit, hollow), (title, y_title))
    return drawing.finish(look.style)
