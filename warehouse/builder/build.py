"""Builds the warehouse from the lake: a new DuckDB file, filled by the SQL models, checked, then made the current one.

Owns the sequence of steps. The computations are in the SQL files, the meaning of columns in the schemas, the files of
builds in publish.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TypeVar

import duckdb

from nightboard.warehouse.builder import ddl, sql_models
from nightboard.warehouse.builder.compact import compact, remove_replaced
from nightboard.warehouse.builder.data_checks import find_violations, list_checks
from nightboard.warehouse.builder.derive import Deriver, list_sample_files
from nightboard.warehouse.builder.macro_ddl import create_macro
from nightboard.warehouse.builder.publish import (
    NoBuildError,
    Report,
    current_build,
    lock_builds,
    name_build,
    publish_build,
    temporary_build,
)
from nightboard.warehouse.builder.scheduler import run_in_order
from nightboard.warehouse.builder.sql_text import OFFLINE
from nightboard.warehouse.builder.suite_tables import create_wide_tables
from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.lake.files import LakeError, check_readable, read_listing
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.functions import FUNCTIONS
from nightboard.warehouse.schema.lake_tables import IMPORTS, LAKE_TABLES, OUTCOMES, SAMPLES
from nightboard.warehouse.schema.macros import MACROS, Macro
from nightboard.warehouse.schema.marts import BUILD_FILES, BUILD_INFO, MODEL_TABLES

DERIVED = "derived"

Files = Mapping[str, tuple[str, ...]]
Described = TypeVar("Described", Table, Macro)


class BuildError(WarehouseError):
    """A build failed; the previous build stays current. The message names the model, or the checks and rows."""


@dataclass(frozen=True)
class BuildResult:
    """A finished build: its file, files read per lake table, rows per stored table of `main`, and its time."""

    path: Path
    build_id: str
    files: dict[str, int]
    rows: dict[str, int]
    elapsed_s: float


def build(lake: Path, warehouse: Path, now: datetime, report: Report | None = None) -> BuildResult:
    """Build a warehouse from all files of the lake and make it the current one.

    `report` is called during long work. Raises BuildError if a model, a check or the disk fails; the current build is
    then unchanged.
    """
    started, build_id = time.monotonic(), name_build(now)
    with lock_builds(warehouse), temporary_build(warehouse, build_id) as temporary:
        try:
            compact(lake, report)
            files = list_files(lake)
            deriver = Deriver(lake.resolve(), warehouse / DERIVED, report)
            with ddl.open_new(temporary) as con:
                rows = _fill(con, lake.resolve(), files, deriver, build_id, now)
            path = publish_build(temporary, warehouse, build_id)
        except (duckdb.Error, sql_models.ModelError, LakeError, OSError) as error:
            reason = _find_damage(lake, error) or str(error)
            raise BuildError(f"the warehouse was not rebuilt; the previous build stays current: {reason}") from error
        with contextlib.suppress(OSError, LakeError):  # the build is done; the next one removes the leftovers
            deriver.remove_unused()
            remove_replaced(lake, warehouse)
    return BuildResult(
        path, build_id, {name: len(paths) for name, paths in files.items()}, rows, time.monotonic() - started
    )


def _find_damage(lake: Path, error: Exception) -> str | None:
    """The error text; for a damaged file, names it, because DuckDB's generic error does not."""
    cause = error.__cause__ if isinstance(error, sql_models.ModelError) else error
    if type(cause) is not duckdb.Error and not isinstance(cause, duckdb.InvalidInputException):
        return None
    try:
        check_readable(lake / path for paths in list_files(lake).values() for path in paths)
    except LakeError as damage:
        return str(damage)
    return None


def rebuild_if_stale(lake: Path, warehouse: Path, now: datetime, report: Report | None = None) -> BuildResult | None:
    """Build the warehouse; None where the current build has read the same files. Raises as `build` does."""
    return None if is_current(lake, warehouse) else build(lake, warehouse, now, report)


def is_current(lake: Path, warehouse: Path) -> bool:
    """Whether the current build was made from exactly the present files of the lake, by the models of this version."""
    try:
        with duckdb.connect(str(current_build(warehouse)), read_only=True, config=OFFLINE) as con:
            info = con.execute("select lake, recipe from main.build_info").fetchall()
            paths_read = {str(row[0]) for row in con.execute("select path from main.build_files").fetchall()}
    except (NoBuildError, duckdb.Error):  # no readable build, or a database that nightboard did not make
        return False
    files = list_files(lake)
    recipe = sql_models.hash_recipe(sql_models.SQL_FOLDER)
    return info == [(str(lake.resolve()), recipe)] and paths_read == {*chain(*files.values())}


def list_files(lake: Path) -> Files:
    """Paths of the Parquet files that hold the rows, by lake table, relative to the lake.

    Outcomes and imports are listed first. They are written last, so all other files of a listed evaluation exist.
    """
    order = sorted(LAKE_TABLES, key=lambda name: name not in (OUTCOMES.name, IMPORTS.name))
    return {name: tuple(f"{name}/{file}" for file in read_listing(lake, name).live) for name in order}


def _fill(
    con: duckdb.DuckDBPyConnection, lake: Path, files: Files, deriver: Deriver, build_id: str, now: datetime
) -> dict[str, int]:
    """Make all contents of a build in its new file; returns rows per table of main."""
    attach_lake(con, lake, files)
    made = _record_build(con, lake, files, build_id, now)
    models = sql_models.load_models(sql_models.SQL_FOLDER)
    make_models(con, models, deriver, files)
    stored = [*made, *(MODEL_TABLES[m.name] for m in models if m.folder == "marts"), *create_wide_tables(con)]
    con.execute("begin")  # one write to disk for hundreds of comments
    for table in stored:
        ddl.describe_table(con, table)
    con.execute("commit")
    stored.remove(SAMPLES)
    if violations := find_violations(con, list_checks(stored)):
        raise BuildError(
            "\n".join(["the new build failed its checks; the previous build stays current.", *violations])
            + "\nFind the files of these rows in the lake, repair or remove them, and run `nightboard rebuild`."
        )
    return ddl.count_rows(con, stored)


def attach_lake(con: duckdb.DuckDBPyConnection, lake: Path, files: Files) -> None:
    """Make the schemas that models need beside main, and the tables of the lake that they read."""
    for schema in ("lake", "staging", "derived"):
        con.execute(f"attach ':memory:' as {schema}")
    for name, table in LAKE_TABLES.items():
        if table is not SAMPLES:
            ddl.create_lake_view(con, table, lake, files[name])
    list_sample_files(con, lake, files[SAMPLES.name])


def make_models(
    con: duckdb.DuckDBPyConnection, models: Iterable[sql_models.Model], deriver: Deriver, files: Files
) -> None:
    """Make these models, each after those of them that it reads."""

    def run(con: duckdb.DuckDBPyConnection, model: sql_models.Model) -> None:
        try:
            if model.folder == "derived":
                deriver.make(con, model)
            elif model.folder == "functions":
                create_macro(con, model, _describe(model, FUNCTIONS))
            elif model.folder == "macros":
                create_macro(con, model, _describe(model, MACROS))
            elif model.key == "main.samples":
                ddl.create_samples_view(con, model.code, deriver.lake, files[SAMPLES.name])
            else:
                table = _describe(model, MODEL_TABLES) if model.folder == "marts" else None
                ddl.create_table(con, model.schema, model.name, model.sql, table)
        except duckdb.Error as error:
            raise sql_models.ModelError(f"model {model.key}: {error}") from error

    run_in_order(con, models, run)


def _describe(model: sql_models.Model, described: Mapping[str, Described]) -> Described:
    if model.name not in described:
        raise sql_models.ModelError(
            f"{model.folder}/{model.name}.sql has no description. Add one below warehouse/schema/."
        )
    return described[model.name]


def _record_build(
    con: duckdb.DuckDBPyConnection, lake: Path, files: Files, build_id: str, now: datetime
) -> tuple[Table, Table]:
    tables = (BUILD_FILES, BUILD_INFO)
    for table in tables:
        ddl.create_table(con, "main", table.name, ddl.empty_select(table), table)
    names = [table for table, paths in files.items() for _ in paths]
    con.execute("insert into main.build_files select unnest(?), unnest(?)", [names, [*chain(*files.values())]])
    con.execute(
        "insert into main.build_info values (?, ?, ?, ?, ?)",
        [build_id, now, str(lake), sql_models.hash_recipe(sql_models.SQL_FOLDER), duckdb.__version__],
    )
    return tables
