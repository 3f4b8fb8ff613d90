"""Runs the data checks before a build is published: every file of sql/checks, and the unique key of every table.

A check returns the violating rows; it passes if there are none. Its first comment describes these rows.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile

import duckdb

from nightboard.warehouse.builder.sql_models import load_checks
from nightboard.warehouse.builder.sql_text import quote
from nightboard.warehouse.schema.columns import Table

SHOWN_ROWS = 5


def list_checks(tables: Iterable[Table]) -> dict[str, str]:
    """SQL of every check by name: the files of sql/checks, and one for the key of each table."""
    return load_checks() | {
        f"{table.name}_key_is_unique": f"-- Duplicate keys of {table.name}.\n"
        f"select {', '.join(map(quote, table.key))}, count(*) as n_rows from main.{quote(table.name)}"
        " group by all having count(*) > 1"
        for table in tables
    }


def find_violations(con: duckdb.DuckDBPyConnection, checks: Mapping[str, str]) -> list[str]:
    """One text per failed check: its name, its meaning, the number of violating rows, and the first ones."""
    return [violation for name, sql in checks.items() if (violation := _run_check(con, name, sql))]


def _run_check(con: duckdb.DuckDBPyConnection, name: str, sql: str) -> str | None:
    cursor = con.execute(f"select *, count(*) over () from ({sql}\n) limit {SHOWN_ROWS}")
    columns = [column[0] for column in cursor.description or []]
    if not (rows := cursor.fetchall()):
        return None
    n_rows = rows[0][-1]
    comment = takewhile(lambda line: line.startswith("--"), sql.splitlines())
    meaning = " ".join(line.removeprefix("--").strip() for line in comment)
    lines = [f"check {name} failed for {n_rows:,} row{'' if n_rows == 1 else 's'}. {meaning}"]
    lines += ["  " + ", ".join(f"{c}={v}" for c, v in zip(columns[:-1], row[:-1], strict=True)) for row in rows]
    return "\n".join(lines + [f"  ... and {n_rows - SHOWN_ROWS:,} more"] * (n_rows > SHOWN_ROWS))
