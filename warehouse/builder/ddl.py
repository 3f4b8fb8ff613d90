"""SQL statements made from the schema: views over the lake, tables for models, functions and macros, comments.

SQL is composed from parts, because DuckDB binds no names: every name goes through `quote`, every value through
`literal`.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.sql_models import Model, ModelError
from nightboard.warehouse.builder.sql_text import LAKE, OFFLINE, literal, quote
from nightboard.warehouse.lake.files import escape_glob
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import SAMPLES
from nightboard.warehouse.schema.macros import Macro

# The file format of DuckDB 1.4, so that analysts' tools can be older than the builder.
STORAGE = {"storage_compatibility_version": "v1.4.0"}
_PARAMETER = re.compile(r"\$([a-z_]\w*)")


@contextlib.contextmanager
def open_new(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a new build to fill it. Nobody reads it before it is whole: it has no journal, and is written at the end."""
    one_write = {"checkpoint_threshold": "1TB", "temp_directory": f"{path}.tmp"}
    with duckdb.connect(config=OFFLINE | STORAGE | one_write) as con:
        con.execute(f"attach {literal(str(path))} as build (recovery_mode no_wal_writes)")
        con.execute("use build")
        con.execute("set global TimeZone = 'UTC'")
        yield con
        con.execute("use memory")
        con.execute("detach build")  # raises when the disk fails


def select_files(table: Table, lake: Path, paths: Iterable[str]) -> str:
    """A SELECT of all rows of these Parquet files of the lake, with all columns of the schema, even those of no file.

    The lake is read where the variable LAKE says, if it is set.
    """
    none = ", ".join(f"cast(null as {column.type}) as {quote(column.name)}" for column in table.columns)
    parts = [f"select {none} where false"]
    root = f"coalesce(getvariable('{LAKE}'), {literal(escape_glob(lake))})"
    if files := ", ".join(f"{root} || {literal(escape_glob(Path('/') / path))}" for path in paths):
        parts.append(f"from read_parquet([{files}], union_by_name = true, hive_partitioning = false)")
    return f"select {_columns(table, 'rows')} from ({' union all by name '.join(parts)}) as rows"


def create_lake_view(con: duckdb.DuckDBPyConnection, table: Table, lake: Path, paths: Iterable[str]) -> None:
    """Make lake.<table> a view of these files."""
    con.execute(f"create view lake.{quote(table.name)} as {select_files(table, lake, paths)}")


def create_table(con: duckdb.DuckDBPyConnection, key: str, sql: str, table: Table | None) -> None:
    """Make a table from one SELECT; with a description, with its columns and order of rows."""
    made = f"from ({sql}\n) as made"
    if table:
        order = ", ".join(map(quote, table.order or table.key))
        made = f"select {_columns(table, 'made')} {made} order by {order}"
    con.execute(f"create table {key} as {made}")


def create_macro(con: duckdb.DuckDBPyConnection, model: Model, described: Macro) -> None:
    """Make a function or macro from its file, with its comment. Raises ModelError if file and description differ.

    DuckDB replaces every bare name that is also a parameter's, even if a column is meant. So a file writes $name for
    the parameter, and a bare `name` is rejected.
    """
    _check_macro(model, described)
    code = _PARAMETER.sub(r"\1", model.code)
    kind, body = "macro", f"({code.removeprefix('select')})"
    if model.folder == "macros":
        kind, body = "macro table", f"table select {_columns(described, 'made')} from ({code}) as made"
    parameters = ", ".join(p.name if p.default is None else f"{p.name} := {p.default}" for p in described.parameters)
    con.execute(f"create macro {model.key}({parameters}) as {body}")
    con.execute(f"comment on {kind} {model.key} is {literal(described.comment)}")


def _check_macro(model: Model, described: Macro) -> None:
    file, names = f"{model.folder}/{model.name}.sql", [parameter.name for parameter in described.parameters]
    if difference := set(names) ^ set(_PARAMETER.findall(model.code)):
        written = ", ".join(f"${name}" for name in sorted(difference))
        raise ModelError(f"{file}: {written} must be both used and described. Add or remove it.")
    for name in names:
        # After a dot it is a column, after `as` a column's new name, before := another macro's parameter.
        if re.search(rf"(?<![.$\w])(?<!as ){name}\b(?! *:=)", model.code):
            raise ModelError(
                f"{file}: {name} without $ or a table's name is read as the parameter."
                f" Write ${name}, or the column with its table."
            )


def describe_table(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Write the grain of a table of main, and the descriptions of its columns, to the database as comments.

    Raises ModelError if it has other columns or types than its description.
    """
    kind, name = "view" if table is SAMPLES else "table", f"main.{quote(table.name)}"
    actual = [row[:2] for row in con.execute(f"describe {name}").fetchall()]
    described = [(column.name, column.type) for column in table.columns]
    if actual != described:
        difference = sorted({" ".join(column) for column in set(actual) ^ set(described)})
        raise ModelError(
            f"main.{table.name} differs from its description: {', '.join(difference) or 'order of columns'}."
            " Correct the SQL or the schema."
        )
    comments = [f"comment on {kind} {name} is {literal(table.grain)}"]
    comments += [f"comment on column {name}.{quote(c.name)} is {literal(c.description)}" for c in table.columns]
    con.execute(";\n".join(comments))


def _columns(described: Table | Macro, relation: str) -> str:
    return ", ".join(f"{relation}.{quote(column.name)}" for column in described.columns)
