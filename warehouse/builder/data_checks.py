"""Runs the data checks before a build is published: every file of sql/checks, and the unique key of every table.

A check returns the violating rows; it passes if there are none. Its first comment describes these rows.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import duckdb

from nightboard.warehouse.builder import sql_models
from nightboard.warehouse.builder.sql_text import quote
from nightboard.warehouse.schema.columns import Table

SHOWN_ROWS = 5


def list_checks(tables: Iterable[Table]) -> dict[str, str]:
    """SQL of every check by name: the files of sql/checks, and one for the key of each table."""
    checks = sql_models.load_checks(sql_models.SQL_FOLDER)
    return checks | {f"{table.name}_key_is_unique": _key_check(table) for table in tables}


def find_violations(con: duckdb.DuckDBPyConnection, checks: Mapping[str, str]) -> list[str]:
    """One text per failed check: its name, its meaning, the number of violating rows, and the first ones."""
    return [violation for name, sql in checks.items() if (violation := _run_check(con, name, sql))]


def _key_check(table: Table) -> str:
    """A check that returns duplicate keys."""
    key = ", ".join(map(quote, table.key))
    return (
        f"-- Duplicate keys of {table.name}.\n"
        f"select {key}, count(*) as n_rows from main.{quote(table.name)} group by all having count(*) > 1"
    )


def _run_check(con: duckdb.DuckDBPyConnection, name: str, sql: str) -> str | None:
    cursor = con.execute(sql)
    columns = [column[0] for column in cursor.description or []]
    if not (rows := cursor.fetchmany(SHOWN_ROWS)):
        return None
    (n_rows,) = con.execute(f"select count(*) from ({sql}\n)").fetchone() or (len(rows),)
    lines = ["  " + ", ".join(f"{c}={v}" for c, v in zip(columns, row, strict=True)) for row in rows]
    if n_rows > len(rows):
        lines.append(f"  ... and {n_rows - len(rows):,} more")
    return "\n".join([f"check {name} failed for {n_rows:,} row{'' if n_rows == 1 else 's'}. {_meaning(sql)}", *lines])


def _meaning(sql: str) -> str:
    """The first comment of a check."""
    lines = re.match(r"(?:--.*\n)*", sql)
    return " ".join(line.removeprefix("--").strip() for line in (lines[0] if lines else "").splitlines())
