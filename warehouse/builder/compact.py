"""Compacts the lake: merges many small Parquet files into few large ones, and removes files that are not needed.

Everything here runs under the lock of builds, so one process at a time does it. A large file appears by a rename and
replaces its sources from then on (see lake/files.py). If the process is killed at any point, the next run continues.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.warehouse.builder.ddl import select_files
from nightboard.warehouse.builder.publish import Report, kept_builds
from nightboard.warehouse.builder.sql_text import OFFLINE, literal, quote
from nightboard.warehouse.lake.files import COMPACTED, SOURCES_KEY, Listing, list_written, read_listing
from nightboard.warehouse.lake.locks import sync
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import (
    IMPORTED_SCORES,
    IMPORTS,
    LAKE_TABLES,
    OUTCOMES,
    SAMPLES,
    TASK_SCORES,
)

# Fewer small files than this are not worth a compaction.
COMPACT_FROM = 100
# About 180 evaluations of the largest suite, so that a comparison opens few files. Rows are sorted by evaluation, so
# DuckDB reads only the row groups of the evaluations that a query needs.
ROWS_PER_FILE = 4_000_000
# Tables whose files are written before the row that marks them as complete, and may be rewritten until that row exists.
_VOUCHED_BY = {
    TASK_SCORES.name: (OUTCOMES.name, IMPORTS.name),
    SAMPLES.name: (OUTCOMES.name, IMPORTS.name),
    IMPORTED_SCORES.name: (IMPORTS.name,),
}


def compact(lake: Path, report: Report | None = None) -> int:
    """Merge the small files of every table that has many; returns the number of large files written.

    `report` gets the number of merged files of a table, and of all. Call this under the lock of builds.
    """
    n_written = 0
    for table in LAKE_TABLES.values():
        with contextlib.suppress(PermissionError):  # another group member's folder: that member merges them
            _clear(lake / table.name / COMPACTED)
            sources = find_sources(lake, table)
            done = 0
            for batch in _cut(lake / table.name, sources):
                _write(lake / table.name, table, batch)
                n_written, done = n_written + 1, done + len(batch)
                if report:
                    report(f"compact {table.name}", done, len(sources))
    return n_written


def find_sources(lake: Path, table: Table) -> list[str]:
    """Files of a table to merge; none while there are few small ones."""
    listing, vouchers = read_listing(lake, table.name), _list_vouchers(lake, table)
    live = set(listing.live)
    small = [name for name in live & listing.small if _is_settled(name, vouchers)]
    if len(small) < COMPACT_FROM:
        return []
    small = [name for name in small if _has_room(lake / table.name / name)]
    large = [name for name in live & listing.large.keys() if _has_room(lake / table.name / name)]
    return sorted([*small, *large]) if len(small) >= COMPACT_FROM else []


def remove_replaced(lake: Path, warehouse: Path) -> int:
    """Remove replaced files that no kept build reads; returns their number. Call this under the lock of builds."""
    replaced = [f"{table}/{name}" for table in LAKE_TABLES for name in _find_replaced(lake, table)]
    try:
        needed = _read_by_builds(warehouse) if replaced else set()
    except duckdb.Error:  # for example from another DuckDB version: which files it reads is unknown
        return 0
    removed = [path for path in replaced if path not in needed]
    for path in removed:
        (lake / path).unlink()
    return len(removed)


def _list_vouchers(lake: Path, table: Table) -> set[str] | None:
    names = _VOUCHED_BY.get(table.name)
    return None if names is None else set().union(*(list_written(lake, name) for name in names))


def _is_settled(file: str, vouchers: set[str] | None) -> bool:
    """Whether the file is final: a killed collect is repeated from the start and may rewrite its files."""
    name = file.removesuffix(".parquet")
    return vouchers is None or name in vouchers or name.rpartition("-")[0] in vouchers


def _has_room(path: Path) -> bool:
    """Whether the file can be merged; a damaged one is left, and the build reports it."""
    try:
        return int(pq.read_metadata(path).num_rows) < ROWS_PER_FILE // 2
    except pa.ArrowInvalid:
        return False


def _cut(folder: Path, sources: Sequence[str]) -> Iterator[list[str]]:
    """Source files by the large file that will replace them."""
    batch: list[str] = []
    n_rows = 0
    for name in sources:
        batch.append(name)
        n_rows += pq.read_metadata(folder / name).num_rows
        if n_rows >= ROWS_PER_FILE:
            yield batch
            batch, n_rows = [], 0
    if batch:
        yield batch


def _write(folder: Path, table: Table, batch: Sequence[str]) -> None:
    """Write one large file with the names of all files that it replaces, atomically."""
    replaced = _all_sources(read_listing(folder.parent, table.name), batch)
    target = folder / COMPACTED
    name = hashlib.sha256(json.dumps(replaced).encode()).hexdigest()[:32]
    temporary, spill = target / f".{name}.tmp", target / ".spill.tmp"
    target.mkdir(exist_ok=True)
    try:
        with duckdb.connect(config={**OFFLINE, "temp_directory": str(spill)}) as con:
            con.execute("set TimeZone = 'UTC'")
            rows = select_files(table, folder, batch)
            key = ", ".join(quote(column) for column in table.key)
            con.execute(
                f"copy (select * from ({rows}) order by {key}) to {literal(str(temporary))}"
                f" (format parquet, compression zstd, kv_metadata {{{SOURCES_KEY}: {literal(json.dumps(replaced))}}})"
            )
        sync(temporary)
        os.replace(temporary, target / f"{name}.parquet")
        sync(target)
    finally:
        _clear(target)


def _all_sources(listing: Listing, batch: Iterable[str]) -> list[str]:
    """The files of a batch, and the files that these have replaced."""
    return sorted({*batch, *(name for file in batch for name in listing.large.get(file, ()))})


def _clear(folder: Path) -> None:
    """Remove the leftovers of a killed run."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _find_replaced(lake: Path, table: str) -> list[str]:
    listing = read_listing(lake, table)
    return sorted(listing.replaced & (listing.small | listing.large.keys()))


def _read_by_builds(warehouse: Path) -> set[str]:
    """All files of the lake that a kept build reads."""
    needed: set[str] = set()
    for path in kept_builds(warehouse):
        with duckdb.connect(str(path), read_only=True, config=OFFLINE) as con:
            needed |= {str(row[0]) for row in con.execute("select path from main.build_files").fetchall()}
    return needed
