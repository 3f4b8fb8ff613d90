"""Why a model is where it is in each suite: scored, running, waiting, failed, or left out and by which rule.

Judges nothing anew: the plan for the commits that the store knows says it, and the open attempts, and the tables. Asks
no Hub, and changes nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from nightboard.profiles.errors import nearest
from nightboard.profiles.loading.load import BoardBundle
from nightboard.profiles.model_settings import find_explicit, is_watched
from nightboard.profiles.models.base import MODEL_ID_PATTERN
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import WatchList
from nightboard.profiles.suite_version import open_datasets, resolve_suite
from nightboard.tasks.cluster.backends import open_executor
from nightboard.tasks.errors import TaskError
from nightboard.tasks.planning.history import SpendingOf, read_commits, read_evaluations, read_history
from nightboard.tasks.planning.plan import PlanInputs, RequestedCommit, make_plan
from nightboard.tasks.planning.result import Plan, Skip
from nightboard.tasks.requests.book import OPEN, Entry, find_requested, read_book
from nightboard.tasks.runs.open_runs import list_open
from nightboard.tasks.runs.status import Status, describe_open
from nightboard.tasks.runs.unwatched import advise, explain_suites, explain_unwatched
from nightboard.tasks.store.layout import COMPLETE_FILE, Store
from nightboard.tasks.store.records import Commit, DatasetPin, Evaluation, ResolvedSuite
from nightboard.tasks.store.tables import read_table
from nightboard.warehouse.builder.publish import NoBuildError
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import list_models, match_name, rank_model
from nightboard.warehouse.schema.lake_tables import ATTEMPTS, MODELS

T = TypeVar("T")

State = Literal["scored", "runs", "waits", "failed", "left out"]

# What a plan's skips are for a reader; any other kind waits.
_STATES: Mapping[str, State] = {"rejected": "left out", "unavailable": "left out", "gave_up": "failed"}
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED")
# Requests that a plan does not take into account, and that are not simply over.
_NOT_PLANNED = ("pending", "rejected")
# Why benchmarks of an evaluation were left out that has nothing to do with their data.
_NOT_OF_DATA = ("context too short", "not asked for")
_IN_LAKE = ["evaluation_id", "state", "reason", "log", "log_tail", "ended_at"]


class WhyError(TaskError):
    """Nothing is known of a name; the message has those that are near."""


@dataclass(frozen=True)
class Why:
    """Where a model is in a suite, and why. `benchmarks`: some of the suite's; none: all of them, or all others.

    `at`: when it was scored, or when its last attempt failed. `do`: the command or the edit that changes it.
    """

    suite: str
    state: State
    reason: str
    model_id: str
    revision: str | None = None
    benchmarks: tuple[str, ...] = ()
    evaluation_id: str | None = None
    rank: int | None = None
    average: float | None = None
    at: datetime | None = None
    job_id: str | None = None
    benchmark: str | None = None
    left_s: float | None = None
    ending: str | None = None
    log: str | None = None
    log_tail: tuple[str, ...] = ()
    do: str | None = None


@dataclass(frozen=True)
class Known:
    """What the store knows: all commits and evaluations; and about one model its ranked rows, open and failed attempts.

    `names`: all models. `failed`: by evaluation, the last attempt that did not complete. `problems`: what could not be
    read.
    """

    store: Store
    commits: Sequence[Commit]
    evaluations: Sequence[Evaluation]
    names: frozenset[str]
    open: Sequence[Status] = ()
    problems: Sequence[str] = ()
    ranked: Sequence[dict[str, Any]] = ()
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> Known:
        """Commits, evaluations and names of all models."""
        commits, evaluations = [*read_commits(store).values()], [*read_evaluations(store).values()]
        names = {row.model_id for row in commits} | {row.model_id for row in evaluations}
        return cls(store, commits, evaluations, frozenset(names | {*ask_warehouse(store, list_models)}))

    def about(self, model_id: str, executor: str | None, now: datetime) -> Known:
        """The same, with what is known about one model and those with the same files."""
        files = {row.fingerprint for row in self.commits if row.model_id == model_id}
        files |= {row.fingerprint for row in self.evaluations if row.model_id == model_id}
        ids = sorted(row.evaluation_id for row in self.evaluations if row.fingerprint in files)
        rows = read_table(self.store, ATTEMPTS, _IN_LAKE)
        rows = rows.filter(pc.is_in(rows["evaluation_id"], pa.array(ids, pa.string()))).sort_by("ended_at")
        under_way = list_open(self.store, open_executor(executor) if executor else None, now)
        of_model = [attempt for attempt in under_way.open if attempt.planned.evaluation_id in ids]
        described, problems = describe_open(of_model, now)
        away = ["The cluster does not answer; this is what the store knows."] if under_way.is_cluster_away else []
        return replace(
            self,
            open=described,
            problems=[*under_way.problems, *problems, *away],
            ranked=ask_warehouse(self.store, partial(rank_model, model_id=model_id)),
            failed={row["evaluation_id"]: row for row in rows.to_pylist() if row["state"] != "completed"},
        )


def ask_warehouse(store: Store, question: Callable[[Any], list[T]]) -> list[T]:
    """The answer of the current build; nothing where there is none yet."""
    try:
        with connect(store.warehouse) as con:
            return question(con)
    except NoBuildError:
        return []


def find_name(name: str, known: Known, bundle: BoardBundle | None) -> str:
    """The model that is meant: of the store or the watch list, also by an ending or the id of an evaluation or request.

    Raises WhyError for a name that nothing has, QueryError for one that several have.
    """
    names = known.names | ({model.id for model in bundle.watch.models} if bundle else set())
    ids = {row.evaluation_id: row.model_id for row in known.evaluations}
    requests = (entry.request for entry in read_book(known.store).values())
    ids |= {request.request_id: request.model_id for request in requests if request.model_id}
    if found := match_name(name, ids, sorted(names)):
        return ids.get(found, found)
    if bundle and re.fullmatch(MODEL_ID_PATTERN, name) and "/" in name:
        return name
    near = nearest(name, names) or nearest(name, {each.partition("/")[2] for each in names})
    hint = f" Similar: {', '.join(near)}." if near else ""
    where = "of the store or the watch list" if bundle else "of the store"
    raise WhyError(f"{name}: no model {where} has this name or ending.{hint} Write a whole id, such as lab/model.")


def explain_on_board(known: Known, bundle: BoardBundle, board: str, model_id: str, now: datetime) -> list[Why]:
    """Every suite of a board, in its order. `board`: how the user names it, for the commands."""
    of_suites = {suite: list[Why]() for suite in bundle.suites}
    for row in known.ranked:
        if row["suite"] in of_suites:
            of_suites[row["suite"]].append(_tell_score(row, model_id))
    for why in _judge(known, bundle, board, model_id, now):
        of_suites[why.suite].append(why)
    return [why for whys in of_suites.values() for why in whys]


def explain_in_store(known: Known, model_id: str) -> list[Why]:
    """What a store alone knows: ranked rows, what is open, and how the newest evaluation of each suite failed."""
    whys = [_tell_score(row, model_id) for row in known.ranked]
    done = {row["evaluation_id"] for row in known.ranked}
    newest = {row.suite: row for row in known.evaluations if row.model_id == model_id}
    for suite, evaluation in newest.items():
        ids = {evaluation.evaluation_id}
        if not ids & done:
            whys += _tell_open(known, ids) or _tell_failure(known, suite, evaluation, ids)
    return whys


def _judge(known: Known, bundle: BoardBundle, board: str, model_id: str, now: datetime) -> Iterator[Why]:
    """What the watch list, requests and the plan say of a model, suite by suite."""
    is_limited = bundle.board.budget.is_limited
    names = known.names | {model.id for model in bundle.watch.models}
    unwatched = explain_unwatched(bundle, model_id, names)
    heads = [commit for commit in find_heads(bundle.watch, known.commits) if commit.model_id == model_id]
    entries = [entry for entry in read_book(known.store, bundle.board.board).values() if _is_about(entry, model_id)]
    by_key = {(commit.model_id, commit.revision): commit for commit in known.commits if commit.model_id == model_id}
    requested = find_requested([entry for entry in entries if entry.state in OPEN], by_key)
    # What waits for the budget depends on all that could run.
    plan = plan_all(known, bundle, now) if is_limited else plan_known(known, bundle, heads, now, requested)
    asked = {(each.commit.revision, each.target.suite): each.commit for each in requested}
    served = {target.suite for entry in entries if entry.state == "done" for target in entry.targets}
    for suite in bundle.suites:
        for entry in entries:
            if entry.state in _NOT_PLANNED and _is_of_suite(entry, suite, bundle):
                yield _tell_request(entry, suite, model_id, board)
        of_request = [commit for (_, of_suite), commit in asked.items() if of_suite == suite]
        left_out = unwatched or explain_suites(bundle, model_id, suite)
        followed = [] if left_out else heads
        if left_out and not of_request and suite not in served:
            yield Why(suite, "left out", left_out[0], model_id, do=left_out[1])
        elif not left_out and not followed and not of_request:
            yield Why(suite, "waits", _tell_unseen(known.store, model_id), model_id, do=_command("plan", board))
        for commit in {commit.revision: commit for commit in (*followed, *of_request)}.values():
            yield from dict.fromkeys(_tell_commit(known, bundle, board, plan, commit, suite))


def _is_about(entry: Entry, model_id: str) -> bool:
    request = entry.request
    return request.model_id == model_id or any(target.model_id == model_id for target in entry.targets)


def _is_of_suite(entry: Entry, suite: str, bundle: BoardBundle) -> bool:
    """Whether a request is for a suite; one for no suite of the board is told in all of them."""
    asked = [name for name in entry.request.suites if name in bundle.suites]
    return not asked or suite in asked


def _tell_request(entry: Entry, suite: str, model_id: str, board: str) -> Why:
    """A request that no plan takes into account."""
    request, reason = entry.request, entry.event.reason
    text = f"{request.kind} {request.request_id[:8]} by {request.asked_by} is {entry.state}"
    state: State = "left out" if entry.state == "rejected" else "waits"
    do = None if entry.state == "rejected" else _command("nightly", board)
    return Why(suite, state, f"{text}: {reason}" if reason else text, model_id, request.revision, do=do)


def find_heads(watch: WatchList, commits: Iterable[Commit]) -> list[Commit]:
    """The newest known commit of every branch, tag or commit that a watch list follows."""
    newest: dict[tuple[str, str], Commit] = {}
    beginning = datetime.min.replace(tzinfo=UTC)
    # A backfill reads past commits of a branch later than its head.
    for commit in sorted(commits, key=lambda commit: (commit.committed_at or beginning, commit.discovered_at)):
        newest[commit.model_id, commit.ref] = commit
    return [commit for commit in newest.values() if is_watched(watch, commit.model_id) and _is_followed(watch, commit)]


def _is_followed(watch: WatchList, commit: Commit) -> bool:
    model = find_explicit(watch, commit.model_id)
    if model is None or not (model.revisions or model.branches):
        return commit.ref == "main"
    return commit.ref in model.revisions or any(fnmatchcase(commit.ref, pattern) for pattern in model.branches)


def plan_all(known: Known, bundle: BoardBundle, now: datetime) -> Plan:
    """The plan for all watched commits that are known, and all open requests."""
    by_key = {(commit.model_id, commit.revision): commit for commit in known.commits}
    entries = [entry for entry in read_book(known.store, bundle.board.board).values() if entry.state in OPEN]
    heads = find_heads(bundle.watch, known.commits)
    return plan_known(known, bundle, heads, now, find_requested(entries, by_key))


def plan_known(
    known: Known,
    bundle: BoardBundle,
    heads: Sequence[Commit],
    now: datetime,
    requested: Sequence[RequestedCommit] = (),
) -> Plan:
    """The plan for these commits and requests, and for watched commits with the same files."""
    fingerprints = {commit.fingerprint for commit in heads} | {each.commit.fingerprint for each in requested}
    same = [commit for commit in find_heads(bundle.watch, known.commits) if commit.fingerprint in fingerprints]
    suites = [resolve_known(known, suite) for suite in bundle.suites.values()]
    board = bundle.board
    return make_plan(
        PlanInputs(
            board=board.board,
            watch=bundle.watch,
            suites=suites,
            cluster=bundle.cluster,
            commits=same,
            history=read_history(known.store, suites, SpendingOf.week(board, now)),
            now=now,
            requested=requested,
            budget=board.budget,
            timezone=board.schedule.timezone,
        )
    )


def resolve_known(known: Known, suite: Suite) -> ResolvedSuite:
    """A suite as the last run knew it: the store's pins, and benchmarks whose data could not be had then."""
    paths = {name: known.store.pin_file(name) for name in open_datasets(suite)}
    pins = {name: DatasetPin.read(path).sha for name, path in paths.items() if path.exists()}
    told: dict[str, str] = {}
    for evaluation in known.evaluations:
        told |= evaluation.left_out if evaluation.suite == suite.suite else {}
    unavailable = {}
    for name, benchmark in suite.benchmarks.items():
        sha = benchmark.dataset.sha or pins.get(benchmark.dataset.id)
        is_there = sha and (known.store.dataset_dir(benchmark.dataset.id, sha) / COMPLETE_FILE).exists()
        if sha is None:
            unavailable[name] = told.get(name, "its dataset has no commit yet: the next run asks the Hub")
        elif not is_there and name in told and not told[name].startswith(_NOT_OF_DATA):
            unavailable[name] = told[name]
    pinned, version = resolve_suite(suite, pins, unavailable)
    return ResolvedSuite(suite=pinned, version=version, unavailable=unavailable)


# ---------------------------------------------------------------------------------------------------- what is told


def _tell_commit(
    known: Known, bundle: BoardBundle, board: str, plan: Plan, commit: Commit, suite: str
) -> Iterator[Why]:
    """What a plan says of one commit in one suite, and what the store knows of it."""
    is_of = (commit.model_id, commit.revision, suite)
    ids = {
        row.evaluation_id for row in known.evaluations if row.suite == suite and row.fingerprint == commit.fingerprint
    }
    skips = [skip for skip in plan.skipped if (skip.model_id, skip.revision, skip.suite) == is_of]
    for skip in skips:
        yield from _tell_skip(known, bundle, board, skip, commit, ids)
    for evaluation in plan.evaluations:
        if (evaluation.model_id, evaluation.revision, evaluation.suite) == is_of:
            told = Why(suite, "waits", "the next run evaluates it", commit.model_id, commit.revision)
            failures = _tell_failure(known, suite, evaluation, ids)
            for why in failures or [told]:
                reason = f"the next run tries it again; {why.reason}" if failures else why.reason
                yield replace(why, state="waits", reason=reason, do=_command("nightly", board))


def _tell_skip(
    known: Known, bundle: BoardBundle, board: str, skip: Skip, commit: Commit, ids: set[str]
) -> Iterator[Why]:
    why = Why(skip.suite, _STATES.get(skip.kind, "waits"), skip.reason, skip.model_id, skip.revision, skip.benchmarks)
    if skip.kind == "done":
        if not any((row["suite"], row["revision"]) == (skip.suite, skip.revision) for row in known.ranked):
            reason = f"{skip.reason}, and not ranked: a benchmark is missing, or the warehouse is older than the score"
            yield replace(why, state="scored", reason=reason, do=_command("rebuild", board))
    elif skip.kind == "in_flight":
        ended = replace(why, reason="its job has ended, and the result is not collected", do=_command("collect", board))
        yield from _tell_open(known, ids) or [ended]
    elif skip.kind == "gave_up":
        failed = next(iter(_tell_failure(known, skip.suite, commit, ids)), why)
        yield replace(failed, state="failed", reason=skip.reason, do=_command("retry", board, skip.model_id))
    elif skip.kind == "rejected":
        yield replace(why, do=advise(bundle, commit, skip.reason))
    else:
        yield why


def _tell_score(row: Mapping[str, Any], model_id: str) -> Why:
    source = "" if row["source"] == "run" else f", from {row['source']}"
    # A model may be ranked in several settings.
    template = ", with its chat template" if row["chat_template"] else ""
    settings = f", in {row['precision']}{template}" if row["precision"] else ""
    same = f", by the evaluation of {row['identical_to']}, whose files are identical" if row["identical_to"] else ""
    return Why(
        suite=row["suite"],
        state="scored",
        reason=f"rank {row['rank']:,} of {row['n_ranked']:,} in era {row['era']}{settings}{source}{same}",
        model_id=model_id,
        revision=row["revision"],
        evaluation_id=row["evaluation_id"],
        rank=row["rank"],
        average=row["average"],
        at=row["finished_at"],
    )


def _tell_open(known: Known, ids: set[str]) -> list[Why]:
    """The open shards of some evaluations."""
    return [
        Why(
            suite=row.suite,
            state="runs" if row.state in _RUNNING else "waits",
            reason=_word_job(row),
            model_id=row.model_id,
            revision=row.revision,
            evaluation_id=row.evaluation_id,
            job_id=row.job_id,
            benchmark=row.benchmark,
            left_s=row.left_s,
            do=row.advice,
        )
        for row in known.open
        if row.evaluation_id in ids
    ]


def _word_job(row: Status) -> str:
    shard = "" if row.shard == "all" else f", shard {row.shard}"
    if row.state in _RUNNING:
        place = f"{row.benchmark} ({row.finished + 1} of {row.total})" if row.benchmark else "the model is being loaded"
        return f"job {row.job_id}{shard}: {place}"
    return f"job {row.job_id or 'not submitted yet'}{shard}: {row.waits_for or row.state}"


def _tell_failure(known: Known, suite: str, of: Commit | Evaluation, ids: set[str]) -> list[Why]:
    """How the last attempt at some evaluations failed; nothing where none did."""
    rows = [known.failed[evaluation_id] for evaluation_id in ids if evaluation_id in known.failed]
    if not rows:
        return []
    last = max(rows, key=lambda row: row["ended_at"])
    return [
        Why(
            suite=suite,
            state="failed",
            reason=f"the last attempt ended as {last['state']}: {last['reason']}",
            model_id=of.model_id,
            revision=of.revision,
            evaluation_id=last["evaluation_id"],
            at=last["ended_at"],
            ending=last["state"],
            log=str(known.store.root / last["log"]) if last["log"] else None,
            log_tail=tuple(last["log_tail"] or ()),
        )
    ]


def _tell_unseen(store: Store, model_id: str) -> str:
    """Why a watched model has no commit that is followed."""
    rows = [row for row in read_table(store, MODELS).to_pylist() if row["model_id"] == model_id]
    if rows:
        last = max(rows, key=lambda row: row["observed_at"])
        return f"no commit of it that the watch list follows is known; the Hub has it as {last['state']}"
    return "no run has seen it on the Hub yet; `plan` asks the Hub, and names what is wrong with it there"


def _command(name: str, board: str, *arguments: str) -> str:
    return shlex.join(["nightboard", name, "--board", board, *arguments])
