"""Writes the files that a user names: whole or not at all, never into a store, and over nothing that is not meant.

The only way for rows to get into such a file. Pipes, devices and what this process has open are written into.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nightboard.tasks.errors import TaskError
from nightboard.tasks.store.files import replace_atomically
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.publish import POINTER

_OWN = re.compile(r"/dev/std(?P<name>out|err)|(?:/dev/fd|/proc/self/fd)/(?P<number>\d+)")
_OWN_NUMBERS = {"out": 1, "err": 2}


class OutputFileError(TaskError):
    """A file cannot be written as asked; the message says why and what to do."""


@dataclass(frozen=True)
class OutputFile:
    """A file that a user names, and the store that the rows come from. `is_forced`: it may replace another one."""

    path: Path
    store: Store
    is_forced: bool = False

    def find_target(self) -> Path | None:
        """The file that is written, behind all links; None for what is written into as it is.

        Raises OutputFileError for a file that must not be written.
        """
        if self._is_stream():
            return None
        target = _resolve(self.path)
        refuse_stores(self.path, self.store)
        if target.is_dir():
            raise OutputFileError(f"{self.path}: is a folder. Name a file in it.")
        require_folder(self.path, target.parent)
        if target.exists() and not self.is_forced:
            raise OutputFileError(f"{self.path}: is there already. Choose another name, or replace it with --force.")
        return target

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """A stream to the file, which appears whole or not at all, or into what is no file. Raises OutputFileError."""
        target = self.find_target()
        if target is None:
            with self._open_stream() as out:
                yield out
        else:
            with replace_atomically(target) as out:
                yield out

    def take(self, written: Path) -> None:
        """Make a finished file on the same disk this one, or write it into what is no file. Raises OutputFileError."""
        target = self.find_target()
        if target is None:
            with written.open("rb") as source, self._open_stream() as out:
                shutil.copyfileobj(source, out)
            return
        with written.open("rb") as source:
            os.fsync(source.fileno())
        os.replace(written, target)

    def _is_stream(self) -> bool:
        if _find_own(self.path) is not None:
            return True
        try:
            mode = self.path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as error:
            raise _explain(self.path, error) from None
        if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
            raise OutputFileError(f"{self.path}: is a {'socket' if stat.S_ISSOCK(mode) else 'disk'}. Name a file.")
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def _open_stream(self) -> IO[bytes]:
        number = _find_own(self.path)
        try:
            # Opened by its name, a file that the shell appends to would lose what it has.
            return self.path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")
        except OSError as error:
            raise _explain(self.path, error) from None


def refuse_stores(path: Path, store: Store) -> None:
    """Raise OutputFileError for a path in a store: the given one, or any that is recognised by its folders."""
    target = _resolve(path)
    if target.is_relative_to(_resolve(store.root)) or any(map(_is_store, (target, *target.parents))):
        raise OutputFileError(f"{path}: lies in the store, whose files are nightboard's own. Choose a place outside.")


def require_folder(path: Path, folder: Path) -> None:
    """Raise OutputFileError when the folder of `path` is not there, or nothing can be written in it."""
    if not folder.is_dir():
        raise OutputFileError(f"{path}: there is no folder {folder}. Make it first, or choose another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputFileError(f"{path}: nothing can be written in {folder}. Change its permissions or choose another.")


def _is_store(folder: Path) -> bool:
    store = Store(folder)
    if os.path.lexists(store.warehouse / POINTER) or (store.runs.is_dir() and store.launches.is_dir()):
        return True
    if not store.lake.is_dir():
        return False
    from nightboard.warehouse.schema.lake_tables import LAKE_TABLES  # imports pyarrow, which is slow

    return any((store.lake / table).is_dir() for table in LAKE_TABLES)


def _find_own(path: Path) -> int | None:
    """The number by which this process has a file open, where the path is one of the names for that."""
    found = _OWN.fullmatch(os.path.abspath(path))
    return None if found is None else _OWN_NUMBERS.get(found["name"] or "") or int(found["number"])


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Python tells a loop of links as a RuntimeError
        raise _explain(path, error) from None


def _explain(path: Path, error: Exception) -> OutputFileError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputFileError(f"{path}: cannot be written ({reason}). Check the path and its permissions.")
