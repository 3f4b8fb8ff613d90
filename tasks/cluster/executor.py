"""The protocol of all executors: submit an array of jobs, query, cancel and throttle it.

Independent of submitit and SLURM. A job is a function with its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from nightboard.profiles.models.cluster import SlurmOptions
from nightboard.profiles.models.endings import Ending
from nightboard.tasks.errors import TaskError
from nightboard.tasks.store.records import ProcessId, Submission


class ExecutorError(TaskError):
    """Jobs cannot be submitted or stopped; the message says why."""


class ClusterAway(ExecutorError):
    """The cluster does not answer at the moment; the request may or may not have been executed."""


@dataclass(frozen=True)
class Call:
    """One job to start: what it runs."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Resources:
    """What each job of an array gets. `gpus`, `cpus` and `mem_gb` are a node's."""

    gpus: int
    nodes: int
    cpus: int | None
    mem_gb: float | None
    time_min: int
    options: SlurmOptions


@dataclass(frozen=True)
class Started:
    """A job that was handed over. `process` is its local controller, None where there is none."""

    job_id: str
    process: ProcessId | None


@dataclass(frozen=True)
class JobReport:
    """What is known of a job.

    `state` is SLURM's word, UNKNOWN where there is none. `is_over` is None when nobody here can tell. `ending` is set
    when the job is over and did not end well; `reason` says in words why it ended, or why it waits. Of a job that waits
    `waits_for` is the cluster's own word for that, and `advice` what somebody has to do; None: it ends by itself.
    """

    state: str
    is_over: bool | None
    ending: Ending | None = None
    reason: str | None = None
    node: str | None = None
    elapsed_s: float | None = None
    exit_code: str | None = None
    energy_j: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    waits_for: str | None = None
    advice: str | None = None


class Executor(Protocol):
    """What launching needs of a cluster. `name` is what a cluster profile calls it."""

    name: str

    def max_array_size(self) -> int | None:
        """Jobs that fit into one array; None where nobody bounds them. Raises ClusterAway."""
        ...

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """Hand over all calls as one array called `name`; the answer has their order.

        At most `parallelism` run at once; None: all. Raises ExecutorError when the array is refused, ClusterAway when
        the cluster did not answer in time.
        """
        ...

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport] | None:
        """What became of all jobs of these submissions, by job id; None when the cluster does not answer."""
        ...

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started] | None:
        """The jobs of the array called `name`, in the order of its `calls`; None when the cluster knows none.

        Puts right what a flow that was killed while it submitted has left half-done. Raises ClusterAway.
        """
        ...

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """Stop jobs of a submission; those that have ended are left alone. Raises ExecutorError."""
        ...

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Let so many jobs of the array that these jobs are of run at once. Raises ExecutorError."""
        ...

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """Keep jobs that still wait off these nodes, and off no others. Raises ExecutorError."""
        ...
