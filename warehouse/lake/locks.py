"""Locks and syncs of files on a shared file system, for whoever writes beside others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def open_lock(path: Path) -> IO[bytes]:
    """A file to lock. In a group's store another member may have made it: whoever may read it can lock it, too."""
    try:
        return open(path, "ab")
    except PermissionError:
        return open(path, "rb")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
