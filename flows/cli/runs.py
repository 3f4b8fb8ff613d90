"""The commands that run evaluations and look after them: nightly, plan, collect, status, cancel, retry."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightboard.flows.cli.options import (
    BoardHereOption,
    BoardOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    QuietOption,
    StoreOption,
    choose_board,
    example,
    find_board_here,
    find_filled_store,
    find_format,
    find_output,
    find_store,
    run_history,
    usage_of_format,
)
from nightboard.flows.display.format_choice import Format

if TYPE_CHECKING:
    from nightboard.flows.display.console import Terminal
    from nightboard.tasks.overview import Overview
    from nightboard.tasks.planning.result import Plan, Skip

app = typer.Typer()

WATCH_EVERY_S = 5

WaitOption = Annotated[
    str | None, typer.Option(help="Wait at most this long for jobs (90s, 30m, 8h, 0). Default: wait for all jobs.")
]


@app.command(epilog=example("nightboard nightly --board quickstart --wait 8h"))
def nightly(
    board: BoardOption,
    store: StoreOption = None,
    wait: WaitOption = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Only this watched model; may be repeated. Default: all.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and what not, and why; change nothing.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Evaluate new commits and update the leaderboard."""
    started = time.monotonic()  # what is imported below takes seconds, too
    from nightboard.flows.cli.leaderboard import show_rankings
    from nightboard.flows.display.console import Terminal, count, duration
    from nightboard.profiles.loading.load import load_board

    if dry_run:
        print_plan(board, store, models)
        return
    wait_min = parse_minutes(wait)
    # The board is read before a server is started: a mistake in it is reported at once.
    found, ui = find_store(board if store is None else None, store), Terminal(is_quiet=quiet)
    with run_history(found) as history:
        # Importing it imports Prefect, whose settings must stand by then.
        from nightboard.flows.nightly import run_nightly

        try:
            report = run_nightly(board, str(found.root), wait_min, history, models=models or None, is_quiet=quiet)
        except KeyboardInterrupt:
            typer.echo(
                "\nInterrupted. Submitted jobs keep running; `nightboard collect` gathers their results.", err=True
            )
            raise typer.Exit(130) from None
    if not quiet:
        show_rankings(load_board(board), found)
    if report.in_flight or report.not_started:
        ui.say(
            f"{count(len(report.in_flight), 'evaluation')} still running, {len(report.not_started)} not started; "
            "the next run continues from here."
        )
    ui.say(
        f"Run finished: {count(len(report.evaluated), 'evaluation')} completed, {len(report.failed)} failed, "
        f"in {duration(time.monotonic() - started)}."
    )
    show_given_up(ui, report.given_up, board)
    if report.has_failures:
        raise typer.Exit(3)


def show_given_up(ui: Terminal, given_up: Sequence[Skip], board: str) -> None:
    """Say how many models no run tries again and what to do; their causes, too, unless it is quiet."""
    from nightboard.flows.display.console import count
    from nightboard.flows.run.report import advise_given_up, count_models, list_given_up

    if given_up:
        ui.warn(f"{count(count_models(given_up), 'model')} given up: {advise_given_up(board)}.")
    for line in list_given_up(given_up):
        ui.say(f"  {line}")


@app.command(
    epilog=example(
        "nightboard backfill --board mine --select 'model:Qwen/*,benchmark:mmlu_pro,state:stale' --dry-run",
        "nightboard backfill --board mine --select 'state:failed' --reason 'the driver is repaired'",
        "nightboard backfill --board mine --select 'model:Qwen/Qwen3-8B' --replicate",
    )
)
def backfill(
    board: BoardOption,
    select: Annotated[
        str, typer.Option(help="What to evaluate: terms such as model:Qwen/* or state:stale; comma: and, space: or.")
    ],
    exclude: Annotated[str | None, typer.Option(help="What not to evaluate of it, in the same language.")] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Only these benchmarks: bbh,gpqa. Default: all that are selected.")
    ] = None,
    replicate: Annotated[
        bool, typer.Option("--replicate", help="Evaluate again what is scored already, beside the old score.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    priority: Annotated[int, typer.Option(help="Above 0: before other requests.")] = 0,
    wait: WaitOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and what not, and why; launch nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, whatever it costs.")] = False,
    store: StoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Evaluate a selection: what is missing, failed or stale.

    The language is in docs/selection.md. It becomes a request: interrupted, it continues when asked again, and
    in the next nightly run.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.tasks.requests.backfill import BackfillOrder

    chosen = tuple(name.strip() for name in (benchmarks or "").split(",") if name.strip())
    if benchmarks is not None and not chosen:
        raise typer.BadParameter("names no benchmark; leave it away for all", param_hint="--benchmarks")
    order, wait_min = BackfillOrder(select, exclude, chosen, replicate, reason, priority), parse_minutes(wait)
    found = find_store(board if store is None else None, store)
    with run_history(found, starts_server=not dry_run) as history:
        # Importing it imports Prefect, whose settings must stand by then.
        from nightboard.flows.backfill import print_backfill, run_backfill

        if dry_run:
            print_backfill(board, order, name_caller(), str(found.root))
            return
        from nightboard.profiles.loading.load import load_board

        limit = load_board(board).board.budget.ask_above_gpu_hours
        try:
            report = run_backfill(
                board, order, name_caller(), str(found.root), wait_min, history,
                confirm=lambda plan: confirm_cost(plan, limit, is_sure=yes), is_quiet=quiet,
            )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo("\nInterrupted. Submitted jobs keep running; the same command continues.", err=True)
            raise typer.Exit(130) from None
    if report is None:
        return
    from nightboard.flows.run.report import summarize_run

    Terminal(is_quiet=quiet).say(f"Backfill: {summarize_run(report)}.")
    if report.has_failures:
        raise typer.Exit(3)


@app.command(epilog=example("nightboard plan --board quickstart"))
def plan(board: BoardHereOption = None, store: StoreOption = None) -> None:
    """Show what the next run would evaluate, and why.

    Also shows what it would skip. Changes nothing.
    """
    print_plan(board or find_board_here(), store)


@app.command(epilog=example("nightboard collect --board quickstart"))
def collect(board: BoardOption, store: StoreOption = None, quiet: QuietOption = False) -> None:
    """Collect finished evaluations; update the leaderboard.

    For jobs that ended after the last `nightly` stopped waiting. Launches nothing.
    """
    found = find_store(board if store is None else None, store)
    with run_history(found, starts_server=False) as history:
        from nightboard.flows.collect import has_failures, run_collect

        run = run_collect(board, found.root, history, is_quiet=quiet)
    if has_failures(run):
        raise typer.Exit(3)


@app.command(
    epilog=example(
        "nightboard status",
        "nightboard status --board quickstart --watch",
        "nightboard status --store nightboard-store",
    )
)
def status(
    board: BoardHereOption = None,
    store: StoreOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds, until Ctrl-C.")] = False,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Show what ran, what failed and what to do, what runs and waits.

    Without --board and --store: of the board in this folder. json has all of it, other formats have the running
    and waiting jobs. Changes nothing.
    """
    form = find_format(form, output)
    if watch and (form is not Format.table or not sys.stdout.isatty()):
        raise typer.BadParameter("shows a table on a terminal; leave --format away, or --watch", param_hint="--watch")
    look, max_gpus = prepare_overview(choose_board(board, store), store)
    if form is not Format.table:
        print_overview(look(), form, output, force)
        return
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.overview import show_overview

    ui = Terminal()
    while watch:
        seen = look()
        ui.console.clear()
        show_overview(ui, seen, max_gpus)
        ui.say(f"Every {WATCH_EVERY_S} s, since {seen.at:%H:%M:%S} UTC. Ctrl-C ends it; jobs keep running.", "dim")
        try:
            time.sleep(WATCH_EVERY_S)
        except KeyboardInterrupt:
            return
    show_overview(ui, look(), max_gpus)


def prepare_overview(board: str | None, store: Path | None) -> tuple[Callable[[], Overview], int | None]:
    """What looks at a board or a store, and how many GPUs its cluster may use."""
    from nightboard.tasks.cluster.backends import open_executor
    from nightboard.tasks.overview import look
    from nightboard.tasks.runs.open_runs import find_executor, list_open
    from nightboard.tasks.store.records import utc_now

    max_gpus, declared = None, None
    if board is None:
        found = find_filled_store(None, store)
        executor_name = find_executor(found, utc_now())
    else:
        # Without the board's Hub, which is of no use here and slow to import.
        from nightboard.profiles.loading.load import load_board

        bundle = load_board(board)
        found, declared = find_store(None, store or bundle.store), bundle.board
        executor_name, max_gpus = bundle.cluster.executor, bundle.cluster.max_gpus
    executor = open_executor(executor_name) if executor_name else None

    def look_now() -> Overview:
        now = utc_now()
        under_way = list_open(found, executor, now)
        seen = look(found, under_way, now, board, declared)
        away = "The cluster does not answer; this is what the store knows. Try again later."
        return replace(seen, problems=(*seen.problems, away)) if under_way.is_cluster_away else seen

    return look_now, max_gpus


def print_overview(seen: Overview, form: Format, output: Path | None, force: bool) -> None:
    """All of it as JSON, or the running and waiting jobs as rows."""
    from nightboard.flows.display.overview import as_json
    from nightboard.flows.display.status import print_status
    from nightboard.tasks.store.layout import Store

    target = find_output(output, Store(Path(seen.store)), force)
    with usage_of_format(target):
        if form is not Format.json:
            print_status(seen.open, form, target)
        elif target is None:
            typer.echo(as_json(seen))
        else:
            with target.open() as file:
                file.write(as_json(seen).encode())


@app.command(epilog=example("nightboard cancel --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def cancel(
    board: BoardOption,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="First letters of evaluation ids, models or unique endings of them, model@revision, or job ids."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Cancel all running and waiting evaluations.")] = False,
    store: StoreOption = None,
) -> None:
    """Stop running or waiting evaluations.

    Later runs skip them until `nightboard retry`; the table `failures` has the reason.
    """
    from nightboard.flows.display.console import Terminal, count
    from nightboard.tasks.board import OpenBoard
    from nightboard.tasks.planning.history import read_evaluations
    from nightboard.tasks.runs.cancel import choose
    from nightboard.tasks.runs.status import describe_open
    from nightboard.tasks.store.records import utc_now

    if bool(targets) == everything:
        raise typer.BadParameter("name what to cancel, or use --all (not both)", param_hint="TARGETS")
    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    shards = opened.list_open(utc_now()).open
    known = read_evaluations(opened.store).values()
    chosen = list(shards) if everything else choose(shards, targets or [], known)
    if not chosen:
        ui.say("No evaluations are running or waiting; nothing changed.")
        return
    rows, _ = describe_open(chosen, utc_now())
    done = opened.cancel(shards, chosen, name_caller(), utc_now())
    for row in rows:
        ui.say(f"cancelled  {row.model_id}@{row.revision[:7]} {row.suite} {row.shard} {row.job_id or ''}")
    ui.say(
        f"{count(len(done.shards), 'shard')} cancelled, {count(len(done.job_ids), 'job')} stopped. "
        "After the next run or `nightboard collect`, `nightboard retry` lets later runs evaluate them again."
    )


@app.command(epilog=example("nightboard retry --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def retry(
    board: BoardOption,
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="First letters of evaluation ids, models or unique endings of them, or model@revision."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that failed for good or were cancelled.")] = False,
    state: Annotated[
        str | None,
        typer.Option(help="Only those that ended as failed, out_of_memory, cancelled ..."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only those whose reason contains this text.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be retried; change nothing.")] = False,
    store: StoreOption = None,
) -> None:
    """Retry failed or cancelled evaluations in the next run.

    For evaluations that later runs skip, since all attempts failed or somebody cancelled them. Earlier attempts stay in
    the tables and no longer count.
    """
    from nightboard.flows.display.console import Terminal, count, shorten
    from nightboard.profiles.models.endings import AT_FAULT
    from nightboard.tasks.board import OpenBoard
    from nightboard.tasks.runs.retry_stopped import SEEN_LATER, choose_stopped
    from nightboard.tasks.store.records import utc_now

    if bool(targets) == everything:
        raise typer.BadParameter("name what to retry, or use --all (not both)", param_hint="TARGETS")
    if state is not None and state not in AT_FAULT:
        raise typer.BadParameter(
            f"unknown state (got {state}). Use one of: {', '.join(AT_FAULT)}", param_hint="--state"
        )
    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    stopped, known = opened.find_stopped()
    chosen = stopped if everything else choose_stopped(stopped, targets or [], known)
    chosen = [stop for stop in chosen if state in (None, stop.ending) and (reason or "") in stop.reason]
    if not dry_run:
        opened.free(chosen, name_caller(), utc_now())
    told: set[str] = set()
    for each in chosen:
        run, said = each.evaluation, "as before" if each.reason in told else shorten(each.reason)
        told.add(each.reason)
        ui.say(f"{'would retry' if dry_run else 'to retry'}  {run.model_id}@{run.revision[:7]} {run.suite}: {said}")
    number = count(len({stop.evaluation.evaluation_id for stop in chosen}), "evaluation")
    if not chosen:
        ui.say(f"No matching evaluation failed for good or was cancelled; nothing changed. {SEEN_LATER}")
    elif dry_run:
        ui.say(f"{number} would be retried; nothing changed.")
    else:
        ui.say(f"{number} to retry. The next run evaluates those that the watch list still has.")


def confirm_cost(plan: Plan, limit: float | None, *, is_sure: bool) -> bool:
    """Whether a plan may be carried out: above the board's limit this asks on a terminal, and refuses elsewhere."""
    if is_sure or limit is None or plan.device_hours <= limit:
        return True
    from nightboard.flows.display.console import Terminal, word_hours
    from nightboard.flows.display.plan import show_plan

    show_plan(Terminal(), plan)
    cost = f"{word_hours(plan.device_hours)} GPU-hours, above the {limit:g} of ask_above_gpu_hours"
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"the plan takes {cost}; add --yes to launch it", param_hint="--yes")
    return typer.confirm(f"The plan takes {cost}. Launch it?")


def name_caller() -> str:
    """User and machine, for the records."""
    import getpass
    import socket

    return f"{getpass.getuser()} on {socket.gethostname()}"


def print_plan(board: str, store: Path | None, models: Sequence[str] | None = None) -> None:
    """Show a plan, for all watched models or some; write nothing."""
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.plan import show_plan
    from nightboard.tasks.board import OpenBoard
    from nightboard.tasks.store.records import utc_now

    ui = Terminal()
    opened = OpenBoard.open(board, str(store) if store else None, ui.warn)
    opened = opened.narrow(models) if models else opened
    discovery = opened.discover(utc_now())
    suites, problems = opened.resolve_suites(dry_run=True)
    for problem in [*map(str, discovery.problems), *problems]:
        ui.warn(problem)
    show_plan(ui, opened.plan(discovery, suites, utc_now()))


def parse_minutes(text: str | None) -> float | None:
    """`90s`, `30m`, `8h`, `1d` or `0` as minutes; None stays None."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None or (not match[2] and float(match[1])):
        raise typer.BadParameter(
            f"write a number and s, m, h or d, such as 30m or 8h (got {text})", param_hint="--wait"
        )
    return float(match[1]) * {"s": 1 / 60, "m": 1, "h": 60, "d": 1440, "": 1}[match[2]]
