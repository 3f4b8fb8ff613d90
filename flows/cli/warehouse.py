"""The commands of the warehouse: rebuild it, query it with SQL or DuckDB's own shell, export it to files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nightboard.flows.cli.options import (
    BoardHereOption,
    DataBoardOption,
    ForceOption,
    OutputFormatOption,
    OutputOption,
    QuietOption,
    StoreOption,
    choose_board,
    example,
    find_filled_store,
    find_format,
    find_output,
    find_store,
    run_history,
    usage_of_format,
)
from nightboard.warehouse.reader.file_format import FileFormat

MOST_SQL_BYTES = 2**24

app = typer.Typer()


@app.command(epilog=example("nightboard rebuild --store nightboard-store"))
def rebuild(
    board: DataBoardOption = None,
    store: StoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Rebuild the warehouse from the files of the store.

    Readers keep the previous build until the new one is ready. What samples decide is computed once per evaluation,
    and kept in warehouse/derived/: to compute it again, remove that folder.
    """
    found = find_filled_store(board, store)
    with run_history(found, starts_server=False) as history:
        from nightboard.flows.rebuild import run_rebuild

        run_rebuild(found, history, is_quiet=quiet)


@app.command(epilog=example('nightboard sql --store nightboard-store "select * from leaderboard"'))
def sql(
    query: Annotated[str | None, typer.Argument(help="SQL. Default: read from the standard input.")] = None,
    board: BoardHereOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
    shell: Annotated[
        bool, typer.Option("--shell", help="Open DuckDB's own shell on the warehouse, read-only.")
    ] = False,
) -> None:
    """Run SQL on the warehouse, read-only. Several statements print several tables."""
    from nightboard.flows.display.rows import print_answers, tell_logs
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.shell import open_shell
    from nightboard.warehouse.reader.user_sql import run_sql

    root = find_store(choose_board(board, store), store)
    if shell:
        if query is not None or form is not None or output is not None:
            raise typer.BadParameter(
                "use it alone; in the shell, type SQL, and .mode csv for formats", param_hint="--shell"
            )
        raise typer.Exit(1 if open_shell(root.warehouse) else 0)
    form, text = find_format(form, output), read_query(query)
    target = find_output(output, root, force)
    with connect(root.warehouse) as connection, usage_of_format(target):
        print_answers(run_sql(connection, text), form, target, tell_logs(root))


@app.command(
    epilog=example(
        "nightboard export samples --store nightboard-store --output samples.parquet",
        "nightboard export --all --store nightboard-store --output tables/",
    )
)
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; with --all, a folder.")],
    table: Annotated[str | None, typer.Argument(help="Table or view.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every table and view, a file each.")] = False,
    board: BoardHereOption = None,
    store: StoreOption = None,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"{', '.join(FileFormat)}. Default: by the ending of --output; with --all, parquet.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Export tables to Parquet, CSV, TSV or JSON files.

    At full precision. Rows stream, so a table may be larger than memory. A file appears whole or not at all. Questions
    that their authors do not allow to publish are left out of `documents`. To export chosen columns and rows, use `sql`
    with --output.
    """
    from nightboard.flows.display.console import Terminal, count
    from nightboard.tasks.export import export_all, export_table

    if (table is None) != everything:
        raise typer.BadParameter("name a table, or use --all (not both)", param_hint="TABLE")
    if output == Path("-"):
        raise typer.BadParameter(
            'export writes files; for the standard output: nightboard sql "from TABLE" --format csv',
            param_hint="--output",
        )
    root, ui = find_store(choose_board(board, store), store), Terminal()
    with ui.progress() as progress:
        bar = progress.add_task("Writing", total=100)

        def tell(name: str, done: float) -> None:
            progress.update(bar, description=name, completed=round(max(done, 0)))

        if table is None:
            exported = export_all(root, output, form or FileFormat.parquet, force, tell)
        else:
            exported = iter([export_table(root, table, output, form or find_file_format(output), force, tell)])
        for each in exported:
            ui.say(f"{each.table}: {count(each.n_rows, 'row')} in {each.path}")


def find_file_format(output: Path) -> FileFormat:
    """The format that a file's ending names."""
    try:
        return FileFormat(output.suffix.lower().removeprefix("."))
    except ValueError:
        endings = ", ".join(f".{form}" for form in FileFormat)
        raise typer.BadParameter(
            f"no format for the name {output.name}. End it in {endings}, or add --format.",
            param_hint="--output",
        ) from None


def read_query(query: str | None) -> str:
    """The SQL of the argument or the pipe."""
    if query is not None:
        return query
    if sys.stdin.isatty():
        raise typer.BadParameter(
            'write SQL, such as "from leaderboard", pipe it in, or open --shell', param_hint="QUERY"
        )
    data = sys.stdin.buffer.read(MOST_SQL_BYTES + 1)
    if len(data) > MOST_SQL_BYTES:
        from nightboard.warehouse.reader.connection import QueryError

        raise QueryError(f"the standard input has more than {MOST_SQL_BYTES:,} bytes. Pipe in SQL, not data.")
    # Bytes that are not UTF-8 are kept, so that the message can name the place.
    return data.decode("utf-8-sig", "surrogateescape")
