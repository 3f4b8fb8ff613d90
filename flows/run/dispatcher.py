"""Runs a plan's jobs: launches them as there is room, collects what ends, plans again.

Owns the waiting; no Prefect task run and no slot is held through it. What is launched and never waited for is found
again by the next run. Which jobs are launched now is decided in waves.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nightboard.flows.display.console import count
from nightboard.flows.run.avoided_nodes import AvoidedNodes
from nightboard.flows.run.job_queue import JobQueue
from nightboard.flows.run.prefetch import Downloads, Failure, Fetching
from nightboard.flows.run.progress import ProgressDisplay
from nightboard.flows.run.state import RunState
from nightboard.flows.run.submit_wave import WaveLauncher
from nightboard.flows.run.waves import Clock, Places, Queued, choose_now, choose_wave
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import Commit, Job, RecordError, ResolvedSuite, utc_now

# While models arrive the flow looks for them so often; the cluster is asked at its own interval.
FETCH_POLL_S = 0.2
# Planning again takes no more than this part of the time.
REPLAN_PART = 0.1


def run_jobs(
    run: RunState, plan: Plan, suites: list[ResolvedSuite], wait_min: float | None, replan: Callable[[], Plan]
) -> list[str]:
    """Launch the plan's jobs as there is room, collect what ends; returns the evaluations not started."""
    deadline = None if wait_min is None else utc_now() + timedelta(minutes=wait_min)
    dispatcher = Dispatcher(run, suites, replan)
    dispatcher.queue.take(plan)
    try:
        with ProgressDisplay(plan, run.ui) as display:
            while True:
                dispatcher.is_late = deadline is not None and utc_now() >= deadline
                if dispatcher.turn():
                    display.update(run, dispatcher.queue.jobs)
                if dispatcher.is_over:
                    break
                time.sleep(_limit_pause(dispatcher.pause_s(), None if dispatcher.is_late else deadline))
            display.update(run, dispatcher.queue.jobs)
    finally:
        dispatcher.fetching.close()
    not_started = {planned.evaluation_id for planned in dispatcher.queue.list_attempts()} - run.open_runs.in_flight
    dispatcher.queue.jobs.clear()
    dispatcher.tidy()
    run.collect_elsewhere(not_started)
    return sorted(not_started)


def _limit_pause(pause_s: float, deadline: datetime | None) -> float:
    return min(pause_s, max(0.0, (deadline - utc_now()).total_seconds())) if deadline else pause_s


@dataclass
class Dispatcher:
    """What happens to the jobs of a run while it waits for them.

    `replan` makes a new plan from what the run has found. `is_late`: no time is left to wait for jobs.
    """

    run: RunState
    suites: Sequence[ResolvedSuite]
    replan: Callable[[], Plan]
    is_late: bool = False
    _has_setback: bool = False
    _may_replan_at: float = 0.0
    _poll_at: float = 0.0
    _is_first: bool = True
    _has_awaited_models: bool = False

    def __post_init__(self) -> None:
        board = self.run.board
        self.cluster = board.bundle.cluster
        self.queue = JobQueue(self.run, self.suites)
        self.nodes = AvoidedNodes(self.run)
        self.waves = WaveLauncher(self.run, self.queue, self.nodes)
        self.fetching = Fetching(
            board.cache(), Downloads(self._fetch, self.cluster.fetch_parallelism), self.queue.models
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be done in this run, or there is no time left to wait for it."""
        can_launch = self.waves.can_launch
        if self.is_late:
            return not (can_launch and self._has_awaited_models and self._places.free)
        startable = self._startable
        can_start = self._has_setback or any(self.fetching.is_prepared(job) for job in startable)
        can_start = can_start or bool(startable and not self.fetching.error)
        return not self.run.open_runs.open and not (can_launch and can_start)

    def turn(self) -> bool:
        """One round: see what has ended, plan again if it has to be, launch what there is room for.

        The cluster is asked once an interval, however often this is called; the answer is whether it was asked now.
        """
        is_poll = time.monotonic() >= self._poll_at
        if is_poll:
            self._poll_at = time.monotonic() + self.cluster.poll_interval_s
            self._look()
            self.tidy()
            self._prepare()
        self._has_awaited_models = self.fetching.is_under_way
        self._drop_unfetched()
        if not self.run.open_runs.is_cluster_away and self._launch(is_poll=is_poll):
            self._prepare()
        self._is_first = False
        return is_poll

    def pause_s(self) -> float:
        """Seconds until the next turn."""
        until_poll = max(0.0, self._poll_at - time.monotonic())
        awaits_models = self.fetching.is_under_way and self._places.free
        return min(FETCH_POLL_S, until_poll) if awaits_models else until_poll

    @property
    def _places(self) -> Places:
        opened = self.run.open_runs
        free = max(0, self.cluster.max_jobs - opened.open_jobs)
        return Places(self.cluster.max_jobs, free, is_busy=bool(opened.open), is_late=self.is_late)

    @property
    def _startable(self) -> list[Job]:
        return self.queue.list_startable(self.nodes.tiers)

    def _launch(self, *, is_poll: bool) -> bool:
        """Launch what is ready, if it is time for it; says whether anything was."""
        jobs = self._choose() if self.waves.can_launch else []
        return bool(jobs or (is_poll and self.waves.has_throttled())) and self.waves.launch(jobs)

    def _choose(self) -> list[Job]:
        places, startable = self._places, self._startable
        if not places.free:
            return []
        prepared = [Queued(job, self.fetching.ready_since(job)) for job in startable[: places.n_prepared]]
        if self.cluster.executor == "local":
            return choose_now(prepared, places)
        clock = Clock(time.monotonic(), self.cluster.poll_interval_s, is_fetching=self.fetching.is_under_way)
        return choose_wave(prepared, len(startable), places, clock)

    # ------------------------------------------------------------------------------------------------- what has ended

    def _look(self) -> None:
        store, before = self.run.board.store, {attempt.folder for attempt in self.run.open_runs.open}
        seen = self.run.board.reconcile(utc_now())
        self.run.collect(seen)
        # What another flow collected may have ended badly; it may be gone before it plans again.
        ours = {store.attempt_dir(each.evaluation_id, each.shard, each.attempt) for each in seen.collected}
        vanished = before - ours - {attempt.folder for attempt in seen.open}
        self._has_setback |= bool(vanished) or any(attempt.state != "completed" for attempt in seen.collected)
        if vanished or any(attempt.state == "environment" for attempt in seen.collected):
            self.nodes.look(self.queue.launcher)
            # There is no other node than this one.
            self.waves.can_launch &= not (self.cluster.executor == "local" and self.nodes.is_here)
        self.nodes.give_back(self.queue.launcher)
        is_due = time.monotonic() >= self._may_replan_at or not self.run.open_runs.open
        if self._has_setback and self.waves.can_launch and not self.is_late and is_due:
            self._plan_again()

    def _plan_again(self) -> None:
        """What ended badly is tried again, or stops its evaluation: the queue is what a new plan says."""
        started = time.monotonic()
        self.queue.take(self.replan())
        self._has_setback = False
        self._may_replan_at = time.monotonic() + (time.monotonic() - started) / REPLAN_PART

    # --------------------------------------------------------------------------------------------------------- models

    def _prepare(self) -> None:
        """Fetch the models of the jobs that there are places for, and of some more, so that they are there in time."""
        if not self.waves.can_launch or (self.is_late and not self._is_first):
            return
        try:
            new = self.fetching.prepare(self._startable[: self._places.n_prepared], self.queue.list_models)
        except (StoreError, RecordError) as error:
            self.waves.stop(error)
            return
        if new:
            size_gb = sum(commit.size_gb or 0 for commit in new.values())
            self.run.ui.say(f"Fetch: {count(len(new), 'model')}, {size_gb:.3g} GB.")

    def _fetch(self, commit: Commit) -> Failure | None:
        """Why the model cannot be fetched; None when it is in the cache. Raises HubUnavailable when none can be."""
        try:
            self.run.board.fetch_model(commit)
        except FetchError as error:
            # One repository may answer with errors for ever; that is its own problem while the Hub answers others.
            if isinstance(error.__cause__, HubUnavailable) and not self.run.board.hub.is_up():
                raise error.__cause__ from error
            return Failure(str(error), error.ending)
        return None

    def _drop_unfetched(self) -> None:
        """An evaluation whose model cannot be had leaves the queue; an attempt at it keeps the reason."""
        had_error = self.fetching.error
        by_model = self.fetching.take_failures()
        if self.fetching.error and not had_error:
            self._stop_fetching(self.fetching.error)
        if not by_model:
            return
        evaluations = self.queue.launcher.evaluations.items()
        failures = {key: by_model[each.fingerprint] for key, each in evaluations if each.fingerprint in by_model}
        first_attempts = {planned.evaluation_id: planned for planned in reversed(self.queue.list_attempts())}
        for key, failure in failures.items():
            if planned := first_attempts.get(key):
                self.queue.launcher.record_fetch_failure(planned, failure.ending, failure.reason, utc_now())
        self.queue.remove_evaluations(failures)
        self._has_setback = True

    def _stop_fetching(self, error: BaseException) -> None:
        if not isinstance(error, HubUnavailable | StoreError):
            raise error
        self.run.report_problems([f"Stopped downloading models for this run: {error}"])

    def tidy(self) -> None:
        """Remove the models that no job needs any more."""
        self.fetching.cache.touch()
        # An attempt that cannot be read may need any model.
        with contextlib.suppress(RecordError):
            self.fetching.cache.tidy(set(self.queue.list_models()))
