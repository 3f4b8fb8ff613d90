"""What a command prints after an unexpected error: one sentence, and the path of a file with the traceback."""

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
    """One sentence with the path of the traceback; the traceback itself where no file can be written."""
    if isinstance(error, MemoryError):
        what = "not enough memory"
    else:
        first_line = next(iter(str(error).strip().splitlines()), "")
        what = f"unexpected error: {type(error).__name__}{f': {first_line}' if first_line else ''}"
    try:
        return clean(f"{what[:500]}. Its traceback is in {_write_log(error)}; please report it with this file.")
    except OSError:
        return clean(f"{what[:500]}. {''.join(traceback.format_exception(error))}")


def _write_log(error: BaseException) -> Path:
    """Write a file that only this user can read: it may contain private paths and names."""
    handle, name = tempfile.mkstemp(prefix="nightboard-error-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"nightboard {metadata.version('nightboard')}, Python {platform.python_version()}: {sys.argv[1:]}\n")
        file.writelines(traceback.format_exception(error))
    return Path(name)
