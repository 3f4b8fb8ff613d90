"""What is computed for one evaluation from its samples is kept in the build, and carried over to the next one.

A staging model that reads lake.samples must give rows of one evaluation (its column evaluation_id) from that one's
samples and declaration alone. It runs over batches of evaluations, so that memory is bounded, and only over those that
the build before has not done from the same inputs by the same recipe. Owns the schema `kept`, which no analyst needs.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import duckdb

from nightboard.warehouse import ddl, models
from nightboard.warehouse.builds import NoBuildError, Report, current_build
from nightboard.warehouse.lake import read_holders
from nightboard.warehouse.schema import SAMPLES

BATCH_EVALUATIONS = 200


def list_sample_files(con: duckdb.DuckDBPyConnection, lake: Path, paths: tuple[str, ...]) -> None:
    """Make lake.sample_files: names under which samples were written, and the file (of `paths`) that has them now."""
    read = {Path(path).relative_to(SAMPLES.name).as_posix() for path in paths}
    found = [(name, file) for name, file in read_holders(lake, SAMPLES.name).items() if file in read]
    con.execute("create table lake.sample_files (name varchar, file varchar)")
    if found:
        con.execute("insert into lake.sample_files select unnest(?), unnest(?)", [*map(list, zip(*found, strict=True))])


@dataclass(frozen=True)
class Keeper:
    """Makes the models that are kept, from the lake's samples and the build before."""

    con: duckdb.DuckDBPyConnection
    lake: Path
    warehouse: Path
    report: Report | None = None

    def make(self, model: models.Model) -> None:
        """Make kept.<name>, of which staging.<name> is a view."""
        if self.con.execute("select 1 from duckdb_schemas() where schema_name = 'kept'").fetchone() is None:
            self._begin()
        table = f"kept.{ddl.quote(model.name)}"
        self._set_batch([], [])
        self.con.execute(f"create table {table} as select * from ({model.sql}\n) limit 0")
        if self._has_previous():
            self.con.execute(
                f"insert into {table} by name select * from previous.{table}"
                " where evaluation_id in (select evaluation_id from lake.carried)"
            )
        missing = self._missing()
        for start in range(0, len(missing), BATCH_EVALUATIONS):
            batch = missing[start : start + BATCH_EVALUATIONS]
            self._set_batch([each for each, _ in batch], sorted({file for _, files in batch for file in files}))
            self.con.execute(f"insert into {table} by name select * from ({model.sql}\n)")
            if self.report:
                self.report(f"compute {model.name}", start + len(batch), len(missing))
        name = self.con.execute("select current_database()").fetchall()[0][0]
        self.con.execute(f"create view {model.key} as select * from {ddl.quote(name)}.{table}")

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.con.execute("detach database if exists previous")

    def _begin(self) -> None:
        self.con.execute("create schema kept")
        self.con.execute("create table kept.inputs as select evaluation_id, inputs from staging.sample_inputs")
        self.con.execute("create table lake.carried (evaluation_id varchar)")
        with contextlib.suppress(duckdb.Error, NoBuildError):  # of another version, or none: everything is made anew
            path = ddl.literal(str(current_build(self.warehouse)))
            self.con.execute(f"attach {path} as previous (read_only)")
            self.con.execute(
                "insert into lake.carried select evaluation_id from kept.inputs"
                " inner join previous.kept.inputs as before using (evaluation_id)"
                " where before.inputs = inputs.inputs and exists ("
                "     from previous.main.build_info where recipe = ? and duckdb_version = ?"
                " )",
                [models.hash_recipe(models.SQL_FOLDER), duckdb.__version__],
            )

    def _has_previous(self) -> bool:
        return self.con.execute("select count(*) > 0 from lake.carried").fetchone() == (True,)

    def _missing(self) -> list[tuple[str, list[str]]]:
        """Evaluations that the build before has not done, and the files with their samples; neighbours together."""
        return self.con.execute(
            "select evaluation_id, files from staging.sample_inputs anti join lake.carried using (evaluation_id)"
            " order by files, evaluation_id"
        ).fetchall()

    def _set_batch(self, evaluation_ids: list[str], files: list[str]) -> None:
        """Let lake.samples show these evaluations, all of whose samples are in these files."""
        self.con.execute("create or replace table lake.batch (evaluation_id varchar)")
        if evaluation_ids:
            self.con.execute("insert into lake.batch select unnest(?)", [evaluation_ids])
        rows = ddl.select_files(SAMPLES, self.lake, [f"{SAMPLES.name}/{file}" for file in files])
        self.con.execute(
            f"create or replace view lake.samples as select * from ({rows})"
            " where evaluation_id in (select evaluation_id from lake.batch)"
        )
