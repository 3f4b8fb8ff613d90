"""The command `nightboard plot`: a picture of the current build as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nightboard.flows.cli.options import (
    BoardHereOption,
    StoreOption,
    choose_board,
    complete_suite,
    example,
    find_output,
    find_store,
)

app = typer.Typer()
# Endings of files that a picture can be written to.
_SVG, _PNG = ".svg", ".png"


def complete_picture() -> list[str]:
    """Names of pictures, for the completion of shells."""
    from nightboard.tasks.page.pictures.catalog import PICTURES

    return list(PICTURES)


def parse_file(path: Path | None) -> Path | None:
    """A file whose ending says what is written."""
    if path is not None and path.suffix.lower() not in (_SVG, _PNG):
        raise typer.BadParameter(f"the name must end with .svg or .png (got {path})")
    return path


@app.command(
    epilog=example(
        "nightboard plot size --board quickstart --out size.svg",
        "nightboard plot compare lab/strong lab/weak --store nightboard-store --out pair.png",
    )
)
def plot(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", autocompletion=complete_picture, help="The picture: a name of --list."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="For history one model, for compare two to four, as `nightboard compare` takes them; for external the"
            " name of a ranking.",
        ),
    ] = None,
    is_list: Annotated[bool, typer.Option("--list", help="List the pictures, with what each shows.")] = False,
    board: BoardHereOption = None,
    store: StoreOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", callback=parse_file, help="File to write; it ends with .svg or .png.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it exists.")] = False,
    suite: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_suite, help="Suite. Default: the board's first, or the one with most rows."
        ),
    ] = None,
    era: Annotated[str | None, typer.Option(help="Era of the suite. Default: the current one.")] = None,
    width: Annotated[
        int | None, typer.Option(min=300, max=8000, help="Width in pixels. Default: 960, of a PNG 1920.")
    ] = None,
) -> None:
    """Draw a picture of the leaderboard, for a paper or a page.

    SVG shows in light or dark, as its reader has it; a PNG is on white, and needs the package resvg-py.
    """
    from nightboard.flows.display.console import clean
    from nightboard.tasks.page.pictures.asked import Ask
    from nightboard.tasks.page.pictures.make import make_png, make_svg
    from nightboard.warehouse.reader.connection import connect

    if is_list:
        list_pictures()
        return
    _require_names(name, models or [])
    if out is None:
        raise typer.BadParameter("name the file to write, such as picture.svg", param_hint="--out")
    board = choose_board(board, store)
    root = find_store(board, store)
    target = find_output(out, root, force)
    assert name is not None
    assert target is not None
    ask = Ask(tuple(models or ()), suite, era)
    if board is not None:
        from nightboard.profiles.loading.load import load_board
        from nightboard.tasks.board_ranking import narrow
        from nightboard.warehouse.reader.questions import NO_FILTERS

        bundle = load_board(board)
        shown = narrow(NO_FILTERS, bundle, root.warehouse)
        ask = replace(ask, filters=shown, suites=tuple(bundle.suites), board=bundle.board.board)
    with connect(root.warehouse) as connection:
        if out.suffix.lower() == _PNG:
            content = make_png(connection, name, ask, width or 1920)
        else:
            content = make_svg(connection, name, ask, width or 960).encode()
    with target.open() as file:
        file.write(content)
    typer.echo(clean(f"Drawn to {out}."))


def list_pictures() -> None:
    """A line for each picture: its name, and what it shows."""
    from nightboard.tasks.page.pictures.catalog import PICTURES

    for name, picture in PICTURES.items():
        typer.echo(f"{name:<14} {picture.sentence}")


def _require_names(name: str | None, models: list[str]) -> None:
    """A picture that does not exist, and too few or too many models, are wrong usage."""
    from nightboard.tasks.page.pictures.catalog import PICTURES

    known = f"Known: {', '.join(PICTURES)}."
    if name is None:
        raise typer.BadParameter(f"name a picture. {known}", param_hint="NAME")
    if name not in PICTURES:
        raise typer.BadParameter(f"no picture is called {name}. {known}", param_hint="NAME")
    fewest, most = PICTURES[name].names
    if not fewest <= len(models) <= most:
        wanted = str(most) if fewest == most else f"{fewest} to {most}"
        what = PICTURES[name].what + ("" if most == 1 else "s")
        raise typer.BadParameter(
            f"{name} takes {wanted if most else 'no'} {what} (got {len(models)})", param_hint="MODEL"
        )
