"""Whoever collects the last shard joins the evaluation: once, whatever dies or runs at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from builders import NOW
from made_shards import complete, made_node, made_parts, made_suite, write_outcome
from node import Node

from nightboard.tasks.cluster.executor import JobReport
from nightboard.tasks.evaluation.sharding import whole
from nightboard.tasks.planning.history import read_history
from nightboard.tasks.runs import collect as collect_module
from nightboard.tasks.runs.collect import collect_attempt
from nightboard.tasks.runs.open_runs import is_collected
from nightboard.tasks.store import files as store_module
from nightboard.tasks.store.layout import SPEC_FILE
from nightboard.tasks.store.records import AttemptSpec, Shard
from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.schema.lake_tables import EVALUATIONS

SUITE = made_suite()
PARTS = made_parts(SUITE)
REPORT = JobReport("COMPLETED", is_over=True, elapsed_s=120, exit_code="0:0", energy_j=7.2e6)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return made_node(tmp_path / "store", SUITE, PARTS)


def lake_of(node: Node) -> dict[str, bytes]:
    files = sorted(node.store.lake.rglob("*.parquet"))
    return {str(path.relative_to(node.store.lake)): path.read_bytes() for path in files}


def read(node: Node, table: str, name: str = "evaluation") -> list[dict[str, Any]]:
    return list(pq.read_table(node.store.lake / table / f"{name}.parquet").to_pylist())


def read_attempt(node: Node, part: Shard, attempt: int = 1) -> dict[str, Any]:
    [row] = read(node, "attempts", f"evaluation-{part.name}-{attempt}")
    return row


# ---------------------------------------------------------------------------------------------------- the last shard


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)], ids=str)
def test_the_last_shard_joins_them_in_whatever_order_they_end(node: Node, order: tuple[int, ...]) -> None:
    for index in order[:-1]:
        collected = collect_attempt(node.store, complete(node, PARTS[index]), NOW)
        assert (collected.state, collected.is_scored, collected.shard) == ("completed", False, PARTS[index].name)
    assert {path.parent.name for path in node.store.lake.rglob("*.parquet")} == {"attempts"}
    assert collect_attempt(node.store, complete(node, PARTS[order[-1]]), NOW).is_scored
    assert {row["task"] for row in read(node, "task_scores")} == {"one", "two", "three"}
    assert len(list((node.store.lake / "attempts").iterdir())) == len(PARTS)


def test_an_evaluation_of_an_old_store_is_in_one_piece(tmp_path: Path) -> None:
    node = made_node(tmp_path, SUITE)
    assert collect_attempt(node.store, complete(node, whole(SUITE)), NOW).is_scored
    assert {row["n_samples"] for row in read(node, "task_scores")} == {7, 5, 3}


def test_a_shard_that_timed_out_is_not_complete_though_its_files_are(node: Node) -> None:
    first = complete(node, PARTS[0])
    write_outcome(first, "timeout", NOW)
    others = [complete(node, part) for part in PARTS[1:]]
    assert not any(collect_attempt(node.store, folder, NOW).is_scored for folder in [*others, first])
    assert collect_attempt(node.store, complete(node, PARTS[0], attempt=2), NOW).is_scored


# --------------------------------------------------------------------------------------- twice, at once, and killed


class Killed(BaseException):
    """As kill -9 would: nothing in between catches it."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Kills the process that writes at its n-th file, before the file has its name."""
    replace_file = os.replace
    left = [-1]

    def replace_or_die(*paths: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        replace_file(*paths)

    monkeypatch.setattr(store_module.os, "replace", replace_or_die)
    return lambda count: left.__setitem__(0, count)


@pytest.mark.parametrize("count", range(1, 8))
def test_a_flow_killed_at_any_file_is_finished_by_the_next(
    node: Node, tmp_path: Path, kill_at: Callable[[int], None], count: int
) -> None:
    for part in PARTS[:-1]:
        collect_attempt(node.store, complete(node, part), NOW)
    last = complete(node, PARTS[-1])
    kill_at(count)
    with pytest.raises(Killed):
        collect_attempt(node.store, last, NOW)
    kill_at(-1)
    tables = {path.parent.name for path in node.store.lake.rglob("evaluation.parquet")}
    # An outcome vouches for all rows; an attempt's row says that nothing is left to do.
    n_documents = len(list(node.store.lake.glob("documents/*.parquet")))
    assert n_documents == min(count - 1, 3)  # one file a task
    assert tables == set(["task_scores", "samples", "outcomes"][: max(0, count - 4)])
    assert not is_collected(node.store, AttemptSpec.read(last / SPEC_FILE).planned)
    assert collect_attempt(node.store, last, NOW).is_scored
    assert lake_of(node) == lake_of(undisturbed(tmp_path))


def undisturbed(tmp_path: Path) -> Node:
    node = made_node(tmp_path / "undisturbed", SUITE, PARTS)
    for part in PARTS:
        collect_attempt(node.store, complete(node, part), NOW)
    return node


def test_collecting_again_changes_nothing(node: Node) -> None:
    folders = [complete(node, part) for part in PARTS]
    for folder in folders:
        collect_attempt(node.store, folder, NOW)
    before = lake_of(node)
    assert all(collect_attempt(node.store, folder, NOW + timedelta(1), REPORT).is_scored for folder in folders)
    assert lake_of(node) == before


def test_two_flows_that_collect_the_last_two_shards_at_once_lose_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in PARTS[:-2]:
        collect_attempt(node.store, complete(node, part), NOW)
    first, second = (complete(node, part) for part in PARTS[-2:])
    merge = collect_module.merge_shards

    def merge_while_the_other_collects(*arguments: Any) -> None:
        monkeypatch.setattr(collect_module, "merge_shards", merge)
        assert collect_attempt(node.store, second, NOW).is_scored
        merge(*arguments)

    monkeypatch.setattr(collect_module, "merge_shards", merge_while_the_other_collects)
    assert collect_attempt(node.store, first, NOW).is_scored
    assert len(read(node, "outcomes")) == 1
    assert len(list((node.store.lake / "attempts").iterdir())) == len(PARTS)


def test_many_flows_at_once_write_what_one_does(node: Node, tmp_path: Path) -> None:
    folders = [complete(node, part) for part in PARTS]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda folder: collect_attempt(node.store, folder, NOW), folders * 2))
    expected = lake_of(undisturbed(tmp_path))
    assert lake_of(node) == expected


# ---------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "name", ["samples.parquet", "task_scores.parquet", "documents.json", "samples_one.jsonl", "manifest.json"]
)
def test_damage_in_another_shard_is_set_aside_and_nothing_false_is_written(node: Node, name: str) -> None:
    register(node)
    for part in PARTS[:-1]:
        collect_attempt(node.store, complete(node, part), NOW)
    work = node.store.work_dir("evaluation", PARTS[0].name)
    (work / "long" / name).write_bytes(b"{}")
    collected = collect_attempt(node.store, complete(node, PARTS[-1]), NOW)
    assert (collected.state, collected.is_scored) == ("completed", False)
    assert {path.parent.name for path in node.store.lake.rglob("*.parquet")} == {"attempts", "evaluations"}
    assert [path.name.partition("-")[0] for path in work.iterdir()] == ["long.damaged"]
    # It is planned again, and nothing else is.
    finished = read_history(node.store).finished
    assert {key for _, key in finished} == {part.name for part in PARTS[1:]}
    assert collect_attempt(node.store, complete(node, PARTS[0], attempt=2), NOW).is_scored


def test_a_part_that_does_not_name_its_documents_is_not_taken(node: Node) -> None:
    folders = [complete(node, part) for part in PARTS]
    manifest = node.store.work_dir("evaluation", PARTS[0].name) / "long" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"documents.json"', '"results.json"', 1))
    collected = collect_attempt(node.store, folders[0], NOW)
    assert collected.state == "invalid"
    assert "documents.json is not listed" in str(collected.reason)


def test_parts_that_do_not_fit_together_make_the_last_attempt_invalid_with_the_reason(node: Node) -> None:
    for part in PARTS[:-1]:
        complete(node, part, results={"versions": {"one": part.name, "two": 1.0}})
    collected = collect_attempt(node.store, complete(node, PARTS[-1]), NOW)
    assert (collected.state, collected.is_scored) == ("invalid", False)
    assert "different values of task_version: long.0-4, long.4-8" in str(collected.reason)
    assert read_attempt(node, PARTS[-1])["reason"] == collected.reason
    assert {path.parent.name for path in node.store.lake.rglob("*.parquet")} == {"attempts"}


def register(node: Node) -> None:
    row = {"evaluation_id": "evaluation", "suite": "s", "suite_version": "v1", "model_id": "m", "revision": "r"}
    row |= {"fingerprint": "f", "precision": "float32", "chat_template": False, "fewshot_as_multiturn": False}
    row |= {"backend": "hf", "replicate": 0, "harness_version": "0.4.13"}
    write_parquet(node.store.lake / "evaluations" / "evaluation.parquet", EVALUATIONS, [row])


# ------------------------------------------------------------------------------------------ what the cluster said


def test_an_attempt_keeps_what_the_cluster_said_of_its_job_and_its_share_of_the_energy(node: Node) -> None:
    collect_attempt(node.store, complete(node, PARTS[0], minutes=1), NOW, REPORT)
    row = read_attempt(node, PARTS[0])
    # A minute of a job of two minutes and 2 kWh.
    assert (row["cluster_state"], row["exit_code"], row["energy_kwh"]) == ("COMPLETED", "0:0", 1.0)
    assert (row["job_id"], row["tier"], row["batch_size"]) == ("7_0", "cpu", "4")


@pytest.mark.parametrize(
    "report", [None, replace(REPORT, is_over=False, state="RUNNING"), JobReport("UNKNOWN", is_over=True)]
)
def test_what_the_cluster_has_not_said_at_the_end_is_null(node: Node, report: JobReport | None) -> None:
    collect_attempt(node.store, complete(node, PARTS[0]), NOW, report)
    row = read_attempt(node, PARTS[0])
    assert (row["cluster_state"], row["exit_code"], row["energy_kwh"]) == (None, None, None)


def test_energy_is_summed_over_all_attempts_and_never_over_some_of_them(node: Node, tmp_path: Path) -> None:
    register(node)
    failed = node.prepare(shard=PARTS[0])
    write_outcome(failed, "failed", NOW + timedelta(minutes=2))
    collect_attempt(node.store, failed, NOW, REPORT)
    folders = [complete(node, part, attempt=2) for part in PARTS]
    collect_attempt(node.store, folders[0], NOW, REPORT)
    assert read(node, "outcomes")[0]["energy_kwh"] is None, "of three attempts it is not known yet"
    for folder in folders[1:]:
        collect_attempt(node.store, folder, NOW, REPORT)
    path = build(node.store.lake, tmp_path / "warehouse", NOW).path
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("select energy_kwh, attempts from evaluations").fetchall() == [(2.0 + 4 * 1.0, 5)]


def test_an_outcome_has_the_energy_when_all_attempts_are_collected(node: Node) -> None:
    for part in PARTS:
        collect_attempt(node.store, complete(node, part), NOW, REPORT)
    [outcome] = read(node, "outcomes")
    assert (outcome["energy_kwh"], outcome["elapsed_s"]) == (4.0, 240.0)
