"""Finds what is new on the Hub among the watched models.

Owns which requests a night costs: pages of heads, one call for the refs of a model whose branches or tags are
followed, and for a commit that the lake does not know its tree and small files. Writes nothing, plans nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TypeVar, cast

from nightboard.profiles.model_settings import find_explicit, is_watched, settings_for
from nightboard.profiles.models.base import MODEL_ID_PATTERN
from nightboard.profiles.models.watchlist import WatchedModel, WatchList
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import HubError, HubUnavailable, RepoDisabled, RepoGone, RevisionGone, Unreadable
from nightboard.tasks.hub.inspect_commit import (
    DISABLED_REASON,
    GATED_REASON,
    Subject,
    inspect_commit,
    organization_of,
    reject,
    reject_unreadable,
)
from nightboard.tasks.hub.responses import SHA, ModelHead
from nightboard.tasks.store.records import Commit, ModelState
from nightboard.tasks.store.texts import clean_text

CALLS_AT_ONCE = 8
NO_SUCH_REVISION = "no such revision"
# A pattern that matches more branches of one model is more likely a mistake, or somebody's trick, than a wish.
MOST_BRANCHES = 2_000
# More problems of one kind than these are told as a number.
MOST_LINES = 5

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Known:
    """What the lake knows already: the newest row of each commit, and the last state of each model."""

    commits: Mapping[tuple[str, str], Commit] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchedHead:
    """A commit that the watch list follows now, and the branch, tag or commit by which it does."""

    model_id: str
    ref: str
    revision: str


@dataclass(frozen=True)
class Problem:
    """Something watched that cannot be followed, and why."""

    subject: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


@dataclass(frozen=True)
class Discovery:
    """What a night found. `heads`: in the watch list's order, each commit once; `commits`, `model_states`: new rows."""

    heads: tuple[WatchedHead, ...] = ()
    commits: tuple[Commit, ...] = ()
    model_states: tuple[ModelState, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Listing:
    """Heads of watched models by id, those that the Hub has no more (with the state they are in now), and problems."""

    heads: Mapping[str, ModelHead]
    missing: Mapping[str, str]
    problems: tuple[Problem, ...]


def discover(hub: Hub, watch: WatchList, known: Known, now: datetime) -> Discovery:
    """Compare the Hub with what is known. Raises HubUnavailable when the Hub is down; nothing has been written then.

    What fails for one organisation, model or commit alone is a problem of that one, and the others go on.
    """
    listing = _list_models(hub, watch, known)
    followed = _spread(lambda head: _follow(hub, watch, head), listing.heads.values())
    subjects = _once(subject for subjects, _ in followed for subject in subjects)
    new = [subject for subject in subjects if _is_worth_a_look(subject, known)]
    looked = _spread(lambda subject: _look(hub, subject, now), new)
    lost = {(s.model_id, s.revision) for s, seen in zip(new, looked, strict=True) if isinstance(seen, Problem)}
    problems = [problem for _, problems in followed for problem in problems]
    return Discovery(
        heads=tuple(
            WatchedHead(s.model_id, s.ref, s.revision) for s in subjects if (s.model_id, s.revision) not in lost
        ),
        commits=tuple(seen for seen in looked if isinstance(seen, Commit) and _is_news(seen, known)),
        model_states=_changed_states(listing, known, now),
        problems=(*listing.problems, *problems, *(seen for seen in looked if isinstance(seen, Problem))),
    )


# ---------------------------------------------------------------------------------------------------- which models


def _list_models(hub: Hub, watch: WatchList, known: Known) -> _Listing:
    """One listing an author; a single call only for a watched model that is not in it."""
    explicit = [model.id for model in watch.models if is_watched(watch, model.id)]
    authors = list(dict.fromkeys([*watch.organizations, *filter(None, map(organization_of, explicit))]))
    found: dict[str, ModelHead] = {}
    problems: list[Problem] = []
    failed: dict[str, HubError] = {}
    for author in authors:
        wanted = {model_id for model_id in explicit if organization_of(model_id) == author}
        try:
            _list_author(hub, watch, author, None if author in watch.organizations else wanted, found, problems)
        except HubError as error:
            hub.raise_if_down(error)
            failed[author] = error
            problems.append(Problem(author, str(error)))
    # A model that a broken listing does not show is not gone; only those that the watch list names are asked for.
    vanished = [m for m in sorted(known.models) if known.models[m] != "deleted" and is_watched(watch, m)]
    vanished = [model_id for model_id in vanished if organization_of(model_id) not in failed]
    asked = [model_id for model_id in dict.fromkeys([*explicit, *vanished]) if model_id not in found]
    missing: dict[str, str] = {}
    for model_id, answer in zip(asked, _spread(lambda model_id: _ask(hub, model_id), asked), strict=True):
        if isinstance(answer, ModelHead):
            found[model_id] = answer
        else:
            missing[model_id], reason = answer
            problems.append(Problem(model_id, reason))
    if not found and failed and all(isinstance(failed.get(author), HubUnavailable) for author in authors):
        raise failed[authors[0]]  # it may answer something, but nothing that we need
    order = [*explicit, *sorted(found.keys() - set(explicit))]
    return _Listing({m: found[m] for m in order if m in found}, missing, tuple(problems))


def _list_author(
    hub: Hub,
    watch: WatchList,
    author: str,
    wanted: set[str] | None,
    found: dict[str, ModelHead],
    problems: list[Problem],
) -> None:
    """Add the watched models of an author to `found`. With `wanted`, no page is asked for after the last of them.

    Where the listing breaks off with an error, what it has shown before counts.
    """
    odd: dict[str, None] = {}
    is_empty = True
    try:
        for head in hub.list_heads(author):
            is_empty = False
            if not re.fullmatch(MODEL_ID_PATTERN, head.model_id) or not SHA.fullmatch(head.sha):
                odd[head.model_id] = None
            elif is_watched(watch, head.model_id) if wanted is None else head.model_id in wanted:
                found.setdefault(head.model_id, head)
            if wanted is not None and wanted <= found.keys():
                break
    finally:
        problems += _tell_odd(list(odd))
    if is_empty and wanted is None:
        problems.append(Problem(author, "the Hub lists no models of this organisation; is the name right?"))


def _tell_odd(names: Sequence[str]) -> list[Problem]:
    """Models that cannot be followed: each by name, where they are few."""
    reason = "the Hub lists it without a usable name and commit"
    told = [Problem(repr(name), reason) for name in names[:MOST_LINES]]
    if len(names) > len(told):
        told.append(Problem(f"{len(names) - len(told):,} more models", "the Hub lists them like that"))
    return told


def _ask(hub: Hub, model_id: str) -> ModelHead | tuple[str, str]:
    """A model that its author's listing does not show: its head after all, or its state and the reason in words."""
    try:
        head = hub.model_head(model_id)
    except RepoGone:
        withheld = f" ({hub.token_withheld})" if hub.token_withheld else ""
        return "deleted", f"it does not exist on the Hub, or is private{withheld}"
    except RepoDisabled:
        return "disabled", "it is disabled on the Hub"
    except HubError as error:
        hub.raise_if_down(error)
        return "unknown", str(error)
    if head.model_id != model_id:
        return "deleted", f"it is called {head.model_id} on the Hub; write that name in the watch list"
    return head if SHA.fullmatch(head.sha) else ("unknown", "the Hub names no commit of it")


def _changed_states(listing: _Listing, known: Known, now: datetime) -> tuple[ModelState, ...]:
    """Rows for models whose state is not the last known one. A model that was never seen is not said to be deleted."""
    states = {model_id: _state_of(head) for model_id, head in listing.heads.items()}
    states |= {m: state for m, state in listing.missing.items() if m in known.models and state != "unknown"}
    return tuple(
        ModelState.model_validate(
            {"model_id": m, "organization": organization_of(m), "state": state, "observed_at": now}
        )
        for m, state in states.items()
        if known.models.get(m) != state
    )


def _state_of(head: ModelHead) -> str:
    if head.is_disabled:
        return "disabled"
    if head.is_private:
        return "private"
    return "gated" if head.is_gated else "available"


# ---------------------------------------------------------------------------------------------------- which commits


def _follow(hub: Hub, watch: WatchList, head: ModelHead) -> tuple[list[Subject], list[Problem]]:
    """The commits of a model that the watch list follows now: main, or the revisions and branches that it names."""
    model = find_explicit(watch, head.model_id) or WatchedModel(id=head.model_id)
    is_code_allowed = bool(settings_for(watch, head.model_id).trust_remote_code)
    if not model.revisions and not model.branches:
        return [Subject(head, "main", head.sha, is_code_allowed)], []
    try:
        refs, problems = _find_refs(hub, model)
    except HubError as error:
        hub.raise_if_down(error)
        return [], [Problem(model.id, str(error))]
    return [Subject(head, ref, sha, is_code_allowed) for ref, sha in refs], problems


def _find_refs(hub: Hub, model: WatchedModel) -> tuple[list[tuple[str, str]], list[Problem]]:
    """(name, commit) of every revision and matching branch, in the watch list's order."""
    named = [revision for revision in model.revisions if not SHA.fullmatch(revision)]
    refs = hub.refs(model.id) if named or model.branches else None
    branches = dict(refs.branches) if refs else {}
    names = {**(refs.tags if refs else {}), **branches}
    found: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for revision in model.revisions:
        sha = revision if SHA.fullmatch(revision) else names.get(revision) or _resolve(hub, model.id, revision)
        if sha:
            found.append((revision, sha))
        else:
            problems.append(Problem(f"{model.id}@{revision}", NO_SUCH_REVISION))
    for pattern in model.branches:
        matching = [(name, sha) for name, sha in sorted(branches.items()) if fnmatchcase(name, pattern)]
        found += matching[:MOST_BRANCHES]
        if len(matching) > MOST_BRANCHES:
            reason = f"{len(matching):,} branches match {pattern}; the first {MOST_BRANCHES:,} are followed"
            problems.append(Problem(model.id, reason))
        if not matching:
            problems.append(Problem(model.id, f"no branch matches {pattern}"))
    return found, problems


def _resolve(hub: Hub, model_id: str, revision: str) -> str | None:
    """A name that is neither branch nor tag: a short commit id, or a ref such as refs/pr/1."""
    try:
        sha = hub.model_head(model_id, revision).sha
    except RevisionGone:
        return None
    return sha if SHA.fullmatch(sha) else None


def _is_worth_a_look(subject: Subject, known: Known) -> bool:
    """Whether the commit is new, or something outside its content has changed that decides about it."""
    commit = known.commits.get((subject.model_id, subject.revision))
    if commit is None:
        return True
    if (commit.reason or "").startswith(GATED_REASON):
        return True  # access may have been granted
    if commit.reason == DISABLED_REASON:
        return not subject.head.is_disabled
    has_code = any(path.endswith(".py") for path in commit.files)
    return commit.state == "ok" and commit.needs_remote_code and has_code != subject.is_code_allowed


def _look(hub: Hub, subject: Subject, now: datetime) -> Commit | Problem:
    """Examine a commit; a problem when it went away meanwhile, which is asked again the next night.

    Whatever reading it raises rejects it: what a repository holds can spoil that commit alone.
    """
    try:
        if subject.head.is_plain:
            subject = replace(subject, head=hub.model_head(subject.model_id, subject.head.sha))
        if subject.revision != subject.head.sha:
            # The listing's date is the head's.
            subject = replace(subject, committed_at=hub.commit_date(subject.model_id, subject.revision))
        else:
            subject = replace(subject, committed_at=subject.head.last_modified)
        return inspect_commit(hub, subject, now)
    except RevisionGone as error:
        is_asked_by_sha = subject.ref == subject.revision
        return reject(subject, now, NO_SUCH_REVISION) if is_asked_by_sha else Problem(subject.model_id, str(error))
    except Unreadable as error:
        return reject(subject, now, str(error))
    except HubError as error:
        # One repository may answer with errors for ever; that is its own trouble as long as the Hub answers others.
        hub.raise_if_down(error)
        return Problem(f"{subject.model_id}@{subject.ref}", str(error))
    except (OSError, MemoryError) as error:  # this machine's trouble, not the commit's
        return Problem(f"{subject.model_id}@{subject.ref}", clean_text(f"{type(error).__name__}: {error}"))
    except Exception as error:
        return reject_unreadable(subject, now, error)


def _is_news(commit: Commit, known: Known) -> bool:
    """Whether a second look at a known commit found anything else than the first."""
    before = known.commits.get((commit.model_id, commit.revision))
    return before is None or commit != before.model_copy(update={"discovered_at": commit.discovered_at})


def _once(subjects: Iterable[Subject]) -> list[Subject]:
    """Each commit once, under the first name by which it is followed."""
    first: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        first.setdefault((subject.model_id, subject.revision), subject)
    return list(first.values())


def _spread(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply to all items, a few at once; results in the items' order. The first error ends it and is raised.

    What still runs then is not waited for, and does not keep the process: it may be waiting for the Hub for an hour.
    """
    work = [(Future[R](), item) for item in items]
    left = iter(work)
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                future, item = next(left, (None, None))
            if future is None:
                return
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(cast(T, item)))
                except BaseException as error:
                    future.set_exception(error)

    for number in range(min(CALLS_AT_ONCE, len(work))):
        threading.Thread(target=run, name=f"discover-{number}", daemon=True).start()
    try:
        return [future.result() for future, _ in work]
    except BaseException:
        for future, _ in work:
            future.cancel()
        raise
