"""Columns of the warehouse's public tables in `main` (leaderboard, evaluations, costs ...): order, types, descriptions.

The descriptions become comments in the database and docs/tables.md. Columns that are stored in the lake are taken from
its schema.
"""

from __future__ import annotations

from nightboard.warehouse.schema import lake_tables, request_tables
from nightboard.warehouse.schema.analyses import CO2_KG, ESTIMATED_CO2_KG, ESTIMATED_KWH, QUESTION_TABLES
from nightboard.warehouse.schema.columns import BOOL, DOUBLE, INT, STRING, STRINGS, UTC_TIMESTAMP, Column, Table
from nightboard.warehouse.schema.columns import take as _take

_ENERGY_KWH = Column("energy_kwh", DOUBLE, "energy over all attempts, in kWh; null: not measured")
_ATTEMPTS = Column("attempts", INT, "number of ended attempts")
_AT_FAULT = Column(
    "at_fault",
    STRING,
    "party at fault for the ending: model, environment (node, disk, GPU, packages), cluster, hub, harness or operator;"
    " only faults of model and operator stop the evaluation permanently; null: completed",
)
_STATE = Column("state", STRING, "done; failed: the last attempt failed; open: running, interrupted or not started")
_BENCHMARK = Column("benchmark", STRING, "key of the benchmark")
_ERA = Column(
    "era",
    STRING,
    "rows of the same suite and era are comparable: they have the same task versions, shots and documents. A name that"
    " the suite does not declare is generated. For an import without samples, only task versions and shots count;"
    " for a board, the era given at the import",
)
_IS_CURRENT_ERA = Column(
    "is_current_era", BOOL, "whether rank shows this era by default; without declared eras, the last one run"
)
_IS_MERGED = Column(
    "is_merged", BOOL, "whether it is a merge of models, according to its type or an imported board; null: unknown"
)
_IS_FLAGGED = Column("is_flagged", BOOL, "whether an imported board flags it")
_AVERAGE = Column("average", DOUBLE, "mean of the suite's normalized benchmark scores, 0..100, full precision")
_NORMALIZED = Column("normalized", DOUBLE, "score relative to the random baseline, 0..100, full precision")

_WILSON = (
    "95% interval: Wilson's score interval (1927) with the effective number of documents (Korn & Graubard 1998), valid"
    " near 0 and 1"
)
_MOVER = (
    "Wilson intervals of tasks and benchmarks, combined by their half-widths (MOVER, Zou & Donner 2008), then clipped"
    " at the baseline, 0..100"
)
_IS_APPROXIMATE = Column(
    "is_approximate",
    BOOL,
    "whether errors and intervals are computed without samples: from reported standard errors, or only from score and"
    " number of documents, as for an imported board",
)

_SETTINGS = Column(
    "settings",
    STRING,
    "other settings that can change a score, as lm-eval's name=value, sorted: few-shot examples in one turn, a branch,"
    " a GGUF file, thinking ...; rows that differ in them are never merged; empty: none, or unknown for a board",
)
_RANKED_AS = Column(
    "ranked_as",
    STRING,
    "source that it is ranked as: its own, or run if it was imported with --supersede; a model has a row for each, but"
    " where a run is ranked, no row of a board with the same precision, chat template and settings",
)
# What makes two rows of a model two.
_SETTING = (*_take(lake_tables.EVALUATIONS, "precision", "chat_template"), _SETTINGS)

_CUT_PROMPTS = Column(
    "cut_prompts",
    INT,
    "documents, over all tasks with a known number, whose prompt was truncated at the beginning to fit the model's"
    " context; null: unknown for all tasks",
)

MODELS = Table(
    "models",
    "one row per model that was discovered or imported, with its newest commit",
    ("model_id",),
    (
        *_take(lake_tables.MODELS, "model_id", "organization"),
        Column(
            "state",
            STRING,
            "available, gated, private, disabled or deleted, as last observed; for a model that was only imported,"
            " available"
            " or unavailable, from its file",
        ),
        Column("observed_at", UTC_TIMESTAMP, "when discover last observed a change of the state"),
        Column("revision", STRING, "newest discovered commit, full sha"),
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
        Column("display_name", STRING, "name for readers; the id if none is declared"),
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
            BOOL,
            "whether this version was declared last; all evaluations of the suite are scored by it",
        ),
    ),
)

DOCUMENTS = Table(
    lake_tables.DOCUMENTS.name,
    "one row per task and document that was evaluated",
    ("task", "doc_hash"),
    (
        *_take(
            lake_tables.DOCUMENTS,
            *("task", "doc_hash", "is_imported", "dataset_id", "dataset_sha"),
            *("question", "choices", "target", "category"),
        ),
        Column(
            "may_publish",
            BOOL,
            "whether its texts may leave the store: a suite declares the task, and none says publish_documents: false;"
            " export leaves out the others'",
        ),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "one row per evaluation that was ever planned to run, or imported",
    lake_tables.EVALUATIONS.key,
    (
        *lake_tables.EVALUATIONS.columns,
        _SETTINGS,
        Column(
            "not_ranked",
            STRING,
            "why it is not ranked, even if it is complete: settings that are not comparable, or a row that the newest"
            " table of its board no longer has; null: no such reason",
        ),
        _STATE,
        Column("reason", STRING, "why the last attempt did not complete; null: done or not tried"),
        *_take(lake_tables.OUTCOMES, "source"),
        _ATTEMPTS,
        Column("elapsed_s", DOUBLE, "compute time over all attempts, in seconds"),
        Column("gpu_hours", DOUBLE, "GPU-hours over all attempts"),
        _ENERGY_KWH,
        CO2_KG,
        *_take(lake_tables.OUTCOMES, "finished_at"),
    ),
)

BENCHMARK_SCORES = Table(
    "benchmark_scores",
    "one row per done evaluation and complete benchmark: all tasks that the suite now declares, with the declared"
    " numbers of samples and shots",
    ("evaluation_id", "benchmark"),
    (
        *_take(lake_tables.EVALUATIONS, "suite", "suite_version", "evaluation_id"),
        *_take(lake_tables.EVALUATIONS, "model_id", "revision", "precision", "chat_template"),
        _BENCHMARK,
        Column("raw", DOUBLE, "score before the baseline is subtracted, a fraction 0..1, aggregated as declared"),
        _NORMALIZED,
        Column(
            "published",
            DOUBLE,
            "normalized score in an imported board, 0..100; copied to normalized if it cannot be computed from the"
            " board's"
            " raw score (a mean over tasks with different baselines); null: not from a board",
        ),
        Column(
            "stderr",
            DOUBLE,
            "standard error of raw over other documents of the same kind: Taylor-linearized by document (mean over"
            " tasks,"
            " several metrics, parts), or by question if tasks share questions (GPQA: 546, not 1,192); null: a task has"
            " one document",
        ),
        Column("raw_low", DOUBLE, f"lower end of the {_WILSON}"),
        Column("raw_high", DOUBLE, f"upper end of the {_WILSON}"),
        Column(
            "normalized_stderr", DOUBLE, "standard error of normalized before it is clipped at the baseline, 0..100"
        ),
        Column("normalized_low", DOUBLE, f"lower end of the 95% interval of normalized: {_MOVER}"),
        Column("normalized_high", DOUBLE, f"upper end of the 95% interval of normalized: {_MOVER}"),
        _IS_APPROXIMATE,
        Column("n_samples", INT, "documents scored, over all tasks; null: not in the imported board"),
        _CUT_PROMPTS,
        *_take(lake_tables.OUTCOMES, "source"),
    ),
)

CANDIDATES = Table(
    "candidates",
    "one row per model, revision and complete evaluation of the revision's fingerprint; leaderboard and history select"
    " from these rows",
    ("evaluation_id", "model_id", "revision"),
    (
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        _IS_CURRENT_ERA,
        *_take(lake_tables.COMMITS, "model_id", "organization", "revision", "fingerprint"),
        *_SETTING,
        *_take(lake_tables.COMMITS, "params_b", "model_type", "license"),
        _IS_MERGED,
        _IS_FLAGGED,
        _AVERAGE,
        _CUT_PROMPTS,
        *_take(lake_tables.OUTCOMES, "source"),
        _RANKED_AS,
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "request_id"),
        Column("evaluated_model_id", STRING, "model that was evaluated; its files are identical to this revision's"),
        *_take(lake_tables.COMMITS, "committed_at", "discovered_at"),
        *_take(lake_tables.OUTCOMES, "finished_at"),
        Column(
            "known_at",
            UTC_TIMESTAMP,
            "time from which both score and commit are known: the evaluation's, or, if that is unknown, the import's; a"
            " commit is known when it is discovered or evaluated",
        ),
    ),
)

LEADERBOARD = Table(
    "leaderboard",
    "one row per suite, era, model, precision, chat template, settings and source: the newest complete revision",
    ("suite", "era", "model_id", "precision", "chat_template", "settings", "ranked_as"),
    (
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        _IS_CURRENT_ERA,
        Column(
            "rank",
            INT,
            "rank within suite and era; ties: fewer parameters, then originals before copies, then model id",
        ),
        Column(
            "rank_low",
            INT,
            "best rank consistent with the noise: 1 + the number of models that are better by the 95% interval of the"
            " difference of averages, corrected for all differences of a model (Bonferroni)",
        ),
        Column(
            "rank_high",
            INT,
            "worst rank consistent with the noise: as rank_low, from the number of models that are worse",
        ),
        *_take(lake_tables.COMMITS, "model_id", "organization"),
        *_take(lake_tables.ORGANIZATIONS, "country"),
        Column(
            "revision",
            STRING,
            "newest complete commit of the model, full sha; commits with the same fingerprint share scores",
        ),
        *_SETTING,
        *_take(lake_tables.COMMITS, "params_b", "model_type", "license"),
        _IS_MERGED,
        _IS_FLAGGED,
        _AVERAGE,
        Column(
            "average_stderr",
            DOUBLE,
            "standard error of average, from those of the benchmarks, 0..100; null: a benchmark has none",
        ),
        Column("average_low", DOUBLE, f"lower end of the 95% interval of average: {_MOVER}"),
        Column("average_high", DOUBLE, f"upper end of the 95% interval of average: {_MOVER}"),
        _IS_APPROXIMATE,
        _CUT_PROMPTS,
        Column("identical_to", STRING, "evaluated model with identical files; null: this model itself was evaluated"),
        *_take(lake_tables.OUTCOMES, "source"),
        _RANKED_AS,
        Column("evaluation_id", STRING, "evaluation of the scores"),
        *_take(lake_tables.EVALUATIONS, "request_id"),
        *_take(lake_tables.COMMITS, "committed_at"),
        *_take(lake_tables.OUTCOMES, "finished_at"),
        Column("model_state", STRING, "state of the model on the Hub; a deleted model keeps its row"),
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
        Column("value_low", DOUBLE, f"lower end of the {_WILSON}; null: no fraction, or errors are unknown"),
        Column("value_high", DOUBLE, f"upper end of the {_WILSON}; null: no fraction, or errors are unknown"),
    ),
)

HISTORY = Table(
    "history",
    "one row per suite, era, model, revision, precision, chat template, settings, source and benchmark: scores of"
    " complete commits",
    ("suite", "era", "model_id", "revision", "precision", "chat_template", "settings", "ranked_as", "benchmark"),
    (
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        *_take(lake_tables.COMMITS, "model_id", "revision", "committed_at"),
        *_SETTING,
        _BENCHMARK,
        _NORMALIZED,
        *_take(BENCHMARK_SCORES, "normalized_low", "normalized_high"),
        _AVERAGE,
        *_take(LEADERBOARD, "average_low", "average_high"),
        _RANKED_AS,
        Column("evaluation_id", STRING, "evaluation of the scores"),
    ),
)

IMPORTS = Table(
    lake_tables.IMPORTS.name,
    "one row per imported evaluation, from its newest import",
    ("evaluation_id",),
    (
        *lake_tables.IMPORTS.columns,
        Column(
            "is_withdrawn",
            BOOL,
            "whether a newer table of the same board, suite and era no longer has it; then it is not ranked",
        ),
    ),
)

RANKINGS = Table(
    "rankings",
    "one row per external ranking, date and model: the newest import of that date",
    ("ranking", "published_at", "model_name"),
    (
        *_take(lake_tables.RANKINGS, "ranking"),
        Column("published_at", UTC_TIMESTAMP, "date of the ranking; if its file has none, the date of the import"),
        Column("is_newest", BOOL, "whether it is the newest date of the ranking; only this one is compared"),
        *_take(lake_tables.RANKINGS, "model_name"),
        Column(
            "rank",
            INT,
            "rank, 1 is best; computed from the scores if its file has no ranks, equal scores share a rank",
        ),
        *_take(lake_tables.RANKINGS, "score", "is_ascending"),
        Column("model_id", STRING, "our model with that name; null: none, or several"),
        Column(
            "match",
            STRING,
            "how the name was matched: id; case: id, ignoring case; last_part: the only model whose id ends with it;"
            " ambiguous: several models; taken: another name of the ranking matches the same model better; none",
        ),
        Column("candidates", STRINGS, "our models that an ambiguous name matches; null: not ambiguous"),
        *_take(lake_tables.RANKINGS, "imported_at"),
    ),
)

_IN_COMMON = "the models that are both in the newest external ranking and in ours"

RANKING_COMPARISONS = Table(
    "ranking_comparisons",
    "one row per external ranking, suite, era and common model: their rank and ours",
    ("ranking", "suite", "era", "model_id"),
    (
        *_take(lake_tables.RANKINGS, "ranking"),
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        *_take(lake_tables.COMMITS, "model_id"),
        *_take(lake_tables.RANKINGS, "model_name"),
        Column("their_rank", INT, "rank in the external ranking, among all its models"),
        Column("their_score", DOUBLE, "score in the external ranking, on its own scale"),
        Column("our_rank", INT, "rank in leaderboard, among all its rows; the best one if a model has several rows"),
        Column("our_average", DOUBLE, "average in that row, 0..100"),
        Column("their_place", INT, f"rank in the external ranking among {_IN_COMMON}; ties share the better rank"),
        Column("our_place", INT, f"rank in our ranking among {_IN_COMMON}; equal averages share the better rank"),
        Column("shift", INT, "their_place - our_place; positive: better in our ranking"),
        Column("evaluation_id", STRING, "evaluation of our scores"),
    ),
)

RANKING_CORRELATIONS = Table(
    "ranking_correlations",
    "one row per external ranking, suite and era with ranked models: how well the two rankings agree",
    ("ranking", "suite", "era"),
    (
        *_take(lake_tables.RANKINGS, "ranking"),
        Column("published_at", UTC_TIMESTAMP, "date of the compared external ranking"),
        *_take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        Column("is_current_era", BOOL, "whether rank shows this era by default"),
        Column("n_theirs", INT, "models in the external ranking"),
        Column("n_matched", INT, "of these, models matched to ours by name"),
        Column("n_ours", INT, "models in our ranking"),
        Column("n_common", INT, "models in both; the correlations are computed over these"),
        Column(
            "spearman_rho",
            DOUBLE,
            "Spearman's rank correlation, ties get their mean rank; null: fewer than 2 different ranks",
        ),
        Column(
            "spearman_low",
            DOUBLE,
            "lower end of its 95% interval: Fisher's z with variance (1 + rho^2 / 2) / (n - 3), Bonett & Wright"
            " (2000); rough for fewer than 10 models; null: fewer than 4 models, or perfect agreement",
        ),
        Column("spearman_high", DOUBLE, "upper end of its 95% interval"),
        Column("kendall_tau_b", DOUBLE, "Kendall's rank correlation over pairs of models, corrected for ties"),
        Column(
            "kendall_low",
            DOUBLE,
            "lower end of its 95% interval: Fisher's z with variance 0.437 / (n - 4), Fieller et al. (1957); rough for"
            " fewer than 10 models; null: fewer than 5 models, or perfect agreement",
        ),
        Column("kendall_high", DOUBLE, "upper end of its 95% interval"),
    ),
)

COVERAGE = Table(
    "coverage",
    "one row per evaluation and benchmark that its suite now declares: what a complete run has, and what exists",
    ("evaluation_id", "benchmark"),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        _BENCHMARK,
        Column("expected_tasks", INT, "tasks that the suite declares"),
        Column("found_tasks", INT, "complete tasks; null: not in the imported board"),
        Column("expected_samples", INT, "documents that the suite declares, over all tasks"),
        Column("found_samples", INT, "scored documents, over all tasks; null: not in the imported file"),
        Column("is_complete", BOOL, "whether the benchmark has a score"),
        Column("problem", STRING, "first missing item; null: complete"),
        Column(
            "empty_answers",
            INT,
            "documents, over all tasks with a known number, with an empty answer; null: unknown for all tasks",
        ),
        _CUT_PROMPTS,
        Column(
            "cut_answers",
            INT,
            "documents, over all tasks with a known number, whose answer reached the length limit before it ended;"
            " null:"
            " unknown for all tasks",
        ),
        Column(
            "warning",
            STRING,
            "why the score is doubtful: all documents of a task (ten or more) got the same answer, or some an empty"
            " one;"
            " null: no reason, or unknown",
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
    "one row per evaluation that is not done and has a shard whose last attempt did not complete; without evaluations"
    " whose files have been scored since, for example with another version of the suite",
    ("evaluation_id",),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        _STATE,
        _ATTEMPTS,
        Column("shard", STRING, "shard (part of the evaluation); of several, a failed one before one that is retried"),
        Column("attempt_state", STRING, "state of the shard's last attempt"),
        _AT_FAULT,
        Column("reason", STRING, "why it did not complete"),
        Column("log", STRING, "path of its log, relative to the store"),
        *_take(lake_tables.ATTEMPTS, "log_tail", "job_id", "node", "ended_at"),
    ),
)

COSTS = Table(
    "costs",
    "one row per evaluation: its cost so far",
    ("evaluation_id",),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        *_take(lake_tables.COMMITS, "params_b"),
        *_take(lake_tables.EVALUATIONS, "precision", "backend"),
        _ATTEMPTS,
        Column("elapsed_s", DOUBLE, "compute time over all attempts, in seconds"),
        Column("gpu_hours", DOUBLE, "GPU-hours over all attempts"),
        _ENERGY_KWH,
        ESTIMATED_KWH,
        CO2_KG,
        ESTIMATED_CO2_KG,
    ),
)

ESTIMATES = Table(
    "estimates",
    "one row per done evaluation that ran whole, each shard at its first attempt: what the plan estimated, and what it"
    " took",
    ("evaluation_id",),
    (
        *_take(lake_tables.EVALUATIONS, "evaluation_id", "suite", "model_id", "revision"),
        *_take(lake_tables.COMMITS, "params_b"),
        Column("tier", STRING, "tier of the cluster profile that it ran in"),
        Column("estimated_s", DOUBLE, "seconds that the plan estimated, over its shards"),
        Column("taken_s", DOUBLE, "seconds that it took, over its shards"),
        Column("estimated_gpu_hours", DOUBLE, "estimated GPU-hours; a job without GPUs counts as one"),
        Column("taken_gpu_hours", DOUBLE, "GPU-hours that it took; a job without GPUs counts as one"),
        Column("ratio", DOUBLE, "taken_s / estimated_s; 1: as estimated, 2: twice as long"),
        *_take(lake_tables.OUTCOMES, "finished_at"),
    ),
)

COMMITS = Table(
    "commits", "one row per model and revision, as last observed", ("model_id", "revision"), lake_tables.COMMITS.columns
)

REQUESTS = Table(
    request_tables.REQUESTS.name,
    request_tables.REQUESTS.grain,
    ("request_id",),
    (
        *request_tables.REQUESTS.columns,
        Column("state", STRING, "pending, accepted, rejected, planned, running, done, failed or withdrawn"),
        Column("state_reason", STRING, "what it waits for, why it failed or was rejected; null: nothing to say"),
        Column("state_since", UTC_TIMESTAMP, "when its state, or the reason, last changed"),
        *_take(request_tables.REQUEST_EVENTS, "n_targets", "n_done", "n_failed", "gpu_hours"),
        Column("votes", INT, "users who voted for it"),
    ),
)

BUILD_FILES = Table(
    "build_files",
    "one row per Parquet file of the lake that this build read",
    ("lake_table", "path"),
    (
        Column("lake_table", STRING, "table of the lake"),
        Column("path", STRING, "path of the file, relative to the lake"),
    ),
)

BUILD_INFO = Table(
    "build_info",
    "one row: the build of this warehouse",
    ("build_id",),
    (
        Column("build_id", STRING, "name of the build; its first part is the start time"),
        Column("built_at", UTC_TIMESTAMP, "start time of the build"),
        Column("lake", STRING, "absolute path of the lake's folder at the time of the build"),
        Column("recipe", STRING, "hash over the SQL models and the code of the build"),
        Column("duckdb_version", STRING, "version of DuckDB used"),
    ),
)

# Tables, and the view samples, made by the SQL file of the same name in marts/.
MODEL_TABLES = {
    table.name: table
    for table in (
        DOCUMENTS,
        MODELS, COMMITS, ORGANIZATIONS, SUITES, lake_tables.ERAS, REQUESTS, request_tables.REQUEST_TARGETS,
        request_tables.REQUEST_EVENTS, request_tables.REQUEST_FILES, EVALUATIONS, ATTEMPTS, TASK_SCORES, IMPORTS,
        lake_tables.SAMPLES, BENCHMARK_SCORES, CANDIDATES, LEADERBOARD, HISTORY, COVERAGE, FAILURES, COSTS, ESTIMATES,
        RANKINGS, RANKING_COMPARISONS, RANKING_CORRELATIONS, *QUESTION_TABLES,
    )
}  # fmt: skip
