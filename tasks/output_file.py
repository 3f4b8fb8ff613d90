"""Writes the output files that a user names: completely or not at all, not in a store, and over a file only if forced.

All output files are written here. Pipes, devices and files that this process has open are written directly.
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
    """A file that a user names, and the store that the rows come from. `is_forced`: may replace an existing file."""

    path: Path
    store: Store
    is_forced: bool = False

    def find_target(self) -> Path | None:
        """The file that is written, with links resolved; None for a pipe, device or open file.

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
            raise OutputFileError(f"{self.path}: exists. Choose another name, or replace it with --force.")
        return target

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """A stream to the file, which appears complete or not at all, or to a pipe. Raises OutputFileError."""
        target = self.find_target()
        if target is None:
            with self._open_stream() as out:
                yield out
        else:
            with replace_atomically(target) as out:
                yield out

    def take(self, written: Path) -> None:
        """Move a finished file on the same disk here, or copy it to a pipe or device. Raises OutputFileError."""
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
            # Opening by name would truncate a file that the shell appends to.
            return self.path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")
        except OSError as error:
            raise _explain(self.path, error) from None


def refuse_stores(path: Path, store: Store) -> None:
    """Raise OutputFileError for a path in a store: the given one, or any that is recognized by its folders."""
    target = _resolve(path)
    if target.is_relative_to(_resolve(store.root)) or any(map(_is_store, (target, *target.parents))):
        raise OutputFileError(f"{path}: is inside the store, which only nightboard writes to. Choose another folder.")


def require_folder(path: Path, folder: Path) -> None:
    """Raise OutputFileError if the folder of `path` does not exist or is not writable."""
    if not folder.is_dir():
        raise OutputFileError(f"{path}: the folder {folder} does not exist. Create it, or choose another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputFileError(
            f"{path}: the folder {folder} is not writable. Change its permissions, or choose another folder."
        )


def _is_store(folder: Path) -> bool:
    store = Store(folder)
    if os.path.lexists(store.warehouse / POINTER) or (store.runs.is_dir() and store.launches.is_dir()):
        return True
    if not store.lake.is_dir():
        return False
    from nightboard.warehouse.schema.lake_tables import LAKE_TABLES  # imports pyarrow, which is slow

    return any((store.lake / table).is_dir() for table in LAKE_TABLES)


def _find_own(path: Path) -> int | None:
    """The descriptor of a path such as /dev/stdout or /dev/fd/3; None for any other path."""
    match = _OWN.fullmatch(os.path.abspath(path))
    return None if match is None else _OWN_NUMBERS.get(match["name"] or "") or int(match["number"])


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Python raises RuntimeError for a loop of links
        raise _explain(path, error) from None


def _explain(path: Path, error: Exception) -> OutputFileError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputFileError(f"{path}: cannot be written ({reason}). Check the path and its permissions.")
