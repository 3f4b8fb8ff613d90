"""What must hold between the keys of one profile, beyond the type of each.

Owns the rules that a type cannot say. References to other files are load.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo, available_timezones

from nightboard.profiles.document import Document
from nightboard.profiles.mistakes import KeyPath, Mistake, suggest
from nightboard.profiles.models import (
    Board,
    Cluster,
    ModelSettings,
    Organizations,
    Suite,
    WatchedModel,
    WatchList,
    WatchRule,
)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, lowest and highest value, names that may stand for values (the first for the lowest).
_CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)


def check_suite(document: Document, suite: Suite) -> Iterator[Mistake]:
    """Tasks in one benchmark only, bounds where they are used, eras that name the suite's own tasks."""
    owner: dict[str, str] = {}
    for name, benchmark in suite.benchmarks.items():
        if benchmark.normalize == "task" and benchmark.lower_bound:
            text = f"is not used with normalize: task (got {benchmark.lower_bound}). Move it to the tasks."
            yield document.mistake(("benchmarks", name, "lower_bound"), text)
        for task in benchmark.tasks:
            if owner.setdefault(task, name) != name:
                text = f"is a task of {owner[task]} too (got it twice). A task belongs to one benchmark."
                yield document.mistake(("benchmarks", name, "tasks", task), text)
    yield from _check_twice(document, ("eras",), [era.name for era in suite.eras], "name")
    for index, era in enumerate(suite.eras):
        for part in ("task_versions", "shots", "doc_set_hashes"):
            for task in getattr(era, part):
                if task not in owner:
                    text = f"is not a task of the suite (got {task!r}). {suggest(task, owner, 'tasks')}"
                    yield document.mistake(("eras", index, part, task), text)


def check_cluster(document: Document, cluster: Cluster) -> Iterator[Mistake]:
    """Names of tiers are unique, because estimates are kept by tier."""
    yield from _check_twice(document, ("tiers",), [tier.name for tier in cluster.tiers], "name")


def check_watchlist(document: Document, watch: WatchList) -> Iterator[Mistake]:
    """Organisations are organisations, every model once, no pattern empty, no rule without effect."""
    for index, organization in enumerate(watch.organizations):
        if "/" in organization:
            text = f"must be an organization (got the model {organization!r}). Move it to models."
            yield document.mistake(("organizations", index), text)
    yield from _check_twice(document, ("organizations",), watch.organizations)
    yield from _check_twice(document, ("models",), [model.id for model in watch.models], "id")
    if watch.organizations and not watch.include:
        yield document.mistake(("include",), "takes nothing (got an empty list). Write ['*'] to take all models.")
    for part in ("include", "exclude"):
        yield from _check_patterns(document, (part,), getattr(watch, part))
    for index, model in enumerate(watch.models):
        yield from _check_patterns(document, ("models", index, "revisions"), model.revisions)
        yield from _check_patterns(document, ("models", index, "branches"), model.branches)
    for index, rule in enumerate(watch.rules):
        yield from _check_patterns(document, ("rules", index, "match"), (rule.match,))
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
    """Keys are organisations, not models."""
    for name in organizations.organizations:
        if "/" in name:
            text = f"must be an organization (got the model {name!r}). Write the part before the slash."
            yield document.mistake(("organizations", name), text)


def check_board(document: Document, board: Board) -> Iterator[Mistake]:
    """A schedule that a calendar understands, every suite once, a store."""
    yield from _check_twice(document, ("suites",), board.suites)
    if not board.store.strip():
        yield document.mistake(("store",), "must name a folder (got nothing). Write for example ./nightboard-store.")
    problem = find_cron_problem(board.schedule.cron)
    if problem:
        text = (
            f"{problem} (got {board.schedule.cron!r}). Write minute, hour, day, month and weekday, such as '0 2 * * *'."
        )
        yield document.mistake(("schedule", "cron"), text)
    if not _is_timezone(board.schedule.timezone):
        near = suggest(board.schedule.timezone, available_timezones(), "zones").split("Legal zones")[0]
        text = f"is not a time zone (got {board.schedule.timezone!r}). {near}Write for example Europe/Paris or UTC."
        yield document.mistake(("schedule", "timezone"), text)


def find_cron_problem(cron: str) -> str | None:
    """Why `cron` is not five legal fields, or None when it is."""
    fields = cron.split()
    if len(fields) != len(_CRON_FIELDS):
        return f"must have 5 fields and has {len(fields)}"
    for text, (name, low, high, words) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_is_cron_part(part, low, high, words) for part in text.split(",")):
            return f"has a {name} that is not legal: {text}"
    return None


def _is_cron_part(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part)
    if match is None:
        return False
    if match[1] == "*":
        return True
    start = _read_cron_value(match[2], low, words)
    end = _read_cron_value(match[3], low, words) if match[3] else start
    return start is not None and end is not None and low <= start <= end <= high


def _read_cron_value(text: str, low: int, words: tuple[str, ...]) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + low
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else None


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return bool(name)


def _check_twice(document: Document, key: KeyPath, names: Iterable[str], inner: str = "") -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            place = (*key, index, inner) if inner else (*key, index)
            yield document.mistake(place, f"is there twice (got {name!r} again). Keep one of them.")


def _check_patterns(document: Document, key: KeyPath, patterns: Iterable[str]) -> Iterator[Mistake]:
    for index, pattern in enumerate(patterns):
        if not pattern.strip():
            place = key if key[-1] == "match" else (*key, index)
            yield document.mistake(place, f"must not be empty (got {pattern!r}). Write a pattern such as *-GGUF.")
