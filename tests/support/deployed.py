"""Programs that run beside a test, such as a Prefect worker, and what a Prefect server says of the runs there."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nightboard.tasks.store.records import ProcessId

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun


def wait_for(client: SyncPrefectClient, flow: str, is_reached: Callable[[FlowRun], bool], within_s: float) -> FlowRun:
    """The first run of a flow that gets there."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for run in client.read_flow_runs():
            if run.name.startswith(flow) and is_reached(run):
                return run
        time.sleep(0.5)
    raise TimeoutError([(run.name, run.state) for run in client.read_flow_runs()])


def wait_until(is_so: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


def wait_for_process(client: SyncPrefectClient, run: FlowRun) -> ProcessId:
    """The process of a flow run, once it has said which one it is."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        label = client.read_flow_run(run.id).labels.get("nightboard.process")
        if label:
            return ProcessId.model_validate_json(str(label))
        time.sleep(0.2)
    raise TimeoutError(run.name)


@contextlib.contextmanager
def start(output: Path, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this environment, ended hard where it still runs."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
