"""Opens builds for reading: the only place that connects to one, and says what is wrong where that fails.

A build names the Parquet files of its samples relative to its store's lake. Where that lies now, the variable LAKE
tells every connection; a reader who does not set it gets the place where the lake was when the build was made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from nightboard.warehouse.builder.open_build import open_current
from nightboard.warehouse.builder.sql_text import LAKE, escape_glob, literal
from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.reader.sql_errors import explain_files


def find_lake(warehouse: Path) -> Path:
    """The lake that a warehouse is made from: it lies beside it."""
    return (warehouse.absolute().parent / "lake").resolve()


def set_lake(con: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Tell a connection where the files of samples lie now."""
    con.execute(tell_lake(lake))


def tell_lake(lake: Path) -> str:
    """The statement that does so."""
    return f"set variable {LAKE} = {literal(escape_glob(lake))}"


def open_cursor(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Another connection to the same build, which knows where its lake is, too."""
    cursor = con.cursor()
    if row := con.execute(f"select getvariable('{LAKE}')").fetchone():
        cursor.execute(f"set variable {LAKE} = ?", [row[0]])
    return cursor


class QueryError(WarehouseError):
    """A question cannot be answered; the message says why, and which names there are."""


def connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """Open the current build read-only. It may read its store's Parquet files of samples and no other file.

    Raises NoBuildError when there is none that can be opened, QueryError for a database that is none of ours.
    """
    con, lake = open_current(warehouse), find_lake(warehouse)
    try:
        with explained():
            set_lake(con, lake)
            # Connections of one process to one file share the settings, and these can be set once.
            if con.execute("select not current_setting('lock_configuration')").fetchone() == (True,):
                con.execute("set global TimeZone = 'UTC'")
                con.execute("set allowed_paths = ?", [list_readable_files(con, lake)])
                con.execute("set enable_external_access = false")
                con.execute("set lock_configuration = true")
    except QueryError:
        con.close()
        raise
    return con


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What DuckDB cannot do with a build is a QueryError: damaged pages, no memory, tables of another version."""
    try:
        yield
    except duckdb.Error as error:
        message = str(error).strip().splitlines()[0]
        advice = explain_files(message) or "If that goes on, run `nightboard rebuild --full`, which makes a new one."
        raise QueryError(f"the warehouse cannot be read: {message}\n{advice}") from error


def list_readable_files(con: duckdb.DuckDBPyConnection, lake: Path) -> list[str]:
    """Paths of the Parquet files that the view `samples` reads."""
    found = list_values(con, "select path from main.build_files where lake_table = 'samples'")
    files = [lake / path for path in found]
    # The view names them as DuckDB wants them, where a folder has a * or [ in its name.
    return sorted({*map(str, files), *map(escape_glob, files)})


def list_values(con: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> list[str]:
    """The first column of what a query gives, sorted."""
    with explained():
        return sorted(row[0] for row in con.execute(sql, parameters).fetchall())
