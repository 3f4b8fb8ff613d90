"""The flow `collect`: takes in the evaluations that have ended, and rebuilds the leaderboard. Launches nothing."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.client.schemas.objects import State

from nightboard.flows.display.console import Terminal, count
from nightboard.flows.page import publish_page
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.rebuild import rebuild_stale
from nightboard.flows.run.deployed import name_run, run_deployed, tag_board
from nightboard.flows.run.notify import list_collected_causes, notify, notify_of_error
from nightboard.flows.run.state import RunState
from nightboard.flows.run.steps import run_step
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.store.records import utc_now


@flow(name="collect", flow_run_name=name_run, validate_parameters=False)
def collect(board: str, store: str | None = None) -> State[None]:
    """Collect evaluations that have ended since the last run, and rebuild the leaderboard. Launches nothing."""

    def run(history: History) -> tuple[str, bool]:
        ended = run_collect(board, store, history)
        return summarize_collect(ended), has_failures(ended)

    return run_deployed(run)


def run_collect(
    board: str, store: str | Path | None = None, history: History = NO_HISTORY, *, is_quiet: bool = False
) -> RunState:
    """Collect what has ended, whoever launched it, and rebuild the warehouse where that changed something.

    Raises ProfileError, StoreError or BuildError, each with one message that says what to do.
    """
    ui = Terminal(is_quiet=is_quiet, log=history.log)
    opened = OpenBoard.open(board, str(store) if store else None, ui.warn)
    run = RunState(opened, ui, history)
    parameters = {"board": board, "store": str(store) if store else None}
    with history.flow_run("collect", tag_board(opened.bundle), parameters) as ending:
        with notify_of_error(run):
            run_step(run, collect_ended)
            run_step(run, rebuild_stale, opened.store)
        publish_page(run)
        notify(run, list_collected_causes(run), is_night=False)
        ending.summary, ending.has_failures = summarize_collect(run), has_failures(run)
    return run


@task(name="collect", tags=["cluster"])
def collect_ended(run: RunState) -> None:
    """Take in the evaluations that have ended since the last run, whoever launched them."""
    run.collect(run.board.reconcile(utc_now()))
    run.ui.step(f"Collect: {summarize_collect(run)}.")


def summarize_collect(run: RunState) -> str:
    """What was collected, and what still runs."""
    n_open = len(run.open_runs.in_flight)
    return f"{count(len(run.collected), 'attempt')} collected, {count(n_open, 'evaluation')} still running"


def has_failures(run: RunState) -> bool:
    """Whether an operator should look."""
    return bool(run.problems) or any(attempt.state != "completed" for attempt in run.collected)
