"""Writes files of a store: atomic replacement by a rename, or a claim (create only if new) by a link.

Also sets the umask, and turns errors of the file system into StoreError.
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


# The user's own umask; and the one that applies from `set_umask` on.
_USERS_UMASK = _read_umask()
# Temporary files are private; the final files are readable like other files of the user, and not writable by others.
_umask = _USERS_UMASK | 0o022


def set_umask(*, is_of_group: bool) -> None:
    """Set the umask of this process and its children: others cannot write new files, except a group in its store."""
    global _umask
    _umask = (_USERS_UMASK & 0o007) | 0o002 if is_of_group else _USERS_UMASK | 0o022
    os.umask(_umask)


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Write `path` completely or not at all: the file is renamed after its bytes are on disk.

    Raises StoreError with the path if the disk is full; the partial file is removed.
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
    """Write `path` completely or not at all."""
    with replace_atomically(path) as file:
        file.write(data)


def claim_file(path: Path, data: bytes) -> bool:
    """Create `path` with `data` atomically; False if it already exists.

    A hard link is the only way to create a file with content atomically, also on NFS.
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
    """Create folder `path` with `files` atomically; False if it already exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        temporary.chmod(0o777 & ~_umask)
        # Renaming onto a folder that is not empty fails, so the first process wins.
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
            f"{path}: cannot write here ({error.strerror}). Choose another store, or change its permissions."
        )
    return error
