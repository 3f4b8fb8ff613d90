"""What is asked of a picture, how it is to look, and the error of one without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightboard.tasks.errors import TaskError
from nightboard.warehouse.reader.questions import NO_FILTERS, Filters, choose_ranking, list_suites

if TYPE_CHECKING:
    import duckdb

    from nightboard.warehouse.reader.result import Result

Row = dict[str, Any]
# Below this width a picture is drawn for a phone.
NARROW = 600


class NothingToDrawError(TaskError):
    """There is no data for the picture; the message says which is missing."""


@dataclass(frozen=True)
class Ask:
    """What to draw. `names`: models, or an external ranking. Without a suite and era: those that `rank` shows.

    Of a board: its suites, the first one by default, its name, and the `filters` that let its rows through.
    """

    names: tuple[str, ...] = ()
    suite: str | None = None
    era: str | None = None
    filters: Filters = NO_FILTERS
    suites: tuple[str, ...] | None = None
    board: str | None = None

    @property
    def usual_suite(self) -> str | None:
        """The suite that is meant where none is named."""
        return self.suite or next(iter(self.suites or ()), None)

    def has_suite(self, suite: str) -> bool:
        """Whether a suite may be drawn."""
        return self.suites is None or suite in self.suites


@dataclass(frozen=True)
class Look:
    """Width in pixels, where a model's mark leads to, and the style sheet of a picture that stands alone.

    `most_marks`: more are not told apart, and make a file of megabytes.
    """

    width: int
    link: Callable[[str], str]
    style: str = ""
    most_marks: int = 3000

    @property
    def is_narrow(self) -> bool:
        return self.width < NARROW


@dataclass(frozen=True)
class Ranking:
    """A suite and era in which something is ranked."""

    suite: str
    title: str
    era: str

    def __str__(self) -> str:
        return self.title if self.era == "main" else f"{self.title}, era {self.era}"


def find_ranking(con: duckdb.DuckDBPyConnection, ask: Ask) -> Ranking:
    """The ranking that is asked for. Raises NothingToDrawError for a suite that ranks nothing."""
    known = {str(row[0]) for row in list_suites(con).rows}
    if not known:
        raise NothingToDrawError(
            "nothing is ranked yet. `nightboard nightly` runs evaluations, `import` brings some in."
        )
    usual = ask.usual_suite
    if ask.suite is None and usual is not None and usual not in known:  # the board's profile has it, no run has yet
        raise NothingToDrawError(f"nothing is ranked in suite {usual} yet. `nightboard nightly` runs evaluations.")
    suite, title, era = choose_ranking(con, usual, ask.era)
    if era is None:
        raise NothingToDrawError(f"nothing is ranked in suite {suite} yet. `nightboard nightly` runs evaluations.")
    return Ranking(suite, title, era)


def as_rows(result: Result) -> list[Row]:
    """The answer as a dictionary a row."""
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def require(rows: Iterable[Row], message: str) -> list[Row]:
    """The rows. Raises NothingToDrawError where there are none."""
    found = list(rows)
    if not found:
        raise NothingToDrawError(message)
    return found


def is_amount(value: float | None) -> bool:
    """Whether a number can be placed on a scale of powers."""
    return value is not None and 0 < value < math.inf


def shorten(model_id: str) -> str:
    """A model's name without its owner, for labels."""
    return model_id.partition("/")[2] or model_id
