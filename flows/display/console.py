"""What an operator sees while a command runs: sentences and warnings, on a terminal or in a log.

Owns how things look, never what happens. No text has markup: one from outside looks as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO, TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from nightboard.warehouse.builder.publish import Report

# Codes that would move the cursor, change colors, turn the order of letters or worse, and halves of characters, which
# cannot be written; a tab and the end of a line do no harm.
_STEERING = {*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
_CODES = dict.fromkeys(_STEERING - {9, 10}, "\N{REPLACEMENT CHARACTER}")
_VISIBLE = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _STEERING - {9, 10}}


def clean(text: str) -> str:
    """A text from outside without codes that steer a terminal."""
    return text.translate(_CODES)


def wrap(line: str, width: int) -> str:
    """A line as one or more, each of whole words: a path that is broken in two cannot be pasted."""
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)


@dataclass(frozen=True)
class VisibleCodes:
    """A terminal that shows codes which would steer it, where a machine's format goes to it."""

    out: IO[bytes]

    def write(self, data: bytes) -> int:
        return self.out.write(data.decode().translate(_VISIBLE).encode())


def make_console() -> Console:
    """A console that does not fold lines at 80 columns when its output goes to a file."""
    console = Console(highlight=False)
    return console if console.is_terminal or os.environ.get("COLUMNS") else Console(highlight=False, width=160)


@dataclass
class Terminal:
    """Says things in order. Bars are drawn on terminals only; elsewhere every event is a line.

    `is_quiet`: only warnings are printed. `log` is given everything that is said, with its level.
    """

    console: Console = field(default_factory=make_console)
    is_quiet: bool = False
    log: Callable[[int, str], None] = lambda level, text: None

    def say(self, text: str, style: str = "") -> None:
        """Print a line, folded between words only: half a path cannot be pasted."""
        self.log(logging.INFO, text)
        if not self.is_quiet:
            self._print(text, style)

    def step(self, text: str) -> None:
        """Print the heading of a step."""
        self.say(text, "bold")

    def say_path(self, text: str, path: str) -> None:
        """Print a line that ends in a path, which is never folded, even where there are blanks in it."""
        self.log(logging.INFO, text + path)
        if not self.is_quiet:
            self.console.print(clean(text + path), markup=False, emoji=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print something that an operator should look at."""
        self.log(logging.WARNING, text)
        self._print(f"! {text}", "yellow")

    def _print(self, text: str, style: str) -> None:
        lines = (wrap(line, self.console.width) for line in clean(text).split("\n"))
        self.console.print("\n".join(lines), style=style or None, markup=False, emoji=False, soft_wrap=True)

    def progress(self) -> Progress:
        """Bars for long work; use as a context manager. A task's field `left` says how long it still takes."""
        from nightboard.flows.display.bars import make_bars

        return make_bars(self.console, is_shown=self.console.is_terminal and not self.is_quiet)

    @contextlib.contextmanager
    def show_work(self) -> Iterator[Report]:
        """One bar for each kind of work; call what it yields with the kind, what is done, and of how much."""
        bars: dict[str, TaskID] = {}
        with self.progress() as progress:

            def report(what: str, done: int, total: int) -> None:
                if what not in bars:
                    bars[what] = progress.add_task(what, total=total)
                progress.update(bars[what], completed=done)

            yield report


def count(number: int, noun: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shorten(text: str, most: int = 120) -> str:
    """The first line of a text, or as much of it as a list has room for."""
    line, _, rest = text.partition("\n")
    if len(line) <= most:
        return f"{line} ..." if rest else line
    return f"{line[: most - 4].rsplit(' ', 1)[0]} ..."


def word_hours(hours: float) -> str:
    """GPU-hours with one digit after the point, of less than a tenth with two that count: `61.2`, `0.018`."""
    return f"{hours:.2g}" if 0 < hours < 0.1 else f"{hours:,.1f}"


def duration(seconds: float) -> str:
    """Seconds as a person says it: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    span = timedelta(seconds=seconds)
    return f"{span.total_seconds() / 3600:.1f} h"
