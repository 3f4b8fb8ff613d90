"""What the lake knows of earlier nights, as planning needs it: scores, tries and measured costs.

Reads the lake; decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from nightboard.tasks.records import Commit, Evaluation
from nightboard.tasks.store import Store
from nightboard.warehouse.schema import ATTEMPTS, COMMITS, EVALUATIONS, OUTCOMES, SUITES, Table


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
    """The attempts that an evaluation has had: the last number, how many ended in each state, the last reason."""

    last_attempt: int
    states: Mapping[str, int]
    last_reason: str | None


@dataclass(frozen=True)
class History:
    """What is known before planning. `rates` are measured seconds per document and billion parameters, by suite."""

    scored: Mapping[ScoreKey, Evaluation] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()
    tries: Mapping[str, Tries] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


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


def read_history(store: Store, in_flight: frozenset[str]) -> History:
    """Everything that planning needs, as of now."""
    known = {row["evaluation_id"]: _as_evaluation(row) for row in read_table(store, EVALUATIONS).to_pylist()}
    outcomes = {row["evaluation_id"]: row for row in read_table(store, OUTCOMES).to_pylist()}
    return History(
        scored={ScoreKey.of(known[key]): known[key] for key in sorted(outcomes) if key in known},
        in_flight=in_flight,
        tries=_read_tries(store),
        rates=_measure_rates(store, known, outcomes),
    )


def _as_evaluation(row: dict[str, Any]) -> Evaluation:
    return Evaluation.model_validate({key: value for key, value in row.items() if key in Evaluation.model_fields})


def _read_tries(store: Store) -> dict[str, Tries]:
    states: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    last: dict[str, tuple[int, str | None]] = {}
    for row in read_table(store, ATTEMPTS).sort_by([("attempt", "ascending")]).to_pylist():
        states[row["evaluation_id"]][row["state"]] += 1
        last[row["evaluation_id"]] = (row["attempt"], row["reason"])
    return {key: Tries(last[key][0], dict(counts), last[key][1]) for key, counts in states.items()}


def _measure_rates(
    store: Store, evaluations: Mapping[str, Evaluation], outcomes: Mapping[str, dict[str, Any]]
) -> dict[str, float]:
    """Median cost of what has run, by suite: what the next one of that suite will take on this cluster."""
    samples: dict[str, int] = defaultdict(int)
    for row in read_table(store, SUITES).to_pylist():
        samples[row["suite_version"]] += row["n_samples"]
    params = {commit.fingerprint: commit.params_b for commit in read_commits(store).values()}
    measured: dict[str, list[float]] = defaultdict(list)
    for key, outcome in outcomes.items():
        evaluation = evaluations.get(key)
        size = evaluation and samples[evaluation.suite_version] * (params.get(evaluation.fingerprint) or 0)
        if evaluation and size and outcome["elapsed_s"]:
            measured[evaluation.suite].append(outcome["elapsed_s"] / size)
    return {suite: median(rates) for suite, rates in measured.items()}
