"""The folder of builds: their names, the pointer to the current one, the lock, and what is kept.

A build is one immutable file. Owns everything about such files but what is in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.lake.locks import open_lock, sync

POINTER = "current.duckdb"
KEPT_BUILDS = 3

Report = Callable[[str, int, int], None]
"""Called during long work: what is done, how much of it, and of how much."""


class NoBuildError(WarehouseError):
    """The store has no warehouse yet; the message says how to get one."""


class UnreadableBuildError(NoBuildError):
    """There is a build, but it cannot be opened; the message names the file and says why."""


def current_build(warehouse: Path) -> Path:
    """Real path of the current build.

    Never open the pointer itself: a second connection of one process to one path sees the build it saw first.
    Raises NoBuildError when nothing was ever built, UnreadableBuildError for a pointer that leads to no file.
    """
    pointer = warehouse / POINTER
    try:
        path = pointer.resolve(strict=True)
        is_file = path.is_file()
    except FileNotFoundError:
        raise NoBuildError(
            f"{warehouse}: no warehouse yet. Run `nightboard nightly` or `nightboard rebuild` first."
        ) from None
    except (RuntimeError, OSError) as error:  # Python tells a loop of links as a RuntimeError
        raise UnreadableBuildError(describe_pointer(pointer, getattr(error, "strerror", None) or str(error))) from None
    if not is_file:
        raise UnreadableBuildError(describe_pointer(pointer, "it is no file"))
    return path


def describe_pointer(pointer: Path, reason: str) -> str:
    """That a pointer leads to no build."""
    return f"{pointer}: does not lead to a build ({reason}). Run `nightboard rebuild`, which makes a new one."


def name_build(now: datetime) -> str:
    """A name that sorts by time and that no other build has."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def lock_builds(warehouse: Path) -> Iterator[None]:
    """Let one build at a time look at the lake and replace the pointer, so that a later one has never read less."""
    warehouse.mkdir(parents=True, exist_ok=True)
    with open_lock(warehouse / ".build.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def temporary_build(warehouse: Path, build_id: str) -> Iterator[Path]:
    """Path for a build that is not finished. Whatever lies there at the end goes, and so do leftovers of killed builds.

    Call it under the lock: a leftover is told from a build that is being made by nothing else.
    """
    _remove_temporaries(warehouse)
    try:
        yield warehouse / f".nightboard-{build_id}.tmp"
    finally:
        _remove_temporaries(warehouse)


def publish_build(temporary: Path, warehouse: Path, build_id: str) -> Path:
    """Give a finished build its name and point to it; readers see the old one until the last moment."""
    path = warehouse / f"nightboard-{build_id}.duckdb"
    # Opened for writing by mistake, it would be locked for all other readers.
    temporary.chmod(temporary.stat().st_mode & 0o444)
    sync(temporary)
    os.replace(temporary, path)
    pointer = warehouse / f".nightboard-{build_id}.tmp-pointer"
    os.symlink(path.name, pointer)
    _clear_pointer(warehouse / POINTER, build_id)
    os.replace(pointer, warehouse / POINTER)
    sync(warehouse)
    with contextlib.suppress(OSError):  # the build is there; what cannot be removed now is left for the next one
        _remove_old(warehouse, path)
    return path


def _clear_pointer(pointer: Path, build_id: str) -> None:
    """Put aside a folder that stands in the pointer's place: no rename could take it."""
    if pointer.is_dir() and not pointer.is_symlink():
        pointer.rename(pointer.with_name(f"not-a-build-{build_id}"))


def kept_builds(warehouse: Path) -> list[Path]:
    """All builds that are still there, newest first."""
    files = [path for path in warehouse.glob("nightboard-*.duckdb") if path.is_file()]
    return sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)


def _remove_old(warehouse: Path, current: Path) -> None:
    """Remove all but the newest builds and those that somebody reads, who may still need the files that they name.

    What another member of the group has built is left for that member's next build.
    """
    others = [path for path in kept_builds(warehouse) if path.name != current.name]
    for path in others[KEPT_BUILDS - 1 :]:
        with contextlib.suppress(PermissionError):
            _remove_unread(path)


def _remove_unread(path: Path) -> None:
    # DuckDB holds a read lock on the file of every open database. Under ours, which needs a file open for writing,
    # nobody opens it any more.
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    with open(path, "rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except (BlockingIOError, PermissionError):  # the two ways in which systems say that somebody holds a lock
            path.chmod(mode)


def _remove_temporaries(warehouse: Path) -> None:
    for path in warehouse.glob(".nightboard-*.tmp*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(PermissionError):  # another member's, in a folder that keeps each to its own
                path.unlink()
