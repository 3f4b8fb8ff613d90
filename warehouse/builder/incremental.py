"""Incremental builds: rows that depend only on one evaluation's inputs are kept, and reused by the next build.

A kept model has `-- Kept:` in its first comment. Its rows have the column evaluation_id and depend only on other kept
models and on the inputs that staging.evaluation_inputs hashes: samples, scores, plan, outcome and declaration. It runs
over the evaluations that the previous build did not compute from the same inputs by the same recipe; it then reads the
database `fresh`, which has every table with only the rows of these evaluations. A new build starts as a copy of the
previous one. Owns the schema `kept`, which is internal, and the order of rows in kept tables: by the time when
evaluations finished, so that new ones come last.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import duckdb

from nightboard.warehouse.builder import ddl, sql_models
from nightboard.warehouse.builder.publish import NoBuildError, Report, current_build
from nightboard.warehouse.builder.sql_text import OFFLINE, literal, quote
from nightboard.warehouse.lake.files import read_holders
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import SAMPLES, TASK_SCORES

BATCH_EVALUATIONS = 200
# They are many, and only kept models read them.
KEPT_INPUTS = (SAMPLES, TASK_SCORES)


def open_build(path: Path, warehouse: Path, *, is_full: bool) -> tuple[duckdb.DuckDBPyConnection, bool]:
    """Open the new build `path`; says whether it begins as a copy of the current one, by the same recipe then.

    `is_full`: it does not.
    """
    copied = None if is_full else _open_copy(path, warehouse)
    return copied or _open(path), copied is not None


def close_build(con: duckdb.DuckDBPyConnection) -> None:
    """Write a new build to the disk, to be read from now on. Raises duckdb.Error when the disk fails."""
    con.execute("use memory")
    con.execute("detach build")


def _open_copy(path: Path, warehouse: Path) -> duckdb.DuckDBPyConnection | None:
    """A copy of the current build, if there is one that this version has made."""
    with contextlib.suppress(duckdb.Error, NoBuildError, OSError):
        _copy_file(current_build(warehouse), path)
        con = _open(path)
        try:
            made_by = con.execute("select recipe, duckdb_version from main.build_info").fetchall()
        except duckdb.Error:
            made_by = []
        if made_by == [(sql_models.hash_recipe(sql_models.SQL_FOLDER), duckdb.__version__)]:
            return con
        con.close()
    path.unlink(missing_ok=True)
    return None


def _copy_file(build: Path, path: Path) -> None:
    """Copy a build. Raises OSError when somebody has it open for writing, or was killed before all was in its place."""
    if build.with_name(f"{build.name}.wal").exists():
        raise FileExistsError(f"{build}.wal")
    with build.open("rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        shutil.copyfile(build, path)


def _open(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a file that is nothing before it is whole: it needs no journal, and is written to the disk once."""
    one_write = {"checkpoint_threshold": "1TB", "temp_directory": f"{path}.tmp"}
    con = duckdb.connect(config=OFFLINE | ddl.STORAGE | one_write)
    con.execute(f"attach {literal(str(path))} as build (recovery_mode no_wal_writes)")
    con.execute("use build")
    con.execute("set TimeZone = 'UTC'")
    return con


def list_kept_files(con: duckdb.DuckDBPyConnection, lake: Path, files: Mapping[str, tuple[str, ...]]) -> None:
    """Make lake.files: names under which samples and scores were written, and the file that has them now.

    A file that none of them leads to, as after somebody has written it anew, is there under its own, as a stranger's.
    """
    con.execute("create table lake.files (lake_table varchar, name varchar, file varchar)")
    for table in KEPT_INPUTS:
        read = set(files[table.name])
        named = {name: f"{table.name}/{file}" for name, file in read_holders(lake, table.name).items()}
        found = [(name, file) for name, file in named.items() if file in read]
        found += [(file, file) for file in sorted(read.difference(named.values()))]
        if found:
            columns = [*map(list, zip(*found, strict=True))]
            con.execute("insert into lake.files select ?, unnest(?), unnest(?)", [table.name, *columns])


# Nobody's rows of the build before went, and all that are missing come after them.
_ONLY_NEW_ONES = """
select
    (select count(*) from kept.inputs) = (select count(*) from lake.carried)
    and coalesce((select min(position) from lake.missing) > (select max(position) from lake.carried), true)
"""


@dataclass
class Keeper:
    """Makes those of all models that are kept. Rows that no other model reads are made of new evaluations alone.

    `is_copy`: the new build began as a copy of the one before.
    """

    lake: Path
    all_models: Sequence[sql_models.Model]
    is_copy: bool
    report: Report | None = None
    _can_append: bool = False
    _in_fresh: set[str] = field(default_factory=set)
    _error: duckdb.Error | None = None
    _beginning: Lock = field(default_factory=Lock)
    _batches: Lock = field(default_factory=Lock)

    def make(self, con: duckdb.DuckDBPyConnection, model: sql_models.Model, table: Table | None) -> None:
        """Make the rows of evaluations that are not carried over, and store them with the others."""
        with self._beginning:
            if self._error:  # of another model, which comes to light with whichever is asked first
                raise self._error
            if not self._in_fresh:
                try:
                    self._begin(con)
                except duckdb.Error as error:
                    self._error = error
                    raise
        sql = model.replace_references(lambda key: _fresh(key) if key in self._in_fresh else key)
        if model.reads_samples:
            with self._batches:
                self._make_by_batches(con, model, sql)
        else:
            con.execute(f"create table {_fresh(model.key)} as {sql}")
        self._in_fresh.add(model.key)
        if model.schema == "main" or any(model.key in each.references for each in self.all_models if not each.is_kept):
            self._store(con, model, table)

    def _begin(self, con: duckdb.DuckDBPyConnection) -> None:
        """Find out whose rows are carried over, and show kept models what they read of the others."""
        con.execute("attach ':memory:' as fresh")
        con.execute("create schema if not exists kept")
        con.execute("create table if not exists kept.inputs (evaluation_id varchar, inputs varchar)")
        con.execute(
            f"create table lake.carried as select now.* from {sql_models.INPUTS} as now"
            " inner join kept.inputs as before using (evaluation_id, inputs)"
        )
        score_files, sample_files = _choose_files("score_files", TASK_SCORES), _choose_files("sample_files", SAMPLES)
        con.execute(
            f"create table lake.missing as select evaluation_id, position, {score_files}, {sample_files}"
            f" from {sql_models.INPUTS} anti join lake.carried using (evaluation_id)"
        )
        self._can_append = self.is_copy and con.execute(_ONLY_NEW_ONES).fetchone() == (True,)
        con.execute(f"create or replace table kept.inputs as select evaluation_id, inputs from {sql_models.INPUTS}")
        found = con.execute("select distinct unnest(score_files) as file from lake.missing order by file").fetchall()
        self._show_rows(con, TASK_SCORES, "lake.missing", [file for (file,) in found])
        for model in self.all_models:
            if model.key == sql_models.INPUTS:
                self._show_inputs(con, model.references)

    def _show_inputs(self, con: duckdb.DuckDBPyConnection, keys: Iterable[str]) -> None:
        """Let fresh.<key> show what the tables that all kept models may read have for these evaluations."""
        for key in sorted(keys):
            if key.startswith("staging."):
                columns = [column for column, *_ in con.execute(f"from {key} limit 0").description or []]
                is_chosen = "evaluation_id" in columns
                chosen = "where evaluation_id in (select evaluation_id from lake.missing)" if is_chosen else ""
                con.execute(f"create view {_fresh(key)} as select * from {key} {chosen}")
                self._in_fresh.add(key)

    def _make_by_batches(self, con: duckdb.DuckDBPyConnection, model: sql_models.Model, sql: str) -> None:
        """Work on the samples of a few evaluations at a time, so that memory is bounded; neighbours together."""
        missing = con.execute(
            "select evaluation_id, sample_files from lake.missing where sample_files is not null"
            " order by sample_files, evaluation_id"
        ).fetchall()
        self._set_batch(con, [])
        con.execute(f"create table {_fresh(model.key)} as {sql}")
        for start in range(0, len(missing), BATCH_EVALUATIONS):
            batch = missing[start : start + BATCH_EVALUATIONS]
            self._set_batch(con, batch)
            con.execute(f"insert into {_fresh(model.key)} by name {sql}")
            if self.report:
                self.report(f"compute {model.name}", start + len(batch), len(missing))

    def _set_batch(self, con: duckdb.DuckDBPyConnection, batch: list[tuple[str, list[str]]]) -> None:
        """Let lake.samples show these evaluations, all of whose samples are in these files."""
        con.execute("create or replace table lake.batch (evaluation_id varchar)")
        if batch:
            con.execute("insert into lake.batch select unnest(?)", [[evaluation_id for evaluation_id, _ in batch]])
        self._show_rows(con, SAMPLES, "lake.batch", sorted({file for _, files in batch for file in files}))

    def _show_rows(self, con: duckdb.DuckDBPyConnection, table: Table, chosen: str, files: Iterable[str]) -> None:
        """Let lake.<table> show the rows of evaluations, all of which are in these files."""
        con.execute(
            f"create or replace view lake.{table.name} as select * from ({ddl.select_files(table, self.lake, files)})"
            f" where evaluation_id in (select evaluation_id from {chosen})"
        )

    def _store(self, con: duckdb.DuckDBPyConnection, model: sql_models.Model, table: Table | None) -> None:
        """Bring the rows of all evaluations together in the new file, new ones last."""
        target = f"{'main' if table else 'kept'}.{quote(model.name)}"
        if self._can_append:
            con.execute(f"insert into {target} by name {_order(f'select * from {_fresh(model.key)}', table)}")
        elif self.is_copy:
            carried = f"select * from {target} semi join lake.carried using (evaluation_id)"
            both = f"select * from {_fresh(model.key)} union all by name {carried}"
            con.execute(f"create table {_fresh(target)} as {_order(both, table)}")
            con.execute(f"delete from {target}")
            con.execute(f"insert into {target} by name from {_fresh(target)}")
        else:
            con.execute(f"create table {target} as {_order(f'select * from {_fresh(model.key)}', table)}")
        if table is None:
            con.execute(f"create view {model.key} as select * from build.{target}")


def _choose_files(column: str, table: Table) -> str:
    """Files of a table with rows of an evaluation; all there are where nobody knows whose rows a file has."""
    every = f"(select list(distinct file) from lake.files where lake_table = {literal(table.name)})"
    return f"list_sort(list_distinct(if(inputs is null, {every}, {column}))) as {column}"


def _order(rows: str, table: Table | None) -> str:
    """A SELECT of the rows of evaluations as these finished."""
    key = [f"answer.{quote(name)}" for name in table.key] if table else []
    return (
        f"{ddl.select_columns(table, rows)}"
        f" inner join {sql_models.INPUTS} as inputs on answer.evaluation_id = inputs.evaluation_id"
        f" order by {', '.join(['inputs.position', *key])}"
    )


def _fresh(key: str) -> str:
    return f"fresh.{quote(key)}"
