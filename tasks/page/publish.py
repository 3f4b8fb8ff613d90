"""Publishes a page: writes a whole new folder beside the old one and puts it in its place.

A reader sees the old page or the new one. The old one stays if the disk is full or the process is killed; of two
publishers at once, the last one's page is there, whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nightboard.tasks.errors import TaskError

# What marks a folder as a page of nightboard's, which may be replaced.
MARKER = ".nightboard-page"


class PageError(TaskError):
    """The page cannot be written; the message says what to do."""


@contextlib.contextmanager
def publish(target: Path) -> Iterator[Path]:
    """A new folder to be filled, which takes the place of `target` at the end.

    Raises PageError for a folder that holds something else, and where nothing can be written.
    """
    target = target.absolute()
    _require_page(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / f".{target.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_rests(target)
            folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new-"))
            try:
                yield folder
                (folder / MARKER).touch()
                folder.chmod(0o755)
                _replace(folder, target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PageError(f"{target}: cannot be written ({error.strerror}). The page that is there stays.") from error


def _require_page(target: Path) -> None:
    if target.exists() and not (target / MARKER).exists() and (not target.is_dir() or any(target.iterdir())):
        raise PageError(f"{target}: holds files that are no page of nightboard's. Name another folder with --out.")


def _replace(folder: Path, target: Path) -> None:
    """Put the folder in the place of the old one."""
    old = target.parent / f".{target.name}.old-{os.getpid()}"
    if target.exists():
        target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_rests(target: Path) -> None:
    """What a publisher that was killed has left; a page that it had just moved away comes back."""
    for rest in sorted(target.parent.glob(f".{target.name}.old-*")):
        if target.exists():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            rest.rename(target)
    for rest in target.parent.glob(f".{target.name}.new-*"):
        shutil.rmtree(rest, ignore_errors=True)
