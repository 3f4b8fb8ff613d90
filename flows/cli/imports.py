"""The commands `nightboard import board|results|ranking|remove`: published results of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightboard.flows.cli.options import (
    DataBoardOption,
    FormatOption,
    Group,
    StoreOption,
    example,
    find_filled_store,
    find_store,
)
from nightboard.flows.display.format_choice import Format

if TYPE_CHECKING:
    from nightboard.flows.display.ranking_import import RankingReport
    from nightboard.profiles.models.suite import Suite
    from nightboard.tasks.imports.ranking import RankingImport
    from nightboard.tasks.store.layout import Store

# On the scale 0..100: published scores that differ by less are equal except for rounding.
SCORE_TOLERANCE = 1e-9
SHOWN_MODELS = 20

app = typer.Typer(
    cls=Group,
    help="Import published results, to compare with your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    "board",
    epilog=example("nightboard import board open-llm-leaderboard/contents --store nightboard-store --era math-verify"),
)
def import_board_command(
    table: Annotated[
        str,
        typer.Argument(
            metavar="FILE-or-ID",
            help="The Open LLM Leaderboard's dataset `contents` (36 columns): a Parquet or CSV file, a folder of them,"
            " or its id on the Hub.",
        ),
    ],
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag of the dataset on the Hub. Default: its newest commit.")
    ] = None,
    board: DataBoardOption = None,
    store: StoreOption = None,
    suite: Annotated[str, typer.Option(help="Suite whose benchmarks are the table's columns, by title.")] = (
        "leaderboard-v2"
    ),
    era: Annotated[
        str | None, typer.Option(help="Era of the suite in which it was scored. Required if the suite has several.")
    ] = None,
    name: Annotated[str, typer.Option(help="Source of the rows: import:NAME.")] = "open-llm-leaderboard",
    form: FormatOption = Format.table,
) -> None:
    """Rank a published leaderboard together with yours.

    Scores are recomputed from the table's raw scores if possible; rows with different scores are listed. A newer table
    with the same name replaces an older one, row by row.
    """
    from nightboard.flows.display.board_import import print_board_import
    from nightboard.profiles.loading.load import load_board, load_suite
    from nightboard.tasks.hub.client import open_hub
    from nightboard.tasks.imports.board import import_board
    from nightboard.tasks.imports.table_source import open_tables
    from nightboard.tasks.store.records import utc_now
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import count_complete, find_disagreements
    from nightboard.warehouse.reader.result import Result

    root, now = find_store(board, store), utc_now()
    bundle = load_board(board) if board is not None else None
    declared = (bundle.suites.get(suite) if bundle else None) or load_suite(suite)
    with open_tables(table, revision, lambda: open_hub(bundle.board.hub if bundle else None, tell_wait)) as tables:
        done = import_board(root, tables, declared, era, name, now)
    disagreements, n_complete = Result([], []), 0
    if done.n_imported:
        update_warehouse(root, now)
        with connect(root.warehouse) as connection:
            disagreements = find_disagreements(connection, done.source, SCORE_TOLERANCE)
            n_complete = sum(row[2] for row in count_complete(connection, done.evaluation_ids).rows)
    print_board_import(done, disagreements, n_complete, form)
    if done.left_out:
        raise typer.Exit(3)


def update_warehouse(store: Store, now: datetime) -> None:
    """Build the warehouse, unless the current build has read the same files; with a bar."""
    from nightboard.flows.display.console import Terminal
    from nightboard.warehouse.builder.build import rebuild_if_stale

    with Terminal().show_work() as report:
        rebuild_if_stale(store.lake, store.warehouse, now, report)


def tell_wait(text: str) -> None:
    """Print a wait to standard error, because the output may be for a machine."""
    typer.echo(text, err=True)


@app.command(
    "results",
    epilog=example("nightboard import results lm-eval-outputs/ --store nightboard-store --suite leaderboard-v2"),
)
def import_results_command(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Results files of lm-eval, or folders with .json and .jsonl files, also in subfolders."),
    ],
    board: DataBoardOption = None,
    store: StoreOption = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite to score the files by, a name or a file. Default: the suite with most of a file's tasks, of the"
            " board's suites or of leaderboard-v2 and leaderboard-v1."
        ),
    ] = None,
    model_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Model of the files that do not name theirs, such as lab/model. Default: they are skipped.",
        ),
    ] = None,
    supersede: Annotated[
        bool,
        typer.Option(
            "--supersede",
            help="Rank them in place of your runs, and of boards' rows, of the same model and settings. Default: beside"
            " them.",
        ),
    ] = False,
    ask_hub: Annotated[
        bool,
        typer.Option(
            "--ask-hub",
            help="Ask the Hub which commit a branch or tag had when it was evaluated; marked as inferred.",
        ),
    ] = False,
    form: FormatOption = Format.table,
) -> None:
    """Import scores and samples of other lm-eval runs.

    Reads all versions of lm-eval. A file with tasks of a suite is scored like a run, and ranked if this file has all
    benchmarks of the suite: several files are not combined. Table `coverage` says what is missing. The numbers of
    other files, also of lighteval, are in `task_scores` and `samples`. Give samples together with their results file.
    Unreadable files, and those whose settings are not comparable, are listed with the reason; `--format json` lists all
    of them.
    """
    from nightboard.flows.display.console import Terminal
    from nightboard.flows.display.results_import import print_results_import
    from nightboard.tasks.imports.results import Options, ResultsImport, import_results
    from nightboard.tasks.store.records import utc_now
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import count_complete
    from nightboard.warehouse.reader.result import Result

    root, now = find_store(board, store), utc_now()
    done = ResultsImport()
    with Terminal().progress() as progress:
        bar = progress.add_task("Reading", total=None)
        options = Options(model_id, supersede, find_past_commits(board) if ask_hub else None)
        for done in import_results(root, paths, choose_suites(board, suite), now, options):
            progress.update(bar, completed=done.n_read, total=done.n_files)
    suites = Result([], [])
    if done.imported:
        update_warehouse(root, now)
        with connect(root.warehouse) as connection:
            suites = count_complete(connection, [result.evaluation_id for result in done.imported])
    print_results_import(done, suites, form)
    if done.left_out:
        raise typer.Exit(3)


def find_past_commits(board: str | None) -> Callable[[str, str, datetime], str | None]:
    """Asks the board's Hub, or the public one."""
    from nightboard.profiles.loading.load import load_board
    from nightboard.tasks.hub.client import open_hub
    from nightboard.tasks.imports.past_commits import PastCommits

    return PastCommits(open_hub(load_board(board).board.hub if board else None, tell_wait)).find


@app.command("remove", epilog=example("nightboard import remove --name arena --era launch --store nightboard-store"))
def remove_command(
    name: Annotated[str, typer.Option(help="Name of the imported board, as in import:NAME.")],
    era: Annotated[str | None, typer.Option(help="Era it was imported in. Required if there are several.")] = None,
    board: DataBoardOption = None,
    store: StoreOption = None,
) -> None:
    """Remove an imported board from the store.

    For example one that was imported in a wrong era. Cannot remove outputs of lm-eval, or rows that have been compacted
    since (a store with over 100 files of imports is compacted). Rows of your own runs are never removed.
    """
    from nightboard.flows.display.console import Terminal, count
    from nightboard.tasks.imports.remove import remove_board
    from nightboard.tasks.store.records import utc_now
    from nightboard.warehouse.builder.build import build

    root = find_filled_store(board, store)
    removed, ui = remove_board(root, name, era), Terminal()
    with ui.show_work() as report:
        build(root.lake, root.warehouse, utc_now(), report)
    ui.say(f"Removed {count(removed.n_rows, 'row')} of {removed.source} in era {removed.era}; rebuilt the warehouse.")


@app.command("ranking", epilog=example("nightboard import ranking arena.csv --name arena --store nightboard-store"))
def import_ranking_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON, JSON lines or Parquet file with a column of models, one of ranks or scores (or both), and"
            " optionally one of dates."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the ranking. A newer file with the same name replaces it.")],
    board: DataBoardOption = None,
    store: StoreOption = None,
    date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Date of the ranking, if the file has none."),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="A lower score is better.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="WHAT=NAME",
            help="Column of the file for model, rank, score or date, if its title is not recognized.",
        ),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Compare with this suite. Default: all suites.")] = None,
    era: Annotated[str | None, typer.Option(help="Compare with this era. Default: all eras.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of models to show.")] = SHOWN_MODELS,
    form: FormatOption = Format.table,
) -> None:
    """Compare a published ranking with your leaderboard.

    Shows the ranks of common models, and how well the two rankings agree.

    Names are matched to our models by the whole id, ignoring case, or by its last part if only one model has it. Of
    several dates, the newest counts. See the tables `rankings`, `ranking_comparisons`, `ranking_correlations`.
    """
    from nightboard.flows.display.ranking_import import print_ranking_import
    from nightboard.tasks.imports.ranking import import_ranking
    from nightboard.tasks.imports.table_files import TableFile
    from nightboard.tasks.store.records import utc_now

    root, now = find_store(board, store), utc_now()
    done = import_ranking(
        root, TableFile.local(file), name, now,
        date=date.replace(tzinfo=UTC) if date else None, is_ascending=ascending, columns=parse_columns(columns or []),
    )  # fmt: skip
    if done.n_imported:
        update_warehouse(root, now)
    print_ranking_import(done, report_ranking(root, done, suite, era), form, top, now)
    if done.left_out:
        raise typer.Exit(3)


def report_ranking(store: Store, done: RankingImport, suite: str | None, era: str | None) -> RankingReport:
    """The comparison of an imported ranking with ours; empty if nothing was imported."""
    from nightboard.flows.display.ranking_import import RankingReport
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import compare_ranking, list_correlations, list_unmatched
    from nightboard.warehouse.reader.result import Result

    nothing = Result([], [])
    if not done.n_imported:
        return RankingReport(nothing, nothing, nothing)
    with connect(store.warehouse) as con:
        correlations = list_correlations(con, done.ranking, suite, era)
        models = nothing
        if correlations.rows:
            first = dict(zip(correlations.columns, correlations.rows[0], strict=True))
            models = compare_ranking(con, done.ranking, first["suite"], first["era"])
        return RankingReport(correlations, models, list_unmatched(con, done.ranking))


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """`score=Elo` as an item of a mapping. Raises BadParameter for anything but model, rank, score and date."""
    from nightboard.tasks.imports.ranking import COLUMNS

    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (what, _, title) in zip(texts, pairs, strict=True) if what not in COLUMNS or not title]:
        raise typer.BadParameter(
            f"must be one of {', '.join(COLUMNS)}, =, and the title (got {wrong[0]})", param_hint="--column"
        )
    return {what: title for what, _, title in pairs}


def choose_suites(board: str | None, suite: str | None) -> list[Suite]:
    """The suites by which results files may be scored: the given one, or the board's, or the shipped ones."""
    from nightboard.profiles.loading.load import load_board, load_suite

    suites = load_board(board).suites if board is not None else {}
    if suite is not None:
        return [suites[suite] if suite in suites else load_suite(suite)]
    return [*suites.values()] or [load_suite(name) for name in ("leaderboard-v2", "leaderboard-v1")]
