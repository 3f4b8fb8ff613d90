"""The files of builds: their names, the pointer to the current one, the lock, and the removal of old builds.

A build is one immutable file; its contents are made elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
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
    if pointer.is_file():
        return pointer.resolve()
    if os.path.lexists(pointer):
        raise UnreadableBuildError(
            f"{pointer}: does not lead to a build. Run `nightboard rebuild` to make a new build."
        )
    if not warehouse.parent.is_dir():
        raise NoBuildError(
            f"{warehouse.parent}: there is no store here. Check the path, or run `nightboard nightly` first."
        )
    raise NoBuildError(f"{warehouse}: no warehouse yet. Run `nightboard nightly` or `nightboard rebuild` first.")


@contextlib.contextmanager
def lock_builds(warehouse: Path) -> Iterator[None]:
    """Let one build at a time list the lake and replace the pointer, so that a later build never has less data.

    At the end, what is unfinished is removed, also that of killed builds: nobody works on it, because of the lock.
    """
    warehouse.mkdir(parents=True, exist_ok=True)
    with open_lock(warehouse / ".build.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            remove_unfinished(warehouse)


def remove_unfinished(folder: Path) -> None:
    """Remove hidden files and folders that are not whole; of other members, in a sticky folder, those that it can."""
    for path in folder.glob(".*.tmp*"):
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # it was a folder, or is another member's, in a sticky folder
            path.unlink()


def publish_build(temporary: Path, warehouse: Path, build_id: str) -> Path:
    """Give a finished build its name and point to it; until then, readers see the old one."""
    path = warehouse / f"nightboard-{build_id}.duckdb"
    # Read-only, because opening it for writing by mistake would lock out all readers.
    temporary.chmod(temporary.stat().st_mode & 0o444)
    sync(temporary)
    os.replace(temporary, path)
    pointer = warehouse / f".nightboard-{build_id}.tmp-pointer"
    os.symlink(path.name, pointer)
    os.replace(pointer, warehouse / POINTER)
    sync(warehouse)
    with contextlib.suppress(OSError):  # the build is done; the next one removes what this one could not
        _remove_old(warehouse, path)
    return path


def kept_builds(warehouse: Path) -> list[Path]:
    """All existing builds, newest first."""
    paths = warehouse.glob("nightboard-*.duckdb")
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _remove_old(warehouse: Path, current: Path) -> None:
    """Remove old builds that no process reads; the newest ones are kept.

    DuckDB holds a read lock on the file of every open database. While this process holds a write lock, no other can
    open it. Builds of another group member are left for that member's next build.
    """
    others = [path for path in kept_builds(warehouse) if path != current]
    for path in others[KEPT_BUILDS - 1 :]:
        mode = path.stat().st_mode
        with contextlib.suppress(PermissionError):
            path.chmod(mode | stat.S_IWUSR)
            with open(path, "rb+") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                except (BlockingIOError, PermissionError):  # both mean that another process holds a lock
                    path.chmod(mode)
