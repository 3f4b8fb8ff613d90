"""Run SQL that a reader wrote: statements that only read, one result each, rows on demand.

Owns what such SQL may do. DuckDB's own locks are not enough, tried with 2.0: a read-only connection without external
access still lets `copy ... to` overwrite the database file and every file that it may read (the samples view needs
those), also inside `explain analyze`, behind `prepare` and around a `pivot`. So only statements of known kinds run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb

from nightboard.warehouse.builder.sql_text import quote
from nightboard.warehouse.reader.connection import QueryError, open_cursor
from nightboard.warehouse.reader.sql_errors import explain

if TYPE_CHECKING:
    import pyarrow as pa

# It begins with a letter: where it began with any number of blanks, a text of blanks alone would be read n * n times.
_EXPLAIN = re.compile(r"explain(\s+analyze\b)?\s", re.IGNORECASE)
_BATCH_ROWS = 10_000


class StatementResult:
    """The result of one statement, which runs when its rows are asked for: once."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: str, place: str) -> None:
        self.sql = sql
        self._con, self._place = con, place

    def run(self) -> tuple[list[str], Iterator[list[tuple[object, ...]]]]:
        """Names of the columns, and the rows in batches, which come as they are computed. Raises QueryError."""
        with self._explained():
            # A connection of its own: one whose rows were not all fetched runs nothing else.
            cursor = open_cursor(self._con).execute(self.sql)
            columns = cursor.description or []
            if intervals := [quote(name) for name, kind, *_ in columns if str(kind) == "INTERVAL"]:
                # Python has no months: a year would be 360 days.
                texts = ", ".join(f"{name}::varchar as {name}" for name in intervals)
                cursor.execute(f"select * replace ({texts}) from ({self.sql.rstrip().rstrip(';')}\n)")  # noqa: S608
            return [column[0] for column in columns], self._fetch(cursor)

    def run_arrow(self) -> pa.RecordBatchReader:
        """The rows with DuckDB's own types, batch by batch. Raises QueryError."""
        with self._explained():
            return open_cursor(self._con).sql(self.sql).to_arrow_reader(_BATCH_ROWS)

    def _fetch(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[object, ...]]]:
        with self._explained(), contextlib.closing(cursor):
            while rows := cursor.fetchmany(_BATCH_ROWS):
                yield rows

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise QueryError(self._place + explain(self._con, self.sql, error)) from error
        except OverflowError as error:
            raise QueryError(
                f"{self._place}a value is too large for Python ({error}). Select it as text: cast(... as varchar)."
            ) from error


def run_sql(con: duckdb.DuckDBPyConnection, sql: str) -> list[StatementResult]:
    """One result a statement, to be run in order, each before the next.

    Raises QueryError for a mistake in the syntax and for any statement that does not only read; nothing has run then.
    """
    _refuse_bytes(sql)
    try:
        statements = [statement.query for statement in con.extract_statements(sql)]
        for statement in statements:
            _refuse_writes(con, statement)
    except duckdb.Error as error:
        raise QueryError(explain(con, sql, error)) from error
    if not statements:
        raise QueryError("there is no statement to run. Try: select * from leaderboard")
    many = len(statements) > 1
    return [
        StatementResult(con, statement, f"statement {number} of {len(statements)}: " if many else "")
        for number, statement in enumerate(statements, 1)
    ]


def _refuse_bytes(sql: str) -> None:
    """Raise QueryError for bytes that are not UTF-8, which Python passes on as halves of characters."""
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        line = sql.count("\n", 0, error.start) + 1
        raise QueryError(
            f"the SQL is not UTF-8 (line {line}: byte 0x{ord(sql[error.start]) & 0xFF:02x}). Save it as UTF-8."
        ) from None


def _refuse_writes(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    # The text of each statement is parsed again: it is what will be run.
    kinds = []
    for statement in con.extract_statements(sql):
        inner, found = _EXPLAIN.subn("", statement.query, count=1)
        is_explain = statement.type == duckdb.StatementType.EXPLAIN and found
        parts = con.extract_statements(inner) if is_explain else []
        kinds += [part.type for part in parts or [statement]]
    for kind in kinds:
        if kind != duckdb.StatementType.SELECT:
            raise QueryError(
                f"only statements that read are allowed (got {kind.name.lower()})."
                " Use select, from, describe, summarize, show or explain. In a pivot, list the values: on column in"
                " (...)."
            )
