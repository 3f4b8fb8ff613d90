"""The files of builds: their names, the pointer to the current one, the lock, and the removal of old builds.

A build is one immutable file; its contents are made elsewhere.
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
"""Called during long work with its name, the finished amount and the total."""


class NoBuildError(WarehouseError):
    """The store has no warehouse yet; the message says how to build one."""


class UnreadableBuildError(NoBuildError):
    """A build exists but cannot be opened; the message names the file and the reason."""


def current_build(warehouse: Path) -> Path:
    """Real path of the current build.

    Never open the pointer itself: a process that connects to the same path again gets the build that it opened first.
    Raises NoBuildError if nothing was ever built, UnreadableBuildError if the pointer leads to no file.
    """
    pointer = warehouse / POINTER
    try:
        path = pointer.resolve(strict=True)
        is_file = path.is_file()
    except FileNotFoundError:
        if not warehouse.parent.is_dir():
            raise NoBuildError(f"{warehouse.parent}: there is no store here. Check the path.") from None
        raise NoBuildError(
            f"{warehouse}: no warehouse yet. Run `nightboard nightly` or `nightboard rebuild` first."
        ) from None
    except (RuntimeError, OSError) as error:  # Python raises RuntimeError for a loop of links
        raise UnreadableBuildError(describe_pointer(pointer, getattr(error, "strerror", None) or str(error))) from None
    if not is_file:
        raise UnreadableBuildError(describe_pointer(pointer, "it is not a file"))
    return path


def describe_pointer(pointer: Path, reason: str) -> str:
    """The message for a pointer that leads to no build."""
    return f"{pointer}: does not lead to a build ({reason}). Run `nightboard rebuild` to make a new build."


def name_build(now: datetime) -> str:
    """A unique name that sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def lock_builds(warehouse: Path) -> Iterator[None]:
    """Let one build at a time list the lake and replace the pointer, so that a later build never has less data."""
    warehouse.mkdir(parents=True, exist_ok=True)
    with open_lock(warehouse / ".build.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def temporary_build(warehouse: Path, build_id: str) -> Iterator[Path]:
    """Path for an unfinished build. At the end, a file there and the leftovers of killed builds are removed.

    Call this under the lock: only the lock distinguishes a leftover from a build in progress.
    """
    _remove_temporaries(warehouse)
    try:
        yield warehouse / f".nightboard-{build_id}.tmp"
    finally:
        _remove_temporaries(warehouse)


def publish_build(temporary: Path, warehouse: Path, build_id: str) -> Path:
    """Give a finished build its name and point to it; until then, readers see the old one."""
    path = warehouse / f"nightboard-{build_id}.duckdb"
    # Read-only, because opening it for writing by mistake would lock out all readers.
    temporary.chmod(temporary.stat().st_mode & 0o444)
    sync(temporary)
    os.replace(temporary, path)
    pointer = warehouse / f".nightboard-{build_id}.tmp-pointer"
    os.symlink(path.name, pointer)
    _clear_pointer(warehouse / POINTER, build_id)
    os.replace(pointer, warehouse / POINTER)
    sync(warehouse)
    with contextlib.suppress(OSError):  # the build is done; the next one removes what this one could not
        _remove_old(warehouse, path)
    return path


def _clear_pointer(pointer: Path, build_id: str) -> None:
    """Move away a folder that has the pointer's name, because a rename cannot replace it."""
    if pointer.is_dir() and not pointer.is_symlink():
        pointer.rename(pointer.with_name(f"not-a-build-{build_id}"))


def kept_builds(warehouse: Path) -> list[Path]:
    """All existing builds, newest first."""
    files = [path for path in warehouse.glob("nightboard-*.duckdb") if path.is_file()]
    return sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)


def _remove_old(warehouse: Path, current: Path) -> None:
    """Remove old builds that no process reads; the newest ones are kept.

    Builds of another group member are left for that member's next build.
    """
    others = [path for path in kept_builds(warehouse) if path.name != current.name]
    for path in others[KEPT_BUILDS - 1 :]:
        with contextlib.suppress(PermissionError):
            _remove_unread(path)


def _remove_unread(path: Path) -> None:
    # DuckDB holds a read lock on the file of every open database. While this process holds a write lock, no other can
    # open it.
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    with open(path, "rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except (BlockingIOError, PermissionError):  # both mean that another process holds a lock
            path.chmod(mode)


def _remove_temporaries(warehouse: Path) -> None:
    for path in warehouse.glob(".nightboard-*.tmp*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(PermissionError):  # another member's file, in a sticky folder
                path.unlink()
