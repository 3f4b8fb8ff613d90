"""Checks of suites, watch lists, organizations, selectors and boards that a type cannot express, such as duplicates.

Checks of a cluster are in cluster_checks.py, references to other files in load.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nightboard.profiles.errors import KeyPath, Mistake, suggest
from nightboard.profiles.loading.yaml_file import Document
from nightboard.profiles.models.board import Board, Organizations, Selectors
from nightboard.profiles.models.suite import Benchmark, Suite
from nightboard.profiles.models.watchlist import ModelSettings, WatchedModel, WatchList, WatchRule

_AT_RANDOM = "lm-eval draws its few-shot examples at random while it goes through the documents"
# lm-eval groups whose documents or prompts depend on which other documents are evaluated, by a part of the name.
_UNCUTTABLE = {
    "gpqa": "lm-eval shuffles its answers while it goes through the documents",
    **dict.fromkeys(("arc_", "hellaswag", "winogrande", "gsm8k"), _AT_RANDOM),
}
# Metrics that lm-eval sums over the parts of a document.
_LIST_METRICS = "inst_level_"
# What a sum of decimal fractions may be above 1.
_ROUNDING = 1e-9


def check_suite(document: Document, suite: Suite) -> Iterator[Mistake]:
    """Every task is in one benchmark, bounds and cuts are usable, eras name tasks of the suite."""
    owner: dict[str, str] = {}
    for name, benchmark in suite.benchmarks.items():
        if name == "all":
            text = "is reserved for a whole evaluation (got 'all'). Rename the benchmark."
            yield document.mistake(("benchmarks", name), text)
        yield from check_cuts(document, ("benchmarks", name), benchmark, benchmark.cut_documents)
        if benchmark.normalize == "task" and benchmark.lower_bound:
            text = f"is not used with normalize: task (got {benchmark.lower_bound}). Move it to the tasks."
            yield document.mistake(("benchmarks", name, "lower_bound"), text)
        for task in benchmark.tasks:
            if owner.setdefault(task, name) != name:
                text = f"is also a task of {owner[task]} (got it twice). Keep it in one benchmark."
                yield document.mistake(("benchmarks", name, "tasks", task), text)
    yield from check_twice(document, ("eras",), [era.name for era in suite.eras], "name")
    for index, era in enumerate(suite.eras):
        for part in ("task_versions", "shots", "doc_set_hashes"):
            for task in getattr(era, part):
                if task not in owner:
                    text = f"is not a task of the suite (got {task!r}). {suggest(task, owner, 'tasks')}"
                    yield document.mistake(("eras", index, part, task), text)


def check_cuts(document: Document, key: KeyPath, benchmark: Benchmark, size: int | None) -> Iterator[Mistake]:
    """The benchmark at `key` gives the same scores when it is split every `size` documents."""
    if size is None:
        return
    lists = [metric for metric in benchmark.metrics if metric.startswith(_LIST_METRICS)]
    reasons = [f"{metric} is a list for each document" for metric in lists[:1]]
    reasons += [reason for name, reason in _UNCUTTABLE.items() if f"_{name}" in f"_{benchmark.group}"]
    for reason in reasons:
        yield document.mistake((*key, "cut_documents"), f"cannot be used here: {reason} (got {size}). Remove it.")


def check_watchlist(document: Document, watch: WatchList) -> Iterator[Mistake]:
    """Every organization and model is listed once, something is included, every rule sets something."""
    yield from check_twice(document, ("organizations",), watch.organizations)
    yield from check_twice(document, ("models",), [model.id for model in watch.models], "id")
    if watch.organizations and not watch.include:
        yield document.mistake(("include",), "includes nothing (got an empty list). Write ['*'] to include all models.")
    for index, rule in enumerate(watch.rules):
        if not rule.model_fields_set - {"match"}:
            legal = ", ".join(ModelSettings.model_fields)
            text = f"sets nothing (got only match: {rule.match!r}). Set one of: {legal}."
            yield document.mistake(("rules", index), text)


def check_watched_suites(document: Document, watch: WatchList, suites: Iterable[str]) -> Iterator[Mistake]:
    """The suites that a watch list names are suites of the board that uses it."""
    legal = list(suites)
    entries: list[tuple[str, int, WatchedModel | WatchRule]] = [
        *(("models", index, model) for index, model in enumerate(watch.models)),
        *(("rules", index, rule) for index, rule in enumerate(watch.rules)),
    ]
    for part, index, entry in entries:
        for position, name in enumerate(entry.suites or ()):
            if name not in legal:
                text = f"is not a suite of the board (got {name!r}). {suggest(name, legal, 'suites')}"
                yield document.mistake((part, index, "suites", position), text)


def check_organizations(document: Document, organizations: Organizations) -> Iterator[Mistake]:
    """At least one organization is declared."""
    if not organizations.organizations:
        yield document.mistake(("organizations",), "is empty (got an empty mapping). Add an organization.")


def check_selectors(document: Document, selectors: Selectors) -> Iterator[Mistake]:
    """At least one selector is declared."""
    if not selectors.selectors:
        yield document.mistake(("selectors",), "is empty (got an empty mapping). Add a selector, or remove the file.")


def check_board(document: Document, board: Board) -> Iterator[Mistake]:
    """Every suite, import and place for notifications is listed once; shares of a budget are at most 1."""
    yield from check_twice(document, ("suites",), board.suites)
    yield from check_twice(document, ("imports",), board.imports)
    yield from check_twice(document, ("notify",), board.notify)
    total = sum(share for _, share in board.budget.shares)
    if total > 1 + _ROUNDING:
        text = f"must be at most 1 together (got {total:g}). Make some of them smaller."
        yield document.mistake(("budget", "shares"), text)


def check_twice(document: Document, key: KeyPath, names: Iterable[str], inner: str = "") -> Iterator[Mistake]:
    """Every name is listed once; `inner` is the key of the name if the entries are mappings."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            place = (*key, index, inner) if inner else (*key, index)
            yield document.mistake(place, f"is listed twice (got {name!r} again). Keep one of them.")
