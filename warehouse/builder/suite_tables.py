"""Makes one wide table per suite: the leaderboard's columns and one column per benchmark.

Owns the names of these tables and columns. They are made in Python because suites and benchmarks are data.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import duckdb

from nightboard.warehouse.builder.ddl import create_table
from nightboard.warehouse.builder.sql_text import literal, quote
from nightboard.warehouse.schema.columns import DOUBLE, Column, Table
from nightboard.warehouse.schema.marts import BUILD_FILES, BUILD_INFO, LEADERBOARD, MODEL_TABLES

_BENCHMARKS = """
select suite, benchmark, any_value(benchmark_title)
from staging.definitions
group by suite, benchmark
order by suite, min(benchmark_position), benchmark
"""


def create_wide_tables(con: duckdb.DuckDBPyConnection) -> list[Table]:
    """Make one table per declared suite in main, with the leaderboard's rows; returns their descriptions."""
    suites: dict[str, dict[str, str]] = {}
    for suite, benchmark, title in con.execute(_BENCHMARKS).fetchall():
        suites.setdefault(suite, {})[benchmark] = title
    names = _identifiers(suites, {*MODEL_TABLES, BUILD_FILES.name, BUILD_INFO.name})
    return [_create_wide_table(con, names[suite], suite, titles) for suite, titles in suites.items()]


def _identifiers(names: Iterable[str], taken: set[str]) -> dict[str, str]:
    """SQL names for profile names: `leaderboard-v2` becomes leaderboard_v2; a duplicate name gets a number."""
    given: dict[str, str] = {}
    for name in sorted(names):
        base = candidate = name.replace("-", "_").replace(".", "_")
        number = 2
        while candidate in taken or candidate in given.values():
            candidate, number = f"{base}_{number}", number + 1
        given[name] = candidate
    return given


def _create_wide_table(con: duckdb.DuckDBPyConnection, name: str, suite: str, titles: dict[str, str]) -> Table:
    columns = _identifiers(titles, {column.name for column in LEADERBOARD.columns})
    scores = ", ".join(
        f"max(normalized) filter (where benchmark = {literal(benchmark)}) as {quote(columns[benchmark])}"
        for benchmark in titles
    )
    described = [
        Column(columns[benchmark], DOUBLE, f"normalized score of {title}, 0..100, full precision")
        for benchmark, title in titles.items()
    ]
    table = replace(
        LEADERBOARD,
        name=name,
        grain=f"{LEADERBOARD.grain}, of suite {suite}, with one column per benchmark",
        columns=(*LEADERBOARD.columns, *described),
    )
    create_table(
        con,
        f"main.{quote(name)}",
        "select leaderboard.*, scores.* exclude (evaluation_id) from main.leaderboard as leaderboard inner join"
        f" (select evaluation_id, {scores} from main.benchmark_scores where suite = {literal(suite)} group by all)"
        f" as scores on leaderboard.evaluation_id = scores.evaluation_id where leaderboard.suite = {literal(suite)}",
        table,
    )
    return table
