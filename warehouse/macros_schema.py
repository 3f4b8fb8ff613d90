"""The warehouse's functions and macros in schema `main`: what they answer, their parameters, the columns they give.

Owns their names, defaults and meaning, as `marts_schema.py` does for tables; the SQL stands in functions/ and macros/.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightboard.warehouse.marts_schema import CANDIDATES, HISTORY, LEADERBOARD
from nightboard.warehouse.schema import Column, Table


@dataclass(frozen=True)
class Parameter:
    """A parameter: `default` is SQL; without one it must be given."""

    name: str
    description: str
    default: str | None = None


@dataclass(frozen=True)
class Macro:
    """Something to call: `select name(...)` (a function, no columns) or `select * from name(...)` (a table).

    `meaning` is a table's grain, or what a function returns.
    """

    name: str
    meaning: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...] = ()

    @property
    def comment(self) -> str:
        """All of it as one text. A macro's columns cannot have comments of their own in DuckDB."""
        parts = [self.meaning]
        parts += ["Parameters: " + "; ".join(map(_describe, self.parameters))] if self.parameters else []
        parts += ["Columns: " + "; ".join(f"{c.name}: {c.description}" for c in self.columns)] if self.columns else []
        return ". ".join(parts)


def _describe(parameter: Parameter) -> str:
    default = "" if parameter.default is None else f" (default {parameter.default})"
    return f"{parameter.name}{default}: {parameter.description}"


_SUITE = Parameter("suite", "name of the suite")

_AS_OF = Parameter(
    "as_of", "a time: only evaluations that were finished and commits that were known by then; null: all there is"
)


def _without(table: Table, *names: str) -> tuple[Column, ...]:
    return tuple(column for column in table.columns if column.name not in names)


_IDENTICAL_TO = tuple(column for column in LEADERBOARD.columns if column.name == "identical_to")
# Rank intervals compare every pair: they are made once a build.
_RANKED = _without(LEADERBOARD, "rank_low", "rank_high", "average_stderr")

FUNCTIONS: dict[str, Macro] = {}

MACROS = {
    macro.name: macro
    for macro in (
        Macro(
            "revision_scores_as_of",
            "one row per suite, era, model, revision, precision and chat template: its newest evaluation of a time",
            (_AS_OF,),
            (*_without(CANDIDATES, "evaluated_model_id"), *_IDENTICAL_TO),
        ),
        Macro("ranks_as_of", f"{LEADERBOARD.grain} known at a time", (_AS_OF,), _RANKED),
        Macro(
            "leaderboard_as_of",
            f"{LEADERBOARD.grain} known at a time, of one suite, best first; eras, organisations and states of models"
            " are those of today, scores and commits those of then",
            (_SUITE, _AS_OF),
            _RANKED,
        ),
        Macro(
            "score_by_commit",
            f"{HISTORY.grain}, of one model and suite, oldest commit first",
            (Parameter("model_id", "repository id on the Hub"), _SUITE),
            HISTORY.columns,
        ),
    )
}
