"""Publishes a page: writes a whole new folder beside the old one and puts it in its place.

A reader sees the old page or the new one. The old one stays if the disk is full or the process is killed; of two
publishers at once, the last one's page is there, whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nightboard.tasks.errors import TaskError

# What marks a folder as a page of nightboard's, which may be replaced.
MARKER = ".nightboard-page"
# renameat2(2): swap two names at once; paths are relative to the working folder.
_EXCHANGE, _AT_FDCWD = 2, -100


class PageError(TaskError):
    """The page cannot be written; the message says what to do."""


@contextlib.contextmanager
def publish(target: Path) -> Iterator[Path]:
    """A new folder to be filled, which takes the place of `target` at the end. Others wait until it has.

    Raises PageError for a folder that holds something else, and where nothing can be written.
    """
    try:
        target = target.resolve()  # a link to a page stays a link
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / f".{target.name}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_rests(target)
            _require_page(target)
            folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new-"))
            try:
                yield folder
                (folder / MARKER).touch()
                folder.chmod(0o755)
                _replace(folder, target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RuntimeError) as error:  # Python raises RuntimeError for a loop of links
        if isinstance(error, RuntimeError) and "loop" not in str(error).lower():
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise PageError(f"{target}: the page cannot be written ({reason}). {_advise(error)}") from error


def _advise(error: Exception) -> str:
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    todo = "Make room on the disk, then run it again." if is_full else "Check the path and its permissions."
    return f"A page that is there stays. {todo}"


def _require_page(target: Path) -> None:
    if target.exists() and not (target / MARKER).exists() and (not target.is_dir() or any(target.iterdir())):
        raise PageError(f"{target}: holds files that are no page of nightboard's. Name another folder with --out.")


def _replace(folder: Path, target: Path) -> None:
    """Put the folder in the place of the old one: at once, where the file system can swap two names."""
    if not target.exists():
        folder.rename(target)
    elif not _exchange(folder, target):
        old = target.parent / f".{target.name}.old-{os.getpid()}"
        target.rename(old)
        try:
            folder.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0


def _remove_rests(target: Path) -> None:
    """What a publisher that was killed has left; a page that it had just moved away comes back."""
    for rest in _find_rests(target, "old"):
        if target.exists():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            rest.rename(target)
    for rest in _find_rests(target, "new"):
        shutil.rmtree(rest, ignore_errors=True)


def _find_rests(target: Path, kind: str) -> list[Path]:
    return sorted(path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}.{kind}-"))
