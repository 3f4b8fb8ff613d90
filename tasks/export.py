"""Exports tables of the warehouse to files; each file is written completely or not at all, and never in a store."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nightboard.tasks.output_file import OutputFile, refuse_stores, require_folder
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.export import copy_table, list_tables, open_for_copies
from nightboard.warehouse.reader.file_format import FileFormat


class Exported(NamedTuple):
    """A table that was written."""

    table: str
    path: Path
    n_rows: int


def export_table(
    store: Store, table: str, path: Path, form: FileFormat, is_forced: bool, tell: Callable[[str, float], object]
) -> Exported:
    """Write one table or view of main to `path`; `tell` is called with the table and the finished share, 0..100.

    Raises OutputFileError for a file that must not be written, QueryError for an unknown table.
    """
    output = OutputFile(path, store, is_forced)
    target = output.find_target()
    with _make_scratch(target.parent if target else None) as scratch, open_for_copies(store.warehouse, scratch) as con:
        n_rows = copy_table(con, table, form, scratch / "table", partial(tell, table))
        output.take(scratch / "table")
    return Exported(table, path, n_rows)


def export_all(
    store: Store, folder: Path, form: FileFormat, is_forced: bool, tell: Callable[[str, float], object]
) -> Iterator[Exported]:
    """Write all tables and views of main, from the same build, as <table>.<format> to a folder, which may be new.

    Raises OutputFileError for a file that must not be written, before it writes any.
    """
    refuse_stores(folder, store)
    if not folder.exists():
        require_folder(folder, folder.absolute().parent)
        folder.mkdir()
    require_folder(folder, folder)
    with _make_scratch(folder) as scratch, open_for_copies(store.warehouse, scratch) as con:
        outputs = {table: OutputFile(folder / f"{table}.{form}", store, is_forced) for table in list_tables(con)}
        for output in outputs.values():
            output.find_target()
        for table, output in outputs.items():
            n_rows = copy_table(con, table, form, scratch / "table", partial(tell, table))
            output.take(scratch / "table")
            yield Exported(table, output.path, n_rows)


@contextlib.contextmanager
def _make_scratch(folder: Path | None) -> Iterator[Path]:
    """A hidden folder on the disk of the target, for unfinished files."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".nightboard-export-") as scratch:
        yield Path(scratch)
