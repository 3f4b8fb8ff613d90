"""Runs a plan's jobs: launches them in waves as there is room, collects what ends, plans again.

Owns the waiting; no Prefect task run and no slot is held through it. What is launched and never waited for is found
again by the next run.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from nightboard.flows.display.console import count
from nightboard.flows.run.prefetch import Downloads, Failure, Fetching, split_by_size
from nightboard.flows.run.progress import ProgressDisplay
from nightboard.flows.run.state import RunState
from nightboard.tasks.cluster.executor import ClusterAway, ExecutorError
from nightboard.tasks.cluster.local_gpus import fit_jobs, list_gpus
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.evaluation.attempt import read_node
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.planning.avoid import Avoided
from nightboard.tasks.planning.packing import group_arrays
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.gpu_throttle import Throttle
from nightboard.tasks.runs.launch import Launcher, launching
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.store.layout import LAUNCH_FILE, StoreError
from nightboard.tasks.store.records import (
    Commit,
    Evaluation,
    Job,
    Launch,
    PlannedAttempt,
    RecordError,
    ResolvedSuite,
    utc_now,
)

# While models arrive the flow looks for them so often; the cluster is asked at its own interval.
FETCH_POLL_S = 0.2
# A new wave is launched when so much of the places is free: an array a wave, not an sbatch a job.
WAVE = 0.25
# A wave whose last models still arrive is launched without them after so long.
WAVE_LIMIT_S = 60.0
# SLURM's word for a job that no node can ever run.
NO_NODE_FITS = "BadConstraints"
# Planning again takes no more than this part of the time.
REPLAN_PART = 0.1


@dataclass
class Dispatcher:
    """The jobs of the night that are not launched yet, longest first, and what happens to them.

    `replan` makes the plan anew from what the night found. `is_late`: no time is left to wait for jobs.
    """

    run: RunState
    suites: Sequence[ResolvedSuite]
    replan: Callable[[], Plan]
    queue: list[Job] = field(default_factory=list)
    can_launch: bool = True
    is_late: bool = False
    _has_setback: bool = False
    _may_replan_at: float = 0.0
    _poll_at: float = 0.0
    _is_first: bool = True
    _has_awaited_models: bool = False
    _avoided: Avoided = field(default_factory=Avoided)
    # Tiers for which the cluster has no node but those that are avoided, and arrays that were submitted before.
    _without_nodes: set[str] = field(default_factory=set)
    _given_back: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        board = self.run.board
        self.cluster = board.bundle.cluster
        self.commits = board.read_commits()
        self.throttle = Throttle(board.store, board.executor, self.cluster.max_gpus)
        downloads = Downloads(self._fetch, self.cluster.fetch_parallelism)
        self.fetching = Fetching(board.cache(), downloads, self._models)

    def take(self, plan: Plan) -> None:
        """Put the jobs of a plan into the queue, in place of what is there."""
        self.launcher: Launcher = self.run.board.launcher(plan, self.suites)
        self.run.add_plan(plan)
        ready = {suite.version for suite in self.suites}
        jobs = (
            _keep_shards(job, lambda planned: self._evaluation(planned).suite_version in ready) for job in plan.jobs
        )
        self.queue = [
            smaller
            for job in jobs
            for smaller in split_by_size(job, self._size, self.cluster.cache_gb)
            if smaller.attempts
        ]

    def waiting(self) -> list[PlannedAttempt]:
        """Shards that are not launched yet."""
        return [planned for job in self.queue for planned in job.attempts]

    @property
    def _startable(self) -> list[Job]:
        """Jobs of the queue whose tier is not left alone."""
        avoided = self._avoided.tiers.keys() | self._without_nodes
        return [job for job in self.queue if job.tier not in avoided]

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be done tonight, or there is no time left to wait for it."""
        if self.is_late:
            return not (self.can_launch and self._has_awaited_models and self._free)
        queue = self._startable
        can_start = self._has_setback or any(self.fetching.is_prepared(job) for job in queue)
        can_start = can_start or bool(queue and not self.fetching.error)
        return not self.run.open_runs.open and not (self.can_launch and can_start)

    @property
    def _free(self) -> int:
        return max(0, self.cluster.max_jobs - self.run.open_runs.open_jobs)

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
        if not self.run.open_runs.is_cluster_away and self._launch_wave(is_poll=is_poll):
            self._prepare()
        self._is_first = False
        return is_poll

    def pause_s(self) -> float:
        """Seconds until the next turn."""
        until_poll = max(0.0, self._poll_at - time.monotonic())
        has_room = self.fetching.is_under_way and self._free
        return min(FETCH_POLL_S, until_poll) if has_room else until_poll

    def _look(self) -> None:
        store, before = self.run.board.store, {each.folder for each in self.run.open_runs.open}
        open_runs = self.run.board.reconcile(utc_now())
        self.run.collect(open_runs)
        # What another flow collected may have ended badly; it may be gone before it plans again.
        ours = {store.attempt_dir(each.evaluation_id, each.shard, each.attempt) for each in open_runs.collected}
        vanished = before - ours - {each.folder for each in open_runs.open}
        self._has_setback |= bool(vanished) or any(each.state != "completed" for each in open_runs.collected)
        if vanished or any(each.state == "environment" for each in open_runs.collected):
            self._avoid()
        self._give_back()
        is_due = time.monotonic() >= self._may_replan_at or not self.run.open_runs.open
        if self._has_setback and self.can_launch and not self.is_late and is_due:
            self._plan_again()

    def _plan_again(self) -> None:
        """What ended badly is tried again, or stops its evaluation: the queue is what a new plan says."""
        started = time.monotonic()
        self.take(self.replan())
        self._has_setback = False
        self._may_replan_at = time.monotonic() + (time.monotonic() - started) / REPLAN_PART

    # ----------------------------------------------------------------------------------------------- nodes and tiers

    def _avoid(self) -> None:
        """Leave alone the nodes and tiers where nothing comes to an end, and say so once."""
        before, self._avoided = self._avoided, self.run.board.find_avoided(self.run.started_at)
        for found, known in ((self._avoided.nodes, before.nodes), (self._avoided.tiers, before.tiers)):
            self.run.report_problems(found[name] for name in found if name not in known)
        if self.cluster.executor == "local":
            is_here = bool({read_node(), current_process().host} & self._avoided.nodes.keys())
            self.can_launch = self.can_launch and not is_here  # there is no other node
        elif self._avoided.nodes.keys() - before.nodes.keys():
            self._exclude({each.launch_id for each in self.run.open_runs.open}, self._avoided.nodes)

    def _give_back(self) -> None:
        """An array that waits for ever, since every node that it could have is avoided, may have all of them again."""
        if self._avoided.nodes:
            stuck = {
                each.launch_id
                for each in self.run.open_runs.open
                if each.report and each.report.waits_for == NO_NODE_FITS
            }
            self._exclude(stuck - self._given_back, ())
            self._given_back |= stuck

    def _exclude(self, launch_ids: Collection[str], nodes: Collection[str]) -> None:
        """Keep what waits of our own launches off these nodes."""
        tiers = {tier.name for tier in self.cluster.tiers}
        for launch_id in launch_ids:
            jobs = [each for each in self.run.open_runs.open if each.launch_id == launch_id and each.job_id]
            launch = Launch.read(self.run.board.store.launch_dir(launch_id) / LAUNCH_FILE)
            is_ours = launch.cluster == self.cluster.cluster and launch.jobs[0].tier in tiers
            if not jobs or not is_ours or not any(each.report and each.report.state == "PENDING" for each in jobs):
                continue
            excluded = self.launcher.excluded(launch.jobs[0].tier, nodes)
            try:
                self.run.board.executor.exclude_nodes([str(each.job_id) for each in jobs], excluded)
            except ExecutorError as error:
                self.run.report_problems([f"The jobs of launch {launch_id} that wait may still run there: {error}"])

    # ------------------------------------------------------------------------------------------------------ fetching

    def _prepare(self) -> None:
        """Fetch the models of the jobs that there are places for, and of some more, so that they are there in time."""
        if not self.can_launch or (self.is_late and not self._is_first):
            return
        try:
            new = self.fetching.prepare(self._startable[: self._reach], self._list_later)
        except (StoreError, RecordError) as error:
            self._stop_launching(error)
            return
        if new:
            size_gb = sum(commit.size_gb or 0 for commit in new.values())
            self.run.ui.say(f"Fetch: {count(len(new), 'model')}, {size_gb:.3g} GB.")

    @property
    def _reach(self) -> int:
        """How many jobs of the queue are prepared: for the free places, and the next ones to be free."""
        return self._free + (0 if self.is_late else math.ceil(self.cluster.max_jobs * WAVE))

    def _list_later(self) -> Iterator[str]:
        return (key for job in self.queue for key in self._models(job))

    def _evaluation(self, planned: PlannedAttempt) -> Evaluation:
        return self.launcher.evaluations[planned.evaluation_id]

    def _models(self, job: Job) -> dict[str, Commit]:
        runs = [self._evaluation(planned) for planned in job.attempts]
        return {each.fingerprint: self.commits[each.model_id, each.revision] for each in runs}

    def _size(self, planned: PlannedAttempt) -> tuple[str, float]:
        run = self._evaluation(planned)
        return run.fingerprint, self.commits[run.model_id, run.revision].size_gb or 0.0

    def _fetch(self, commit: Commit) -> Failure | None:
        """Why the model cannot be fetched; None when it is in the cache. Raises HubUnavailable when none can be."""
        try:
            self.run.board.fetch_model(commit)
        except FetchError as error:
            # One repository may answer with errors for ever; that is its own trouble as long as the Hub answers others.
            if isinstance(error.__cause__, HubUnavailable) and not self.run.board.hub.is_up():
                raise error.__cause__ from error
            return Failure(str(error), error.ending)
        return None

    def _drop_unfetched(self) -> None:
        """An evaluation whose model cannot be had leaves the queue; an attempt at it keeps the reason."""
        had_error = self.fetching.error
        failures = self.fetching.take_failures()
        if self.fetching.error and not had_error:
            self._tell_no_more_fetched(self.fetching.error)
        if not failures:
            return
        found = {
            key: failure
            for key, evaluation in self.launcher.evaluations.items()
            if (failure := failures.get(evaluation.fingerprint))
        }
        firsts = {planned.evaluation_id: planned for planned in reversed(self.waiting())}
        for planned in (firsts[key] for key in found if key in firsts):
            failure = found[planned.evaluation_id]
            self.launcher.record_fetch_failure(planned, failure.ending, failure.reason, utc_now())
        kept = (_keep_shards(job, lambda planned: planned.evaluation_id not in found) for job in self.queue)
        self.queue = [job for job in kept if job.attempts]
        self._has_setback = True

    def _tell_no_more_fetched(self, error: BaseException) -> None:
        if not isinstance(error, HubUnavailable | StoreError):
            raise error
        self.run.report_problems([f"No more models are fetched tonight: {error}"])

    def tidy(self) -> None:
        """Remove the models that nobody needs any more."""
        self.fetching.cache.touch()
        # An attempt that cannot be read may need any model.
        with contextlib.suppress(RecordError):
            self.fetching.cache.tidy(set(self._list_later()))

    # ----------------------------------------------------------------------------------------------------- launching

    def _launch_wave(self, *, is_poll: bool) -> bool:
        """Launch the jobs whose models are there, if it is time for a wave; says whether any was."""
        jobs = self._next_wave() if self.can_launch else []
        if not jobs and not (is_poll and self.throttle.has_waiting(self.run.open_runs.open)):
            return False
        before = len(self.queue)
        try:
            with launching(self.run.board.store):
                self._launch_ready(jobs)
        except StoreError as error:  # somebody else must make the store safe, or room in it
            self._stop_launching(error)
        self.run.report_problems(self.throttle.problems)
        return len(self.queue) < before

    def _launch_ready(self, jobs: Sequence[Job]) -> None:
        """Launch jobs as far as there is room; while no other flow launches."""
        opened = self._list_open()
        # Another flow may have launched meanwhile.
        free = max(0, self.cluster.max_jobs - len({(each.launch_id, each.job_index) for each in opened}))
        try:
            self._launch_arrays(self._fit_gpus(jobs[:free], opened), opened)
        except ClusterAway:
            self.run.tell_cluster(is_away=True)
        except (StoreError, ExecutorError) as error:
            self._stop_launching(error)
        self.run.see_open(self._list_open() if jobs else opened)

    def _next_wave(self) -> list[Job]:
        """Jobs to launch now: all that are ready, when there are places for a wave and it is complete or has waited."""
        free, is_busy = self._free, bool(self.run.open_runs.open)
        if not free:
            return []
        queue = self._startable
        found = [(job, at) for job in queue[: self._reach] if (at := self.fetching.ready_since(job)) is not None]
        ready = [job for job, _ in found][:free]
        if self.cluster.executor == "local" or not ready:
            return ready
        is_wave = self.is_late or not is_busy or free >= min(len(queue), self.cluster.max_jobs * WAVE)
        is_all = len(ready) == min(free, len(queue))
        is_rest = not self.fetching.is_under_way and (self.is_late or not is_busy)
        limit_s = WAVE_LIMIT_S if is_busy else min(WAVE_LIMIT_S, self.cluster.poll_interval_s)
        has_waited = time.monotonic() - min(at for _, at in found) > limit_s
        return ready if is_wave and (is_all or is_rest or has_waited) else []

    def _fit_gpus(self, jobs: Sequence[Job], opened: Sequence[OpenAttempt]) -> Sequence[Job]:
        """Local jobs for which GPUs of this machine are free; SLURM has its own word on that."""
        if self.cluster.executor != "local":
            return jobs
        here = (None, socket.gethostname())
        running = {(each.launch_id, each.job_index): each for each in opened}.values()
        in_use = sum(each.gpus for each in running if (each.report.node if each.report else None) in here)
        return fit_jobs(jobs, list_gpus(self.cluster.gpus, os.environ), in_use)

    def _list_open(self) -> list[OpenAttempt]:
        """What is under way by the store, and what the cluster said of it last."""
        known = {each.folder: each for each in self.run.open_runs.open}
        opened = self.run.board.list_open(utc_now(), asks_cluster=False).open
        return [*known.values(), *(each for each in opened if each.folder not in known)]

    def _launch_arrays(self, jobs: Sequence[Job], opened: Sequence[OpenAttempt]) -> None:
        """Submit jobs as arrays within the GPUs that may be used; what has to wait stays in the queue."""
        sizes = (self.cluster.max_array_size, self.run.board.executor.max_array_size() if jobs else None)
        arrays = group_arrays(jobs, min((size for size in sizes if size), default=None))
        for array, allowed in zip(arrays, self.throttle.share(opened, arrays), strict=True):
            if allowed == 0:
                continue
            try:
                self.launcher.launch(array, utc_now(), allowed, self._avoided.nodes.keys())
                self.run.tell_cluster(is_away=False)
            except ClusterAway:
                # What became of the array is found out by its name, once the cluster answers.
                self._take_out(array)
                raise
            except ExecutorError as error:
                if not self._avoided.nodes:
                    raise
                self._leave_tier(array[0].tier, error)
                continue
            self._take_out(array)

    def _leave_tier(self, tier: str, error: ExecutorError) -> None:
        """The cluster gives a tier no node but those that are avoided."""
        nodes = ", ".join(sorted(self._avoided.nodes))
        words = f"Tier {tier}: nothing more is launched in it in this run, which leaves out {nodes}: {error}"
        self.run.report_problems([words])
        self._without_nodes.add(tier)

    def _take_out(self, jobs: Sequence[Job]) -> None:
        taken = {id(job) for job in jobs}
        self.queue = [job for job in self.queue if id(job) not in taken]

    def _stop_launching(self, error: Exception) -> None:
        """Nothing more can be launched tonight: the rest stays in the queue, what runs is still waited for."""
        self.can_launch = False
        self.run.report_problems([f"Nothing more is launched tonight: {error}"])


def _keep_shards(job: Job, is_kept: Callable[[PlannedAttempt], bool]) -> Job:
    return job.model_copy(update={"attempts": tuple(planned for planned in job.attempts if is_kept(planned))})


def run_jobs(
    run: RunState, plan: Plan, suites: list[ResolvedSuite], wait_min: float | None, replan: Callable[[], Plan]
) -> list[str]:
    """Launch the plan's jobs as there is room, collect what ends; returns the evaluations not started."""
    deadline = None if wait_min is None else utc_now() + timedelta(minutes=wait_min)
    dispatcher = Dispatcher(run, suites, replan)
    dispatcher.take(plan)
    try:
        with ProgressDisplay(plan, run.ui) as watch:
            while True:
                dispatcher.is_late = deadline is not None and utc_now() >= deadline
                if dispatcher.turn():
                    watch.update(run, dispatcher.waiting())
                if dispatcher.is_over:
                    break
                pause_s = dispatcher.pause_s()
                if deadline and not dispatcher.is_late:
                    pause_s = min(pause_s, max(0.0, (deadline - utc_now()).total_seconds()))
                time.sleep(pause_s)
            watch.update(run, dispatcher.waiting())
    finally:
        dispatcher.fetching.close()
    left = {planned.evaluation_id for planned in dispatcher.waiting()} - run.open_runs.in_flight
    dispatcher.queue.clear()
    dispatcher.tidy()
    run.collect_elsewhere(left)
    return sorted(left)
