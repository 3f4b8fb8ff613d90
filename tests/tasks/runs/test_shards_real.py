"""Evaluations in parts, with the real lm-eval: the same documents, prompts, counts and scores as in one piece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import NOW
from node import FilledCache, Node, small_suite

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.outputs import check_finished
from nightboard.tasks.evaluation.sharding import cut, split
from nightboard.tasks.runs.collect import collect_attempt
from nightboard.tasks.store.records import EvaluationShards, Outcome, Shard

pytestmark = pytest.mark.real

# Never rows of a run: they say where and how fast it was.
OF_A_RUN = ("evaluation_id", "benchmark_s", "node", "task_hash", "library_versions")


def cut_suite(shas: dict[str, str]) -> Suite:
    suite = small_suite(shas)
    sizes = {"mmlu_pro": 16, "musr": 4}
    benchmarks = {
        name: each.model_copy(update={"cut_documents": sizes.get(name)}) for name, each in suite.benchmarks.items()
    }
    return suite.model_copy(update={"benchmarks": benchmarks})


def open_node(make_node: Any, suite: Suite) -> Node:
    node: Node = make_node()
    node.suite = suite
    return node


def read_lake(node: Node, table: str) -> list[dict[str, Any]]:
    rows = pq.read_table(node.store.lake / table / "evaluation.parquet").to_pylist()
    keys = [name for name in ("task", "doc_id", "metric", "filter") if name in rows[0]]
    return sorted(rows, key=lambda row: [row[key] for key in keys])


def without_run(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in OF_A_RUN} for row in rows]


def read_prompts(work: list[Path]) -> dict[tuple[str, int], tuple[str, str]]:
    prompts = {}
    for file in (path for folder in work for path in folder.glob("*/samples_*.jsonl")):
        for line in file.read_text().splitlines():
            sample = json.loads(line)
            prompts[file.name, sample["doc_id"]] = (sample["doc_hash"], json.dumps(sample["arguments"]))
    return prompts


def test_parts_joined_are_the_whole(filled_cache: FilledCache, make_node: Any) -> None:
    suite = cut_suite(filled_cache.shas)
    whole, apart = open_node(make_node, suite), open_node(make_node, suite)
    folder = whole.prepare(batch_size=1)
    whole.finish(folder)
    assert collect_attempt(whole.store, folder, NOW).is_scored

    parts = split(suite, dict.fromkeys(suite.benchmarks, 100.0), 1.0, limit_s=50.0)
    names = [part.name for part in parts]
    assert names == [
        "ifeval",
        "gpqa",
        "musr.0-4",
        "musr.4-8",
        "musr.8-9",
        "mmlu_pro.0-16",
        "mmlu_pro.16-32",
        "mmlu_pro.32-40",
    ]
    record = EvaluationShards(evaluation_id="evaluation", shards=parts)
    (apart.store.runs / "evaluation").mkdir(parents=True)
    apart.store.shards_file("evaluation").write_bytes(record.to_bytes())
    folders = [apart.prepare(shard=part, batch_size=1) for part in parts]
    apart.finish(*folders)
    # Collected in another order than the documents', the last one last.
    scored = [collect_attempt(apart.store, each, NOW).is_scored for each in reversed(folders)]
    # A shard that has ended counts from then on, so the first look can already join them.
    assert any(scored)

    assert without_run(read_lake(apart, "task_scores")) == without_run(read_lake(whole, "task_scores"))
    assert without_run(read_lake(apart, "samples")) == without_run(read_lake(whole, "samples"))
    works = [apart.store.work_dir("evaluation", name) for name in names]
    assert read_prompts(works) == read_prompts([whole.work])
    assert all(row["benchmark_s"] > 0 for row in read_lake(apart, "task_scores"))


def test_a_part_that_must_not_be_cut_is_refused(filled_cache: FilledCache, make_node: Any) -> None:
    suite = small_suite(filled_cache.shas)
    gpqa = suite.benchmarks["gpqa"].model_copy(update={"cut_documents": 5})
    suite = suite.model_copy(update={"benchmarks": {"gpqa": gpqa}})
    node = open_node(make_node, suite)
    folder = node.prepare(shard=cut(suite, "gpqa")[0])
    node.run(folder)
    outcome = Outcome.read(folder / "outcome.json")
    assert outcome.state == "invalid"
    assert "random numbers, so it cannot be split" in str(outcome.reason)


def test_damage_in_a_shard_that_was_complete_keeps_the_evaluation_open(
    filled_cache: FilledCache, make_node: Any
) -> None:
    suite = cut_suite(filled_cache.shas)
    suite = suite.model_copy(update={"benchmarks": {"musr": suite.benchmarks["musr"]}})
    node = open_node(make_node, suite)
    parts = cut(suite, "musr")
    (node.store.runs / "evaluation").mkdir(parents=True)
    node.store.shards_file("evaluation").write_bytes(
        EvaluationShards(evaluation_id="evaluation", shards=parts).to_bytes()
    )
    folders = [node.prepare(shard=part) for part in parts]
    node.finish(*folders[:2])
    assert [collect_attempt(node.store, each, NOW).is_scored for each in folders[:2]] == [False, False]
    damaged = node.store.work_dir("evaluation", parts[0].name) / "musr"
    (damaged / "samples.parquet").write_bytes(b"PAR1")
    node.finish(folders[2])
    assert not collect_attempt(node.store, folders[2], NOW).is_scored
    assert not list((node.store.lake / "outcomes").glob("*"))
    assert not damaged.exists(), "set aside, to be run again"
    again = node.prepare(attempt=2, shard=parts[0])
    node.finish(again)
    assert check_finished(damaged, suite, parts[0], "musr") == []
    assert collect_attempt(node.store, again, NOW).is_scored


def test_a_part_that_is_the_whole_has_no_ranges() -> None:
    assert Shard(benchmarks=("a",)).documents is None
