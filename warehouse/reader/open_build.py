"""Opens a build read-only, and explains why one cannot be opened (locked, no permission, damaged)."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.publish import UnreadableBuildError, current_build
from nightboard.warehouse.builder.sql_text import OFFLINE

_HOLDER = re.compile(r"Conflicting lock is held(?: in (?P<program>.+?))?(?: \(PID (?P<pid>\d+)\))?\.?(?: by user .*)?$")


def open_build(path: Path) -> duckdb.DuckDBPyConnection:
    """Open one build read-only. Raises UnreadableBuildError, which names the file and the process that holds it."""
    try:
        return duckdb.connect(str(path), read_only=True, config=OFFLINE)
    except duckdb.Error as error:
        raise UnreadableBuildError(explain_build(path, error)) from error


def open_current(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """Open the current build read-only. Raises NoBuildError if there is none, or it cannot be opened."""
    while True:
        path = current_build(warehouse)
        try:
            return open_build(path)
        except UnreadableBuildError:
            if path == current_build(warehouse):
                raise  # otherwise it was replaced and removed before it was opened


def explain_build(path: Path, error: duckdb.Error) -> str:
    """Why a build cannot be opened, and what to do."""
    reason = str(error).strip().splitlines()[0].partition(" See also ")[0]
    if holder := _HOLDER.search(reason):
        return (
            f"{path}: is open for writing in {_name_holder(holder)}. Close it there, and open builds with"
            " read_only=True; or run `nightboard rebuild` to make a new build."
        )
    if "different configuration" in reason:
        return f"{path}: this process has it open with other settings. Close that connection first."
    if "Permission denied" in reason:
        return f"{path}: cannot be read (permission denied). Ask its owner for read permission."
    return f"{path}: cannot be opened ({reason.rstrip('.')}). Run `nightboard rebuild` to make a new build."


def _name_holder(holder: re.Match[str]) -> str:
    pid, program = holder["pid"], holder["program"]
    if pid is None:
        return "another process"
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # on another machine, or already ended
        name = Path(program).name if program else "a process"
    return f"{name} (process {pid})"
