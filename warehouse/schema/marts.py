"""The warehouse's tables and views in schema `main`: the public contract, with the description that becomes a comment.

Owns the order, type and meaning of every column that analysts see. Columns that are stored in the lake are taken from
its schema; holds no SQL.
"""

from __future__ import annotations

import pyarrow as pa

from nightboard.warehouse.schema import lake_tables
from nightboard.warehouse.schema.analyses import CO2_KG, ESTIMATED_CO2_KG, ESTIMATED_KWH, QUESTION_TABLES
from nightboard.warehouse.schema.columns import UTC_TIMESTAMP, Column, Table
from nightboard.warehouse.schema.columns import take as _take

_STRING, _DOUBLE, _INT, _BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()


_ENERGY_KWH = Column("energy_kwh", _DOUBLE, "energy over all its attempts, in kWh; null where it is not accounted")
_ATTEMPTS = Column("attempts", _INT, "attempts that have ended")
_AT_FAULT = Column(
    "at_fault",
    _STRING,
    "what the attempt's end is charged to: model, environment (node, disk, GPU, packages), cluster, hub, harness or"
    " operator; what only model and operator caused stops the evaluation for good; null when completed",
)
_STATE = Column("state", _STRING, "done; failed: the last attempt broke; open: running, interrupted or not begun")
_BENCHMARK = Column("benchmark", _STRING, "key of the benchmark")
_ERA = Column(
    "era",
    _STRING,
    "rows of one suite and era are comparable: the same task versions, shots and documents; a name that the suite does"
    " not declare is generated. An import without samples does not tell its documents: its task versions and shots"
    " alone decide; a board's era is the one that was named when it was imported",
)
_IS_CURRENT_ERA = Column(
    "is_current_era", _BOOL, "whether rank shows this era unless asked; without declared eras, the last one run"
)
_IS_MERGED = Column(
    "is_merged", _BOOL, "whether it is a merge of models, by its type or an imported board; null: unknown"
)
_IS_FLAGGED = Column("is_flagged", _BOOL, "whether an imported board has it as flagged")
_AVERAGE = Column("average", _DOUBLE, "mean of the suite's normalized benchmark scores, 0..100, full precision")
_NORMALIZED = Column("normalized", _DOUBLE, "score above the random baseline, 0..100, full precision")

_WILSON = (
    "95% interval: Wilson's score interval (1927) at the effective number of documents (Korn & Graubard 1998), which"
    " holds near 0 and 1"
)
_MOVER = (
    "Wilson intervals of tasks and benchmarks, joined by their half-widths (MOVER, Zou & Donner 2008) and clipped at"
    " the baseline at last, 0..100"
)
_IS_APPROXIMATE = Column(
    "is_approximate",
    _BOOL,
    "whether errors and intervals were made without the samples: from reported standard errors, or from score and"
    " number of documents alone, as an imported board has them",
)

_CUT_PROMPTS = Column(
    "cut_prompts",
    _INT,
    "documents, over all tasks that tell, whose prompt did not fit into the model's context and lost its beginning;"
    " null: none tells",
)

MODELS = Table(
    "models",
    "one row per model that was discovered or imported, with its newest commit",
    ("model_id",),
    (
        *_take(lake_tables.MODELS, "model_id", "organization"),
        Column(
            "state",
            _STRING,
            "available, gated, private, disabled or deleted, when it was last observed; of a model that was only"
            " imported what its file says: available or unavailable",
        ),
        Column("observed_at", UTC_TIMESTAMP, "when discover last saw the state change"),
        Column("revision", _STRING, "newest commit that was discovered, full sha"),
        *_take(
            lake_tables.COMMITS,
            "fingerprint", "weights_hash", "params_b", "license", "model_type", "base_model", "committed_at",
        ),
    ),
)  # fmt: skip

ORGANIZATIONS = Table(
    "organizations",
    "one row per organization that was declared or owns a model",
    ("organization",),
    (
        *_take(lake_tables.ORGANIZATIONS, "organization"),
        Column("display_name", _STRING, "name for readers; the id where none is declared"),
        *_take(lake_tables.ORGANIZATIONS, "country"),
    ),
)

SUITES = Table(
    lake_tables.SUITES.name,
    lake_tables.SUITES.grain,
    lake_tables.SUITES.key,
    (
        *lake_tables.SUITES.columns,
        Column(
            "is_newest",
            _BOOL,
            "whether it is the version that was declared last: all evaluations of the suite are scored by it",
        ),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "one row per evaluation that was ever planned to run, or imported",
    lake_tables.EVALUATIONS.key,
    (
        *lake_tables.EVALUATIONS.columns,
        _STATE,
        Column("reason", _STRING, "why the last attempt did not complete; null when done or not tried"),
        *_take(lake_tables.OUTCOMES, "source"),
        _ATTEMPTS,
        Column("elapsed_s", _DOUBLE, "seconds of computing over all its attempts"),
        Column("gpu_hours", _DOUBLE, "GPU-hours over all its attempts"),
        _ENERGY_KWH,
        CO2_KG,
        *_take(lake_tables.OUTCOMES, "finished_at"),
    ),
)

BENCHMARK_SCORES = Table(
    "benchmark_scores",
    "one row per done evaluation and benchmark that is complete: every task that the suite declares now, every sample"
    " count and number of shots",
    ("evaluation_id", "benchmark"),
    (
        *_take(lake_tables.EVALUATIONS, "suite", "suite_version", "evaluation_id"),
        *_take(lake_tables.EVALUATIONS, "model_id", "revision", "precision", "chat_template"),
        _BENCHMARK,
        Column("raw", _DOUBLE, "score before the baseline is subtracted, a fraction 0..1, aggregated as declared"),
        _NORMALIZED,
        Column(
            "published",
            _DOUBLE,
            "normalized score that an imported board gives, 0..100; normalized is this one where the board's raw score"
            " does not tell it (a mean over tasks with baselines of their own); null: not from a board",
        ),
        Column(
            "stderr",
            _DOUBLE,
            "standard error of raw over other documents of the same kind: Taylor-linearised by document (mean over"
            " tasks, several metrics, parts), and by question where tasks share them (GPQA: 546, not 1,192); null: a"
            " task has one document",
        ),
        Column("raw_low", _DOUBLE, f"lower end of raw's {_WILSON}"),
        Column("raw_high", _DOUBLE, f"upper end of raw's {_WILSON}"),
        Column("normalized_stderr", _DOUBLE, "standard error of normalized without the clip at the baseline, 0..100"),
        Column("normalized_low", _DOUBLE, f"lower end of normalized's 95% interval: {_MOVER}"),
        Column("normalized_high", _DOUBLE, f"upper end of normalized's 95% interval: {_MOVER}"),
        _IS_APPROXIMATE,
        Column("n_samples", _INT, "documents scored, over all tasks; null: an imported board does not say"),
        _CUT_PROMPTS,
        *_take(lake_tables.OUTCOMES, "source"),
    ),
)

CANDIDATES = Table(
    "candidates",
    "one row per model, revision and complete evaluation of the revision's fingerprint: what leaderboard and history"
    " choose from",
    ("evaluation_id", "model_id", "revision"),
    (
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        _IS_CURRENT_ERA,
        *_take(lake_tables.COMMITS, "model_id", "organization", "revision", "fingerprint"),
        *_take(lake_tables.EVALUATIONS, "precision", "chat_template"),
        *_take(lake_tables.COMMITS, "params_b", "model_type", "license"),
        _IS_MERGED,
        _IS_FLAGGED,
        _AVERAGE,
        _CUT_PROMPTS,
        *_take(lake_tables.OUTCOMES, "source"),
        *_take(lake_tables.EVALUATIONS, "evaluation_id"),
        Column("evaluated_model_id", _STRING, "model that was run; it has the same files as this revision"),
        *_take(lake_tables.COMMITS, "committed_at", "discovered_at"),
        *_take(lake_tables.OUTCOMES, "finished_at"),
        Column(
            "known_at",
            UTC_TIMESTAMP,
            "since when both score and commit are known: a commit is once it is discovered or evaluated itself; null:"
            " an imported score without a time",
        ),
    ),
)

LEADERBOARD = Table(
    "leaderboard",
    "one row per suite, era, model, precision and chat template: the newest complete revision",
    ("suite", "era", "model_id", "precision", "chat_template"),
    (
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        _IS_CURRENT_ERA,
        Column("rank", _INT, "place within suite and era; ties: fewer parameters, then no copy, then model id"),
        Column(
            "rank_low",
            _INT,
            "best place that noise does not exclude: 1 + the number of models that are better by a 95% interval of the"
            " difference of averages, for all differences of a model at once (Bonferroni)",
        ),
        Column(
            "rank_high",
            _INT,
            "worst place that noise does not exclude: as rank_low, by the number of models that are worse",
        ),
        *_take(lake_tables.COMMITS, "model_id", "organization"),
        *_take(lake_tables.ORGANIZATIONS, "country"),
        Column(
            "revision",
            _STRING,
            "newest complete commit of the model, full sha; it may share the scores of its fingerprint",
        ),
        *_take(lake_tables.EVALUATIONS, "precision", "chat_template"),
        *_take(lake_tables.COMMITS, "params_b", "model_type", "license"),
        _IS_MERGED,
        _IS_FLAGGED,
        _AVERAGE,
        Column(
            "average_stderr",
            _DOUBLE,
            "standard error of average, from those of the benchmarks, 0..100; null where one has none",
        ),
        Column("average_low", _DOUBLE, f"lower end of average's 95% interval: {_MOVER}"),
        Column("average_high", _DOUBLE, f"upper end of average's 95% interval: {_MOVER}"),
        _IS_APPROXIMATE,
        _CUT_PROMPTS,
        Column(
            "identical_to", _STRING, "model that was run, where this one has the same files; null: this model was run"
        ),
        *_take(lake_tables.OUTCOMES, "source"),
        Column("evaluation_id", _STRING, "evaluation the scores come from"),
        *_take(lake_tables.COMMITS, "committed_at"),
        *_take(lake_tables.OUTCOMES, "finished_at"),
        Column("model_state", _STRING, "state of the model on the Hub; a deleted model keeps its row"),
    ),
    order=("suite", "era", "rank"),
)

# The lake's columns and the interval.
TASK_SCORES = Table(
    lake_tables.TASK_SCORES.name,
    lake_tables.TASK_SCORES.grain,
    lake_tables.TASK_SCORES.key,
    (
        *lake_tables.TASK_SCORES.columns,
        Column("value_low", _DOUBLE, f"lower end of value's {_WILSON}; null: no fraction, or errors are unknown"),
        Column("value_high", _DOUBLE, f"upper end of value's {_WILSON}; null: no fraction, or errors are unknown"),
    ),
)

HISTORY = Table(
    "history",
    "one row per suite, era, model, revision, precision, chat template and benchmark: scores of complete commits",
    ("suite", "era", "model_id", "revision", "precision", "chat_template", "benchmark"),
    (
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        *_take(lake_tables.COMMITS, "model_id", "revision", "committed_at"),
        *_take(lake_tables.EVALUATIONS, "precision", "chat_template"),
        _BENCHMARK,
        _NORMALIZED,
        _AVERAGE,
        Column("evaluation_id", _STRING, "evaluation the scores come from"),
    ),
)

RANKINGS = Table(
    "rankings",
    "one row per external ranking, its date and model: the newest import of that date",
    ("ranking", "published_at", "model_name"),
    (
        *_take(lake_tables.RANKINGS, "ranking"),
        Column("published_at", UTC_TIMESTAMP, "day the ranking is from; where its file does not say, when it came in"),
        Column("is_newest", _BOOL, "whether it is the newest date of its ranking, which is compared with ours"),
        *_take(lake_tables.RANKINGS, "model_name"),
        Column("rank", _INT, "place in it, 1 is best; by score where its file gives no ranks, equal scores share one"),
        *_take(lake_tables.RANKINGS, "score", "is_ascending"),
        Column("model_id", _STRING, "our model of that name; null: none, or several"),
        Column(
            "match",
            _STRING,
            "how the name was matched: id; case: id but for capitals; last_part: the only model whose id ends so;"
            " ambiguous: several models; taken: another name of the ranking is nearer to the same model; none",
        ),
        Column("candidates", pa.list_(_STRING), "our models among which an ambiguous name does not choose; else null"),
        *_take(lake_tables.RANKINGS, "imported_at"),
    ),
)

_IN_COMMON = "the models that the newest external ranking and ours both have"

RANKING_COMPARISONS = Table(
    "ranking_comparisons",
    "one row per external ranking, suite, era and model that both have: their place and ours",
    ("ranking", "suite", "era", "model_id"),
    (
        *_take(lake_tables.RANKINGS, "ranking"),
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        *_take(lake_tables.COMMITS, "model_id"),
        *_take(lake_tables.RANKINGS, "model_name"),
        Column("their_rank", _INT, "rank in the external ranking, among all its models"),
        Column("their_score", _DOUBLE, "score in the external ranking, on its own scale"),
        Column("our_rank", _INT, "rank in leaderboard, among all its rows; of several rows of a model the best one"),
        Column("our_average", _DOUBLE, "average of that row, 0..100"),
        Column("their_place", _INT, f"place in the external ranking among {_IN_COMMON}; ties share the better one"),
        Column("our_place", _INT, f"place in our ranking among {_IN_COMMON}; equal averages share the better one"),
        Column("shift", _INT, "their_place - our_place; above 0: it stands higher in our ranking"),
        Column("evaluation_id", _STRING, "evaluation that our scores come from"),
    ),
)

RANKING_CORRELATIONS = Table(
    "ranking_correlations",
    "one row per external ranking, suite and era with ranked models: how far the two orders agree",
    ("ranking", "suite", "era"),
    (
        *_take(lake_tables.RANKINGS, "ranking"),
        Column("published_at", UTC_TIMESTAMP, "day of the external ranking that is compared"),
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        Column("is_current_era", _BOOL, "whether rank shows this era unless asked"),
        Column("n_theirs", _INT, "models in the external ranking"),
        Column("n_matched", _INT, "of these, models that we know by name"),
        Column("n_ours", _INT, "models in our ranking"),
        Column("n_common", _INT, "models in both, over which the correlations are computed"),
        Column("spearman_rho", _DOUBLE, "rank correlation, ties at their mean rank; null below 2 different ranks"),
        Column(
            "spearman_low",
            _DOUBLE,
            "lower end of its 95% interval: Fisher's z with variance (1 + rho^2 / 2) / (n - 3), after Bonett and Wright"
            " (2000); null below 4 models and for a perfect agreement",
        ),
        Column("spearman_high", _DOUBLE, "upper end of its 95% interval"),
        Column("kendall_tau_b", _DOUBLE, "rank correlation by pairs of models, corrected for ties"),
        Column(
            "kendall_low",
            _DOUBLE,
            "lower end of its 95% interval: Fisher's z with variance 0.437 / (n - 4), after Fieller and others"
            " (1957); null below 5 models and for a perfect agreement",
        ),
        Column("kendall_high", _DOUBLE, "upper end of its 95% interval"),
    ),
)

COVERAGE = Table(
    "coverage",
    "one row per evaluation and benchmark that its suite has now: what a complete run has and what was found",
    ("evaluation_id", "benchmark"),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        _BENCHMARK,
        Column("expected_tasks", _INT, "tasks that the suite declares"),
        Column("found_tasks", _INT, "tasks that are complete; null: an imported board does not say"),
        Column("expected_samples", _INT, "documents that the suite declares, over all tasks"),
        Column("found_samples", _INT, "documents that were scored, over all tasks; null: an import does not say"),
        Column("is_complete", _BOOL, "whether the benchmark has a score"),
        Column("problem", _STRING, "first thing that is missing, in words; null when complete"),
        Column(
            "empty_answers",
            _INT,
            "documents, over all tasks that tell, for which the model wrote nothing; null: none tells",
        ),
        _CUT_PROMPTS,
        Column(
            "cut_answers",
            _INT,
            "documents, over all tasks that tell, whose answer was as long as it may be and did not end by itself;"
            " null: none tells",
        ),
        Column(
            "warning",
            _STRING,
            "what makes the score doubtful, in words: all of ten or more documents of a task got the same answer, or"
            " some an empty one; null: nothing, or not known",
        ),
    ),
)

ATTEMPTS = Table(
    lake_tables.ATTEMPTS.name,
    lake_tables.ATTEMPTS.grain,
    lake_tables.ATTEMPTS.key,
    (
        *lake_tables.ATTEMPTS.columns[:1],
        *_take(lake_tables.EVALUATIONS, "model_id"),
        *lake_tables.ATTEMPTS.columns[1:],
        _AT_FAULT,
    ),
)

FAILURES = Table(
    "failures",
    "one row per evaluation that is not done and has a shard whose last attempt did not complete; without those whose"
    " files were scored since, as at another version of the suite",
    ("evaluation_id",),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        _STATE,
        _ATTEMPTS,
        Column("shard", _STRING, "part of the evaluation; of several, one that broke before one that goes on"),
        Column("attempt_state", _STRING, "how the shard's last attempt ended"),
        _AT_FAULT,
        Column("reason", _STRING, "why it did not complete, in words"),
        Column("log", _STRING, "its log, relative to the store"),
        *_take(lake_tables.ATTEMPTS, "log_tail", "job_id", "node", "ended_at"),
    ),
)

COSTS = Table(
    "costs",
    "one row per evaluation: what it has cost so far",
    ("evaluation_id",),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        *_take(lake_tables.COMMITS, "params_b"),
        *_take(lake_tables.EVALUATIONS, "precision", "backend"),
        _ATTEMPTS,
        Column("elapsed_s", _DOUBLE, "seconds of computing over all its attempts"),
        Column("gpu_hours", _DOUBLE, "GPU-hours over all its attempts"),
        _ENERGY_KWH,
        ESTIMATED_KWH,
        CO2_KG,
        ESTIMATED_CO2_KG,
    ),
)

COMMITS = Table(
    "commits", "one row per model and revision, as last observed", ("model_id", "revision"), lake_tables.COMMITS.columns
)

BUILD_FILES = Table(
    "build_files",
    "one row per Parquet file of the lake that this build read",
    ("lake_table", "path"),
    (
        Column("lake_table", _STRING, "table of the lake"),
        Column("path", _STRING, "path of the file, relative to the lake"),
    ),
)

BUILD_INFO = Table(
    "build_info",
    "one row: which build this is",
    ("build_id",),
    (
        Column("build_id", _STRING, "name of the build; its first part is the time it began"),
        Column("built_at", UTC_TIMESTAMP, "time it began"),
        Column("lake", _STRING, "folder of the lake, absolute; where it lay when this was built"),
        Column("recipe", _STRING, "hash over the SQL models and the code that made it"),
        Column("duckdb_version", _STRING, "DuckDB that made it"),
    ),
)

# Tables that a file of marts/ makes, each with the name of its file.
MODEL_TABLES = {
    table.name: table
    for table in (
        MODELS, COMMITS, ORGANIZATIONS, SUITES, lake_tables.ERAS, EVALUATIONS, ATTEMPTS, TASK_SCORES,
        lake_tables.IMPORTS, BENCHMARK_SCORES, CANDIDATES, LEADERBOARD, HISTORY, COVERAGE, FAILURES, COSTS,
        RANKINGS, RANKING_COMPARISONS, RANKING_CORRELATIONS, *QUESTION_TABLES,
    )
}  # fmt: skip
