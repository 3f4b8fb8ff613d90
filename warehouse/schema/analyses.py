"""Tables of `main` that answer a question each and take no parameter: their columns, types and meaning.

What takes a parameter is a macro (`macros_schema.py`). Holds no SQL.
"""

from __future__ import annotations

import pyarrow as pa

from nightboard.warehouse.schema import lake_tables
from nightboard.warehouse.schema.columns import UTC_TIMESTAMP, Column, Table, take

_STRING, _DOUBLE, _INT, _BOOL = pa.string(), pa.float64(), pa.int64(), pa.bool_()

CO2_KG = Column(
    "co2_kg",
    _DOUBLE,
    "CO2 emitted, in kg: of its own evaluations the accounted energy at 269.8 g/kWh, the grid intensity that the Open"
    " LLM Leaderboard took; of an imported board what it says; null: energy is not accounted",
)
ESTIMATED_KWH = Column(
    "estimated_kwh",
    _DOUBLE,
    "an estimate, in kWh, for the attempts whose energy is not accounted: GPU-hours at 0.7 kW a GPU, as the Open LLM"
    " Leaderboard took (8 H100 at 5.6 kW); not contained in energy_kwh; null: no GPU, or nothing to estimate",
)
ESTIMATED_CO2_KG = Column(
    "estimated_co2_kg", _DOUBLE, "CO2 of estimated_kwh at 269.8 g/kWh, in kg: an estimate, not contained in co2_kg"
)
_ERA = Column("era", _STRING, "era of the suite; only rows of one era are compared")

RANK_SHIFTS = Table(
    "rank_shifts",
    "one row per model that the current eras of leaderboard-v1 and leaderboard-v2 both rank; of identical weights one",
    ("model_id",),
    (
        *take(lake_tables.COMMITS, "model_id", "organization", "params_b"),
        Column("rank_a", _INT, "place in suite A (leaderboard-v1) among the models that both rank"),
        Column("rank_b", _INT, "place in suite B (leaderboard-v2) among the models that both rank"),
        Column("shift", _INT, "places lost from A to B: the larger, the more it was tuned to the benchmarks of A"),
        Column("average_a", _DOUBLE, "its average in suite A, 0..100"),
        Column("average_b", _DOUBLE, "its average in suite B, 0..100"),
    ),
)

REGRESSIONS = Table(
    "regressions",
    "one row per suite, era, model, precision, chat template, benchmark and commit that scored worse than the complete"
    " commit before it, beyond noise",
    ("suite", "era", "model_id", "precision", "chat_template", "benchmark", "revision"),
    (
        *take(lake_tables.EVALUATIONS, "suite"),
        _ERA,
        *take(lake_tables.EVALUATIONS, "model_id", "precision", "chat_template"),
        Column("benchmark", _STRING, "key of the benchmark; average: the mean of all"),
        *take(lake_tables.COMMITS, "revision", "committed_at"),
        Column("revision_before", _STRING, "complete commit before it, full sha"),
        Column("score", _DOUBLE, "normalized score, 0..100"),
        Column("score_before", _DOUBLE, "normalized score of the commit before, 0..100"),
        Column("change", _DOUBLE, "score less score_before: negative"),
        Column(
            "change_stderr",
            _DOUBLE,
            "standard error of change, with the two commits as independent; a drop is listed when it is more than 1.96"
            " of them (95%, no correction for many comparisons)",
        ),
        Column("is_approximate", _BOOL, "whether a standard error is approximate: not from samples"),
        *take(lake_tables.EVALUATIONS, "evaluation_id"),
    ),
)

IDENTICAL_WEIGHTS = Table(
    "identical_weights",
    "one row per weights and model that has had them, where several models have",
    ("weights_hash", "model_id"),
    (
        *take(lake_tables.COMMITS, "weights_hash", "model_id", "organization"),
        Column("revision", _STRING, "newest commit of the model with these weights, full sha"),
        Column("first_at", UTC_TIMESTAMP, "time of its first discovered commit with these weights"),
        Column("is_first", _BOOL, "whether it had them first, as far as commits were discovered"),
        Column("first_model_id", _STRING, "model that had them first; ties: first discovered, then model id"),
        Column("has_same_files", _BOOL, "whether configuration and tokenizer are also those of the first model"),
        Column("n_models", _INT, "models that have had these weights"),
        Column("model_state", _STRING, "state of the model on the Hub"),
    ),
)

FAILURE_CAUSES = Table(
    "failure_causes",
    "one row per ending and cause of the evaluations in failures",
    ("attempt_state", "cause"),
    (
        Column("attempt_state", _STRING, "how the last attempt ended"),
        Column("cause", _STRING, "reason, with models, paths, hashes and numbers replaced by a word for them"),
        Column("n_evaluations", _INT, "evaluations that it stopped"),
        Column("n_models", _INT, "models that it stopped"),
        Column("n_open", _INT, "evaluations among them that are tried again"),
        Column("last_ended_at", UTC_TIMESTAMP, "when it last happened"),
        Column("evaluation_id", _STRING, "evaluation where it last happened"),
        Column("model_id", _STRING, "model of that evaluation"),
        Column("reason", _STRING, "reason of that evaluation, in full"),
        Column("log", _STRING, "log of that evaluation, relative to the store"),
    ),
)

MODEL_COSTS = Table(
    "model_costs",
    "one row per model that was run or imported: what all its evaluations have cost so far",
    ("model_id",),
    (
        *take(lake_tables.EVALUATIONS, "model_id"),
        Column("evaluations", _INT, "evaluations, in any suite and state"),
        Column("attempts", _INT, "attempts that have ended"),
        Column("elapsed_s", _DOUBLE, "seconds of computing over all its attempts"),
        Column("gpu_hours", _DOUBLE, "GPU-hours over all its attempts"),
        Column("energy_kwh", _DOUBLE, "energy, in kWh, as far as the cluster accounts it; null: not at all"),
        ESTIMATED_KWH,
        CO2_KG,
        ESTIMATED_CO2_KG,
    ),
)

BENCHMARK_COSTS = Table(
    "benchmark_costs",
    "one row per suite and benchmark: what it has cost over all done evaluations whose times are known",
    ("suite", "benchmark"),
    (
        *take(lake_tables.EVALUATIONS, "suite"),
        Column("benchmark", _STRING, "key of the benchmark"),
        Column("n_evaluations", _INT, "done evaluations whose time for it is known"),
        Column("mean_elapsed_s", _DOUBLE, "seconds it takes, mean over evaluations"),
        Column("elapsed_s", _DOUBLE, "seconds it took in all"),
        Column("share", _DOUBLE, "its part of the suite's seconds, 0..1"),
        Column("mean_gpu_hours", _DOUBLE, "GPU-hours it takes, mean over evaluations"),
        Column("gpu_hours", _DOUBLE, "GPU-hours it took in all, without loading the models"),
        ESTIMATED_KWH,
        ESTIMATED_CO2_KG,
    ),
)

QUESTION_TABLES = (
    RANK_SHIFTS, REGRESSIONS, IDENTICAL_WEIGHTS, FAILURE_CAUSES, MODEL_COSTS, BENCHMARK_COSTS,
)  # fmt: skip
