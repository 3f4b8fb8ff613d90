"""The path of a store: turns the folder that a user names into an absolute path, and rejects unusable ones."""

from __future__ import annotations

import os
from pathlib import Path

# DuckDB reads `?` as the beginning of options, and `\` as another `/`.
_UNUSABLE = "?\\"


class StorePathError(Exception):
    """A path cannot be used for a store; the message says why."""


def find_root(given: str | Path, start: Path) -> Path:
    """The absolute path of a store; a relative path starts at the folder `start`. Raises StorePathError."""
    try:
        # expanduser raises RuntimeError for `~unknown-user`.
        path = start.absolute() / Path(given).expanduser()
    except RuntimeError:
        raise StorePathError(
            f"the user of that home folder is unknown (got {str(given)!r}). Write the full path."
        ) from None
    try:
        is_taken = path.exists() and not path.is_dir()
        os.stat(path)
    except FileNotFoundError:
        is_taken = False
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorePathError(f"cannot be used as a folder: {reason} (got {str(given)!r}). Check the path.") from None
    if is_taken:
        raise StorePathError(f"is not a folder (got {str(given)!r}). Name the folder of a store, or a new folder.")
    if wrong := sorted({*os.path.realpath(path)} & {*_UNUSABLE}):
        raise StorePathError(
            f"must not contain {' or '.join(wrong)}, which DuckDB does not read as part of a path"
            f" (got {str(path)!r}). Choose another folder."
        )
    return path
