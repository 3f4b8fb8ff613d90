"""Copy a table or view of the current build to a file with DuckDB: rows stream, so a table may be larger than memory.

Owns the file formats of exports. Replaces existing files: the caller names one that may be written.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.publish import UnreadableBuildError, current_build
from nightboard.warehouse.builder.sql_text import OFFLINE, literal, quote
from nightboard.warehouse.reader.connection import QueryError, find_lake, set_lake
from nightboard.warehouse.reader.file_format import FileFormat
from nightboard.warehouse.reader.open_build import explain_build
from nightboard.warehouse.reader.sql_errors import explain, explain_table, list_columns
from nightboard.warehouse.schema.lake_tables import DOCUMENTS

_OPTIONS = {
    FileFormat.parquet: "format parquet, compression zstd",
    FileFormat.csv: "format csv, header true",
    FileFormat.tsv: "format csv, header true, delimiter '\\t'",
    FileFormat.json: "format json, array true",
    FileFormat.jsonl: "format json, array false",
}
_LOOK_EVERY_S = 0.2
# What stays in the store of documents that may not be published; their ids and hashes may leave it.
_TEXTS = ("question", "choices", "target", "category")


@contextlib.contextmanager
def open_for_copies(warehouse: Path, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads the current build and may write files: only for nightboard's own SQL.

    What does not fit into memory goes to the folder `scratch`. Raises NoBuildError where there is no build yet.
    """
    build = current_build(warehouse)
    with duckdb.connect(config=OFFLINE | {"temp_directory": str(scratch)}) as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute("set enable_progress_bar = true")
        con.execute("set enable_progress_bar_print = false")
        try:
            con.execute(f"attach {literal(str(build))} as build (read_only)")
        except duckdb.Error as error:
            raise UnreadableBuildError(explain_build(build, error)) from error
        con.execute("use build")
        set_lake(con, find_lake(warehouse))
        yield con


def list_tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all tables and views of main."""
    return list(list_columns(con))


def copy_table(
    con: duckdb.DuckDBPyConnection, table: str, form: FileFormat, path: Path, tell: Callable[[float], object]
) -> int:
    """Write all rows of a table of main to `path`, at full precision; their number.

    Texts of documents that may not be published are left out. `tell` gets the progress, 0..100, a few times a second.
    Ctrl-C stops the copy.
    Raises QueryError for a table that does not exist, or whose rows cannot be read or written.
    """
    if table not in list_columns(con):
        raise QueryError(" ".join(explain_table(con, table)))
    sql = f"select {_columns(con, table, form)} from main.{quote(table)}"
    with ThreadPoolExecutor(1) as pool:
        copied = pool.submit(con.execute, f"copy ({sql}) to {literal(str(path))} ({_OPTIONS[form]})")
        try:
            while not wait([copied], _LOOK_EVERY_S).done:
                tell(con.query_progress())
            row = copied.result().fetchone()
            return int(row[0]) if row else 0
        except duckdb.Error as error:
            raise QueryError(f"{table}: {explain(con, sql, error)}") from error
        finally:
            con.interrupt()  # no effect if the copy has ended


def _columns(con: duckdb.DuckDBPyConnection, table: str, form: FileFormat) -> str:
    replaced = _list_finite(con, table) if form in (FileFormat.json, FileFormat.jsonl) else []
    if table == DOCUMENTS.name:
        replaced += [f"if(may_publish, {name}, null) as {name}" for name in _TEXTS]
    return f"* replace ({', '.join(replaced)})" if replaced else "*"


def _list_finite(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Columns of numbers for JSON, which has no NaN and no infinity."""
    doubles = con.execute(
        "select column_name from duckdb_columns() where database_name = current_database() and schema_name = 'main'"
        " and table_name = ? and data_type = 'DOUBLE'",
        [table],
    ).fetchall()
    return [f"if(isfinite({quote(name)}), {quote(name)}, null) as {quote(name)}" for (name,) in doubles]
