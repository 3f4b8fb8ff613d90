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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from nightboard.warehouse.builder import ddl, sql_models
from nightboard.warehouse.builder.publish import Report
from nightboard.warehouse.builder.sql_text import literal, quote
from nightboard.warehouse.lake.files import COMPACTED, escape_glob, read_listing
from nightboard.warehouse.schema.lake_tables import SAMPLES

# Bounds the memory: samples are too many to work on all of them at once.
BATCH_EVALUATIONS = 400
# A file with an evaluation's samples has the name of the evaluation, alone or with a hash.
_NAME = re.compile(r"([0-9a-f]{32})(-[0-9a-f]{16})?\.parquet")


def list_sample_files(con: duckdb.DuckDBPyConnection, lake: Path, paths: tuple[str, ...]) -> None:
    """Make lake.sample_files: one row per evaluation and file with its samples, with the file's size and time.

    A file whose name does not tell its evaluations, as after a repair by hand, is read.
    """
    large = read_listing(lake, SAMPLES.name).large
    rows: set[tuple[str, str, str]] = set()
    for path in paths:
        file = path.removeprefix(f"{SAMPLES.name}/")
        written = [name for name in large.get(file, [file]) if not name.startswith(f"{COMPACTED}/")]
        ids = [match[1] for match in map(_NAME.fullmatch, written) if match]
        if not ids or len(ids) < len(written):
            found = f"select distinct evaluation_id from ({ddl.select_files(SAMPLES, lake, [path])})"
            ids = [evaluation_id for (evaluation_id,) in con.execute(found).fetchall()]
        stat = (lake / path).stat()
        rows |= {(evaluation_id, path, f"{stat.st_size} {stat.st_mtime_ns}") for evaluation_id in ids}
    con.execute("create table lake.sample_files (evaluation_id varchar, file varchar, state varchar)")
    if rows:
        con.execute("insert into lake.sample_files select unnest(?), unnest(?), unnest(?)", [*zip(*rows, strict=True)])


@dataclass(frozen=True)
class Deriver:
    """Makes the derived tables of one build: from the files in `folder`, and from samples in `lake`."""

    lake: Path
    folder: Path
    report: Report | None = None
    _in_use: set[Path] = field(default_factory=set)

    def make(self, con: duckdb.DuckDBPyConnection, model: sql_models.Model) -> None:
        """Make derived.<model>, and keep what is new of it."""
        lists, kept, n_gone = f"derived.{quote(f'{model.name} lists')}", self._find_kept(model), 0
        _set_batch(con, [], [])
        con.execute(f"create table {lists} as {self._list_rows(model, [])}")
        if kept:
            rows = f"from read_parquet({literal(escape_glob(kept))})"
            con.execute(f"insert into {lists} {rows} semi join staging.sample_inputs using (evaluation_id, inputs)")
            ((n_gone,),) = con.execute(f"select (select count(*) {rows}) - count(*) from {lists}").fetchall()
        missing = con.execute(
            f"select evaluation_id, inputs, files from staging.sample_inputs anti join {lists} using (evaluation_id)"
            " order by files, evaluation_id"
        ).fetchall()
        for start in range(0, len(missing), BATCH_EVALUATIONS):
            ids, inputs, files = zip(*missing[start : start + BATCH_EVALUATIONS], strict=True)
            _set_batch(con, ids, inputs)
            con.execute(f"insert into {lists} {self._list_rows(model, sorted(set().union(*files)))}")
            if self.report:
                self.report(f"compute {model.name}", start + len(ids), len(missing))
        self._in_use.add(self._keep(con, lists, model) if missing or n_gone or not kept else kept)
        con.execute(f"create table {model.key} as select unnest(rows, max_depth := 2) from {lists}")

    def _list_rows(self, model: sql_models.Model, files: list[str]) -> str:
        """A SELECT of the rows of the evaluations in temp.batch, all of whose samples are in these files."""
        samples = f"({ddl.select_files(SAMPLES, self.lake, files)} semi join temp.batch using (evaluation_id))"
        return (
            "select batch.evaluation_id, batch.inputs, list(made) filter (made.evaluation_id is not null) as rows"
            f" from temp.batch left join ({model.code.replace('lake.samples', samples)}) as made"
            " on batch.evaluation_id = made.evaluation_id group by all"
        )

    def _find_kept(self, model: sql_models.Model) -> Path | None:
        """The newest file of a model that is whole and of this version."""
        paths = [path for path in self.folder.glob(f"{model.name}-*.parquet") if path.name == _name_file(model, path)]
        return max(paths, key=lambda path: path.stat().st_mtime_ns, default=None)

    def _keep(self, con: duckdb.DuckDBPyConnection, lists: str, model: sql_models.Model) -> Path:
        """Write the file of a model."""
        self.folder.mkdir(exist_ok=True)
        temporary = self.folder / f".{model.name}.tmp"
        con.execute(f"copy {lists} to {literal(str(temporary))} (format parquet, compression zstd)")
        path = self.folder / _name_file(model, temporary)
        os.replace(temporary, path)
        return path

    def remove_unused(self) -> None:
        """Remove all other files: replaced, damaged, unfinished, of other versions."""
        for path in set(self.folder.glob("*")) - self._in_use:
            with contextlib.suppress(OSError):  # for example another member's file, in a sticky folder
                path.unlink()


def _set_batch(con: duckdb.DuckDBPyConnection, ids: Sequence[str], inputs: Sequence[str]) -> None:
    con.execute("create or replace temp table batch (evaluation_id varchar, inputs varchar)")
    if ids:
        con.execute("insert into temp.batch select unnest(?), unnest(?)", [[*ids], [*inputs]])


def _name_file(model: sql_models.Model, path: Path) -> str:
    recipe = f"{sql_models.hash_recipe(sql_models.SQL_FOLDER)} {duckdb.__version__} "
    return f"{model.name}-{hashlib.sha256(recipe.encode() + path.read_bytes()).hexdigest()[:32]}.parquet"
