"""SQL statements made from the schema: views over the lake, tables for models, comments, keys.

SQL is composed from parts only here and in suite_tables.py, because DuckDB binds no names. Every name goes through
`quote`, every value through `literal`.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.sql_models import ModelError
from nightboard.warehouse.builder.sql_text import LAKE, OFFLINE, literal, quote
from nightboard.warehouse.lake.files import escape_glob
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import SAMPLES

# The file format of DuckDB 1.4, so that analysts' tools can be older than the builder.
STORAGE = {"storage_compatibility_version": "v1.4.0"}


@contextlib.contextmanager
def open_new(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a new build to fill it. Nobody reads it before it is whole: it has no journal, and is written at the end."""
    one_write = {"checkpoint_threshold": "1TB", "temp_directory": f"{path}.tmp"}
    with duckdb.connect(config=OFFLINE | STORAGE | one_write) as con:
        con.execute(f"attach {literal(str(path))} as build (recovery_mode no_wal_writes)")
        con.execute("use build")
        con.execute("set TimeZone = 'UTC'")
        yield con
        con.execute("use memory")
        con.execute("detach build")  # raises when the disk fails


def open_another(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Another connection to the build that `con` makes, for use by another thread."""
    other = con.cursor()
    other.execute("set TimeZone = 'UTC'")
    other.execute("use build")
    return other


def empty_select(table: Table) -> str:
    """A SELECT with the table's columns and types, and no rows."""
    columns = ", ".join(f"cast(null as {column.type}) as {quote(column.name)}" for column in table.columns)
    return f"select {columns} where false"


def read_files(lake: Path, paths: Iterable[str], *, can_move: bool = False) -> str:
    """A relation over exactly these Parquet files of the lake; with `can_move`, their folder is read from LAKE."""
    root = literal(escape_glob(lake))
    root = f"coalesce(getvariable('{LAKE}'), {root})" if can_move else root
    files = ", ".join(f"{root} || {literal(escape_glob(Path('/') / path))}" for path in paths)
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"


def select_files(table: Table, folder: Path, paths: Iterable[str], *, can_move: bool = False) -> str:
    """A SELECT of all rows of these files, with all columns of the schema, even those that no file has."""
    parts = [empty_select(table)]
    if paths := list(paths):
        parts.append(f"select * from {read_files(folder, paths, can_move=can_move)}")
    return f"select {_columns(table, 'rows')} from ({' union all by name '.join(parts)}) as rows"


def create_lake_view(con: duckdb.DuckDBPyConnection, table: Table, lake: Path, paths: tuple[str, ...]) -> None:
    """Make lake.<table> a view of these files."""
    con.execute(f"create view lake.{quote(table.name)} as {select_files(table, lake, paths)}")


def create_table(con: duckdb.DuckDBPyConnection, schema: str, name: str, sql: str, table: Table | None) -> None:
    """Make a table from one SELECT; with a description, with its columns and order of rows."""
    columns, order = _columns(table, "answer") if table else "answer.*", ""
    if table:
        order = f" order by {', '.join(map(quote, table.order or table.key))}"
    con.execute(f"create table {quote(schema)}.{quote(name)} as select {columns} from ({sql}\n) as answer{order}")


def count_rows(con: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> dict[str, int]:
    """Number of rows by table of main."""
    counts = [f"select {literal(table.name)}, count(*) from main.{quote(table.name)}" for table in tables]
    return dict(con.execute(" union all ".join(counts)).fetchall())


def _columns(table: Table, relation: str) -> str:
    return ", ".join(f"{relation}.{quote(column.name)}" for column in table.columns)


def create_samples_view(con: duckdb.DuckDBPyConnection, sql: str, lake: Path, paths: tuple[str, ...]) -> None:
    """Make main.samples, a view of the lake's files, from its SELECT."""
    files = select_files(SAMPLES, lake, paths, can_move=True)
    con.execute(f"create view main.samples as {sql.replace('lake.samples', f'({files})')}")


def describe_table(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Write the grain of a table of main, and the descriptions of its columns, to the database as comments.

    Raises ModelError if it has other columns or types than its description.
    """
    kind, name = "view" if table is SAMPLES else "table", f"main.{quote(table.name)}"
    actual = [row[:2] for row in con.execute(f"describe {name}").fetchall()]
    described = [(column.name, column.type) for column in table.columns]
    if actual != described:
        difference = sorted({f"{column} {kind}" for column, kind in set(actual) ^ set(described)})
        raise ModelError(
            f"main.{table.name} differs from its description: {', '.join(difference) or 'order of columns'}."
            " Correct the SQL or the schema."
        )
    comments = [f"comment on {kind} {name} is {literal(table.grain)}"]
    comments += [f"comment on column {name}.{quote(c.name)} is {literal(c.description)}" for c in table.columns]
    con.execute(";\n".join(comments))
