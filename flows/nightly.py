"""The nightly flow: collect, discover, plan, fetch, launch, rebuild, report.

Owns the order of the steps. Every step can be run again; killed anywhere, the next run continues from what is in the
store. Prefect schedules, starts and shows a run; the steps are Prefect tasks, and run outside of Prefect's engine (see
run/steps.py), so that none needs its server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from prefect import flow, task
from prefect.client.schemas.objects import State

from nightboard.flows.collect import collect_ended
from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.plan import show_plan
from nightboard.flows.display.requests import describe_intake, list_unusable
from nightboard.flows.page import publish_page
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.rebuild import rebuild_stale
from nightboard.flows.run.deployed import name_run, run_deployed, tag_board
from nightboard.flows.run.dispatcher import run_jobs
from nightboard.flows.run.notify import list_causes, notify, notify_of_error
from nightboard.flows.run.report import NewCommit, RunReport, describe_run, rank_records, summarize_run
from nightboard.flows.run.state import RunState
from nightboard.flows.run.steps import run_step
from nightboard.tasks.board import OpenBoard, tell_unavailable
from nightboard.tasks.hub.discover import Discovery
from nightboard.tasks.planning.result import Plan, TargetState
from nightboard.tasks.store.records import ResolvedSuite, utc_now


@flow(name="nightly", flow_run_name=name_run, validate_parameters=False)
def nightly(
    board: str, store: str | None = None, wait_min: float | None = None, models: list[str] | None = None
) -> State[None]:
    """Find new commits, evaluate them, rebuild the leaderboard.

    `wait_min` bounds the waiting for jobs; what still runs then is collected by the next run. `models`: only these of
    the watched ones.
    """

    def run(history: History) -> tuple[str, bool]:
        report = run_nightly(board, store, wait_min, history, models=models)
        return summarize_run(report), report.has_failures

    return run_deployed(run)


def run_nightly(
    board: str,
    store: str | None = None,
    wait_min: float | None = None,
    history: History = NO_HISTORY,
    *,
    models: Sequence[str] | None = None,
    is_quiet: bool = False,
) -> RunReport:
    """Evaluate what is new on a board and rebuild its leaderboard.

    `wait_min` bounds the waiting for jobs; what still runs then is collected by the next run. None waits for all.
    `models`: only these of the watched ones, and no requests; None: all.
    Raises ProfileError, HubUnavailable, StoreError or NotWatchedError, each with one message that says what to do.
    """
    ui = Terminal(is_quiet=is_quiet, log=history.log)
    opened = OpenBoard.open(board, store, ui.warn)
    run = RunState(opened, ui, history)
    if models is not None:
        run = RunState(opened.narrow(models), ui, history, only_requests=frozenset())
    parameters = {"board": board, "store": store, "wait_min": wait_min, "models": models}
    with history.flow_run("nightly", tag_board(run.board.bundle), parameters) as ending:
        with notify_of_error(run):
            report = run_steps(run, wait_min)
        notify(run, list_causes(report), is_night=models is None)
        ending.summary, ending.has_failures = summarize_run(report), report.has_failures
    return report


def run_steps(run: RunState, wait_min: float | None) -> RunReport:
    """One step after the other."""
    run_step(run, collect_ended)
    discovery = run_step(run, discover_commits)
    suites = run_step(run, pin_datasets)
    run_step(run, read_requests, suites)
    return evaluate(run, discovery, suites, wait_min)


def evaluate(run: RunState, discovery: Discovery, suites: list[ResolvedSuite], wait_min: float | None) -> RunReport:
    """Plan, run the jobs, and rebuild: the steps that all flows share which evaluate something."""
    plan = run_step(run, make_plan, discovery, suites)
    if not run_step(run, fetch_datasets, plan, suites):
        plan = run_step(run, make_plan, discovery, suites)
    not_started = run_jobs(run, plan, suites, wait_min, lambda: plan_again(run, discovery, suites))
    record_requests(run, plan, lambda: run.plan(discovery, suites, run.started_at))
    run_step(run, rebuild_stale, run.board.store)
    publish_page(run)
    return run_step(run, write_report, discovery, plan, not_started)


@task(name="discover", tags=["hub"], retries=1, retry_delay_seconds=5)
def discover_commits(run: RunState) -> Discovery:
    """Ask the Hub which commits the watched models have, and keep those that are new."""
    run.ui.say(f"Asking {run.board.hub.endpoint} ...", style="dim")
    discovery = run.board.discover(utc_now())
    run.board.record_discovery(discovery)
    accepted = [commit for commit in discovery.commits if commit.state == "ok"]
    run.ui.step(
        f"Discover: {count(len(discovery.heads), 'watched head')}, {count(len(accepted), 'new commit')}, "
        f"{len(discovery.commits) - len(accepted)} new ones that cannot be evaluated."
    )
    run.report_problems(map(str, discovery.problems))
    return discovery


@task(name="pin datasets", tags=["hub"], retries=1, retry_delay_seconds=5)
def pin_datasets(run: RunState) -> list[ResolvedSuite]:
    """Find the commits of the suites' datasets, and which benchmarks cannot run because theirs cannot be had."""
    suites, problems = run.board.resolve_suites()
    run.report_problems(problems)
    return suites


@task(name="read requests", tags=["hub"])
def read_requests(run: RunState, suites: list[ResolvedSuite]) -> None:
    """Read new request files from the board's folders and datasets, check them, and make requests of them."""
    intake = run.board.read_new_requests(suites, utc_now())
    if intake is not None and intake.is_news:
        run.ui.step(describe_intake(intake))
        for line in list_unusable(intake):
            run.ui.warn(line)
        run.report_problems(intake.problems)


@task(name="plan", tags=["store"])
def make_plan(run: RunState, discovery: Discovery, suites: list[ResolvedSuite]) -> Plan:
    """Decide what to evaluate, show it with what is skipped and why, and record what the profiles declare."""
    plan = run.plan(discovery, suites)
    run.board.declare(suites, plan.created_at)
    run.board.record_requests(plan, "nightly", plan.created_at)
    show_plan(run.ui, plan)
    return plan


def record_requests(run: RunState, plan: Plan, replan: Callable[[], Plan]) -> None:
    """Store how far the requests are that the plan has, after its jobs ended or time is up."""
    if plan.targets:
        after = replan()
        targets = tuple(map(_leave_to_next_run, after.targets))
        run.board.record_requests(after.model_copy(update={"targets": targets}), "nightly", after.created_at)


def _leave_to_next_run(target: TargetState) -> TargetState:
    """What this run might still launch, it does not any more."""
    left = {"state": "waiting", "reason": "the next nightly run"}
    return target.model_copy(update=left) if target.state == "planned" else target


def plan_again(run: RunState, discovery: Discovery, suites: list[ResolvedSuite]) -> Plan:
    """What is left to do in this run, after something has not gone as planned."""
    plan = run.plan(discovery, suites, run.started_at)
    if not fetch_datasets.fn(run, plan, suites):
        plan = run.plan(discovery, suites, run.started_at)
    return plan


@task(name="fetch datasets", tags=["hub"])
def fetch_datasets(run: RunState, plan: Plan, suites: list[ResolvedSuite]) -> bool:
    """Fetch what the plan's benchmarks need, each once a run; says whether all of it is there.

    What cannot be had is unavailable in `suites` from now on.
    """
    versions = {evaluation.evaluation_id: evaluation.suite_version for evaluation in plan.evaluations}
    shards = (planned for job in plan.jobs for planned in job.attempts)
    planned = {(versions[planned.evaluation_id], name) for planned in shards for name in planned.shard.benchmarks}
    wanted, is_complete = planned - run.fetched, True
    for index, suite in enumerate(suites):
        names = [name for name in suite.suite.benchmarks if (suite.version, name) in wanted]
        if not names:
            continue
        run.ui.say(f"Fetch: the datasets of {suite.suite.suite}, except those already in the cache.")
        missing = run.board.fetch_datasets(suite, names)
        run.fetched |= {(suite.version, name) for name in names}
        if missing:
            run.report_problems(tell_unavailable(suite.suite.suite, missing))
            suites[index] = suite.model_copy(update={"unavailable": suite.unavailable | missing})
            is_complete = False
    return is_complete


@task(name="report", tags=["store"])
def write_report(run: RunState, discovery: Discovery, plan: Plan, not_started: Iterable[str]) -> RunReport:
    """Sum the run up: for the terminal, and as artifacts with the rankings."""
    result = RunReport(
        board=plan.board,
        started_at=run.started_at,
        ended_at=utc_now(),
        new_commits=tuple(
            NewCommit(model_id=c.model_id, revision=c.revision, state=c.state, reason=c.reason)
            for c in discovery.commits
        ),
        plan=plan,
        collected=tuple(run.collected),
        in_flight=tuple(sorted(run.open_runs.in_flight)),
        not_started=tuple(not_started),
        problems=tuple(run.problems),
        given_up=run.given_up,
    )
    key = re.sub(r"[^a-z0-9]+", "-", plan.board)
    run.history.add_markdown(f"{key}-report", describe_run(result), "What the run did")
    for suite in run.board.bundle.suites:
        ranking = rank_records(run.board.bundle, run.board.store, suite)
        if ranking:
            run.history.add_table(f"{key}-ranking-{re.sub('[^a-z0-9]+', '-', suite)}", ranking, suite)
    return result
