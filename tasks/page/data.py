"""The data of the page: what the current build says of each suite, as plain lists that the templates and scripts share.

Numbers are rounded as they are shown. The same build gives the same data, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nightboard.warehouse.reader.questions import (
    NO_FILTERS,
    Filters,
    list_benchmarks,
    list_page_rows,
    list_suites,
    read_build_name,
)

if TYPE_CHECKING:
    import duckdb

# Decimals of a column; others are whole numbers, texts or truth values.
DECIMALS = {"params_b": 3, "average": 2, "average_low": 2, "average_high": 2, "gpu_hours": 2, "co2_kg": 2}
# Columns with a list of one number a benchmark, and their decimals.
OF_BENCHMARKS = {"raw": 4, "normalized": 2, "low": 2, "high": 2}


@dataclass(frozen=True)
class Benchmark:
    """A column of scores."""

    key: str
    title: str


@dataclass(frozen=True)
class SuiteData:
    """One suite: its benchmarks, its eras with the current one first, and a list of values for each column.

    `columns` has all rows: the ranked ones first, by era and rank, then those of older commits (rank is None).
    """

    suite: str
    title: str
    benchmarks: tuple[Benchmark, ...]
    eras: tuple[str, ...]
    columns: dict[str, list[Any]]

    @property
    def n_rows(self) -> int:
        return len(self.columns["model_id"])

    def list_rows(self, era: str, limit: int | None = None) -> list[dict[str, Any]]:
        """The ranked rows of an era, best first, as one dictionary each."""
        ranked = (
            number
            for number in range(self.n_rows)
            if self.columns["era"][number] == era and self.columns["rank"][number] is not None
        )
        rows = [{name: values[number] for name, values in self.columns.items()} for number in ranked]
        return rows[:limit]


@dataclass(frozen=True)
class PageData:
    """All that the page shows. `build`: the name of the build, which its first part dates."""

    build: str
    built_at: datetime
    suites: tuple[SuiteData, ...]


def read_page_data(
    con: duckdb.DuckDBPyConnection, filters: Filters = NO_FILTERS, suites: Sequence[str] | None = None
) -> PageData:
    """Read the data of the page from a build: these suites in this order, or all, those with the most rows first.

    Of the filters, `models` and `sources` count: what a board shows.
    """
    build, built_at = read_build_name(con)
    titles = {suite: title for suite, title, *_ in list_suites(con).rows}
    read = [_read_suite(con, suite, titles[suite], filters) for suite in suites or titles if suite in titles]
    return PageData(build, built_at, tuple(suite for suite in read if suite.n_rows))


def _read_suite(con: duckdb.DuckDBPyConnection, suite: str, title: str, filters: Filters) -> SuiteData:
    benchmarks = tuple(Benchmark(key, name) for key, name, _ in list_benchmarks(con, suite).rows)
    result = list_page_rows(con, suite, [benchmark.key for benchmark in benchmarks], filters)
    columns = {
        name: [_round(name, value) for value in values]
        for name, values in zip(result.columns, _transpose(result.rows, len(result.columns)), strict=True)
    }
    return SuiteData(suite, title, benchmarks, _list_eras(columns), columns)


def _transpose(rows: Sequence[tuple[Any, ...]], n_columns: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * n_columns


def _round(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d")
    if name in OF_BENCHMARKS:
        return [None if number is None else round(number, OF_BENCHMARKS[name]) for number in value]
    if name in DECIMALS and value is not None:
        return round(value, DECIMALS[name])
    return value


def _list_eras(columns: dict[str, list[Any]]) -> tuple[str, ...]:
    """The eras that have ranked rows: the current one first, then those with the most rows."""
    counts: dict[str, int] = {}
    current = set()
    for era, is_current, rank in zip(columns["era"], columns["is_current_era"], columns["rank"], strict=True):
        if rank is not None:
            counts[era] = counts.get(era, 0) + 1
            current |= {era} if is_current else set()
    return tuple(sorted(counts, key=lambda era: (era not in current, -counts[era], era)))
