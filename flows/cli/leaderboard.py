"""The commands `nightboard rank` and `nightboard compare`, with their options.

`rank` shows a suite's leaderboard, all of it or what the filters of the macro top_models let through.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
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
    find_format,
    find_output,
    find_store,
    usage_of_format,
)
from nightboard.flows.display.format_choice import Format

if TYPE_CHECKING:
    from nightboard.profiles.loading.load import BoardBundle
    from nightboard.tasks.store.layout import Store
    from nightboard.warehouse.reader.questions import Filters, Order

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
    """A day (its end), today or yesterday included, or a time; in UTC where it names no zone."""
    try:
        days = {"today": datetime.now(UTC).date(), "yesterday": datetime.now(UTC).date() - timedelta(days=1)}
        day = days.get(text.lower()) or (date.fromisoformat(text) if "T" not in text and " " not in text else None)
        if day:
            return datetime.combine(day, time.max, UTC)
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"write a date, today, yesterday, or a time such as 2026-01-31T18:00 (got {text})"
        ) from None


@app.command(
    "rank",
    epilog=example(
        "nightboard rank --board quickstart --top 10 --format markdown",
        "nightboard rank --store nightboard-store --max-params 8 --license apache-2.0 --no-merges",
    ),
)
def rank_command(
    board: BoardHereOption = None,
    store: StoreOption = None,
    suite: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_suite, help="Suite to rank. Default: the board's first, or the one with most rows."
        ),
    ] = None,
    era: Annotated[str | None, typer.Option(help="Era of the suite. Default: the current one.")] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Only the first N rows. Default: 100 on a terminal, all in a file or a pipe."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Sort by a column of --format csv: scores from the highest, others from the lowest. Default: rank.",
        ),
    ] = None,
    is_reversed: Annotated[bool, typer.Option("--reverse", help="Sort the other way round.")] = False,
    max_params: Annotated[
        float | None,
        typer.Option(
            parser=parse_params, metavar="B", help="Only up to this many billion parameters; no unknown sizes."
        ),
    ] = None,
    min_params: Annotated[
        float | None,
        typer.Option(parser=parse_params, metavar="B", help="Only more than this many billion parameters."),
    ] = None,
    model_type: Annotated[
        str | None, typer.Option("--type", help="Only this type of model: pretrained, fine-tuned, chat ...")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Only this number format.")] = None,
    license: Annotated[str | None, typer.Option(help="Only this license.")] = None,
    organization: Annotated[str | None, typer.Option(help="Only models of this organization.")] = None,
    country: Annotated[str | None, typer.Option(help="Only organizations of this country, such as FR.")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_time,
            metavar="TIME",
            help="The leaderboard as of then: today, yesterday, a date (the end of the day), or a time; all in UTC.",
        ),
    ] = None,
    no_merges: Annotated[bool, typer.Option("--no-merges", help="No merges of models.")] = False,
    no_flagged: Annotated[bool, typer.Option("--no-flagged", help="No models that an imported board flagged.")] = False,
    no_unavailable: Annotated[
        bool, typer.Option("--no-unavailable", help="No models that are now deleted, private or disabled.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --board: also rows of other boards, and of models no longer watched.")
    ] = False,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Print a leaderboard.

    A board's has the models of its watch list and the imports that it names; a store's has all. Filtered rows keep
    their rank among all. The SQL macro `top_models` has these filters and more.
    """
    from nightboard.flows.display.formats import to_score_text
    from nightboard.flows.display.rows import print_result
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import Filters, Order, rank

    if is_reversed and sort is None:
        sort = "rank"
    if min_params is not None and max_params is not None and min_params >= max_params:
        raise typer.BadParameter(
            f"must be less than --max-params (got {min_params:g} and {max_params:g})", param_hint="--min-params"
        )
    board = choose_board(board, store)
    root, form = find_store(board, store), find_format(form, output)
    target = find_output(output, root, force)
    filters = Filters(
        min_params_b=min_params, max_params_b=max_params, model_type=model_type, precision=precision, license=license,
        organization=organization, country=country, as_of=as_of, with_merges=not no_merges,
        with_flagged=not no_flagged, with_unavailable=not no_unavailable,
    )  # fmt: skip
    if board is not None:
        from nightboard.profiles.loading.load import load_board
        from nightboard.tasks.board_ranking import narrow

        bundle = load_board(board)
        suite = suite or next(iter(bundle.suites))
        filters = filters if everything else narrow(filters, bundle, root.warehouse)
    order = Order(sort, is_reversed) if sort else None
    if form is Format.table and output is None:
        show_ranking(root, suite, era, top, filters, order)
        return
    with connect(root.warehouse) as connection:
        result = rank(connection, suite, era, top, filters, order)
    with usage_of_format(target):
        print_result(result, form, target, to_score_text)


@app.command("compare", epilog=example("nightboard compare lab/strong medium --board quickstart"))
def compare_command(
    model_a: Annotated[
        str,
        typer.Argument(
            help="A model's id or a unique ending of it (strong for lab/strong); model@revision, where the first"
            " letters of the revision are enough; or the first letters of an evaluation's id."
        ),
    ],
    model_b: Annotated[str, typer.Argument(help="The other model.")],
    board: BoardHereOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Compare two models question by question.

    Over the questions that both answered: difference, 95% interval, p-value, wins.
    """
    from nightboard.flows.display.leaderboard import print_comparison
    from nightboard.flows.display.rows import print_result
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import compare, name_compared

    root, form = find_store(choose_board(board, store), store), find_format(form, output)
    target = find_output(output, root, force)
    with connect(root.warehouse) as connection:
        result = compare(connection, model_a, model_b)
        names = name_compared(connection, result, model_a, model_b)
    if form is Format.table and output is None:
        print_comparison(result, names)
    else:
        with usage_of_format(target):
            print_result(result, form, target)


def show_rankings(bundle: BoardBundle, store: Store) -> None:
    """The leaderboards of a board's suites on the terminal, each below an empty line."""
    from nightboard.tasks.board_ranking import narrow
    from nightboard.warehouse.reader.questions import NO_FILTERS

    filters = narrow(NO_FILTERS, bundle, store.warehouse)
    for suite in bundle.suites:
        typer.echo("")
        show_ranking(store, suite, filters=filters)


def show_ranking(
    store: Store,
    suite: str | None,
    era: str | None = None,
    top: int | None = None,
    filters: Filters | None = None,
    order: Order | None = None,
) -> None:
    """A suite's leaderboard on the terminal, with what it leaves out and the names of the other eras."""
    from nightboard.flows.display.leaderboard import print_ranking
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import NO_FILTERS, count_left_out, list_eras, list_suites, rank

    filters = filters or NO_FILTERS
    with connect(store.warehouse) as connection:
        suite = suite or next((str(row[0]) for row in list_suites(connection).rows), None)
        result = rank(connection, suite, era, top, filters, order)
        eras = list_eras(connection, str(suite)).rows
        left_out = 0 if filters.models is None else count_left_out(connection, str(suite), era, filters)
    beside = [(name, rows) for name, is_current, rows in eras if (not is_current if era is None else name != era)]
    print_ranking(result, f"Leaderboard of {suite}", beside, filters, order, top, left_out)
