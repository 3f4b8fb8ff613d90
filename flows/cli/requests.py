"""The commands of people who ask for evaluations: submit, queue, vote, withdraw."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightboard.flows.cli.options import (
    BoardHereOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    StoreOption,
    choose_board,
    complete_suite,
    example,
    find_board_here,
    find_filled_store,
    find_format,
    find_output,
    find_store,
    usage_of_format,
)
from nightboard.flows.display.format_choice import Format

if TYPE_CHECKING:
    from nightboard.profiles.models.budget import Budget
    from nightboard.tasks.requests.book import Entry
    from nightboard.tasks.requests.checks import Form
    from nightboard.tasks.store.layout import Store
    from nightboard.tasks.store.records import Evaluation

app = typer.Typer()


class Weights(StrEnum):
    """What a repository holds."""

    original = "original"
    adapter = "adapter"
    delta = "delta"


class Template(StrEnum):
    """Whether prompts go through the tokenizer's chat template."""

    auto = "auto"
    always = "always"
    never = "never"


class NumberFormat(StrEnum):
    """What weights are loaded in."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


RequestArgument = Annotated[
    str,
    typer.Argument(metavar="REQUEST", help="First letters of a request's id, or its model or a unique ending of it."),
]
UserOption = Annotated[str | None, typer.Option(help="User in whose name. Default: who calls.")]


@app.command(
    epilog=example(
        "nightboard submit --board mine Qwen/Qwen2.5-0.5B-Instruct",
        "nightboard submit --board mine lab/model --revision v1.1 --precision float16 --chat-template never",
        "nightboard submit --board mine --from ./requests",
    )
)
def submit(
    model: Annotated[str | None, typer.Argument(help="Model on the Hub: organization/model.")] = None,
    board: BoardHereOption = None,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag. Default: the newest commit.")] = None,
    precision: Annotated[
        NumberFormat | None, typer.Option(help="Number format to load it in. Default: as the watch list says.")
    ] = None,
    chat_template: Annotated[
        Template | None, typer.Option(help="Use of the chat template. Default: as the watch list says.")
    ] = None,
    weights: Annotated[Weights, typer.Option(help="What the repository holds.")] = Weights.original,
    base_model: Annotated[str | None, typer.Option(help="Model that an adapter or delta belongs to.")] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(autocompletion=complete_suite, help="Only this suite. Default: all."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    priority: Annotated[int, typer.Option(help="Above 0: before other requests.")] = 0,
    source: Annotated[
        str | None, typer.Option("--from", help="Read a folder of request files instead, or a dataset on the Hub.")
    ] = None,
    user: UserOption = None,
    store: StoreOption = None,
) -> None:
    """Ask for an evaluation of a model.

    Checked at once: every finding is listed, with what to do. What is accepted runs in the next nightly run.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.requests import describe_intake, list_unusable, show_answer, show_scores
    from nightboard.tasks.board import OpenBoard
    from nightboard.tasks.requests.checks import WEIGHT_TYPES, Form, find_scored, find_wrong_name
    from nightboard.tasks.requests.submission import Asker, require_name
    from nightboard.tasks.store.records import utc_now
    from nightboard.tasks.why import ask_warehouse
    from nightboard.warehouse.reader.questions import rank_model

    if (model is None) == (source is None):
        raise typer.BadParameter("name a model, or use --from (not both)", param_hint="MODEL")
    if source is not None and not Path(source).is_dir() and find_wrong_name(source):
        raise typer.BadParameter(f"no such folder, and no dataset's name (got {source})", param_hint="--from")
    if source is None:
        require_name(str(model))
    ui = Terminal()
    board = board or find_board_here()
    opened = OpenBoard.open(board, str(store) if store else None, ui.warn)
    suites, problems = opened.resolve_suites(dry_run=True)
    for problem in problems:
        ui.warn(problem)
    if source is not None:
        folders, datasets = ([source], []) if Path(source).is_dir() else ([], [source])
        intake = opened.read_request_files(
            suites, utc_now(), map(str, map(Path.absolute, map(Path, folders))), datasets
        )
        ui.say(describe_intake(intake))
        for line in (*list_unusable(intake), *intake.problems):
            ui.warn(line)
        if intake.unusable or intake.problems:
            raise typer.Exit(3)
        return
    form = Form(
        model_id=str(model), revision=revision, precision=precision and str(precision),
        chat_template=chat_template and str(chat_template), weight_type=WEIGHT_TYPES[weights],
        base_model=base_model, suites=tuple(suite or ()),
    )  # fmt: skip
    inputs = opened.check_inputs(suites, utc_now())
    given = opened.submit(form, Asker(user or name_user(), reason, priority), inputs)
    scored = find_scored(given.found, inputs) if given.found else {}
    show_answer(ui, given, scored)
    if scored:
        models = dict.fromkeys(evaluation.model_id for evaluation in scored.values())
        rows = [row for each in models for row in ask_warehouse(opened.store, partial(rank_model, model_id=each))]
        again = ["nightboard", "backfill", "--board", board, "--select", word_selection(form, scored), "--replicate"]
        show_scores(ui, scored, {row["evaluation_id"]: row for row in rows}, again)
    if given.findings:
        raise typer.Exit(1)


def word_selection(form: Form, scored: Mapping[str, Evaluation]) -> str:
    """The selection of what is scored of a submission."""
    parts = []
    for suite, evaluation in scored.items():
        terms = [f"model:{evaluation.model_id}", f"revision:{evaluation.revision[:7]}", f"suite:{suite}"]
        terms += [f"precision:{evaluation.precision}"] if form.precision else []
        terms += [f"chat-template:{'yes' if evaluation.chat_template else 'no'}"] if form.chat_template else []
        parts.append(",".join(terms))
    return " ".join(parts)


@app.command(epilog=example("nightboard queue --board mine", "nightboard queue --board mine --format csv"))
def queue(
    board: BoardHereOption = None,
    store: StoreOption = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Only the first N. Default: 100 on a terminal, all in a file or a pipe."
        ),
    ] = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Show the open requests, in their order.

    They are planned by priority, then votes, then age; with what each waits for. Changes nothing.
    """
    from nightboard.flows.display.console import make_console
    from nightboard.flows.display.requests import TERMINAL_ROWS, show_queue
    from nightboard.flows.display.rows import print_result
    from nightboard.flows.display.tables import is_screen
    from nightboard.warehouse.reader.queue import list_queue

    form, (found, name, budget) = find_format(form, output), find_requests(board, store)
    target = find_output(output, found, force)
    is_table = form is Format.table and target is None
    if top is None and is_table and is_screen(make_console()):
        top = TERMINAL_ROWS
    result, n_open = list_queue(found.lake, name, top)
    if is_table:
        show_queue(result, n_open, budget)
        return
    with usage_of_format(target):
        print_result(result, form, target)


@app.command(epilog=example("nightboard vote --board mine Qwen/Qwen2.5-0.5B-Instruct"))
def vote(
    request: RequestArgument, board: BoardHereOption = None, store: StoreOption = None, user: UserOption = None
) -> None:
    """Vote for a request.

    Of equal priority, the one with most votes runs first. A user has one vote per request.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.tasks.requests.changes import vote as add
    from nightboard.tasks.store.layout import SHOWN_ID
    from nightboard.tasks.store.records import utc_now

    found, entry = find_request(request, board, store)
    is_new = add(found, entry, user or name_user(), utc_now())
    name = f"{entry.request.request_id[:SHOWN_ID]}  {entry.request.model_id or entry.request.selection}"
    Terminal().say(f"voted  {name}" if is_new else f"{name}: has your vote already.")


@app.command(epilog=example("nightboard withdraw --board mine 1a2b3c4d"))
def withdraw(
    request: RequestArgument,
    board: BoardHereOption = None,
    store: StoreOption = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
) -> None:
    """Withdraw a request.

    It is no longer planned. A job that runs already ends, and its score is kept.
    """
    from nightboard.flows.cli.runs import name_caller
    from nightboard.flows.display.console import Terminal
    from nightboard.tasks.requests.changes import withdraw as end
    from nightboard.tasks.store.layout import SHOWN_ID
    from nightboard.tasks.store.records import utc_now

    found, entry = find_request(request, board, store)
    end(found, entry, name_caller(), utc_now(), reason)
    running = " What runs already ends, and its score is kept." if entry.state in ("planned", "running") else ""
    name = f"{entry.request.request_id[:SHOWN_ID]}  {entry.request.model_id or entry.request.selection}"
    Terminal().say(f"withdrawn  {name}.{running}")


def find_request(text: str, board: str | None, store: Path | None) -> tuple[Store, Entry]:
    """The open request that a text names: of the board, or where a store is named alone, of any board."""
    from nightboard.tasks.requests.book import read_book
    from nightboard.tasks.requests.changes import choose_request

    found, name, _ = find_requests(board, store)
    return found, choose_request(read_book(found, name), text)


def find_requests(board: str | None, store: Path | None) -> tuple[Store, str | None, Budget]:
    """The store, the board's name as requests have it, and its budget; with a store alone, all boards are meant."""
    from nightboard.profiles.models.budget import NO_BUDGET

    board = choose_board(board, store)
    if board is None:
        return find_filled_store(None, store), None, NO_BUDGET
    from nightboard.profiles.loading.load import load_board

    bundle = load_board(board)
    return find_store(None, store or bundle.store), bundle.board.board, bundle.board.budget


def name_user() -> str:
    """The user who calls."""
    import getpass

    return getpass.getuser()
