"""The vllm back end, with lm-eval's own class for it; vLLM itself is stood in for, as it needs a GPU."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from node import Node

from nightboard.tasks.store.records import Outcome

pytestmark = pytest.mark.real

INSTALL = "sys.path.insert(0, {tests!r}); import stand_in_vllm; stand_in_vllm.install({record!r}, {kill_at})"


def install(record: Path, kill_at: int = -1) -> str:
    return INSTALL.format(tests=str(Path(__file__).parents[2] / "support"), record=str(record), kill_at=kill_at)


def asked(record: Path, event: str) -> list[Any]:
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return [value for kind, value in lines if kind == event]


def rows_of(node: Node, benchmark: str) -> list[dict[str, Any]]:
    return list(pq.read_table(node.work / benchmark / "task_scores.parquet").to_pylist())


def read_samples(node: Node) -> list[tuple[Any, ...]]:
    files = sorted(node.work.glob("*/samples.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return [(row["task"], row["doc_id"], row["metric"], row["doc_hash"], row["value"]) for row in rows]


def test_a_shard_on_vllm_has_the_documents_and_scores_that_it_has_on_hf(make_node: Any, tmp_path: Path) -> None:
    benchmarks = ("ifeval", "musr")
    hf, vllm = make_node(), make_node()
    hf.finish(hf.prepare(benchmarks=benchmarks))
    folder = vllm.prepare(benchmarks=benchmarks, backend="vllm", batch_size=7)
    done = vllm.run(folder, before=install(tmp_path / "record"))
    assert "STATES ['completed']" in done.stdout, done.stdout + done.stderr
    assert read_samples(vllm) == read_samples(hf)
    asked_of = [[(row["cut_prompts"], row["cut_answers"]) for row in rows_of(node, "ifeval")] for node in (hf, vllm)]
    assert asked_of == [[(0, 4)] * 4] * 2  # it never ends by itself
    hashes = [{row["doc_set_hash"] for row in rows_of(node, "musr")} for node in (hf, vllm)]
    assert hashes[0] == hashes[1]
    assert {row["batch_size"] for row in rows_of(vllm, "musr")} == {"7"}
    assert json.loads(rows_of(vllm, "musr")[0]["library_versions"])["vllm"] == "0.20.0"

    # Never more than a chunk at once, and nothing twice.
    assert max(asked(tmp_path / "record", "score")) <= 7
    assert asked(tmp_path / "record", "generate") == [4]
    [loaded] = asked(tmp_path / "record", "load")
    assert (loaded["model"], loaded["revision"]) == (str(vllm.store.model_dir("tiny")), "1" * 40)
    assert (loaded["dtype"], loaded["load_format"], loaded["trust_remote_code"]) == ("float32", "safetensors", False)
    assert loaded["tensor_parallel_size"] == 1


@pytest.mark.parametrize(("benchmark", "event", "requests"), [("ifeval", "generate", 4), ("musr", "score", 18)])
def test_a_job_killed_on_vllm_with_the_tiers_arguments_asks_no_more_than_a_chunk_again(
    node: Node, tmp_path: Path, benchmark: str, event: str, requests: int
) -> None:
    tier: dict[str, Any] = {"gpus": 4, "model_args": {"tensor_parallel_size": 2, "max_model_len": 900}}
    first = node.prepare(benchmarks=(benchmark,), backend="vllm", batch_size=2, **tier)
    assert node.run(first, before=install(tmp_path / "killed", kill_at=2)).returncode == -signal.SIGKILL
    assert asked(tmp_path / "killed", event) == [2, 2]
    assert tier["model_args"].items() <= asked(tmp_path / "killed", "load")[0].items()
    again = node.prepare(attempt=2, benchmarks=(benchmark,), backend="vllm", batch_size=2, **tier)
    done = node.run(again, before=install(tmp_path / "again"))
    assert "STATES ['completed']" in done.stdout, done.stdout + done.stderr
    # Less where tasks ask the same.
    assert sum(asked(tmp_path / "again", event)) <= requests - 2
    assert (node.work / benchmark / "manifest.json").exists()


def test_where_vllm_batches_by_itself_on_all_gpus_answers_are_kept_all_the_same(node: Node, tmp_path: Path) -> None:
    few = "import nightboard.tasks.evaluation.model_loaders as module; module._VLLM_CHUNK = 3; "
    folder = node.prepare(benchmarks=("ifeval",), backend="vllm", batch_size="auto", gpus=4)
    done = node.run(folder, before=few + install(tmp_path / "record"))
    assert "STATES ['completed']" in done.stdout, done.stdout + done.stderr
    assert asked(tmp_path / "record", "generate") == [3, 1]
    assert asked(tmp_path / "record", "load")[0]["tensor_parallel_size"] == 4
    assert {row["batch_size"] for row in rows_of(node, "ifeval")} == {"auto"}


def test_a_node_without_vllm_says_so(node: Node) -> None:
    folder = node.prepare(benchmarks=("ifeval",), backend="vllm")
    node.run(folder)
    outcome = Outcome.read(folder / "outcome.json")
    assert outcome.state == "environment"
    assert str(outcome.reason).startswith("vllm is not installed on this node. Install lm-eval[vllm] there")


def test_hf_gets_the_tiers_arguments_too(node: Node) -> None:
    show = """
import nightboard.tasks.evaluation.job as module
load = module.open_model
def load_and_show(run):
    model = load(run)
    print("LONGEST", model.max_length)
    return model
module.open_model = load_and_show
"""
    folder = node.prepare(benchmarks=("musr",), model_args={"max_length": 700})
    node.run(folder, before=show)
    assert Outcome.read(folder / "outcome.json").state == "completed"
    assert "LONGEST 700" in (folder / "log.txt").read_text()
