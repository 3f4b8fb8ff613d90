"""A benchmark in parts is scored as lm-eval scores it whole, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lm_eval.api.metrics import mean, mean_stderr
from made_shards import FILTERS, METRICS, PLACE, complete, made_node, made_parts, made_suite, value_of
from node import Node

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.outputs import SAMPLES_TABLE
from nightboard.tasks.evaluation.sharding import whole
from nightboard.tasks.runs.merge_shards import MergeError, merge_shards
from nightboard.tasks.store.layout import MANIFEST_FILE, Store
from nightboard.tasks.store.records import BenchmarkManifest, Shard
from nightboard.warehouse.schema.lake_tables import SAMPLES, TASK_SCORES

# What says where and how a run went, not what came out.
OF_A_RUN = ("task_hash", "benchmark_s")


def run_apart(root: Path, suite: Suite) -> Node:
    parts = made_parts(suite)
    node = made_node(root, suite, parts)
    for part in parts:
        complete(node, part)
    return node


def join(node: Node) -> None:
    merge_shards(node.store, "evaluation", made_parts(node.suite))


def read(store: Store, table: str) -> list[dict[str, Any]]:
    rows = pq.read_table(store.lake / table / "evaluation.parquet").to_pylist()
    return sorted(rows, key=lambda row: [row.get(key, "") for key in ("task", "doc_id", "metric", "filter")])


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: found for key, found in row.items() if key not in OF_A_RUN} for row in rows]


@pytest.mark.parametrize("size", [1, 2, 4, 5, 11])
def test_parts_joined_are_the_whole_to_the_last_bit(tmp_path: Path, size: int) -> None:
    suite = made_suite(size)
    apart, in_one = run_apart(tmp_path / "apart", suite), made_node(tmp_path / "whole", suite)
    complete(in_one, whole(suite))
    merge_shards(in_one.store, "evaluation", [whole(suite)])
    join(apart)
    assert plain(read(apart.store, "task_scores")) == plain(read(in_one.store, "task_scores"))
    assert read(apart.store, "samples") == read(in_one.store, "samples")


def read_documents(node: Node) -> list[dict[str, Any]]:
    files = sorted((node.store.lake / "documents").glob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: (row["task"], row["doc_hash"]))


@pytest.mark.parametrize("size", [2, 5])
def test_the_documents_of_all_parts_are_written_once(tmp_path: Path, size: int) -> None:
    suite = made_suite(size)
    apart, in_one = run_apart(tmp_path / "apart", suite), made_node(tmp_path / "whole", suite)
    complete(in_one, whole(suite))
    merge_shards(in_one.store, "evaluation", [whole(suite)])
    join(apart)
    rows = read_documents(apart)
    assert rows == read_documents(in_one)
    assert {(row["task"], row["doc_hash"]) for row in rows} == {
        (task, f"{task}{number}") for task, count in {"one": 7, "two": 5, "three": 3}.items() for number in range(count)
    }
    assert {(row["dataset_id"], row["dataset_sha"], row["is_imported"]) for row in rows} == {
        ("own/data", "a" * 40, False)
    }
    assert {row["question"] for row in rows if row["task"] == "three"} == {"question 0", "question 1", "question 2"}


def test_documents_that_are_there_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = run_apart(tmp_path, made_suite())
    join(node)
    before = {path: path.stat().st_mtime_ns for path in (node.store.lake / "documents").iterdir()}
    monkeypatch.setattr("nightboard.warehouse.lake.convert_documents.read_lines", None)
    join(node)
    assert {path: path.stat().st_mtime_ns for path in (node.store.lake / "documents").iterdir()} == before
    assert len(before) == 3


def test_every_metric_and_filter_is_scored_by_lm_evals_own_functions_over_all_documents(tmp_path: Path) -> None:
    node = run_apart(tmp_path, made_suite())
    join(node)
    rows = {(row["task"], row["metric"], row["filter"]): row for row in read(node.store, "task_scores")}
    assert len(rows) == 3 * len(METRICS) * len(FILTERS)
    for (task, metric, chosen), row in rows.items():
        values = [value_of(task, doc_id, metric, chosen) for doc_id in range({"one": 7, "two": 5, "three": 3}[task])]
        assert (row["value"], row["stderr"]) == (mean(values), mean_stderr(values)), (task, metric, chosen)


def test_only_what_was_cut_has_no_hash_of_lm_eval(tmp_path: Path) -> None:
    node = run_apart(tmp_path, made_suite())
    join(node)
    hashes = {row["task"]: row["task_hash"] for row in read(node.store, "task_scores")}
    assert hashes == {"one": None, "two": None, "three": "h(0, 3)"}


def test_a_benchmark_took_the_seconds_of_all_its_parts(tmp_path: Path) -> None:
    node = made_node(tmp_path, made_suite(), made_parts(made_suite()))
    for minutes, part in enumerate(made_parts(node.suite), start=1):
        complete(node, part, minutes=minutes)
    join(node)
    seconds = {row["benchmark"]: row["benchmark_s"] for row in read(node.store, "task_scores")}
    assert seconds == {"long": (1 + 2 + 3) * 60, "short": 4 * 60}


def test_where_and_with_what_the_parts_ran_is_all_kept(tmp_path: Path) -> None:
    suite = made_suite()
    node = made_node(tmp_path, suite, made_parts(suite))
    versions = '{"torch": "2.14.0", "vllm": "0.20"}'
    places = [PLACE, replace(PLACE, node="gpu2"), replace(PLACE, library_versions=versions), PLACE]
    for place, batch_size, part in zip(places, (8, 4, 8, 8), made_parts(suite), strict=True):
        complete(node, part, place=place, batch_size=batch_size)
    join(node)
    [row] = [row for row in read(node.store, "task_scores") if (row["task"], row["metric"]) == ("one", "acc")][:1]
    assert (row["node"], row["batch_size"], row["device"]) == ("gpu1, gpu2", "8, 4", "cpu")
    [row] = [row for row in read(node.store, "task_scores") if (row["task"], row["metric"]) == ("two", "acc")][:1]
    assert json.loads(row["library_versions"]) == {"torch": "2.13.0, 2.14.0", "vllm": "0.20"}


@pytest.mark.parametrize(
    ("changes", "name"), [({"versions": {"one": 2.0, "two": 1.0}}, "task_version: 1.0, 2.0"), ({}, "harness_version")]
)
def test_parts_of_different_versions_are_not_joined(tmp_path: Path, changes: dict[str, Any], name: str) -> None:
    suite = made_suite()
    first, second, *others = made_parts(suite)
    node = made_node(tmp_path, suite, made_parts(suite))
    complete(node, first)
    complete(node, second, results=changes, place=PLACE if changes else replace(PLACE, harness_version="0.4.14"))
    for part in others:
        complete(node, part)
    with pytest.raises(MergeError, match=f"one, .*different values of {name}"):
        join(node)
    assert not node.store.lake.exists()


def edit_samples(node: Node, part: Shard, **columns: Any) -> None:
    """Change a column of the part's table in its first row, and seal the table again."""
    path = node.store.work_dir("evaluation", part.name) / "long" / SAMPLES_TABLE
    rows = pq.read_table(path).to_pylist()
    rows[0] |= columns
    pq.write_table(pq.read_table(path).from_pylist(rows, schema=SAMPLES.arrow), path)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"weight": 2.0}, "is not a mean over documents"),
        ({"value": None}, "is not a mean over documents"),
        ({"task": "two"}, "the shards have 7 documents, their samples 6"),
    ],
)
def test_what_is_no_plain_mean_or_not_complete_is_not_joined(
    tmp_path: Path, columns: dict[str, Any], reason: str
) -> None:
    node = run_apart(tmp_path, made_suite())
    edit_samples(node, made_parts(node.suite)[0], **columns)
    with pytest.raises(MergeError, match=reason):
        join(node)


def test_each_part_names_its_documents_under_its_seal(tmp_path: Path) -> None:
    node = run_apart(tmp_path, made_suite())
    for part in made_parts(node.suite):
        folder = node.store.work_dir("evaluation", part.name) / part.benchmarks[0]
        assert "documents.json" in BenchmarkManifest.read(folder / MANIFEST_FILE).files


@pytest.mark.parametrize(
    ("values", "joined"),
    [
        ([{"cut_prompts": 1, "only_answer": "A"}, {"cut_prompts": 2, "only_answer": "A"}], (3, "A")),
        ([{"cut_prompts": 0, "only_answer": "A"}, {"cut_prompts": 2, "only_answer": "B"}], (2, None)),
        ([{"cut_prompts": 1, "only_answer": None}, {"cut_prompts": None, "only_answer": "A"}], (None, None)),
    ],
)
def test_what_was_asked_and_answered_is_counted_over_all_parts(
    tmp_path: Path, values: list[dict[str, Any]], joined: tuple[Any, ...]
) -> None:
    suite = made_suite(6)
    node = run_apart(tmp_path, suite)
    for part, changes in zip([part for part in made_parts(suite) if part.documents], values, strict=True):
        file = node.store.work_dir("evaluation", part.name) / "long" / "task_scores.parquet"
        rows = [row | changes for row in pq.read_table(file).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, TASK_SCORES.arrow), file)
    join(node)
    rows = [row for row in read(node.store, "task_scores") if row["benchmark"] == "long"]
    assert {(row["cut_prompts"], row["only_answer"]) for row in rows if row["task"] == "one"} == {joined}
