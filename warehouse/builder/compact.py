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
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from nightboard.warehouse.builder.ddl import select_files
from nightboard.warehouse.builder.publish import Report, kept_builds, remove_unfinished
from nightboard.warehouse.builder.sql_text import OFFLINE, literal, quote
from nightboard.warehouse.lake.files import COMPACTED, SOURCES_KEY, Listing, escape_glob, list_written, read_listing
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
# Their files are written before the row of outcomes or imports that makes them final; until then, a killed collect may
# rewrite them.
_VOUCHED = (TASK_SCORES, SAMPLES, IMPORTED_SCORES)
# Files in order, cut where they fill a large file. One that is half full stays as it is.
_CUT = """
with sizes as (
    select file_name, num_rows from parquet_file_metadata($files) where num_rows < $full // 2
),
sums as (
    select file_name, sum(num_rows) over (order by file_name) - num_rows as n_before from sizes
)
select list(file_name order by file_name) from sums group by n_before // $full order by min(file_name)
"""


def compact(lake: Path, report: Report | None = None) -> None:
    """Merge the small files of every table that has many. Call this under the lock of builds.

    `report` gets the number of merged files of a table, and of all.
    """
    vouchers = list_written(lake, OUTCOMES.name) | list_written(lake, IMPORTS.name)
    for table in LAKE_TABLES.values():
        remove_unfinished(lake / table.name / COMPACTED)
        listing, done = read_listing(lake, table.name), 0
        batches = _cut(lake, table, listing, vouchers)
        with contextlib.suppress(PermissionError):  # another group member's folder: that member merges them
            for batch in batches:
                _write(lake, table, listing, batch)
                done += len(batch)
                if report:
                    report(f"compact {table.name}", done, sum(map(len, batches)))


def remove_replaced(lake: Path, warehouse: Path) -> None:
    """Remove replaced files that no kept build reads. Call this under the lock of builds."""
    replaced: set[str] = set()
    for table in LAKE_TABLES:
        listing = read_listing(lake, table)
        replaced |= {f"{table}/{name}" for name in listing.replaced & (listing.small | listing.large.keys())}
    try:
        for build in kept_builds(warehouse) if replaced else []:
            with duckdb.connect(str(build), read_only=True, config=OFFLINE) as con:
                replaced -= {path for (path,) in con.execute("select path from main.build_files").fetchall()}
    except duckdb.Error:  # for example from another DuckDB version: which files it reads is unknown
        return
    for path in replaced:
        (lake / path).unlink()


def _cut(lake: Path, table: Table, listing: Listing, vouchers: set[str]) -> list[list[str]]:
    """The files to merge, by the large file that will replace them; none while there are few small ones."""
    live = {*listing.live}
    small = {file for file in live & listing.small if table not in _VOUCHED or _is_vouched(file, vouchers)}
    if len(small) < COMPACT_FROM:
        return []
    folder = lake / table.name
    files = [escape_glob(folder / file) for file in small | (live & listing.large.keys())]
    with duckdb.connect(config=OFFLINE) as con:
        batches = con.execute(_CUT, {"files": files, "full": ROWS_PER_FILE}).fetchall()
    return [[str(Path(path).relative_to(folder)) for path in paths] for (paths,) in batches]


def _is_vouched(file: str, vouchers: set[str]) -> bool:
    name = file.removesuffix(".parquet")
    return name in vouchers or name.rpartition("-")[0] in vouchers


def _write(lake: Path, table: Table, listing: Listing, batch: list[str]) -> None:
    """Write one large file with the names of all files that it replaces, atomically."""
    replaced = sorted({*batch, *(name for file in batch for name in listing.large.get(file, ()))})
    name = hashlib.sha256(json.dumps(replaced).encode()).hexdigest()[:32]
    target = lake / table.name / COMPACTED
    target.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix=".", suffix=".tmp", dir=target) as temporary:
        made = Path(temporary) / name
        with duckdb.connect(config=OFFLINE | {"temp_directory": f"{temporary}/spill"}) as con:
            con.execute("set TimeZone = 'UTC'")
            rows = select_files(table, lake, [f"{table.name}/{file}" for file in batch])
            con.execute(
                f"copy (select * from ({rows}) order by {', '.join(map(quote, table.key))}) to {literal(str(made))}"
                f" (format parquet, compression zstd, kv_metadata {{{SOURCES_KEY}: {literal(json.dumps(replaced))}}})"
            )
        sync(made)
        os.replace(made, target / f"{name}.parquet")
        sync(target)
