"""Two rankings of the same models against each other: the suite v1 against v2, and ours against an external one.

A model on the diagonal has the same place in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import (
    Ask,
    Look,
    NothingToDrawError,
    Row,
    as_rows,
    find_ranking,
    require,
    shorten,
)
from nightboard.tasks.page.pictures.axes import Entry, Frame, Labels, Scale, draw_legend
from nightboard.tasks.page.pictures.drawing import Drawing, Shape, fit
from nightboard.tasks.page.pictures.scatter import Mark, thin
from nightboard.warehouse.reader.questions import (
    list_correlations,
    list_external,
    list_rankings,
    list_shifts,
)

if TYPE_CHECKING:
    import duckdb

# So many of those that moved farthest have a name.
_NAMED = 8


class Shifts(NamedTuple):
    """Models with their places in both suites."""

    rows: list[Row]


class External(NamedTuple):
    """Models with their places here and there, and how far the rankings agree."""

    ranking: str
    suite: str
    era: str
    rows: list[Row]
    agreement: Row


@dataclass(frozen=True)
class _Place:
    """A model's places: `x` and `y` are the ranks, `lost` how many places are lost from x to y."""

    model_id: str
    x: int
    y: int
    title: str

    @property
    def lost(self) -> int:
        return self.y - self.x


@dataclass(frozen=True)
class _Words:
    """What the picture is called, its axes, and its two sides."""

    name: str
    x_title: str
    y_title: str
    better: str
    worse: str
    note: str


def read_shifts(con: duckdb.DuckDBPyConnection, ask: Ask) -> Shifts:
    """Models that are ranked in both suites."""
    has_both = ask.has_suite("leaderboard-v1") and ask.has_suite("leaderboard-v2")
    rows = as_rows(list_shifts(con, ask.filters)) if has_both else []
    return Shifts(require(rows, "no model is ranked in both leaderboard-v1 and leaderboard-v2."))


def draw_shifts(data: Shifts, look: Look) -> str:
    """The picture of v1 against v2."""
    places = [
        _Place(
            row["model_id"],
            row["rank_a"],
            row["rank_b"],
            f"{row['model_id']}\nv1: place {row['rank_a']:,}, average {row['average_a']:.2f}"
            f"\nv2: place {row['rank_b']:,}, average {row['average_b']:.2f}",
        )
        for row in data.rows
    ]
    words = _Words(
        f"Places in leaderboard-v1 against leaderboard-v2: {len(places):,} models",
        "Place in leaderboard-v1",
        "Place in leaderboard-v2",
        "better in v2",
        "worse in v2: may be tuned to the old benchmarks",
        f"{len(places):,} models are in both",
    )
    return _draw(places, words, look)


def read_external(con: duckdb.DuckDBPyConnection, ask: Ask) -> External:
    """The external ranking that is named, else the one with the most models in common; in the usual suite if it can."""
    usual = find_ranking(con, replace(ask, era=None)).suite
    rankings = as_rows(list_rankings(con, usual, ask.era))
    if not rankings and ask.suite is None:
        rankings = [row for row in as_rows(list_rankings(con, None, ask.era)) if ask.has_suite(row["suite"])]
    if not rankings:
        raise NothingToDrawError(
            "no external ranking has a model that is ranked here. `nightboard import ranking` brings one in."
        )
    wanted = ask.names[0] if ask.names else rankings[0]["ranking"]
    found = next((row for row in rankings if row["ranking"] == wanted), None)
    if found is None:
        known = ", ".join(row["ranking"] for row in rankings)
        raise NothingToDrawError(f"no external ranking with models of ours is called {wanted}. Known: {known}.")
    suite, era = found["suite"], found["era"]
    rows = as_rows(list_external(con, wanted, suite, era, ask.filters))
    rows = require(rows, f"{wanted} has no model that is ranked here.")
    # The agreement is known of all rows of a store.
    agreement = as_rows(list_correlations(con, wanted, suite, era))[0] if ask.filters.models is None else {}
    return External(wanted, suite, era, rows, agreement)


def draw_external(data: External, look: Look) -> str:
    """The picture of ours against an external ranking."""
    places = [
        _Place(
            row["model_id"],
            row["their_place"],
            row["our_place"],
            f"{row['model_id']}\n{data.ranking}: place {row['their_place']:,} of {len(data.rows):,}"
            f" ({row['model_name']})"
            f"\n{data.suite}: place {row['our_place']:,}, average {row['our_average']:.2f}",
        )
        for row in data.rows
    ]
    words = _Words(
        f"Places in {data.ranking} against {data.suite}: {len(places):,} models",
        f"Place in {data.ranking}",
        f"Place in {data.suite}",
        f"better in {data.suite}",
        f"better in {data.ranking}",
        _describe_agreement(data),
    )
    return _draw(places, words, look)


def _describe_agreement(data: External) -> str:
    rho, low, high = (data.agreement.get(f"spearman_{name}") for name in ("rho", "low", "high"))
    text = f"{len(data.rows):,} models in common"
    if rho is None:
        return text
    return f"{text}; Spearman's rho {rho:.2f}" + (f" ({low:.2f} to {high:.2f})" if low is not None else "")


def _draw(places: Sequence[_Place], words: _Words, look: Look) -> str:
    drawing = Drawing(look.width, 0, words.name)
    entries = [Entry(words.better, "s1"), Entry(words.worse, "s2", "triangle"), Entry("same place", "quiet", "line")]
    top = draw_legend(drawing, 4, entries) + 16
    drawing.text((4, top), fit(words.note, look.width - 8), "quiet")
    top += 32
    height = 330 if look.is_narrow else max(400, round(look.width * 0.46))
    drawing.height = top + height + 46
    last = max(max(place.x, place.y) for place in places)
    left, right, bottom = 46, look.width - 14, top + height
    # The first place is at the top right.
    ends = 0.5, last + max(last * 0.02, 0.5)
    frame = Frame(Scale(*ends, right, left, places="whole"), Scale(*ends, top, bottom, places="whole"))
    frame.draw(drawing, words.x_title, words.y_title)
    drawing.path([frame.place(1, 1), frame.place(last, last)], "quiet", 1.2, "5 4")
    marks = [Mark(place.x, place.y, place.model_id, place.title) for place in places]
    lost = {place.model_id: place.lost for place in places}
    for mark, more in reversed(thin(frame, marks, look.most_marks)):
        title = f"{mark.title}\nand {more:,} more here" if more else mark.title
        is_worse = lost[mark.model_id] > 0
        color = "others" if not lost[mark.model_id] else "s2" if is_worse else "s1"
        shape: Shape = "triangle" if is_worse else "circle"
        drawing.dot(frame.place(mark.x, mark.y), color, 3, shape, title, look.link(mark.model_id))
    labels = Labels(drawing, (left, top - 6, right + 8, bottom))
    labels.avoid((frame.place(place.x, place.y) for place in places[: look.most_marks]), 2)
    for place in sorted(places, key=lambda place: -abs(place.lost))[:_NAMED]:
        if place.lost:
            at = frame.place(place.x, place.y)
            longest = 100 if look.is_narrow else 180
            labels.add(at, shorten(place.model_id), link=look.link(place.model_id), longest=longest)
    return drawing.finish(look.style)
