"""The best over time: each organization's or country's best score so far, and how many of the top models are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import Ask, Look, Ranking, Row, as_rows, find_ranking, require, shorten
from nightboard.tasks.page.pictures.axes import Entry, Frame, Labels, Scale, draw_legend, make_scale
from nightboard.tasks.page.pictures.drawing import SERIES, SHAPES, Drawing
from nightboard.warehouse.reader.questions import list_records, list_shares

if TYPE_CHECKING:
    import duckdb

_TOP = 20
_DAY = 86400


class Records(NamedTuple):
    """Scores that were the best of their holder, and who had the top models in each month."""

    ranking: Ranking
    holder: str
    records: list[Row]
    shares: list[Row]


def read_organizations(con: duckdb.DuckDBPyConnection, ask: Ask) -> Records:
    """The records and shares of organizations."""
    return _read(con, ask, "organization", "no organization of a ranked model is known")


def read_countries(con: duckdb.DuckDBPyConnection, ask: Ask) -> Records:
    """The records and shares of countries."""
    return _read(
        con,
        ask,
        "country",
        "no ranked model's organization has a country: declare them in the board's organizations file",
    )


def _read(con: duckdb.DuckDBPyConnection, ask: Ask, holder: str, nothing: str) -> Records:
    ranking = find_ranking(con, ask)
    records = require(
        as_rows(list_records(con, ranking.suite, ranking.era, holder, ask.filters)), f"{nothing} ({ranking})."
    )
    return Records(
        ranking, holder, records, as_rows(list_shares(con, ranking.suite, ranking.era, holder, _TOP, ask.filters))
    )


def draw(data: Records, look: Look) -> str:
    """The picture: records above, shares below, over the same time."""
    shown = _choose(data)
    records_height = 300 if look.is_narrow else max(340, round(look.width * 0.36))
    shares_height = 190
    name = f"The best over time by {data.holder}, {data.ranking}"
    drawing = Drawing(look.width, 0, name)
    entries = [Entry(holder, SERIES[place], SHAPES[place % 4]) for place, holder in enumerate(shown)]
    n_others = len({row["holder"] for row in data.shares} - set(shown))
    entries += [Entry("all others", "others", "bar")] if n_others else []
    entries += [Entry("the best of all", "text", "line")]
    top = draw_legend(drawing, 4, entries) + 34
    times = [row["known_at"].timestamp() for row in data.records]
    ends = [end for row in data.shares for end in (_start(row), _end(row))]
    if len({row["month"] for row in data.shares}) < 2:
        # Days of the only month: all of it would be mostly empty.
        ends = [(time // _DAY + more) * _DAY for time in times for more in (0, 1)]
    x = make_scale([*times, *ends], 46, look.width - 14, "time", limits=(min(ends), max(ends)))
    _draw_records(drawing, look, data, shown, x, top, records_height)
    start = top + records_height + 66
    _draw_shares(drawing, data, shown, x, start, shares_height)
    drawing.height = start + shares_height + 30
    return drawing.finish(look.style)


def _start(row: Row) -> float:
    return _second(row["month"])


def _end(row: Row) -> float:
    month = row["month"]
    return _second(date(month.year + month.month // 12, month.month % 12 + 1, 1))


def _second(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _choose(data: Records) -> list[str]:
    """Those that had the most places among the top models, in all months; then those with the best score."""
    n_places: dict[str, int] = {}
    best: dict[str, float] = {}
    for row in data.shares:
        n_places[row["holder"]] = n_places.get(row["holder"], 0) + row["n_models"]
    for row in data.records:
        best[row["holder"]] = row["average"]
    return sorted(best, key=lambda holder: (-n_places.get(holder, 0), -best[holder], holder))[: len(SERIES)]


def _find_leads(records: Iterable[Row]) -> list[Row]:
    """The records of all."""
    leads: list[Row] = []
    for row in records:
        if not leads or row["average"] > leads[-1]["average"]:
            leads.append(row)
    return leads


def _draw_records(
    drawing: Drawing, look: Look, data: Records, shown: Sequence[str], x: Scale, top: float, height: float
) -> None:
    rows, leads = [row for row in data.records if row["holder"] in shown], _find_leads(data.records)
    y = make_scale((row["average"] for row in (*rows, *leads)), top + height, top, limits=(0, 100))
    frame = Frame(x, y)
    frame.draw(drawing, "", f"Best average so far, {data.ranking}")
    for place, holder in reversed([*enumerate(shown)]):
        drawing.path(_make_steps(frame, (row for row in rows if row["holder"] == holder)), SERIES[place], 1.6)
    steps = _make_steps(frame, leads)
    drawing.path(steps, "text", 2.2)
    marks = [*(row for row in leads if row["holder"] not in shown), *rows]
    for row in marks:
        number = shown.index(row["holder"]) if row["holder"] in shown else None
        color, shape = ("text", SHAPES[0]) if number is None else (SERIES[number], SHAPES[number % 4])
        title = f"{row['model_id']}\n{row['holder']}, {row['known_at']:%Y-%m-%d}: average {row['average']:.2f}"
        drawing.dot(_place(frame, row), color, 3.6, shape, title, look.link(row["model_id"]))
    labels = Labels(drawing, (x.start, top - 6, x.end, top + height))
    labels.avoid(_place(frame, row) for row in marks)
    labels.avoid_line(steps)
    # A model that led with several commits is named once.
    for row in reversed({row["model_id"]: row for row in leads}.values()):
        longest = 100 if look.is_narrow else 180
        labels.add(_place(frame, row), shorten(row["model_id"]), link=look.link(row["model_id"]), longest=longest)


def _place(frame: Frame, row: Row) -> tuple[float, float]:
    return frame.place(row["known_at"].timestamp(), row["average"])


def _make_steps(frame: Frame, rows: Iterable[Row]) -> list[tuple[float, float]]:
    """Level until the next record, then up to it."""
    points: list[tuple[float, float]] = []
    for row in rows:
        at = _place(frame, row)
        points += [(at[0], points[-1][1]), at] if points else [at]
    return [*points, (frame.x.end, points[-1][1])]


def _draw_shares(drawing: Drawing, data: Records, shown: Sequence[str], x: Scale, top: float, height: float) -> None:
    months: dict[tuple[float, float], dict[str, int]] = {}
    for row in data.shares:
        of_month = months.setdefault((_start(row), _end(row)), {})
        holder = row["holder"] if row["holder"] in shown else ""
        of_month[holder] = of_month.get(holder, 0) + row["n_models"]
    most = max((sum(counts.values()) for counts in months.values()), default=1)
    y = Scale(0, most, top + height, top, places="whole")
    Frame(x, y).draw(drawing, "", f"Models in the top {_TOP} at the end of each month")
    for (start, end), counts in months.items():
        left = x.place(start)
        right = max(x.place(end) - 1, left + 1)
        n_below = 0
        for holder in (*shown, ""):
            if n_models := counts.get(holder, 0):
                color = SERIES[shown.index(holder)] if holder else "others"
                title = f"{holder or 'all others'}: {n_models} of {sum(counts.values())}"
                upper, lower = y.place(n_below + n_models), y.place(n_below)
                drawing.bar(left, upper, right - left, max(lower - upper - 0.6, 0.4), color, title)
                n_below += n_models
