"""Runs a plan's jobs: fetches their models, launches them as places become free, collects what ends.

Owns the waiting. What is launched and never waited for is found again by the next run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from nightboard.flows.night import Night
from nightboard.flows.terminal import count
from nightboard.flows.watch import Watch
from nightboard.tasks.fetch import FetchError
from nightboard.tasks.launch import Launcher, launching
from nightboard.tasks.patience import HubUnavailable
from nightboard.tasks.records import Commit, Job, Plan, ResolvedSuite, Shard
from nightboard.tasks.settle import utc_now
from nightboard.tasks.store import StoreError


def run_jobs(night: Night, plan: Plan, suites: list[ResolvedSuite], wait_min: float | None) -> list[str]:
    """Launch the plan's jobs as places become free, collect what ends; returns the evaluations not started."""
    launcher, cluster = night.board.launcher(plan, suites), night.board.bundle.cluster
    ready = {suite.version for suite in suites}
    jobs = [
        _keep_shards(job, lambda s: launcher.evaluations[s.evaluation_id].suite_version in ready) for job in plan.jobs
    ]
    queue = deque(job for job in jobs if job.shards)
    deadline = None if wait_min is None else utc_now() + timedelta(minutes=wait_min)
    can_launch = True
    with Watch(plan, night.ui) as watch:
        while True:
            night.collect(night.board.settle(utc_now()))
            if can_launch and queue and night.settled.open_jobs < cluster.max_jobs:
                can_launch = fetch_and_launch(night, launcher, queue)
                night.collect(night.board.settle(utc_now()))
            watch.update(night.settled, night.count_done(plan))
            is_idle = not night.settled.open and not (queue and can_launch)
            if is_idle or (deadline and utc_now() >= deadline):
                break
            time.sleep(cluster.poll_interval_s)
    not_started = [shard for job in queue for shard in job.shards]
    night.collect_elsewhere(plan, {shard.evaluation_id for shard in not_started})
    return [shard.evaluation_id for shard in not_started]


def _keep_shards(job: Job, is_kept: Callable[[Shard], bool]) -> Job:
    return job.model_copy(update={"shards": tuple(shard for shard in job.shards if is_kept(shard))})


def fetch_and_launch(night: Night, launcher: Launcher, queue: deque[Job]) -> bool:
    """Take as many jobs as there are free places, fetch their models, submit them as one array.

    False when nothing can be fetched any more tonight: the rest stays in the queue, and what runs is still waited for.
    """
    free = night.board.bundle.cluster.max_jobs - night.settled.open_jobs
    taken = [queue.popleft() for _ in range(min(free, len(queue)))]
    try:
        batch = [job for job in fetch_models(night, launcher, taken) if job.shards]
    except (HubUnavailable, StoreError) as error:
        queue.extendleft(reversed(taken))
        night.report_problems([f"Nothing more is launched tonight: {error}"])
        return False
    with launching(night.board.store):
        # Another flow may have launched while this one was fetching.
        night.collect(night.board.settle(utc_now()))
        free = max(0, night.board.bundle.cluster.max_jobs - night.settled.open_jobs)
        queue.extendleft(reversed(batch[free:]))
        if batch[:free]:
            launcher.launch(batch[:free], utc_now())
    return True


def fetch_models(night: Night, launcher: Launcher, jobs: list[Job]) -> list[Job]:
    """Fetch the models of some jobs, several at once. One that cannot be fetched leaves its job; the reason is kept."""
    commits, evaluations = night.board.read_commits(), launcher.evaluations
    shards = [shard for job in jobs for shard in job.shards]
    runs = [evaluations[shard.evaluation_id] for shard in shards]
    wanted = {each.fingerprint: commits[each.model_id, each.revision] for each in runs}
    size_gb = sum(commit.size_gb or 0 for commit in wanted.values())
    night.ui.say(f"Fetch: {count(len(wanted), 'model')}, {size_gb:.3g} GB; what is in the cache is not fetched again.")
    with ThreadPoolExecutor(night.board.bundle.cluster.fetch_parallelism) as pool:
        fetched = pool.map(lambda commit: fetch_model(night, commit), wanted.values())
        reasons = {fingerprint: reason for fingerprint, reason in zip(wanted, fetched, strict=True) if reason}
    for shard in shards:
        if reason := reasons.get(evaluations[shard.evaluation_id].fingerprint):
            launcher.record_fetch_failure(shard, reason, utc_now())
    return [
        _keep_shards(job, lambda shard: evaluations[shard.evaluation_id].fingerprint not in reasons) for job in jobs
    ]


def fetch_model(night: Night, commit: Commit) -> str | None:
    """Why the model cannot be fetched; None when it is in the cache. Raises HubUnavailable when none can be."""
    try:
        night.board.fetch_model(commit)
    except FetchError as error:
        # One repository may answer with errors for ever; that is its own trouble as long as the Hub answers others.
        if isinstance(error.__cause__, HubUnavailable) and not night.board.hub.is_up():
            raise error.__cause__ from error
        return str(error)
    return None
