"""Queue and throughput: evaluations done and attempts that failed, by day, and what waited at the end of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import Ask, Look, Row, as_rows, require
from nightboard.tasks.page.pictures.axes import Entry, Frame, Scale, draw_legend
from nightboard.tasks.page.pictures.drawing import Drawing
from nightboard.warehouse.reader.questions import list_nights

if TYPE_CHECKING:
    import duckdb

# Days of a bar, and what it is called: the first with bars that are wide enough.
_SPANS = ((1, "day"), (7, "week"), (28, "4 weeks"))
_NARROWEST, _FEWEST_DAYS = 4, 10


class Nights(NamedTuple):
    """What was done, failed and waited on each day."""

    rows: list[Row]


def read(con: duckdb.DuckDBPyConnection, ask: Ask) -> Nights:
    """What happened on each day, for all suites."""
    message = "no evaluation was planned and nothing was requested in this store yet."
    return Nights(require(as_rows(list_nights(con, ask.filters.models, ask.board)), message))


def draw(data: Nights, look: Look) -> str:
    """The picture: throughput above, queue below, over the same days."""
    left, right = 46, look.width - 14
    spans = [span for span in _SPANS if (right - left) / (len(data.rows) / span[0]) >= _NARROWEST] or [_SPANS[-1]]
    n_days, name = spans[0]
    rows = [_join(data.rows[place : place + n_days]) for place in range(0, len(data.rows), n_days)]
    drawing = Drawing(look.width, 0, f"Evaluations done, failed and waiting by {name}")
    entries = [Entry("done", "s1", "bar"), Entry("failed attempts", "s2", "bar")]
    entries += [Entry("evaluations waiting", "s3", "line"), Entry("requests waiting", "s4", "line")]
    top = draw_legend(drawing, 4, entries) + 34
    last = data.rows[-1]["day"]
    # One night is no bar as wide as the picture.
    first = min(data.rows[0]["day"], last - timedelta(days=_FEWEST_DAYS - 1))
    x = Scale(_second(first), _second(last + timedelta(days=1)), left, right, "time")
    height = 220 if look.is_narrow else max(240, round(look.width * 0.25))
    _draw_done(drawing, rows, x, n_days, name, (top, top + height))
    start = top + height + 66
    _draw_waiting(drawing, rows, x, n_days, name, (start, start + 0.7 * height))
    drawing.height = start + 0.7 * height + 30
    return drawing.finish(look.style)


def _join(days: list[Row]) -> Row:
    """Several days as one: what happened in all, what waited after the last."""
    added = {name: sum(day[name] for day in days) for name in ("n_done", "n_failed")}
    return days[-1] | added | {"day": days[0]["day"]}


def _second(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _draw_done(drawing: Drawing, rows: list[Row], x: Scale, n_days: int, name: str, ends: tuple[float, float]) -> None:
    """Done above the line, failed below."""
    most, least = max(row["n_done"] for row in rows), -max(row["n_failed"] for row in rows)
    scale = Scale(least * 1.05, max(most * 1.05, 1), ends[1], ends[0], places="whole")
    Frame(x, scale).draw(drawing, "", f"Evaluations done, and attempts failed, by {name}")
    for row in rows:
        left, right = _find_bar(x, row["day"], n_days)
        failed = f", {row['n_failed']:,} attempts failed" if row["n_failed"] else ""
        title = f"{row['day']}: {row['n_done']:,} done{failed}"
        base = scale.place(0)
        if row["n_done"]:
            drawing.bar(left, scale.place(row["n_done"]), right - left, base - scale.place(row["n_done"]), "s1", title)
        if row["n_failed"]:
            drawing.bar(left, base, right - left, scale.place(-row["n_failed"]) - base, "s2", title)
    drawing.line((x.start, scale.place(0)), (x.end, scale.place(0)), "quiet")


def _draw_waiting(
    drawing: Drawing, rows: list[Row], x: Scale, n_days: int, name: str, ends: tuple[float, float]
) -> None:
    most = max(max(row["n_evaluations"], row["n_requests"]) for row in rows)
    scale = Scale(0, max(most * 1.05, 1), ends[1], ends[0], places="whole")
    Frame(x, scale).draw(drawing, "", f"Waiting at the end of each {name}")
    counts: tuple[tuple[str, str, Callable[[Row], int]], ...] = (
        ("s3", "evaluations", lambda row: row["n_evaluations"]),
        ("s4", "requests", lambda row: row["n_requests"]),
    )
    for color, what, count in counts:
        points = []
        for row in rows:
            left, right = _find_bar(x, row["day"], n_days, gap=0)
            points += [(left, scale.place(count(row))), (right, scale.place(count(row)))]
        drawing.path(points, color, 2)
        if what == "evaluations":
            _draw_hover(drawing, rows, x, n_days, ends)


def _draw_hover(drawing: Drawing, rows: list[Row], x: Scale, n_days: int, ends: tuple[float, float]) -> None:
    """Numbers that are shown where the pointer is."""
    for row in rows:
        left, right = _find_bar(x, row["day"], n_days, gap=0)
        title = f"{row['day']}: {row['n_evaluations']:,} evaluations and {row['n_requests']:,} requests waiting"
        drawing.bar(left, ends[0], right - left, ends[1] - ends[0], "clear", title)


def _find_bar(x: Scale, day: date, n_days: int, gap: float = 1) -> tuple[float, float]:
    left, right = x.place(_second(day)), x.place(_second(day + timedelta(days=n_days)))
    return left, max(right - gap, left + 1)
