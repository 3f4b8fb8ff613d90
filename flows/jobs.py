"""Runs a plan's jobs: fetches their models, launches them in waves as there is room, collects what ends, plans again.

Owns the waiting; no Prefect task run and no slot is held through it. What is launched and never waited for is found
again by the next run.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta

from nightboard.flows.night import Night
from nightboard.flows.terminal import count
from nightboard.flows.watch import Watch
from nightboard.tasks.arrays import group_arrays
from nightboard.tasks.fetch import FetchError
from nightboard.tasks.jobs import ClusterAway, ExecutorError
from nightboard.tasks.launch import Launcher, launching, read_parallelism, write_parallelism
from nightboard.tasks.patience import HubUnavailable
from nightboard.tasks.records import Commit, Job, Plan, RecordError, ResolvedSuite, Shard, ShardSpec
from nightboard.tasks.room import Array, allot
from nightboard.tasks.settle import OpenShard, Settled, utc_now
from nightboard.tasks.store import StoreError

# While models arrive the flow looks for them so often; the cluster is asked at its own interval.
FETCH_POLL_S = 0.2
# A new wave is launched when so much of the places is free: an array a wave, not an sbatch a job.
WAVE = 0.25
# A wave whose last models still arrive is launched without them after so long.
WAVE_LIMIT_S = 60.0
# Planning again takes no more than this part of the time.
REPLAN_PART = 0.1


@dataclass
class Prepared:
    """A job whose models are being fetched. `since`: when the last of them was there."""

    job: Job
    fetches: dict[str, Future[str | None]]
    since: float | None = None

    def is_ready(self) -> bool:
        """Whether all its models are there, or cannot be had."""
        if not all(fetch.done() for fetch in self.fetches.values()):
            return False
        self.since = self.since or time.monotonic()
        return True


@dataclass
class Dispatcher:
    """The jobs of the night that are not launched yet, and what happens to them.

    `replan` makes the plan anew from what the night found; `queue` waits for a place, `prepared` for its models.
    """

    night: Night
    suites: Sequence[ResolvedSuite]
    replan: Callable[[], Plan]
    queue: deque[Job] = field(default_factory=deque)
    prepared: list[Prepared] = field(default_factory=list)
    can_launch: bool = True
    _fetching: dict[str, Future[str | None]] = field(default_factory=dict)
    _has_setback: bool = False
    _may_replan_at: float = 0.0
    _poll_at: float = 0.0

    def __post_init__(self) -> None:
        cluster = self.night.board.bundle.cluster
        self.cluster, self.cache = cluster, self.night.board.cache()
        self.pool = ThreadPoolExecutor(cluster.fetch_parallelism, thread_name_prefix="fetch")
        self.commits = self.night.board.read_commits()

    def take(self, plan: Plan) -> None:
        """Put the jobs of a plan into the queue, in place of what is there."""
        self.launcher: Launcher = self.night.board.launcher(plan, self.suites)
        self.night.add_plan(plan)
        ready = {suite.version for suite in self.suites}
        jobs = (
            _keep_shards(job, lambda shard: self.launcher.evaluations[shard.evaluation_id].suite_version in ready)
            for job in plan.jobs
        )
        # A fetch that is under way goes on: the new plan has the same model, or another night wants it.
        self.prepared.clear()
        self.queue = deque(job for job in jobs if job.shards)

    def waiting(self) -> list[Shard]:
        """Shards that are not launched yet."""
        jobs = [*(each.job for each in self.prepared), *self.queue]
        return [shard for job in jobs for shard in job.shards]

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing more can be launched tonight."""
        is_left = self.queue or self.prepared or self._has_setback
        return not self.night.settled.open and not (self.can_launch and is_left)

    def turn(self) -> float:
        """One round: see what has ended, plan again if it has to be, launch what there is room for.

        Returns the seconds until the next round. The cluster is asked once an interval, however often this is called.
        """
        if time.monotonic() >= self._poll_at:
            self._poll_at = time.monotonic() + self.cluster.poll_interval_s
            self._look()
        if self.can_launch and not self.night.settled.is_cluster_away:
            self._prepare()
            self._launch()
        until_poll = max(0.0, self._poll_at - time.monotonic())
        return min(FETCH_POLL_S, until_poll) if self.prepared else until_poll

    def _look(self) -> None:
        before = len(self.night.collected)
        self.night.collect(self.night.board.settle(utc_now()))
        ended = self.night.collected[before:]
        self._has_setback |= any(each.state != "completed" for each in ended)
        if self._has_setback and self.can_launch and time.monotonic() >= self._may_replan_at:
            self._plan_again()
        if ended:
            self.evict()

    def _plan_again(self) -> None:
        """What ended badly is tried again, or stops its evaluation: the queue is what a new plan says."""
        started = time.monotonic()
        self.take(self.replan())
        self._has_setback = False
        self._may_replan_at = time.monotonic() + (time.monotonic() - started) / REPLAN_PART

    # ------------------------------------------------------------------------------------------------------ fetching

    def _prepare(self) -> None:
        """Begin to fetch the models of the next wave, as far as there are places and there is room in the cache."""
        free = self.cluster.max_jobs - self.night.settled.open_jobs - len(self.prepared)
        is_wave = free >= self.cluster.max_jobs * WAVE or len(self.queue) <= free
        if not self.queue or not (is_wave or not self.night.settled.open):
            return
        new: dict[str, Commit] = {}
        while self.queue and free > 0:
            models = self._models(self.queue[0])
            missing = {key: commit for key, commit in models.items() if key not in self._fetching}
            if not self._has_room({**new, **missing}):
                break
            job = self.queue.popleft()
            free -= 1
            new |= {key: commit for key, commit in missing.items() if not self.cache.has(key)}
            for key, commit in missing.items():
                self.cache.want(key)
                self._fetching[key] = self.pool.submit(self._fetch, commit)
            self.prepared.append(Prepared(job, {key: self._fetching[key] for key in models}))
        if new:
            self._tell(new)

    def _tell(self, models: dict[str, Commit]) -> None:
        size_gb = sum(commit.size_gb or 0 for commit in models.values())
        self.night.ui.say(f"Fetch: {count(len(models), 'model')}, {size_gb:.3g} GB.")

    def _models(self, job: Job) -> dict[str, Commit]:
        runs = [self.launcher.evaluations[shard.evaluation_id] for shard in job.shards]
        return {each.fingerprint: self.commits[each.model_id, each.revision] for each in runs}

    def _has_room(self, models: dict[str, Commit]) -> bool:
        """Whether these models fit into the cache beside what is needed; what nobody needs is removed for them."""
        if self.cache.budget_gb is None:
            return True
        wanted_gb = sum(commit.size_gb or 0 for key, commit in models.items() if not self.cache.has(key))
        missing_gb = self.cache.used_gb() + wanted_gb - self.cache.budget_gb
        if wanted_gb and missing_gb > 0:
            self.cache.evict(lambda: self._needed(include_queue=False), missing_gb)
            missing_gb = self.cache.used_gb() + wanted_gb - self.cache.budget_gb
        # A model that is larger than all of it is told so when it is fetched; it must not stop the others.
        is_alone = not self.night.settled.open and not self.prepared
        return not wanted_gb or missing_gb <= 0 or is_alone

    def _fetch(self, commit: Commit) -> str | None:
        """Why the model cannot be fetched; None when it is in the cache. Raises HubUnavailable when none can be."""
        budget_gb = self.cache.budget_gb
        if budget_gb is not None and (commit.size_gb or 0) > budget_gb:
            return (
                f"{commit.model_id}: has {commit.size_gb:.3g} GB, the cache takes {budget_gb:g} GB in all. "
                "Raise cache_gb in the cluster profile."
            )
        try:
            self.night.board.fetch_model(commit)
        except FetchError as error:
            # One repository may answer with errors for ever; that is its own trouble as long as the Hub answers others.
            if isinstance(error.__cause__, HubUnavailable) and not self.night.board.hub.is_up():
                raise error.__cause__ from error
            return str(error)
        return None

    def evict(self) -> None:
        """Remove the models that nobody needs any more."""
        if not self.cluster.keep_models:
            # An attempt that cannot be read may need any model.
            with contextlib.suppress(RecordError):
                self.cache.evict(lambda: self._needed(include_queue=True))

    def _needed(self, *, include_queue: bool) -> Iterable[str]:
        """Models of what is under way, whoever launched it, and of what this night still has to do."""
        for each in self.night.board.list_open(utc_now(), asks_cluster=False).open:
            yield ShardSpec.read(each.folder / "spec.json").evaluation.fingerprint
        yield from (key for each in self.prepared for key in each.fetches)
        if include_queue:
            yield from (key for job in self.queue for key in self._models(job))

    # ----------------------------------------------------------------------------------------------------- launching

    def _launch(self) -> None:
        """Launch the wave when its models are there; what cannot be fetched leaves its job, and the reason is kept."""
        ready = [each for each in self.prepared if each.is_ready()]
        is_due = len(ready) == len(self.prepared) or any(
            time.monotonic() - (each.since or 0) > WAVE_LIMIT_S for each in ready
        )
        if not ready or not (is_due or not self.night.settled.open):
            return
        try:
            jobs = [job for each in ready if (job := self._drop_unfetched(each)).shards]
            left = self._submit(jobs)
        except ClusterAway as error:
            # What became of the array is found out by looking for its name, once the cluster answers.
            self.night.report_problems([f"The cluster does not answer, waiting for it: {error}"])
            left, self._has_setback = [], True
        except (HubUnavailable, StoreError, ExecutorError) as error:
            self._stop_launching(error)
            return
        done = {id(each) for each in ready}
        self.prepared = [each for each in self.prepared if id(each) not in done]
        self.queue.extendleft(reversed(left))
        self._release(ready)

    def _submit(self, jobs: Sequence[Job]) -> list[Job]:
        """Launch jobs while no other flow does; returns those that have to wait."""
        with launching(self.night.board.store):
            try:
                # Another flow may have launched meanwhile.
                opened = self._list_open()
                free = max(0, self.cluster.max_jobs - opened.open_jobs)
                return self._launch_arrays(jobs[:free], opened.open) + list(jobs[free:])
            finally:
                self.night.settled = replace(self.night.settled, open=self._list_open().open)

    def _list_open(self) -> Settled:
        return self.night.board.list_open(utc_now(), asks_cluster=False)

    def _drop_unfetched(self, each: Prepared) -> Job:
        """The job without the shards whose model cannot be had; their attempts keep the reason."""
        reasons = {key: reason for key, fetch in each.fetches.items() if (reason := fetch.result())}

        def reason_of(shard: Shard) -> str | None:
            return reasons.get(self.launcher.evaluations[shard.evaluation_id].fingerprint)

        for shard in each.job.shards:
            if reason := reason_of(shard):
                self.launcher.record_fetch_failure(shard, reason, utc_now())
        return _keep_shards(each.job, lambda shard: not reason_of(shard))

    def _launch_arrays(self, jobs: Sequence[Job], opened: Sequence[OpenShard]) -> list[Job]:
        """Submit jobs as arrays within the GPUs that may be used; returns those that have to wait."""
        sizes = (self.cluster.max_array_size, self.night.board.executor.max_array_size() if jobs else None)
        arrays = group_arrays(jobs, min((size for size in sizes if size), default=None))
        parallelism = self._share_gpus(arrays, opened)
        left: list[Job] = []
        for array, allowed in zip(arrays, parallelism, strict=True):
            if allowed == 0:
                left += array
            else:
                self.launcher.launch(array, utc_now(), allowed)
        return left

    def _share_gpus(self, arrays: Sequence[Sequence[Job]], opened: Sequence[OpenShard]) -> list[int | None]:
        """How many jobs of each new array may run at once; open arrays are given what others have left free."""
        if self.cluster.max_gpus is None:
            return [None] * len(arrays)
        store = self.night.board.store
        jobs: dict[str, dict[int, OpenShard]] = defaultdict(dict)
        for each in opened:
            jobs[each.launch_id][each.job_index] = each
        known = {launch: read_parallelism(store, launch) for launch in jobs}
        before = [Array(next(iter(found.values())).gpus, len(found), known[launch]) for launch, found in jobs.items()]
        shares = allot(before, [Array(array[0].gpus, len(array)) for array in arrays], self.cluster.max_gpus)
        for (launch, found), array, allowed in zip(jobs.items(), before, shares.opened, strict=True):
            if array.parallelism is not None and allowed > array.parallelism:
                job_ids = [each.job_id for each in found.values() if each.job_id]
                write_parallelism(store, launch, allowed)
                self.night.board.executor.set_parallelism(job_ids, allowed)
        return list(shares.new)

    def _stop_launching(self, error: Exception) -> None:
        """Nothing more can be launched tonight: the rest stays in the queue, what runs is still waited for."""
        self.can_launch = False
        self.queue.extendleft(reversed([each.job for each in self.prepared]))
        stopped, self.prepared = self.prepared, []
        self._release(stopped)
        self.night.report_problems([f"Nothing more is launched tonight: {error}"])

    def _release(self, prepared: Iterable[Prepared]) -> None:
        kept = {key for each in self.prepared for key in each.fetches}
        for key in {key for each in prepared for key in each.fetches} - kept:
            self.cache.release(key)
            self._fetching.pop(key, None)

    def close(self) -> None:
        """End what is left of fetching; what is half-fetched is found by the next night."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        for key in self._fetching:
            self.cache.release(key)


def _keep_shards(job: Job, is_kept: Callable[[Shard], bool]) -> Job:
    return job.model_copy(update={"shards": tuple(shard for shard in job.shards if is_kept(shard))})


def run_jobs(
    night: Night, plan: Plan, suites: list[ResolvedSuite], wait_min: float | None, replan: Callable[[], Plan]
) -> list[str]:
    """Launch the plan's jobs as there is room, collect what ends; returns the evaluations not started."""
    deadline = None if wait_min is None else utc_now() + timedelta(minutes=wait_min)
    dispatcher = Dispatcher(night, suites, replan)
    dispatcher.take(plan)
    try:
        with Watch(plan, night.ui) as watch:
            while True:
                pause_s = dispatcher.turn()
                watch.update(night, dispatcher.waiting())
                is_late = deadline is not None and utc_now() >= deadline
                if dispatcher.is_idle or (is_late and not dispatcher.prepared):
                    break
                time.sleep(pause_s)
        dispatcher.evict()
    finally:
        dispatcher.close()
    left = {shard.evaluation_id for shard in dispatcher.waiting()} - night.settled.in_flight
    night.collect_elsewhere(left)
    return sorted(left)
