"""Where values lie in a picture: scales, ticks, the frame around a panel, legends, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from nightboard.tasks.page.pictures.drawing import BOLD_SIZE, TEXT_SIZE, Anchor, Drawing, Shape, fit, measure

Kind = Literal["number", "log", "time"]
Tick = tuple[float, str]
_MINUTE, _DAY = 60.0, 86400.0
_LONGEST_ENTRY = 330
# Repositories name any date; beyond these there is none.
_TIMES = (datetime(2, 1, 1, tzinfo=UTC).timestamp(), datetime(9998, 1, 1, tzinfo=UTC).timestamp())
# Width of the labels left of a panel.
_AXIS = 42
# Steps between ticks of a scale of time, and how they are written. Months have their own.
_STEPS = (
    *((minutes * _MINUTE, "%H:%M") for minutes in (1, 5, 15, 30, 60, 180, 360, 720)),
    *((days * _DAY, "%b %-d") for days in (1, 2, 7, 14)),
)
_MONTHS = (
    (1, "%b %Y"),
    (2, "%b %Y"),
    (3, "%b %Y"),
    (6, "%b %Y"),
    *((12 * years, "%Y") for years in (1, 2, 5, 10, 20, 50, 100, 500, 1000, 5000)),
)


@dataclass(frozen=True)
class Scale:
    """From values to pixels; `places` whole: ticks are whole numbers."""

    low: float
    high: float
    start: float
    end: float
    kind: Kind = "number"
    places: Literal["any", "whole"] = "any"

    def place(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.kind == "log" else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (min(max(value, low), high) - low) / (high - low)

    def list_ticks(self, most: int) -> list[Tick]:
        """Round values inside the scale, at most so many (at least two)."""
        if self.kind == "time":
            return _list_times(self.low, self.high, most)
        if self.kind == "log":
            return _list_powers(self.low, self.high, most)
        ticks = _list_numbers(self.low, self.high, most)
        if self.places == "any":
            return ticks
        # Counts below the line are counts, too.
        return [(value, label.removeprefix("-")) for value, label in ticks if value == int(value)]


def make_scale(
    values: Iterable[float], start: float, end: float, kind: Kind = "number", limits: tuple[float, float] | None = None
) -> Scale:
    """A scale for these values with some room at both ends; never beyond `limits`."""
    known = list(values)
    low, high = min(known), max(known)
    if kind == "log":
        low, high = low / 1.25, high * 1.25
    else:
        room = (high - low) * 0.05 or {"time": _DAY / 2, "number": max(abs(high) * 0.1, 1.0)}[kind]
        low, high = low - room, high + room
    if kind == "time":
        limits = limits or _TIMES
    if limits:
        low, high = max(low, limits[0]), min(high, limits[1])
    return Scale(low, high, start, end, kind)


def write_number(value: float) -> str:
    """A number as people write it: 0.05, 7, 1,200."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _list_numbers(low: float, high: float, most: int) -> list[Tick]:
    """Ticks of the smallest step with few enough; of the one before it, where that leaves less than two."""
    power = 10 ** math.floor(math.log10((high - low) / max(most, 1)))
    found: list[float] = []
    for step in (factor * power for factor in (1, 2, 5, 10, 20)):
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        values = [round(place * step, decimals) for place in range(first, last + 1)]
        found = values if len(values) > 1 or not found else found
        if len(values) <= most:
            break
    return [(value, write_number(value)) for value in found]


def _list_powers(low: float, high: float, most: int) -> list[Tick]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5)):
        values = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in values if low <= value <= high]
        found = inside if len(inside) <= most or not found else found
    every = math.ceil(len(found) / most) if found else 1
    if len(found) < 2:
        return _list_numbers(low, high, min(most, 4))
    return [(value, write_number(value)) for value in found[::every]]


def _list_times(low: float, high: float, most: int) -> list[Tick]:
    for step, form in _STEPS:
        first = math.ceil(low / step)
        if math.floor(high / step) - first < most:
            times = [first * step + place * step for place in range(math.floor(high / step) - first + 1)]
            return _label_times(times, form)
    for months, form in _MONTHS:
        starts = _list_months(low, high, months)
        if len(starts) <= most:
            return [(start.timestamp(), start.strftime(form)) for start in starts]
    return []


def _label_times(times: Sequence[float], form: str) -> list[Tick]:
    """Hours have their date at the first tick of each day."""
    ticks, day = [], ""
    for time in times:
        moment = datetime.fromtimestamp(time, UTC)
        before, day = day, moment.strftime("%b %-d")
        ticks.append((time, moment.strftime(form if form == "%b %-d" or day == before else f"%b %-d {form}")))
    return ticks


def _list_months(low: float, high: float, step: int) -> list[datetime]:
    first, last = (datetime.fromtimestamp(value, UTC) for value in (low, high))
    months = range(max(first.year * 12 // step * step, 12), last.year * 12 + last.month, step)
    starts = (datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months)
    return [start for start in starts if first <= start <= last]


@dataclass(frozen=True)
class Frame:
    """A panel of a picture: its two scales."""

    x: Scale
    y: Scale

    def place(self, x: float, y: float) -> tuple[float, float]:
        return self.x.place(x), self.y.place(y)

    @property
    def size(self) -> tuple[float, float]:
        return abs(self.x.end - self.x.start), abs(self.y.end - self.y.start)

    def draw(self, drawing: Drawing, x_title: str, y_title: str) -> None:
        """Grid, ticks and titles: that of y above the panel, that of x below at the right."""
        left, right = sorted((self.x.start, self.x.end))
        top, bottom = sorted((self.y.start, self.y.end))
        for value, label in self.y.list_ticks(max(2, int(self.size[1] / 45))):
            y = self.y.place(value)
            drawing.line((left, y), (right, y), "grid")
            drawing.text((left - 8, y + 4), label, "quiet", "end")
        # A tick's label is about as wide as "Mar 2025".
        for value, label in self.x.list_ticks(max(2, int(self.size[0] / 76))):
            x = self.x.place(value)
            drawing.line((x, top), (x, bottom), "grid")
            half = measure(label) / 2
            at = min(max(x, half + 2), drawing.width - half - 2)
            drawing.text((at, bottom + 17), label, "quiet", "middle")
        drawing.line((left, bottom), (right, bottom), "quiet")
        start = left - _AXIS
        drawing.text((start, top - 10), fit(y_title, drawing.width - start - 4, BOLD_SIZE), bold=True)
        if x_title:
            drawing.text((right, bottom + 35), fit(x_title, drawing.width - 8), "text", "end")


@dataclass
class Labels:
    """Texts beside marks. One that would cover a mark or another text is tried elsewhere, then left out."""

    drawing: Drawing
    area: tuple[float, float, float, float]
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def avoid(self, places: Iterable[tuple[float, float]], radius: float = 4) -> None:
        """Keep clear of marks."""
        self.taken += [(x - radius, y - radius, x + radius, y + radius) for x, y in places]

    def avoid_line(self, points: Sequence[tuple[float, float]]) -> None:
        """Keep clear of a line whose parts are level or upright."""
        for (x1, y1), (x2, y2) in pairwise(points):
            self.taken.append((min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1))

    def add(
        self, place: tuple[float, float], text: str, color: str = "text", link: str = "", longest: int = 170
    ) -> bool:
        """Write a text beside a mark, where there is room; tells whether there was."""
        x, y = place
        text = fit(text, longest)
        width = measure(text) + 4
        beside: tuple[tuple[float, float, Anchor], ...] = (
            (-8, 4, "end"), (8, 4, "start"), (-7, -7, "end"), (0, -9, "middle"), (7, 16, "start"), (0, 18, "middle"),
            (7, -7, "start"), (-7, 16, "end"),
        )  # fmt: skip
        for dx, dy, anchor in beside:
            left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            box = (left, y + dy - TEXT_SIZE + 1, left + width, y + dy + 3)
            if self._is_free(box):
                self.taken.append(box)
                self.drawing.text((x + dx, y + dy), text, color, anchor, link=link, is_label=True)
                return True
        return False

    def _is_free(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = self.area
        if box[0] < left or box[1] < top or box[2] > right or box[3] > bottom:
            return False
        return not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in self.taken
        )


@dataclass(frozen=True)
class Entry:
    """A line of a legend."""

    text: str
    color: str
    shape: Shape | Literal["line", "bar", "hollow"] = "circle"


def draw_legend(drawing: Drawing, top: float, entries: Sequence[Entry]) -> float:
    """Entries beside each other, in as many rows as they need; the height of all."""
    x, y = 4.0, top + 12
    for entry in entries:
        text = fit(entry.text, min(drawing.width - 40, _LONGEST_ENTRY))
        width = measure(text) + 38
        if x + width > drawing.width and x > 4:
            x, y = 4.0, y + 19
        if entry.shape == "line":
            drawing.path([(x, y - 4), (x + 14, y - 4)], entry.color, 2.5)
        elif entry.shape == "bar":
            drawing.bar(x + 2, y - 9, 10, 10, entry.color)
        elif entry.shape == "hollow":
            drawing.dot((x + 7, y - 4), entry.color, 4.5, hollow=True)
        else:
            drawing.dot((x + 7, y - 4), entry.color, 4.5, entry.shape)
        drawing.text((x + 19, y), text, "text")
        x += width
    return y - top + 8
