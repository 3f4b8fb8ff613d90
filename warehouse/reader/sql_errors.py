"""Explain what is wrong with a reader's SQL: the place, the nearest name, and all known names.

Reads the catalog and DuckDB's message; runs none of the reader's SQL.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import duckdb

_TABLE = re.compile(r'Table with name "?([^"\s]+)"? does not exist')
_COLUMN = re.compile(
    r'Referenced column "(?P<free>.+?)" not found|Column "(?P<listed>.+?)" in \w+ list not found'
    r'|Table "(?P<table>.+?)" does not have a column named "(?P<qualified>.+?)"'
)
_FUNCTION = re.compile(r"(?:Function|Macro) with name (\S+) does not exist")
# A function's candidates can be dozens of lines.
_LONGEST = 8


def explain(con: duckdb.DuckDBPyConnection, sql: str, error: duckdb.Error) -> str:
    """DuckDB's message on a statement, with the place marked; an unknown name is answered with the known ones."""
    text, mark, place = str(error).strip().partition("\nLINE ")
    place = (mark + place).strip("\n")
    if match := _TABLE.search(text):
        what, names = explain_table(con, match[1])
    elif match := _COLUMN.search(text):
        what, names = _explain_column(con, sql, match, text)
    elif match := _FUNCTION.search(text):
        what, names = _explain_function(con, match[1])
    else:
        what, names = _shorten(text), explain_files(text)
    return "\n".join(part for part in (what, place, names) if part)


def suggest(name: str, known: Iterable[str]) -> str:
    """` Did you mean ...?` with the nearest of the known names; nothing where none is near."""
    by_key = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_key, n=1)
    return f" Did you mean {by_key[near[0]]}?" if near else ""


def sort_by_nearness(name: str, known: Iterable[str]) -> list[str]:
    """The known names: those that contain the given one, then those that are most like it.

    Without an owner, it is like what models are called without theirs.
    """
    text = name.lower()
    likeness = difflib.SequenceMatcher(b=text)

    def distance(candidate: str) -> tuple[bool, float, str]:
        known = candidate.lower()
        likeness.set_seq1(known if "/" in text else known.rpartition("/")[2])
        return not text or text not in known, -likeness.ratio(), candidate

    return sorted(known, key=distance)


def explain_table(con: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str]:
    """That a table is unknown, with the nearest one; and all known ones."""
    tables = list(list_columns(con))
    return f"no table is called {name}.{suggest(name.split('.')[-1], tables)}", f"Tables: {', '.join(tables)}."


def _explain_column(con: duckdb.DuckDBPyConnection, sql: str, match: re.Match[str], message: str) -> tuple[str, str]:
    name = match["free"] or match["listed"] or match["qualified"]
    known = list_columns(con)
    tables = _tables_of(sql, known, match["table"])
    if not tables:  # of a subquery, say: DuckDB knows its columns
        return _shorten(message), ""
    elsewhere = [table for table, columns in known.items() if name.lower() in map(str.lower, columns)]
    hint = suggest(name, (column for columns in tables.values() for column in columns))
    if elsewhere:
        hint = f" Tables with such a column: {', '.join(elsewhere)}."
    what = f"no column is called {name}{' here' if elsewhere else ''}.{hint}"
    if f'"{name}"' in sql:
        what += " Use single quotes for string literals."
    return what, "\n".join(f"Columns of {table}: {', '.join(columns)}." for table, columns in tables.items())


def _explain_function(con: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str]:
    functions = con.execute(
        "select function_name, any_value(parameters), bool_or(not internal and function_type ilike '%macro%')"
        " from duckdb_functions() group by function_name order by function_name"
    ).fetchall()
    own = {str(function): parameters for function, parameters, is_own in functions if is_own}
    hint = suggest(name, own) or suggest(name, (str(function) for function, _, _ in functions))
    calls = ", ".join(f"{function}({', '.join(parameters)})" for function, parameters in own.items())
    return f"no function is called {name}.{hint}", f"Functions of the warehouse: {calls}." if calls else ""


def explain_files(message: str) -> str:
    """What to do where samples cannot be read; nothing where DuckDB's message is about something else."""
    is_lost = message.startswith(("IO Error", "Permission Error")) and "/samples/" in message
    return (
        "Samples are read from the store's files. If the store was moved, `nightboard rebuild` finds them."
        if is_lost
        else ""
    )


def _shorten(message: str) -> str:
    lines = [line.rstrip() for line in message.splitlines() if line.strip()]
    return "\n".join([*lines[:_LONGEST], *(["\t..."] if len(lines) > _LONGEST else [])])


def list_columns(con: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Columns in their order by table or view of main."""
    columns: dict[str, list[str]] = {}
    for table, column in con.execute(
        "select table_name, column_name from duckdb_columns()"
        " where database_name = current_database() and schema_name = 'main' and not internal"
        " order by table_name, column_index"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    return columns


def _tables_of(sql: str, known: dict[str, list[str]], alias: str | None) -> dict[str, list[str]]:
    """The known tables that a statement names; with an alias: only the table with that alias."""
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    named = {table: columns for table, columns in known.items() if table.lower() in words}
    if alias is None or alias in named:
        return {alias: named[alias]} if alias else named
    aliased = [table for table in named if re.search(rf"\b{table}\s+(as\s+)?{re.escape(alias)}\b", sql, re.IGNORECASE)]
    return {table: named[table] for table in aliased}
