"""Discovers new commits and changed states of the watched models on the Hub.

Decides which requests a run makes: pages of heads, one call for the refs of a model whose branches or tags are
followed, and the tree and small files of a commit that is not in the lake. Writes nothing, plans nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
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
# A pattern that matches more branches of one model is probably a mistake, or an attack.
MOST_BRANCHES = 2_000
# The same of the commits of one branch.
MOST_COMMITS = 2_000
# Beyond this many, problems of one kind are reported as a number.
MOST_LINES = 5

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Known:
    """What is in the lake: the newest row of each commit, and the last state of each model."""

    commits: Mapping[tuple[str, str], Commit] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchedHead:
    """A commit that the watch list follows, and the branch, tag or commit by which it is followed."""

    model_id: str
    ref: str
    revision: str


@dataclass(frozen=True)
class Problem:
    """A watched model, organization or revision that cannot be followed, and why."""

    subject: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


@dataclass(frozen=True)
class Discovery:
    """What a run found. `heads`: each commit once, in the watch list's order; `commits`, `model_states`: new rows."""

    heads: tuple[WatchedHead, ...] = ()
    commits: tuple[Commit, ...] = ()
    model_states: tuple[ModelState, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Listing:
    """Heads of watched models by id, models that are no longer on the Hub (with their present state), and problems."""

    heads: Mapping[str, ModelHead]
    missing: Mapping[str, str]
    problems: tuple[Problem, ...]


def discover(hub: Hub, watch: WatchList, known: Known, now: datetime) -> Discovery:
    """Compare the Hub with the lake. Raises HubUnavailable if the Hub is down.

    A failure of one organization, model or commit is reported as its problem; the others continue.
    """
    listing = _list_models(hub, watch, known)
    followed = _spread(lambda head: _follow(hub, watch, head), listing.heads.values())
    subjects = _once(subject for subjects, _ in followed for subject in subjects)
    new = [subject for subject in subjects if is_worth_a_look(subject, known)]
    looked = _spread(lambda subject: look(hub, subject, now), new)
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


def discover_past(
    hub: Hub, watch: WatchList, model_ids: Iterable[str], known: Known, now: datetime, newest: int | None = None
) -> tuple[list[Commit], list[Problem]]:
    """Commits of models' main branches that are not in the lake; of each model the `newest` ones (None: all).

    Raises HubUnavailable if the Hub is down; a failure of one model or commit is its problem.
    """
    listed = _spread(lambda model_id: _list_past(hub, watch, model_id, newest), model_ids)
    subjects = [s for past, _ in listed for s in past if (s.model_id, s.revision) not in known.commits]
    looked = _spread(lambda subject: look(hub, subject, now), subjects)
    problems = [problem for _, found in listed for problem in found]
    problems += [seen for seen in looked if isinstance(seen, Problem)]
    return [seen for seen in looked if isinstance(seen, Commit)], problems


def _list_past(hub: Hub, watch: WatchList, model_id: str, newest: int | None) -> tuple[list[Subject], list[Problem]]:
    is_code_allowed = bool(settings_for(watch, model_id).trust_remote_code)
    most = min(MOST_COMMITS, newest or MOST_COMMITS)
    try:
        head = hub.model_head(model_id)
        commits = [sha for _, sha in islice(hub.history(model_id, "main"), most + 1) if sha and SHA.fullmatch(sha)]
    except HubError as error:
        hub.raise_if_down(error)
        return [], [Problem(model_id, str(error))]
    reason = f"has more than {MOST_COMMITS:,} commits; only the newest {MOST_COMMITS:,} are read"
    problems = [Problem(model_id, reason)] if newest is None and len(commits) > most else []
    return [Subject(head, "main", sha, is_code_allowed) for sha in commits[:most]], problems


# ---------------------------------------------------------------------------------------------------- which models


def _list_models(hub: Hub, watch: WatchList, known: Known) -> _Listing:
    """One listing per author, and one call for each watched model that is not in it."""
    explicit = [model.id for model in watch.models if is_watched(watch, model.id)]
    authors = list(dict.fromkeys([*watch.organizations, *filter(None, map(organization_of, explicit))]))
    heads: dict[str, ModelHead] = {}
    problems: list[Problem] = []
    failed: dict[str, HubError] = {}
    for author in authors:
        wanted = {model_id for model_id in explicit if organization_of(model_id) == author}
        try:
            _list_author(hub, watch, author, None if author in watch.organizations else wanted, heads, problems)
        except HubError as error:
            hub.raise_if_down(error)
            failed[author] = error
            problems.append(Problem(author, str(error)))
    # A model that is missing in a failed listing may still exist; only explicitly watched ones are requested then.
    vanished = [m for m in sorted(known.models) if known.models[m] != "deleted" and is_watched(watch, m)]
    vanished = [model_id for model_id in vanished if organization_of(model_id) not in failed]
    asked = [model_id for model_id in dict.fromkeys([*explicit, *vanished]) if model_id not in heads]
    missing: dict[str, str] = {}
    for model_id, answer in zip(asked, _spread(lambda model_id: _ask(hub, model_id), asked), strict=True):
        if isinstance(answer, ModelHead):
            heads[model_id] = answer
        else:
            missing[model_id], reason = answer
            problems.append(Problem(model_id, reason))
    if not heads and failed and all(isinstance(failed.get(author), HubUnavailable) for author in authors):
        raise failed[authors[0]]  # the Hub may answer, but not for any watched author
    order = [*explicit, *sorted(heads.keys() - set(explicit))]
    return _Listing({m: heads[m] for m in order if m in heads}, missing, tuple(problems))


def _list_author(
    hub: Hub,
    watch: WatchList,
    author: str,
    wanted: set[str] | None,
    heads: dict[str, ModelHead],
    problems: list[Problem],
) -> None:
    """Add the watched models of an author to `heads`. With `wanted`, stop when all of these are listed.

    If the listing fails on a later page, the models of the earlier pages count.
    """
    odd: dict[str, None] = {}
    is_empty = True
    try:
        for head in hub.list_heads(author):
            is_empty = False
            if not re.fullmatch(MODEL_ID_PATTERN, head.model_id) or not SHA.fullmatch(head.sha):
                odd[head.model_id] = None
            elif is_watched(watch, head.model_id) if wanted is None else head.model_id in wanted:
                heads.setdefault(head.model_id, head)
            if wanted is not None and wanted <= heads.keys():
                break
    finally:
        problems += _report_odd(list(odd))
    if is_empty and wanted is None:
        problems.append(Problem(author, "the Hub lists no models of this organization. Check the name"))


def _report_odd(names: Sequence[str]) -> list[Problem]:
    """Models that cannot be followed: the first ones by name, then their number."""
    reason = "the Hub lists it without a usable name and commit"
    problems = [Problem(repr(name), reason) for name in names[:MOST_LINES]]
    if len(names) > len(problems):
        more = f"{len(names) - len(problems):,} more models"
        problems.append(Problem(more, "the Hub lists them without a usable name and commit"))
    return problems


def _ask(hub: Hub, model_id: str) -> ModelHead | tuple[str, str]:
    """A model that is not in its author's listing: its head if it has one, otherwise its state and the reason."""
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
        return "deleted", f"it is now called {head.model_id} on the Hub. Write that name in the watch list"
    return head if SHA.fullmatch(head.sha) else ("unknown", "the Hub gives no commit for it")


def _changed_states(listing: _Listing, known: Known, now: datetime) -> tuple[ModelState, ...]:
    """Rows for models whose state has changed. A model that was never known gets no state `deleted`."""
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
    """The commits of a model that the watch list follows: main, or the listed revisions and branches."""
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
    commits: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for revision in model.revisions:
        sha = revision if SHA.fullmatch(revision) else names.get(revision) or _resolve(hub, model.id, revision)
        if sha:
            commits.append((revision, sha))
        else:
            problems.append(Problem(f"{model.id}@{revision}", NO_SUCH_REVISION))
    for pattern in model.branches:
        matching = [(name, sha) for name, sha in sorted(branches.items()) if fnmatchcase(name, pattern)]
        commits += matching[:MOST_BRANCHES]
        if len(matching) > MOST_BRANCHES:
            reason = f"{len(matching):,} branches match {pattern}; only the first {MOST_BRANCHES:,} are followed"
            problems.append(Problem(model.id, reason))
        if not matching:
            problems.append(Problem(model.id, f"no branch matches {pattern}"))
    return commits, problems


def _resolve(hub: Hub, model_id: str, revision: str) -> str | None:
    """The commit of a name that is neither branch nor tag: a short commit id, or a ref such as refs/pr/1."""
    try:
        sha = hub.model_head(model_id, revision).sha
    except RevisionGone:
        return None
    return sha if SHA.fullmatch(sha) else None


def is_worth_a_look(subject: Subject, known: Known) -> bool:
    """Whether the commit is new, or something outside its content has changed that decides whether it is accepted."""
    commit = known.commits.get((subject.model_id, subject.revision))
    if commit is None:
        return True
    if (commit.reason or "").startswith(GATED_REASON):
        return True  # access may have been granted
    if commit.reason == DISABLED_REASON:
        return not subject.head.is_disabled
    has_code = any(path.endswith(".py") for path in commit.files)
    return commit.state == "ok" and commit.needs_remote_code and has_code != subject.is_code_allowed


def look(hub: Hub, subject: Subject, now: datetime) -> Commit | Problem:
    """Inspect a commit; a problem if it disappeared meanwhile, which the next run checks again.

    Any error while reading it rejects it, so that a repository's content affects only that commit.
    """
    try:
        if subject.head.is_plain:
            subject = replace(subject, head=hub.model_head(subject.model_id, subject.head.sha))
        if subject.revision != subject.head.sha:
            # The listing has only the head's date.
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
        # One repository may always fail; that concerns only this one as long as the Hub answers for others.
        hub.raise_if_down(error)
        return Problem(f"{subject.model_id}@{subject.ref}", str(error))
    except (OSError, MemoryError) as error:  # a fault of this machine, not of the commit
        return Problem(f"{subject.model_id}@{subject.ref}", clean_text(f"{type(error).__name__}: {error}"))
    except Exception as error:
        return reject_unreadable(subject, now, error)


def _is_news(commit: Commit, known: Known) -> bool:
    """Whether the commit is new, or differs from its last known row."""
    before = known.commits.get((commit.model_id, commit.revision))
    return before is None or commit != before.model_copy(update={"discovered_at": commit.discovered_at})


def _once(subjects: Iterable[Subject]) -> list[Subject]:
    """Each commit once, with the first ref by which it is followed."""
    first: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        first.setdefault((subject.model_id, subject.revision), subject)
    return list(first.values())


def _spread(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply to all items, a few in parallel; results in the items' order. The first error stops it and is raised.

    Calls that still run then are not waited for and do not keep the process alive: one may wait an hour for the Hub.
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
