"""Compares a suite with the installed lm-eval, before anything runs: tasks, metrics, filters, answers, documents.

Works on lm-eval's index of tasks, which is its YAML files; a run checks the loaded tasks again (suite_tasks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from nightboard.profiles.errors import KeyPath, suggest
from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Suite, TaskSpec
from nightboard.tasks.evaluation.failure_reasons import HarnessError, describe_error
from nightboard.tasks.evaluation.harness import index_tasks

# How many rows a split of a dataset has, by its configuration; None: not known here.
CountRows = Callable[[DatasetSpec, str | None, str], int | None]
# What lm-eval generates at most where a task does not say.
_DEFAULT_MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class Finding:
    """Something of a suite that lm-eval has otherwise, at a key; `is_unchecked`: what could not be found out."""

    key: KeyPath
    text: str
    is_unchecked: bool = False


def find_installed() -> str | None:
    """The version of lm-eval on this machine; None if it is not installed."""
    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        return None


def compare_suite(suite: Suite, count_rows: CountRows) -> list[Finding]:
    """What the installed lm-eval has otherwise than a suite says, and what could not be compared."""
    installed, wanted = find_installed(), suite.harness.version
    if installed is None:
        return [Finding((), "lm-eval is not installed here (nightboard[harness])", is_unchecked=True)]
    if installed != wanted:
        return [Finding((), f"the suite declares lm-eval {wanted}, and {installed} is installed", is_unchecked=True)]
    try:
        index = index_tasks(suite.harness.task_folders).task_index
    except HarnessError as error:
        return [Finding(("harness", "task_folders"), str(error).partition(": ")[2] + " Correct the folders.")]
    except Exception as error:
        return [Finding((), f"lm-eval cannot be imported: {describe_error(error)}", is_unchecked=True)]
    # What is wrong with a key of a benchmark is wrong for all of its tasks.
    findings: dict[KeyPath, Finding] = {}
    for name, benchmark in suite.benchmarks.items():
        for finding in compare_benchmark(("benchmarks", name), benchmark, index, count_rows):
            findings.setdefault(finding.key, finding)
    return list(findings.values())


def compare_benchmark(
    key: KeyPath, benchmark: Benchmark, index: Mapping[str, Any], count_rows: CountRows
) -> Iterator[Finding]:
    """The same of one benchmark at `key`; `index` is lm-eval's, by the names of tasks, groups and tags."""
    if benchmark.group not in index:
        near = suggest(benchmark.group, index, "names in the folders of harness.task_folders")
        yield Finding((*key, "group"), f"lm-eval has no such task or group (got {benchmark.group!r}). {near}")
        return
    leaves = list_leaves(index, benchmark.group)
    if lacking := sorted(leaves - benchmark.tasks.keys()):
        text = (
            f"lacks {', '.join(lacking)} of lm-eval's {benchmark.group} (got {len(benchmark.tasks)} tasks). Add them."
        )
        yield Finding((*key, "tasks"), text)
    for task, spec in benchmark.tasks.items():
        place = (*key, "tasks", task)
        if task not in leaves:
            near = suggest(task, leaves, "tasks")
            yield Finding(place, f"is no task of lm-eval's {benchmark.group} (got {task!r}). {near}")
        elif not isinstance(config := index[task].cfg, Mapping) or "dataset_path" not in config:
            yield Finding(place, "lm-eval makes the task in Python", is_unchecked=True)
        else:
            yield from _compare_task(key, place, benchmark, spec, config)
            yield from _compare_count(place, benchmark.dataset, spec, config, count_rows)


def list_leaves(index: Mapping[str, Any], name: str, above: frozenset[str] = frozenset()) -> set[str]:
    """Leaf tasks of a group or tag, or the task itself."""
    entry = index.get(name)
    children = {"GROUP": (entry.cfg or {}).get("task"), "TAG": entry.tags}.get(entry.kind.name) if entry else None
    if not children or name in above:
        return {name}
    names = [child if isinstance(child, str) else child.get("task", child.get("group")) for child in children]
    return {leaf for child in names if isinstance(child, str) for leaf in list_leaves(index, child, above | {name})}


def _compare_task(
    key: KeyPath, place: KeyPath, benchmark: Benchmark, spec: TaskSpec, config: Mapping[str, Any]
) -> Iterator[Finding]:
    """Dataset, shots, metrics, filter and answers of one task."""
    name = place[-1]
    if config["dataset_path"] != benchmark.dataset.id:
        text = f"{name} uses {config['dataset_path']} (got {benchmark.dataset.id}). Write that id."
        yield Finding((*key, "dataset"), text)
    if config.get("dataset_name") != spec.config:
        wanted = config.get("dataset_name")
        advice = f"Write config: {wanted}." if wanted else "Remove it."
        yield Finding((*place, "config"), f"lm-eval loads {wanted or 'no configuration'} (got {spec.config}). {advice}")
    if config.get("num_fewshot") == 0 and benchmark.shots:
        yield Finding((*key, "shots"), f"{name} allows no examples (got {benchmark.shots}). Write 0.")
    if (sampler := _draws_at_random(config)) and benchmark.shots and benchmark.cut_documents:
        text = f"{name} draws its examples at random ({sampler}) (got {benchmark.cut_documents}). Remove it."
        yield Finding((*key, "cut_documents"), text)
    yield from _compare_metrics(key, str(name), benchmark, config)
    yield from _compare_answers(key, place, benchmark, spec, config)


def _draws_at_random(config: Mapping[str, Any]) -> str | None:
    sampler = (config.get("fewshot_config") or {}).get("sampler", "default")
    return None if sampler == "first_n" else str(sampler)


def _compare_metrics(key: KeyPath, task: str, benchmark: Benchmark, config: Mapping[str, Any]) -> Iterator[Finding]:
    listed = config.get("metric_list")
    if not listed:
        yield Finding((*key, "metrics"), f"{task} lists no metrics", is_unchecked=True)
    known = {str(metric["metric"]) for metric in listed or ()}
    for metric in benchmark.metrics if known else ():
        if metric not in known:
            text = f"{task} has no metric of this name (got {metric!r}). {suggest(metric, sorted(known), 'metrics')}"
            yield Finding((*key, "metrics"), text)
    filters = [str(each["name"]) for each in config.get("filter_list") or [{"name": "none"}]]
    if benchmark.filter not in filters:
        near = suggest(benchmark.filter, filters, "filters")
        yield Finding((*key, "filter"), f"{task} has no filter of this name (got {benchmark.filter!r}). {near}")


def _compare_answers(
    key: KeyPath, place: KeyPath, benchmark: Benchmark, spec: TaskSpec, config: Mapping[str, Any]
) -> Iterator[Finding]:
    """Generated answers have a longest length, others have none; listed choices are as many as declared."""
    longest = benchmark.max_new_tokens
    if config.get("output_type") == "generate_until":
        if longest is None:
            own = (config.get("generation_kwargs") or {}).get("max_gen_toks", _DEFAULT_MAX_NEW_TOKENS)
            text = (
                f"{place[-1]} generates text (got no max_new_tokens). Write max_new_tokens: {own}, as lm-eval has it."
            )
            yield Finding((*key, "max_new_tokens"), text)
    elif longest is not None:
        yield Finding((*key, "max_new_tokens"), f"{place[-1]} generates no text (got {longest}). Remove it.")
    choices = config.get("doc_to_choice")
    if isinstance(choices, list) and spec.choices not in (0, len(choices)):
        text = f"lm-eval has {len(choices)} (got {spec.choices}). Write {len(choices)}."
        yield Finding((*place, "choices"), text)


def _compare_count(
    place: KeyPath, dataset: DatasetSpec, spec: TaskSpec, config: Mapping[str, Any], count_rows: CountRows
) -> Iterator[Finding]:
    """As many documents as declared; a task that makes its own documents may have others than there are rows."""
    split = config.get("test_split") or config.get("validation_split")
    n_rows = count_rows(dataset, spec.config, split) if isinstance(split, str) else None
    if n_rows is None or (config.get("process_docs") and n_rows != spec.samples):
        yield Finding((*place, "samples"), "the number of documents", is_unchecked=True)
    elif n_rows != spec.samples:
        text = f"split {split} of {dataset.id} has {n_rows:,} rows (got {spec.samples:,}). Write samples: {n_rows}."
        yield Finding((*place, "samples"), text)
