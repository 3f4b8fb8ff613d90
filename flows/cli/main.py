"""The command `nightboard`: its app, what it says when something fails, its exit codes; `demo` and `validate`.

Exit 0: all well (jobs still running included); 1: a failure, said in one message; 2: wrong usage; 3: some evaluations
or files failed, and they are listed.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Annotated

import typer
from typer.models import TyperInfo

from nightboard.flows.cli import boards, imports, leaderboard, pages, plots, requests, runs, schedules, warehouse
from nightboard.flows.cli.options import Group, example
from nightboard.profiles.errors import ProfileError
from nightboard.profiles.loading.store_path import StorePathError
from nightboard.tasks.errors import TaskError
from nightboard.warehouse.errors import WarehouseError

app = typer.Typer(
    cls=Group,
    help="A reproducible leaderboard of Hugging Face models, evaluated commit by commit on your own cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(runs.app)
app.add_typer(requests.app)
app.add_typer(schedules.app)
app.add_typer(boards.app)
app.add_typer(leaderboard.app)
app.add_typer(pages.app)
app.add_typer(plots.app)
app.add_typer(warehouse.app)
app.add_typer(imports.app, name="import")
# Listed last in the help.
others = typer.Typer()


def show_version(is_asked: bool) -> None:
    """Print the version and stop."""
    if is_asked:
        from importlib import metadata

        typer.echo(metadata.version("nightboard"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A reproducible leaderboard of Hugging Face models, evaluated commit by commit on your own cluster."""


def choose_app(command: str = "--help") -> typer.Typer:
    """The app with the group of a command alone; with all for help, completion and misspelled commands.

    At every start, Typer makes the options of all commands that it has: 30 ms.
    """
    groups = [group for group in app.registered_groups if command in list_names(group)]
    if not groups and command != "--version":
        return app
    chosen = copy(app)
    chosen.registered_groups = groups
    return chosen


def list_names(group: TyperInfo) -> list[str]:
    """What is written after `nightboard` for a group: its name, or else one of its commands."""
    if group.name:
        return [group.name]
    commands = group.typer_instance.registered_commands if group.typer_instance else []
    return [command.name or command.callback.__name__ for command in commands if command.callback]


def main() -> None:
    """Run a command; a failure is one message and exit code 1, never a traceback."""
    try:
        choose_app(*sys.argv[1:2])()
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        typer.echo(f"nightboard: {describe_error(error)}", err=True)
        sys.exit(1)


def describe_error(error: Exception) -> str:
    """What went wrong, without terminal control codes: messages contain names and texts from files and the Hub."""
    from nightboard.flows.display.console import clean

    if isinstance(error, StorePathError):  # a board's is a mistake in its file
        return clean(f"--store: {error}")
    if isinstance(error, ProfileError | TaskError | WarehouseError):
        return clean(str(error))
    if isinstance(error, OSError):
        return clean(describe_os_error(error))
    from nightboard.flows.prefect_server.server import ServerError

    if isinstance(error, ServerError):
        return clean(f"{error}.")
    from nightboard.flows.cli.crash import describe_crash

    return describe_crash(error)


def describe_os_error(error: OSError) -> str:
    """What the operating system refused, the path where it names one, and what to do."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    where = "" if error.filename is None else f"{error.filename}: "
    advice = "Make room on the disk, then run it again." if is_full else "Check the path and its permissions."
    return f"{where}{error.strerror or error}. {advice}"


@others.command(epilog=example("nightboard demo"))
def demo(
    folder: Annotated[Path, typer.Option(help="Folder for the demo's Hub and store; emptied first.")] = Path(".demo"),
) -> None:
    """Run the pipeline twice on small local models.

    Real evaluations against a Hub on 127.0.0.1: needs no GPU and no Hugging Face account. Takes some minutes.
    """
    from nightboard.flows.demo.story import DemoError, run_demo
    from nightboard.flows.display.console import clean
    from nightboard.tasks.output_file import refuse_stores
    from nightboard.tasks.store.layout import Store

    refuse_stores(folder, Store(folder / "store"))
    try:
        run_demo(folder)
    except DemoError as error:
        typer.echo(clean(f"nightboard: {error}"), err=True)
        raise typer.Exit(1) from error


@others.command(epilog=example("nightboard validate boards/mine.yaml", "nightboard validate --harness leaderboard-v2"))
def validate(
    paths: Annotated[
        list[str],
        typer.Argument(help="Profile files of any kind (mine for mine.yaml), folders, or names of shipped profiles."),
    ],
    harness: Annotated[
        bool | None,
        typer.Option(
            "--harness/--no-harness",
            help="Ask lm-eval whether tasks, metrics, filters and counts are as suites say. Default: about suites of"
            " your own, where lm-eval is installed.",
        ),
    ] = None,
) -> None:
    """Check profiles and everything they refer to.

    Reports all mistakes at once, each with file, line and what to do.
    """
    from nightboard.flows.display.console import clean, count
    from nightboard.profiles.loading.load import explain_choice, validate_paths

    for path in paths:
        if note := explain_choice(path):
            typer.echo(clean(note), err=True)
    mistakes = list(dict.fromkeys([*validate_paths(paths), *find_wrong_selections(paths)]))
    if not mistakes and harness is not False:
        from nightboard.flows.cli.harness import ask_harness

        mistakes = ask_harness(paths, asks_all=harness is True)
    for mistake in mistakes:
        typer.echo(clean(mistake), err=True)
    if mistakes:
        typer.echo(f"{count(len(mistakes), 'mistake')}.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{count(len(paths), 'profile')}: no mistakes.")


def find_wrong_selections(paths: Sequence[str]) -> list[str]:
    """Mistakes in the selectors that are among profiles, or beside the boards among them."""
    from nightboard.profiles.errors import ProfileError
    from nightboard.profiles.loading.load import list_selectors

    mistakes: list[str] = []
    for path in list_selectors(paths):
        from nightboard.tasks.requests.selectors import read_selectors

        try:
            read_selectors(path)
        except ProfileError as error:
            mistakes += map(str, error.mistakes)
    return mistakes


app.add_typer(others)
