"""A submission is one request, however often and from wherever it is asked; a kill between two writes loses nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from served_hub import ServedHub
from submissions import SUITES, Desk, good_model
from suite_nights import SUITE, Nights

from nightboard.tasks.planning.plan import RequestedCommit
from nightboard.tasks.requests import book as books
from nightboard.tasks.requests import submission
from nightboard.tasks.requests.book import OPEN, Entry, add_events, add_requests, read_book
from nightboard.tasks.requests.changes import UnknownRequestError, choose_request, vote, withdraw
from nightboard.tasks.requests.checks import Form
from nightboard.tasks.requests.submission import Asker, answer, record
from nightboard.tasks.store.records import RequestEvent, RequestState


@pytest.fixture
def desk(hub: ServedHub, tmp_path: Path) -> Desk:
    hub.add("lab/good", good_model())
    return Desk(hub, tmp_path)


def end(desk: Desk, request_id: str, state: RequestState) -> None:
    desk.now += timedelta(minutes=1)
    event = RequestEvent(request_id=request_id, changed_at=desk.now, state=state, changed_by="test")
    add_events(desk.store, [event])


def test_asked_twice_it_is_one_request_also_by_the_name_of_its_branch(desk: Desk) -> None:
    first = desk.submit("lab/good")
    again = desk.submit("lab/good", by="bob", revision="main")
    assert (again.is_known, again.entry.request) == (True, first.entry.request)
    assert len(desk.book()) == 1


@pytest.mark.parametrize(
    "form",
    [{"precision": "float32"}, {"suites": ("small",)}, {"chat_template": "never"}, {"revision": "newer"}],
)
def test_with_other_settings_it_is_another_request_and_never_overwrites_one(desk: Desk, form: dict[str, Any]) -> None:
    first = desk.submit("lab/good")
    desk.hub.loopback.create_branch("lab/good", "newer")
    desk.hub.loopback.commit("lab/good", good_model(2), "newer", branch="newer")
    other = desk.submit("lab/good", **form)
    assert not other.is_known
    book = desk.book()
    assert book.keys() == {first.entry.request.request_id, other.entry.request.request_id}
    assert book[first.entry.request.request_id].request == first.entry.request


@pytest.mark.parametrize("state", ["failed", "rejected", "withdrawn", "done"])
def test_what_is_over_may_be_asked_for_again(desk: Desk, state: RequestState) -> None:
    first = desk.submit("lab/good").entry.request.request_id
    end(desk, first, state)
    second = desk.submit("lab/good")
    assert (second.is_known, second.entry.state) == (False, "accepted")
    assert second.entry.request.request_id != first
    assert desk.submit("lab/good").entry.request.request_id == second.entry.request.request_id


def test_two_hosts_that_ask_at_once_make_one_request(desk: Desk) -> None:
    here, there = desk.inputs(), desk.inputs()
    answers = [answer(Form("lab/good"), Asker(name), inputs) for name, inputs in (("ada", here), ("bob", there))]
    for each in reversed(answers):
        record(desk.store, [each])
    (entry,) = desk.book().values()
    assert (entry.state, len(entry.targets)) == ("accepted", len(SUITES))


@pytest.mark.parametrize("stop", ["append_rows", "add_requests", "add_events"])
def test_killed_between_two_writes_it_is_completed_when_asked_again(
    desk: Desk, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(submission, stop, die)
        with pytest.raises(Killed):
            desk.submit("lab/good")
    assert all(entry.state == "pending" for entry in desk.book().values())
    again = desk.submit("lab/good")
    (entry,) = desk.book().values()
    assert (entry.state, entry.request, entry.targets) == ("accepted", again.entry.request, again.entry.targets)
    assert ("lab/good", entry.request.revision) in desk.inputs().commits, "planning finds the commit"


def test_a_request_that_is_there_has_its_targets(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(books, "append_rows", lambda _store, table, rows: written.append((table.name, len(rows))))
    given = answer(Form("lab/good"), Asker("ada"), desk.inputs())
    add_requests(desk.store, [given.entry.request], given.entry.targets)
    assert written == [("request_targets", 2), ("requests", 1)], "the order of writes"


def test_of_many_submissions_each_is_checked_without_a_look_at_all_of_the_book(desk: Desk) -> None:
    class Book(dict[str, Entry]):
        n_looks = 0

        def items(self) -> Any:
            self.n_looks += 1
            return super().items()

        def values(self) -> Any:
            self.n_looks += 1
            return super().values()

    desk.rules["per_organization_and_week"] = 1
    inputs = replace(desk.inputs(), book=Book())
    desk.hub.add("copy/good", good_model())
    desk.hub.add("lab/other", good_model(2))
    states = [answer(Form(name), Asker("ada"), inputs).entry.state for name in ("lab/good", "copy/good", "lab/other")]
    assert states == ["accepted", "rejected", "rejected"], "the second has the same files, the third is one too many"
    assert isinstance(inputs.book, Book) and inputs.book.n_looks == 1


def test_all_findings_are_kept_with_the_request(desk: Desk) -> None:
    given = desk.submit("lab/nothing", suites=("tiny",))
    (entry,) = desk.book().values()
    assert (entry.state, entry.targets) == ("rejected", ())
    assert entry.event.reason == "\n".join(given.findings) and len(given.findings) == 2


# ------------------------------------------------------------------------------------------------- votes, withdrawal


def test_a_request_is_named_by_its_first_letters_or_its_model(desk: Desk) -> None:
    first = desk.submit("lab/good").entry.request.request_id
    book = desk.book()
    for text in (first, first[:4], first[:8].upper(), "lab/good", "LAB/Good", "good", "ood"):
        assert choose_request(book, text).request.request_id == first
    second = desk.submit("lab/good", precision="float32").entry.request.request_id
    with pytest.raises(UnknownRequestError, match=r"lab/good: names 2 open requests. Write the first letters of"):
        choose_request(desk.book(), "lab/good")
    end(desk, first, "withdrawn")
    assert choose_request(desk.book(), "lab/good").request.request_id == second, "what is over comes after what is open"
    with pytest.raises(UnknownRequestError, match=r"lab/goood: no open request has this id or model.*lab/good"):
        choose_request(desk.book(), "lab/goood")
    end(desk, second, "done")
    with pytest.raises(UnknownRequestError, match=r"lab/good: its request is over \(done\)"):
        choose_request(desk.book(), "lab/good")
    with pytest.raises(UnknownRequestError, match=r"no request is open. `nightboard submit` makes one"):
        choose_request({}, "x")


def test_a_vote_counts_once_a_user(desk: Desk) -> None:
    entry = desk.submit("lab/good").entry
    assert vote(desk.store, entry, "ada", desk.now)
    assert not vote(desk.store, desk.book()[entry.request.request_id], "ada", desk.now + timedelta(days=1))
    assert vote(desk.store, entry, "bob", desk.now)
    assert desk.book()[entry.request.request_id].votes == 2


def test_a_withdrawn_request_is_not_planned_and_what_runs_is_scored(desk: Desk, tmp_path: Path) -> None:
    nights, entry = Nights(tmp_path / "nights"), desk.submit("lab/good", suites=("small",)).entry
    commit = desk.inputs().commits["lab/good", entry.request.revision or ""]
    target = entry.targets[0].model_copy(update={"suite": SUITE.suite})
    add_requests(nights.store, [entry.request], [target])
    add_events(nights.store, [entry.event])

    def open_targets() -> list[RequestedCommit]:
        book = read_book(nights.store).values()
        return [RequestedCommit(each.request, t, commit) for each in book if each.state in OPEN for t in each.targets]

    assert nights.plan(SUITE, requested=open_targets()).evaluations
    launched = nights.start(SUITE, requested=open_targets())
    withdraw(nights.store, entry, "ada", desk.now)
    assert open_targets() == []
    nights.finish(launched)
    assert nights.ask("select model_id, request_id from leaderboard") == [("lab/good", entry.request.request_id)]
    assert nights.ask("select state from requests") == [("withdrawn",)]
