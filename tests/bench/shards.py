"""An evaluation in one job against the same one in shards: what has to be equal is, and what may differ is counted.

Other documents share a batch when a benchmark is cut, and sums in bfloat16 depend on the batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from node import Node, small_suite

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.sharding import split
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Shard

CUTS = {"mmlu_pro": 7, "musr": 2}


def measure_shards() -> Iterator[tuple[str, str, str, str, float]]:
    """Rows of what is measured: what, ours, against what, theirs, ratio."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        script = Path(__file__).parents[1] / "tasks/make_store.py"
        made = subprocess.run([sys.executable, str(script), name], capture_output=True, text=True, check=True)
        suite = _cut_suite(json.loads(made.stdout.splitlines()[-1]))
        whole, whole_s = _run(root, "whole", suite, [Shard(benchmarks=tuple(suite.benchmarks))])
        parts = split(suite, dict.fromkeys(suite.benchmarks, 100.0), 1.0, limit_s=50.0)
        apart, apart_s = _run(root, "apart", suite, parts)
    assert whole.keys() == apart.keys(), "the same documents"
    assert all(whole[key][0] == apart[key][0] for key in whole), "the same prompts"
    flips = sum(whole[key][2] != apart[key][2] for key in whole)
    moved = sum(whole[key][1] != apart[key][1] for key in whole)
    yield (
        f"answers that flip in {len(parts)} shards, bfloat16", f"{flips}",
        f"all {len(whole)}, same documents and prompts", f"{len(whole)}", flips / len(whole),
    )  # fmt: skip
    yield (
        "answers whose numbers move at all", f"{moved}", "all of them", f"{len(whole)}", moved / len(whole),
    )  # fmt: skip
    yield f"computing in {len(parts)} shards", f"{apart_s:.0f} s", "in one job", f"{whole_s:.0f} s", apart_s / whole_s


def _cut_suite(shas: dict[str, str]) -> Suite:
    suite = small_suite(shas)
    cut = {name: suite.benchmarks[name].model_copy(update={"cut_documents": size}) for name, size in CUTS.items()}
    return suite.model_copy(update={"benchmarks": cut})


def _run(
    root: Path, name: str, suite: Suite, parts: Sequence[Shard]
) -> tuple[dict[tuple[str, int], tuple[str, str, str]], float]:
    """By task and document: its prompts, its answers and its scores; and the seconds it took."""
    folder = root / name
    folder.mkdir()
    (folder / "cache").symlink_to(root / "cache")
    node = Node(Store(folder), suite)
    attempts = [node.prepare(shard=part, precision="bfloat16", batch_size=8) for part in parts]
    started = time.perf_counter()
    node.finish(*attempts)
    seconds = time.perf_counter() - started
    found = {}
    for path in sorted(node.store.runs.rglob("samples_*.jsonl")):
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            scores = json.dumps([sample[metric] for metric in sample["metrics"]])
            key = (path.name, sample["doc_id"])
            found[key] = (json.dumps(sample["arguments"]), json.dumps(sample["filtered_resps"]), scores)
    return found, seconds
