"""What Prefect shows of a night: a flow run with its steps, its evaluations and its artifacts.

Owns the way there: a thread of its own sends one report after the other and keeps what a server that is down, dead or
slow does not take. The night only adds to the list, so that nothing of Prefect can stop it or hold it up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson

from nightboard.flows.prefect_server.server import (
    REQUEST_TIMEOUT_S,
    Server,
    ServerError,
    find_server,
    keep_prefect_quiet,
)
from nightboard.tasks.cluster.processes import current_process, is_alive
from nightboard.tasks.store.records import ProcessId
from nightboard.tasks.store.trust import limit_umask

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


FLOW = "nightly"
# After the night a server gets so long to take what is left. One that has been away before is not waited for again.
FLUSH_S, FLUSH_AWAY_S = 60.0, 5.0
# Between two tries; the second one comes soon, as a server that starts anew is back in seconds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# A report that a server answers with errors so often is left out.
_MOST_TRIES = 5
# A report that arrives later than this says when it was written: a server stamps what it gets with its own time.
_LATE_S = 30.0
_TAG = "board:"
_LABEL = "nightboard.process"

Report = Callable[["SyncPrefectClient"], object]
Json = Mapping[str, Any]


class History:
    """What a night tells of itself, in words of Prefect. Without a reporter it is told to nobody."""

    def __init__(self, reporter: Reporter | None = None, flow_run_id: UUID | None = None) -> None:
        """`flow_run_id`: the run that Prefect itself has started this night in; None: one is made."""
        self._reporter = reporter
        self._flow_run_id = flow_run_id
        self._is_started_by_prefect = flow_run_id is not None
        self._tags: list[str] = []
        self._artifacts: dict[str, str] = {}
        self._n_tasks = 0
        self._run_key = str(uuid4())

    def begin(self, board: str, parameters: Json) -> None:
        """The night begins; earlier ones of this board whose process has died are marked as crashed."""
        self._tags = [f"{_TAG}{board}"]
        process, at = current_process(), datetime.now(UTC)
        if not self._is_started_by_prefect:
            self._add(lambda client: self._create_flow_run(client, board, parameters, at))
        self._add(lambda client: self._describe_flow_run(client, process))
        self._add(lambda client: mark_crashed(client, board, self._flow_run_id))

    def end(self, kind: str, name: str, message: str, tags: Sequence[str] = ()) -> None:
        """How the night ended: a state's type, name and message, and tags for it. What Prefect started, it ends."""
        at = datetime.now(UTC)
        if tags:
            self._tags += tags
            self._add(lambda client: client.update_flow_run(self._run_id, tags=self._tags))
        if not self._is_started_by_prefect:
            self._add(lambda client: self._set_state(client, "flow_runs", self._run_id, kind, name, message, at))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A task run for as long as this is open; it fails with the error that goes through."""
        key = self._begin_task(name)
        try:
            yield
        except BaseException as error:
            self._end_task(key, "FAILED", str(error) or type(error).__name__)
            raise
        self._end_task(key, "COMPLETED", "")

    def add_outcome(self, name: str, failure: str | None) -> None:
        """A task run for something that ended elsewhere: an evaluation, and why it failed if it did."""
        key = self._begin_task(name, "evaluation")
        self._end_task(key, "FAILED" if failure else "COMPLETED", failure or "scored")

    def add_markdown(self, key: str, text: str, description: str) -> None:
        """An artifact that is read."""
        self._add_artifact(key, "markdown", text, description)

    def add_table(self, key: str, rows: Sequence[Json], description: str) -> None:
        """An artifact of rows."""
        self._add_artifact(key, "table", list(rows), description)

    def show_progress(self, key: str, percent: float, description: str) -> None:
        """An artifact that moves: one a key."""
        self._add(lambda client: self._send_progress(client, key, percent, description))

    def take_news(self) -> list[str]:
        """What is to be said of the server itself since this was asked last."""
        return self._reporter.take_news() if self._reporter else []

    def close(self) -> None:
        """Wait, within limits, until all has been told."""
        if self._reporter:
            self._reporter.close()

    # ---------------------------------------------------------------------------------------------------- reports

    def _add(self, report: Report) -> None:
        if self._reporter:
            self._reporter.add(report)

    @property
    def _run_id(self) -> UUID:
        if self._flow_run_id is None:
            raise LookupError("the flow run could not be made")
        return self._flow_run_id

    def _create_flow_run(self, client: SyncPrefectClient, board: str, parameters: Json, at: datetime) -> None:
        """Asked again after a lost answer, the server answers with the run that it made."""
        flow_id = client.create_flow_from_name(FLOW)
        values = {"name": f"{FLOW} {board}", "flow_id": str(flow_id), "parameters": dict(parameters)}
        made = client.request("POST", "/flow_runs/", json={**values, "idempotency_key": self._run_key})
        self._flow_run_id = UUID(made.json()["id"])
        self._set_state(client, "flow_runs", self._flow_run_id, "RUNNING", "Running", "", at)

    def _describe_flow_run(self, client: SyncPrefectClient, process: ProcessId) -> None:
        run = client.read_flow_run(self._run_id)
        self._tags = list(dict.fromkeys([*run.tags, *self._tags]))
        client.update_flow_run(self._run_id, tags=self._tags)
        client.update_flow_run_labels(self._run_id, {_LABEL: process.to_bytes().decode()})

    def _begin_task(self, name: str, kind: str | None = None) -> UUID:
        key, at, self._n_tasks = uuid4(), datetime.now(UTC), self._n_tasks + 1
        values = {"id": str(key), "name": name, "task_key": kind or name, "dynamic_key": str(self._n_tasks)}

        def send(client: SyncPrefectClient) -> None:
            client.request("POST", "/task_runs/", json={**values, "flow_run_id": str(self._run_id)})
            self._set_state(client, "task_runs", key, "RUNNING", "Running", "", at)

        self._add(send)
        return key

    def _end_task(self, key: UUID, kind: str, message: str) -> None:
        at = datetime.now(UTC)
        self._add(lambda client: self._set_state(client, "task_runs", key, kind, kind.capitalize(), message, at))

    def _set_state(
        self, client: SyncPrefectClient, table: str, key: UUID, kind: str, name: str, message: str, at: datetime
    ) -> None:
        if (datetime.now(UTC) - at).total_seconds() > _LATE_S:
            message = f"{message} (at {at:%Y-%m-%d %H:%M:%S} UTC, told later)".strip()
        state = {"type": kind, "name": name, "message": message or None}
        path = "/flow_runs/{id}/set_state" if table == "flow_runs" else "/task_runs/{id}/set_state"
        client.request("POST", path, path_params={"id": key}, json={"state": state, "force": True})  # type: ignore[arg-type]

    def _add_artifact(self, key: str, kind: str, data: object, description: str) -> None:
        self._add(lambda client: self._create_artifact(client, key, kind, data, description))

    def _create_artifact(self, client: SyncPrefectClient, key: str, kind: str, data: object, description: str) -> str:
        """Not by the client's own function, which starts a service for events and lets it complain on the terminal."""
        values = {"key": key, "type": kind, "data": to_json(data), "description": description}
        made = client.request("POST", "/artifacts/", json={**values, "flow_run_id": str(self._run_id)})
        return str(made.json()["id"])

    def _send_progress(self, client: SyncPrefectClient, key: str, percent: float, description: str) -> None:
        if key in self._artifacts:
            path_params = {"id": self._artifacts[key]}
            client.request("PATCH", "/artifacts/{id}", path_params=path_params, json={"data": percent})
        else:
            self._artifacts[key] = self._create_artifact(client, key, "progress", percent, description)


NO_HISTORY = History()


def to_json(data: object) -> Any:
    """Rows as Prefect shows a table: a text of JSON, in which numbers that JSON lacks are nothing."""
    if not isinstance(data, list):
        return data
    return orjson.dumps(data, default=str).decode()


def mark_crashed(client: SyncPrefectClient, board: str, own: UUID | None) -> None:
    """Runs of this board that are still open although their process is known to have died."""
    states = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}
    wanted = {"state": states, "tags": {"all_": [f"{_TAG}{board}"]}}
    for run in client.request("POST", "/flow_runs/filter", json={"flow_runs": wanted}).json():
        label = (run.get("labels") or {}).get(_LABEL)
        if label is None or run["id"] == str(own) or is_alive(ProcessId.model_validate_json(label)) is not False:
            continue
        message = "The process of this night ended without a word (killed?). What it submitted goes on."
        state = {"type": "CRASHED", "name": "Crashed", "message": message}
        client.request(
            "POST", "/flow_runs/{id}/set_state", path_params={"id": run["id"]}, json={"state": state, "force": True}
        )


@contextlib.contextmanager
def open_history(state_dir: Path) -> Iterator[History]:
    """The history of the nights of this process, in the configured server or in one of our own below `state_dir`."""
    # It may be the first thing that is made of a store.
    limit_umask(state_dir.parent)
    keep_prefect_quiet(state_dir)
    history = History(Reporter(find_server(state_dir)))
    try:
        yield history
    finally:
        history.close()


# ---------------------------------------------------------------------------------------------------------- sending


class Reporter:
    """Sends reports in order from a thread of its own, and goes on trying while the server does not take them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._waiting: deque[Report] = deque()
        self._news: deque[str] = deque()
        self._told: set[str] = set()
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
        """Whether all has been told."""
        return not self._waiting

    def take_news(self) -> list[str]:
        """What an operator should know of the server: each thing once a night."""
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
                self._tell_away(_describe(error))
                # The end of the night is worth a try at once; after it there is not much time.
                is_end = not self._closing.is_set() and self._closing.wait(pause_s)
                self._closed.wait(0.0 if is_end else 0.5)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _has_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            return bool(self._waiting)

    def _send(self, client: SyncPrefectClient, report: Report) -> None:
        """Raises what says that the server is away; a report that it refuses is left out."""
        self._tries += 1
        try:
            report(client)
        except Exception as error:
            if _is_away(error) or (_is_trouble(error) and self._tries < _MOST_TRIES):
                raise
            self._tell(
                "incomplete", f"The history of this night is incomplete: {self._server.name}: {_describe(error)}."
            )

    def _take_out(self) -> None:
        self._tries = 0
        self._waiting.popleft()
        if self._is_away:
            self._is_away = False
            self._tell("back", f"With history again: {self._server.name} answers.")

    def _tell_away(self, reason: str) -> None:
        self._is_away = True
        self._tell(
            "away", f"Without history: {self._server.name} cannot be used ({reason}). The night goes on without it."
        )

    def _tell(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._news.append(text)


def _is_away(error: Exception) -> bool:
    """Whether nobody is there who could answer, or somebody who asks for patience."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (408, 425, 429, 502, 503, 504)
    return isinstance(error, httpx.TransportError | ServerError | OSError)


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
