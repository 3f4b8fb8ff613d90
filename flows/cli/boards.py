"""The commands about a board as a whole: make a new one, and why a model is where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from nightboard.flows.cli.options import (
    BoardHereOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    StoreOption,
    choose_board,
    example,
    find_filled_store,
    find_format,
    find_output,
    find_store,
    usage_of_format,
)
from nightboard.flows.display.format_choice import Format

if TYPE_CHECKING:
    from nightboard.tasks.cluster.places import Place

T = TypeVar("T")

app = typer.Typer()


@app.command(
    epilog=example("nightboard init boards", "nightboard init --name mine --follow allenai --where slurm:gpu --yes")
)
def init(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; may be new.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the board and its files. Default: the folder's.")] = None,
    follow: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Models, organizations, or patterns (lab/model-*), with commas."),
    ] = None,
    suites: Annotated[str | None, typer.Option("--suite", metavar="NAMES", help="Shipped suites, with commas.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="PLACE", help="slurm:PARTITION, gpus or cpu: what is found here is listed.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Store folder; a relative path starts at FOLDER. Default: NAME-store.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs of a node, if not as found.")] = None,
    gpu_memory: Annotated[float | None, typer.Option(min=1, help="Memory of a GPU in GB, if not as found.")] = None,
    time_limit: Annotated[
        int | None, typer.Option(min=1, help="Longest time of a job in minutes, if not as found.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what would be proposed.")] = False,
) -> None:
    """Make a board, a watch list and a cluster profile.

    Asks five questions, but those that options answer; SLURM's partitions and GPUs are read from this machine.
    Overwrites nothing.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.tasks import new_board
    from nightboard.tasks.cluster.places import find_places

    ui = Terminal()
    ask = Questions(yes)
    named = ask("--name", "Name of the board", name, new_board.propose_name(folder), new_board.parse_name)
    question = "Models or organizations to follow, with commas"
    followed = ask("--follow", question, follow, new_board.PROPOSED_MODEL, new_board.parse_follow)
    question = f"Suites, of {', '.join(new_board.list_suites())}"
    chosen = ask("--suite", question, suites, new_board.PROPOSED_SUITE, new_board.parse_suites)
    places, problems = find_places()
    for problem in problems:
        ui.warn(problem)
    ui.say("Found here:")
    for place in places:
        ui.say(f"  {place.key}: {new_board.describe_place(place)}.")
    place = ask("--where", "Where to run", where, places[0].key, lambda text: new_board.find_place(text, places))
    place = correct(place, gpus, gpu_memory, time_limit)
    root = ask("--store", "Store folder", store, f"./{named}-store", new_board.parse_store)
    title = named.replace("-", " ").replace("_", " ").capitalize()
    written = new_board.write_board(folder, new_board.Answers(named, title, followed, chosen, place, root))
    for path in written:
        ui.say_path("wrote  ", str(path))
    ui.say(f"Runs on {new_board.describe_place(place)}. The files have comments: change what does not fit.")
    ui.say_path("Look before you run: ", f"nightboard plan --board {written[0]}")


class Questions:
    """Asks what no option answers; with `takes_all` what is proposed is the answer."""

    def __init__(self, takes_all: bool) -> None:
        self.takes_all = takes_all

    def __call__(self, option: str, text: str, given: str | None, proposed: str, parse: Callable[[str], T]) -> T:
        from nightboard.tasks.new_board import NewBoardError

        def read(answer: str) -> T:
            try:
                return parse(answer.strip())
            except NewBoardError as error:
                raise typer.BadParameter(str(error), param_hint=option) from error

        if given is not None or self.takes_all:
            return read(proposed if given is None else given)
        try:
            answer: T = typer.prompt(text, default=proposed, value_proc=read)
        except typer.Abort:
            typer.echo("", err=True)
            raise NewBoardError(f"no answer to: {text}. Give {option}, or --yes to take {proposed}.") from None
        return answer


def correct(place: Place, gpus: int | None, gpu_memory: float | None, time_limit: int | None) -> Place:
    """A place as the user knows it better."""
    if (gpus or gpu_memory) and not place.gpus:
        raise typer.BadParameter(f"{place.key} has no GPUs", param_hint="--gpus" if gpus else "--gpu-memory")
    if gpus is not None:
        place = replace(place, gpus=gpus, total_gpus=max(1, place.nodes) * gpus)
    if gpu_memory is not None:
        place = replace(place, gpu_memory_gb=gpu_memory)
    return replace(place, time_min=time_limit) if time_limit is not None else place


@app.command(epilog=example("nightboard why --board quickstart Qwen/Qwen2.5-0.5B-Instruct"))
def why(
    model: Annotated[
        str,
        typer.Argument(
            help="A model or a unique ending of it (strong for lab/strong), or the id of an evaluation or a request."
        ),
    ],
    board: BoardHereOption = None,
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
    from nightboard.tasks.store.records import utc_now
    from nightboard.tasks.why import Known, explain_in_store, explain_on_board, find_name

    form = find_format(form, output)
    board = choose_board(board, store)
    bundle = load_board(board) if board else None
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
