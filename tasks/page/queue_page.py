"""The page of the queue: what waits, what has failed and why, as of the build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightboard.tasks.page.models import cut_log
from nightboard.warehouse.reader.questions import NO_FILTERS, Filters, list_failure_causes, list_page_table

if TYPE_CHECKING:
    import duckdb

# Longer lists are cut, and say so; the tables have all rows.
MOST_ROWS = 500


def read_queue(
    con: duckdb.DuckDBPyConnection, filters: Filters = NO_FILTERS, board: str | None = None
) -> dict[str, Any]:
    """The values of the template: requests of a board (None: of all), evaluations that wait, failures, causes."""
    requests = list_page_table(con, "requests", board=board)
    waiting = list_page_table(con, "waiting", filters)
    failures = list_page_table(con, "failures", filters)
    causes = list_failure_causes(con)
    return {
        "board": board,
        "requests": [row for row in requests if row["is_open"]][:MOST_ROWS],
        "n_requests": sum(row["is_open"] for row in requests),
        "closed": [row for row in requests if not row["is_open"]],
        "waiting": waiting[:MOST_ROWS],
        "n_waiting": len(waiting),
        "failures": [row | {"log_tail": cut_log(row["log_tail"])} for row in failures[:MOST_ROWS]],
        "n_failures": len(failures),
        "causes": [dict(zip(causes.columns, row, strict=True)) for row in causes.rows[:MOST_ROWS]] if failures else [],
    }
