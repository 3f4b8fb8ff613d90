"""The page of the queue: what waits, what has failed or has no rank and why, as of the build."""

from __future__ import annotations

from collections.abc import Iterable
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
    """The values of the template: requests of a board (None: of all), evaluations that wait, have failed with causes,
    or have no rank, and commits that cannot be evaluated.
    """
    requests = list_page_table(con, "requests", board=board)
    waiting = list_page_table(con, "waiting", filters)
    failures = list_page_table(con, "failures", filters)
    unranked = _count_alike(row for row in list_page_table(con, "unranked", filters) if row["is_done"])
    rejected = list_page_table(con, "rejected", filters)
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
        "unranked": unranked[:MOST_ROWS],
        "n_unranked": len(unranked),
        "rejected": rejected[:MOST_ROWS],
        "n_rejected": len(rejected),
        "causes": [dict(zip(causes.columns, row, strict=True)) for row in causes.rows[:MOST_ROWS]] if failures else [],
    }


def _count_alike(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluations of a model that have no rank for the same reason, as one row: the newest, with their number."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        first = found.setdefault(tuple(row[name] for name in ("model_id", "suite", "state", "reason")), row | {"n": 0})
        first["n"] += 1
    return [*found.values()]
