"""Tables of texts: which columns are shown, how wide they are, and where long cells are folded.

On a terminal nothing is wider than it, and the columns that do not fit are named below the table. In a file or a pipe
every column is there.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from nightboard.flows.display.console import Terminal, clean, count

# Blanks between two columns.
GAP = 2
# A time, 2026-01-31 18:00:00, is read in one piece.
SHORT = 19
# Of a table in a log, which a browser shows.
LOG_WIDTH = 160
# More names of hidden columns take more than two lines.
SHOWN_NAMES = 9

WORDS = re.compile(r"\S+\s*|\s+")
# An id such as organization/name-7B_v1 can be read on two lines; a path must stay whole, to be pasted.
ID_PARTS = re.compile(r"[^/_-]+[/_-]*|[/_-]+")
# Ids that are wider than half of a terminal are folded, so that few of them do not push all other columns out.
ID_TITLES = ("model", "model_id")


@dataclass(frozen=True)
class TextColumn:
    """A column of a table. Where there is little room, a cell is folded after one of its `parts`; a number never is.

    `least`: columns of the terminal that it takes at least, if its cells have so many.
    """

    title: str
    cells: Sequence[str]
    is_number: bool = False
    least: int = SHORT
    parts: re.Pattern[str] = WORDS

    def limits(self) -> tuple[int, int]:
        """What the column takes at least, with every part whole, and at most."""
        texts = [line for cell in self.cells for line in cell.split("\n")]
        widest = max(map(cell_len, texts), default=0)
        longest_part = widest if self.is_number else _longest_part(texts, self.parts)
        title = cell_len(self.title)
        least = max(longest_part, min(widest, self.least), min(title, max(_longest_part([self.title], WORDS), SHORT)))
        return least, max(least, widest, title)


def cells_table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()) -> list[TextColumn]:
    """The columns of a table whose cells are given row by row; those named in `right` are numbers."""
    numbers = set(right)
    # Tabs are blanks to the eye, and have no width of their own.
    cells = [[clean(cell.expandtabs()) for cell in row] for row in rows]
    return [
        TextColumn(clean(title), [row[index] for row in cells], title in numbers) for index, title in enumerate(titles)
    ]


def fits(console: Console, columns: Sequence[TextColumn]) -> bool:
    """Whether all columns have room side by side, long texts folded; always in a file or a pipe."""
    if not is_screen(console):
        return True
    columns = _make_ids_foldable(columns, console.width // 2)
    return _total([column.limits()[0] for column in columns]) <= console.width


def print_table(
    console: Console,
    columns: Sequence[TextColumn],
    first: Sequence[str] = (),
    elsewhere: str = "--format csv",
    title: str = "",
) -> list[str]:
    """Print a table; the titles that it shows. On a terminal the least telling columns are hidden where not all fit.

    `first`: titles of the most telling columns; the others follow in their order. `elsewhere`: the option that shows
    all columns, if there is one.
    """
    if is_screen(console):
        columns = _make_ids_foldable(columns, console.width // 2)
    limits = [column.limits() for column in columns]
    shown = list(range(len(columns)))
    if is_screen(console):
        rank = {name: place for place, name in enumerate(dict.fromkeys(first))}
        order = sorted(shown, key=lambda index: rank.get(columns[index].title, len(rank)))
        shown = _choose([least for least, _ in limits], console.width, order)
    widths = _share(console.width - GAP * (len(shown) - 1), [limits[index] for index in shown])
    header, *body = _lay_out([columns[index] for index in shown], widths)
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(Text(header, style="bold"), soft_wrap=True)
    if body:
        console.print(Text("\n".join(body)), soft_wrap=True)
    if hidden := [column.title for index, column in enumerate(columns) if index not in shown]:
        _name_hidden(console, hidden, elsewhere)
    return [columns[index].title for index in shown]


def show_table(
    ui: Terminal, columns: Sequence[TextColumn], first: Sequence[str] = (), elsewhere: str = "", title: str = ""
) -> None:
    """Print a table of a run, and give it to the run's log, with all columns."""
    text = io.StringIO()
    print_table(Console(file=text, width=LOG_WIDTH), columns, title=title)
    ui.log(logging.INFO, text.getvalue())
    if not ui.is_quiet:
        print_table(ui.console, columns, first, elsewhere, title)


def print_records(console: Console, columns: Sequence[TextColumn]) -> None:
    """Print each row as lines of column and value: for few rows that are too wide for a table."""
    names_width = max(cell_len(column.title) for column in columns) + GAP
    for number, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if number:
            console.print()
        for column, cell in zip(columns, cells, strict=True):
            name = column.title + " " * (names_width - cell_len(column.title))
            lines = fold(cell, console.width - names_width, column.parts)
            value = ("\n" + " " * names_width).join(lines)
            console.print(Text.assemble((name, "bold"), value), soft_wrap=True)


def is_screen(console: Console) -> bool:
    """Whether the output goes to a terminal, whose width counts."""
    # Not `is_terminal`, which environment variables set for pipes, too.
    return console.file.isatty()


def _make_ids_foldable(columns: Sequence[TextColumn], least: int) -> list[TextColumn]:
    return [replace(column, least=least, parts=ID_PARTS) if column.title in ID_TITLES else column for column in columns]


def _choose(least: Sequence[int], room: int, order: Sequence[int]) -> list[int]:
    """The columns that fit, the first in `order` before the others; one in any case, however wide."""
    chosen: list[int] = []
    for index in order:
        if not chosen or _total([least[place] for place in [*chosen, index]]) <= room:
            chosen.append(index)
    return sorted(chosen)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _share(room: int, limits: Sequence[tuple[int, int]]) -> list[int]:
    """Widths that take up the room at most: the widest columns give way first, each down to its least."""

    def cut(cap: int) -> list[int]:
        return [max(least, min(most, cap)) for least, most in limits]

    low, high = 0, max((most for _, most in limits), default=0)
    while low < high:
        cap = (low + high + 1) // 2
        low, high = (cap, high) if sum(cut(cap)) <= room else (low, cap - 1)
    return cut(low)


def _lay_out(columns: Sequence[TextColumn], widths: Sequence[int]) -> Iterator[str]:
    """The header, and a text for each row; a folded cell makes more lines of it."""
    titles = [fold(column.title, width, WORDS) for column, width in zip(columns, widths, strict=True)]
    yield _join(columns, widths, titles)
    for cells in zip(*(column.cells for column in columns), strict=True):
        folded = [fold(cell, width, column.parts) for column, cell, width in zip(columns, cells, widths, strict=True)]
        yield _join(columns, widths, folded)


def _join(columns: Sequence[TextColumn], widths: Sequence[int], cells: Sequence[Sequence[str]]) -> str:
    def pad(column: TextColumn, width: int, text: str) -> str:
        blanks = " " * (width - cell_len(text))
        return blanks + text if column.is_number else text + blanks

    lines = zip_longest(*cells, fillvalue="")
    return "\n".join((" " * GAP).join(map(pad, columns, widths, line)).rstrip() for line in lines)


def fold(text: str, width: int, parts: re.Pattern[str]) -> list[str]:
    """The lines of a text, each of as many whole parts as `width` has room for, and of one at least."""
    lines = []
    for given in text.split("\n"):
        line = ""
        if cell_len(given) <= width:
            line = given
        else:
            for part in parts.findall(given):
                if line and cell_len((line + part).rstrip()) > width:
                    lines.append(line.rstrip())
                    line = ""
                line += part
        lines.append(line.rstrip())
    return lines


def _longest_part(texts: Iterable[str], parts: re.Pattern[str]) -> int:
    return max((cell_len(part.rstrip()) for text in texts for part in parts.findall(text)), default=0)


def _name_hidden(console: Console, hidden: Sequence[str], elsewhere: str) -> None:
    names = ", ".join(hidden[:SHOWN_NAMES])
    more = f" and {len(hidden) - SHOWN_NAMES} more" if len(hidden) > SHOWN_NAMES else ""
    remedy = f"a wider terminal or {elsewhere} shows" if elsewhere else "a wider terminal shows"
    what = "it" if len(hidden) == 1 else "them"
    Terminal(console).say(f"{count(len(hidden), 'column')} hidden: {names}{more}; {remedy} {what}.", "dim")
