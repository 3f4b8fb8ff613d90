"""SQL statements made from the schema: views over the lake, tables for models, comments, keys.

SQL is composed from parts only here and in suite_tables.py, because DuckDB binds no names. Every name goes through
`quote`, every value through `literal`.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.sql_models import ModelError
from nightboard.warehouse.builder.sql_text import LAKE, escape_glob, literal, quote
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import SAMPLES

# The file format of DuckDB 1.4, so that analysts' tools can be older than the builder.
STORAGE = {"storage_compatibility_version": "v1.4.0"}


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


def create_table(
    con: duckdb.DuckDBPyConnection, schema: str, name: str, sql: str, table: Table | None, *, is_there: bool = False
) -> None:
    """Make a table from one SELECT; with a description, with its columns and order of rows.

    `is_there`: the table exists with these columns and comments; only its rows are replaced.
    """
    order = f"order by {', '.join(map(quote, table.order or table.key))}" if table else ""
    target, select = f"{quote(schema)}.{quote(name)}", f"{select_columns(table, sql)} {order}"
    if is_there:
        con.execute(f"delete from {target}")
        con.execute(f"insert into {target} {select}")
    else:
        con.execute(f"create or replace table {target} as {select}")


def select_columns(table: Table | None, sql: str) -> str:
    """A SELECT of the described columns, or of all, from another SELECT, with the alias `answer`."""
    return f"select {_columns(table, 'answer') if table else 'answer.*'} from ({sql}\n) as answer"


def find_repeated_keys(con: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> set[str]:
    """Names of the tables of main that may have duplicate keys: the keys of two rows have the same hash."""
    counts = [
        f"select {literal(table.name)} as name, count(*) as n_rows, count(distinct hash({_key(table)})) as n_keys"
        f" from main.{quote(table.name)}"
        for table in tables
    ]
    return {
        name
        for (name,) in con.execute(f"select name from ({' union all '.join(counts)}) where n_keys < n_rows").fetchall()
    }


def key_check(table: Table) -> str:
    """A check that returns duplicate keys."""
    return (
        f"-- Duplicate keys of {table.name}.\n"
        f"select {_key(table)}, count(*) as n_rows from main.{quote(table.name)} group by all having count(*) > 1"
    )


def _key(table: Table) -> str:
    return ", ".join(quote(name) for name in table.key)


def count_rows(con: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> dict[str, int]:
    """Number of rows by table of main."""
    counts = [f"select {literal(table.name)}, count(*) from main.{quote(table.name)}" for table in tables]
    return dict(con.execute(" union all ".join(counts)).fetchall())


def _columns(table: Table, relation: str) -> str:
    return ", ".join(f"{relation}.{quote(column.name)}" for column in table.columns)


def create_samples_view(con: duckdb.DuckDBPyConnection, lake: Path, paths: tuple[str, ...]) -> Table:
    """Make main.samples, a view of the samples of done evaluations in the lake's Parquet files.

    Every column is qualified with its relation, because a macro replaces bare names by its parameters, even in views.
    """
    done = "select done.evaluation_id from main.evaluations as done where done.state = 'done'"
    source = f"({select_files(SAMPLES, lake, paths, can_move=True)}) as rows"
    con.execute(
        f"create or replace view main.samples as select rows.* from {source} where rows.evaluation_id in ({done})"
    )
    return SAMPLES


def drop_others(con: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> None:
    """Drop all other tables of main: a build that starts as a copy may have more."""
    names = {table.name for table in tables}
    existing = con.execute(
        "select table_name from duckdb_tables() where database_name = current_database() and schema_name = 'main'"
    ).fetchall()
    for name in sorted({name for (name,) in existing} - names):
        con.execute(f"drop table main.{quote(name)}")


def match_schemas(con: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> None:
    """Raise ModelError if a table of main has other columns or types than its description."""
    actual: dict[str, list[tuple[str, str]]] = {}
    columns = con.execute(
        "select table_name, column_name, data_type from duckdb_columns()"
        " where database_name = current_database() and schema_name = 'main' order by table_name, column_index"
    ).fetchall()
    for name, column, kind in columns:
        actual.setdefault(name, []).append((column, kind))
    for table in tables:
        _match_schema(table, actual.get(table.name, []))


def _match_schema(table: Table, actual: list[tuple[str, str]]) -> None:
    described = [(column.name, column.type) for column in table.columns]
    if actual != described:
        difference = sorted({f"{name} {kind}" for name, kind in set(actual) ^ set(described)})
        raise ModelError(
            f"main.{table.name} differs from its description: {', '.join(difference) or 'order of columns'}."
            " Correct the SQL or the schema."
        )


def comment_on(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Write the table's grain and its columns' descriptions to the database as comments."""
    kind, name = "view" if table is SAMPLES else "table", f"main.{quote(table.name)}"
    columns = [
        f"comment on column {name}.{quote(column.name)} is {literal(column.description)}" for column in table.columns
    ]
    con.execute(";\n".join([f"comment on {kind} {name} is {literal(table.grain)}", *columns]))
