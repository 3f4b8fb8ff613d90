"""The local executor: jobs are processes on this machine, started by submitit."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nightboard.tasks.cluster.executor import Call, ExecutorError, JobReport, Resources, Started
from nightboard.tasks.cluster.job_environment import environment_changed, interrupts_ignored, is_secret
from nightboard.tasks.cluster.local_gpus import describe_choice, list_gpus
from nightboard.tasks.cluster.processes import find_processes, is_alive, kill_process, list_descendants, process_of
from nightboard.tasks.store.records import ProcessId, Submission

if TYPE_CHECKING:
    import submitit

# ------------------------------------------------------------------------------------------------------------ local


class LocalExecutor:
    """submitit's local executor: every job is a process tree on this machine and starts at once.

    Its own memory of what runs ends with this process, so life is judged by the controller's pid and start time.
    """

    name = "local"

    def __init__(self, gpus: int | Sequence[int] | None = None) -> None:
        """`gpus`: what the profile says the machine has; None: what is found."""
        self._gpus = gpus

    # Shared by all executors of this process: a controller outlives the flow that started it, and is still our child.
    _children: ClassVar[list[submitit.Job[Any]]] = []

    def max_array_size(self) -> int | None:
        """No bound: jobs are single."""
        return None

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """Start one controller process a call; the caller bounds how many."""
        from nightboard.tasks.cluster.submission import SAFE_PATH

        environment = SAFE_PATH | self._choose_gpus(resources.gpus)
        return [self._start(folder, name, call, resources, environment) for call in calls]

    def _choose_gpus(self, wanted: int) -> dict[str, str]:
        """What jobs may choose from. Where nothing tells, the machine is taken to have as many as a job wants."""
        available = list_gpus(self._gpus, os.environ)
        if available is None:
            available = list_gpus(wanted, os.environ) or []
        if wanted > len(available):
            raise ExecutorError(
                f"a job needs {wanted} GPUs, but this machine has only {len(available)} available. "
                "Write a smaller number in the tier, or check CUDA_VISIBLE_DEVICES and the cluster's gpus."
            )
        return describe_choice(available, wanted)

    def _start(
        self, folder: Path, name: str, call: Call, resources: Resources, environment: Mapping[str, str]
    ) -> Started:
        from nightboard.tasks.cluster.submission import LocalSubmitter

        executor = LocalSubmitter(folder)
        # No GPU until the job has taken its own.
        executor.update_parameters(name=name, timeout_min=resources.time_min, gpus_per_node=0, stderr_to_stdout=True)
        with interrupts_ignored(), environment_changed(is_secret, environment):
            job = executor.submit(call.function, *call.arguments)
        self._children.append(job)
        return Started(job_id=str(job.job_id), process=process_of(int(job.job_id)))

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport]:
        """A job runs while its controller runs; None for one on another host, which cannot be checked."""
        # Asking each child for its state also takes the dead ones off the process table.
        self._children[:] = [job for job in self._children if job.state == "RUNNING"]
        reports: dict[str, JobReport] = {}
        for submission in submissions:
            for job_id, process in zip(submission.job_ids, submission.processes, strict=True):
                report = _report_process(process)
                # Job ids are pids. Of two jobs that share one, the dead waits until the other is over, too.
                if job_id and (job_id not in reports or reports[job_id].is_over):
                    reports[job_id] = report
        return reports

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> None:
        """None: a local job is known by its process alone, which takes its attempt if it ever begins."""
        return

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """Kill the jobs' processes on this host. A run on another host notices by itself that it lost its attempt."""
        for index in indexes:
            for _ in range(10):  # a process may start another one meanwhile
                pids = _find_job_processes(submission, index)
                if not pids:
                    break
                for pid in pids:
                    kill_process(pid)
                time.sleep(0.05)

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Nothing to throttle: all jobs run already."""

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """Nothing waits."""


def _report_process(process: ProcessId | None) -> JobReport:
    alive = False if process is None else is_alive(process)
    host = process.host if process else None
    if alive is None:
        return JobReport("UNKNOWN", is_over=None, node=host)
    if alive:
        return JobReport("RUNNING", is_over=False, node=host)
    return JobReport("UNKNOWN", is_over=True, ending="interrupted", reason="the job's process is gone", node=host)


def _find_job_processes(submission: Submission, index: int) -> list[int]:
    """The job's controller and all below it; also those that outlived their controller."""
    controller, job_id = submission.processes[index], submission.job_ids[index]
    if controller is None or is_alive(controller) is None:
        return []
    roots = [controller.pid] if is_alive(controller) else []
    # submitit's names; the command holds the folder, which is the launch's own.
    roots += find_processes({"SUBMITIT_LOCAL_JOB_ID": job_id}, {"SUBMITIT_LOCAL_COMMAND": submission.launch_id})
    return [pid for root in roots for pid in (root, *list_descendants(root))]
