"""What the lake knows of earlier nights, as planning needs it: scores, tries and measured costs.

Reads the lake; decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from nightboard.tasks.records import Commit, Evaluation, RecordError, ShardSpec
from nightboard.tasks.store import Store
from nightboard.warehouse.schema import ATTEMPTS, COMMITS, EVALUATIONS, OUTCOMES, SUITES, Table

# Loading Python, the harness and a small model.
START_S = 30.0


@dataclass(frozen=True)
class ScoreKey:
    """What must be equal for one evaluation's score to serve for another, whatever the suite's version."""

    suite: str
    fingerprint: str
    precision: str
    chat_template: bool
    fewshot_as_multiturn: bool
    backend: str

    @classmethod
    def of(cls, evaluation: Evaluation) -> ScoreKey:
        return cls(**{name: getattr(evaluation, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Tries:
    """The attempts of an evaluation that have ended: how many in each state, and the last reason."""

    states: Mapping[str, int]
    last_reason: str | None


@dataclass(frozen=True)
class Cost:
    """What an evaluation has taken: seconds on one GPU (or on the CPU) per document and billion parameters."""

    params_b: float
    rate: float


@dataclass(frozen=True)
class History:
    """What is known before planning. `last_attempts`: the highest number that anybody has claimed, by evaluation."""

    scored: Mapping[ScoreKey, Evaluation] = field(default_factory=dict)
    in_flight: frozenset[ScoreKey] = frozenset()
    last_attempts: Mapping[str, int] = field(default_factory=dict)
    tries: Mapping[str, Tries] = field(default_factory=dict)
    costs: Mapping[str, Sequence[Cost]] = field(default_factory=dict)


def read_table(store: Store, table: Table) -> pa.Table:
    """All rows of a lake table, in the order of the file names; empty when nothing was ever written."""
    files = sorted(str(path) for path in (store.lake / table.name).glob("*.parquet"))
    if not files:
        return table.arrow.empty_table()
    return ds.dataset(files, schema=table.arrow, format="parquet").to_table()


def read_commits(store: Store) -> dict[tuple[str, str], Commit]:
    """The newest observation of each model and revision."""
    rows = read_table(store, COMMITS).sort_by([("discovered_at", "ascending")]).to_pylist()
    return {(row["model_id"], row["revision"]): Commit(**row) for row in rows}


def read_history(store: Store) -> History:
    """Everything that planning needs, as of now.

    The claims are read before the scores: what another flow claims or collects in between is then known as in flight or
    as scored, or its attempt's number is taken when ours is claimed.
    """
    last_attempts, claimed = _read_claims(store)
    known = {row["evaluation_id"]: _as_evaluation(row) for row in read_table(store, EVALUATIONS).to_pylist()}
    outcomes = {row["evaluation_id"]: row for row in read_table(store, OUTCOMES).to_pylist()}
    return History(
        scored={ScoreKey.of(known[key]): known[key] for key in sorted(outcomes) if key in known},
        in_flight=frozenset(ScoreKey.of(known[key]) for key in claimed if key in known),
        last_attempts=last_attempts,
        tries=_read_tries(store),
        costs=_measure_costs(store, known, outcomes),
    )


def _read_claims(store: Store) -> tuple[dict[str, int], set[str]]:
    """The highest attempt of each evaluation, and the evaluations with an attempt that is not collected yet.

    An attempt whose launch somebody has moved away is lost: its number stays taken, and it is not in flight.
    """
    attempts = [path.parent for path in store.runs.glob("*/*/*/spec.json")]
    last: dict[str, int] = {}
    for folder in attempts:
        evaluation_id = folder.parents[1].name
        last[evaluation_id] = max(last.get(evaluation_id, 0), int(folder.name))
    collected = {path.stem for path in (store.lake / ATTEMPTS.name).glob("*.parquet")}
    under_way = (f for f in attempts if f"{f.parents[1].name}-{f.parent.name}-{f.name}" not in collected)
    return last, {folder.parents[1].name for folder in under_way if not _is_lost(store, folder)}


def _is_lost(store: Store, folder: Path) -> bool:
    try:
        return not (store.launches / ShardSpec.read(folder / "spec.json").launch_id).is_dir()
    except RecordError:
        return False  # nobody can tell whose it is; settle says what to do


def _as_evaluation(row: dict[str, Any]) -> Evaluation:
    return Evaluation.model_validate({key: value for key, value in row.items() if key in Evaluation.model_fields})


def _read_tries(store: Store) -> dict[str, Tries]:
    states: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    reasons: dict[str, str | None] = {}
    for row in read_table(store, ATTEMPTS).sort_by([("attempt", "ascending")]).to_pylist():
        states[row["evaluation_id"]][row["state"]] += 1
        reasons[row["evaluation_id"]] = row["reason"]
    return {key: Tries(dict(counts), reasons[key]) for key, counts in states.items()}


def _measure_costs(
    store: Store, evaluations: Mapping[str, Evaluation], outcomes: Mapping[str, dict[str, Any]]
) -> dict[str, list[Cost]]:
    """What has run, by suite. Starting takes as long for a small model as for a large one, so it is taken off first."""
    samples: dict[str, int] = defaultdict(int)
    for row in read_table(store, SUITES).to_pylist():
        samples[row["suite_version"]] += row["n_samples"]
    params = {commit.fingerprint: commit.params_b for commit in read_commits(store).values()}
    costs: dict[str, list[Cost]] = defaultdict(list)
    for key, outcome in outcomes.items():
        evaluation, elapsed_s = evaluations.get(key), outcome["elapsed_s"]
        params_b = params.get(evaluation.fingerprint) if evaluation else None
        if evaluation and params_b and samples[evaluation.suite_version] and elapsed_s > START_S:
            gpus = max(1, round(outcome["gpu_hours"] * 3600 / elapsed_s))
            rate = (elapsed_s - START_S) * gpus / (samples[evaluation.suite_version] * params_b)
            costs[evaluation.suite].append(Cost(params_b, rate))
    return dict(costs)
