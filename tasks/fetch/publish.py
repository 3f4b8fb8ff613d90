"""Atomic creation of a folder in the cache: built in a temporary folder by one process at a time, then renamed.

Also turns errors of downloads into FetchError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from nightboard.profiles.models.endings import Ending
from nightboard.tasks.errors import TaskError
from nightboard.tasks.hub.errors import HubError, HubUnavailable
from nightboard.tasks.hub.model_folder import remove_folder
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import RecordError
from nightboard.warehouse.lake.locks import open_lock

# Errors that no repository causes: no download works until the store is repaired.
_STORE_ERRNOS = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOTCONN}
)


class FetchError(TaskError):
    """A download failed; the message says what and why."""

    @property
    def ending(self) -> Ending:
        """The ending of an attempt that needs it: fault of the repository, or of a Hub that answers with errors."""
        return "hub_failed" if isinstance(self.__cause__, HubUnavailable) else "fetch_failed"


@contextlib.contextmanager
def build_alone(folder: Path) -> Iterator[Path]:
    """A temporary folder next to `folder`, locked by one process at a time; keeps what a killed process left there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    with open_lock(folder.with_name(f".{folder.name}.lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            # A file system without locks: each process builds its own, and the rename lets one win.
            part = folder.with_name(f"{part.name}.{uuid4().hex}")
        part.mkdir(exist_ok=True)
        yield part
        with contextlib.suppress(OSError):
            part.rmdir()


def has_files(folder: Path, files: Iterable[str]) -> bool:
    """Whether all files exist in the folder."""
    return all((folder / path).is_file() for path in files)


def put_in_place(part: Path, folder: Path, files: Iterable[str]) -> None:
    """Rename the finished folder. A complete folder that already exists is kept; an incomplete one is replaced."""
    if folder.exists() and not has_files(folder, files):
        remove_folder(folder)
    try:
        os.rename(part, folder)
    except OSError:
        if not has_files(folder, files):
            raise
        shutil.rmtree(part)


@contextlib.contextmanager
def explaining(name: str, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn errors into FetchError, except the types in `passing`."""
    try:
        yield
    except passing:
        raise
    except HubError as error:
        raise FetchError(str(error)) from error
    except RecordError as error:
        raise FetchError(f"{error} Remove the file and try again.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # Not a fault of this model: no download works until there is free space.
            raise StoreError(
                f"{name}: no space left on the store's disk. Free some space and run it again; nothing is lost."
            ) from error
        if error.errno in _STORE_ERRNOS:
            raise StoreError(
                f"{error.filename or name}: the store's cache cannot be written ({error.strerror}). Check its disk and"
                " its permissions."
            ) from error
        raise FetchError(f"{name}: {error.strerror or error} ({error.filename or 'while writing'}).") from error
