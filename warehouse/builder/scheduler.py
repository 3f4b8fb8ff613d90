"""Runs SQL models in the order of their references, independent ones in parallel.

Most models have few rows, so DuckDB takes longer to plan than to run them, and it plans on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

import duckdb

from nightboard.warehouse.builder.sql_models import Model

N_AT_ONCE = 4

Run = Callable[[duckdb.DuckDBPyConnection, Model], None]


def run_in_order(con: duckdb.DuckDBPyConnection, models: Iterable[Model], run: Run) -> None:
    """Call `run` for every model after those that it reads, each with its own connection to the database `build`.

    The first error is raised after all running models have been interrupted and have ended.
    """
    by_key = {model.key: model for model in models}
    order = TopologicalSorter({key: model.references & by_key.keys() for key, model in by_key.items()})
    order.prepare()
    running: dict[Future[None], tuple[str, duckdb.DuckDBPyConnection]] = {}
    with ThreadPoolExecutor(N_AT_ONCE, "model") as pool:
        try:
            while order.is_active():
                for key in order.get_ready():
                    own = con.cursor().execute("use build")
                    running[pool.submit(run, own, by_key[key])] = key, own
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    order.done(running.pop(future)[0])
        except BaseException:
            for future in running:
                future.cancel()
            while wait(running, 0.05).not_done:  # again and again: an interrupt between two statements has no effect
                for _, own in running.values():
                    own.interrupt()
            raise
