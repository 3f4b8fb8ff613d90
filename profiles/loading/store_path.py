"""Where a store lies: the folder that a person names, as a path that every step can use."""

from __future__ import annotations

import os
from pathlib import Path

# DuckDB reads `?` as the beginning of options, and `\` as another `/`.
_UNUSABLE = "?\\"


class StorePathError(Exception):
    """A store cannot lie where it is said to; the message says why."""


def find_root(given: str | Path, start: Path) -> Path:
    """The absolute path of a store that is named from the folder `start`. Raises StorePathError."""
    try:
        # Of an unknown user nothing is known but that there is no home folder.
        path = start.absolute() / Path(given).expanduser()
    except RuntimeError:
        raise StorePathError(
            f"there is no home folder of that user (got {str(given)!r}). Write the whole path."
        ) from None
    try:
        is_taken = path.exists() and not path.is_dir()
        os.stat(path)
    except FileNotFoundError:
        is_taken = False
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorePathError(f"no folder can lie there: {reason} (got {str(given)!r}). Check the path.") from None
    if is_taken:
        raise StorePathError(f"is no folder (got {str(given)!r}). Name the folder of a store, or a new one.")
    if wrong := sorted({*os.path.realpath(path)} & {*_UNUSABLE}):
        raise StorePathError(
            f"must have no {' and no '.join(wrong)} in its path, which DuckDB takes for something else"
            f" (got {str(path)!r}). Choose another folder."
        )
    return path
