"""Builds the warehouse from the lake: a new DuckDB file, filled by the SQL models, checked, then made the current one.

Owns the sequence of steps. The computations are in the SQL files, the meaning of columns in the schemas, the files of
builds in publish.py.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import duckdb

from nightboard.warehouse.builder import ddl
from nightboard.warehouse.builder.compact import compact, remove_replaced
from nightboard.warehouse.builder.data_checks import find_violations, list_checks
from nightboard.warehouse.builder.derive import Deriver, list_sample_files
from nightboard.warehouse.builder.publish import NoBuildError, Report, current_build, lock_builds, publish_build
from nightboard.warehouse.builder.scheduler import run_in_order
from nightboard.warehouse.builder.sql_models import Model, ModelError, hash_recipe, load_models
from nightboard.warehouse.builder.sql_text import OFFLINE
from nightboard.warehouse.builder.suite_tables import create_wide_tables
from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.lake.files import LakeError, check_readable, read_listing
from nightboard.warehouse.schema.functions import FUNCTIONS
from nightboard.warehouse.schema.lake_tables import IMPORTS, LAKE_TABLES, OUTCOMES, SAMPLES
from nightboard.warehouse.schema.macros import MACROS
from nightboard.warehouse.schema.marts import BUILD_FILES, BUILD_INFO, MODEL_TABLES

Files = Mapping[str, tuple[str, ...]]


class BuildError(WarehouseError):
    """A build failed; the previous build stays current. The message names the model, or the checks and rows."""


@dataclass(frozen=True)
class BuildResult:
    """A finished build: its file and its time."""

    path: Path
    elapsed_s: float


def build(lake: Path, warehouse: Path, now: datetime, report: Report | None = None) -> BuildResult:
    """Build a warehouse from all files of the lake and make it the current one.

    `report` is called during long work. Raises BuildError if a model, a check or the disk fails; the current build is
    then unchanged.
    """
    started = time.monotonic()
    build_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    temporary = warehouse / f".nightboard-{build_id}.tmp"
    with lock_builds(warehouse):
        try:
            compact(lake, report)
            files, deriver = list_files(lake), Deriver(lake.resolve(), warehouse / "derived", report)
            with ddl.open_new(temporary) as con:
                _record_build(con, lake.resolve(), files, build_id, now)
                _fill(con, files, deriver)
            path = publish_build(temporary, warehouse, build_id)
        except (duckdb.Error, ModelError, LakeError, OSError) as error:
            reason = error if isinstance(error, OSError) else _find_damage(lake) or error
            raise BuildError(f"the warehouse was not rebuilt; the previous build stays current: {reason}") from error
        with contextlib.suppress(OSError, LakeError):  # the build is done; the next one removes the leftovers
            remove_replaced(lake, warehouse)
    return BuildResult(path, time.monotonic() - started)


def rebuild_if_stale(lake: Path, warehouse: Path, now: datetime, report: Report | None = None) -> BuildResult | None:
    """Build the warehouse; None where the current build has read the same files. Raises as `build` does."""
    return None if is_current(lake, warehouse) else build(lake, warehouse, now, report)


def is_current(lake: Path, warehouse: Path) -> bool:
    """Whether the current build was made from exactly the present files of the lake, by the models of this version."""
    try:
        with duckdb.connect(str(current_build(warehouse)), read_only=True, config=OFFLINE) as con:
            info = con.execute("select lake, recipe from main.build_info").fetchall()
            paths_read = {path for (path,) in con.execute("select path from main.build_files").fetchall()}
    except (NoBuildError, duckdb.Error):  # no readable build, or a database that nightboard did not make
        return False
    return info == [(str(lake.resolve()), hash_recipe())] and paths_read == {*chain(*list_files(lake).values())}


def list_files(lake: Path) -> Files:
    """Paths of the Parquet files that hold the rows, by lake table, relative to the lake.

    Outcomes and imports are listed first. They are written last, so all other files of a listed evaluation exist.
    """
    order = sorted(LAKE_TABLES, key=lambda name: name not in (OUTCOMES.name, IMPORTS.name))
    return {name: tuple(f"{name}/{file}" for file in read_listing(lake, name).live) for name in order}


def attach_lake(con: duckdb.DuckDBPyConnection, lake: Path, files: Files) -> None:
    """Make the schemas that models need beside main, and the tables of the lake that they read."""
    for schema in ("lake", "staging", "derived"):
        con.execute(f"attach ':memory:' as {schema}")
    for name, table in LAKE_TABLES.items():
        if table is not SAMPLES:
            ddl.create_lake_view(con, table, lake, files[name])
    list_sample_files(con, lake, files[SAMPLES.name])


def make_models(con: duckdb.DuckDBPyConnection, models: Iterable[Model], deriver: Deriver, files: Files) -> None:
    """Make these models, each after those of them that it reads."""

    def run(con: duckdb.DuckDBPyConnection, model: Model) -> None:
        try:
            if model.folder == "derived":
                deriver.make(con, model)
            elif model.folder == "functions":
                ddl.create_macro(con, model, FUNCTIONS[model.name])
            elif model.folder == "macros":
                ddl.create_macro(con, model, MACROS[model.name])
            elif model.key == "main.samples":
                samples = ddl.select_files(SAMPLES, deriver.lake, files[SAMPLES.name])
                con.execute(f"create view {model.key} as {model.code.replace('lake.samples', f'({samples})')}")
            else:
                table = MODEL_TABLES[model.name] if model.folder == "marts" else None
                ddl.create_table(con, model.key, model.sql, table)
        except duckdb.Error as error:
            raise ModelError(f"model {model.key}: {error}") from error

    run_in_order(con, models, run)


def _fill(con: duckdb.DuckDBPyConnection, files: Files, deriver: Deriver) -> None:
    """Make all tables of a build in its new file, and check them."""
    attach_lake(con, deriver.lake, files)
    models = load_models()
    make_models(con, models, deriver, files)
    made = [MODEL_TABLES[model.name] for model in models if model.folder == "marts"]
    made += [BUILD_FILES, BUILD_INFO, *create_wide_tables(con)]
    con.execute("begin")  # one write to disk for hundreds of comments
    for table in made:
        ddl.describe_table(con, table)
    con.execute("commit")
    made.remove(SAMPLES)
    if violations := find_violations(con, list_checks(made)):
        raise BuildError(
            "\n".join(["the new build failed its checks; the previous build stays current.", *violations])
            + "\nFind the files of these rows in the lake, repair or remove them, and run `nightboard rebuild`."
        )


def _record_build(con: duckdb.DuckDBPyConnection, lake: Path, files: Files, build_id: str, now: datetime) -> None:
    """Make the two tables about the build itself."""
    names = [table for table, paths in files.items() for _ in paths]
    con.execute(
        "create table main.build_files as select unnest(?::varchar[]) as lake_table, unnest(?::varchar[]) as path",
        [names, [*chain(*files.values())]],
    )
    con.execute(
        "create table main.build_info as select ?::varchar as build_id, ?::timestamptz as built_at, ?::varchar as lake,"
        " ?::varchar as recipe, ?::varchar as duckdb_version",
        [build_id, now, str(lake), hash_recipe(), duckdb.__version__],
    )


def _find_damage(lake: Path) -> LakeError | None:
    """The damaged files of the lake; they are looked for because DuckDB's generic error does not name them."""
    try:
        check_readable(lake / path for paths in list_files(lake).values() for path in paths)
    except LakeError as damage:
        return damage
    return None
