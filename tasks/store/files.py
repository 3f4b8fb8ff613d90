"""Where everything lies in a store, and the two ways anything gets there: an atomic rename, or a link that must be new.

Owns paths and atomic writes on the store's file system. Knows nothing of what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nightboard.tasks.store.layout import StoreError


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


# What the user who started this process keeps from others; and what holds from `set_umask` on.
_USERS_UMASK = _read_umask()
# Temporary files are private; what they become is as readable as any file of this user's, and never open to writers.
_umask = _USERS_UMASK | 0o022


def set_umask(*, is_of_group: bool) -> None:
    """Let this process and its children make nothing that others may write to, but a group in its own store."""
    global _umask
    _umask = (_USERS_UMASK & 0o007) | 0o002 if is_of_group else _USERS_UMASK | 0o022
    os.umask(_umask)


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Write `path` whole or not at all: the name changes only after the bytes are on disk.

    Raises StoreError with the path when the disk is full; the half-written file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~_umask)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _explain(error, path) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all."""
    with replace_atomically(path) as file:
        file.write(data)


def claim_file(path: Path, data: bytes) -> bool:
    """Create `path` with `data`, complete from its first moment; False when somebody else already has.

    A hard link is the one creation that is atomic, with content, on NFS too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o666 & ~_umask)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise _explain(error, path) from error
    finally:
        os.unlink(temporary)
    return True


def claim_dir(path: Path, files: dict[str, bytes]) -> bool:
    """Create folder `path` with `files`, complete from its first moment; False when it already exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        temporary.chmod(0o777 & ~_umask)
        # Renaming a folder onto one that is not empty fails, so the first one wins.
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise _explain(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _explain(error: OSError, path: Path) -> OSError | StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"{path}: no space left on the disk. Free some space and run the same command again; nothing is lost."
        )
    if error.errno in (errno.EACCES, errno.EROFS):
        return StoreError(
            f"{path}: cannot write here ({error.strerror}). Choose another store or change its permissions."
        )
    return error
