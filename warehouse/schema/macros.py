"""The warehouse's macros in schema `main`: what they answer, their parameters, the columns they give.

Owns their names, defaults and meaning, as `marts_schema.py` does for tables and `functions_schema.py` for functions.
The SQL stands in macros/.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from nightboard.warehouse.schema.analyses import RANK_SHIFTS
from nightboard.warehouse.schema.columns import Column, Table, take
from nightboard.warehouse.schema.lake_tables import SAMPLES, SUITES
from nightboard.warehouse.schema.marts import CANDIDATES, HISTORY, LEADERBOARD


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


_IDENTICAL_TO = take(LEADERBOARD, "identical_to")
# Rank intervals compare every pair: they are made once a build.
_INTERVALS = ("rank_low", "rank_high", "average_stderr", "average_low", "average_high", "is_approximate")
_RANKED = _without(LEADERBOARD, *_INTERVALS)

_ERA = Parameter("era", "era of the suite; null: the current one", "null")
_UNTIL = replace(_AS_OF, default="null")

_SELECTED_RANK = Column("selected_rank", pa.int64(), "place among those that the filters let through")

_PAIR = tuple(
    Parameter(name, "a model's id, model@revision (the first letters do) or an evaluation's id")
    for name in ("model_a", "model_b")
)
_SUITE_ERA = take(LEADERBOARD, "suite", "era")
_EVALUATION_PAIR = tuple(
    Column(f"evaluation_{side}", pa.string(), f"evaluation of model_{side} that is compared") for side in "ab"
)
_SAMPLE = {column.name: column for column in SAMPLES.columns}

MACROS = {
    macro.name: macro
    for macro in (
        Macro(
            "comparable_evaluations",
            "one row per suite that two models share: evaluations of one era, the current one if possible; of a model"
            " with several settings the best-ranked",
            _PAIR,
            (*_SUITE_ERA, *_EVALUATION_PAIR),
        ),
        Macro(
            "paired_answers",
            "one row per suite, task, metric and document that two models both answered, by the declared metrics",
            _PAIR,
            (
                *_SUITE_ERA,
                *take(SUITES, "suite_version"),
                *(_SAMPLE[name] for name in ("benchmark", "task", "metric", "doc_id", "doc_hash")),
                Column("question", pa.string(), "what the document asks: the same for documents that share a question"),
                Column("value_a", pa.float64(), "the document's score for model_a"),
                Column("value_b", pa.float64(), "the document's score for model_b"),
                *(_SAMPLE[name] for name in ("weight", "target")),
                Column("response_a", pa.string(), "what model_a answered"),
                Column("response_b", pa.string(), "what model_b answered"),
                *_EVALUATION_PAIR,
            ),
        ),
        Macro(
            "paired_effects",
            "one row per suite, task, metric and document that two models both answered: what it counts in compare",
            _PAIR,
            (
                *_SUITE_ERA,
                *(_SAMPLE[name] for name in ("benchmark", "task", "metric", "doc_id")),
                Column("position", pa.int64(), "order of the benchmark"),
                Column("question", pa.string(), "what the document asks: the same for documents that share a question"),
                *(_SAMPLE[name] for name in ("weight",)),
                Column("value_a", pa.float64(), "the document's score for model_a"),
                Column("value_b", pa.float64(), "the document's score for model_b"),
                Column("points", pa.float64(), "the most that it can move the difference of normalized scores by"),
                Column("points_a", pa.float64(), "its part of model_a's normalized score, 0..100"),
                Column("points_b", pa.float64(), "its part of model_b's normalized score, 0..100"),
                Column(
                    "influence",
                    pa.float64(),
                    "what it moves the difference by, beside a document like the mean; null: the task has no other",
                ),
                *_EVALUATION_PAIR,
            ),
        ),
        Macro(
            "compare",
            "one row per suite and benchmark that two models share, and one for their average: paired over documents"
            " that both answered. Imported boards have no documents",
            _PAIR,
            (
                *_SUITE_ERA,
                Column("benchmark", pa.string(), "key of the benchmark, or average"),
                Column("n_questions", pa.int64(), "different questions that both answered"),
                Column(
                    "score_a", pa.float64(), "normalized score of model_a over these, 0..100, without the clip at 0"
                ),
                Column(
                    "score_b", pa.float64(), "normalized score of model_b over these, 0..100, without the clip at 0"
                ),
                Column("difference", pa.float64(), "score_a - score_b"),
                Column(
                    "stderr",
                    pa.float64(),
                    "standard error of difference: paired, linearised, by question; null: a task has one document",
                ),
                Column(
                    "low",
                    pa.float64(),
                    "lower end of difference's 95% interval, not below the least one that there can be",
                ),
                Column(
                    "high",
                    pa.float64(),
                    "upper end of difference's 95% interval, not above the largest one that there can be",
                ),
                Column(
                    "p_value",
                    pa.float64(),
                    "two-sided: exact McNemar (sign) test of wins against losses; of the average by the normal"
                    " distribution (null: no standard error)",
                ),
                Column("wins", pa.int64(), "questions that model_a answered better"),
                Column("losses", pa.int64(), "questions that model_b answered better"),
                Column("ties", pa.int64(), "questions that both answered alike"),
                *_EVALUATION_PAIR,
            ),
        ),
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
            "top_models",
            f"{LEADERBOARD.grain}, of one era of a suite, that the filters let through, best first",
            (
                _SUITE,
                Parameter("n", "rows at most; null: all", "10"),
                _ERA,
                _UNTIL,
                Parameter("min_params_b", "only more parameters than this, in billions; unknown sizes go", "null"),
                Parameter("max_params_b", "only up to this many parameters, in billions; unknown sizes go", "null"),
                Parameter("model_type", "only this type: pretrained, fine-tuned, chat ...", "null"),
                Parameter("precision", "only this number format", "null"),
                Parameter("license", "only this licence", "null"),
                Parameter("organization", "only this organisation", "null"),
                Parameter("country", "only organisations of this country (ISO 3166-1 alpha-2)", "null"),
                Parameter("with_merges", "false: no merges of models; unknown ones stay", "true"),
                Parameter("with_flagged", "false: no models that an imported board flagged", "true"),
                Parameter("with_unavailable", "false: no deleted, private or disabled models, as known today", "true"),
                Parameter("with_gated", "false: no models that ask for accepted terms, as known today", "true"),
                Parameter("with_copies", "false: no models whose files are those of a model that was run", "true"),
            ),
            (_SELECTED_RANK, *_RANKED),
        ),
        Macro(
            "best_by_size",
            "one row per size bracket that has a model: its best one by rank; unknown sizes are in no bracket",
            (
                _SUITE,
                _ERA,
                _UNTIL,
                Parameter("bounds", "ends of the brackets, in billions", "[1, 2, 4, 9, 15, 40, 80]"),
            ),
            (
                Column("above_b", pa.float64(), "parameters in billions that the bracket begins above"),
                Column("up_to_b", pa.float64(), "parameters in billions that it ends at; null: no end"),
                Column("n_models", pa.int64(), "rows of the leaderboard in the bracket"),
                *_RANKED,
            ),
        ),
        Macro(
            "size_front",
            "one row per model on the Pareto front of size against average, smallest first: no other one is as small or"
            " smaller and as good or better; unknown sizes are left out",
            (_SUITE, _ERA, _UNTIL),
            _RANKED,
        ),
        Macro(
            "top_shares",
            "one row per month and organisation or country with models among the top n of the ranking as it stood at"
            " the month's end; the best row of a model counts, copies do not",
            (
                _SUITE,
                Parameter("n", "how many are the top", "10"),
                Parameter("holder", "organization, or country", "'organization'"),
                _ERA,
            ),
            (
                Column("month", pa.date32(), "first day of the month (UTC)"),
                Column("name", pa.string(), "organisation, or country; null: not declared"),
                Column("n_models", pa.int64(), "its models among the top"),
                Column("share", pa.float64(), "its part of the top, 0..1"),
            ),
        ),
        Macro(
            "shifts_between",
            "one row per model that the current eras of two suites both rank, of identical weights one; most places"
            " lost first",
            (Parameter("suite_a", "suite A"), Parameter("suite_b", "suite B")),
            RANK_SHIFTS.columns,
        ),
        Macro(
            "document_difficulty",
            "one row per task and document of a suite's era, hardest first, over the models with samples; of a model"
            " its newest evaluation, of identical weights one",
            (_SUITE, Parameter("benchmark", "only this benchmark: much faster than all", "null"), _ERA),
            (
                *take(SAMPLES, "benchmark", "task", "doc_id"),
                Column("n_models", pa.int64(), "models that answered it"),
                Column("share_right", pa.float64(), "mean score of the document, 0..1: low is hard"),
                Column(
                    "discrimination",
                    pa.float64(),
                    "point-biserial correlation of the document's score with the models' averages: high where good"
                    " models get it right and bad ones wrong, negative hints at a wrong target; null: no difference",
                ),
            ),
        ),
        Macro(
            "score_by_commit",
            f"{HISTORY.grain}, of one model and suite, oldest commit first",
            (Parameter("model_id", "repository id on the Hub"), _SUITE),
            HISTORY.columns,
        ),
    )
}
