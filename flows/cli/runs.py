"""The commands that run evaluations and look after them: nightly, plan, collect, status, cancel, retry."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightboard.flows.cli.options import (
    BoardOption,
    DataBoardOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    QuietOption,
    StoreOption,
    example,
    find_filled_store,
    find_format,
    find_output,
    find_store,
    run_history,
    usage_of_format,
)
from nightboard.flows.display.format_choice import Format

if TYPE_CHECKING:
    from nightboard.tasks.runs.status import Status

app = typer.Typer()


@app.command(epilog=example("nightboard nightly --board quickstart --wait 8h"))
def nightly(
    board: BoardOption,
    store: StoreOption = None,
    wait: Annotated[
        str | None,
        typer.Option(help="Wait at most this long for jobs (90s, 30m, 8h, 0). Default: wait for all jobs."),
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
        print_plan(board, store)
        return
    wait_min = parse_minutes(wait)
    # The board is read before a server is started: a mistake in it is reported at once.
    found, ui = find_store(board if store is None else None, store), Terminal(is_quiet=quiet)
    with run_history(found) as history:
        # Importing it imports Prefect, whose settings must stand by then.
        from nightboard.flows.nightly import run_nightly

        try:
            report = run_nightly(board, str(found.root), wait_min, history, is_quiet=quiet)
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
    if report.has_failures:
        raise typer.Exit(3)


@app.command(epilog=example("nightboard plan --board quickstart"))
def plan(board: BoardOption, store: StoreOption = None) -> None:
    """Show what the next run would evaluate, and why.

    Also shows what it would skip. Changes nothing.
    """
    print_plan(board, store)


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


@app.command(epilog=example("nightboard status --board quickstart", "nightboard status --store nightboard-store"))
def status(
    board: DataBoardOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Show running and waiting evaluations.

    State, job, node, age, current benchmark and time left. Changes nothing.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.status import print_status
    from nightboard.tasks.cluster.backends import open_executor
    from nightboard.tasks.runs.open_runs import find_executor, list_open
    from nightboard.tasks.runs.status import describe_open, sum_up_waits
    from nightboard.tasks.store.records import utc_now

    form = find_format(form, output)
    ui, max_gpus = Terminal(), None
    if board is None:
        root = find_filled_store(None, store)
        executor_name = find_executor(root, utc_now())
    else:
        # Without the board's Hub, which is of no use here and slow to import.
        from nightboard.profiles.loading.load import load_board

        bundle = load_board(board)
        root = find_store(None, store or bundle.store)
        executor_name, max_gpus = bundle.cluster.executor, bundle.cluster.max_gpus
    target = find_output(output, root, force)
    under_way = list_open(root, open_executor(executor_name) if executor_name else None, utc_now())
    rows, problems = describe_open(under_way.open, utc_now())
    if rows or form is not Format.table:
        with usage_of_format(target):
            print_status(rows, form, target)
    if form is not Format.table:
        return
    for wait in sum_up_waits(rows):
        ui.say(wait)
    for problem in [*under_way.problems, *problems]:
        ui.warn(problem)
    if under_way.is_cluster_away:
        ui.warn("The cluster does not answer; this is what the store knows. Try again later.")
    ui.say(sum_up(rows, max_gpus))


@app.command(epilog=example("nightboard cancel --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def cancel(
    board: BoardOption,
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Evaluation ids (or their first letters), models, model@revision, or job ids."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Cancel all running and waiting evaluations.")] = False,
    store: StoreOption = None,
) -> None:
    """Stop running or waiting evaluations.

    Later runs skip them until `nightboard retry`; the table `failures` has the reason.
    """
    from nightboard.flows.display.console import Terminal, count
    from nightboard.tasks.board import OpenBoard
    from nightboard.tasks.runs.cancel import choose
    from nightboard.tasks.runs.status import describe_open
    from nightboard.tasks.store.records import utc_now

    if bool(targets) == everything:
        raise typer.BadParameter("name what to cancel, or use --all (not both)", param_hint="TARGETS")
    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    shards = opened.list_open(utc_now()).open
    chosen = list(shards) if everything else choose(shards, targets or [])
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
        typer.Argument(help="Evaluation ids (or their first letters), models, or model@revision."),
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
    from nightboard.flows.display.console import Terminal, count
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
    for each in chosen:
        run = each.evaluation
        ui.say(
            f"{'would retry' if dry_run else 'to retry'}  {run.model_id}@{run.revision[:7]} {run.suite}: {each.reason}"
        )
    number = count(len({stop.evaluation.evaluation_id for stop in chosen}), "evaluation")
    if not chosen:
        ui.say(f"No matching evaluation failed for good or was cancelled; nothing changed. {SEEN_LATER}")
    elif dry_run:
        ui.say(f"{number} would be retried; nothing changed.")
    else:
        ui.say(f"{number} to retry. The next run evaluates those that the watch list still has.")


def name_caller() -> str:
    """User and machine, for the records."""
    import getpass
    import socket

    return f"{getpass.getuser()} on {socket.gethostname()}"


def sum_up(rows: Sequence[Status], max_gpus: int | None) -> str:
    """All running and waiting evaluations in one line."""
    from nightboard.flows.display.console import count

    if not rows:
        return "No evaluations are running."
    jobs: dict[str, Status] = {}
    for row in rows:
        jobs.setdefault(row.job_id or row.evaluation_id, row)
    running = [row for row in jobs.values() if row.state in ("RUNNING", "COMPLETING", "SUSPENDED")]
    gpus = sum(row.gpus for row in running)
    return (
        f"{count(len({row.evaluation_id for row in rows}), 'evaluation')} in {count(len(jobs), 'job')}: "
        f"{len(running)} running on {count(gpus, 'GPU')}{f' of at most {max_gpus}' if max_gpus else ''}, "
        f"{len(jobs) - len(running)} waiting."
    )


def print_plan(board: str, store: Path | None) -> None:
    """Show a plan; write nothing."""
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.plan import show_plan
    from nightboard.tasks.board import OpenBoard
    from nightboard.tasks.store.records import utc_now

    ui = Terminal()
    opened = OpenBoard.open(board, str(store) if store else None, ui.warn)
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
