"""Turns profiles into rows of the lake: suites, eras, organizations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from nightboard.profiles.models.board import Organizations
from nightboard.profiles.models.suite import Benchmark, Era, Suite, TaskSpec


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
            "publish_documents": benchmark.publish_documents,
            "measurement": describe_measurement(suite, benchmark, task),
        }
        for position, (name, benchmark) in enumerate(suite.benchmarks.items(), start=1)
        for task_name, task in benchmark.tasks.items()
    ]


def describe_measurement(suite: Suite, benchmark: Benchmark, task: TaskSpec) -> str:
    """The settings that decide a task's answers, except documents and shots, as JSON; a missing key is lm-eval's own.

    Without lm-eval's version and the dataset's commit: task version and documents already separate such rows.
    """
    settings = {
        "config": task.config,
        "dataset": benchmark.dataset.id,
        "group": benchmark.group,
        "max_new_tokens": benchmark.max_new_tokens,
        "seed": suite.seed,
    }
    return json.dumps({key: value for key, value in settings.items() if value is not None}, ensure_ascii=False)


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
    """Rows of the lake's `organizations` table: one per organization."""
    return [
        {
            "organization": name,
            "display_name": organization.display_name,
            "country": organization.country,
            "declared_at": declared_at,
        }
        for name, organization in organizations.organizations.items()
    ]
