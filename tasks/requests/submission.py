"""Makes a request of a submission: accepted with its targets, or rejected with all findings.

Its id is a hash over what is asked for and the number of times that it was asked and ended before: asked twice, it is
one request; with other settings it is another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.errors import TaskError
from nightboard.tasks.requests.book import UNFINISHED, Entry, add_events, add_requests
from nightboard.tasks.requests.checks import CheckInputs, Form, Found, WeightType, find_faults, find_wrong_name, look_up
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit, Request, RequestEvent, RequestTarget, as_row
from nightboard.tasks.store.tables import append_rows
from nightboard.tasks.store.texts import clean_text
from nightboard.warehouse.schema.lake_tables import COMMITS


@dataclass(frozen=True)
class Asker:
    """Who submits, why, and how it came here."""

    name: str
    reason: str | None = None
    priority: int = 0
    source: str = "command"
    source_file: str | None = None
    source_revision: str | None = None


@dataclass(frozen=True)
class Answer:
    """A submission's request with its targets and state. `is_known`: it is open already, and nothing is new.

    `commit`: to be stored with it. `found`: what the Hub has of it; None: it is known.
    """

    entry: Entry
    commit: Commit | None = None
    is_known: bool = False
    found: Found | None = None

    @property
    def findings(self) -> list[str]:
        """Why it was rejected."""
        return (self.entry.event.reason or "").split("\n") if self.entry.state == "rejected" else []


class SubmissionError(TaskError):
    """A submission that is no request; the message says what to do."""


def require_name(model_id: str) -> None:
    """Raise SubmissionError for what cannot be a model's name."""
    if wrong := find_wrong_name(model_id):
        raise SubmissionError(wrong)


def answer(form: Form, asker: Asker, inputs: CheckInputs) -> Answer:
    """Check a submission; the next ones know it. Writes nothing. Raises HubUnavailable if it cannot be checked now."""
    found = look_up(form, inputs)
    request_id, known = _find_request(found, inputs.bundle.board.board, inputs.book)
    if known is not None and known.state != "pending":
        return Answer(known, is_known=True)
    request = known.request if known else _make_request(request_id, found, asker, inputs)
    findings = find_faults(found, inputs, request_id)
    targets = [] if findings else _make_targets(request, found, inputs)
    event = RequestEvent(
        request_id=request_id,
        changed_at=inputs.now,
        state="rejected" if findings else "accepted",
        changed_by=asker.name,
        reason="\n".join(findings) or None,
        n_targets=len(targets),
    )
    entry, commit = Entry(request, tuple(targets), event), None if findings else found.commit
    is_stored = commit is None or inputs.commits.get((commit.model_id, commit.revision)) == commit
    inputs.add(entry, commit)
    return Answer(entry, None if is_stored else commit, found=found)


def finish_pending(inputs: CheckInputs) -> list[Answer]:
    """Requests whose writer was killed before it wrote an answer: checked again. Writes nothing."""
    pending = [each for each in inputs.book.values() if each.state == "pending" and each.request.kind == "submission"]
    return [_finish(entry, inputs) for entry in pending]


def _finish(entry: Entry, inputs: CheckInputs) -> Answer:
    request = entry.request
    asker = Asker(request.asked_by)
    if request.revision is None:  # it was about to be rejected, and the name of its revision is not known any more
        event = RequestEvent(
            request_id=request.request_id, changed_at=inputs.now, state="rejected", changed_by=asker.name,
            reason="its revision was not found. Submit it again.",
        )  # fmt: skip
        return Answer(replace(entry, event=event))
    form = Form(
        str(request.model_id), request.revision, request.precision, request.chat_template,
        cast(WeightType, request.weight_type), request.base_model, request.suites,
    )  # fmt: skip
    return answer(form, asker, inputs)


def record(store: Store, answers: Sequence[Answer]) -> None:
    """Store new requests. Killed in between, a request is missing or pending; asked again, it is completed."""
    new = [each for each in answers if not each.is_known]
    append_rows(store, COMMITS, [as_row(each.commit) for each in new if each.commit is not None])
    add_requests(store, [each.entry.request for each in new], [target for each in new for target in each.entry.targets])
    add_events(store, [each.entry.event for each in new])


def _find_request(found: Found, board: str, book: Mapping[str, Entry]) -> tuple[str, Entry | None]:
    """The id of a submission, and the request if it is open: what is over may be asked for again."""
    form = found.form
    revision = found.commit.revision if found.commit else form.revision
    content = [
        board, "submission", found.model_id, revision, form.precision, form.chat_template, form.weight_type,
        form.base_model, sorted(form.suites),
    ]  # fmt: skip
    number = 0
    while True:
        request_id = hash_json([*content, number])[:32]
        entry = book.get(request_id)
        if entry is None or entry.state in UNFINISHED:
            return request_id, entry
        number += 1


def _make_request(request_id: str, found: Found, asker: Asker, inputs: CheckInputs) -> Request:
    form = found.form
    return Request(
        request_id=request_id,
        board=inputs.bundle.board.board,
        kind="submission",
        asked_by=clean_text(asker.name),
        asked_at=inputs.now,
        source=asker.source,
        source_file=asker.source_file,
        source_revision=asker.source_revision,
        reason=None if asker.reason is None else clean_text(asker.reason),
        priority=asker.priority,
        suites=form.suites,
        model_id=clean_text(found.model_id),
        revision=found.commit.revision if found.commit else None,
        precision=form.precision and clean_text(form.precision),
        chat_template=form.chat_template,
        weight_type=form.weight_type,
        base_model=form.base_model and clean_text(form.base_model),
    )


def _make_targets(request: Request, found: Found, inputs: CheckInputs) -> list[RequestTarget]:
    assert found.commit is not None
    return [
        RequestTarget(
            request_id=request.request_id,
            model_id=found.commit.model_id,
            revision=found.commit.revision,
            suite=suite.suite.suite,
        )
        for suite in inputs.suites
        if not request.suites or suite.suite.suite in request.suites
    ]
