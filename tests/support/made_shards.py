"""Shards that completed, without lm-eval: its files as it writes them, of made-up numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from builders import NOW
from node import Node

from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Harness, Suite, TaskSpec
from nightboard.tasks.evaluation.outputs import Provenance, finish_benchmark
from nightboard.tasks.evaluation.sharding import cut, task_ranges
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import AttemptSpec, EvaluationShards, Outcome, Shard

PLACE = Provenance(harness_version="0.4.13", library_versions='{"torch": "2.13.0"}', node="gpu1", device="cpu")
METRICS, FILTERS = ("acc", "credit"), ("none", "flexible")


def made_suite(cut_documents: int = 4, **changes: Any) -> Suite:
    """A benchmark that is cut, of two tasks, and one that is not."""

    def benchmark(cut_documents: int | None, **samples: int) -> Benchmark:
        return Benchmark(
            title="T", group="group", dataset=DatasetSpec(id="own/data", sha="a" * 40), shots=0, metrics=METRICS,
            aggregate="mean", normalize="task", cut_documents=cut_documents,
            tasks={task: TaskSpec(samples=count) for task, count in samples.items()},
        )  # fmt: skip

    benchmarks = {"long": benchmark(cut_documents, one=7, two=5), "short": benchmark(None, three=3)}
    return Suite(suite="s", title="S", harness=Harness(version="0.4.13"), benchmarks=benchmarks, **changes)


def made_parts(suite: Suite) -> tuple[Shard, ...]:
    return (*cut(suite, "long"), Shard(name="short", benchmarks=("short",)))


def made_node(root: Path, suite: Suite, parts: Sequence[Shard] = ()) -> Node:
    """A store with an evaluation, split as `parts` say; in one piece as in an old store when there are none."""
    node = Node(Store(root), suite)
    if parts:
        path = node.store.shards_file("evaluation")
        path.parent.mkdir(parents=True)
        path.write_bytes(EvaluationShards(evaluation_id="evaluation", shards=tuple(parts)).to_bytes())
    return node


def value_of(task: str, doc_id: int, metric: str, chosen: str) -> float:
    number = random.Random(f"{task} {doc_id} {metric} {chosen}").random()
    return float(number < 0.5) if metric == "acc" else number


def complete(
    node: Node,
    part: Shard,
    *,
    attempt: int = 1,
    place: Provenance = PLACE,
    minutes: float = 1,
    results: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """An attempt that completed, as its node leaves it; returns its folder. `results` are changes to lm-eval's."""
    folder = node.prepare(attempt=attempt, shard=part, **changes)
    spec = AttemptSpec.read(folder / "spec.json")
    end = NOW + timedelta(minutes=minutes)
    for name in part.benchmarks:
        work = node.store.work_dir("evaluation", part.name) / name
        if not work.exists():
            work.mkdir(parents=True)
            write_files(work, node.suite, part, name, results or {})
            finish_benchmark(work, spec, name, place, NOW, end)
    write_outcome(folder, "completed", end)
    return folder


def write_outcome(folder: Path, state: str, end: datetime) -> None:
    outcome = Outcome.model_validate({"state": state, "job_id": "7_0", "started_at": NOW, "ended_at": end})
    (folder / "outcome.json").write_bytes(outcome.to_bytes())


def write_files(folder: Path, suite: Suite, part: Shard, benchmark: str, changes: dict[str, Any]) -> None:
    """results.json and a samples file a task, as lm-eval writes them when it runs these documents."""
    from lm_eval.api.metrics import mean, mean_stderr

    results: dict[str, Any] = {"chat_template_sha": None}
    for task, ends in task_ranges(suite, part, benchmark).items():
        scores: dict[str, Any] = {"alias": task}
        for chosen in FILTERS:
            for metric in METRICS:
                values = [value_of(task, doc_id, metric, chosen) for doc_id in range(*ends)]
                scores[f"{metric},{chosen}"] = mean(values)
                scores[f"{metric}_stderr,{chosen}"] = mean_stderr(values) if len(values) > 1 else "N/A"
        lines = [json.dumps(_sample(task, doc_id, chosen)) for chosen in FILTERS for doc_id in range(*ends)]
        (folder / f"samples_{task}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        counts = {"original": suite.benchmarks[benchmark].tasks[task].samples, "effective": ends[1] - ends[0]}
        of_task = {"results": scores, "versions": 1.0, "n-shot": 0, "n-samples": counts, "task_hashes": f"h{ends}"}
        for section, found in of_task.items():
            results.setdefault(section, {})[task] = found
    (folder / "results.json").write_text(json.dumps(results | changes))


def _sample(task: str, doc_id: int, chosen: str) -> dict[str, Any]:
    return {
        "doc_id": doc_id, "doc": {"question": f"question {doc_id}"}, "target": "A", "filter": chosen,
        "metrics": METRICS,
        **{metric: value_of(task, doc_id, metric, chosen) for metric in METRICS},
        "doc_hash": f"{task}{doc_id}", "prompt_hash": "p", "target_hash": "t", "resps": [["x"]],
        "filtered_resps": ["x"], "arguments": {},
    }  # fmt: skip
