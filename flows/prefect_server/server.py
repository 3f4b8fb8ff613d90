"""The Prefect server that a run is reported to: the configured one, or a real server as a child of this process.

Owns the child's life, where its history lies and how either is spoken to. Knows nothing of flows, and prints nothing.
Call `keep_prefect_quiet` before anything imports prefect: importing it makes a folder in the user's home, sets up
logging and, on a terminal, announces its telemetry. It works afterwards too, but these have happened then.

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
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


# No run waits for the server while it starts; on a busy machine that takes minutes.
STARTUP_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 10.0
# A server whose run was killed a moment ago needs about 0.2 s to let go of its history.
LOCK_TIMEOUT_S = 2.0
PORTS_TRIED = 3
# A server that dies so often will die again.
MOST_STARTS = 3
# A server that does not answer within this time is as good as away.
REQUEST_TIMEOUT_S = 10.0
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
# For a process that only reports: its reporter knows when to try again.
REPORTING_SETTINGS = QUIET_SETTINGS | {"PREFECT_CLIENT_MAX_RETRIES": "0"}


class ServerError(Exception):
    """The Prefect server cannot be used; the message says why, in one line."""


class Server(Protocol):
    """What a run is reported to. `name` is what an operator knows it by."""

    name: str

    def open_client(self) -> SyncPrefectClient:
        """A client of the server, which is started where it is ours and does not run. Raises ServerError."""
        ...

    def stop(self) -> None:
        """End what was started; also while another thread starts it."""
        ...


def find_server(state_dir: Path) -> Server:
    """The configured server (PREFECT_API_URL, a Prefect profile or prefect.toml), else one of our own.

    The own one keeps its history in `state_dir` over the runs; that of a second run at the same time gets a history of
    its own, which is thrown away.
    """
    return ConfiguredServer() if is_server_configured() else OwnServer(state_dir)


@contextlib.contextmanager
def open_server(state_dir: Path) -> Iterator[str]:
    """The address of the configured server's pages; where none is, one of our own is this process's until this closes.

    Raises ServerError.
    """
    server = find_server(state_dir)
    try:
        if isinstance(server, OwnServer):
            with server.open_client():
                os.environ["PREFECT_API_URL"] = str(server.url)
            _read_settings_again()
        yield _find_pages()
    finally:
        server.stop()


def _find_pages() -> str:
    from prefect.settings import get_current_settings

    return str(get_current_settings().ui_url or get_current_settings().api.url)


def is_server_configured() -> bool:
    """Whether Prefect's settings name a server, wherever they come from."""
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def keep_prefect_quiet(state_dir: Path, settings: Mapping[str, str] = QUIET_SETTINGS) -> None:
    """Set what the user has not set, for the rest of this process."""
    for key, value in settings.items():
        os.environ.setdefault(key, value)
    # Prefect makes its folder whenever it reads its settings. Where there is none yet, there is no profile to miss.
    if "PREFECT_HOME" not in os.environ and not (Path.home() / ".prefect").exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(state_dir.resolve())
    _read_settings_again()


def _read_settings_again() -> None:
    """Prefect reads its settings once, when it is imported."""
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


class ConfiguredServer:
    """The server that Prefect's settings name, spoken to with the key and the certificates that they name."""

    def __init__(self) -> None:
        from prefect.settings import get_current_settings

        self.name = f"the Prefect server at {get_current_settings().api.url}"

    def open_client(self) -> SyncPrefectClient:
        """Never fails: whether the server is there is seen by what is asked of it."""
        from prefect.client.orchestration import get_client

        return get_client(httpx_settings={"timeout": REQUEST_TIMEOUT_S}, sync_client=True)

    def stop(self) -> None:
        """It is not ours."""


class OwnServer:
    """A server process that lives as long as this one and is started again when it dies."""

    def __init__(self, state_dir: Path) -> None:
        self.name = "nightboard's own Prefect server"
        self._state_dir = state_dir.resolve()
        # Settings for another server must not reach this one. Taken now: later the other thread may change them.
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._cleaning = contextlib.ExitStack()
        self._home: tuple[Path, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._n_starts = 0
        self.url: str | None = None

    @property
    def pid(self) -> int | None:
        """The server's process; None before it was started."""
        return self._process.pid if self._process else None

    @property
    def home(self) -> Path | None:
        """The folder of its database; None before it was started."""
        return self._home[0] if self._home else None

    def open_client(self) -> SyncPrefectClient:
        """Start the server where it does not run; so often and no more."""
        with self._starting:
            if self._process is None or self._process.poll() is not None:
                self._start()
        from prefect.client.orchestration import SyncPrefectClient

        assert self.url is not None
        # A proxy in the environment is for the world outside.
        return SyncPrefectClient(self.url, httpx_settings={"timeout": REQUEST_TIMEOUT_S, "trust_env": False})

    def stop(self) -> None:
        """End the process, give back the folder."""
        self._stopping.set()
        with self._starting:
            if self._process:
                _stop(self._process)
            self._cleaning.close()

    def _start(self) -> None:
        if self._n_starts == MOST_STARTS or self._stopping.is_set():
            raise ServerError(f"it ended {self._n_starts} times; its log is {self._state_dir / 'server.log'}")
        self._n_starts += 1
        if self._process:
            _stop(self._process)
        self._home = self._home or self._cleaning.enter_context(_own_home(self._state_dir))
        self._process, self.url = self._start_until_it_answers(*self._home)

    def _start_until_it_answers(self, home: Path, lock: int) -> tuple[subprocess.Popen[bytes], str]:
        """A port that is free now may be taken a moment later: then the next one is tried."""
        log, deadline = self._state_dir / "server.log", time.monotonic() + STARTUP_TIMEOUT_S
        for _ in range(PORTS_TRIED):
            port, log_size = _find_free_port(), log.stat().st_size if log.exists() else 0
            process = _spawn(home, log, lock, port, self._environment)
            try:
                if _wait_until_healthy(process, port, deadline, self._stopping):
                    return process, f"http://{LOOPBACK}:{port}/api"
            except BaseException:
                _stop(process)
                raise
            has_ended = process.poll() is not None
            _stop(process)
            if b"already in use" not in log.read_bytes()[log_size:]:
                break
        how = "ended before it answered" if has_ended else f"did not come up within {STARTUP_TIMEOUT_S:.0f} s"
        raise ServerError(f"the server {how}; its log is {log}")


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


def _spawn(home: Path, log: Path, lock: int, port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the process in its own folder: a prefect.toml of the working folder is for another server."""
    arguments = ["--host", LOOPBACK, "--port", str(port), "--log-level", "WARNING", "--analytics-off"]
    environment = environment | {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "nightboard.flows.prefect_server.server_process", *arguments],
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


def _wait_until_healthy(
    process: subprocess.Popen[bytes], port: int, deadline: float, stopping: threading.Event
) -> bool:
    """Whether the server answers before it ends, the time is up, or it is not needed any more."""
    # A proxy in the environment is for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None and not stopping.is_set():
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
