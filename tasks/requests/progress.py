"""How far requests are, from what a plan says of their targets. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from nightboard.tasks.planning.result import TargetState
from nightboard.tasks.requests.book import OPEN, Entry
from nightboard.tasks.store.records import RequestEvent, RequestState

# Reasons that one request tells, at most.
SHOWN_REASONS = 5


def find_changes(
    entries: Mapping[str, Entry], targets: Iterable[TargetState], by: str, now: datetime
) -> list[RequestEvent]:
    """The events of requests whose state, reason or numbers a plan changes; what is over or withdrawn stays so."""
    of_request: dict[str, list[TargetState]] = defaultdict(list)
    for target in targets:
        of_request[target.request_id].append(target)
    events = (
        describe_request(key, of_request[key], by, now)
        for key, entry in entries.items()
        if key in of_request and entry.state in OPEN
    )
    return [event for event in events if _is_news(event, entries[event.request_id].event)]


def _is_news(event: RequestEvent, last: RequestEvent) -> bool:
    def content(each: RequestEvent) -> tuple[object, ...]:
        return each.state, each.reason, each.n_targets, each.n_done, each.n_failed

    return content(event) != content(last)


def describe_request(request_id: str, targets: Sequence[TargetState], by: str, now: datetime) -> RequestEvent:
    """The state of a request with these targets."""
    counts = {name: sum(target.state == name for target in targets) for name in ("done", "failed")}
    return RequestEvent(
        request_id=request_id,
        changed_at=now,
        state=_sum_up(targets),
        changed_by=by,
        reason=_join_reasons(targets),
        n_targets=len(targets),
        n_done=counts["done"],
        n_failed=counts["failed"],
        gpu_hours=sum(target.gpu_hours for target in targets),
    )


def _sum_up(targets: Sequence[TargetState]) -> RequestState:
    states = {target.state for target in targets}
    if not states - {"done", "failed"}:
        return "failed" if "failed" in states else "done"
    if states & {"running", "done"}:
        return "running"
    return "planned" if "planned" in states else "accepted"


def _join_reasons(targets: Sequence[TargetState]) -> str | None:
    """Each reason once, with its models where several are asked for."""
    models: dict[str, dict[str, None]] = defaultdict(dict)
    for target in targets:
        if target.reason:
            models[target.reason][target.model_id] = None
    lines = [reason if len(targets) == 1 else f"{_name(list(names))}: {reason}" for reason, names in models.items()]
    if len(lines) > SHOWN_REASONS:
        lines[SHOWN_REASONS:] = [f"and {len(lines) - SHOWN_REASONS} more reasons"]
    return "\n".join(lines) or None


def _name(models: Sequence[str]) -> str:
    return models[0] if len(models) == 1 else f"{len(models)} models"
