"""Checks a submission before it becomes work: every finding at once, each with what to do.

Asks the Hub, and writes nothing. The checks run in order; a board's profile declares which it wants. Whether model,
revision, suites and precision exist is always checked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal, get_args

from nightboard.profiles.loading.load import BoardBundle
from nightboard.profiles.model_settings import is_watched, settings_for
from nightboard.profiles.models.base import MODEL_ID_PATTERN, ChatTemplate, Precision
from nightboard.profiles.models.submissions import CheckName
from nightboard.profiles.models.watchlist import ModelSettings
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.discover import Known, Problem, is_worth_a_look, look
from nightboard.tasks.hub.errors import (
    FileGone,
    GatedNoAccess,
    HubUnavailable,
    RepoDisabled,
    RepoGone,
    RevisionGone,
    Unreadable,
)
from nightboard.tasks.hub.inspect_commit import GATED_REASON, Subject, organization_of
from nightboard.tasks.hub.responses import SHA, ModelHead
from nightboard.tasks.planning.history import History, ScoreKey
from nightboard.tasks.planning.plan import (
    PlanInputs,
    RequestedCommit,
    choose_tier,
    find_settings,
    make_evaluation,
    make_plan,
    weigh,
)
from nightboard.tasks.requests.book import SHOWN, UNFINISHED, Entry
from nightboard.tasks.store.records import Commit, Evaluation, Request, RequestTarget, ResolvedSuite
from nightboard.tasks.store.texts import is_clean

WeightType = Literal["Original", "Adapter", "Delta"]
WEIGHT_TYPES: dict[str, WeightType] = {name.lower(): name for name in get_args(WeightType)}

WEEK = timedelta(days=7)
MOST_REVISION_CHARACTERS = 255
# A tokenizer has at least one of these files.
_TOKENIZERS = ("tokenizer", "vocab", "merges", "spiece", "sentencepiece", "tekken", "tiktoken")
_CARD = "README.md"
_HEADER = re.compile(r"\A---\s*\n.*?\n---\s*(\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Form:
    """What somebody submits, as it was written. None: not said; no suites: all of the board."""

    model_id: str
    revision: str | None = None
    precision: str | None = None
    chat_template: str | None = None
    weight_type: WeightType = "Original"
    base_model: str | None = None
    suites: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckInputs:
    """What checks need to know. `book`: all requests of the board; `commits`: all that are stored.

    Both grow while submissions are accepted, so that each is checked against those before it.
    """

    hub: Hub
    bundle: BoardBundle
    suites: Sequence[ResolvedSuite]
    history: History
    commits: MutableMapping[tuple[str, str], Commit]
    book: MutableMapping[str, Entry]
    now: datetime

    def add(self, entry: Entry, commit: Commit | None) -> None:
        """Let the next checks know of a request, and of the commit that it submits."""
        if commit is not None:
            self.commits[commit.model_id, commit.revision] = commit
        ids = self._ids  # of those before it
        self.book[entry.request.request_id] = entry
        for key in _list_keys(entry, self.commits):
            ids[key].setdefault(entry.request.request_id)

    def find_submissions(self, key: str) -> Iterator[Entry]:
        """Those of an organization, in small letters, or of a fingerprint; without a look at all of the book."""
        return (self.book[request_id] for request_id in self._ids.get(key, ()))

    @cached_property
    def _ids(self) -> defaultdict[str, dict[str, None]]:
        ids: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for request_id, entry in self.book.items():
            for key in _list_keys(entry, self.commits):
                ids[key].setdefault(request_id)
        return ids


def _list_keys(entry: Entry, commits: Mapping[tuple[str, str], Commit]) -> Iterator[str]:
    """By what a submission is found: its organization, and the fingerprints of its targets."""
    if entry.request.kind == "submission":
        yield organization_of(entry.request.model_id or "").lower()
        known = (commits.get((target.model_id, target.revision)) for target in entry.targets)
        yield from {commit.fingerprint for commit in known if commit is not None and commit.fingerprint is not None}


@dataclass(frozen=True)
class Found:
    """A form, and what the Hub has of it. `missing`: findings about what it names and what does not exist."""

    form: Form
    missing: tuple[str, ...]
    head: ModelHead | None = None
    commit: Commit | None = None

    @property
    def model_id(self) -> str:
        """The model's own name, where it exists."""
        return self.head.model_id if self.head else self.form.model_id


def find_wrong_name(model_id: str) -> str | None:
    """Why a text cannot be the name of a model; such a name is never asked for."""
    if re.fullmatch(MODEL_ID_PATTERN, model_id) and ".." not in model_id and "--" not in model_id:
        return None
    return f"{model_id!r} is not a name on the Hub. Write organization/model, as on the model's page."


def look_up(form: Form, inputs: CheckInputs) -> Found:
    """Ask the Hub for a form's model and revision. Raises HubUnavailable where that cannot be answered now."""
    missing = [*_find_wrong_words(form, inputs)]
    if wrong := find_wrong_name(form.model_id):
        return Found(form, (wrong, *missing))
    try:
        head = inputs.hub.model_head(form.model_id)
        sha = _resolve(inputs.hub, head, form.revision)
    except RepoGone:
        text = f"{form.model_id} does not exist on the Hub, or is private. Check its name, or make it public."
        return Found(form, (text, *missing))
    except RepoDisabled:
        return Found(form, (f"{form.model_id} is disabled on the Hub. Submit another model.", *missing))
    except Unreadable as error:
        return Found(form, (f"{error} Submit another model.", *missing))
    if sha is None:
        text = f"{head.model_id} has no revision {form.revision!r}. Name a commit, a branch or a tag of it."
        return Found(form, (text, *missing), head)
    return Found(form, tuple(missing), head, _inspect(head, sha, form.revision, inputs))


def _find_wrong_words(form: Form, inputs: CheckInputs) -> Iterator[str]:
    names = [suite.suite.suite for suite in inputs.suites]
    for name in form.suites:
        if name not in names:
            yield f"the board has no suite {name}. Its suites: {', '.join(names)}."
    if form.precision is not None and form.precision not in set(Precision):
        yield f"precision {form.precision} cannot be run. Ask for {', '.join(Precision)}; auto is as it is stored."


def _resolve(hub: Hub, head: ModelHead, revision: str | None) -> str | None:
    """The commit of a revision; None if there is none."""
    if revision is None or revision == head.sha:
        return head.sha if SHA.fullmatch(head.sha) else None
    if not revision or not is_clean(revision, MOST_REVISION_CHARACTERS):
        return None
    try:
        sha = hub.model_head(head.model_id, revision).sha
    except RevisionGone:
        return None
    return sha if SHA.fullmatch(sha) else None


def _inspect(head: ModelHead, sha: str, revision: str | None, inputs: CheckInputs) -> Commit:
    is_code_allowed = bool(settings_for(inputs.bundle.watch, head.model_id).trust_remote_code)
    subject = Subject(head, revision or "main", sha, is_code_allowed)
    known = inputs.commits.get((head.model_id, sha))
    if known is not None and not is_worth_a_look(subject, Known(commits=inputs.commits)):
        return known
    commit = look(inputs.hub, subject, inputs.now)
    if isinstance(commit, Problem):
        raise HubUnavailable(f"{commit}. Try again later.")
    return commit


def find_faults(found: Found, inputs: CheckInputs, request_id: str) -> list[str]:
    """All findings about a submission; none if it is accepted. Raises HubUnavailable as `look_up` does."""
    chosen = inputs.bundle.board.submissions.checks
    checks = (_check_weights, *(check for name, check in _CHECKS.items() if name in chosen))
    findings = (check(found, inputs, request_id) for check in checks)
    return [*found.missing, *(finding for finding in findings if finding)]


# ------------------------------------------------------------------------------------------------ may be submitted


def _check_name(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    if found.model_id == found.form.model_id:
        return None
    return f"{found.form.model_id} is called {found.model_id} on the Hub. Submit it by that name."


def _check_list(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    patterns = inputs.bundle.board.submissions.do_not_submit
    pattern = next((each for each in patterns if fnmatchcase(found.model_id.lower(), each.lower())), None)
    return pattern and f"{found.model_id} is not taken by this board (do_not_submit: {pattern}). Submit another model."


def _check_rate(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    limit, organization = inputs.bundle.board.submissions.per_organization_and_week, organization_of(found.model_id)
    since = inputs.now - WEEK
    asked = sorted(
        entry.request.asked_at
        for entry in inputs.find_submissions(organization.lower())
        if entry.request.request_id != request_id and entry.state != "rejected" and entry.request.asked_at > since
    )
    if limit is None or len(asked) < limit:
        return None
    again = asked[-limit] + WEEK
    return (
        f"{organization} has submitted {len(asked)} models in 7 days, and the board takes {limit}. Submit it again"
        f" after {again:%Y-%m-%d %H:%M} UTC."
    )


# ------------------------------------------------------------------------------------------------------- can be run


def _check_loads(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    commit, form = found.commit, found.form
    if commit is None or form.weight_type == "Adapter":
        return None
    reason = commit.reason or "rejected"
    if commit.state == "rejected" and reason.startswith(GATED_REASON):
        return "the model is gated, and the board's account has no access. Open it, or ask the board's operator."
    if commit.state == "rejected" and "no safetensors" in reason:
        return f"{reason}. Save it with safe_serialization=True, upload that, and submit the new revision."
    if commit.state == "rejected":
        return f"it cannot be loaded: {reason}. Repair the repository, and submit the new revision."
    if commit.needs_remote_code and not settings_for(inputs.bundle.watch, commit.model_id).trust_remote_code:
        return (
            "it loads code from its repository, which the board does not allow. Submit a model of an architecture that"
            " transformers has, or ask the board's operator (trust_remote_code)."
        )
    if not any(path.startswith(_TOKENIZERS) for path in commit.files):
        return "it has no tokenizer. Upload it with the model, and submit the new revision."
    return None


def _check_weights(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    form = found.form
    if form.weight_type == "Original":
        return None
    kind = "adapters are" if form.weight_type == "Adapter" else "delta weights are"
    text = f"{kind} not evaluated yet. Merge it into its base model, upload that, and submit it as original weights."
    if form.base_model is None:
        return f"{text} (No base model is named.)"
    try:
        is_there = find_wrong_name(form.base_model) is None and bool(inputs.hub.model_head(form.base_model))
    except (RepoGone, RepoDisabled, Unreadable):
        is_there = False
    return text if is_there else f"{text} (The base model {form.base_model} does not exist on the Hub, or is private.)"


def _check_size(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    evaluations = _make_evaluations(found, inputs)
    if found.commit is None or not evaluations:
        return None
    precision = next(iter(evaluations.values())).precision
    cluster, weights_gb = inputs.bundle.cluster, weigh(found.commit, precision)
    if weights_gb is None or choose_tier(cluster, weights_gb):
        return None
    largest = max(tier.max_weights_gb for tier in cluster.tiers)
    stored = "as stored" if precision == "auto" else f"in {precision}"
    return (
        f"too large: {stored} its weights take {weights_gb:.3g} GB, and the cluster's largest tier takes"
        f" {largest:g} GB. Submit it in a smaller precision, or a smaller model."
    )


def _check_duplicate(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    """The same files with the same settings: scored, running, or asked for by another open request, in each suite."""
    evaluations = _make_evaluations(found, inputs)
    hidden, taken = _find_hidden(found, inputs), _find_taken(found, inputs, list(evaluations))
    taken = {name: text for name, text in taken.items() if not (text == _SCORED and name in hidden)}
    if found.commit is not None:
        keys = {ScoreKey.of(evaluation): name for name, evaluation in evaluations.items()}
        for key, other in _list_asked(found.commit, inputs, request_id):
            if key in keys:
                taken.setdefault(keys[key], f"asked for already (request {other[:8]})")
    if not evaluations or taken.keys() != evaluations.keys():
        return None
    where = "; ".join(f"{text} in suite {name}" for name, text in taken.items())
    return (
        f"{where}: the same files in the same precision, with the same chat template. Nothing is left to do;"
        " submit it with other settings, or another revision."
    )


_SCORED = "scored already"


def find_scored(found: Found, inputs: CheckInputs) -> dict[str, Evaluation]:
    """The suites in which a submission is scored, so that nothing runs for it, each with its newest evaluation."""
    evaluations = _make_evaluations(found, inputs)
    done, taken = inputs.history.done, _find_taken(found, inputs, list(evaluations))
    return {
        name: done[ScoreKey.of(evaluation)][-1].evaluation
        for name, evaluation in evaluations.items()
        if taken.get(name) == _SCORED
    }


def _find_taken(found: Found, inputs: CheckInputs, suites: Sequence[str]) -> dict[str, str]:
    """The suites that planning would not run again, and why."""
    commit = found.commit
    if commit is None or not suites:
        return {}
    draft = _draft(found, inputs)
    asked = [
        RequestedCommit(
            draft,
            RequestTarget(request_id="", model_id=commit.model_id, revision=commit.revision, suite=name),
            commit,
        )
        for name in suites
    ]
    bundle = inputs.bundle
    plan = make_plan(
        PlanInputs(
            board=bundle.board.board, watch=bundle.watch, suites=inputs.suites, cluster=bundle.cluster, commits=(),
            history=inputs.history, now=inputs.now, requested=asked,
        )
    )  # fmt: skip
    words = {"done": _SCORED, "running": "running already"}
    return {target.suite: words[target.state] for target in plan.targets if target.state in words}


def _find_hidden(found: Found, inputs: CheckInputs) -> set[str]:
    """The suites in which a model, or one of the same files, has a score that the board does not show.

    Another board on the store evaluated it, or a submission that was withdrawn.
    """
    if _is_shown(found.model_id, inputs):
        return set()
    hidden = set()
    for name, evaluation in _make_evaluations(found, inputs).items():
        models = {done.evaluation.model_id for done in inputs.history.done.get(ScoreKey.of(evaluation), ())}
        if found.model_id in models or not any(_is_shown(model, inputs) for model in models):
            hidden.add(name)
    return hidden


def _is_shown(model_id: str, inputs: CheckInputs) -> bool:
    """Whether the board shows a model, since it is watched, or submitted."""
    return is_watched(inputs.bundle.watch, model_id) or any(
        entry.request.model_id == model_id and entry.state in SHOWN
        for entry in inputs.find_submissions(organization_of(model_id).lower())
    )


def _list_asked(commit: Commit, inputs: CheckInputs, request_id: str) -> Iterator[tuple[ScoreKey, str]]:
    """What other open submissions ask for of the same files, and their ids."""
    suites = {suite.suite.suite: suite for suite in inputs.suites}
    for entry in inputs.find_submissions(commit.fingerprint or ""):
        request = entry.request
        if entry.state not in UNFINISHED or request.request_id == request_id:
            continue
        for target in entry.targets:
            other, suite = inputs.commits.get((target.model_id, target.revision)), suites.get(target.suite)
            if other is not None and suite is not None and other.fingerprint == commit.fingerprint:
                settings = find_settings(request, target, settings_for(inputs.bundle.watch, other.model_id))
                yield _key_of(other, suite, settings, inputs), request.request_id


def _key_of(commit: Commit, suite: ResolvedSuite, settings: ModelSettings, inputs: CheckInputs) -> ScoreKey:
    return ScoreKey.of(_make_evaluation(commit, suite, settings, inputs))


def _make_evaluations(found: Found, inputs: CheckInputs) -> dict[str, Evaluation]:
    """What the submission would become, by suite; nothing where it cannot be run."""
    commit, form = found.commit, found.form
    if commit is None or commit.state != "ok" or found.missing:
        return {}
    settings = find_settings(_draft(found, inputs), None, settings_for(inputs.bundle.watch, commit.model_id))
    return {
        suite.suite.suite: _make_evaluation(commit, suite, settings, inputs)
        for suite in inputs.suites
        if not form.suites or suite.suite.suite in form.suites
    }


def _make_evaluation(commit: Commit, suite: ResolvedSuite, settings: ModelSettings, inputs: CheckInputs) -> Evaluation:
    tiers = inputs.bundle.cluster.tiers
    first = make_evaluation(commit, suite, settings, tiers[-1])
    tier = choose_tier(inputs.bundle.cluster, weigh(commit, first.precision))
    return make_evaluation(commit, suite, settings, tier) if tier else first


def _draft(found: Found, inputs: CheckInputs) -> Request:
    """The request as far as planning needs it."""
    form = found.form
    return Request(
        request_id="", board=inputs.bundle.board.board, kind="submission", asked_by="", asked_at=inputs.now,
        model_id=found.model_id, precision=form.precision, chat_template=form.chat_template,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- is described


def _check_license(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    if found.commit is None or found.commit.license:
        return None
    return "no license is stated. Add `license:` to the header of the model card, and submit the new revision."


def _check_card(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    least, commit = inputs.bundle.board.submissions.min_card_characters, found.commit
    if commit is None:
        return None
    try:
        card = inputs.hub.read_small_file(commit.model_id, commit.revision, _CARD).decode(errors="replace")
    except FileGone:
        return f"there is no model card ({_CARD}). Write one, and submit the new revision."
    except (GatedNoAccess, RepoDisabled, RepoGone):  # another check says so
        return None
    except Unreadable as error:
        return f"{error} Shorten it, and submit the new revision."
    length = len(_HEADER.sub("", card.replace("\r\n", "\n")).strip())
    if length >= least:
        return None
    return (
        f"the model card has {length} characters without its header, and the board asks for {least}. Say what the"
        " model is and how it was made, and submit the new revision."
    )


def _check_template(found: Found, inputs: CheckInputs, request_id: str) -> str | None:
    commit = found.commit
    if commit is None or commit.state != "ok" or found.form.chat_template != ChatTemplate.always:
        return None
    return (
        None
        if commit.has_chat_template
        else "a chat template is asked for, and the tokenizer has none. Add one, or submit it with never or auto."
    )


Check = Callable[[Found, CheckInputs, str], str | None]
_CHECKS: dict[CheckName, Check] = {
    "name": _check_name,
    "do_not_submit": _check_list,
    "rate": _check_rate,
    "loads": _check_loads,
    "size": _check_size,
    "duplicate": _check_duplicate,
    "license": _check_license,
    "card": _check_card,
    "template": _check_template,
}
