"""The book of requests: reads and writes the lake's requests, their targets, events and votes.

Rows are added, never changed: of a request that two hosts write at once, the row that was asked first counts, and the
newest event is its state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nightboard.tasks.planning.plan import RequestedCommit
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit, Request, RequestEvent, RequestState, RequestTarget, as_row
from nightboard.tasks.store.tables import append_rows, next_time, read_table
from nightboard.warehouse.schema.request_tables import REQUEST_EVENTS, REQUEST_TARGETS, REQUESTS, VOTES

# What planning takes into account (what failed is planned again after `nightboard retry`), with what is done as well,
# and what is not over yet.
OPEN: frozenset[RequestState] = frozenset(("accepted", "planned", "running", "failed"))
SERVED: frozenset[RequestState] = OPEN | {"done"}
# A board shows the models of such submissions.
SHOWN: frozenset[RequestState] = frozenset(("accepted", "planned", "running", "done"))
UNFINISHED: frozenset[RequestState] = frozenset(("pending", "accepted", "planned", "running"))


@dataclass(frozen=True)
class Entry:
    """A request with its targets, its newest event, and the number of its votes."""

    request: Request
    targets: tuple[RequestTarget, ...]
    event: RequestEvent
    votes: int = 0

    @property
    def state(self) -> RequestState:
        return self.event.state

    @property
    def urgency(self) -> tuple[int, int, datetime, str]:
        """Its place in the queue: the smallest one is planned first."""
        return -self.request.priority, -self.votes, self.request.asked_at, self.request.request_id


def read_book(store: Store, board: str | None = None) -> dict[str, Entry]:
    """All requests of a board (None: of all boards) by id, the most urgent first."""
    requests: dict[str, Request] = {}
    for row in read_table(store, REQUESTS).sort_by([("asked_at", "ascending")]).to_pylist():
        if board in (None, row["board"]):
            requests.setdefault(row["request_id"], Request(**row))
    targets: dict[str, dict[tuple[str, ...], RequestTarget]] = defaultdict(dict)
    for row in read_table(store, REQUEST_TARGETS).to_pylist():
        targets[row["request_id"]][tuple(row[name] for name in REQUEST_TARGETS.key)] = RequestTarget(**row)
    events = {row["request_id"]: row for row in read_table(store, REQUEST_EVENTS).sort_by("changed_at").to_pylist()}
    votes = defaultdict(set)
    for row in read_table(store, VOTES).to_pylist():
        votes[row["request_id"]].add(row["voter"])
    entries = [
        Entry(
            request,
            tuple(targets[key].values()),
            RequestEvent(**events[key]) if key in events else _make_first_event(request),
            len(votes[key]),
        )
        for key, request in requests.items()
    ]
    return {entry.request.request_id: entry for entry in sorted(entries, key=lambda entry: entry.urgency)}


def _make_first_event(request: Request) -> RequestEvent:
    """A request without an event: whoever wrote it was killed before the next line."""
    return RequestEvent(
        request_id=request.request_id, changed_at=request.asked_at, state="pending", changed_by=request.asked_by
    )


def find_requested(entries: Iterable[Entry], commits: Mapping[tuple[str, str], Commit]) -> list[RequestedCommit]:
    """The targets of requests, with commits; one whose commit was never read is left to the next run."""
    return [
        RequestedCommit(entry.request, target, commits[target.model_id, target.revision])
        for entry in entries
        for target in entry.targets
        if (target.model_id, target.revision) in commits
    ]


def add_requests(store: Store, requests: Iterable[Request], targets: Iterable[RequestTarget] = ()) -> None:
    """Add requests. Their targets are written first: a request that is there has all of them."""
    append_rows(store, REQUEST_TARGETS, [as_row(target) for target in targets])
    append_rows(store, REQUESTS, [as_row(request) for request in requests])


def add_events(store: Store, events: Sequence[RequestEvent]) -> None:
    """Add changes of state, at a time after all that are there: clocks differ, and the last one written counts."""
    if events:
        # Just before, so that it is later than a row of the same time.
        earlier = max(event.changed_at for event in events) - timedelta(microseconds=1)
        changed_at = next_time(store, REQUEST_EVENTS, "changed_at", earlier) + timedelta(microseconds=1)
        rows = [as_row(event.model_copy(update={"changed_at": changed_at})) for event in events]
        append_rows(store, REQUEST_EVENTS, rows)


def add_vote(store: Store, request_id: str, user: str, now: datetime) -> None:
    """Add a user's vote for a request; a second one of the same user does not count."""
    append_rows(store, VOTES, [{"request_id": request_id, "voter": user, "voted_at": now}])
