"""What a command says when something happens that nobody foresaw: one sentence, and a file with the rest."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path

from nightboard.flows.display.console import clean


def describe_crash(error: BaseException) -> str:
    """One sentence on an error, and where its traceback is; all of it where no file can be written."""
    if isinstance(error, MemoryError):
        what = "there is not enough memory"
    else:
        said = next(iter(str(error).strip().splitlines()), "")
        what = f"an error that nobody foresaw, {type(error).__name__}{f': {said}' if said else ''}"
    try:
        return clean(f"{what[:500]}. Its traceback is in {_write_log(error)}; please report it with that file.")
    except OSError:
        return clean(f"{what[:500]}. {''.join(traceback.format_exception(error))}")


def _write_log(error: BaseException) -> Path:
    """The file is this user's alone: a path or a name in it may be nobody else's business."""
    handle, name = tempfile.mkstemp(prefix="nightboard-error-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"nightboard {metadata.version('nightboard')}, Python {platform.python_version()}: {sys.argv[1:]}\n")
        file.writelines(traceback.format_exception(error))
    return Path(name)
