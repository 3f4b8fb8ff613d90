"""What people do with a request that is there: find it by name, vote for it, withdraw it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from nightboard.tasks.errors import TaskError
from nightboard.tasks.requests.book import OPEN, UNFINISHED, Entry, add_events, add_vote
from nightboard.tasks.store.layout import SHOWN_ID, Store
from nightboard.tasks.store.records import RequestEvent
from nightboard.tasks.store.tables import read_table
from nightboard.tasks.store.texts import clean_text
from nightboard.warehouse.reader.questions import match_name
from nightboard.warehouse.reader.sql_errors import sort_by_nearness
from nightboard.warehouse.schema.request_tables import VOTES

_SHOWN_NAMES = 5


class UnknownRequestError(TaskError):
    """No request, or more than one, is named by a text; the message says which there are."""


def choose_request(book: Mapping[str, Entry], text: str) -> Entry:
    """The open request with this id, or of this model, shortened or not.

    Raises UnknownRequestError, and QueryError where it is not clear which is meant.
    """
    is_open = UNFINISHED | OPEN
    found = _find_named(book, text)
    open_ones = [entry for entry in found if entry.state in is_open]
    if len(open_ones) == 1:
        return open_ones[0]
    if open_ones:
        ids = ", ".join(entry.request.request_id[:SHOWN_ID] for entry in open_ones[:_SHOWN_NAMES])
        more = "" if len(open_ones) <= _SHOWN_NAMES else " ..."
        raise UnknownRequestError(
            f"{text}: names {len(open_ones)} open requests. Write the first letters of one: {ids}{more}."
        )
    if found:
        raise UnknownRequestError(f"{text}: its request is over ({found[-1].state}). Submit it again to ask once more.")
    names = {name: None for entry in book.values() if entry.state in is_open for name in _name(entry)}
    if not names:
        raise UnknownRequestError(f"{text}: no request is open. `nightboard submit` makes one.")
    near = sort_by_nearness(text, names)[:_SHOWN_NAMES]
    raise UnknownRequestError(f"{text}: no open request has this id or model. The nearest: {', '.join(near)}.")


def _name(entry: Entry) -> list[str]:
    return [entry.request.model_id or entry.request.request_id[:SHOWN_ID]]


def _find_named(book: Mapping[str, Entry], text: str) -> list[Entry]:
    """The requests that a text names: by an id or a model, shortened or not; open ones come first.

    Raises QueryError where it is not clear which id or model is meant.
    """
    for entries in ([each for each in book.values() if each.state in UNFINISHED | OPEN], [*book.values()]):
        models = {entry.request.model_id for entry in entries if entry.request.model_id}
        if name := match_name(text.strip(), {entry.request.request_id for entry in entries}, models):
            return [entry for entry in book.values() if name in (entry.request.request_id, entry.request.model_id)]
    return []


def vote(store: Store, entry: Entry, user: str, now: datetime) -> bool:
    """Vote for a request; False if the user has done so before."""
    request_id, user = entry.request.request_id, clean_text(user)
    votes = read_table(store, VOTES).to_pylist()
    if any((row["request_id"], row["voter"]) == (request_id, user) for row in votes):
        return False
    add_vote(store, request_id, user, now)
    return True


def withdraw(store: Store, entry: Entry, user: str, now: datetime, reason: str | None = None) -> None:
    """Withdraw a request: it is no longer planned. What runs ends, and its score is kept."""
    event = RequestEvent(
        request_id=entry.request.request_id,
        changed_at=now,
        state="withdrawn",
        changed_by=clean_text(user),
        reason=reason and clean_text(reason),
        n_targets=entry.event.n_targets,
        n_done=entry.event.n_done,
        n_failed=entry.event.n_failed,
    )
    add_events(store, [event])
