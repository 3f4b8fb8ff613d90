"""A PostgreSQL of Debian's package for one test, in a temporary folder and on loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USER = "postgres"


def find_programs() -> Path | None:
    """The folder of the newest PostgreSQL that can be started here; it refuses to run as root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return None
    return found[-1].parent if found else None


@contextlib.contextmanager
def serve_postgres(programs: Path) -> Iterator[str]:
    """A fresh database; yields its address for SQLAlchemy with asyncpg."""
    as_user: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    # Not below pytest's folder, which is root's alone.
    folder = Path(tempfile.mkdtemp(prefix="nightboard-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        if as_user:
            shutil.chown(folder, USER, USER)
        data = str(folder / "data")
        initdb = [str(programs / "initdb"), "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **as_user)
        options = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}", "fsync=off"]
        command = [str(programs / "postgres"), "-D", data, *(word for option in options for word in ("-c", option))]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **as_user) as server,
        ):
            try:
                _wait_until_ready(programs, port, folder / "log")
                yield f"postgresql+asyncpg://{USER}@127.0.0.1:{port}/postgres"
            finally:
                # Its own word for: now, whoever is connected.
                server.send_signal(signal.SIGINT)
                server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(programs: Path, port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def ask(programs: Path, url: str, query: str) -> str:
    """What psql prints."""
    command = [str(programs / "psql"), url.replace("+asyncpg", ""), "-At", "-c", query]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
