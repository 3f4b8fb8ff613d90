"""The command line `nightboard`: names, options, exit codes. Everything else is called.

Exit 0: all well (jobs still running included); 1: a failure, said in one message; 2: wrong usage; 3: some evaluations
or files failed, and they are listed.
"""

from __future__ import annotations

import errno
import getpass
import re
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from nightboard.flows.cli.crash import describe_crash
from nightboard.flows.cli.imports import imports
from nightboard.flows.cli.leaderboard import COMPARE_EXAMPLE, RANK_EXAMPLE, compare_command, rank_command, show_ranking
from nightboard.flows.cli.options import (
    BoardOption,
    DataBoardOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    StoreOption,
    example,
    find_format,
    find_output,
    find_store,
    usage_of_format,
)
from nightboard.flows.cli.warehouse import EXPORT_EXAMPLE, SQL_EXAMPLE, export, sql
from nightboard.flows.display.console import Terminal, clean, count, duration
from nightboard.flows.display.formats import Format
from nightboard.flows.display.plan import show_plan
from nightboard.flows.display.status import print_status
from nightboard.flows.prefect_server.history import open_history
from nightboard.flows.run.report import group_setbacks, word_others
from nightboard.profiles.errors import ProfileError
from nightboard.profiles.loading.load import explain_choice, load_board, validate_paths
from nightboard.profiles.loading.store_path import StorePathError
from nightboard.profiles.models.endings import AT_FAULT
from nightboard.tasks.cluster.executor import ExecutorError
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.errors import HubError
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.output_file import OutputFileError, refuse_stores
from nightboard.tasks.runs.cancel import CancelError, choose
from nightboard.tasks.runs.retry_stopped import FreeError, choose_stopped
from nightboard.tasks.runs.status import Status, describe_open, sum_up_waits
from nightboard.tasks.store.layout import Store, StoreError
from nightboard.tasks.store.records import RecordError, utc_now
from nightboard.warehouse.builder.build import BuildError, build
from nightboard.warehouse.builder.publish import NoBuildError
from nightboard.warehouse.lake.files import LakeError
from nightboard.warehouse.reader.connection import QueryError
from nightboard.warehouse.reader.shell import ShellError

KNOWN_ERRORS = (
    ProfileError,
    HubError,
    FetchError,
    StoreError,
    ExecutorError,
    CancelError,
    FreeError,
    RecordError,
    BuildError,
    NoBuildError,
    QueryError,
    ShellError,
    OutputFileError,
    ImportFileError,
    LakeError,
)

app = typer.Typer(
    help="A reproducible leaderboard of Hugging Face models, evaluated commit by commit on your own cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(imports, name="import")


def show_version(is_asked: bool) -> None:
    """Print the version and stop."""
    if is_asked:
        typer.echo(metadata.version("nightboard"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A reproducible leaderboard of Hugging Face models, evaluated commit by commit on your own cluster."""


def main() -> None:
    """Run a command; a failure is one message and exit code 1, never a traceback."""
    try:
        app()
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        typer.echo(f"nightboard: {describe_error(error)}", err=True)
        sys.exit(1)


def describe_error(error: Exception) -> str:
    """What went wrong, without codes that steer a terminal: messages have names and texts from files and the Hub."""
    if isinstance(error, StorePathError):  # a board's is a mistake in its file
        return clean(f"--store: {error}")
    if isinstance(error, KNOWN_ERRORS):
        return clean(str(error))
    return clean(describe_os_error(error)) if isinstance(error, OSError) else describe_crash(error)


def describe_os_error(error: OSError) -> str:
    """What the system refused, where it says where, and what to do."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    where = "" if error.filename is None else f"{error.filename}: "
    advice = "Make room on the disk, then run it again." if is_full else "Check the path and its permissions."
    return f"{where}{error.strerror or error}. {advice}"


@app.command(epilog=example("nightboard nightly --board quickstart --wait 8h"))
def nightly(
    board: BoardOption,
    store: StoreOption = None,
    wait: Annotated[
        str | None,
        typer.Option(help="Wait at most this long for jobs (90s, 30m, 8h, 0); left out: until all are done."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and why not; change nothing.")
    ] = False,
) -> None:
    """Find new commits, evaluate them, rebuild the leaderboard."""
    if dry_run:
        print_plan(board, store)
        return
    wait_min = parse_minutes(wait)
    # The board is read before a server is started: a mistake in it is told at once.
    root = find_store(board if store is None else None, store).root
    ui = Terminal()
    with open_history(root / "prefect") as history:
        # Importing it imports Prefect, whose settings must stand by then.
        from nightboard.flows.nightly import run_nightly

        try:
            report = run_nightly(board, str(root), wait_min, history)
        except KeyboardInterrupt:
            typer.echo(
                "\nStopped. Jobs that were submitted go on; the next `nightly` or `collect` picks them up.", err=True
            )
            raise typer.Exit(130) from None
    for text in history.take_news():
        ui.warn(text)
    for suite in load_board(board).suites:
        ui.say("")
        show_ranking(Store(root), suite)
    if report.in_flight or report.not_started:
        ui.say(
            f"{count(len(report.in_flight), 'evaluation')} still running, {len(report.not_started)} not started; "
            "the next run goes on from here."
        )
    ui.say(
        f"Night over: {count(len(report.evaluated), 'evaluation')} done, {len(report.failed)} failed, "
        f"in {duration((report.ended_at - report.started_at).total_seconds())}."
    )
    if report.has_failures:
        raise typer.Exit(3)


@app.command(epilog=example("nightboard plan --board quickstart"))
def plan(board: BoardOption, store: StoreOption = None) -> None:
    """Show what the next night would run, what not, and why. Changes nothing."""
    print_plan(board, store)


@app.command(epilog=example("nightboard collect --board quickstart"))
def collect(board: BoardOption, store: StoreOption = None) -> None:
    """Collect evaluations that have ended since the last run, and rebuild the warehouse."""
    from nightboard.tasks.board import OpenBoard

    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    open_runs = opened.reconcile(utc_now())
    done = [[each] for each in open_runs.collected if each.state == "completed"]
    for each, *others in done + group_setbacks(open_runs.collected):
        ui.say(f"{each.state:12} {each.model_id}@{each.revision[:7]} {each.suite} {each.reason or ''}")
        if others:
            ui.say(f"{'':12} and {word_others(others)} in the same way")
    for problem in open_runs.problems:
        ui.warn(problem)
    opened.rebuild(utc_now())
    ui.say(f"{count(len(open_runs.collected), 'evaluation')} collected, {len(open_runs.in_flight)} still under way.")
    if open_runs.problems or any(each.state != "completed" for each in open_runs.collected):
        raise typer.Exit(3)


@app.command(epilog=example("nightboard status --board quickstart"))
def status(
    board: BoardOption,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Show what is under way: state, job, node, age, the benchmark in progress, the time left. Changes nothing."""
    from nightboard.tasks.board import OpenBoard

    form = find_format(form, output)
    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    target = find_output(output, opened.store, force)
    under_way = opened.list_open(utc_now())
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
        ui.warn("The cluster does not answer; this is what the store knows. Ask again later.")
    ui.say(sum_up(rows, opened.bundle.cluster.max_gpus))


@app.command(epilog=example("nightboard cancel --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def cancel(
    board: BoardOption,
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Evaluations (the first letters of the id do), models, model@revision, or job ids."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Cancel all that is under way.")] = False,
    store: StoreOption = None,
) -> None:
    """Stop evaluations that are under way. They stay stopped; the reason stands in `failures`."""
    from nightboard.tasks.board import OpenBoard

    if bool(targets) == everything:
        raise typer.BadParameter("name what to cancel, or say --all (not both)", param_hint="TARGETS")
    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    shards = opened.list_open(utc_now()).open
    chosen = list(shards) if everything else choose(shards, targets or [])
    rows, _ = describe_open(chosen, utc_now())
    done = opened.cancel(shards, chosen, f"{getpass.getuser()} on {socket.gethostname()}", utc_now())
    for row in rows:
        ui.say(f"cancelled  {row.model_id}@{row.revision[:7]} {row.suite} {row.shard} {row.job_id or ''}")
    ui.say(
        f"{count(len(done.shards), 'shard')} cancelled, {count(len(done.job_ids), 'job')} stopped. "
        "`nightboard retry` lets them be evaluated again."
    )


@app.command(epilog=example("nightboard retry --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def retry(
    board: BoardOption,
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Evaluations (the first letters of the id do), models, or model@revision."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that gave up or was cancelled.")] = False,
    state: Annotated[
        str | None, typer.Option(help="Only what ended so, such as failed, out_of_memory or cancelled.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only what has this text in its reason.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be freed; change nothing.")] = False,
    store: StoreOption = None,
) -> None:
    """Let the next run try again what gave up or was cancelled. Earlier attempts are kept and count no more."""
    from nightboard.tasks.board import OpenBoard

    if bool(targets) == everything:
        raise typer.BadParameter("name what to try again, or say --all (not both)", param_hint="TARGETS")
    if state is not None and state not in AT_FAULT:
        raise typer.BadParameter(
            f"no attempt ends so (got {state}); one of: {', '.join(AT_FAULT)}", param_hint="--state"
        )
    opened, ui = OpenBoard.open(board, str(store) if store else None), Terminal()
    stopped, known = opened.find_stopped()
    chosen = stopped if everything else choose_stopped(stopped, targets or [], known)
    chosen = [each for each in chosen if state in (None, each.ending) and (reason or "") in each.reason]
    if not dry_run:
        opened.free(chosen, f"{getpass.getuser()} on {socket.gethostname()}", utc_now())
    for each in chosen:
        run = each.evaluation
        ui.say(f"{'would free' if dry_run else 'freed'}  {run.model_id}@{run.revision[:7]} {run.suite}: {each.reason}")
    number = count(len({each.evaluation.evaluation_id for each in chosen}), "evaluation")
    if not chosen:
        ui.say("Nothing of the kind has given up or been cancelled; nothing is changed.")
    elif dry_run:
        ui.say(f"{number} would be freed; nothing is changed.")
    else:
        ui.say(f"{number} freed. The next run tries again what is still watched.")


def sum_up(rows: Sequence[Status], max_gpus: int | None) -> str:
    """All that is under way in one line."""
    if not rows:
        return "Nothing is under way."
    jobs: dict[str, Status] = {}
    for row in rows:
        jobs.setdefault(row.job_id or row.evaluation_id, row)
    running = [row for row in jobs.values() if row.state in ("RUNNING", "COMPLETING", "SUSPENDED")]
    gpus = sum(row.gpus for row in running)
    return (
        f"{count(len({row.evaluation_id for row in rows}), 'evaluation')} under way in {count(len(jobs), 'job')}: "
        f"{len(running)} running on {count(gpus, 'GPU')}{f' of at most {max_gpus}' if max_gpus else ''}, "
        f"{len(jobs) - len(running)} waiting."
    )


@app.command(epilog=example("nightboard rebuild --store nightboard-store"))
def rebuild(
    board: DataBoardOption = None,
    store: StoreOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compute everything anew, as after mending a file of the store by hand.")
    ] = False,
) -> None:
    """Build the warehouse anew from the files in the store; readers keep the old one until it is ready.

    What was computed of an evaluation is carried over from the warehouse before: the tables are the same either way.
    """
    root = find_store(board, store)
    if not root.lake.is_dir():
        raise StoreError(f"{root.root}: there is no store here (no folder lake). Check the path.")
    ui = Terminal()
    with ui.show_work() as report:
        result = build(root.lake, root.warehouse, utc_now(), report, is_full=full)
    ui.say(f"{result.path} built in {duration(result.elapsed_s)}.")


app.command("rank", epilog=RANK_EXAMPLE)(rank_command)
app.command("compare", epilog=COMPARE_EXAMPLE)(compare_command)
app.command(epilog=SQL_EXAMPLE)(sql)
app.command(epilog=EXPORT_EXAMPLE)(export)


@app.command(epilog=example("nightboard validate boards/mine.yaml"))
def validate(
    paths: Annotated[
        list[str],
        typer.Argument(help="Profile files of any kind (mine for mine.yaml), folders, or names of shipped profiles."),
    ],
) -> None:
    """Check profiles and everything they refer to; every mistake at once, with file, line and what to do."""
    for path in paths:
        if note := explain_choice(path):
            typer.echo(clean(note), err=True)
    mistakes = validate_paths(paths)
    for mistake in mistakes:
        typer.echo(clean(mistake), err=True)
    if mistakes:
        typer.echo(f"{count(len(mistakes), 'mistake')}.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{count(len(paths), 'profile')}: no mistakes.")


@app.command(epilog=example("nightboard demo"))
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's Hub and store are made anew.")] = Path(".demo"),
) -> None:
    """Two nights on one machine: a Hub of our own, real models, the real pipeline. Needs no GPU and no network."""
    from nightboard.flows.demo.story import DemoError, run_demo

    refuse_stores(folder, Store(folder / "store"))
    try:
        run_demo(folder)
    except DemoError as error:
        typer.echo(clean(f"nightboard: {error}"), err=True)
        raise typer.Exit(1) from error


def print_plan(board: str, store: Path | None) -> None:
    """Plan without writing anything, and show it."""
    from nightboard.tasks.board import OpenBoard

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
