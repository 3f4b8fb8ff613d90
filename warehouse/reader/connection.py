"""Connections for queries on the current build: read-only, without access to files except the store's samples.

A build names the Parquet files of its samples relative to its store's lake. The variable LAKE of a connection holds
the lake's present path; without it, the path at the time of the build is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from nightboard.warehouse.builder.sql_text import LAKE, literal
from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.lake.files import escape_glob
from nightboard.warehouse.reader.open_build import open_current
from nightboard.warehouse.reader.sql_errors import explain_files


def find_lake(warehouse: Path) -> Path:
    """The lake of a warehouse: the folder next to it."""
    return (warehouse.absolute().parent / "lake").resolve()


def set_lake(con: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Set the present path of the lake in a connection."""
    con.execute(tell_lake(lake))


def tell_lake(lake: Path) -> str:
    """The statement that sets the path of the lake."""
    return f"set variable {LAKE} = {literal(escape_glob(lake))}"


def open_cursor(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Another connection to the same build, with the same path of the lake."""
    cursor = con.cursor()
    if row := con.execute(f"select getvariable('{LAKE}')").fetchone():
        cursor.execute(f"set variable {LAKE} = ?", [row[0]])
    return cursor


class QueryError(WarehouseError):
    """A query cannot be answered; the message says why, and which names exist."""


def connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """Open the current build read-only. It can read its store's Parquet files of samples and no other file.

    Raises NoBuildError if there is no build that can be opened, QueryError for a database that nightboard did not make.
    """
    con, lake = open_current(warehouse), find_lake(warehouse)
    try:
        with explained():
            set_lake(con, lake)
            # Connections of one process to the same file share these settings, which can be set only once.
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
    """Turn DuckDB's errors on a build into QueryError: damaged pages, no memory, tables of another version."""
    try:
        yield
    except duckdb.Error as error:
        message = str(error).strip().splitlines()[0]
        advice = explain_files(message) or "If this happens again, run `nightboard rebuild` to make a new build."
        raise QueryError(f"the warehouse cannot be read: {message}\n{advice}") from error


def list_readable_files(con: duckdb.DuckDBPyConnection, lake: Path) -> list[str]:
    """Paths of the Parquet files that the view `samples` reads."""
    paths = list_values(con, "select path from main.build_files where lake_table = 'samples'")
    files = [lake / path for path in paths]
    # The view has them escaped for DuckDB, if a folder has a * or [ in its name.
    return sorted({*map(str, files), *map(escape_glob, files)})


def list_values(con: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> list[str]:
    """The first column of a query's result, sorted."""
    with explained():
        return sorted(row[0] for row in con.execute(sql, parameters).fetchall())
