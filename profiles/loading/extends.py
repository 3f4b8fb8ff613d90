"""Suites with `extends:`: the keys they may override, and the complete suite that results.

Only names, counts, pins and cuts may change, so that a smaller suite asks the same questions in the same way. Reads no
file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from nightboard.profiles.errors import KeyPath, Mistake, suggest
from nightboard.profiles.loading.checks import check_cuts
from nightboard.profiles.loading.yaml_file import Document
from nightboard.profiles.models.base import Name, Profile, Sha, Text
from nightboard.profiles.models.suite import Benchmark, Era, Suite, TaskSpec


class TaskOverride(Profile):
    """Another count for one task."""

    samples: int = Field(gt=0, description="documents that lm-eval scores in a full run")


class DatasetOverride(Profile):
    """Another pin for the same dataset."""

    sha: Sha = Field(description="commit to use")


class BenchmarkOverride(Profile):
    """Other counts and pins for one benchmark."""

    samples: int | None = Field(default=None, gt=0, description="documents of every task that tasks does not list")
    dataset: DatasetOverride | None = None
    cut_documents: int | None = Field(
        default=None, gt=0, description="split long evaluations every so many documents; changes no score"
    )
    tasks: dict[str, TaskOverride] = Field(default_factory=dict)


class SmallerSuite(Profile):
    """A suite with `extends:`, as written in its file. A missing key is as in the suite that it extends."""

    suite: Name
    title: Text
    extends: Name
    limit: int | None = Field(default=None, gt=0, description="score only the first N documents of a task")
    seed: int | None = None
    only: tuple[Name, ...] | None = Field(default=None, min_length=1, description="benchmarks to keep")
    benchmarks: dict[Name, BenchmarkOverride] = Field(default_factory=dict)


def check_extension(document: Document, parent: Suite) -> Iterator[Mistake]:
    """Benchmarks and tasks that the file names and `parent` lacks; also works on a file with other mistakes."""
    only, overrides = document.data.get("only"), _mapping(document.data.get("benchmarks"))
    kept = [name for name in only if isinstance(name, str)] if isinstance(only, tuple) else list(parent.benchmarks)
    for index, name in enumerate(kept):
        yield from _check_known(document, ("only", index), name, parent.benchmarks, "benchmarks")
    for name, override in overrides.items():
        key = ("benchmarks", name)
        yield from _check_known(document, key, name, parent.benchmarks, "benchmarks")
        if name in parent.benchmarks and name not in kept:
            yield document.mistake(key, f"is not in the list `only` (got {name!r}). Add it to only, or remove it here.")
        if name in parent.benchmarks:
            size = _mapping(override).get("cut_documents")
            yield from check_cuts(document, key, parent.benchmarks[name], size if isinstance(size, int) else None)
            for task in _mapping(_mapping(override).get("tasks")):
                yield from _check_known(document, (*key, "tasks", task), task, parent.benchmarks[name].tasks, "tasks")


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_known(
    document: Document, key: KeyPath, name: str, legal: Mapping[str, object], what: str
) -> Iterator[Mistake]:
    if name not in legal:
        text = f"is not one of the {what} of the extended suite (got {name!r}). {suggest(name, legal, what)}"
        yield document.mistake(key, text)


def extend_suite(child: SmallerSuite, parent: Suite) -> Suite:
    """The complete suite that `child` declares. Its names must be checked before. Keeps the order of `parent`."""
    benchmarks = {
        name: _override(benchmark, child.benchmarks.get(name))
        for name, benchmark in parent.benchmarks.items()
        if child.only is None or name in child.only
    }
    suite = Suite(
        suite=child.suite,
        title=child.title,
        extends=child.extends,
        harness=parent.harness,
        seed=parent.seed if child.seed is None else child.seed,
        limit=parent.limit if child.limit is None else child.limit,
        benchmarks=benchmarks,
        allowed_generation=parent.allowed_generation,
    )
    return suite.model_copy(update={"eras": inherit_eras(suite, parent)})


def _override(benchmark: Benchmark, override: BenchmarkOverride | None) -> Benchmark:
    if override is None:
        return benchmark
    counts = {name: override.samples for name in benchmark.tasks if override.samples is not None}
    counts |= {name: task.samples for name, task in override.tasks.items()}
    tasks = {
        name: task.model_copy(update={"samples": counts.get(name, task.samples)})
        for name, task in benchmark.tasks.items()
    }
    dataset = benchmark.dataset
    if override.dataset is not None:
        dataset = dataset.model_copy(update={"sha": override.dataset.sha})
    cut_documents = override.cut_documents or benchmark.cut_documents
    return benchmark.model_copy(update={"tasks": tasks, "dataset": dataset, "cut_documents": cut_documents})


def inherit_eras(suite: Suite, parent: Suite) -> tuple[Era, ...]:
    """The parent's eras, reduced to what applies to `suite`.

    Versions and shots apply. The hash over a task's documents applies only if count and data are the same.
    Eras that no longer differ become one: the current one, otherwise the latest.
    """
    tasks = _tasks_by_name(suite)
    same_documents = {name for name in tasks if _documents(suite, name) == _documents(parent, name)}
    eras: dict[str, Era] = {}
    for era in parent.eras:
        kept = era.model_copy(
            update={
                "task_versions": {name: value for name, value in era.task_versions.items() if name in tasks},
                "shots": {name: value for name, value in era.shots.items() if name in tasks},
                "doc_set_hashes": {name: v for name, v in era.doc_set_hashes.items() if name in same_documents},
            }
        )
        rule = kept.model_dump_json(include={"task_versions", "shots", "doc_set_hashes"})
        if rule not in eras or not eras[rule].is_current:
            eras[rule] = kept
    return tuple(eras.values())


def _tasks_by_name(suite: Suite) -> dict[str, tuple[Benchmark, TaskSpec]]:
    return {
        name: (benchmark, task) for benchmark in suite.benchmarks.values() for name, task in benchmark.tasks.items()
    }


def _documents(suite: Suite, name: str) -> tuple[object, ...]:
    """The values that decide which documents of a task are scored."""
    benchmark, task = _tasks_by_name(suite)[name]
    return benchmark.dataset.id, benchmark.dataset.sha, task.config, suite.expected_samples(task)
