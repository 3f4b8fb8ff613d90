"""The Prefect server that a run reports to: the configured one, or a real server as a child of this process.

Owns the child's life, where its history lies and the settings that point this process at it. Knows nothing of flows.
Enter `prefect_server` before anything imports prefect: importing it makes a folder in the user's home, sets up logging
and, on a terminal, announces its telemetry. It works afterwards too, but these have happened then.

Not the server that Prefect would start in the background by itself: that one ends with stack traces and lock warnings.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

STARTUP_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
# A server whose run was killed a moment ago needs about 0.2 s to let go of its history.
LOCK_TIMEOUT_S = 2.0
START_ATTEMPTS = 3
LOOPBACK = "127.0.0.1"

# For this process whichever server is used; what the user has set himself stays.
QUIET_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # The history gets every line; the terminal is nightboard's own.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


class ServerError(Exception):
    """The Prefect server cannot be used; the message says what to do."""


@contextlib.contextmanager
def prefect_server(state_dir: Path) -> Iterator[str | None]:
    """Give the flows of this process a Prefect server; yields the address of the one that was started.

    Yields None where a server is configured (PREFECT_API_URL, a Prefect profile or prefect.toml): that one is used.
    Otherwise history stays in `state_dir` over the runs; a second run at the same time gets a history of its own, which
    is thrown away. Raises ServerError when the server does not come up.
    """
    state_dir = state_dir.resolve()
    _keep_prefect_quiet(state_dir)
    if is_server_configured():
        yield None
        return
    with _own_home(state_dir) as (home, lock), _running_server(home, state_dir / "server.log", lock) as url:
        with _environment(_client_settings(home, url)):
            yield url


def is_server_configured() -> bool:
    """Whether Prefect's settings name a server, wherever they come from."""
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def _keep_prefect_quiet(state_dir: Path) -> None:
    """Set what the user has not set, for the rest of this process."""
    for key, value in QUIET_SETTINGS.items():
        os.environ.setdefault(key, value)
    # Prefect makes its folder whenever it reads its settings. Where there is none yet, there is no profile to miss.
    if "PREFECT_HOME" not in os.environ and not (Path.home() / ".prefect").exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(state_dir)
    _reload_settings()


def _client_settings(home: Path, url: str) -> dict[str, str]:
    """What points this process and its children at the server, past any proxy."""
    bypass = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), LOOPBACK)))
    return {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "NO_PROXY": bypass, "no_proxy": bypass}


# --------------------------------------------------------------------------------------------------------- settings


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while, also for a Prefect that is already imported.

    `prefect.settings.temporary_settings` would not do: Prefect's threads that send logs and events do not see it.
    """
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        _reload_settings()
        yield
    finally:
        if "PREFECT_API_URL" in values:
            _send_what_is_left()
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        _reload_settings()


def _reload_settings() -> None:
    """Have Prefect read the environment again; where it is not imported yet it will do so by itself."""
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    if "prefect.main" in sys.modules:
        from prefect.logging.configuration import setup_logging

        setup_logging()


def _send_what_is_left() -> None:
    """Wait for the threads that send logs and events: cut off, they complain, and the history lacks the last states."""
    if "prefect.main" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=STOP_TIMEOUT_S)


# ---------------------------------------------------------------------------------------------------------- history


@contextlib.contextmanager
def _own_home(state_dir: Path) -> Iterator[tuple[Path, int]]:
    """The folder for the server's database, held by a lock: two servers on one SQLite file would lose runs.

    Yields the folder and the lock's file descriptor. The server inherits it, so that a lock outlives a killed run until
    its server has ended too.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    temporary = None
    try:
        if _try_lock(lock):
            yield state_dir, lock
        else:
            temporary = Path(tempfile.mkdtemp(prefix="nightboard-prefect-"))
            yield temporary, lock
    finally:
        os.close(lock)
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _try_lock(lock: int) -> bool:
    """Take the lock, or say within LOCK_TIMEOUT_S that another run has it (or that the file system cannot lock)."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        except OSError:
            return False
        time.sleep(0.1)


# ---------------------------------------------------------------------------------------------------------- process


@contextlib.contextmanager
def _running_server(home: Path, log: Path, lock: int) -> Iterator[str]:
    """A server with its database in `home`, stopped at the end; yields the address of its API."""
    process, url = _start_server(home, log, lock)
    try:
        yield url
    finally:
        _stop(process)


def _start_server(home: Path, log: Path, lock: int) -> tuple[subprocess.Popen[bytes], str]:
    """Start until it answers. A port that is free now may be taken a moment later: then the next one is tried."""
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    for _ in range(START_ATTEMPTS):
        port, log_size = _find_free_port(), log.stat().st_size if log.exists() else 0
        process = _spawn(home, log, lock, port)
        try:
            if _wait_until_healthy(process, port, deadline):
                return process, f"http://{LOOPBACK}:{port}/api"
        except BaseException:
            _stop(process)
            raise
        _stop(process)
        said = log.read_bytes()[log_size:].decode(errors="replace")
        if "already in use" not in said:
            break
    raise ServerError(_describe_failure(log, said))


def _spawn(home: Path, log: Path, lock: int, port: int) -> subprocess.Popen[bytes]:
    arguments = ["--host", LOOPBACK, "--port", str(port), "--log-level", "WARNING", "--analytics-off"]
    # Settings for another server must not reach this one, whether they come by environment or from the working folder.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "nightboard.flows.server_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=home,
            env=environment,
            pass_fds=[lock],
            # Ctrl-C is for this process, which still has things to tell the server.
            start_new_session=True,
        )


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, deadline: float) -> bool:
    """Whether the server answers before it ends or the time is up."""
    # A proxy in the environment is for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            with opener.open(f"http://{LOOPBACK}:{port}/api/health", timeout=5):
                return process.poll() is None
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, then insist."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def _describe_failure(log: Path, said: str) -> str:
    lines = "".join(f"\n  {line}" for line in said.splitlines()[-20:])
    return (
        f"{log}: the Prefect server did not come up within {STARTUP_TIMEOUT_S:.0f} s. Its last lines are below. A "
        f"server that was started by hand (prefect server start) is used when PREFECT_API_URL names it.{lines}"
    )
