"""The commands about a board as a whole: why a model is where it is."""

from __future__ import annotations

from typing import Annotated

import typer

from nightboard.flows.cli.options import (
    DataBoardOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    StoreOption,
    example,
    find_filled_store,
    find_format,
    find_output,
    find_store,
    usage_of_format,
)
from nightboard.flows.display.format_choice import Format

app = typer.Typer()


@app.command(epilog=example("nightboard why --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def why(
    model: Annotated[str, typer.Argument(help="A model's id, or a unique ending of it (strong for lab/strong).")],
    board: DataBoardOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Show why a model is where it is, suite by suite.

    Scored, running, waiting, failed with the end of its log, or left out and by which rule; each with the command or
    the edit that changes it. Asks no Hub: what the last run saw counts. With --store alone, no watch list is asked.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.why import print_why
    from nightboard.profiles.loading.load import load_board
    from nightboard.tasks.runs.open_runs import find_executor
    from nightboard.tasks.runs.why import Known, explain_in_store, explain_on_board, find_name
    from nightboard.tasks.store.records import utc_now

    form = find_format(form, output)
    bundle = load_board(board) if board is not None else None
    root = find_store(board, store) if bundle else find_filled_store(None, store)
    target, now = find_output(output, root, force), utc_now()
    executor = bundle.cluster.executor if bundle else find_executor(root, now)
    known = Known.read(root)
    name = find_name(model, known, bundle)
    known = known.about(name, executor, now)
    whys = explain_on_board(known, bundle, board, name, now) if bundle and board else explain_in_store(known, name)
    with usage_of_format(target):
        print_why(whys, form, target)
    for problem in known.problems if form is Format.table else ():
        Terminal().warn(problem)
