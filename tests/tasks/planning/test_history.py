"""What planning knows of earlier nights: by shard, from lakes of any age."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import NOW, make_commit, make_suite
from fake_cluster import make_evaluation

from nightboard.tasks.planning.budget import Spending
from nightboard.tasks.planning.history import Cost, CostKey, ScoreKey, SpendingOf, read_history
from nightboard.tasks.store.layout import MANIFEST_FILE, Store
from nightboard.tasks.store.records import (
    AttemptSpec,
    EvaluationShards,
    PlannedAttempt,
    RecordError,
    Shard,
    as_row,
)
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import ATTEMPTS, COMMITS, EVALUATIONS, OUTCOMES, SUITES, TASK_SCORES
from nightboard.warehouse.schema.request_tables import REQUESTS

PARTS = (Shard(name="bbh", benchmarks=("bbh",)), Shard(name="musr", benchmarks=("musr",)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(store: Store, table: Table, name: str, *rows: dict[str, Any], without: tuple[str, ...] = ()) -> None:
    """A file of a lake table, in the form of today or, `without` some columns, of another day."""
    schema = pa.schema([field for field in table.arrow if field.name not in without])
    path = store.lake / table.name / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


def add_evaluation(store: Store, name: str) -> ScoreKey:
    evaluation = make_evaluation(name)
    write(store, EVALUATIONS, name, as_row(evaluation) | {"planned_at": NOW})
    return ScoreKey.of(evaluation)


def add_attempt(store: Store, name: str, shard: str, attempt: int, state: str | None, **values: Any) -> None:
    """A claimed attempt; with a state it is collected too."""
    folder = store.attempt_dir(name, shard, attempt)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{}")
    if state:
        row = {"evaluation_id": name, "shard": shard, "attempt": attempt, "state": state, "ended_at": NOW}
        write(store, ATTEMPTS, f"{name}-{shard}-{attempt}", row | values)


def finish(store: Store, name: str, part: Shard) -> None:
    for benchmark in part.benchmarks:
        folder = store.work_dir(name, part.name) / benchmark
        folder.mkdir(parents=True)
        (folder / MANIFEST_FILE).write_text("{}")


def fix_parts(store: Store, name: str) -> None:
    path = store.shards_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(EvaluationShards(evaluation_id=name, shards=PARTS).to_bytes())


def test_attempts_are_counted_by_shard(store: Store) -> None:
    add_evaluation(store, "a")
    add_attempt(store, "a", "bbh", 1, "timeout", reason="too long")
    add_attempt(store, "a", "bbh", 2, "timeout", reason="too long again", ended_at=NOW + timedelta(hours=1))
    add_attempt(store, "a", "musr", 1, "failed", reason="CUDA error")
    history = read_history(store)
    assert history.last_attempts == {("a", "bbh"): 2, ("a", "musr"): 1}
    tries = history.tries["a", "bbh"]
    assert (dict(tries.states), tries.last_reason, tries.last_state) == ({"timeout": 2}, "too long again", "timeout")
    assert tries.last_ended_at == NOW + timedelta(hours=1)
    assert dict(history.tries["a", "musr"].states) == {"failed": 1}
    assert not history.in_flight


def test_a_shard_is_in_flight_from_its_claim_until_it_is_collected(store: Store) -> None:
    key = add_evaluation(store, "a")
    add_attempt(store, "a", "bbh", 1, "completed")
    add_attempt(store, "a", "musr", 1, None)
    history = read_history(store)
    assert history.shards_in_flight == {("a", "musr")}
    assert history.in_flight == {key}


def test_a_shard_is_finished_while_its_results_are_there(store: Store) -> None:
    add_evaluation(store, "a")
    fix_parts(store, "a")
    add_attempt(store, "a", "bbh", 1, "failed")
    finish(store, "a", PARTS[0])
    assert not read_history(store).finished, "its results are there, and nobody has looked at them yet"
    add_attempt(store, "a", "bbh", 2, "completed")
    history = read_history(store)
    assert history.finished == {("a", "bbh")}
    assert history.shards == {"a": EvaluationShards(evaluation_id="a", shards=PARTS)}
    (store.work_dir("a", "bbh") / "bbh" / MANIFEST_FILE).unlink()
    assert not read_history(store).finished, "somebody had to set them aside"


def test_parts_are_read_only_of_what_has_no_score_yet(store: Store) -> None:
    key = add_evaluation(store, "a")
    fix_parts(store, "a")
    add_attempt(store, "a", "bbh", 1, "completed")
    write(store, OUTCOMES, "a", {"evaluation_id": "a", "elapsed_s": 9.0, "gpu_hours": 0.0})
    history = read_history(store)
    assert (history.shards, history.finished, set(history.done)) == ({}, frozenset(), {key})


def test_a_damaged_split_is_told_with_its_file(store: Store) -> None:
    fix_parts(store, "a")
    add_attempt(store, "a", "bbh", 1, None)
    store.shards_file("a").write_text("{")
    with pytest.raises(RecordError, match=r"runs/a/parts\.json: cannot be read as EvaluationShards"):
        read_history(store)


def add_scored(store: Store, name: str, *, is_old: bool, gpus: int = 2) -> None:
    """An evaluation of two benchmarks that took 100 s, 60 of them on bbh."""
    add_evaluation(store, name)
    write(store, COMMITS, name, as_row(make_commit(f"lab/{name}", fingerprint=name, params_b=7.0)))
    new = ("tier", "batch_size", "cluster_state", "exit_code", "energy_kwh", "log_tail") if is_old else ()
    row = {"evaluation_id": name, "shard": "all", "attempt": 1, "state": "completed", "ended_at": NOW}
    write(store, ATTEMPTS, f"{name}-all-1", row, without=new)
    outcome = {"evaluation_id": name, "elapsed_s": 100.0, "gpu_hours": 100.0 * gpus / 3600}
    write(store, OUTCOMES, name, outcome, without=("energy_kwh",) if is_old else ())
    scores = [
        {"evaluation_id": name, "benchmark": benchmark, "task": f"{benchmark}{index}", "benchmark_s": seconds}
        for benchmark, seconds in (("bbh", 60.0), ("musr", 30.0))
        for index in range(2)
    ]
    write(store, TASK_SCORES, name, *scores, without=("benchmark_s",) if is_old else ())


def declare(store: Store, name: str = "first") -> None:
    rows = [
        {
            "suite": "small",
            "suite_version": "v1",
            "benchmark": benchmark,
            "task": f"{benchmark}{index}",
            "n_samples": 50,
        }
        for benchmark in ("bbh", "musr")
        for index in range(2)
    ]
    write(store, SUITES, name, *rows)


def test_costs_are_measured_by_benchmark_and_as_a_whole(store: Store) -> None:
    declare(store)
    declare(store, "again")
    add_scored(store, "a", is_old=False)
    assert read_history(store).costs == {
        CostKey("small", None, "hf", has_gpus=True): [Cost(7.0, 200, 100.0, 2, has_start=True)],
        CostKey("small", "bbh", "hf", has_gpus=True): [Cost(7.0, 100, 60.0, 2)],
        CostKey("small", "musr", "hf", has_gpus=True): [Cost(7.0, 100, 30.0, 2)],
    }


def test_a_lake_without_the_new_columns_is_read_beside_one_that_has_them(store: Store) -> None:
    declare(store)
    add_scored(store, "a", is_old=True, gpus=0)
    assert read_history(store).costs == {
        CostKey("small", None, "hf", has_gpus=False): [Cost(7.0, 200, 100.0, 0, has_start=True)]
    }
    add_scored(store, "b", is_old=False, gpus=0)
    history = read_history(store)
    assert len(history.costs[CostKey("small", None, "hf", has_gpus=False)]) == 2
    assert len(history.costs[CostKey("small", "bbh", "hf", has_gpus=False)]) == 1
    assert {key for key, tries in history.tries.items() if tries.last_state == "completed"} == {
        ("a", "all"),
        ("b", "all"),
    }
    assert len(history.done) == 2


# --------------------------------------------------------------------------------------------------------- spending

LAUNCH = "nightboard-mine-20260101T000000-0123abcd"


def add_asked(store: Store, name: str, kind: str) -> None:
    write(store, REQUESTS, kind, {"request_id": kind, "kind": kind, "board": "mine", "asked_at": NOW})
    row = as_row(make_evaluation(name)) | {"planned_at": NOW, "request_id": kind}
    write(store, EVALUATIONS, name, row | {"model_id": f"Qwen/{name}"})


def claim(store: Store, name: str, launch_id: str, gpus: int = 4) -> None:
    """An attempt under way that is estimated to take half an hour."""
    planned = PlannedAttempt(evaluation_id=name, shard=PARTS[0], batch_size=1, estimate_s=1800)
    spec = AttemptSpec(
        launch_id=launch_id, array_task=0, evaluation=make_evaluation(name), suite=make_suite(), planned=planned,
        tier="t", device="cuda", batch_size=1, gpus=gpus, created_at=NOW,
    )  # fmt: skip
    folder = store.attempt_dir(name, PARTS[0].name, 1)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_bytes(spec.to_bytes())
    store.launch_dir(launch_id).mkdir(parents=True, exist_ok=True)


def read_spending(store: Store) -> list[Spending]:
    return list(read_history(store, (), SpendingOf("mine", NOW)).spending)


def test_what_ended_attempts_took_and_what_runs_will_take_is_spent_by_organization_and_class(store: Store) -> None:
    add_evaluation(store, "a")
    add_asked(store, "b", "submission")
    add_asked(store, "c", "backfill")
    took = {"launch_id": LAUNCH, "started_at": NOW, "elapsed_s": 3600.0}
    add_attempt(store, "a", "all", 1, "completed", gpus=2, **took)
    add_attempt(store, "b", "all", 1, "failed", gpus=0, **took)
    add_attempt(store, "b", "all", 2, "fetch_failed", gpus=0, launch_id=LAUNCH)
    claim(store, "c", LAUNCH)
    assert read_spending(store) == [
        Spending("lab", "watched", 2.0, NOW, NOW, NOW),
        Spending("Qwen", "submissions", 1.0, NOW, NOW, NOW),
        Spending("Qwen", "submissions", 0.0, NOW, None, NOW),
        Spending("Qwen", "backfills", 2.0, NOW, NOW, None),
    ]
    assert read_history(store).spending == (), "read only where it is asked for"


def test_another_boards_attempts_and_earlier_ones_are_not_spent(store: Store) -> None:
    for name in ("a", "b", "c", "d", "e"):
        add_evaluation(store, name)
    took = {"started_at": NOW, "elapsed_s": 3600.0, "gpus": 1}
    add_attempt(store, "a", "all", 1, "completed", launch_id=LAUNCH.replace("mine", "mine-too"), **took)
    add_attempt(store, "b", "all", 1, "completed", launch_id="20260101T000000-0123abcd", **took)
    add_attempt(store, "c", "all", 1, "completed", launch_id=LAUNCH, ended_at=NOW - timedelta(seconds=1), **took)
    claim(store, "d", LAUNCH.replace("mine", "other"))
    claim(store, "e", LAUNCH, gpus=0)
    assert [spent.gpu_hours for spent in read_spending(store)] == [1.0, 0.5], "old launches name no board, and count"
