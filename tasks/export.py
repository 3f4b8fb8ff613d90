"""Export tables of the warehouse to files: each whole or not at all, and none of the store's own is touched."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nightboard.tasks.store import Store
from nightboard.warehouse.copy import FileFormat, copy_table, list_tables, open_for_copies


class ExportError(Exception):
    """A file cannot be written as asked; the message says why and what to do."""


class Exported(NamedTuple):
    """A table that was written."""

    table: str
    path: Path
    n_rows: int


def export_table(
    store: Store, table: str, path: Path, form: FileFormat, is_forced: bool, tell: Callable[[str, float], object]
) -> Exported:
    """Write one table or view of main to `path`; `tell` hears the table and the share that is done, 0..100.

    Raises ExportError for a file that must not be written, QueryError for a table that is not there.
    """
    _check(store, path, is_forced)
    with _make_scratch(path.parent) as scratch, open_for_copies(store.warehouse, scratch) as con:
        n_rows = copy_table(con, table, form, scratch / path.name, partial(tell, table))
        _finish(scratch / path.name, path)
    return Exported(table, path, n_rows)


def export_all(
    store: Store, folder: Path, form: FileFormat, is_forced: bool, tell: Callable[[str, float], object]
) -> Iterator[Exported]:
    """Write every table and view of main, all of one build, as <table>.<format> into a folder.

    Raises ExportError for a file that must not be written, before any is.
    """
    with _make_scratch(folder) as scratch, open_for_copies(store.warehouse, scratch) as con:
        paths = {table: folder / f"{table}.{form}" for table in list_tables(con)}
        for path in paths.values():
            _check(store, path, is_forced)
        for table, path in paths.items():
            n_rows = copy_table(con, table, form, scratch / path.name, partial(tell, table))
            _finish(scratch / path.name, path)
            yield Exported(table, path, n_rows)


def refuse_inside(store: Store, path: Path) -> None:
    """Raise ExportError for a path in the store."""
    if path.resolve().is_relative_to(store.root.resolve()):
        raise ExportError(f"{path}: lies in the store, whose files are nightboard's own. Choose a place outside.")


def _check(store: Store, path: Path, is_forced: bool) -> None:
    refuse_inside(store, path)
    if path.is_dir():
        raise ExportError(f"{path}: is a folder. Name a file, or export --all tables into it.")
    if path.exists() and not is_forced:
        raise ExportError(f"{path}: is there already. Choose another name, or replace it with --force.")


@contextlib.contextmanager
def _make_scratch(folder: Path) -> Iterator[Path]:
    """A hidden folder on the disk of the target, for files that are not finished."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".nightboard-export-") as scratch:
        yield Path(scratch)


def _finish(written: Path, path: Path) -> None:
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    os.replace(written, path)
