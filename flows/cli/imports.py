"""The commands `nightboard import ...`: what others have measured. Reading and storing it is left to the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nightboard.flows.cli.options import DataBoardOption, FormatOption, StoreOption, example, find_store
from nightboard.flows.display.board_import import print_board_import
from nightboard.flows.display.console import Terminal, count
from nightboard.flows.display.formats import Format
from nightboard.flows.display.ranking_import import SHOWN_MODELS, RankingReport, print_ranking_import
from nightboard.flows.display.results_import import print_results_import
from nightboard.profiles.loading.load import load_board, load_suite
from nightboard.profiles.models.suite import Suite
from nightboard.tasks.hub.client import open_hub
from nightboard.tasks.imports.board import import_board
from nightboard.tasks.imports.ranking import COLUMNS, RankingImport, import_ranking
from nightboard.tasks.imports.remove import forget_board
from nightboard.tasks.imports.results import ResultsImport, import_results
from nightboard.tasks.imports.table_files import TableFile
from nightboard.tasks.imports.table_source import open_tables
from nightboard.tasks.store.layout import Store, StoreError
from nightboard.tasks.store.records import utc_now
from nightboard.warehouse.builder.build import build, rebuild_if_stale
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import (
    Result,
    compare_ranking,
    count_complete,
    find_disagreements,
    list_correlations,
    list_unmatched,
)

# On the scale 0..100: published scores that differ by less are the same, rounded.
SCORE_TOLERANCE = 1e-9

app = typer.Typer(
    help="Bring in what others have measured.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
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
            help="The Open LLM Leaderboard's data set `contents` (36 columns): a Parquet or CSV file, a folder of them,"
            " or its id on the Hub.",
        ),
    ],
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag of the data set on the Hub; left out: its newest commit.")
    ] = None,
    board: DataBoardOption = None,
    store: StoreOption = None,
    suite: Annotated[str, typer.Option(help="Suite whose benchmarks its columns are, by their titles.")] = (
        "leaderboard-v2"
    ),
    era: Annotated[
        str | None, typer.Option(help="Era of the suite in which it was scored; needed where there are several.")
    ] = None,
    name: Annotated[str, typer.Option(help="Source of the rows: import:NAME.")] = "open-llm-leaderboard",
    form: FormatOption = Format.table,
) -> None:
    """Rank the models of a published leaderboard beside your own.

    Scores are computed anew from its raw ones where these tell them; rows where the two disagree are listed. A newer
    table under the same name takes the place of an older one, row by row.
    """
    root, now = find_store(board, store), utc_now()
    bundle = load_board(board) if board is not None else None
    declared = (bundle.suites.get(suite) if bundle else None) or load_suite(suite)
    with open_tables(table, revision, lambda: open_hub(bundle.board.hub if bundle else None, tell_wait)) as tables:
        done = import_board(root, tables, declared, era, name, now)
    if done.n_imported:
        with Terminal().show_work() as report:
            rebuild_if_stale(root.lake, root.warehouse, now, report)
    disagreements, n_complete = Result([], []), 0
    if done.n_imported:
        with connect(root.warehouse) as connection:
            disagreements = find_disagreements(connection, done.source, SCORE_TOLERANCE)
            n_complete = sum(row[-1] for row in count_complete(connection, done.evaluation_ids).rows)
    print_board_import(done, disagreements, n_complete, form)
    if done.left_out:
        raise typer.Exit(3)


def tell_wait(text: str) -> None:
    """Say beside the output, which may be for a machine, that we wait."""
    typer.echo(text, err=True)


@app.command(
    "results",
    epilog=example("nightboard import results lm-eval-outputs/ --store nightboard-store --suite leaderboard-v2"),
)
def import_results_command(
    paths: Annotated[
        list[Path], typer.Argument(help="Results files of lm-eval, or folders: all .json and .jsonl files below count.")
    ],
    board: DataBoardOption = None,
    store: StoreOption = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite that the files are scored by, a name or a file; left out: of the board's suites, or else of"
            " leaderboard-v2 and leaderboard-v1, the one that has most of a file's tasks."
        ),
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Bring in outputs of lm-eval that nightboard did not make: scores by task, and the samples of the same run.

    Reads every 0.4 version and results before 0.4. A file with tasks of a suite is scored as a run is, and ranked when
    all benchmarks of the suite stand in this one file: what stands in several is not put together. `coverage` says what
    is missing. Any other one stands in `task_scores` and `samples`. Samples are taken together with their results file.
    What cannot be read is listed with file, line and reason; `--format json` lists everything.
    """
    root, now = find_store(board, store), utc_now()
    done = ResultsImport()
    with Terminal().progress() as progress:
        bar = progress.add_task("Reading", total=None)
        for done in import_results(root, paths, choose_suites(board, suite), now):
            progress.update(bar, completed=done.n_read, total=done.n_files)
    if done.imported:
        with Terminal().show_work() as report:
            rebuild_if_stale(root.lake, root.warehouse, now, report)
    suites = Result([], [])
    if done.imported:
        with connect(root.warehouse) as connection:
            suites = count_complete(connection, [each.evaluation_id for each in done.imported])
    print_results_import(done, suites, form)
    if done.left_out:
        raise typer.Exit(3)


@app.command("forget", epilog=example("nightboard import forget --name arena --era launch --store nightboard-store"))
def forget_command(
    name: Annotated[str, typer.Option(help="Name that the board was imported under, as in import:NAME.")],
    era: Annotated[str | None, typer.Option(help="Era it was imported in; needed where there are several.")] = None,
    board: DataBoardOption = None,
    store: StoreOption = None,
) -> None:
    """Take an imported board out of the store again, such as one that was imported in a wrong era.

    Not for outputs of lm-eval, and not for rows that were joined with others since: a store that has over 100 files of
    imports is compacted. Rows of your own runs are never touched.
    """
    root = find_store(board, store)
    if not root.lake.is_dir():
        raise StoreError(f"{root.root}: there is no store here (no folder lake). Check the path.")
    done, ui = forget_board(root, name, era), Terminal()
    with ui.show_work() as report:
        build(root.lake, root.warehouse, utc_now(), report)
    ui.say(f"{count(done.n_rows, 'row')} of {done.source} in era {done.era} taken out; the warehouse is rebuilt.")


@app.command("ranking", epilog=example("nightboard import ranking arena.csv --name arena --store nightboard-store"))
def import_ranking_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON, JSON lines or Parquet with a column of models, one of ranks or scores (or both), and"
            " perhaps one of dates."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the ranking; a newer file of the same name takes its place.")],
    board: DataBoardOption = None,
    store: StoreOption = None,
    date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day the ranking is from, where the file does not say."),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="A lower score is the better one.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="WHAT=NAME",
            help="Column of the file for model, rank, score or date, where its title is an unusual one.",
        ),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Compare with this suite; left out: with each.")] = None,
    era: Annotated[str | None, typer.Option(help="Compare with this era; left out: with each.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Show N models.")] = SHOWN_MODELS,
    form: FormatOption = Format.table,
) -> None:
    """Put a ranking that others made beside ours: who stands where, and how far the two orders agree.

    Names are matched to our models by the whole id, without capitals, or by its last part where only one model ends so.
    Of several dates the newest counts. What is kept: tables `rankings`, `ranking_comparisons`, `ranking_correlations`.
    """
    root, now = find_store(board, store), utc_now()
    done = import_ranking(
        root, TableFile.local(file), name, now,
        date=date.replace(tzinfo=UTC) if date else None, is_ascending=ascending, columns=parse_columns(columns or []),
    )  # fmt: skip
    if done.n_imported:
        with Terminal().show_work() as report:
            rebuild_if_stale(root.lake, root.warehouse, now, report)
    print_ranking_import(done, report_ranking(root, done, suite, era), form, top, now)
    if done.left_out:
        raise typer.Exit(3)


def report_ranking(store: Store, done: RankingImport, suite: str | None, era: str | None) -> RankingReport:
    """What the warehouse says of a ranking that was just imported; nothing where nothing was."""
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
    """`score=Elo` as an item of a mapping. Wrong usage for anything but model, rank, score and date."""
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (what, _, title) in zip(texts, pairs, strict=True) if what not in COLUMNS or not title]:
        raise typer.BadParameter(
            f"write one of {', '.join(COLUMNS)}, = and the title (got {wrong[0]})", param_hint="--column"
        )
    return {what: title for what, _, title in pairs}


def choose_suites(board: str | None, suite: str | None) -> list[Suite]:
    """The suites by which results files may be scored: the one that is named, or the board's, or the shipped ones."""
    suites = load_board(board).suites if board is not None else {}
    if suite is not None:
        return [suites[suite] if suite in suites else load_suite(suite)]
    return [*suites.values()] or [load_suite(name) for name in ("leaderboard-v2", "leaderboard-v1")]
