"""Marks of models in a panel: thinned where they cover each other, with the Pareto front of small and good ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightboard.tasks.page.pictures.asked import Look, Row, is_amount, shorten
from nightboard.tasks.page.pictures.axes import Frame, Kind, Labels, make_scale, write_number
from nightboard.tasks.page.pictures.drawing import Drawing

_CELLS = (2, 3, 4, 6, 8, 12, 16, 24)


@dataclass(frozen=True)
class Mark:
    """A model in a panel. `title`: what is shown on hover."""

    x: float
    y: float
    model_id: str
    title: str
    is_on_front: bool = False
    is_hollow: bool = False


def find_front(marks: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """Of points, those to which none is both at most as far right and at least as high."""
    front: set[tuple[float, float]] = set()
    best = float("-inf")
    for x, y in sorted(marks, key=lambda place: (place[0], -place[1])):
        if y > best:
            best = y
            front.add((x, y))
    return front


def make_marks(rows: Iterable[Row], column: str, unit: str, hollow: str = "") -> list[Mark]:
    """Averages of models against an amount, where it is known; hollow where the column `hollow` is true."""
    known = [row for row in rows if is_amount(row[column])]
    front = find_front((row[column], row["average"]) for row in known)
    return [
        Mark(
            row[column],
            row["average"],
            row["model_id"],
            f"{describe_score(row)}\n{describe_amount(row[column], unit)}",
            is_on_front=(row[column], row["average"]) in front,
            is_hollow=bool(hollow and row[hollow]),
        )
        for row in known
    ]


def thin(frame: Frame, marks: Sequence[Mark], most: int) -> list[tuple[Mark, int]]:
    """The first mark of each cell of a grid, and how many more it covers; the grid gets coarser until they are few."""
    found: dict[tuple[int, int], tuple[Mark, int]] = {}
    for cell in _CELLS:
        found = {}
        for mark in marks:
            x, y = frame.place(mark.x, mark.y)
            key = (int(x / cell), int(y / cell))
            first, more = found.get(key, (mark, -1))
            found[key] = first, more + 1
        if len(found) <= most:
            break
    return list(found.values())


def draw_panel(
    drawing: Drawing,
    look: Look,
    area: tuple[float, float, float, float],
    marks: Sequence[Mark],
    titles: tuple[str, str],
    kind: Kind = "log",
) -> None:
    """One panel: all models, the front as a line with names. `area`: left, top, right and bottom of the frame."""
    left, top, right, bottom = area
    frame = Frame(
        make_scale((mark.x for mark in marks), left, right, kind),
        make_scale((mark.y for mark in marks), bottom, top, limits=(0, 100)),
    )
    frame.draw(drawing, *titles)
    # Of equal ones the best ranked, which a copy never is, comes last: it is drawn above the others and named first.
    front = sorted((mark for mark in reversed(marks) if mark.is_on_front), key=lambda mark: (mark.x, mark.y))
    others = [mark for mark in marks if not mark.is_on_front]
    # The best ones come first, and are drawn last.
    for mark, more in reversed(thin(frame, others, look.most_marks)):
        title = f"{mark.title}\nand {more:,} more here" if more else mark.title
        drawing.dot(
            frame.place(mark.x, mark.y), "others", 2.6, title=title, link=look.link(mark.model_id),
            hollow=mark.is_hollow,
        )  # fmt: skip
    steps = _make_steps(frame, front, right)
    if steps:
        drawing.path(steps, "s2", 1.5)
    places = [frame.place(mark.x, mark.y) for mark in front]
    labels = Labels(drawing, (left, top - 6, right + 6, bottom))
    labels.avoid(places)
    labels.avoid_line(steps)
    for place, mark in zip(places, front, strict=True):
        link = look.link(mark.model_id)
        drawing.dot(place, "s2", 4.5, title=mark.title, link=link, hollow=mark.is_hollow)
    longest = 110 if look.is_narrow else 190
    for place, mark in zip(reversed(places), reversed(front), strict=True):
        labels.add(place, shorten(mark.model_id), link=look.link(mark.model_id), longest=longest)


def _make_steps(frame: Frame, front: Sequence[Mark], right: float) -> list[tuple[float, float]]:
    """The front as stairs: up at each model, level until the next."""
    points: list[tuple[float, float]] = []
    for mark in front:
        x, y = frame.place(mark.x, mark.y)
        points += [(x, points[-1][1]), (x, y)] if points else [(x, y)]
    return [*points, (right, points[-1][1])] if points else []


def describe_score(row: Row) -> str:
    """Place, average and its interval, in words."""
    low, high = row["average_low"], row["average_high"]
    interval = f" ({low:.1f} to {high:.1f})" if low is not None else ""
    return f"{row['model_id']}\nrank {row['rank']:,}, average {row['average']:.2f}{interval}"


def describe_amount(value: float, unit: str) -> str:
    """A number with three figures, and its unit."""
    return f"{write_number(float(f'{value:.3g}'))} {unit}"
