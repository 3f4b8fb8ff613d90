"""What follows from profiles alone: a suite's version, the rows that declare it, the settings of one watched model.

Pure: the pins and the time are arguments. Column names are those of the lake's tables, which this room does not import.
Patterns are those of a shell, tell capitals apart and match the whole id; `*` matches a slash too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from nightboard.profiles.models import (
    Benchmark,
    Era,
    ModelSettings,
    Organizations,
    Suite,
    TaskSpec,
    WatchedModel,
    WatchList,
)

# What a reader sees and what says which rows belong together, but no score depends on. The name of the suite stays
# in: two suites that ask the same questions are still two rankings.
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
            "tasks": {"__all__": {"choices"}},
        }
    },
}


class UnpinnedError(Exception):
    """A data set of the suite has no commit to use."""


def hash_json(value: Any) -> str:
    """SHA-256 over the canonical JSON of `value` (sorted keys, no spaces), as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def resolve_suite(suite: Suite, pins: Mapping[str, str], unavailable: Container[str] = ()) -> tuple[Suite, str]:
    """The suite with every data set pinned, and its version: 64 hex digits over everything that decides a score.

    `pins` gives the commit of each data set (by id) that the profile leaves open. Raises UnpinnedError for one that
    neither names, but for benchmarks that are `unavailable`.
    """
    benchmarks = {
        name: benchmark if name in unavailable and benchmark.dataset.id not in pins else _pin(name, benchmark, pins)
        for name, benchmark in suite.benchmarks.items()
    }
    pinned = suite.model_copy(update={"benchmarks": benchmarks})
    return pinned, hash_json(pinned.model_dump(mode="json", exclude=_DECIDES_NOTHING))


def keep_benchmarks(suite: Suite, names: Collection[str]) -> Suite:
    """The suite with these of its benchmarks alone."""
    if len(names) == len(suite.benchmarks):
        return suite
    return suite.model_copy(update={"benchmarks": {name: suite.benchmarks[name] for name in names}})


def open_datasets(suite: Suite) -> tuple[str, ...]:
    """Ids of the data sets whose commit the profile leaves open, each once."""
    datasets = [benchmark.dataset for benchmark in suite.benchmarks.values()]
    return tuple(dict.fromkeys(dataset.id for dataset in datasets if dataset.sha is None))


def _pin(name: str, benchmark: Benchmark, pins: Mapping[str, str]) -> Benchmark:
    dataset = benchmark.dataset
    sha = dataset.sha or pins.get(dataset.id)
    if sha is None:
        raise UnpinnedError(f"benchmarks.{name}.dataset: has no commit (got {dataset.id}). Pin it in the store first.")
    return benchmark.model_copy(update={"dataset": dataset.model_copy(update={"sha": sha})})


def suite_rows(suite: Suite, version: str, declared_at: datetime) -> list[dict[str, Any]]:
    """Rows of the lake's `suites` table: one per task."""
    return [
        {
            "suite": suite.suite,
            "suite_version": version,
            "suite_title": suite.title,
            "declared_at": declared_at,
            "benchmark": name,
            "benchmark_title": benchmark.title,
            "benchmark_position": position,
            "task": task_name,
            "metrics": list(benchmark.metrics),
            "filter": benchmark.filter,
            "n_shot": benchmark.shots,
            "n_samples": suite.expected_samples(task),
            "aggregate": benchmark.aggregate,
            "normalize": benchmark.normalize,
            "task_lower_bound": task.lower_bound,
            "benchmark_lower_bound": benchmark.lower_bound,
            "independent_share": benchmark.independent_share,
            "measurement": describe_measurement(suite, benchmark, task),
        }
        for position, (name, benchmark) in enumerate(suite.benchmarks.items(), start=1)
        for task_name, task in benchmark.tasks.items()
    ]


def describe_measurement(suite: Suite, benchmark: Benchmark, task: TaskSpec) -> str:
    """What decides a task's answers beside its documents and shots, as JSON; what is left out is as lm-eval has it.

    Not the version of lm-eval nor the data set's commit: rows of others rank apart, by task version and documents.
    """
    found = {
        "config": task.config,
        "dataset": benchmark.dataset.id,
        "group": benchmark.group,
        "max_new_tokens": benchmark.max_new_tokens,
        "seed": suite.seed,
    }
    return json.dumps({key: value for key, value in found.items() if value is not None}, ensure_ascii=False)


def era_rows(suite: Suite, version: str, declared_at: datetime) -> list[dict[str, Any]]:
    """Rows of the lake's `eras` table: one per era and task that it names, or one with task None."""
    return [
        {
            "suite": suite.suite,
            "suite_version": version,
            "era": era.name,
            "position": position,
            "is_current": era.is_current,
            "task": task,
            "task_version": era.task_versions.get(task) if task else None,
            "n_shot": era.shots.get(task) if task else None,
            "doc_set_hash": era.doc_set_hashes.get(task) if task else None,
            "declared_at": declared_at,
        }
        for position, era in enumerate(suite.eras, start=1)
        for task in _named_tasks(era)
    ]


def _named_tasks(era: Era) -> Iterator[str | None]:
    named = dict.fromkeys((*era.task_versions, *era.shots, *era.doc_set_hashes))
    yield from named or (None,)


def organization_rows(organizations: Organizations, declared_at: datetime) -> list[dict[str, Any]]:
    """Rows of the lake's `organizations` table: one per organisation."""
    return [
        {
            "organization": name,
            "display_name": organization.display_name,
            "country": organization.country,
            "declared_at": declared_at,
        }
        for name, organization in organizations.organizations.items()
    ]


def settings_for(watch: WatchList, model_id: str) -> ModelSettings:
    """Settings of one model, none left open (but `suites` None: all of the board's).

    The list's defaults, then each matching rule in order, then the model's own entry; what a layer leaves out stays.
    """
    explicit = find_explicit(watch, model_id)
    layers: list[ModelSettings] = [rule for rule in watch.rules if fnmatchcase(model_id, rule.match)]
    layers += [explicit] if explicit else []
    values = {name: getattr(watch, name, None) for name in ModelSettings.model_fields}
    for layer in layers:
        values |= {name: value for name in values if (value := getattr(layer, name)) is not None}
    return ModelSettings(**values)


def find_explicit(watch: WatchList, model_id: str) -> WatchedModel | None:
    """The model's own entry, if it has one."""
    return next((model for model in watch.models if model.id == model_id), None)


def is_watched(watch: WatchList, model_id: str) -> bool:
    """Whether the list follows the model: explicit, or in a followed organisation and included; never if excluded."""
    if any(fnmatchcase(model_id, pattern) for pattern in watch.exclude):
        return False
    if find_explicit(watch, model_id):
        return True
    organization = model_id.partition("/")[0]
    return organization in watch.organizations and any(fnmatchcase(model_id, pattern) for pattern in watch.include)
