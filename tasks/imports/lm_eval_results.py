"""Parses a results file of lm-eval: the scores and the facts about each task, in the layouts of all its versions.

Covers lm-eval 0.4 in all versions, 0.3 and older, and lighteval. Writes nothing. A file is read completely or rejected.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightboard.profiles.loading.regular_file import open_regular
from nightboard.tasks.imports.lighteval_results import convert_lighteval, is_lighteval

# Largest file that is read at once; as Python's values it takes ten times the memory.
MOST_BYTES = 2**29

LFS = "is a Git LFS pointer, not the file itself. Run `git lfs pull` in its folder."

SHA = re.compile(r"[0-9a-f]{40}")
# Other entries than metrics in a task's results.
_NO_METRICS = ("alias", "name", "sample_len", "sample_count", "samples")
_LARGEST = 2**62
# Metrics that lm-eval averages, if the file does not say how they are aggregated.
_MEANS = ("acc", "acc_norm", "exact_match")

Json = dict[str, Any]


class BrokenFileError(Exception):
    """A file cannot be imported; `line` if it is known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True)
class TaskFacts:
    """Facts about a task in a results file that its samples must agree with; None: not in the file.

    `means` has the values of metrics that are means over documents, by metric and filter; `finite` names all metrics
    that have a finite value.
    """

    filters: tuple[str, ...]
    n_samples: int | None
    n_shot: int | None
    task_hash: str | None
    means: Mapping[tuple[str, str], float]
    finite: frozenset[tuple[str, str]] = frozenset()
    dataset_id: str | None = None
    dataset_sha: str | None = None


def parse_results(data: bytes) -> Json:
    """The content of a results file. Raises BrokenFileError for anything else."""
    if data.startswith(b"version https://git-lfs"):
        raise BrokenFileError(LFS)
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise BrokenFileError(f"is not valid JSON ({error.msg}).", error.lineno) from error
    except UnicodeDecodeError as error:
        raise BrokenFileError("is not UTF-8 text.", data.count(b"\n", 0, error.start) + 1) from error
    except (ValueError, RecursionError) as error:
        raise BrokenFileError(f"cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or "results" not in content:
        raise BrokenFileError("is not a results file of lm-eval: it has no `results`.")
    content = convert_lighteval(content) if is_lighteval(content) else dict(content)
    tasks = content["results"]
    if not isinstance(tasks, dict) or not all(isinstance(values, dict) for values in tasks.values()):
        raise BrokenFileError("has an unknown layout: `results` is not an object of tasks with their metrics.")
    if not any(True for _ in read_metrics(content)):
        raise BrokenFileError("has an unknown layout: `results` holds no number under the name of a metric.")
    return content


def read_metrics(content: Json) -> Iterator[tuple[str, str, str, float | None, float | None]]:
    """Task, metric, filter, value and standard error. A metric that is not a finite number has the value None.

    lm-eval 0.4 writes `acc,none`, older versions `acc`. Texts are ignored: some versions write groups as blanks.
    """
    for task, values in {**to_map(content, "groups"), **content["results"]}.items():
        if not isinstance(values, dict):
            continue
        for key, value in values.items():
            metric, comma, chosen = key.rpartition(",") if "," in key else (key, "", "")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if key in _NO_METRICS or metric.endswith("_stderr") or not is_number:
                continue
            yield (
                task,
                metric,
                chosen or "none",
                to_finite(value),
                to_finite(values.get(f"{metric}_stderr{comma}{chosen}")),
            )


def list_structured(content: Json) -> Iterator[tuple[str, str]]:
    """Task and name of metrics that are not numbers but objects or lists: nothing of them can be stored."""
    for task, values in content["results"].items():
        for key, value in values.items():
            if key not in _NO_METRICS and isinstance(value, dict | list):
                yield task, key


def score_rows(content: Json, benchmarks: Mapping[str, str]) -> Iterator[Json]:
    """One row per task, metric and filter: columns of TASK_SCORES. `benchmarks` gives the benchmark of a task."""
    config, versions = to_map(content, "config"), to_map(content, "versions")
    library = to_text(content.get("transformers_version"))
    common = {
        "chat_template_hash": to_text(content.get("chat_template_sha")),
        "batch_size": to_text(config.get("batch_size")),
        "harness_version": read_harness(content),
        "library_versions": json.dumps({"transformers": library}) if library else None,
        "device": to_text(config.get("device")),
    }
    for task, metric, chosen, value, stderr in read_metrics(content):
        dataset_id, dataset_sha = _read_dataset(content, task)
        yield common | {
            "benchmark": benchmarks.get(task),
            "task": task,
            "metric": metric,
            "filter": chosen,
            "value": value,
            "stderr": stderr,
            "n_samples": _count_samples(content, task),
            "n_shot": _count_shots(content, task),
            "task_version": to_text(versions.get(task)),
            "task_hash": to_text(to_map(content, "task_hashes").get(task)),
            "dataset_id": dataset_id,
            "dataset_sha": dataset_sha,
        }


def read_facts(content: Json) -> dict[str, TaskFacts]:
    """The facts about each task, by its name."""
    filters: dict[str, dict[str, None]] = {}
    means: dict[str, dict[tuple[str, str], float]] = {}
    finite: dict[str, set[tuple[str, str]]] = {}
    for task, metric, chosen, value, _ in read_metrics(content):
        filters.setdefault(task, {})[chosen] = None
        if value is not None:
            finite.setdefault(task, set()).add((metric, chosen))
        if value is not None and _is_mean(content, task, metric):
            means.setdefault(task, {})[metric, chosen] = value
    return {
        task: TaskFacts(
            tuple(chosen),
            _count_samples(content, task),
            _count_shots(content, task),
            to_text(to_map(content, "task_hashes").get(task)),
            means.get(task, {}),
            frozenset(finite.get(task, ())),
            *_read_dataset(content, task),
        )
        for task, chosen in filters.items()
        if task in content["results"]
    }


def read_embedded(content: Json) -> Json:
    """Samples inside the results file, by task."""
    return to_map(content, "samples")


def read_harness(content: Json) -> str | None:
    """The version of lm-eval, or the commit that it was run from."""
    git = to_text(content.get("git_hash"))
    return to_text(content.get("lm_eval_version")) or (f"git {git}" if git else None)


def _read_dataset(content: Json, task: str) -> tuple[str | None, str | None]:
    """Id and commit of the task's dataset."""
    settings = to_map(to_map(content, "configs"), task)
    sha = to_text(to_map(settings, "dataset_kwargs").get("revision")) or ""
    return to_text(settings.get("dataset_path")), sha if SHA.fullmatch(sha) else None


def _count_samples(content: Json, task: str) -> int | None:
    return to_whole(to_map(to_map(content, "n-samples"), task).get("effective"))


def _count_shots(content: Json, task: str) -> int | None:
    settings = to_map(to_map(content, "configs"), task)
    shots = (
        to_map(content, "n-shot").get(task),
        settings.get("num_fewshot"),
        to_map(content, "config").get("num_fewshot"),
    )
    return next((count for value in shots if (count := to_whole(value)) is not None), None)


def _is_mean(content: Json, task: str, metric: str) -> bool:
    declared = to_map(to_map(content, "configs"), task).get("metric_list")
    entries = [entry for entry in declared if isinstance(entry, dict)] if isinstance(declared, list) else []
    aggregations = [entry.get("aggregation") for entry in entries if entry.get("metric") == metric]
    return aggregations == ["mean"] if aggregations else metric in _MEANS


# ------------------------------------------------------------------------------------------------------------- values


def to_map(content: Json, key: str) -> Json:
    """The object under a key; empty if there is none."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def to_text(value: object) -> str | None:
    """A text that Parquet can store, from a text or number; None for anything else."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    return str(value).encode("utf-8", "replace").decode() or None


def to_whole(value: object) -> int | None:
    """A count; None for anything else."""
    is_whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST
    return int(value) if is_whole and isinstance(value, int) else None


def to_finite(value: object) -> float | None:
    """A finite number; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_bytes(file: Path) -> bytes:
    """The bytes of a file. Raises BrokenFileError if it cannot be read."""
    try:
        with open_regular(file, MOST_BYTES) as opened:
            return opened.read()
    except OSError as error:
        raise BrokenFileError(f"cannot be read ({error.strerror}).") from error
