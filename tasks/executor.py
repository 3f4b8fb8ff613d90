"""The one door to submitit: starts jobs and says whether they still live.

Owns how a launch becomes processes. Knows nothing of evaluations: a job is a function and its arguments.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import submitit
from submitit.core.utils import DelayedSubmission

from nightboard.profiles.models import Cluster
from nightboard.tasks.process import is_alive, process_of
from nightboard.tasks.records import ProcessId, Submission


class ExecutorError(Exception):
    """Jobs cannot be submitted; the message says why."""


@dataclass(frozen=True)
class Call:
    """One job to start: what it runs and what it needs."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    gpus: int
    time_min: int


@dataclass(frozen=True)
class Started:
    """A job that was handed over. `process` is its local controller, None where there is none."""

    job_id: str
    process: ProcessId | None


class Executor(Protocol):
    """What launching needs of a cluster. `name` is what a cluster profile calls it."""

    name: str

    def submit(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started]:
        """Hand over all calls; the answer has their order."""
        ...

    def is_job_alive(self, submission: Submission, index: int) -> bool | None:
        """Whether the job may still start or run; None when nobody here can tell."""
        ...


def open_executor(cluster: Cluster) -> Executor:
    """The executor that a cluster profile names."""
    if cluster.executor == "local":
        return LocalExecutor()
    if cluster.executor == "dry":
        return DryExecutor()
    raise ExecutorError(
        f"cluster {cluster.cluster}: executor {cluster.executor} cannot submit yet. Use a cluster with executor: local."
    )


class LocalExecutor:
    """submitit's local executor: every job is a process tree on this machine and starts at once.

    Its own memory of what runs ends with this process, so life is judged by the controller's pid and start time.
    """

    name = "local"
    # Shared by all executors of this process: a controller outlives the flow that started it, and is still our child.
    _children: ClassVar[list[submitit.Job[Any]]] = []

    def submit(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started]:
        """Start one controller process a call; the caller bounds how many."""
        return [self._start(folder, name, call) for call in calls]

    def _start(self, folder: Path, name: str, call: Call) -> Started:
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(name=name, timeout_min=call.time_min, gpus_per_node=call.gpus, stderr_to_stdout=True)
        with _interrupts_ignored():
            job = executor.submit(call.function, *call.arguments)
        self._children.append(job)
        return Started(job_id=str(job.job_id), process=process_of(int(job.job_id)))

    def is_job_alive(self, submission: Submission, index: int) -> bool | None:
        """True while the controller lives; None for a controller on another host."""
        # Asking each child for its state also takes the dead ones off the process table.
        self._children[:] = [job for job in self._children if job.state == "RUNNING"]
        process = submission.processes[index]
        return False if process is None else is_alive(process)


class DryExecutor:
    """Writes what would be submitted and starts nothing: for measuring, and for looking at a launch."""

    name = "dry"

    def submit(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started]:
        """Pickle every call as submitit would."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, call in enumerate(calls):
            DelayedSubmission(call.function, *call.arguments).dump(folder / f"{name}_{index}_submitted.pkl")
        return [Started(job_id=f"dry_{index}", process=None) for index in range(len(calls))]

    def is_job_alive(self, submission: Submission, index: int) -> bool:
        """Never: nothing was started."""
        return False


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let a child start with Ctrl-C ignored: stopping the flow leaves its jobs running for the next flow."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
