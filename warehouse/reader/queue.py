"""The queue of requests, from the files of the lake: a build may be older than the last request.

Runs the marts of requests on these few tables, without a build.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.ddl import create_lake_view
from nightboard.warehouse.builder.sql_models import SQL_FOLDER
from nightboard.warehouse.builder.sql_text import OFFLINE
from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.lake.files import check_readable, read_listing
from nightboard.warehouse.reader.result import Result
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.request_tables import REQUEST_EVENTS, REQUESTS, VOTES

_TABLES = (REQUESTS, REQUEST_EVENTS, VOTES)
# In the order in which they read each other.
_MARTS = ("request_events", "requests")


class QueueError(WarehouseError):
    """The requests of a store cannot be read."""


def list_queue(lake: Path, board: str | None = None, top: int | None = None) -> tuple[Result, int]:
    """The first open requests of a board (None: of all boards), in the order in which they are planned; and how many.

    Raises QueueError, and LakeError for a damaged file.
    """
    while True:
        listed = {table: read_listing(lake, table.name).live for table in _TABLES}
        try:
            return _ask(lake.resolve(), listed, {"board": board, "top": top})
        except duckdb.Error as error:
            if any(read_listing(lake, table.name).live != files for table, files in listed.items()):
                continue  # compacted and removed since they were listed
            check_readable(lake / table.name / name for table, files in listed.items() for name in files)
            raise QueueError(f"{lake}: the requests cannot be read ({str(error).splitlines()[0]}).") from error


def _ask(lake: Path, files: Mapping[Table, Sequence[str]], parameters: dict[str, object]) -> tuple[Result, int]:
    with duckdb.connect(config=OFFLINE) as con:
        con.execute("set TimeZone = 'UTC'")
        con.execute("attach ':memory:' as lake")
        for table, names in files.items():
            create_lake_view(con, table, lake, tuple(f"{table.name}/{name}" for name in names))
        for name in _MARTS:
            con.execute(f"create view main.{name} as {(SQL_FOLDER / 'marts' / f'{name}.sql').read_text()}")
        cursor = con.execute((SQL_FOLDER / "queries" / "queue.sql").read_text(), parameters)
        columns, rows = [column[0] for column in cursor.description or []], cursor.fetchall()
    return Result(columns[:-1], [row[:-1] for row in rows]), rows[0][-1] if rows else 0
