"""Derived tables: what samples decide is computed once per evaluation, and kept beside the builds in `derived/`.

A model of sql/derived/ reads samples, and each of its rows belongs to one evaluation. It is kept as one Parquet file:
one row per evaluation, with the hash of its inputs (staging.sample_inputs) and the list of its rows. A build takes the
lists of evaluations whose inputs are the same, makes all others, and then replaces the file. The name of the file is a
hash over its bytes and the recipe, so a damaged one, or one of another version, is not read. The folder can be deleted.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.ddl import select_files
from nightboard.warehouse.builder.publish import Report
from nightboard.warehouse.builder.sql_models import Model, hash_recipe
from nightboard.warehouse.builder.sql_text import literal
from nightboard.warehouse.lake.files import COMPACTED, escape_glob, read_listing
from nightboard.warehouse.schema.lake_tables import SAMPLES

# Bounds the memory: samples are too many to work on all of them at once.
BATCH_EVALUATIONS = 400
# A file with an evaluation's samples has the name of the evaluation, alone or with a hash.
_NAME = re.compile(r"([0-9a-f]{32})(-[0-9a-f]{16})?\.parquet")


def list_sample_files(con: duckdb.DuckDBPyConnection, lake: Path, paths: Iterable[str]) -> None:
    """Make lake.sample_files: one row per evaluation and file with its samples, with the file's size and time.

    A file whose name does not tell its evaluations, as after a repair by hand, is read.
    """
    large, rows = read_listing(lake, SAMPLES.name).large, []
    for path in paths:
        file = path.removeprefix(f"{SAMPLES.name}/")
        names = [_NAME.fullmatch(name) for name in large.get(file, [file]) if not name.startswith(f"{COMPACTED}/")]
        ids = [name[1] for name in names if name]
        if not ids or not all(names):
            found = f"select distinct evaluation_id from ({select_files(SAMPLES, lake, [path])})"
            ids = [evaluation_id for (evaluation_id,) in con.execute(found).fetchall()]
        stat = (lake / path).stat()
        state = f"{stat.st_size} {stat.st_mtime_ns}"
        rows += [{"evaluation_id": evaluation_id, "file": path, "state": state} for evaluation_id in ids]
    row = "struct(evaluation_id varchar, file varchar, state varchar)"
    con.execute(f"create table lake.sample_files as select distinct unnest(?::{row}[], recursive := true)", [rows])


@dataclass(frozen=True)
class Deriver:
    """Makes the derived tables of a build: from the files in `folder`, and from samples in `lake`."""

    lake: Path
    folder: Path
    report: Report | None = None

    def make(self, con: duckdb.DuckDBPyConnection, model: Model) -> None:
        """Make derived.<model>, and keep what is new of it."""
        con.execute("create temp table batch as from staging.sample_inputs limit 0")
        con.execute(f"create temp table lists as {self._list_rows(model, [])}")
        if kept := self._find_kept(model):
            rows = f"from read_parquet({literal(escape_glob(kept))})"
            con.execute(f"insert into lists {rows} semi join staging.sample_inputs using (evaluation_id, inputs)")
        missing = "from staging.sample_inputs anti join lists using (evaluation_id)"
        ((n_missing,),) = con.execute(f"select count(*) {missing}").fetchall()
        next_ones = f"{missing} order by files, evaluation_id limit {BATCH_EVALUATIONS}"
        for n_made in range(0, n_missing, BATCH_EVALUATIONS):
            con.execute(f"create or replace temp table batch as {next_ones}")
            files = [file for (file,) in con.execute("select distinct unnest(files) from batch").fetchall()]
            con.execute(f"insert into lists {self._list_rows(model, files)}")
            if self.report:
                self.report(f"compute {model.name}", min(n_made + BATCH_EVALUATIONS, n_missing), n_missing)
        if n_missing or not kept:
            self._keep(con, model)
        con.execute(f"create table {model.key} as select unnest(rows, max_depth := 2) from lists")

    def _list_rows(self, model: Model, files: Iterable[str]) -> str:
        """A SELECT of the rows of the evaluations in `batch`, all of whose samples are in these files."""
        samples = f"({select_files(SAMPLES, self.lake, files)} semi join batch using (evaluation_id))"
        return (
            "select batch.evaluation_id, batch.inputs, list(made) filter (made.evaluation_id is not null) as rows"
            f" from batch left join ({model.code.replace('lake.samples', samples)}) as made"
            " on batch.evaluation_id = made.evaluation_id group by all"
        )

    def _find_kept(self, model: Model) -> Path | None:
        """A file of a model that is whole and of this version."""
        paths = self.folder.glob(f"{model.name}-*.parquet")
        return next((path for path in paths if path.name == _name_file(model, path)), None)

    def _keep(self, con: duckdb.DuckDBPyConnection, model: Model) -> None:
        """Write the file of a model, and remove its other files: replaced, damaged, of other versions."""
        self.folder.mkdir(exist_ok=True)
        temporary = self.folder / f".{model.name}.tmp"
        con.execute(f"copy lists to {literal(str(temporary))} (format parquet, compression zstd)")
        path = self.folder / _name_file(model, temporary)
        os.replace(temporary, path)
        for other in set(self.folder.glob(f"{model.name}-*.parquet")) - {path}:
            with contextlib.suppress(OSError):  # for example another member's file, in a sticky folder
                other.unlink()


def _name_file(model: Model, path: Path) -> str:
    recipe = f"{hash_recipe()} {duckdb.__version__} "
    return f"{model.name}-{hashlib.sha256(recipe.encode() + path.read_bytes()).hexdigest()[:32]}.parquet"
