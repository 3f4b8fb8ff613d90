"""The commands that rank and compare models.

`rank` shows a suite's leaderboard, all of it or what the filters of the macro top_models let through.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated

import typer

from nightboard.flows.cli.options import (
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
from nightboard.flows.display.formats import Format, to_score_text
from nightboard.flows.display.leaderboard import print_comparison, print_ranking
from nightboard.flows.display.rows import print_result
from nightboard.profiles.loading.load import load_board
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import (
    NO_FILTERS,
    Filters,
    compare,
    list_eras,
    list_suites,
    name_compared,
    rank,
)

app = typer.Typer()


def parse_params(text: str) -> float:
    """Parameters in billions, such as 7 or 0.5."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"write billions of parameters, such as 7 or 0.5 (got {text})")
    return number


def parse_time(text: str) -> datetime:
    """A date (its beginning) or a time, in UTC where it names no zone."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"write a date or a time, such as 2026-01-31 or 2026-01-31T18:00 (got {text})"
        ) from None


@app.command(
    "rank",
    epilog=example(
        "nightboard rank --board quickstart --top 10 --format markdown\n\n"
        "    nightboard rank --store nightboard-store --max-params 8 --license apache-2.0 --no-merges"
    ),
)
def rank_command(
    board: DataBoardOption = None,
    store: StoreOption = None,
    suite: Annotated[
        str | None, typer.Option(help="Suite to rank; left out: the board's first, or the only one.")
    ] = None,
    era: Annotated[str | None, typer.Option(help="Era of the suite; left out: the current one.")] = None,
    top: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Only the first N rows.")] = None,
    max_params: Annotated[
        float | None,
        typer.Option(
            parser=parse_params, metavar="B", help="Only up to this many billion parameters; unknown sizes go."
        ),
    ] = None,
    min_params: Annotated[
        float | None, typer.Option(parser=parse_params, metavar="B", help="Only more billion parameters than this.")
    ] = None,
    model_type: Annotated[
        str | None, typer.Option("--type", help="Only this type of model: pretrained, fine-tuned, chat ...")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Only this number format.")] = None,
    license: Annotated[str | None, typer.Option(help="Only this licence.")] = None,
    organization: Annotated[str | None, typer.Option(help="Only models of this organisation.")] = None,
    country: Annotated[str | None, typer.Option(help="Only organisations of this country, such as FR.")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_time, metavar="TIME", help="As it stood then: the beginning of a date, or a time (UTC)."
        ),
    ] = None,
    no_merges: Annotated[bool, typer.Option("--no-merges", help="No merges of models.")] = False,
    no_flagged: Annotated[bool, typer.Option("--no-flagged", help="No models that a board flagged.")] = False,
    no_unavailable: Annotated[
        bool, typer.Option("--no-unavailable", help="No models that are deleted, private or disabled by now.")
    ] = False,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Print a leaderboard: rank, model, revision, average, the benchmarks, size, licence.

    What is filtered keeps its rank among all. Filters are those of the macro `top_models`, which has more.
    """
    if min_params is not None and max_params is not None and min_params >= max_params:
        raise typer.BadParameter(f"nothing is above {min_params:g} and up to {max_params:g}", param_hint="--min-params")
    root, form = find_store(board, store), find_format(form, output)
    target = find_output(output, root, force)
    filters = Filters(
        min_params_b=min_params, max_params_b=max_params, model_type=model_type, precision=precision, license=license,
        organization=organization, country=country, as_of=as_of, with_merges=not no_merges,
        with_flagged=not no_flagged, with_unavailable=not no_unavailable,
    )  # fmt: skip
    if suite is None and board is not None:
        suite = next(iter(load_board(board).suites))
    if form is Format.table and output is None:
        show_ranking(root, suite, era, top, filters)
        return
    with connect(root.warehouse) as connection:
        result = rank(connection, suite, era, top, filters)
    with usage_of_format(target):
        print_result(result, form, target, to_score_text)


@app.command("compare", epilog=example("nightboard compare lab/strong lab/medium --board quickstart"))
def compare_command(
    model_a: Annotated[
        str, typer.Argument(help="A model, model@revision (its first letters do) or an evaluation's id.")
    ],
    model_b: Annotated[str, typer.Argument(help="The other one.")],
    board: DataBoardOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Compare two models, paired over the documents that both answered: difference, 95% interval, p-value, wins."""
    root, form = find_store(board, store), find_format(form, output)
    target = find_output(output, root, force)
    with connect(root.warehouse) as connection:
        result = compare(connection, model_a, model_b)
        names = name_compared(connection, result, model_a, model_b)
    if form is Format.table and output is None:
        print_comparison(result, names)
    else:
        with usage_of_format(target):
            print_result(result, form, target)


def show_ranking(
    store: Store, suite: str | None, era: str | None = None, top: int | None = None, filters: Filters = NO_FILTERS
) -> None:
    """A suite's leaderboard on the terminal, with the eras that stand beside it."""
    with connect(store.warehouse) as connection:
        suite = suite or next((str(row[0]) for row in list_suites(connection).rows), None)
        result = rank(connection, suite, era, top, filters)
        eras = list_eras(connection, str(suite)).rows
    beside = [(name, rows) for name, is_current, rows in eras if (not is_current if era is None else name != era)]
    print_ranking(result, f"Leaderboard of {suite}", beside, describe_filters(filters))


def describe_filters(filters: Filters) -> str:
    """In words, for a title; nothing where nothing is filtered."""
    texts = {
        "over {:g} B": filters.min_params_b,
        "up to {:g} B": filters.max_params_b,
        "type {}": filters.model_type,
        "precision {}": filters.precision,
        "licence {}": filters.license,
        "organisation {}": filters.organization,
        "country {}": filters.country,
        "no merges": None if filters.with_merges else "",
        "no flagged ones": None if filters.with_flagged else "",
        "no unavailable ones": None if filters.with_unavailable else "",
        "as of {}": None if filters.as_of is None else _tell_time(filters.as_of),
    }
    return ", ".join(text.format(value) for text, value in texts.items() if value is not None)


def _tell_time(time: datetime) -> str:
    """A day where it is its beginning."""
    text = f"{time:%Y-%m-%d %H:%M:%S UTC}".replace(":00 UTC", " UTC")
    return text.removesuffix(" 00:00 UTC")
