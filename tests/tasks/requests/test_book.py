"""The book of requests: what is written once or twice is there once, and the newest event is the state."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from builders import NOW

from nightboard.tasks.planning.result import TargetState, TargetStateName
from nightboard.tasks.requests.book import add_events, add_requests, add_vote, read_book
from nightboard.tasks.requests.progress import find_changes
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Request, RequestEvent, RequestState, RequestTarget
from nightboard.warehouse.builder.build import rebuild_if_stale
from nightboard.warehouse.builder.publish import current_build


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def make_request(name: str = "one", minutes: int = 0, **changes: object) -> Request:
    values = {
        "request_id": name, "board": "mine", "kind": "backfill", "asked_by": "ada",
        "asked_at": NOW + timedelta(minutes=minutes), "selection": "model:lab/*",
    }  # fmt: skip
    return Request.model_validate(values | changes)


def make_target(model: str = "lab/a", request: str = "one") -> RequestTarget:
    return RequestTarget(request_id=request, model_id=model, revision="1" * 40, suite="small")


def make_event(state: RequestState, at: datetime = NOW, name: str = "one", reason: str | None = None) -> RequestEvent:
    return RequestEvent(request_id=name, changed_at=at, state=state, changed_by="ada", reason=reason)


def target_state(state: TargetStateName, model: str = "lab/a", reason: str | None = None) -> TargetState:
    return TargetState(
        request_id="one", model_id=model, revision="1" * 40, suite="small", state=state, reason=reason
    )  # fmt: skip


def test_the_same_request_of_two_hosts_is_one_and_was_asked_when_the_first_asked(store: Store) -> None:
    add_requests(store, [make_request(minutes=5)], [make_target()])
    add_requests(store, [make_request(minutes=3, asked_by="bob")], [make_target()])
    (entry,) = read_book(store).values()
    assert entry.request.asked_by == "bob"
    assert entry.targets == (make_target(),)
    assert entry.state == "pending", "whoever wrote it was killed before the next line"


def test_a_commit_may_be_asked_for_in_several_settings(store: Store) -> None:
    targets = [make_target(), make_target().model_copy(update={"precision": "float32", "chat_template": "never"})]
    add_requests(store, [make_request()], targets)
    add_requests(store, [make_request()], targets)
    assert read_book(store)["one"].targets == (*targets,)


def test_the_event_written_last_is_the_state_also_when_a_clock_goes_back(store: Store) -> None:
    add_requests(store, [make_request()])
    add_events(store, [make_event("accepted", NOW + timedelta(hours=1))])
    add_events(store, [make_event("withdrawn", NOW)])
    assert read_book(store)["one"].state == "withdrawn"


def test_priority_then_votes_then_age_order_the_book(store: Store) -> None:
    names = [
        make_request("old"),
        make_request("young", 9),
        make_request("liked", 5),
        make_request("urgent", 7, priority=1),
    ]
    add_requests(store, names)
    for voter in ("ada", "bob", "ada"):
        add_vote(store, "liked", voter, NOW)
    book = read_book(store)
    assert [*book] == ["urgent", "liked", "old", "young"]
    assert book["liked"].votes == 2, "one per user"
    assert not read_book(store, "another board")


def test_a_request_is_as_far_as_its_targets(store: Store) -> None:
    add_requests(store, [make_request()], [make_target()])
    add_events(store, [make_event("accepted")])
    seen = []
    waits, gave_up = "waits for budget", "out of memory"
    for targets in (
        [target_state("waiting", reason=waits)],
        [target_state("waiting", reason=waits)],
        [target_state("planned")],
        [target_state("done"), target_state("planned", "lab/b")],
        [target_state("done"), target_state("failed", "lab/b", gave_up)],
        [target_state("planned", "lab/b")],
        [target_state("done"), target_state("done", "lab/b")],
        [target_state("running")],
    ):
        events = find_changes(read_book(store), targets, "night", NOW)
        add_events(store, events)
        seen += [(event.state, event.reason, event.n_targets, event.n_done, event.n_failed) for event in events]
    assert seen == [
        ("accepted", waits, 1, 0, 0),
        ("planned", None, 1, 0, 0),
        ("running", None, 2, 1, 0),
        ("failed", f"lab/b: {gave_up}", 2, 1, 1),
        ("planned", None, 1, 0, 0),
        ("done", None, 2, 2, 0),
    ], "nothing twice, and what is done stays so"


def test_a_withdrawn_request_stays_withdrawn_while_its_job_ends(store: Store) -> None:
    add_requests(store, [make_request()], [make_target()])
    add_events(store, [make_event("withdrawn")])
    assert not find_changes(read_book(store), [target_state("running")], "night", NOW)


def test_analysts_see_requests_with_state_and_votes(store: Store) -> None:
    add_requests(store, [make_request(), make_request("two", 1)], [make_target()])
    add_events(store, [make_event("accepted")])
    add_events(store, find_changes(read_book(store), [target_state("failed", reason="too large")], "night", NOW))
    add_vote(store, "one", "bob", NOW)
    rebuild_if_stale(store.lake, store.warehouse, NOW)
    with duckdb.connect(str(current_build(store.warehouse)), read_only=True) as con:
        columns = "request_id, state, state_reason, state_since > asked_at, n_failed, votes"
        rows = con.execute(f"select {columns} from requests order by 1").fetchall()
    assert rows == [("one", "failed", "too large", True, 1, 1), ("two", "pending", None, False, None, 0)]
