"""Models run after what they read, independent ones at the same time; the first error ends all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import duckdb
import pytest

from nightboard.warehouse.builder.scheduler import N_AT_ONCE, run_in_order
from nightboard.warehouse.builder.sql_models import Model


def make_model(name: str, *reads: str) -> Model:
    return Model(
        "staging", name, "select 1 from " + ", ".join(f"staging.{each}" for each in reads) if reads else "select 1"
    )


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("attach ':memory:' as build")
        yield opened


def test_every_model_runs_once_and_after_what_it_reads(con: duckdb.DuckDBPyConnection) -> None:
    models = [make_model("d", "b", "c"), make_model("b", "a"), make_model("c", "a"), make_model("a"), make_model("e")]
    done: list[str] = []

    def run(own: duckdb.DuckDBPyConnection, model: Model) -> None:
        assert own is not con
        assert own.execute("select current_database()").fetchall() == [("build",)]
        assert {f"staging.{name}" for name in done} >= model.references
        done.append(model.name)

    run_in_order(con, models, run)
    assert sorted(done) == ["a", "b", "c", "d", "e"]


def test_independent_models_run_at_the_same_time(con: duckdb.DuckDBPyConnection) -> None:
    both = threading.Barrier(2)
    run_in_order(con, [make_model("a"), make_model("b")], lambda own, model: both.wait(30) and None)


def test_the_first_error_interrupts_what_runs_and_begins_nothing_more(con: duckdb.DuckDBPyConnection) -> None:
    begun, ended = [], []

    def run(own: duckdb.DuckDBPyConnection, model: Model) -> None:
        begun.append(model.name)
        if model.name == "broken":
            while len(begun) < N_AT_ONCE:
                time.sleep(0.01)
            raise ValueError("broken")
        try:
            if model.name == "long":
                own.execute(
                    "select count(*) from range(1000000) as a(i), range(1000000) as b(i) where a.i % 7 = b.i % 11"
                )
            for number in range(10_000_000):  # an interrupt between two of them is not heard
                own.execute(f"select {number}").fetchall()
        finally:
            ended.append(model.name)

    ready = [make_model(name) for name in ("broken", "long", "many", "more", *"abc")]
    with pytest.raises(ValueError, match="broken"):
        run_in_order(con, [*ready, make_model("after", "broken")], run)
    assert {"broken", "long", "many", "more"} <= {*begun} < {model.name for model in ready}, "the queue is cancelled"
    assert sorted(ended) == sorted({*begun} - {"broken"})
