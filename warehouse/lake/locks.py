"""File locks and syncs on a shared file system, for concurrent writers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def open_lock(path: Path) -> IO[bytes]:
    """Open a file to lock it. In a group's store another member may own it; read permission is enough to lock it."""
    try:
        return open(path, "ab")
    except PermissionError:
        return open(path, "rb")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
