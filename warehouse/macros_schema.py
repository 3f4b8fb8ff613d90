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
_INTERVALS = ("rank_low", "rank_high", "average_stderr", "average_low", "average_high", "is_approximate")
_RANKED = _without(LEADERBOARD, *_INTERVALS)

_MEAN = Parameter("value", "mean of values between 0 and 1")
_VARIANCE = Parameter("variance", "sampling variance of the mean: the square of its standard error")
_N = Parameter("n", "documents")
_T = Parameter("t", "transformed argument")
_Z = Parameter("z", "standard normal statistic")

FUNCTIONS = {
    function.name: function
    for function in (
        Macro(
            "effective_size",
            "number of independent documents that would give a mean its sampling variance (Korn & Graubard 1998);"
            " n where all answers are alike",
            (_MEAN, _VARIANCE, _N),
        ),
        Macro(
            "wilson_bound",
            "bound of Wilson's score interval (1927) of a mean of values between 0 and 1",
            (
                Parameter("mean", "mean of values between 0 and 1"),
                Parameter("size", "documents, or their effective number"),
                Parameter("z", "quantile of the normal distribution: negative for the lower bound"),
            ),
        ),
        Macro("wilson_low", "lower bound of the 95% interval of a mean (Wilson)", (_MEAN, _VARIANCE, _N)),
        Macro("wilson_high", "upper bound of the 95% interval of a mean (Wilson)", (_MEAN, _VARIANCE, _N)),
        Macro(
            "normal_quantile",
            "quantile of the standard normal distribution, to 1e-8 (Acklam's rational approximation)",
            (Parameter("probability", "more than 0, less than 1"),),
        ),
        Macro("normal_quantile_tail", "part of normal_quantile: the upper tail", (_T,)),
        Macro(
            "normal_quantile_middle",
            "part of normal_quantile: not in the tails",
            (Parameter("q", "probability less 0.5"),),
        ),
        Macro("erfc_exponent", "part of normal_p_value", (_T,)),
        Macro(
            "normal_p_value",
            "two-sided p-value of a standard normal statistic, to a relative 2e-7 (Numerical Recipes 6.2)",
            (_Z,),
        ),
        Macro(
            "sign_test",
            "two-sided p-value of the exact sign test: wins as likely as losses; of right and wrong answers: McNemar's",
            (Parameter("wins", "documents where a is better"), Parameter("losses", "documents where b is better")),
        ),
    )
}

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
