"""Options that several commands have, the store they name, and the example below a command's help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from nightboard.flows.display.console import clean
from nightboard.flows.display.formats import Format, FormatError, choose_format
from nightboard.profiles.loading.load import load_board
from nightboard.profiles.loading.store_path import find_root
from nightboard.tasks.output_file import OutputFile
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.trust import limit_umask

BoardOption = Annotated[str, typer.Option("--board", "-b", help="Board file, or the name of a shipped board.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only, as suits cron.")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Store folder. Default: the board's.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Format of the rows.")]
OutputFormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="Format of the rows. Default: by the ending of --output, else a table."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write to this file instead of the terminal; - is the standard output.",
        # A custom of command lines, not the name of a file.
        callback=lambda output: None if output == Path("-") else output,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file of --output if it exists.")]
DataBoardOption = Annotated[
    str | None,
    typer.Option(
        "--board", "-b", help="Board whose store is read: a file or the name of a shipped board. Or use --store."
    ),
]


def example(text: str) -> str:
    """An epilog that shows how a command is called."""
    return f"Example:\n\n    {text}"


def find_store(board: str | None, store: Path | None) -> Store:
    """The store that --store or --board names."""
    if store is not None:
        found = Store(find_root(store, Path.cwd()))
    elif board is not None:
        found = Store(load_board(board).store)
    else:
        raise typer.BadParameter("add --store FOLDER or --board BOARD", param_hint="--store")
    limit_umask(found.root)
    return found


def find_format(form: Format | None, output: Path | None) -> Format:
    """The format that --format or the ending of --output names; a table without both."""
    try:
        return choose_format(form, output)
    except FormatError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error


def find_output(output: Path | None, store: Store, force: bool) -> OutputFile | None:
    """The file that --output names, once it is known that it may be written; None for the standard output."""
    if output is None:
        return None
    found = OutputFile(output, store, force)
    found.find_target()
    return found


@contextlib.contextmanager
def usage_of_format(output: OutputFile | None = None) -> Iterator[None]:
    """A format that cannot be shown, or written to `output`, is wrong usage."""
    try:
        yield
    except FormatError as error:
        raise typer.BadParameter(clean(str(error)), param_hint="--format" if output is None else "--output") from error
