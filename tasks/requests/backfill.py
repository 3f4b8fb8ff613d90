"""Makes a backfill: from the units that were selected to a request with its targets, and what it leaves out. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nightboard.profiles.errors import suggest
from nightboard.profiles.models.base import ChatTemplate
from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.errors import TaskError
from nightboard.tasks.requests.book import UNFINISHED, Entry
from nightboard.tasks.requests.select import matches
from nightboard.tasks.requests.selection import Either, Selection, Term, list_terms
from nightboard.tasks.requests.units import Unit
from nightboard.tasks.requests.values import Newest
from nightboard.tasks.store.records import Evaluation, Request, RequestEvent, RequestTarget, ResolvedSuite, TargetMode

# Of several states of a target's benchmarks, the first one decides its mode.
_MODES: tuple[TargetMode, ...] = ("replicate", "stale", "failed", "missing")


class NothingSelectedError(TaskError):
    """A selection that matches nothing; the message says why, with near names."""


@dataclass(frozen=True)
class BackfillOrder:
    """What somebody asks for, as it was written. `benchmarks`: none are all of the selected ones."""

    selection: str
    exclusion: str | None = None
    benchmarks: tuple[str, ...] = ()
    is_replicate: bool = False
    reason: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class Backfill:
    """A request with its targets. `n_scored`: selected benchmarks that need nothing, as they are scored already.

    `is_known`: the same request is open already, and goes on.
    """

    entry: Entry
    n_scored: int
    is_known: bool = False


def require_benchmarks(order: BackfillOrder, suites: Iterable[ResolvedSuite]) -> None:
    """Raise NothingSelectedError for a benchmark that no suite of the board has."""
    known = dict.fromkeys(name for suite in suites for name in suite.suite.benchmarks)
    for name in order.benchmarks:
        if name not in known:
            near = suggest(name, known, "benchmarks")
            raise NothingSelectedError(f"--benchmarks: no suite of the board has it (got {name}). {near}")


def make_backfill(
    order: BackfillOrder,
    units: Iterable[Unit],
    suites: Sequence[ResolvedSuite],
    evaluations: Iterable[Evaluation],
    book: Mapping[str, Entry],
    board: str,
    by: str,
    now: datetime,
) -> Backfill:
    """The request that an order makes of the selected `units`; of an order that is open already, that request.

    `evaluations`: all that were ever launched, of which a replicate takes the next number.
    """
    units = [unit for unit in units if not order.benchmarks or unit.benchmark in order.benchmarks]
    request_id, known = _find_request(order, board, book)
    if known is not None:
        return Backfill(known, 0, is_known=True)
    replicates = _count_replicates(evaluations)
    targets, n_scored = [], 0
    for key, members in _group(units).items():
        wanted = [unit for unit in members if order.is_replicate or unit.state != "done"]
        n_scored += len(members) - len(wanted)
        if wanted:
            targets.append(_make_target(request_id, key, wanted, order, suites, 1 + replicates.get(key, 0)))
    request = Request(
        request_id=request_id,
        board=board,
        kind="backfill",
        asked_by=by,
        asked_at=now,
        reason=order.reason,
        priority=order.priority,
        suites=tuple(dict.fromkeys(target.suite for target in targets)),
        benchmarks=order.benchmarks,
        selection=order.selection,
        exclusion=order.exclusion,
        is_replicate=order.is_replicate,
    )
    event = RequestEvent(request_id=request_id, changed_at=now, state="accepted", changed_by=by)
    return Backfill(Entry(request, tuple(targets), event), n_scored)


def _find_request(order: BackfillOrder, board: str, book: Mapping[str, Entry]) -> tuple[str, Entry | None]:
    """The id of an order, and the request if it is open: an order that is over may be given again."""
    content = [board, "backfill", order.selection, order.exclusion, sorted(order.benchmarks), order.is_replicate]
    number = 0
    while True:
        request_id = hash_json([*content, number])[:32]
        entry = book.get(request_id)
        if entry is None or entry.state in UNFINISHED:
            return request_id, entry
        number += 1


Key = tuple[str, str, str, str, bool]
"""Model, revision, suite, precision, and whether the chat template is used."""


def _group(units: Iterable[Unit]) -> dict[Key, list[Unit]]:
    groups: dict[Key, list[Unit]] = defaultdict(list)
    for unit in units:
        groups[unit.model_id, unit.revision, unit.suite, unit.precision, unit.chat_template].append(unit)
    return groups


def _count_replicates(evaluations: Iterable[Evaluation]) -> dict[Key, int]:
    """The highest replicate of each model, revision and suite, in its settings."""
    highest: dict[Key, int] = defaultdict(int)
    for each in evaluations:
        key = (each.model_id, each.revision, each.suite, each.precision, each.chat_template)
        highest[key] = max(highest[key], each.replicate)
    return highest


def _make_target(
    request_id: str,
    key: Key,
    units: Sequence[Unit],
    order: BackfillOrder,
    suites: Sequence[ResolvedSuite],
    replicate: int,
) -> RequestTarget:
    model_id, revision, name, precision, chat_template = key
    mode = _choose_mode({unit.state for unit in units}, is_replicate=order.is_replicate)
    benchmarks = tuple(unit.benchmark for unit in units)
    of_suite = {benchmark for suite in suites if suite.suite.suite == name for benchmark in suite.suite.benchmarks}
    return RequestTarget(
        request_id=request_id,
        model_id=model_id,
        revision=revision,
        suite=name,
        benchmarks=() if set(benchmarks) == of_suite else benchmarks,
        mode=mode,
        replicate=replicate if mode == "replicate" else 0,
        precision=precision,
        chat_template=str(ChatTemplate.always if chat_template else ChatTemplate.never),
    )


def _choose_mode(states: set[str], *, is_replicate: bool) -> TargetMode:
    if is_replicate and states & {"done", "stale"}:
        return "replicate"
    return next((mode for mode in _MODES if mode in states), "missing")


# ------------------------------------------------------------------------------------------------------ past commits

# What a model is, whichever of its commits.
_OF_MODEL = ("model", "org", "params")


def find_past(selection: Selection, units: Iterable[Unit]) -> tuple[list[str], int | None]:
    """Models whose past commits a selection asks for, and how many of each (None: all, 0: none)."""
    asked = [_count_commits(term) for term in list_terms(selection)]
    if not any(number != 0 for number in asked):
        return [], 0
    models = dict.fromkeys(unit.model_id for unit in units if _may_match(selection, unit))
    return list(models), None if None in asked else max(number for number in asked if number is not None)


def _count_commits(term: Term) -> int | None:
    """How many commits of each model a term needs to know; None: all of them."""
    if term.method in ("revision", "since"):
        return None
    if term.method != "commits":
        return 0
    counts = [value.count for value in term.values if isinstance(value, Newest)]
    return None if None in counts else max([0, *(count for count in counts if count is not None and count > 1)])


def _may_match(selection: Selection, unit: Unit) -> bool:
    """Whether another commit of the unit's model may match."""
    if isinstance(selection, Term):
        return selection.method not in _OF_MODEL or matches(selection, unit)
    return (any if isinstance(selection, Either) else all)(_may_match(part, unit) for part in selection.parts)
