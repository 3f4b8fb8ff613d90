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
    target = _resolve(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target):
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
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        todo = "Make room on the disk, then run it again." if is_full else "Check the path and its permissions."
        raise PageError(
            f"{target}: the page cannot be written ({error.strerror or error}). A page that is there stays. {todo}"
        ) from error


def _resolve(target: Path) -> Path:
    """The whole path; a link to a page stays a link, whose target is replaced."""
    try:
        return target.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # Python raises RuntimeError for a loop of links
        raise PageError(f"{target}: the page cannot be written ({error}). Name another folder with --out.") from error


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Let one process at a time publish to a folder; a process that dies lets go of it."""
    with open(target.parent / f".{target.name}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


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
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0)


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
