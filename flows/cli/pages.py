"""The command `page`: the leaderboard as files for a browser, and the documents on which two models differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightboard.flows.cli.options import BoardHereOption, QuietOption, StoreOption, choose_board, example, find_store

app = typer.Typer()


@app.command(
    epilog=example(
        "nightboard page --board mine --out page",
        "nightboard page --store mine-store --pair lab/strong medium --out pair",
    )
)
def page(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; a page in it is replaced. Default: the board's.")
    ] = None,
    board: BoardHereOption = None,
    store: StoreOption = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page. Default: the board's title.")] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Instead: the documents on which two models differ, named as in compare."),
    ] = None,
    no_queue: Annotated[bool, typer.Option("--no-queue", help="Without the page of what waits and failed.")] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="With a page where readers ask the tables with SQL: 11 MB and the tables.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Write the leaderboard as a page for a browser.

    Files that open by double click and from any web host: the ranking, a page a model, the queue. With --board, the
    models and imports of the board; with --store, all that is in it.
    """
    from dataclasses import replace

    from nightboard.flows.display.console import Terminal, count
    from nightboard.tasks.output_file import refuse_stores
    from nightboard.tasks.page.build import Shown, build_page, show_board

    board, bundle = choose_board(board, store), None
    if board is not None:
        from nightboard.profiles.loading.load import load_board

        bundle = load_board(board)
    root, ui = find_store(board, store), Terminal(is_quiet=quiet)
    out = out or (bundle.page if bundle and not pair else None)
    if out is None:
        raise typer.BadParameter(
            "name the folder of the page, or write page: {out: FOLDER} into the board", param_hint="--out"
        )
    refuse_stores(out, root)
    with ui.show_work() as show:
        if pair:
            from nightboard.tasks.page.pair import build_pair

            ui_text, index = f"Page of {pair[0]} and {pair[1]}: open ", build_pair(root, out, *pair, show)
        else:
            shown = show_board(bundle, root, title) if bundle else Shown(title or "Leaderboard")
            shown = replace(shown, has_queue=shown.has_queue and not no_queue, has_sql=shown.has_sql or sql)
            built = build_page(root, out, shown, show)
            ui_text, index = (
                f"Page of {count(built.n_models, 'model')}, {built.n_bytes / 1e6:,.1f} MB: open ",
                built.index,
            )
    ui.say_path(ui_text, str(index))
