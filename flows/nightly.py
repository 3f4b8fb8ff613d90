"""The nightly flow: discover, plan, fetch, launch, collect, rebuild, report.

Owns the order of the steps. Every step can be run again; killed anywhere, the next run goes on from what is in the
store. Prefect schedules, starts and shows the night; no step runs inside it, so that none needs it (see history.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from nightboard.flows.display.console import Terminal, count, duration
from nightboard.flows.display.plan import show_plan
from nightboard.flows.prefect_server.history import FLOW, NO_HISTORY, History, Reporter
from nightboard.flows.prefect_server.server import ConfiguredServer
from nightboard.flows.run.dispatcher import run_jobs
from nightboard.flows.run.report import NewCommit, RunReport, describe_run, rank_records, summarize_run
from nightboard.flows.run.state import RunState
from nightboard.tasks.board import OpenBoard, tell_unavailable
from nightboard.tasks.hub.discover import Discovery
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.records import ResolvedSuite, utc_now

T = TypeVar("T")
# The client has tried for half a minute by then.
NETWORK_RETRY_DELAYS_S = (5.0,)


# A night that went to its end although something failed is told from one that could not go on by this tag.
WITH_FAILURES = "with-failures"


@flow(name=FLOW, flow_run_name="nightly {board}", validate_parameters=False)
def nightly(board: str, store: str | None = None, wait_min: float | None = None) -> RunReport | State[RunReport]:
    """A night as Prefect starts it, from a deployment; `run_nightly` is the same without Prefect."""
    history = History(Reporter(ConfiguredServer()), UUID(flow_run.id))
    try:
        report = run_nightly(board, store, wait_min, history)
    finally:
        history.close()
    if report.has_failures:
        return Failed(message=summarize_run(report))
    return report


def run_nightly(
    board: str, store: str | None = None, wait_min: float | None = None, history: History = NO_HISTORY
) -> RunReport:
    """Evaluate what is new on a board and rebuild its leaderboard.

    `wait_min` bounds the waiting for jobs; what still runs then is collected by the next run. None waits for all.
    Raises ProfileError, HubUnavailable or StoreError, each with one message that says what to do.
    """
    ui = Terminal()
    run = RunState(OpenBoard.open(board, store, ui.warn), ui, history)
    history.begin(run.board.bundle.board.board, {"board": board, "store": store, "wait_min": wait_min})
    try:
        report = run_steps(run, wait_min)
    except KeyboardInterrupt:
        history.end("CANCELLED", "Cancelled", "stopped by hand")
        raise
    except BaseException as error:
        history.end("FAILED", "Failed", str(error) or type(error).__name__)
        raise
    if report.has_failures:
        history.end("FAILED", "Failed", summarize_run(report), [WITH_FAILURES])
    else:
        history.end("COMPLETED", "Completed", summarize_run(report))
    return report


def run_steps(run: RunState, wait_min: float | None) -> RunReport:
    """One step after the other."""
    run.collect(run_step(run, "collect earlier runs", lambda: run.board.reconcile(utc_now())))
    discovery = run_step(run, "discover", lambda: discover_commits(run), retry=True)
    suites = run_step(run, "pin data sets", lambda: pin_datasets(run), retry=True)
    plan = run_step(run, "plan", lambda: make_plan(run, discovery, suites))
    if not run_step(run, "fetch data sets", lambda: fetch_datasets(run, plan, suites)):
        plan = run_step(run, "plan without them", lambda: make_plan(run, discovery, suites))
    not_started = run_jobs(run, plan, suites, wait_min, lambda: plan_again(run, discovery, suites))
    run_step(run, "rebuild", lambda: rebuild(run))
    return run_step(run, "report", lambda: report(run, discovery, plan, not_started))


def run_step(run: RunState, name: str, action: Callable[[], T], *, retry: bool = False) -> T:
    """Run one step; `retry` is for steps that ask the network and change nothing on failure."""
    run.tell_news()
    with run.history.step(name):
        for delay_s in NETWORK_RETRY_DELAYS_S if retry else ():
            try:
                return action()
            except HubUnavailable:  # anything else would fail the same way again
                time.sleep(delay_s)
        return action()


def discover_commits(run: RunState) -> Discovery:
    """Ask the Hub, then keep what is new."""
    run.ui.say(f"Asking {run.board.hub.endpoint} ...", style="dim")
    discovery = run.board.discover(utc_now())
    run.board.record_discovery(discovery)
    fresh = [commit for commit in discovery.commits if commit.state == "ok"]
    run.ui.step(
        f"Discover: {count(len(discovery.heads), 'watched head')}, {count(len(fresh), 'new commit')}, "
        f"{count(len(discovery.commits) - len(fresh), 'new one')} that cannot be evaluated."
    )
    run.report_problems(map(str, discovery.problems))
    return discovery


def pin_datasets(run: RunState) -> list[ResolvedSuite]:
    """The suites, each with the commits of its data sets and what of it cannot run."""
    suites, problems = run.board.resolve_suites()
    run.report_problems(problems)
    return suites


def make_plan(run: RunState, discovery: Discovery, suites: list[ResolvedSuite]) -> Plan:
    """Decide, show and declare."""
    plan = run.board.plan(discovery, suites, utc_now())
    run.board.declare(suites, plan.created_at)
    show_plan(run.ui, plan)
    return plan


def plan_again(run: RunState, discovery: Discovery, suites: list[ResolvedSuite]) -> Plan:
    """What is left to do tonight, after something has not gone as planned."""
    plan = run.board.plan(discovery, suites, utc_now(), run.started_at)
    if not fetch_datasets(run, plan, suites):
        plan = run.board.plan(discovery, suites, utc_now(), run.started_at)
    return plan


def fetch_datasets(run: RunState, plan: Plan, suites: list[ResolvedSuite]) -> bool:
    """Fetch what the plan's benchmarks need, each once a night; says whether all of it is there.

    What cannot be had is unavailable in `suites` from now on.
    """
    versions = {evaluation.evaluation_id: evaluation.suite_version for evaluation in plan.evaluations}
    attempts = (planned for job in plan.jobs for planned in job.attempts)
    needed = {(versions[planned.evaluation_id], name) for planned in attempts for name in planned.shard.benchmarks}
    wanted, is_complete = needed - run.fetched, True
    for index, suite in enumerate(suites):
        names = [name for name in suite.suite.benchmarks if (suite.version, name) in wanted]
        if not names:
            continue
        run.ui.say(f"Fetch: the data sets of {suite.suite.suite}; what is in the cache is not fetched again.")
        missing = run.board.fetch_datasets(suite, names)
        run.fetched |= {(suite.version, name) for name in names}
        if missing:
            run.report_problems(tell_unavailable(suite.suite.suite, missing))
            suites[index] = suite.model_copy(update={"unavailable": suite.unavailable | missing})
            is_complete = False
    return is_complete


def rebuild(run: RunState) -> None:
    """Build the warehouse where the lake has grown."""
    with run.ui.show_work() as show:
        result = run.board.rebuild(utc_now(), show)
    if result:
        run.ui.step(f"Rebuild: {result.path.name} in {duration(result.elapsed_s)}.")
    else:
        run.ui.step("Rebuild: nothing new since the current build.")


def report(run: RunState, discovery: Discovery, plan: Plan, not_started: Iterable[str]) -> RunReport:
    """Sum the night up, for the terminal and as artifacts of its history."""
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
    )
    key = re.sub(r"[^a-z0-9]+", "-", plan.board)
    run.history.add_markdown(f"{key}-night", describe_run(result), "What the night did")
    for suite in run.board.bundle.suites:
        ranking = rank_records(run.board.store, suite)
        if ranking:
            run.history.add_table(f"{key}-ranking-{re.sub('[^a-z0-9]+', '-', suite)}", ranking, suite)
    return result
