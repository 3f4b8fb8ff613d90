"""Score against size, with the Pareto front: the models to which none that is as small is as good."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import Ask, Look, Ranking, Row, as_rows, find_ranking, is_amount, require
from nightboard.tasks.page.pictures.axes import Entry, draw_legend
from nightboard.tasks.page.pictures.drawing import Drawing
from nightboard.tasks.page.pictures.scatter import draw_panel, make_marks
from nightboard.warehouse.reader.questions import list_scores

if TYPE_CHECKING:
    import duckdb


class Sizes(NamedTuple):
    """Models of known size, and how many others there are."""

    ranking: Ranking
    rows: list[Row]
    n_unknown: int


def read(con: duckdb.DuckDBPyConnection, ask: Ask) -> Sizes:
    """The models of a ranking whose size is known."""
    ranking = find_ranking(con, ask)
    rows = as_rows(list_scores(con, ranking.suite, ranking.era, ask.filters))
    known = [row for row in rows if is_amount(row["params_b"])]
    message = f"no model that is ranked in {ranking} has a known size."
    return Sizes(ranking, require(known, message), len(rows) - len(known))


def draw(data: Sizes, look: Look) -> str:
    """The picture."""
    height = 420 if look.is_narrow else max(460, round(look.width * 0.5))
    drawing = Drawing(look.width, height, f"Score against size, {data.ranking}: {len(data.rows):,} models")
    text = "other models" + (f"; {data.n_unknown:,} of unknown size left out" if data.n_unknown else "")
    entries = [Entry("best of its size and below", "s2"), Entry(text, "others")]
    top = draw_legend(drawing, 4, entries) + 34
    marks = make_marks(data.rows, "params_b", "billion parameters")
    titles = "Parameters (billions)", f"Average, {data.ranking}"
    draw_panel(drawing, look, (46, top, look.width - 14, height - 46), marks, titles)
    return drawing.finish(look.style)
