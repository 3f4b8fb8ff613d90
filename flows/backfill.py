"""The flow `backfill`: turns a selection into a request, and evaluates what it asks for.

The request is on disk before anything is launched: what an interrupted backfill leaves, it continues when it is started
again, and otherwise the next nightly run.
"""

from __future__ import annotations

from collections.abc import Callable

from prefect import flow, task
from prefect.client.schemas.objects import State

from nightboard.flows.collect import collect_ended
from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.plan import show_plan
from nightboard.flows.nightly import evaluate, pin_datasets
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.run.deployed import name_run, run_deployed, tag_board
from nightboard.flows.run.notify import list_causes, notify, notify_of_error
from nightboard.flows.run.report import RunReport, summarize_run
from nightboard.flows.run.state import RunState
from nightboard.flows.run.steps import run_step
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.hub.discover import Discovery
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.requests.backfill import Backfill, BackfillOrder
from nightboard.tasks.store.layout import SHOWN_ID
from nightboard.tasks.store.records import ResolvedSuite, utc_now

# Whether a plan may be carried out.
Confirm = Callable[[Plan], bool]


@flow(name="backfill", flow_run_name=name_run, validate_parameters=False)
def backfill(
    board: str,
    select: str,
    store: str | None = None,
    exclude: str | None = None,
    benchmarks: list[str] | None = None,
    replicate: bool = False,
    reason: str | None = None,
    wait_min: float | None = None,
) -> State[None]:
    """Evaluate what an expression selects: what is missing, failed or stale, with `replicate` also what is scored.

    `select` and `exclude`: such as model:Qwen/*,benchmark:mmlu_pro (docs/selection.md). `wait_min` bounds the waiting
    for jobs; what still runs then is collected by the next run.
    """
    order = BackfillOrder(select, exclude, tuple(benchmarks or ()), replicate, reason)

    def run(history: History) -> tuple[str, bool]:
        report = run_backfill(board, order, "flow", store, wait_min, history)
        return (summarize_run(report), report.has_failures) if report else ("Nothing to evaluate", False)

    return run_deployed(run)


def run_backfill(
    board: str,
    order: BackfillOrder,
    by: str,
    store: str | None = None,
    wait_min: float | None = None,
    history: History = NO_HISTORY,
    *,
    confirm: Confirm = lambda plan: True,
    is_quiet: bool = False,
) -> RunReport | None:
    """Plan what an order asks for, and carry it out if `confirm` allows it; None: nothing was to do, or not allowed.

    Raises SelectionError, ProfileError, HubUnavailable or StoreError, each with one message that says what to do.
    """
    ui = Terminal(is_quiet=is_quiet, log=history.log)
    run = RunState(OpenBoard.open(board, store, ui.warn), ui, history)
    parameters = {"board": board, "select": order.selection, "exclude": order.exclusion}
    with history.flow_run("backfill", tag_board(run.board.bundle), parameters) as ending:
        run.board.parse_order(order)  # a mistake is told at once
        run_step(run, collect_ended)
        suites = run_step(run, pin_datasets)
        found = run_step(run, make_request, order, by, suites)
        with notify_of_error(run):
            report = _carry_out(run, found, suites, wait_min, confirm)
        notify(run, list_causes(report) if report else [], is_night=False)
        ending.summary = summarize_run(report) if report else "Nothing to evaluate"
        ending.has_failures = report is not None and report.has_failures
    return report


def _carry_out(
    run: RunState, found: Backfill, suites: list[ResolvedSuite], wait_min: float | None, confirm: Confirm
) -> RunReport | None:
    if not found.entry.targets or not confirm(run.board.plan_backfill(found, suites, utc_now())):
        return None
    run.board.accept_backfill(found)
    run.only_requests = frozenset([found.entry.request.request_id])
    return evaluate(run, Discovery(), suites, wait_min)


@task(name="select", tags=["store"])
def make_request(run: RunState, order: BackfillOrder, by: str, suites: list[ResolvedSuite]) -> Backfill:
    """Find what the order selects, and make it a request."""
    found, problems = run.board.make_backfill(order, suites, by, utc_now())
    run.report_problems(problems)
    show_backfill(run.ui, found)
    return found


def show_backfill(ui: Terminal, found: Backfill) -> None:
    """What was selected, and which request it is."""
    request, targets = found.entry.request, found.entry.targets
    if not targets:
        ui.say(
            f"Nothing to evaluate: {count(found.n_scored, 'selected benchmark')} scored already, as the suite is"
            " declared now. --replicate evaluates them again, beside the old scores."
        )
        return
    models = count(len({target.model_id for target in targets}), "model")
    known = f", asked already by {request.asked_by} on {request.asked_at:%Y-%m-%d}" if found.is_known else ""
    ui.step(f"Backfill {request.request_id[:SHOWN_ID]}: {count(len(targets), 'evaluation')} of {models}{known}.")
    if found.n_scored:
        ui.say(
            f"{count(found.n_scored, 'selected benchmark')} scored already, as the suite is declared now: "
            "--replicate evaluates them again, beside the old scores."
        )


def print_backfill(board: str, order: BackfillOrder, by: str, store: str | None) -> None:
    """Show what a backfill would evaluate, and what not and why; store nothing but commits that were not known."""
    ui = Terminal()
    opened = OpenBoard.open(board, store, ui.warn)
    opened.parse_order(order)  # a mistake is told before the Hub is asked
    suites, problems = opened.resolve_suites(dry_run=True)
    found, more = opened.make_backfill(order, suites, by, utc_now())
    for problem in [*problems, *more]:
        ui.warn(problem)
    show_backfill(ui, found)
    if found.entry.targets:
        show_plan(ui, opened.plan_backfill(found, suites, utc_now()))
