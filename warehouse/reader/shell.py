"""Starts DuckDB's own shell on the current build, read-only (`nightboard sql --shell`).

The shell can read the build and the Parquet files of its samples. Its safe mode rejects every other file, system
commands, extensions, and changes of these settings. It cannot reject `copy ... to` one of the samples files by its full
path; only the files' permissions can.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nightboard.warehouse.builder.publish import current_build
from nightboard.warehouse.builder.sql_text import literal
from nightboard.warehouse.errors import WarehouseError
from nightboard.warehouse.reader.connection import connect, find_lake, list_readable_files, tell_lake

_IS_LOCKED = "select current_setting('lock_configuration') and not current_setting('enable_external_access')"


class ShellError(WarehouseError):
    """The shell is not installed, or cannot open the build safely; the message says what to do."""


def open_shell(warehouse: Path) -> int:
    """Run the shell until the user leaves it; returns its exit code. Raises ShellError, or NoBuildError."""
    build = current_build(warehouse)
    with _guard(warehouse) as guard:
        command = [*_find_shell(), "-readonly", "-cmd", f".read '{guard}'", str(build)]
        _try(command)
        process = subprocess.Popen(command)
        while True:
            # Ctrl-C is for the shell, which stops the running query.
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def _find_shell() -> list[str]:
    if importlib.util.find_spec("duckdb_cli") is not None:
        return [sys.executable, "-P", "-m", "duckdb_cli"]
    if program := shutil.which("duckdb"):
        return [program]
    raise ShellError(
        f"DuckDB's own shell is not installed. Run `{sys.executable} -m pip install duckdb-cli`, or put duckdb on PATH."
    )


@contextlib.contextmanager
def _guard(warehouse: Path) -> Iterator[Path]:
    """A file with the commands that lock the shell."""
    lake = find_lake(warehouse)
    with connect(warehouse) as con:
        paths = ", ".join(map(literal, list_readable_files(con, lake)))
    with tempfile.TemporaryDirectory(prefix="nightboard-") as folder:
        path = Path(folder) / "guard.sql"
        path.write_text(
            "set TimeZone = 'UTC';\n"
            f"{tell_lake(lake)};\n"
            "set autoinstall_known_extensions = false;\n"
            "set autoload_known_extensions = false;\n"
            f"set allowed_paths = [{paths}];\n"
            ".safe_mode\n"
        )
        yield path


def _try(command: list[str]) -> None:
    """Open and close the shell once as a test, because an interactive shell continues unlocked after an error."""
    check = [*command[:-1], "-no-init", "-bail", "-csv", "-noheader", command[-1], _IS_LOCKED]
    process = subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if process.returncode != 0 or process.stdout.strip() != "true":
        reason = " ".join((process.stderr or process.stdout).split()) or "no reason given"
        raise ShellError(
            f"{command[-1]}: DuckDB's shell cannot open it read-only and locked ({reason})."
            f" Install a newer one: {sys.executable} -m pip install --upgrade duckdb-cli"
        )
