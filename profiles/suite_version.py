"""A suite's version: the hash over everything that decides a score, with every dataset pinned to a commit.

Pure: the commits of datasets are arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Mapping
from typing import Any

from nightboard.profiles.models.suite import Benchmark, Suite

# Keys that no score depends on: texts for readers, and which rows belong together. The suite's name is not among them:
# two suites that ask the same questions are still two rankings.
_DECIDES_NOTHING: dict[str, Any] = {
    "title": True,
    "extends": True,
    "eras": True,
    "harness": {"task_folders"},
    "benchmarks": {
        "__all__": {
            "title": True,
            "harness_data": True,
            "cut_documents": True,
            "question_field": True,
            "independent_share": True,
            "publish_documents": True,
            "tasks": {"__all__": {"choices"}},
        }
    },
}


class UnpinnedError(Exception):
    """A dataset of the suite has no commit to use."""


def hash_json(value: Any) -> str:
    """SHA-256 over the canonical JSON of `value` (sorted keys, no spaces), as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def resolve_suite(suite: Suite, pins: Mapping[str, str], unavailable: Container[str] = ()) -> tuple[Suite, str]:
    """The suite with every dataset pinned, and its version: 64 hex digits over everything that decides a score.

    `pins` has the commit of each dataset (by id) that the profile does not pin. Raises UnpinnedError for a dataset that
    is pinned in neither, except in benchmarks that are `unavailable`.
    """
    benchmarks = {
        name: benchmark if name in unavailable and benchmark.dataset.id not in pins else _pin(name, benchmark, pins)
        for name, benchmark in suite.benchmarks.items()
    }
    pinned = suite.model_copy(update={"benchmarks": benchmarks})
    return pinned, hash_json(pinned.model_dump(mode="json", exclude=_DECIDES_NOTHING))


def keep_benchmarks(suite: Suite, names: Collection[str]) -> Suite:
    """The suite with only the benchmarks in `names`."""
    if len(names) == len(suite.benchmarks):
        return suite
    return suite.model_copy(update={"benchmarks": {name: suite.benchmarks[name] for name in names}})


def open_datasets(suite: Suite) -> tuple[str, ...]:
    """Ids of the datasets that the profile does not pin to a commit, each once."""
    datasets = [benchmark.dataset for benchmark in suite.benchmarks.values()]
    return tuple(dict.fromkeys(dataset.id for dataset in datasets if dataset.sha is None))


def _pin(name: str, benchmark: Benchmark, pins: Mapping[str, str]) -> Benchmark:
    dataset = benchmark.dataset
    sha = dataset.sha or pins.get(dataset.id)
    if sha is None:
        raise UnpinnedError(f"benchmarks.{name}.dataset: has no commit (got {dataset.id}). Pin it in the store first.")
    return benchmark.model_copy(update={"dataset": dataset.model_copy(update={"sha": sha})})
