"""Ask the current warehouse: the ranking, and any SQL that only reads.

Owns what a reader may do. DuckDB's own locks are not enough, tried with 2.0: a read-only connection without external
access still lets `copy ... to` overwrite the database file and every file that it may read (the samples view needs
those), also inside `explain analyze`, behind `prepare` and around a `pivot`. So `run_sql` takes statements by kind, and
whatever it does not know is refused.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from nightboard.warehouse.builds import NoBuildError, current_build
from nightboard.warehouse.ddl import OFFLINE, escape_glob
from nightboard.warehouse.models import SQL_FOLDER

_EXPLAIN = re.compile(r"\s*explain(\s+analyze\b)?\s", re.IGNORECASE)


class Result(NamedTuple):
    """What a question gives: column names, and rows in order."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class QueryError(Exception):
    """A question cannot be answered; one line that says why."""


def connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """Open the current build read-only. It may read its own Parquet files of samples and no other file.

    Raises NoBuildError when nothing was ever built.
    """
    path = current_build(warehouse)
    con = duckdb.connect(str(path), read_only=True, config=OFFLINE)
    # Connections of one process to one file share the settings, and these can be set once.
    if con.execute("select not current_setting('lock_configuration')").fetchone() == (True,):
        con.execute("set TimeZone = 'UTC'")
        files = _sample_files(con)
        # The view names them as DuckDB wants them, where a folder has a * or [ in its name.
        con.execute("set allowed_paths = ?", [[*files, *(escape_glob(Path(file)) for file in files)]])
        con.execute("set enable_external_access = false")
        con.execute("set lock_configuration = true")
    return con


def rank(
    con: duckdb.DuckDBPyConnection, suite: str | None = None, era: str | None = None, limit: int | None = None
) -> Result:
    """The ranking of one suite and era: one row per model, precision and chat template, scores at full precision.

    Without a suite: the one with the most ranked rows. Without an era: the current one. Raises QueryError for a suite
    or era that the warehouse does not have.
    """
    suite = _choose_suite(con, suite)
    if era is not None:
        _require(
            era,
            _list(con, "select distinct era from main.leaderboard where suite = ?", [suite]),
            f"era of suite {suite}",
        )
    benchmarks = [row[0] for row in _run_named(con, "benchmarks", {"suite": suite}).rows]
    columns, rows = _run_named(con, "rank", {"suite": suite, "era": era, "limit": limit})
    at = columns.index("scores")
    spread = [(*row[:at], *(row[at].get(benchmark) for benchmark in benchmarks), *row[at + 1 :]) for row in rows]
    return Result([*columns[:at], *benchmarks, *columns[at + 1 :]], spread)


def list_suites(con: duckdb.DuckDBPyConnection) -> Result:
    """One row per declared suite: suite, title, current era and number of rows ranked in it; most rows first."""
    return _run_named(con, "suites", {})


def list_eras(con: duckdb.DuckDBPyConnection, suite: str) -> Result:
    """One row per era of a suite that has ranked rows: era, whether it is the current one, number of rows."""
    return _run_named(con, "eras", {"suite": suite})


def find_disagreements(con: duckdb.DuckDBPyConnection, source: str, tolerance: float) -> Result:
    """Scores of an imported board that are more than `tolerance` (0..100) off those computed from its raw ones."""
    return _run_named(con, "disagreements", {"source": source, "tolerance": tolerance})


def run_sql(con: duckdb.DuckDBPyConnection, sql: str) -> Result:
    """Run statements that only read; what the last one gives. Raises QueryError, one line, for anything else."""
    try:
        statements = con.extract_statements(sql)
        if not statements:
            raise QueryError("there is no statement to run. Try: select * from leaderboard")
        for statement in statements:
            _refuse_writes(con, statement)
        for statement in statements:
            cursor = con.execute(statement)
        return _fetch(cursor)
    except duckdb.Error as error:
        raise QueryError(_explain(con, error)) from error


def _fetch(cursor: duckdb.DuckDBPyConnection) -> Result:
    return Result([column[0] for column in cursor.description or []], cursor.fetchall())


def _run_named(con: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any]) -> Result:
    """Run queries/<name>.sql with its parameters bound."""
    return _fetch(con.execute((SQL_FOLDER / "queries" / f"{name}.sql").read_text(), parameters or None))


def _list(con: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> list[str]:
    return sorted(row[0] for row in con.execute(sql, parameters).fetchall())


def _sample_files(con: duckdb.DuckDBPyConnection) -> list[str]:
    return _list(
        con,
        "select info.lake || '/' || files.path from main.build_files as files, main.build_info as info"
        " where files.lake_table = 'samples'",
    )


def _choose_suite(con: duckdb.DuckDBPyConnection, suite: str | None) -> str:
    suites = [str(row[0]) for row in list_suites(con).rows]
    if not suites:
        raise QueryError("the warehouse knows no suite yet. Run `nightboard nightly` first.")
    if suite is None:
        return suites[0]
    _require(suite, suites, "suite")
    return suite


def _require(name: str, known: list[str], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise QueryError(f"no {what} is called {name}. {hint}There is: {', '.join(sorted(known)) or 'none yet'}.")


def _refuse_writes(con: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    kinds = [statement.type]
    if statement.type == duckdb.StatementType.EXPLAIN:
        inner, found = _EXPLAIN.subn("", statement.query, count=1)
        kinds = [part.type for part in con.extract_statements(inner)] if found else kinds
    if any(kind != duckdb.StatementType.SELECT for kind in kinds):
        raise QueryError(
            f"only statements that read are run here (got {kinds[0].name.lower()})."
            " Use select, from, describe, summarize, show or explain; name the values of a pivot: on column in (...)."
        )


def _explain(con: duckdb.DuckDBPyConnection, error: duckdb.Error) -> str:
    """DuckDB's message on one line; for an unknown table, the ones there are."""
    message = " ".join(str(error).split("\nLINE ")[0].split())
    if isinstance(error, duckdb.CatalogException) and message.startswith("Catalog Error: Table"):
        tables = _list(con, "select table_name from information_schema.tables where table_schema = 'main'")
        message += f" Tables: {', '.join(tables)}."
    return message


__all__ = [
    "NoBuildError", "QueryError", "Result", "connect", "find_disagreements", "list_eras", "list_suites", "rank",
    "run_sql",
]  # fmt: skip
