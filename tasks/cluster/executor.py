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
    """Jobs cannot be submitted or cancelled; the message says why."""


class ClusterAway(ExecutorError):
    """The cluster does not answer at the moment; the request may or may not have been executed."""


@dataclass(frozen=True)
class Call:
    """One job to start: what it runs."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Resources:
    """The resources of each job in an array. `gpus`, `cpus` and `mem_gb` are per node."""

    gpus: int
    nodes: int
    cpus: int | None
    mem_gb: float | None
    time_min: int
    options: SlurmOptions


@dataclass(frozen=True)
class Started:
    """A submitted job. `process` is its local controller, None if there is none."""

    job_id: str
    process: ProcessId | None


@dataclass(frozen=True)
class JobReport:
    """The report on a job.

    `state` is SLURM's state, UNKNOWN if there is none. `is_over` is None if this host cannot know. `ending` is set
    when the job is over and did not end well; `reason` says in words why it ended, or why it waits. Of a job that waits
    `waits_for` is the cluster's reason, and `advice` what the operator has to do; None: the wait ends by itself.
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
    """The interface of a cluster. `name` is the executor in the cluster's profile."""

    name: str

    def max_array_size(self) -> int | None:
        """Largest number of jobs in an array; None: no limit. Raises ClusterAway."""
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
        """Reports on all jobs of these submissions, by job id; None if the cluster does not answer."""
        ...

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started] | None:
        """The jobs of the array called `name`, in the order of its `calls`; None when the cluster knows none.

        Puts right what a flow that was killed while it submitted has left half-done. Raises ClusterAway.
        """
        ...

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """Cancel jobs of a submission; ended ones are skipped. Raises ExecutorError."""
        ...

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Set how many jobs of these jobs' array may run at once. Raises ExecutorError."""
        ...

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """Exclude these nodes, and no others, for jobs that still wait. Raises ExecutorError."""
        ...
