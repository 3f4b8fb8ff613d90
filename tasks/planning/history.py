"""Reads the history that planning needs from the store: scores, ended attempts, open shards, costs, spending."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from nightboard.profiles.models.board import Board
from nightboard.profiles.models.endings import Ending
from nightboard.tasks.planning.budget import REQUEST_CLASSES, Spending, count_devices, find_night, find_week
from nightboard.tasks.store.layout import MANIFEST_FILE, SPEC_FILE, Store
from nightboard.tasks.store.records import (
    AttemptSpec,
    Commit,
    Evaluation,
    EvaluationShards,
    Freed,
    RecordError,
    ResolvedSuite,
)
from nightboard.tasks.store.tables import read_table
from nightboard.warehouse.lake.files import list_written
from nightboard.warehouse.schema.lake_tables import ATTEMPTS, COMMITS, EVALUATIONS, OUTCOMES, SUITES, TASK_SCORES
from nightboard.warehouse.schema.request_tables import REQUESTS

# A launch's id, with its board.
_LAUNCH = re.compile(r"nightboard-(.+)-\d{8}T\d{6}-[0-9a-f]+")


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
        return cls(
            evaluation.suite,
            evaluation.fingerprint,
            evaluation.precision,
            evaluation.chat_template,
            evaluation.fewshot_as_multiturn,
            evaluation.backend,
        )


State = Literal["completed"] | Ending


@dataclass(frozen=True)
class Tries:
    """The ended attempts at a shard.

    `ended`: the state and the end of each. Attempts before a `nightboard retry` are not included.
    """

    states: Mapping[State, int]
    last_reason: str | None = None
    last_state: State | None = None
    last_ended_at: datetime | None = None
    ended: tuple[tuple[State, datetime | None], ...] = ()

    @property
    def endings(self) -> list[tuple[Ending, int]]:
        """Number of attempts per ending, without completed ones."""
        return [(state, count) for state, count in self.states.items() if state != "completed"]


@dataclass(frozen=True)
class CostKey:
    """Key of measurements: a benchmark (None: the whole suite) on one kind of machine."""

    suite: str
    benchmark: str | None
    backend: str
    has_gpus: bool


@dataclass(frozen=True)
class Cost:
    """A measured cost: seconds of wall time for some documents on a number of GPUs.

    `has_start`: includes loading the model.
    """

    params_b: float
    documents: int
    seconds: float
    gpus: int
    has_start: bool = False


Number = tuple[str, str, str]
"""What names a stored score of an evaluation: task, metric and filter."""


@dataclass(frozen=True)
class Measurement:
    """How a task was measured: documents, shots, and other settings of the suite (None: unknown)."""

    n_samples: int
    n_shot: int
    otherwise: str | None


@dataclass(frozen=True)
class Done:
    """A done evaluation, its numbers, and how its version of the suite measures each task.

    `numbers` is None if it has all that its version of the suite declares, except the benchmarks in `left_out`.
    `reused`: benchmarks that earlier evaluations measured.
    """

    evaluation: Evaluation
    numbers: frozenset[Number] | None = None
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    reused: frozenset[str] = frozenset()


ShardKey = tuple[str, str]
"""An evaluation's id and the name of one of its shards."""


@dataclass(frozen=True)
class History:
    """What is known before planning.

    `done`: evaluations by what they can serve for, those that finished first at the beginning. `in_flight`: evaluations
    with an open attempt; `shards_in_flight`: the shards themselves. `last_attempts`: the highest number that
    anybody has claimed, by shard. `finished`: shards whose results are there, of evaluations that are not scored.
    `shards`: how such evaluations are split; those of older stores are not listed, and are in one placement.
    `costs`: those that were measured first at the beginning. `spending`: what attempts of the board have cost since
    some time.
    """

    done: Mapping[ScoreKey, Sequence[Done]] = field(default_factory=dict)
    in_flight: frozenset[ScoreKey] = frozenset()
    shards_in_flight: frozenset[ShardKey] = frozenset()
    last_attempts: Mapping[ShardKey, int] = field(default_factory=dict)
    tries: Mapping[ShardKey, Tries] = field(default_factory=dict)
    finished: frozenset[ShardKey] = frozenset()
    shards: Mapping[str, EvaluationShards] = field(default_factory=dict)
    costs: Mapping[CostKey, Sequence[Cost]] = field(default_factory=dict)
    spending: Sequence[Spending] = ()


@dataclass(frozen=True)
class SpendingOf:
    """Whose spending is read: a board's, by attempts that ended after `since` or are under way."""

    board: str
    since: datetime

    @classmethod
    def week(cls, board: Board, now: datetime) -> SpendingOf:
        """What counts for a board's budget."""
        return cls(board.board, find_week(find_night(now, board.schedule.timezone)))

    def includes(self, launch_id: str | None) -> bool:
        """Launches of old stores do not name their board, and count."""
        named = _LAUNCH.fullmatch(launch_id or "")
        return named is None or named[1] == self.board


def read_commits(store: Store) -> dict[tuple[str, str], Commit]:
    """The newest row of each model and revision."""
    rows = read_table(store, COMMITS).sort_by([("discovered_at", "ascending")]).to_pylist()
    return {(row["model_id"], row["revision"]): Commit(**row) for row in rows}


def read_evaluations(store: Store) -> dict[str, Evaluation]:
    """All evaluations that were ever launched, by id."""
    return {row["evaluation_id"]: _as_evaluation(row) for row in read_table(store, EVALUATIONS).to_pylist()}


def read_history(
    store: Store, suites: Collection[ResolvedSuite] = (), spending_of: SpendingOf | None = None
) -> History:
    """Read all that planning needs. `suites`: as now declared.

    The claims are read before the scores: what another flow claims or collects in between is then known as in flight or
    as scored, or its attempt's number is taken when ours is claimed.
    """
    last_attempts, under_way = _read_claims(store)
    claimed = frozenset(under_way)
    known = read_evaluations(store)
    columns = ["evaluation_id", "shard", "attempt", "state", "reason", "ended_at"]
    columns += ["launch_id", "started_at", "elapsed_s", "gpus"] if spending_of else []
    attempts = read_table(store, ATTEMPTS, columns).sort_by([("attempt", "ascending")]).to_pylist()
    outcomes = {row["evaluation_id"]: row for row in read_table(store, OUTCOMES).to_pylist()}
    seconds, reused = _read_benchmark_seconds(store)
    shards = _read_shards(store, {evaluation_id for evaluation_id, _ in last_attempts} - outcomes.keys())
    return History(
        done=_read_done(store, known, outcomes, {suite.version for suite in suites}, reused),
        in_flight=frozenset(ScoreKey.of(known[key]) for key, _ in claimed if key in known),
        shards_in_flight=claimed,
        last_attempts=last_attempts,
        tries=_read_tries(attempts, read_freed(store, {key for key, _ in last_attempts})),
        finished=_find_finished(store, attempts, shards),
        shards=shards,
        costs=_measure_costs(store, known, outcomes, seconds, reused),
        spending=_list_spending(store, attempts, under_way.values(), spending_of) if spending_of else (),
    )


def _read_claims(store: Store) -> tuple[dict[ShardKey, int], dict[ShardKey, AttemptSpec | None]]:
    """The highest attempt at each shard, and the shards with an attempt that is not collected yet (None: unreadable).

    An attempt whose launch was moved away is lost: its number stays taken, and it is not in flight.
    """
    attempts = [path.parent for path in store.runs.glob(f"*/*/*/{SPEC_FILE}")]
    last: dict[ShardKey, int] = {}
    for folder in attempts:
        key = (folder.parents[1].name, folder.parent.name)
        last[key] = max(last.get(key, 0), int(folder.name))
    collected = list_written(store.lake, ATTEMPTS.name)
    under_way = [f for f in attempts if f"{f.parents[1].name}-{f.parent.name}-{f.name}" not in collected]
    specs = [((folder.parents[1].name, folder.parent.name), _read_spec(folder)) for folder in under_way]
    return last, {key: spec for key, spec in specs if not (spec and _is_lost(store, spec))}


def _read_done(
    store: Store,
    known: Mapping[str, Evaluation],
    outcomes: Mapping[str, dict[str, Any]],
    versions: Collection[str],
    reused: Mapping[str, Collection[str]],
) -> dict[ScoreKey, list[Done]]:
    """Evaluations that are done; of those at one of the `versions` it need not be read what they have."""
    ids = _sort_by_end(outcomes.keys() & known.keys(), outcomes)
    others = {key for key in ids if known[key].suite_version not in versions}
    numbers = _read_numbers(store, others) if others else {}
    measurements = _read_measurements(store) if others else {}
    by_score: dict[ScoreKey, list[Done]] = defaultdict(list)
    for key in ids:
        evaluation = known[key]
        entry = Done(evaluation, reused=frozenset(reused.get(key, ())))
        if key in others:
            entry = replace(entry, numbers=frozenset(numbers[key]), measurements=measurements[evaluation.suite_version])
        by_score[ScoreKey.of(evaluation)].append(entry)
    return dict(by_score)


def _sort_by_end(ids: Iterable[str], outcomes: Mapping[str, dict[str, Any]]) -> list[str]:
    beginning = datetime.min.replace(tzinfo=UTC)
    return sorted(ids, key=lambda key: (outcomes[key]["finished_at"] or beginning, key))


def _read_numbers(store: Store, evaluation_ids: Collection[str]) -> Mapping[str, Collection[Number]]:
    columns = ["evaluation_id", "task", "metric", "filter"]
    rows = read_table(store, TASK_SCORES, columns)
    rows = rows.filter(pc.is_in(rows["evaluation_id"], pa.array(sorted(evaluation_ids), pa.string())))
    numbers: dict[str, set[Number]] = defaultdict(set)
    for evaluation_id, *number in zip(*(rows[name].to_pylist() for name in columns), strict=True):
        numbers[evaluation_id].add((number[0], number[1], number[2]))
    return numbers


def _read_measurements(store: Store) -> Mapping[str, Mapping[str, Measurement]]:
    """How each version of a suite measures its tasks, from the newest declaration of the version."""
    columns = ["suite_version", "task", "n_samples", "n_shot", "measurement", "declared_at"]
    measurements: dict[str, dict[str, Measurement]] = defaultdict(dict)
    for row in read_table(store, SUITES, columns).sort_by([("declared_at", "ascending")]).to_pylist():
        measurement = Measurement(row["n_samples"], row["n_shot"], row["measurement"])
        measurements[row["suite_version"]][row["task"]] = measurement
    return measurements


def _read_shards(store: Store, evaluation_ids: Iterable[str]) -> dict[str, EvaluationShards]:
    paths = ((key, store.shards_file(key)) for key in evaluation_ids)
    return {key: EvaluationShards.read(path) for key, path in paths if path.exists()}


def _find_finished(
    store: Store, attempts: Sequence[dict[str, Any]], shards: Mapping[str, EvaluationShards]
) -> frozenset[ShardKey]:
    """Shards with a completed attempt whose results have not been moved aside since."""
    completed = {(row["evaluation_id"], row["shard"]) for row in attempts if row["state"] == "completed"}
    return frozenset(
        (key, shard.name)
        for key, of_evaluation in shards.items()
        for shard in of_evaluation.shards
        if (key, shard.name) in completed
        and all((store.work_dir(key, shard.name) / name / MANIFEST_FILE).exists() for name in shard.benchmarks)
    )


def _read_spec(folder: Path) -> AttemptSpec | None:
    try:
        return AttemptSpec.read(folder / SPEC_FILE)
    except RecordError:
        return None  # the owner is unknown; reconcile says what to do


def _is_lost(store: Store, spec: AttemptSpec) -> bool:
    return not store.launch_dir(spec.launch_id).is_dir()


def _as_evaluation(row: dict[str, Any]) -> Evaluation:
    fields = {key: value for key, value in row.items() if key in Evaluation.model_fields}
    return Evaluation.model_validate(fields | {"left_out": json.loads(row["left_out"] or "{}")})


def read_freed(store: Store, evaluation_ids: Iterable[str]) -> dict[ShardKey, int]:
    """The last attempt at each freed shard that no longer counts."""
    paths = ((key, store.freed_file(key)) for key in evaluation_ids)
    return {
        (key, shard): attempt
        for key, path in paths
        if path.exists()
        for shard, attempt in Freed.read(path).attempts.items()
    }


def _read_tries(attempts: Sequence[dict[str, Any]], freed: Mapping[ShardKey, int]) -> dict[ShardKey, Tries]:
    """Tries by shard; `attempts` are in the order of their numbers."""
    rows: dict[ShardKey, list[dict[str, Any]]] = defaultdict(list)
    for row in attempts:
        key = (row["evaluation_id"], row["shard"])
        if row["attempt"] > freed.get(key, 0):
            rows[key].append(row)
    return {key: _sum_up(rows_of_shard) for key, rows_of_shard in rows.items()}


def _sum_up(rows: Sequence[dict[str, Any]]) -> Tries:
    last = rows[-1]
    ended = tuple((row["state"], row["ended_at"]) for row in rows)
    return Tries(dict(Counter(state for state, _ in ended)), last["reason"], last["state"], last["ended_at"], ended)


def _measure_costs(
    store: Store,
    evaluations: Mapping[str, Evaluation],
    outcomes: Mapping[str, dict[str, Any]],
    seconds: Mapping[str, Mapping[str | None, float | None]],
    reused: Mapping[str, Collection[str]],
) -> dict[CostKey, list[Cost]]:
    """Measured costs of evaluations, in total and by benchmark; those that finished first at the beginning."""
    documents = _count_documents(store)
    params = {commit.fingerprint: commit.params_b for commit in read_commits(store).values()}
    costs: dict[CostKey, list[Cost]] = defaultdict(list)
    for evaluation_id in _sort_by_end(outcomes, outcomes):
        outcome = outcomes[evaluation_id]
        evaluation, elapsed_s = evaluations.get(evaluation_id), outcome["elapsed_s"]
        params_b = params.get(evaluation.fingerprint) if evaluation else None
        if not evaluation or not params_b or not elapsed_s:
            continue
        gpus = round(outcome["gpu_hours"] * 3600 / elapsed_s)
        of_benchmarks = seconds.get(evaluation_id, {})
        # If benchmarks were reused or not run, the total time is not that of the suite.
        is_whole = not evaluation.left_out and evaluation_id not in reused
        for benchmark, taken_s in [(None, elapsed_s if is_whole else None), *of_benchmarks.items()]:
            if taken_s and (count := documents[evaluation.suite_version, benchmark]):
                key = CostKey(evaluation.suite, benchmark, evaluation.backend, gpus > 0)
                costs[key].append(Cost(params_b, count, taken_s, gpus, has_start=benchmark is None))
    return dict(costs)


def _count_documents(store: Store) -> dict[tuple[str, str | None], int]:
    """Documents by suite version and benchmark; None means the whole suite."""
    columns = ["suite_version", "benchmark", "task", "n_samples"]
    documents: dict[tuple[str, str | None], int] = defaultdict(int)
    # A version may have been declared more than once.
    for row in read_table(store, SUITES, columns).group_by(columns).aggregate([]).to_pylist():
        documents[row["suite_version"], row["benchmark"]] += row["n_samples"]
        documents[row["suite_version"], None] += row["n_samples"]
    return documents


def _read_benchmark_seconds(store: Store) -> tuple[dict[str, dict[str | None, float | None]], dict[str, set[str]]]:
    """Seconds by evaluation and benchmark, and by evaluation its reused benchmarks, which cost it nothing.

    Seconds are null in rows of old stores.
    """
    columns = ["evaluation_id", "benchmark", "benchmark_s", "measured_by"]
    seconds: dict[str, dict[str | None, float | None]] = defaultdict(dict)
    reused: dict[str, set[str]] = defaultdict(set)
    for row in read_table(store, TASK_SCORES, columns).group_by(columns).aggregate([]).to_pylist():
        seconds[row["evaluation_id"]][row["benchmark"]] = row["benchmark_s"]
        if row["measured_by"] is not None:
            reused[row["evaluation_id"]].add(row["benchmark"])
    return seconds, dict(reused)


# -------------------------------------------------------------------------------------------------------- spending


def read_spending(store: Store, spending_of: SpendingOf) -> list[Spending]:
    """What a board's attempts have cost and will cost, without the rest of the history."""
    _, under_way = _read_claims(store)
    columns = ["evaluation_id", "ended_at", "launch_id", "started_at", "elapsed_s", "gpus"]
    attempts = read_table(store, ATTEMPTS, columns).to_pylist()
    return _list_spending(store, attempts, under_way.values(), spending_of)


def _list_spending(
    store: Store, attempts: Sequence[dict[str, Any]], under_way: Iterable[AttemptSpec | None], spending_of: SpendingOf
) -> list[Spending]:
    """What ended attempts took, and what those under way are estimated to take. Without GPUs, a job counts as one."""
    columns = ["evaluation_id", "model_id", "request_id", "planned_at"]
    launched = {row["evaluation_id"]: row for row in read_table(store, EVALUATIONS, columns).to_pylist()}
    requests = read_table(store, REQUESTS, ["request_id", "kind"]).to_pylist()
    classes = {row["request_id"]: REQUEST_CLASSES[row["kind"]] for row in requests}

    def spend(key: str, took_s: float, gpus: int, since: datetime | None, until: datetime | None) -> Spending:
        row = launched.get(key, {})
        organization = row.get("model_id", "").partition("/")[0]
        request_class = classes.get(row.get("request_id"), "watched")
        hours = took_s * count_devices(gpus) / 3600
        return Spending(organization, request_class, hours, row.get("planned_at"), since, until)

    ended = [
        spend(row["evaluation_id"], row["elapsed_s"] or 0.0, row["gpus"] or 0, row["started_at"], row["ended_at"])
        for row in attempts
        if row["ended_at"] and row["ended_at"] >= spending_of.since and spending_of.includes(row["launch_id"])
    ]
    return ended + [
        spend(spec.evaluation.evaluation_id, spec.planned.estimate_s, spec.gpus, spec.created_at, None)
        for spec in under_way
        if spec and spending_of.includes(spec.launch_id)
    ]
