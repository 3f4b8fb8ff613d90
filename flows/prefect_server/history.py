"""What Prefect shows of a run: a flow run with its steps, its evaluations, its log and its artifacts.

Owns how a run is put into Prefect's words. A run adds reports to a queue (reporter.py) and never waits for the server.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson

from nightboard.flows.prefect_server.reporter import Report, Reporter
from nightboard.flows.prefect_server.server import (
    REPORTING_SETTINGS,
    ConfiguredServer,
    find_server,
    is_server_configured,
    keep_prefect_quiet,
)
from nightboard.tasks.cluster.processes import current_process, is_alive
from nightboard.tasks.store.records import ProcessId
from nightboard.tasks.store.trust import limit_umask

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.orchestration import SyncPrefectClient

# A report that arrives later than this says when it was written: a server stamps what it gets with its own time.
_LATE_S = 30.0
# Lines of a log that are sent together, and what is kept of a long one, so that a batch stays small.
_BATCH_LINES, _LINE_LENGTH = 200, 10_000
_LABEL = "nightboard.process"
# A run that came to its end although something failed has this tag; one that stopped has not.
WITH_FAILURES = "with-failures"

Json = Mapping[str, Any]


@dataclass
class Ending:
    """How a run that came to its end went, in one sentence."""

    summary: str = ""
    has_failures: bool = False


class History:
    """What a run tells of itself, in Prefect's words. Without a reporter nothing is sent."""

    def __init__(self, reporter: Reporter | None = None, flow_run_id: UUID | None = None) -> None:
        """`flow_run_id`: the flow run that Prefect itself has started this run in; None: one is made."""
        self._reporter = reporter
        self._flow_run_id = flow_run_id
        self._is_started_by_prefect = flow_run_id is not None
        self._tags: list[str] = []
        self._artifacts: dict[str, str] = {}
        self._n_tasks = 0
        self._run_key = str(uuid4())
        self._step: UUID | None = None
        # Lines that wait for the rest of their batch; downloads log from threads of their own.
        self._batch: list[dict[str, Any]] | None = None
        self._batching = threading.Lock()

    @contextlib.contextmanager
    def flow_run(self, flow: str, tag: str, parameters: Json) -> Iterator[Ending]:
        """A flow run for as long as this is open; it fails with the error that goes through, or by what is yielded.

        `tag`, such as `board:quickstart`, names what is worked on: earlier runs on it whose process has died are
        marked as crashed. What Prefect started, Prefect ends.
        """
        self._begin(flow, tag, parameters)
        ending = Ending()
        try:
            yield ending
        except KeyboardInterrupt:
            self._end("CANCELLED", "interrupted")
            raise
        except BaseException as error:
            self._end("FAILED", str(error) or type(error).__name__)
            raise
        if ending.has_failures:
            self._tags.append(WITH_FAILURES)
            self._add(lambda client: client.update_flow_run(self._run_id, tags=self._tags))
        self._end("FAILED" if ending.has_failures else "COMPLETED", ending.summary)

    @contextlib.contextmanager
    def step(self, step: Task[..., Any]) -> Iterator[None]:
        """A task run for as long as this is open; its log begins with what it is for."""
        self._step = key = self._begin_task(
            step.name,
            step.task_key,
            tags=sorted(step.tags),
            empirical_policy={"retries": step.retries, "retry_delay": step.retry_delay_seconds},
        )
        self.log(logging.DEBUG, f"{step.name}: {step.description}")
        try:
            yield
        except BaseException as error:
            self._end_task(key, "FAILED", str(error) or type(error).__name__)
            raise
        finally:
            self._step = None
        self._end_task(key, "COMPLETED", "")

    def add_outcome(self, name: str, failure: str | None) -> None:
        """A task run for something that ended elsewhere: an evaluation, and why it failed if it did."""
        key = self._begin_task(name, "evaluation", tags=["evaluation"])
        self._end_task(key, "FAILED" if failure else "COMPLETED", failure or "scored")

    def log(self, level: int, text: str) -> None:
        """A line of the flow run's log, and of the step that is open; sent with those that wait beside it."""
        line = {
            "name": "nightboard",
            "level": level,
            "message": text[:_LINE_LENGTH],
            "timestamp": datetime.now(UTC).isoformat(),
            "task_run_id": str(self._step) if self._step else None,
        }
        with self._batching:
            if self._batch is None or len(self._batch) == _BATCH_LINES:
                self._batch = batch = list[dict[str, Any]]()
                self._add(lambda client: self._send_lines(client, batch))
            self._batch.append(line)

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
        """Wait, within limits, until all has been sent."""
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

    def _begin(self, flow: str, tag: str, parameters: Json) -> None:
        self._tags = [tag]
        process, at = current_process(), datetime.now(UTC)
        if not self._is_started_by_prefect:
            name = f"{flow} {tag.partition(':')[2]}"
            self._add(lambda client: self._create_flow_run(client, flow, name, parameters, at))
        self._add(lambda client: self._describe_flow_run(client, process))
        self._add(lambda client: mark_crashed(client, tag, self._flow_run_id))

    def _end(self, kind: str, message: str) -> None:
        level = logging.INFO if kind == "COMPLETED" else logging.ERROR
        self.log(level, f"Run {'finished' if kind == 'COMPLETED' else kind.lower()}: {message}")
        at = datetime.now(UTC)
        if not self._is_started_by_prefect:
            self._add(lambda client: self._set_state(client, "flow_runs", self._run_id, kind, message, at))

    def _create_flow_run(self, client: SyncPrefectClient, flow: str, name: str, parameters: Json, at: datetime) -> None:
        """Asked again after a lost answer, the server answers with the run that it made."""
        flow_id = client.create_flow_from_name(flow)
        values = {"name": name, "flow_id": str(flow_id), "parameters": dict(parameters)}
        made = client.request("POST", "/flow_runs/", json={**values, "idempotency_key": self._run_key})
        self._flow_run_id = UUID(made.json()["id"])
        self._set_state(client, "flow_runs", self._flow_run_id, "RUNNING", "", at)

    def _describe_flow_run(self, client: SyncPrefectClient, process: ProcessId) -> None:
        run = client.read_flow_run(self._run_id)
        self._tags = list(dict.fromkeys([*run.tags, *self._tags]))
        client.update_flow_run(self._run_id, tags=self._tags)
        client.update_flow_run_labels(self._run_id, {_LABEL: process.to_bytes().decode()})

    def _begin_task(self, name: str, task_key: str, **values: object) -> UUID:
        key, at, self._n_tasks = uuid4(), datetime.now(UTC), self._n_tasks + 1
        values |= {"id": str(key), "name": name, "task_key": task_key, "dynamic_key": str(self._n_tasks)}

        def send(client: SyncPrefectClient) -> None:
            client.request("POST", "/task_runs/", json={**values, "flow_run_id": str(self._run_id)})
            self._set_state(client, "task_runs", key, "RUNNING", "", at)

        self._add(send)
        return key

    def _end_task(self, key: UUID, kind: str, message: str) -> None:
        at = datetime.now(UTC)
        self._add(lambda client: self._set_state(client, "task_runs", key, kind, message, at))

    def _set_state(
        self, client: SyncPrefectClient, table: str, key: UUID, kind: str, message: str, at: datetime
    ) -> None:
        if (datetime.now(UTC) - at).total_seconds() > _LATE_S:
            message = f"{message} (at {at:%Y-%m-%d %H:%M:%S} UTC, sent later)".strip()
        state = {"type": kind, "name": kind.capitalize(), "message": message or None}
        path = "/flow_runs/{id}/set_state" if table == "flow_runs" else "/task_runs/{id}/set_state"
        client.request("POST", path, path_params={"id": key}, json={"state": state, "force": True})  # type: ignore[arg-type]

    def _send_lines(self, client: SyncPrefectClient, batch: list[dict[str, Any]]) -> None:
        with self._batching:  # nothing is added to a batch that is being sent
            if self._batch is batch:
                self._batch = None
        lines = [{**line, "flow_run_id": str(self._run_id)} for line in batch]
        client.request("POST", "/logs/", json=lines)

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


def mark_crashed(client: SyncPrefectClient, tag: str, own: UUID | None) -> None:
    """Runs with this tag that are still open although their process is known to have died."""
    states = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}
    wanted = {"state": states, "tags": {"all_": [tag]}}
    for run in client.request("POST", "/flow_runs/filter", json={"flow_runs": wanted}).json():
        label = (run.get("labels") or {}).get(_LABEL)
        if label is None or run["id"] == str(own) or is_alive(ProcessId.model_validate_json(label)) is not False:
            continue
        message = "The process of this run ended without a message (killed?). Submitted jobs keep running."
        state = {"type": "CRASHED", "name": "Crashed", "message": message}
        client.request(
            "POST", "/flow_runs/{id}/set_state", path_params={"id": run["id"]}, json={"state": state, "force": True}
        )


@contextlib.contextmanager
def open_history(state_dir: Path, *, starts_server: bool = True) -> Iterator[History]:
    """The history of this process's runs, in the configured server or else in one of our own below `state_dir`.

    `starts_server`: False where a server takes longer to start than the run; then only a configured one gets a history.
    """
    # It may be the first thing that is made of a store.
    limit_umask(state_dir.parent)
    keep_prefect_quiet(state_dir, REPORTING_SETTINGS)
    history = History(Reporter(find_server(state_dir)) if starts_server or is_server_configured() else None)
    try:
        yield history
    finally:
        history.close()


@contextlib.contextmanager
def open_deployed_history() -> Iterator[History]:
    """The history of a run that Prefect has started, in the flow run that Prefect has made for it."""
    from prefect.runtime import flow_run

    history = History(Reporter(ConfiguredServer()), UUID(flow_run.id))
    try:
        yield history
    finally:
        history.close()
