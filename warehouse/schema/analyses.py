"""Columns of the analysis tables in `main` (regressions, failure causes, costs ...): names, types, descriptions.

Each table answers one question and takes no parameter. Questions with parameters are macros (`macros.py`).
"""

from __future__ import annotations

from nightboard.warehouse.schema import lake_tables
from nightboard.warehouse.schema.columns import BOOL, DOUBLE, INT, STRING, UTC_TIMESTAMP, Column, Table, take

CO2_KG = Column(
    "co2_kg",
    DOUBLE,
    "CO2 emitted, in kg: the measured energy at 269.8 g/kWh (the grid intensity used by the Open LLM Leaderboard), or"
    " the value of an imported board; null: energy is not measured",
)
ESTIMATED_KWH = Column(
    "estimated_kwh",
    DOUBLE,
    "estimated energy, in kWh, of the attempts whose energy is not measured: GPU-hours at 0.7 kW per GPU, as used by"
    " the"
    " Open LLM Leaderboard (8 H100 at 5.6 kW); not included in energy_kwh; null: no GPU, or nothing to estimate",
)
ESTIMATED_CO2_KG = Column(
    "estimated_co2_kg", DOUBLE, "CO2 of estimated_kwh at 269.8 g/kWh, in kg; not included in co2_kg"
)
_ERA = Column("era", STRING, "era of the suite; only rows of the same era are compared")

RANK_SHIFTS = Table(
    "rank_shifts",
    "one row per model that is ranked in the current eras of both leaderboard-v1 and leaderboard-v2; models with"
    " identical"
    " weights count once",
    ("model_id",),
    (
        *take(lake_tables.COMMITS, "model_id", "organization", "params_b"),
        Column("rank_a", INT, "rank in suite A (leaderboard-v1) among the models ranked in both"),
        Column("rank_b", INT, "rank in suite B (leaderboard-v2) among the models ranked in both"),
        Column("shift", INT, "places lost from A to B; a large shift suggests tuning to the benchmarks of A"),
        Column("average_a", DOUBLE, "average in suite A, 0..100"),
        Column("average_b", DOUBLE, "average in suite B, 0..100"),
    ),
)

REGRESSIONS = Table(
    "regressions",
    "one row per suite, era, model, precision, chat template, benchmark and commit that scored significantly worse"
    " than the complete commit before it, corrected for the number of benchmarks and of commits of the night",
    ("suite", "era", "model_id", "precision", "chat_template", "settings", "ranked_as", "benchmark", "revision"),
    (
        *take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        *take(lake_tables.EVALUATIONS, "model_id", "precision", "chat_template"),
        Column("settings", STRING, "other settings that can change a score, as in leaderboard"),
        Column("ranked_as", STRING, "source that it is ranked as, as in leaderboard"),
        Column("benchmark", STRING, "key of the benchmark; average: the mean of all"),
        *take(lake_tables.COMMITS, "revision", "committed_at"),
        Column("revision_before", STRING, "complete commit before it, full sha"),
        Column("score", DOUBLE, "normalized score, 0..100"),
        Column("score_before", DOUBLE, "normalized score of the commit before, 0..100"),
        Column("change", DOUBLE, "score - score_before, negative"),
        Column(
            "change_stderr",
            DOUBLE,
            "standard error of change: paired by question, linearized, as in compare; without samples of the same"
            " documents, as if the two commits were independent, which overstates it",
        ),
        Column("is_paired", BOOL, "whether the commits are paired: both have samples of the same documents"),
        Column("is_approximate", BOOL, "whether a standard error is approximate, not computed from samples"),
        Column("p_value", DOUBLE, "two-sided p-value of change, paired as in compare, or of the normal distribution"),
        Column("holm_p", DOUBLE, "p_value adjusted for the benchmarks and the average of the commit (Holm 1979)"),
        Column(
            "threshold",
            DOUBLE,
            "what holm_p may be at most to be listed: 5% times the share of the night's commits that are listed"
            " (Benjamini & Hochberg 1995; Benjamini & Bogomolov 2014), so that at most 5% of these are expected to be"
            " due to chance. A night: commits whose evaluation finished from noon to noon UTC",
        ),
        *take(lake_tables.EVALUATIONS, "evaluation_id"),
    ),
)

IDENTICAL_WEIGHTS = Table(
    "identical_weights",
    "one row per weights and model, for weights that several models have had",
    ("weights_hash", "model_id"),
    (
        *take(lake_tables.COMMITS, "weights_hash", "model_id", "organization"),
        Column("revision", STRING, "newest commit of the model with these weights, full sha"),
        Column("first_at", UTC_TIMESTAMP, "time of its first discovered commit with these weights"),
        Column("is_first", BOOL, "whether it had them first, among the discovered commits"),
        Column("first_model_id", STRING, "model that had them first; ties: discovered first, then model id"),
        Column("has_same_files", BOOL, "whether configuration and tokenizer are also identical to the first model's"),
        Column("n_models", INT, "number of models that have had these weights"),
        Column("model_state", STRING, "state of the model on the Hub"),
    ),
)

FAILURE_CAUSES = Table(
    "failure_causes",
    "one row per attempt state and cause of the evaluations in failures",
    ("attempt_state", "cause"),
    (
        Column("attempt_state", STRING, "how the last attempt ended"),
        Column("cause", STRING, "reason, with models, paths, hashes and numbers replaced by placeholders"),
        Column("n_evaluations", INT, "evaluations stopped by it"),
        Column("n_models", INT, "models stopped by it"),
        Column("n_open", INT, "of these, evaluations that will be retried"),
        Column("last_ended_at", UTC_TIMESTAMP, "when it last happened"),
        Column("evaluation_id", STRING, "evaluation where it last happened"),
        Column("model_id", STRING, "model of that evaluation"),
        Column("reason", STRING, "reason of that evaluation, in full"),
        Column("log", STRING, "log of that evaluation, relative to the store"),
    ),
)

MODEL_COSTS = Table(
    "model_costs",
    "one row per model that was run or imported: the cost of all its evaluations so far",
    ("model_id",),
    (
        *take(lake_tables.EVALUATIONS, "model_id"),
        Column("evaluations", INT, "number of evaluations, in any suite and state"),
        Column("attempts", INT, "number of ended attempts"),
        Column("elapsed_s", DOUBLE, "compute time over all attempts, in seconds"),
        Column("gpu_hours", DOUBLE, "GPU-hours over all attempts"),
        Column("energy_kwh", DOUBLE, "measured energy, in kWh; null: the cluster measured none"),
        ESTIMATED_KWH,
        CO2_KG,
        ESTIMATED_CO2_KG,
    ),
)

BENCHMARK_COSTS = Table(
    "benchmark_costs",
    "one row per suite and benchmark: its cost over all done evaluations with known times",
    ("suite", "benchmark"),
    (
        *take(lake_tables.EVALUATIONS, "suite"),
        Column("benchmark", STRING, "key of the benchmark"),
        Column("n_evaluations", INT, "done evaluations whose time for this benchmark is known"),
        Column("mean_elapsed_s", DOUBLE, "mean time per evaluation, in seconds"),
        Column("elapsed_s", DOUBLE, "total time, in seconds"),
        Column("share", DOUBLE, "share of the suite's total time, 0..1"),
        Column("mean_gpu_hours", DOUBLE, "mean GPU-hours per evaluation"),
        Column("gpu_hours", DOUBLE, "total GPU-hours, without loading the models"),
        ESTIMATED_KWH,
        ESTIMATED_CO2_KG,
    ),
)

QUESTION_TABLES = (
    RANK_SHIFTS, REGRESSIONS, IDENTICAL_WEIGHTS, FAILURE_CAUSES, MODEL_COSTS, BENCHMARK_COSTS,
)  # fmt: skip
