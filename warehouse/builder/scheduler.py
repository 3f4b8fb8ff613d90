"""Runs SQL models in the order of their references, independent ones in parallel.

Most models have few rows, so DuckDB takes longer to plan than to run them, and it plans on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

import duckdb

from nightboard.warehouse.builder.ddl import open_another
from nightboard.warehouse.builder.sql_models import Model

N_AT_ONCE = 4

Run = Callable[[duckdb.DuckDBPyConnection, Model], None]


def run_in_order(con: duckdb.DuckDBPyConnection, models: Iterable[Model], run: Run) -> None:
    """Call `run` for every model after those that it reads, each with its own connection to the database of `con`.

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
                    own = open_another(con)
                    running[pool.submit(run, own, by_key[key])] = key, own
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key, own = running[future]
                    future.result()
                    running.pop(future)
                    own.close()
                    order.done(key)
        except BaseException:
            _end(running)
            raise


def _end(running: Mapping[Future[None], tuple[str, duckdb.DuckDBPyConnection]]) -> None:
    """Interrupt all running models, repeatedly, because an interrupt between two statements has no effect."""
    for future in running:
        future.cancel()
    while wait(running, 0.05).not_done:
        for _, own in running.values():
            own.interrupt()
    for _, own in running.values():
        own.close()
