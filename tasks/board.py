"""An opened board (profiles, store, Hub, cluster), with one method for each step of the nightly flow.

Each step may be repeated at any time. The order of steps is the flow's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from nightboard.profiles.loading.load import BoardBundle, find_selectors, load_board
from nightboard.profiles.loading.store_path import find_root
from nightboard.profiles.model_settings import is_watched, narrow
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.suite_version import keep_benchmarks, resolve_suite
from nightboard.tasks.cluster.backends import open_executor
from nightboard.tasks.cluster.executor import Executor
from nightboard.tasks.errors import TaskError
from nightboard.tasks.fetch.datasets import check_access, fetch_dataset, fetch_nltk, pin_datasets
from nightboard.tasks.fetch.model_cache import ModelCache
from nightboard.tasks.fetch.models import fetch_model
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.client import Hub, open_hub
from nightboard.tasks.hub.discover import Discovery, Known, discover, discover_past
from nightboard.tasks.hub.http_retry import Say
from nightboard.tasks.planning.avoid import Avoided, EndedAttempt, find_avoided
from nightboard.tasks.planning.history import SpendingOf, read_commits, read_evaluations, read_history
from nightboard.tasks.planning.plan import PlanInputs, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.requests.backfill import (
    Backfill,
    BackfillOrder,
    NothingSelectedError,
    find_past,
    make_backfill,
    require_benchmarks,
)
from nightboard.tasks.requests.book import OPEN, SERVED, Entry, add_events, add_requests, find_requested, read_book
from nightboard.tasks.requests.checks import CheckInputs, Form
from nightboard.tasks.requests.intake import Intake, read_request_files
from nightboard.tasks.requests.progress import find_changes
from nightboard.tasks.requests.select import explain_nothing, select
from nightboard.tasks.requests.selection import Selection
from nightboard.tasks.requests.selectors import read_selection, read_selectors
from nightboard.tasks.requests.submission import Answer, Asker, answer, record
from nightboard.tasks.requests.units import Unit, read_units
from nightboard.tasks.runs.cancel import Cancelled, cancel
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.runs.open_runs import OpenAttempt, OpenRuns, list_open
from nightboard.tasks.runs.reconcile import Reconciled, reconcile
from nightboard.tasks.runs.retry_stopped import Stopped, find_stopped, free
from nightboard.tasks.store.declarations import declare
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit, Evaluation, RequestEvent, ResolvedSuite, as_row
from nightboard.tasks.store.tables import append_rows, next_time, read_table
from nightboard.tasks.store.trust import limit_umask
from nightboard.warehouse.schema.lake_tables import ATTEMPTS, COMMITS, MODELS


class NotWatchedError(TaskError):
    """A model is not on the board's watch list; the message says what to do."""


@dataclass(frozen=True)
class OpenBoard:
    """A board with its profiles, store, Hub and cluster."""

    bundle: BoardBundle
    store: Store
    hub: Hub
    executor: Executor

    @classmethod
    def open(cls, board: str, store: str | None = None, say: Say | None = None) -> Self:
        """Read a board's profiles. Raises ProfileError with all mistakes in them.

        `say` is called with a sentence when a long wait for the Hub starts.
        """
        bundle = load_board(board)
        root = find_root(store, Path.cwd()) if store else bundle.store
        limit_umask(root)
        executor = open_executor(bundle.cluster.executor, bundle.cluster.gpus)
        return cls(bundle, Store(root), open_hub(bundle.board.hub, say), executor)

    def narrow(self, model_ids: Sequence[str]) -> Self:
        """The same board for some of its watched models alone. Raises NotWatchedError."""
        watch = self.bundle.watch
        for model_id in model_ids:
            if not is_watched(watch, model_id):
                raise NotWatchedError(
                    f"{model_id}: is not watched by board {self.bundle.board.board}. "
                    f"Check the name, or add it to the watch list {watch.watchlist}."
                )
        return replace(self, bundle=replace(self.bundle, watch=narrow(watch, dict.fromkeys(model_ids))))

    def reconcile(self, now: datetime) -> Reconciled:
        """Collect all ended attempts, whichever flow launched them."""
        return reconcile(self.store, self.executor, now)

    def list_open(self, now: datetime, *, asks_cluster: bool = True) -> OpenRuns:
        """All open attempts, whichever flow launched them. Writes nothing."""
        return list_open(self.store, self.executor if asks_cluster else None, now)

    def find_avoided(self, since: datetime) -> Avoided:
        """Nodes and tiers that a run which started at `since` avoids."""
        columns = ["evaluation_id", "tier", "node", "state", "reason", "ended_at"]
        rows = read_table(self.store, ATTEMPTS, columns).to_pylist()
        return find_avoided(EndedAttempt(**row) for row in rows if row["ended_at"] and row["ended_at"] >= since)

    def cache(self) -> ModelCache:
        """The cache of models in the store."""
        cluster = self.bundle.cluster
        return ModelCache(self.store, cluster.cache_gb, cluster.keep_models)

    def cancel(self, shards: Sequence[OpenAttempt], chosen: Sequence[OpenAttempt], by: str, now: datetime) -> Cancelled:
        """Stop the `chosen` ones of the open `shards`."""
        return cancel(self.store, self.executor, shards, chosen, by, now)

    def find_stopped(self) -> tuple[list[Stopped], list[Evaluation]]:
        """Stopped or cancelled evaluations of the board's suites, and all evaluations of these suites."""
        known = [row for row in read_evaluations(self.store).values() if row.suite in self.bundle.suites]
        commits = self.read_commits().values()
        return find_stopped(read_history(self.store), known, commits, self.bundle.cluster), known

    def free(self, stopped: Iterable[Stopped], by: str, now: datetime) -> None:
        """Allow stopped or cancelled evaluations to be tried again."""
        free(self.store, stopped, by, now)

    def discover(self, now: datetime) -> Discovery:
        """Ask the Hub for heads and new commits. Writes nothing."""
        known = Known(commits=read_commits(self.store), models=_last_states(self.store))
        for table, column in ((COMMITS, "discovered_at"), (MODELS, "observed_at")):
            now = next_time(self.store, table, column, now)
        return discover(self.hub, self.bundle.watch, known, now)

    def find_past_commits(self, model_ids: Iterable[str], newest: int | None, now: datetime) -> list[str]:
        """Read and store the `newest` commits (None: all) of models, those that are not known; returns problems."""
        known = Known(commits=read_commits(self.store))
        now = next_time(self.store, COMMITS, "discovered_at", now)
        commits, problems = discover_past(self.hub, self.bundle.watch, model_ids, known, now, newest)
        append_rows(self.store, COMMITS, [as_row(commit) for commit in commits])
        return [str(problem) for problem in problems]

    def record_discovery(self, discovery: Discovery) -> None:
        """Store new commits and changed states of models."""
        append_rows(self.store, COMMITS, [as_row(commit) for commit in discovery.commits])
        append_rows(self.store, MODELS, [as_row(state) for state in discovery.model_states])

    def resolve_suites(self, *, dry_run: bool = False) -> tuple[list[ResolvedSuite], list[str]]:
        """The board's suites with their datasets pinned, and the benchmarks that cannot run, with reasons.

        A dry run writes nothing.
        """
        resolved, problems = [], []
        for suite in self.bundle.suites.values():
            pins, unavailable = self._pin(suite, dry_run=dry_run)
            pinned, version = resolve_suite(suite, pins, unavailable)
            resolved.append(ResolvedSuite(suite=pinned, version=version, unavailable=unavailable))
            problems += tell_unavailable(suite.suite, unavailable)
        return resolved, problems

    def _pin(self, suite: Suite, *, dry_run: bool) -> tuple[dict[str, str], dict[str, str]]:
        """Commits of the datasets that a suite does not pin, and benchmarks whose data is unavailable, with reasons."""
        pins: dict[str, str] = {}
        unavailable: dict[str, str] = {}
        for name, benchmark in suite.benchmarks.items():
            try:
                pins |= pin_datasets(self.hub, self.store, [keep_benchmarks(suite, [name])], dry_run=dry_run)
                check_access(self.hub, self.store, benchmark, pins)
            except FetchError as error:
                unavailable[name] = str(error)
        return pins, unavailable

    def plan(
        self,
        discovery: Discovery,
        suites: Sequence[ResolvedSuite],
        now: datetime,
        run_started_at: datetime | None = None,
        requests: Sequence[Entry] | None = None,
        freed: Iterable[Stopped] = (),
    ) -> Plan:
        """Plan what runs, from the watched heads, the open requests and the store. Writes nothing.

        In a run that started at `run_started_at`, evaluations that have to wait for the next run are skipped.
        `requests`: these and no others. `freed`: planned as if it was allowed to be tried again.
        """
        history = read_history(self.store, suites, SpendingOf.week(self.bundle.board, now))
        forgotten = {(stop.evaluation.evaluation_id, stop.shard) for stop in freed}
        tries = {key: tries for key, tries in history.tries.items() if key not in forgotten}
        commits = read_commits(self.store) | {(c.model_id, c.revision): c for c in discovery.commits}
        entries = self.read_requests() if requests is None else requests
        board = self.bundle.board
        return make_plan(
            PlanInputs(
                board=board.board,
                watch=self.bundle.watch,
                suites=suites,
                cluster=self.bundle.cluster,
                commits=_watched(discovery, commits),
                history=replace(history, tries=tries),
                now=now,
                run_started_at=run_started_at,
                requested=find_requested(entries, commits),
                budget=board.budget,
                timezone=board.schedule.timezone,
                is_partial=requests is not None,
            )
        )

    def make_backfill(
        self, order: BackfillOrder, suites: Sequence[ResolvedSuite], by: str, now: datetime
    ) -> tuple[Backfill, list[str]]:
        """The request that an order makes, and problems. Stores only past commits that are not known yet.

        Raises SelectionError for an expression that is wrong, NothingSelectedError for one that selects nothing.
        """
        selection, exclusion = self.parse_order(order)
        require_benchmarks(order, suites)
        book = read_book(self.store, self.bundle.board.board)
        units, problems = self._read_units(suites, book), list[str]()
        models, newest = find_past(selection, units)
        if models:
            problems = self.find_past_commits(models, newest, now)
            units = self._read_units(suites, book)
        selected = select(selection, exclusion, units)
        if not selected:
            raise NothingSelectedError(f"nothing is selected. {explain_nothing(selection, units, exclusion)}")
        known, board = read_evaluations(self.store).values(), self.bundle.board.board
        return make_backfill(order, selected, suites, known, book, board, by, now), problems

    def parse_order(self, order: BackfillOrder) -> tuple[Selection, Selection | None]:
        """What an order selects and excludes. Raises SelectionError with the place of a mistake."""
        selectors = read_selectors(find_selectors(self.bundle.path))
        selection = read_selection(order.selection, selectors, "--select")
        return selection, read_selection(order.exclusion, selectors, "--exclude") if order.exclusion else None

    def _read_units(self, suites: Sequence[ResolvedSuite], book: Mapping[str, Entry]) -> list[Unit]:
        served = [entry for entry in book.values() if entry.state in SERVED]
        targets = [(entry.request, target) for entry in served for target in entry.targets]
        return read_units(self.store, suites, self.bundle.cluster, self.bundle.watch, targets)

    def plan_backfill(self, found: Backfill, suites: Sequence[ResolvedSuite], now: datetime) -> Plan:
        """What a backfill evaluates once it is accepted. Writes nothing."""
        freed = [] if found.is_known else self._find_stopped_of(found)
        return self.plan(Discovery(), suites, now, requests=[found.entry], freed=freed)

    def _find_stopped_of(self, found: Backfill) -> list[Stopped]:
        """What stopped of the evaluations that a new backfill asks for, also where a model of the same files did."""
        commits = self.read_commits()
        asked = {
            (
                commits[each.model_id, each.revision].fingerprint,
                each.suite,
                each.precision,
                each.chat_template == "always",
            )
            for each in found.entry.targets
        }
        evaluations = ((stop, stop.evaluation) for stop in self.find_stopped()[0])
        return [
            stop
            for stop, each in evaluations
            if (each.fingerprint, each.suite, each.precision, each.chat_template) in asked
        ]

    def accept_backfill(self, found: Backfill) -> None:
        """Store a request, unless it is there; what failed for good may be tried again."""
        if found.is_known:
            return
        entry = found.entry
        if chosen := self._find_stopped_of(found):
            self.free(chosen, entry.request.asked_by, entry.request.asked_at)
        add_requests(self.store, [entry.request], entry.targets)
        add_events(self.store, [entry.event])

    def check_inputs(self, suites: Sequence[ResolvedSuite], now: datetime) -> CheckInputs:
        """What checks of submissions need to know."""
        return CheckInputs(
            hub=self.hub,
            bundle=self.bundle,
            suites=suites,
            history=read_history(self.store, suites),
            commits=read_commits(self.store),
            book=read_book(self.store, self.bundle.board.board),
            now=now,
        )

    def submit(self, form: Form, asker: Asker, inputs: CheckInputs) -> Answer:
        """Check a submission, and store it with the answer. Raises HubUnavailable if it cannot be checked now."""
        given = answer(form, asker, inputs)
        record(self.store, [given])
        return given

    def read_request_files(
        self, suites: Sequence[ResolvedSuite], now: datetime, folders: Iterable[str], datasets: Sequence[str]
    ) -> Intake:
        """Make requests of what is new in these folders, relative to the board's file, and datasets."""
        start = self.bundle.path.parent if self.bundle.path else Path.cwd()
        paths = [(start / Path(folder).expanduser()).resolve() for folder in folders]
        return read_request_files(self.store, self.check_inputs(suites, now), paths, datasets)

    def read_new_requests(self, suites: Sequence[ResolvedSuite], now: datetime) -> Intake | None:
        """The same with the sources that the board declares; None where there are none."""
        declared = self.bundle.board.submissions
        is_pending = any(entry.state == "pending" for entry in read_book(self.store, self.bundle.board.board).values())
        if not declared.folders and not declared.datasets and not is_pending:
            return None
        return self.read_request_files(suites, now, declared.folders, declared.datasets)

    def read_requests(self) -> list[Entry]:
        """The board's open requests, the most urgent first."""
        return [entry for entry in read_book(self.store, self.bundle.board.board).values() if entry.state in OPEN]

    def record_requests(self, plan: Plan, by: str, now: datetime) -> list[RequestEvent]:
        """Store how far the plan says that requests are; returns what has changed."""
        changes = find_changes(read_book(self.store, self.bundle.board.board), plan.targets, by, now)
        add_events(self.store, changes)
        return changes

    def fetch_datasets(self, suite: ResolvedSuite, benchmarks: Iterable[str]) -> dict[str, str]:
        """Download the datasets and NLTK data of benchmarks into the store's cache; returns failures with reasons."""
        hub, problems = self.hub, dict[str, str]()
        for name in benchmarks:
            benchmark = suite.suite.benchmarks[name]
            dataset, configs = benchmark.dataset, dict.fromkeys(task.config for task in benchmark.tasks.values())
            try:
                fetch_dataset(self.store, hub.endpoint, hub.token, dataset.id, str(dataset.sha), list(configs), hub.say)
                fetch_nltk(self.store, benchmark.harness_data)
            except FetchError as error:
                problems[name] = f"{error} {hub.token_withheld}" if hub.token_withheld else str(error)
        return problems

    def read_commits(self) -> dict[tuple[str, str], Commit]:
        """All stored commits by model and revision."""
        return read_commits(self.store)

    def fetch_model(self, commit: Commit) -> None:
        """Download the files of a commit into the store's cache. Raises FetchError."""
        fetch_model(self.hub, self.store, commit)

    def launcher(self, plan: Plan, suites: Iterable[ResolvedSuite]) -> Launcher:
        """The launcher that submits the jobs of `plan`."""
        return Launcher(
            store=self.store,
            board=plan.board,
            cluster=self.bundle.cluster,
            executor=self.executor,
            evaluations={evaluation.evaluation_id: evaluation for evaluation in plan.evaluations},
            suites={suite.version: suite for suite in suites},
            shards={shards.evaluation_id: shards for shards in plan.shards},
            requests=plan.requests,
        )

    def declare(self, suites: Iterable[ResolvedSuite], now: datetime) -> None:
        """Write the declarations of the profiles to the lake."""
        declare(self.store, suites, self.bundle.organizations, now)


def tell_unavailable(suite: str, unavailable: Mapping[str, str]) -> list[str]:
    """One sentence per reason, for the benchmarks of a suite that cannot run."""
    names: dict[str, list[str]] = {}
    for name, reason in unavailable.items():
        names.setdefault(reason, []).append(name)
    return [f"Suite {suite} runs without {', '.join(benchmarks)}: {reason}" for reason, benchmarks in names.items()]


def _watched(discovery: Discovery, commits: Mapping[tuple[str, str], Commit]) -> list[Commit]:
    """The commits of the watched heads, each once, in the order of the watch list."""
    keys = dict.fromkeys((head.model_id, head.revision) for head in discovery.heads)
    return [commits[key] for key in keys if key in commits]


def _last_states(store: Store) -> dict[str, str]:
    rows = read_table(store, MODELS).sort_by([("observed_at", "ascending")]).to_pylist()
    return {row["model_id"]: row["state"] for row in rows}
