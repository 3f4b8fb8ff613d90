"""The SLURM executor: submits arrays with submitit, queries and cancels their jobs, throttles arrays.

The output of SLURM's commands is parsed in slurm_commands.py; nothing here depends on evaluations.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError

from nightboard.tasks.cluster import slurm_commands as slurm
from nightboard.tasks.cluster.executor import Call, ClusterAway, ExecutorError, JobReport, Resources, Started
from nightboard.tasks.cluster.job_environment import environment_changed, hide_secrets, is_of_another_job
from nightboard.tasks.cluster.submission import SAFE_PATH, SlurmSubmitter, name_pickles, pickles_without_job
from nightboard.tasks.store.records import Submission

_log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------------------------------ SLURM

# A cluster that is away is waited for so long while an array is being submitted.
RETRY_FOR_S = 600.0
# Between two tries; also the time that an sbatch whose answer was lost has to become a job.
RETRY_S = 10.0
# Accounting hears of new jobs with a delay. Of one that it does not know squeue is asked after a while; one that squeue
# does not know either is believed in for longer.
ASK_QUEUE_AFTER, UNKNOWN_LIMIT = timedelta(seconds=15), timedelta(minutes=2)
SIGNAL_DELAY_S = 90
# What a tier, a launch or this file says itself; a profile passes on everything else that submitit knows.
OWN_PARAMETERS = frozenset(
    {"job_name", "time", "nodes", "ntasks_per_node", "cpus_per_task", "gpus_per_node", "num_gpus", "mem"}
    | {"array_parallelism", "stderr_to_stdout"}
)


class SlurmExecutor:
    """SLURM through submitit: an array a launch, under the launch's name; sacct is asked for all jobs at once.

    The watcher of submitit is not used: it backs off to ten minutes, and does not know what another process submitted.
    """

    name = "slurm"

    def __init__(self) -> None:
        self._max_array_size: int | None = None
        self._has_accounting = True

    def max_array_size(self) -> int | None:
        """As the cluster is configured; asked once."""
        self._max_array_size = self._max_array_size or slurm.read_max_array_size()
        return self._max_array_size

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """One sbatch. When its answer is lost the array is looked for by its name before it is tried again."""
        deadline = time.monotonic() + RETRY_FOR_S
        while True:
            try:
                return _submit_array(folder, name, calls, resources, parallelism)
            except ClusterAway as error:
                _log.warning("%s; trying again for %.0f s", error, max(0.0, deadline - time.monotonic()))
                if started := self._find_until(deadline, folder, name, calls, error):
                    return started
            for path in pickles_without_job(folder):
                path.unlink(missing_ok=True)

    def _find_until(
        self, deadline: float, folder: Path, name: str, calls: Sequence[Call], error: ClusterAway
    ) -> list[Started] | None:
        """Ask until the cluster answers; raises `error` when it has not by the deadline."""
        while time.monotonic() < deadline:
            time.sleep(RETRY_S)
            with contextlib.suppress(ClusterAway):
                return self.find(folder, name, calls)
        raise error

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport] | None:
        """One sacct for all; one squeue more for jobs of which accounting cannot have the last word, or that wait:
        accounting does not know why.
        """
        jobs = {job_id: submission for submission in submissions for job_id in submission.job_ids if job_id}
        if not jobs:
            return {}
        try:
            answers = self._ask(jobs)
            doubtful = {
                job_id: submission
                for job_id, submission in jobs.items()
                if (
                    not answers[job_id].is_sure
                    if job_id in answers
                    else now - submission.submitted_at > ASK_QUEUE_AFTER
                )
            }
            waiting = {
                job_id: submission for job_id, submission in jobs.items() if job_id in answers and answers[job_id].waits
            }
            queued = self._ask_queue(doubtful, waiting)
        except ClusterAway as error:
            _log.info("%s", error)
            return None
        arrays = {array for array, _, index in (known_id.partition("_") for known_id in (*answers, *queued)) if index}
        return {
            job_id: _conclude(
                answers.get(job_id),
                queued.get(job_id),
                is_doubtful=job_id in doubtful,
                lost=_explain_loss(job_id, arrays, now - submission.submitted_at),
            )
            for job_id, submission in jobs.items()
        }

    def _ask(self, jobs: Mapping[str, Submission]) -> dict[str, slurm.JobAnswer]:
        if self._has_accounting:
            try:
                return slurm.ask_sacct({job_id: submission.launch_id for job_id, submission in jobs.items()})
            except slurm.NoAccounting:
                self._has_accounting = False
        return slurm.ask_squeue(_names(jobs))

    def _ask_queue(
        self, doubtful: Mapping[str, Submission], waiting: Mapping[str, Submission]
    ) -> dict[str, slurm.JobAnswer]:
        """What squeue says of jobs; that it cannot say why some wait is no reason to know nothing."""
        jobs = {**doubtful, **waiting} if self._has_accounting else doubtful
        try:
            return slurm.ask_squeue(_names(jobs)) if jobs else {}
        except ExecutorError:
            if doubtful:
                raise
            return {}

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started] | None:
        """Ask squeue, then sacct; a job whose pickle submitit had not yet renamed gets it, if it still waits for it."""
        written = [path.stat().st_mtime for path in folder.glob("*.pkl")]
        since = datetime.fromtimestamp(min(written), UTC) - timedelta(days=1) if written else None
        arrays = slurm.find_arrays(name, since)
        if not arrays:
            return None
        # Two of one name cannot be; if they are, the first is the one that could have begun.
        job_ids = [arrays[0]] if len(calls) == 1 else [f"{arrays[0]}_{index}" for index in range(len(calls))]
        name_pickles(folder, dict(zip(job_ids, calls, strict=True)))
        return [Started(job_id=job_id, process=None) for job_id in job_ids]

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """One scancel for all."""
        slurm.cancel_jobs([job_id for index in indexes if (job_id := submission.job_ids[index])])

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """The array's own throttle; a single job has none."""
        for array in sorted({job_id.partition("_")[0] for job_id in job_ids if "_" in job_id}):
            slurm.throttle_array(array, max(1, parallelism))

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """One call an array; running jobs stay where they are."""
        for array in sorted({job_id.partition("_")[0] for job_id in job_ids}):
            slurm.exclude_nodes(array, nodes)


def _names(jobs: Mapping[str, Submission]) -> list[str]:
    return sorted({submission.launch_id for submission in jobs.values()})


def _conclude(
    accounted: slurm.JobAnswer | None, queued: slurm.JobAnswer | None, *, is_doubtful: bool, lost: JobReport
) -> JobReport:
    """What holds of a job, from what sacct says of it and, where that is in doubt, squeue; `lost` if neither knows."""
    if accounted and (not is_doubtful or (accounted.report.is_over and (not queued or queued.report.is_over))):
        if queued and queued.report.waits_for and accounted.waits:
            why = queued.report
            return replace(accounted.report, reason=why.reason, waits_for=why.waits_for, advice=why.advice)
        return accounted.report
    if queued:
        return queued.report
    if accounted:
        gone = "squeue does not know the job any more"
        return JobReport("UNKNOWN", is_over=True, ending="interrupted", reason=gone)
    return lost


def _explain_loss(job_id: str, known_arrays: Collection[str], age: timedelta) -> JobReport:
    """What a job is that nobody knows: new, or, SLURM leaves no trace of that, a task cancelled before its turn."""
    if age <= UNKNOWN_LIMIT:
        return JobReport("UNKNOWN", is_over=False)
    if job_id.partition("_")[0] in known_arrays:
        reason = "cancelled while it waited: SLURM knows its array, and nothing of the job"
        return JobReport("UNKNOWN", is_over=True, ending="cancelled", reason=reason)
    reason = "neither sacct nor squeue knows the job"
    return JobReport("UNKNOWN", is_over=True, ending="interrupted", reason=reason)


def _submit_array(
    folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
) -> list[Started]:
    """Hand all calls to sbatch once. Raises ExecutorError with sbatch's words, ClusterAway when it got no answer."""
    try:
        executor = SlurmSubmitter(folder, python=resources.options.python)
    except RuntimeError:
        raise slurm.not_installed("srun") from None
    executor.update_parameters(**make_parameters(name, resources, parallelism or len(calls), os.environ))
    try:
        with environment_changed(is_of_another_job, SAFE_PATH), executor.batch():
            jobs = [executor.submit(call.function, *call.arguments) for call in calls]
    except FailedJobError as error:
        raise slurm.refusal("sbatch", str(error)) from None
    except FailedSubmissionError as error:
        raise ClusterAway(" ".join(str(error).split())) from None
    except FileNotFoundError as error:
        if error.filename != "sbatch":
            raise
        raise slurm.not_installed("sbatch") from None
    return [Started(job_id=str(job.job_id), process=None) for job in jobs]


def make_parameters(
    name: str, resources: Resources, parallelism: int, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Parameters of submitit: what the tier says, then what the profile passes on; no secret of `environment`."""
    options = resources.options
    values: dict[str, Any] = {
        "job_name": name,
        "time": resources.time_min,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "gpus_per_node": None if "gpu" in (options.gres or "") else resources.gpus or None,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.mem_gb * 1024:.0f}MB" if resources.mem_gb else None,
        "array_parallelism": parallelism,
        "stderr_to_stdout": True,
    }
    passed = options.model_dump(exclude={"python"}, exclude_none=True)
    values |= {key: list(value) if isinstance(value, tuple) else value for key, value in passed.items()}
    values["exclusive"] = options.exclusive or None
    values["signal_delay_s"] = _limit_signal_delay(options.signal_delay_s or SIGNAL_DELAY_S, resources.time_min)
    values |= hide_secrets(values.get("additional_parameters", {}), values.get("setup", []), environment)
    values = {key: value for key, value in values.items() if value is not None}
    # Left out, submitit would name a key of its own, which a cluster need not know.
    return values | {"wckey": options.wckey}


def _limit_signal_delay(delay_s: int, time_min: int) -> int:
    """At most a quarter of the time; and not so early that submitit takes the end of the time for a preemption.

    submitit does so until 80% of the time, or all but ten minutes of it, are over; SLURM may be a minute early.
    """
    return max(1, min(delay_s, time_min * 15, max(540, time_min * 12 - 60)))
