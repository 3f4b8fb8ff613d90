"""The warehouse's table macros in `main` (compare, top_models ...): parameters, columns, descriptions.

Their SQL is in sql/macros/. Functions that return one value are in `functions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nightboard.warehouse.schema.analyses import RANK_SHIFTS
from nightboard.warehouse.schema.columns import DATE, DOUBLE, INT, STRING, Column, Table, take
from nightboard.warehouse.schema.lake_tables import SAMPLES, SUITES
from nightboard.warehouse.schema.marts import CANDIDATES, HISTORY, LEADERBOARD


@dataclass(frozen=True)
class Parameter:
    """A parameter; `default` is SQL. Without a default, it is required."""

    name: str
    description: str
    default: str | None = None


@dataclass(frozen=True)
class Macro:
    """A function, called as `select name(...)`, or a table macro, called as `select * from name(...)`.

    `meaning` is a table's grain, or what a function returns. A function has no columns.
    """

    name: str
    meaning: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...] = ()

    @property
    def comment(self) -> str:
        """The whole description as one text, because DuckDB has no comments on a macro's columns."""
        parts = [self.meaning]
        parts += ["Parameters: " + "; ".join(map(_describe, self.parameters))] if self.parameters else []
        parts += ["Columns: " + "; ".join(f"{c.name}: {c.description}" for c in self.columns)] if self.columns else []
        return ". ".join(parts)


def _describe(parameter: Parameter) -> str:
    default = "" if parameter.default is None else f" (default {parameter.default})"
    return f"{parameter.name}{default}: {parameter.description}"


_SUITE = Parameter("suite", "name of the suite")

_AS_OF = Parameter("as_of", "time: only evaluations finished and commits known by then; null: all")


def _without(table: Table, *names: str) -> tuple[Column, ...]:
    return tuple(column for column in table.columns if column.name not in names)


_IDENTICAL_TO = take(LEADERBOARD, "identical_to")
# Rank intervals compare every pair of models; they are computed once per build.
_INTERVALS = ("rank_low", "rank_high", "average_stderr", "average_low", "average_high", "is_approximate")
_RANKED = tuple(
    replace(column, description=f"{column.description}; null: as_of is given") if column.name in _INTERVALS else column
    for column in LEADERBOARD.columns
)

_ERA = Parameter("era", "era of the suite; null: the current one", "null")
_UNTIL = replace(_AS_OF, default="null")

_OF_BOARD = (
    Parameter("models", "list of models: only what is ranked as a run of these, beside sources; null: all", "null"),
    Parameter("sources", "with models: list of sources such as import:arena that pass beside them", "null"),
)

_SELECTED_RANK = Column("selected_rank", INT, "rank among the rows that pass the filters")

_PAIR = tuple(
    Parameter(
        name,
        "whole model id, model@revision (a prefix of the revision is enough) or evaluation id; others give no row",
    )
    for name in ("model_a", "model_b")
)
_SUITE_ERA = take(LEADERBOARD, "suite", "era")
_EVALUATION_PAIR = tuple(Column(f"evaluation_{side}", STRING, f"compared evaluation of model_{side}") for side in "ab")
_SAMPLE = {column.name: column for column in SAMPLES.columns}

MACROS = {
    macro.name: macro
    for macro in (
        Macro(
            "comparable_evaluations",
            "one row per suite that two models share: their evaluations of the same era, the current one if possible;"
            " the"
            " best-ranked settings of a model that has several, of its own runs if there are some",
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
                Column("question", STRING, "question of the document; the same for documents that share a question"),
                Column("value_a", DOUBLE, "score of model_a on the document"),
                Column("value_b", DOUBLE, "score of model_b on the document"),
                *(_SAMPLE[name] for name in ("weight", "target")),
                Column("response_a", STRING, "answer of model_a"),
                Column("response_b", STRING, "answer of model_b"),
                Column("answer_a", STRING, "answer of model_a: generated text, or the option with its letter"),
                Column("answer_b", STRING, "answer of model_b: generated text, or the option with its letter"),
                *_EVALUATION_PAIR,
            ),
        ),
        Macro(
            "paired_effects",
            "one row per suite, task, metric and document that two models both answered: its weight in compare",
            _PAIR,
            (
                *_SUITE_ERA,
                *(_SAMPLE[name] for name in ("benchmark", "task", "metric", "doc_id")),
                Column("position", INT, "position of the benchmark"),
                Column("question", STRING, "question of the document; the same for documents that share a question"),
                *(_SAMPLE[name] for name in ("weight",)),
                Column("value_a", DOUBLE, "score of model_a on the document"),
                Column("value_b", DOUBLE, "score of model_b on the document"),
                Column(
                    "points",
                    DOUBLE,
                    "largest change of the difference of normalized scores that the document can cause",
                ),
                Column("points_a", DOUBLE, "its contribution to the normalized score of model_a, 0..100"),
                Column("points_b", DOUBLE, "its contribution to the normalized score of model_b, 0..100"),
                Column(
                    "influence",
                    DOUBLE,
                    "its influence on the difference, relative to an average document; null: the only document of the"
                    " task",
                ),
                *_EVALUATION_PAIR,
            ),
        ),
        Macro(
            "compare",
            "one row per suite and benchmark that two models share, and one for the average: a paired comparison over"
            " the"
            " documents that both answered. Imported boards have no documents",
            _PAIR,
            (
                *_SUITE_ERA,
                Column("benchmark", STRING, "key of the benchmark, or average"),
                Column("n_questions", INT, "distinct questions that both answered"),
                Column("score_a", DOUBLE, "normalized score of model_a over these, 0..100, not clipped at 0"),
                Column("score_b", DOUBLE, "normalized score of model_b over these, 0..100, not clipped at 0"),
                Column("difference", DOUBLE, "score_a - score_b"),
                Column(
                    "stderr",
                    DOUBLE,
                    "standard error of difference: paired, linearized, clustered by question (Taylor); null: a task has"
                    " one document",
                ),
                Column(
                    "low",
                    DOUBLE,
                    "lower end of the 95% interval of difference: the differences that p_value's test does not reject;"
                    " clipped to the possible range",
                ),
                Column("high", DOUBLE, "upper end of the 95% interval of difference, as low"),
                Column(
                    "p_value",
                    DOUBLE,
                    "two-sided p-value of difference, by its paired linearized variance with one win and one loss more"
                    " (Bonett & Price 2012), as it is if there is no difference; null: no standard error",
                ),
                Column(
                    "holm_p",
                    DOUBLE,
                    "p_value adjusted for the number of benchmarks (Holm 1979): below 0.05 for any of them in at most"
                    " 5% of the comparisons of equal models; null for the average, which is one test of its own",
                ),
                Column(
                    "mcnemar_p",
                    DOUBLE,
                    "two-sided p-value of McNemar's exact (sign) test of wins against losses: counts questions and"
                    " ignores their weights, so it answers another question than p_value; null for the average",
                ),
                Column(
                    "detectable_difference",
                    DOUBLE,
                    "smallest true difference that such a comparison finds (p_value < 0.05) in 80% of cases",
                ),
                Column("wins", INT, "questions that model_a answered better"),
                Column("losses", INT, "questions that model_b answered better"),
                Column("ties", INT, "questions with equal scores"),
                *_EVALUATION_PAIR,
            ),
        ),
        Macro(
            "revision_scores_as_of",
            "one row per suite, era, model, revision, precision, chat template, settings and source: its newest"
            " evaluation at a given time",
            (_AS_OF,),
            (*_without(CANDIDATES, "evaluated_model_id"), *_IDENTICAL_TO),
        ),
        Macro(
            "ranked_revisions_as_of",
            f"{LEADERBOARD.grain} known at a given time, computed for any time",
            (_AS_OF,),
            _without(LEADERBOARD, *_INTERVALS),
        ),
        Macro(
            "ranks_as_of",
            f"{LEADERBOARD.grain} known at a given time; without a time, the rows of leaderboard",
            (_AS_OF,),
            _RANKED,
        ),
        Macro(
            "leaderboard_as_of",
            f"{LEADERBOARD.grain} known at a given time, of one suite, best first. Scores and commits are as of that"
            " time;"
            " eras, organizations and states of models are current",
            (_SUITE, _AS_OF),
            _RANKED,
        ),
        Macro(
            "top_models",
            f"{LEADERBOARD.grain}, of one era of a suite, filtered, best first",
            (
                _SUITE,
                Parameter("n", "maximum number of rows; null: all", "10"),
                _ERA,
                _UNTIL,
                Parameter(
                    "min_params_b", "only models with more parameters, in billions; excludes unknown sizes", "null"
                ),
                Parameter(
                    "max_params_b",
                    "only models with at most this many parameters, in billions; excludes unknown sizes",
                    "null",
                ),
                Parameter("model_type", "only this type: pretrained, fine-tuned, chat ...", "null"),
                Parameter("precision", "only this number format", "null"),
                Parameter("license", "only this license", "null"),
                Parameter("organization", "only this organization", "null"),
                Parameter("country", "only organizations of this country (ISO 3166-1 alpha-2)", "null"),
                Parameter("with_merges", "false: without merges of models; keeps unknown ones", "true"),
                Parameter("with_flagged", "false: without models that an imported board flagged", "true"),
                Parameter(
                    "with_unavailable", "false: without models that are now deleted, private or disabled", "true"
                ),
                Parameter("with_gated", "false: without models that are now gated", "true"),
                Parameter(
                    "with_copies", "false: without models whose files are identical to an evaluated model's", "true"
                ),
                *_OF_BOARD,
            ),
            (_SELECTED_RANK, *_RANKED),
        ),
        Macro(
            "inseparable_from_first",
            "one row per row of a suite's current era that may be the best: all that have rank_low 1. The best model is"
            " among these with 95% confidence, all differences to it taken at once (multiple comparisons with the best,"
            " Hsu 1984)",
            (_SUITE,),
            LEADERBOARD.columns,
        ),
        Macro(
            "best_by_size",
            "one row per non-empty size bracket: its best-ranked model; models of unknown size are in no bracket",
            (
                _SUITE,
                _ERA,
                _UNTIL,
                Parameter(
                    "bounds", "upper bounds of the brackets, in billions of parameters", "[1, 2, 4, 9, 15, 40, 80]"
                ),
            ),
            (
                Column("above_b", DOUBLE, "exclusive lower bound of the bracket, in billions of parameters"),
                Column(
                    "up_to_b",
                    DOUBLE,
                    "inclusive upper bound of the bracket, in billions of parameters; null: none",
                ),
                Column("n_models", INT, "number of rows of the leaderboard in the bracket"),
                *_RANKED,
            ),
        ),
        Macro(
            "size_front",
            "one row per model on the Pareto front of size and average, smallest first: no other model is at most as"
            " large"
            " and at least as good; models of unknown size are skipped",
            (_SUITE, _ERA, _UNTIL),
            _RANKED,
        ),
        Macro(
            "top_shares",
            "one row per month and organization or country with models in the top n of the ranking at the end of the"
            " month; counts the best row of a model, and no copies",
            (
                _SUITE,
                Parameter("n", "size of the top", "10"),
                Parameter("holder", "organization or country", "'organization'"),
                _ERA,
                *_OF_BOARD,
            ),
            (
                Column("month", DATE, "first day of the month (UTC)"),
                Column("name", STRING, "organization or country; null: not declared"),
                Column("n_models", INT, "number of its models in the top"),
                Column("share", DOUBLE, "its share of the top, 0..1"),
            ),
        ),
        Macro(
            "shifts_between",
            "one row per model that is ranked in the current eras of both suites, most places lost first; models with"
            " identical weights count once",
            (Parameter("suite_a", "suite A"), Parameter("suite_b", "suite B")),
            RANK_SHIFTS.columns,
        ),
        Macro(
            "document_difficulty",
            "one row per task and document of a suite's era, hardest first, over the models with samples; counts the"
            " newest"
            " evaluation of a model, and models with identical weights once",
            (_SUITE, Parameter("benchmark", "only this benchmark; much faster than all", "null"), _ERA),
            (
                *take(SAMPLES, "benchmark", "task", "doc_id"),
                Column("n_models", INT, "number of models that answered it"),
                Column("share_right", DOUBLE, "mean score of the document, 0..1; low: hard"),
                Column(
                    "discrimination",
                    DOUBLE,
                    "correlation of the document's score with the models' averages without this document (item-rest,"
                    " Henrysson 1963): high if good models get it right and bad ones wrong; negative suggests a wrong"
                    " target; null: all scores are equal, or nothing else is in the average",
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
