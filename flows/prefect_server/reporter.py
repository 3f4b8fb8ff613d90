"""Sends a run's reports to its Prefect server from a thread of its own, and keeps what the server does not take yet.

Owns the queue and the patience. A run only adds to the queue, so that a server that is down, dead, slow or full neither
stops it nor holds it up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from nightboard.flows.prefect_server.server import REQUEST_TIMEOUT_S, Server, ServerError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# After the run a server has this long to take what is left. One that has been away before is not waited for again.
FLUSH_S, FLUSH_AWAY_S = 60.0, 5.0
# Between two tries; the second one comes soon, as a server that is started again is back in seconds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# A report that a server answers with errors so often is dropped.
_MOST_TRIES = 5

Report = Callable[["SyncPrefectClient"], object]


class Reporter:
    """Sends reports in order from a thread of its own, and keeps trying while the server does not take them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._waiting: deque[Report] = deque()
        self._news: deque[str] = deque()
        self._kinds: set[str] = set()
        self._closing, self._closed = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._is_away = False
        self._tries = 0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def add(self, report: Report) -> None:
        """Put a report behind all others; never waits for the server."""
        with self._changed:
            self._waiting.append(report)
            self._changed.notify()

    @property
    def is_idle(self) -> bool:
        """Whether all has been sent."""
        return not self._waiting

    def take_news(self) -> list[str]:
        """What an operator should know of the server: each thing once a run."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def close(self) -> None:
        """Give the server some time for what is left, then end."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        started = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - started < (FLUSH_AWAY_S if self._is_away else FLUSH_S):
            self._thread.join(0.1)
        if self._thread.is_alive():
            self._tell_away("it does not answer")
        self._closed.set()
        self._server.stop()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._has_work() and not self._closed.is_set():
            try:
                with self._server.open_client() as client:
                    while self._waiting:
                        self._send(client, self._waiting[0])
                        self._take_out()
                        pause_s = _FIRST_PAUSE_S
            except Exception as error:  # whatever a server, the network or Prefect's client comes up with
                if self._tries != 1 or not _is_busy(error):
                    self._tell_away(_describe(error))
                # The end of the run is worth a try at once; after it there is not much time.
                is_end = not self._closing.is_set() and self._closing.wait(pause_s)
                self._closed.wait(0.0 if is_end else 0.5)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _has_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            return bool(self._waiting)

    def _send(self, client: SyncPrefectClient, report: Report) -> None:
        """Raises what says that the server is away; a report that it refuses is dropped."""
        self._tries += 1
        try:
            report(client)
        except Exception as error:
            if _is_away(error) or (_is_trouble(error) and self._tries < _MOST_TRIES):
                raise
            self._tell("incomplete", f"The history of this run is incomplete: {self._server.name}: {_describe(error)}.")

    def _take_out(self) -> None:
        self._tries = 0
        self._waiting.popleft()
        if self._is_away:
            self._is_away = False
            self._tell("back", f"The history is written again: {self._server.name} answers.")

    def _tell_away(self, reason: str) -> None:
        self._is_away = True
        self._tell("away", f"No history: {self._server.name} cannot be used ({reason}). The run continues without it.")

    def _tell(self, kind: str, text: str) -> None:
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._news.append(text)


def _is_away(error: Exception) -> bool:
    """Whether the server cannot be reached, or asks for patience."""
    import httpx

    return _is_busy(error) or isinstance(error, httpx.TransportError | ServerError | OSError)


def _is_busy(error: Exception) -> bool:
    """Whether the server asks for patience. Prefect's does so when two requests write to its database at once."""
    import httpx

    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (408, 425, 429, 502, 503, 504)


def _is_trouble(error: Exception) -> bool:
    """Whether the server failed, so that another try may do."""
    import httpx

    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= 500


def _describe(error: Exception) -> str:
    """An error in one line."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return f"it answers {error.response.status_code} to {error.request.url.path}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {REQUEST_TIMEOUT_S:.0f} s"
    return (str(error) or type(error).__name__).splitlines()[0]
