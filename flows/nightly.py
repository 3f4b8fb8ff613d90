"""The nightly flow: discover, plan, fetch, launch, collect, rebuild, report.

Owns the order of the steps and what Prefect shows of them. Every step can be run again; killed anywhere, the next run
goes on from what is in the store.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from nightboard.flows.show import rank_records
from nightboard.flows.terminal import Terminal, count, duration
from nightboard.flows.watch import Watch
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.collect import Collected, collect_attempt
from nightboard.tasks.discover import Discovery
from nightboard.tasks.fetch import FetchError
from nightboard.tasks.launch import Launcher, launching
from nightboard.tasks.patience import HubUnavailable
from nightboard.tasks.records import Commit, Job, Plan, ResolvedSuite, Shard
from nightboard.tasks.report import NewCommit, NightReport, describe_night
from nightboard.tasks.settle import Settled, utc_now

T = TypeVar("T")
NETWORK_RETRY_DELAYS_S = (10.0, 60.0)


@flow(name="nightly", flow_run_name="nightly {board}", validate_parameters=False)
def nightly(board: str, store: str | None = None, wait_min: float | None = None) -> NightReport:
    """Evaluate what is new on a board and rebuild its leaderboard.

    `wait_min` bounds the waiting for jobs; what still runs then is collected by the next run. None waits for all.
    Raises ProfileError, HubUnavailable or StoreError, each with one message that says what to do.
    """
    night = Night(OpenBoard.open(board, store), Terminal())
    night.collect(run_step("collect earlier runs", lambda: night.board.settle(utc_now())))
    discovery = run_step("discover", lambda: discover_commits(night), retry=True)
    suites = run_step("pin data sets", night.board.resolve_suites, retry=True)
    plan = run_step("plan", lambda: make_plan(night, discovery, suites))
    suites = run_step("fetch data sets", lambda: fetch_datasets(night, plan, suites), retry=True)
    not_started = run_jobs(night, plan, suites, wait_min)
    run_step("rebuild", lambda: rebuild(night))
    return run_step("report", lambda: report(night, discovery, plan, not_started))


def run_step(name: str, action: Callable[[], T], *, retry: bool = False) -> T:
    """Run one step as a Prefect task run; `retry` is for steps that ask the network and change nothing on failure."""
    delays = list(NETWORK_RETRY_DELAYS_S) if retry else []

    # A plain function without arguments: Prefect would otherwise walk through every plan it is handed.
    def step() -> T:
        return action()

    return task(
        name=name,
        cache_policy=NO_CACHE,
        retries=len(delays),
        retry_delay_seconds=delays,
        retry_condition_fn=_has_lost_the_hub,
    )(step)()


def _has_lost_the_hub(_task: object, _run: object, state: State[object]) -> bool:
    """Only a Hub that is down is worth another try; anything else would fail the same way again."""
    return isinstance(state.result(raise_on_failure=False), HubUnavailable)


@dataclass
class Night:
    """What a run of the flow has seen so far."""

    board: OpenBoard
    ui: Terminal
    started_at: datetime = field(default_factory=utc_now)
    settled: Settled = field(default_factory=lambda: Settled((), (), ()))
    collected: list[Collected] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def collect(self, settled: Settled) -> None:
        """Take over what a look at the store has found; each ended evaluation is a task run of its own."""
        self.settled = settled
        self.problems += [each for each in settled.problems if each not in self.problems]
        for each in settled.collected:
            self.collected.append(each)
            show_outcome(each, self.ui)

    def count_done(self, plan: Plan) -> int:
        """How many evaluations of the plan have ended."""
        return len({each.evaluation_id for each in self.collected} & {e.evaluation_id for e in plan.evaluations})

    def collect_elsewhere(self, plan: Plan, not_started: set[str]) -> None:
        """Take over evaluations of our plan that another flow launched or collected first."""
        seen = {each.evaluation_id for each in self.collected} | self.settled.in_flight | not_started
        for shard in (shard for job in plan.jobs for shard in job.shards):
            folder = self.board.store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt)
            if shard.evaluation_id not in seen and (folder / "outcome.json").exists():
                self.collected.append(collect_attempt(self.board.store, folder, utc_now()))
                show_outcome(self.collected[-1], self.ui)


def show_outcome(each: Collected, ui: Terminal) -> None:
    """One task run an evaluation, completed or failed as the evaluation is, and a line for the operator."""
    name = f"{each.model_id}@{each.revision[:7]} {each.suite}"

    @task(name="evaluation", task_run_name=name.replace("{", "").replace("}", ""), cache_policy=NO_CACHE)
    def evaluation() -> object:
        if each.state == "completed":
            return Completed(message="scored")
        return Failed(message=f"{each.state}: {each.reason}")

    evaluation(return_state=True)
    if each.state == "completed":
        ui.say(f"  done    {name}", style="green")
        return
    ui.warn(f"{each.state} {name}: {each.reason}")
    if each.has_started:
        ui.say(f"  log: {each.log}")
    for line in each.log_tail:
        ui.say(f"    | {line}", style="dim")


def discover_commits(night: Night) -> Discovery:
    """Ask the Hub, then keep what is new."""
    discovery = night.board.discover(utc_now())
    night.board.record_discovery(discovery)
    fresh = [commit for commit in discovery.commits if commit.state == "ok"]
    night.ui.step(
        f"Discover: {count(len(discovery.heads), 'watched head')}, {count(len(fresh), 'new commit')}, "
        f"{count(len(discovery.commits) - len(fresh), 'new one')} that cannot be evaluated."
    )
    for problem in map(str, discovery.problems):
        night.ui.warn(problem)
        night.problems.append(problem)
    return discovery


def make_plan(night: Night, discovery: Discovery, suites: list[ResolvedSuite]) -> Plan:
    """Decide, show and declare."""
    plan = night.board.plan(discovery, suites, night.settled.in_flight, utc_now())
    night.board.declare(suites, plan.created_at)
    night.ui.show_plan(plan)
    return plan


def fetch_datasets(night: Night, plan: Plan, suites: list[ResolvedSuite]) -> list[ResolvedSuite]:
    """Fetch what the planned suites need; returns the suites that can run."""
    wanted = {evaluation.suite_version for evaluation in plan.evaluations}
    ready = []
    for suite in suites:
        if suite.version not in wanted:
            continue
        try:
            night.board.fetch_datasets(suite)
            ready.append(suite)
        except FetchError as error:
            night.problems.append(f"Suite {suite.suite.suite} cannot run: {error}")
            night.ui.warn(night.problems[-1])
    return ready


def run_jobs(night: Night, plan: Plan, suites: list[ResolvedSuite], wait_min: float | None) -> list[str]:
    """Launch the plan's jobs as places become free, collect what ends; returns the evaluations not started."""
    launcher, cluster = night.board.launcher(plan, suites), night.board.bundle.cluster
    ready = {suite.version for suite in suites}
    jobs = [
        _keep_shards(job, lambda s: launcher.evaluations[s.evaluation_id].suite_version in ready) for job in plan.jobs
    ]
    queue = deque(job for job in jobs if job.shards)
    deadline = None if wait_min is None else utc_now() + timedelta(minutes=wait_min)
    with Watch(night.board.store, plan, night.ui) as watch:
        while True:
            night.collect(night.board.settle(utc_now()))
            if queue and night.settled.open_jobs < cluster.max_jobs:
                fetch_and_launch(night, launcher, queue, cluster.max_jobs - night.settled.open_jobs)
                night.collect(night.board.settle(utc_now()))
            watch.update(night.settled, night.count_done(plan))
            if (not queue and not night.settled.open) or (deadline and utc_now() >= deadline):
                break
            time.sleep(cluster.poll_interval_s)
    not_started = [shard for job in queue for shard in job.shards]
    night.collect_elsewhere(plan, {shard.evaluation_id for shard in not_started})
    return [shard.evaluation_id for shard in not_started]


def _keep_shards(job: Job, is_kept: Callable[[Shard], bool]) -> Job:
    return job.model_copy(update={"shards": tuple(shard for shard in job.shards if is_kept(shard))})


def fetch_and_launch(night: Night, launcher: Launcher, queue: deque[Job], free: int) -> None:
    """Take as many jobs as there are free places, fetch their models, submit them as one array."""
    batch = [queue.popleft() for _ in range(min(free, len(queue)))]
    batch = [job for job in fetch_models(night, launcher, batch) if job.shards]
    with launching(night.board.store):
        # Another flow may have launched while this one was fetching.
        night.collect(night.board.settle(utc_now()))
        free = max(0, night.board.bundle.cluster.max_jobs - night.settled.open_jobs)
        queue.extendleft(reversed(batch[free:]))
        if batch[:free]:
            launcher.launch(batch[:free], utc_now())


def fetch_models(night: Night, launcher: Launcher, jobs: list[Job]) -> list[Job]:
    """Fetch the models of some jobs, several at once. One that cannot be fetched leaves its job; the reason is kept."""
    commits, evaluations = night.board.read_commits(), launcher.evaluations
    shards = [shard for job in jobs for shard in job.shards]
    wanted = {each.fingerprint: each for each in (evaluations[shard.evaluation_id] for shard in shards)}
    with ThreadPoolExecutor(night.board.bundle.cluster.fetch_parallelism) as pool:
        fetched = pool.map(lambda each: fetch_model(night, commits[each.model_id, each.revision]), wanted.values())
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
        if isinstance(error.__cause__, HubUnavailable):
            raise error.__cause__ from error
        return str(error)
    return None


def rebuild(night: Night) -> None:
    """Build the warehouse where the lake has grown."""
    if result := night.board.rebuild(utc_now()):
        night.ui.step(f"Rebuild: {result.path.name} in {duration(result.elapsed_s)}.")
    else:
        night.ui.step("Rebuild: nothing new since the current build.")


def report(night: Night, discovery: Discovery, plan: Plan, not_started: Iterable[str]) -> NightReport:
    """Sum the night up, for the terminal and as Prefect artifacts."""
    result = NightReport(
        board=plan.board,
        started_at=night.started_at,
        ended_at=utc_now(),
        new_commits=tuple(
            NewCommit(model_id=c.model_id, revision=c.revision, state=c.state, reason=c.reason)
            for c in discovery.commits
        ),
        plan=plan,
        collected=tuple(night.collected),
        in_flight=tuple(sorted(night.settled.in_flight)),
        not_started=tuple(not_started),
        problems=tuple(night.problems),
    )
    create_markdown_artifact(describe_night(result), key="night", description=f"What the night did on {plan.board}")
    for suite in night.board.bundle.suites:
        ranking = rank_records(night.board.store, suite)
        if ranking:
            create_table_artifact(
                ranking, key=f"ranking-{suite.replace('_', '-').replace('.', '-')}", description=suite
            )
    return result
