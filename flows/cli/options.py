"""Options that several commands have, the store they name, and the example below a command's help."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nightboard.flows.display.format_choice import Format, FormatError, choose_format

if TYPE_CHECKING:
    from nightboard.flows.prefect_server.history import History
    from nightboard.tasks.output_file import OutputFile
    from nightboard.tasks.store.layout import Store


def list_profiles(kind: str) -> list[str]:
    """Names of the shipped profiles of a kind, for the completion of shells."""
    folder = Path(__file__).parents[2] / "profiles" / kind
    return sorted(
        [path.stem for path in folder.glob("*.yaml")] + [path.parent.name for path in folder.glob("*/*.yaml")]
    )


def complete_board() -> list[str]:
    """Boards that a user can name."""
    return list_profiles("boards")


def complete_suite() -> list[str]:
    """Suites that a user can name."""
    return list_profiles("suites")


def note_choice(ctx: typer.Context, board: str | None) -> str | None:
    """Say which board is used where two have the name: on standard error, as the output may be for a machine."""
    if board is not None and not ctx.resilient_parsing:
        from nightboard.flows.display.console import clean
        from nightboard.profiles.loading.load import explain_choice
        from nightboard.profiles.loading.reader import BOARD

        if note := explain_choice(board, BOARD):
            typer.echo(clean(note), err=True)
    return board


BoardOption = Annotated[
    str,
    typer.Option(
        "--board",
        "-b",
        autocompletion=complete_board,
        help="Board file (mine for mine.yaml in this folder), or the name of a shipped board.",
        callback=note_choice,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only, as suits cron.")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Store folder. Default: the board's.")]
FormatOption = Annotated[
    Format, typer.Option("--format", metavar="FORMAT", help=f"Format of the rows: {', '.join(Format)}.")
]
OutputFormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"Format of the rows: {', '.join(Format)}. Default: by the ending of --output, else table.",
    ),
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
        "--board",
        "-b",
        autocompletion=complete_board,
        help="Board whose store is read: a file or the name of a shipped board. Or use --store.",
        callback=note_choice,
    ),
]


BoardHereOption = Annotated[
    str | None,
    typer.Option(
        "--board",
        "-b",
        autocompletion=complete_board,
        help="Board file, or the name of a shipped board. Default: the one board in this folder or in boards/.",
        callback=note_choice,
    ),
]


class Group(TyperGroup):
    """Commands under one name, whose flags and errors of usage are those of a tool.

    A flag of Typer's own that is not given, such as --help, is False. Typer has None for it, which it imports pydantic
    to convert: that is half the time of `nightboard rank --help`. What pydantic says of a wrong value is put in plain
    words.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ").replace("Input should be", "must be")
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.default is None:
                param.default = False
        return params


def example(*commands: str) -> str:
    """An epilog that shows how a command is called, a line a command; the code at its start keeps the lines apart."""
    return "\n".join(["Example:", "", "\b", *commands])


def find_board_here() -> str:
    """The one board in this folder; in its folder boards/ where it has none, as a name is looked up."""
    beside = {path.stem: path for path in Path().glob("*.yaml")}
    below = {path.stem: path for path in Path("boards").glob("*.yaml")}
    below |= {path.parent.name: path for path in Path("boards").glob("*/board.yaml")}
    boards = _list_boards(beside) or _list_boards(below)
    if not boards:
        raise typer.BadParameter(
            "no board in this folder or in boards/; add --store FOLDER or --board BOARD", param_hint="--board"
        )
    if len(boards) > 1:
        raise typer.BadParameter(
            f"more than one board here, name one with --board: {', '.join(boards)}", param_hint="--board"
        )
    return boards[0]


def _list_boards(files: dict[str, Path]) -> list[str]:
    texts = {name: path.read_text(errors="replace") for name, path in sorted(files.items())}
    return [name for name, text in texts.items() if re.search(r"^board:", text, re.MULTILINE)]


def choose_board(board: str | None, store: Path | None) -> str | None:
    """The board that is named; without one and without a store, the one in this folder."""
    return board or (None if store else find_board_here())


def find_store(board: str | None, store: Path | None) -> Store:
    """The store that --store or --board names."""
    from nightboard.profiles.loading.store_path import find_root
    from nightboard.tasks.store.layout import Store
    from nightboard.tasks.store.trust import limit_umask

    if store is not None:
        found = Store(find_root(store, Path.cwd()))
    elif board is not None:
        from nightboard.profiles.loading.load import load_board

        found = Store(load_board(board).store)
    else:
        raise typer.BadParameter("add --store FOLDER or --board BOARD", param_hint="--store")
    limit_umask(found.root)
    return found


def find_filled_store(board: str | None, store: Path | None) -> Store:
    """The same, where there must be something in it."""
    from nightboard.tasks.store.layout import StoreError

    found = find_store(board, store)
    if not found.lake.is_dir():
        raise StoreError(
            f"{found.root}: is not a store (it has no folder lake). Check the path, or run `nightboard nightly` first."
        )
    return found


@contextlib.contextmanager
def run_history(store: Store, *, starts_server: bool = True) -> Iterator[History]:
    """The history of a command's run; what there is to say of its Prefect server is said at the end."""
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.prefect_server.history import open_history

    with open_history(store.prefect, starts_server=starts_server) as history:
        yield history
    for text in history.take_news():
        Terminal().warn(text)


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
    from nightboard.tasks.output_file import OutputFile

    found = OutputFile(output, store, force)
    found.find_target()
    return found


@contextlib.contextmanager
def usage_of_format(output: OutputFile | None = None) -> Iterator[None]:
    """A format that cannot be shown, or written to `output`, is wrong usage."""
    try:
        yield
    except FormatError as error:
        from nightboard.flows.display.console import clean

        raise typer.BadParameter(clean(str(error)), param_hint="--format" if output is None else "--output") from error
