"""The back ends of a cluster, and the one door to submitit: starts jobs, says what became of them, stops them.

Owns how a launch becomes processes. What SLURM says is read in slurm.py; of evaluations nothing is known here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import submitit
from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError, JobPaths

from nightboard.profiles.models import Cluster
from nightboard.tasks import slurm
from nightboard.tasks.gpus import describe_choice, list_gpus
from nightboard.tasks.jobs import Call, ClusterAway, Executor, ExecutorError, JobReport, Resources, Started
from nightboard.tasks.process import find_processes, is_alive, kill_process, list_descendants, process_of
from nightboard.tasks.records import ProcessId, Submission

__all__ = ["Call", "ClusterAway", "Executor", "ExecutorError", "JobReport", "Resources", "Started", "open_executor"]

_log = logging.getLogger(__name__)

# submitit itself waits so long for a call to get its job's name.
NAMED_WITHIN_S = 60.0


def open_executor(cluster: Cluster) -> Executor:
    """The executor that a cluster profile names."""
    if cluster.executor == "local":
        return LocalExecutor(cluster.gpus)
    executors: dict[str, Callable[[], Executor]] = {"dry": DryExecutor, "slurm": SlurmExecutor}
    return executors[cluster.executor]()


# ------------------------------------------------------------------------------------------------- a job's first step

# -P: a file submitit.py, or any other, in the folder where a flow was started is nobody's module.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def _make_command(python: str, folder: Path) -> str:
    return f"{python} -P -u -m nightboard.tasks.job {shlex.quote(str(folder))}"


class _LocalSubmitter(submitit.LocalExecutor):  # type: ignore[misc]
    @property
    def _submitit_command_str(self) -> str:
        return _make_command(self.python, self.folder)


class _SlurmSubmitter(submitit.SlurmExecutor):  # type: ignore[misc]
    @property
    def _submitit_command_str(self) -> str:
        return _make_command(self.python, self.folder)


def find_call(folder: Path) -> Path:
    """Where submitit, in a job, reads what this job is to run. Names are given after the submission: waits for it."""
    path = Path(JobPaths(folder, job_id=submitit.JobEnvironment().job_id).submitted_pickle)
    deadline = time.monotonic() + NAMED_WITHIN_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    return path


def run_call(folder: Path) -> None:
    """Unpickle the call of this job and run it."""
    process_job(folder)


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
        environment = _SAFE_PATH | self._choose_gpus(resources.gpus)
        return [self._start(folder, name, call, resources, environment) for call in calls]

    def _choose_gpus(self, wanted: int) -> dict[str, str]:
        """What jobs may choose from. Where nothing tells, the machine is taken to have as many as a job wants."""
        found = list_gpus(self._gpus, os.environ)
        if found is None:
            found = list_gpus(wanted, os.environ) or []
        if wanted > len(found):
            raise ExecutorError(
                f"a job wants {wanted} GPUs, and this machine has {len(found)} for it. "
                "Write a smaller number in the tier, or look at CUDA_VISIBLE_DEVICES and at the cluster's gpus."
            )
        return describe_choice(found, wanted)

    def _start(
        self, folder: Path, name: str, call: Call, resources: Resources, environment: Mapping[str, str]
    ) -> Started:
        executor = _LocalSubmitter(folder)
        # No GPU until the job has taken its own.
        executor.update_parameters(name=name, timeout_min=resources.time_min, gpus_per_node=0, stderr_to_stdout=True)
        with _interrupts_ignored(), _environment_changed(is_secret, environment):
            job = executor.submit(call.function, *call.arguments)
        self._children.append(job)
        return Started(job_id=str(job.job_id), process=process_of(int(job.job_id)))

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport]:
        """A job runs while its controller lives; nobody here can tell of one on another host."""
        # Asking each child for its state also takes the dead ones off the process table.
        self._children[:] = [job for job in self._children if job.state == "RUNNING"]
        reports: dict[str, JobReport] = {}
        for each in submissions:
            for job_id, process in zip(each.job_ids, each.processes, strict=True):
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


class DryExecutor:
    """Writes what would be submitted and starts nothing: for measuring, and for looking at a launch."""

    name = "dry"

    def max_array_size(self) -> int | None:
        """No bound."""
        return None

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """Pickle every call as submitit would."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, call in enumerate(calls):
            DelayedSubmission(call.function, *call.arguments).dump(folder / f"{name}_{index}_submitted.pkl")
        return [Started(job_id=f"dry_{name}_{index}", process=None) for index in range(len(calls))]

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport]:
        """Nothing was started, so all is over; and starting it again tonight would be no different."""
        report = JobReport("UNKNOWN", is_over=True, ending="cancelled", reason="a dry executor starts nothing")
        return {job_id: report for each in submissions for job_id in each.job_ids if job_id}

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> None:
        """Nothing was started."""
        return

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """Nothing runs."""

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Nothing runs."""

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """Nothing waits."""


# ------------------------------------------------------------------------------------------------------------ SLURM

# A cluster that is away is waited for so long while an array is being submitted.
PATIENCE_S = 600.0
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
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return _submit_array(folder, name, calls, resources, parallelism)
            except ClusterAway as error:
                _log.warning("%s; trying again for %.0f s", error, max(0.0, deadline - time.monotonic()))
                if found := self._find_until(deadline, folder, name, calls, error):
                    return found
            for path in _pickles_without_job(folder):
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
        jobs = {job_id: each for each in submissions for job_id in each.job_ids if job_id}
        if not jobs:
            return {}
        try:
            answers = self._ask(jobs)
            doubtful = {
                job_id: each
                for job_id, each in jobs.items()
                if (not answers[job_id].is_sure if job_id in answers else now - each.submitted_at > ASK_QUEUE_AFTER)
            }
            waiting = {job_id: each for job_id, each in jobs.items() if job_id in answers and answers[job_id].waits}
            queued = self._ask_queue(doubtful, waiting)
        except ClusterAway as error:
            _log.info("%s", error)
            return None
        arrays = {array for array, _, index in (each.partition("_") for each in (*answers, *queued)) if index}
        return {
            job_id: _conclude(
                answers.get(job_id),
                queued.get(job_id),
                is_doubtful=job_id in doubtful,
                lost=_explain_loss(job_id, arrays, now - each.submitted_at),
            )
            for job_id, each in jobs.items()
        }

    def _ask(self, jobs: Mapping[str, Submission]) -> dict[str, slurm.Answer]:
        if self._has_accounting:
            try:
                return slurm.ask_sacct({job_id: each.launch_id for job_id, each in jobs.items()})
            except slurm.NoAccounting:
                self._has_accounting = False
        return slurm.ask_squeue(_names(jobs))

    def _ask_queue(
        self, doubtful: Mapping[str, Submission], waiting: Mapping[str, Submission]
    ) -> dict[str, slurm.Answer]:
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
        _name_pickles(folder, dict(zip(job_ids, calls, strict=True)))
        return [Started(job_id=job_id, process=None) for job_id in job_ids]

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """One scancel for all."""
        slurm.cancel_jobs([job_id for index in indexes if (job_id := submission.job_ids[index])])

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """The array's own throttle; a single job has none."""
        for array in sorted({job_id.partition("_")[0] for job_id in job_ids if "_" in job_id}):
            slurm.throttle_array(array, max(1, parallelism))

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        """One call an array; what runs goes on where it is."""
        for array in sorted({job_id.partition("_")[0] for job_id in job_ids}):
            slurm.exclude_nodes(array, nodes)


def _names(jobs: Mapping[str, Submission]) -> list[str]:
    return sorted({each.launch_id for each in jobs.values()})


def _conclude(
    accounted: slurm.Answer | None, queued: slurm.Answer | None, *, is_doubtful: bool, lost: JobReport
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
        executor = _SlurmSubmitter(folder, python=resources.options.python)
    except RuntimeError:
        raise slurm.not_installed("srun") from None
    executor.update_parameters(**make_parameters(name, resources, parallelism or len(calls), os.environ))
    try:
        with _environment_changed(_is_of_another_job, _SAFE_PATH), executor.batch():
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
    values |= _hide_secrets(values.get("additional_parameters", {}), values.get("setup", []), environment)
    values = {key: value for key, value in values.items() if value is not None}
    # Left out, submitit would name a key of its own, which a cluster need not know.
    return values | {"wckey": options.wckey}


def _hide_secrets(
    additional: Mapping[str, Any], setup: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Set the submitting shell's secrets to nothing for sbatch, then unset them: neither job nor steps have them."""
    values = {key.replace("_", "-"): value for key, value in additional.items()}
    # A job whose node fails comes back, whatever the site's default is, unless the profile forbids it.
    values |= {"no-requeue": True} if values.get("requeue") is False else {}
    values |= {} if "no-requeue" in values else {"requeue": True}
    values = {key: value for key, value in values.items() if value is not False}
    export = str(values.get("export", "ALL"))
    secrets = sorted(name for name in environment if is_secret(name) and name.isidentifier())
    if export.split(",")[0] != "ALL" or not secrets:
        return {"additional_parameters": values, "setup": list(setup) or None}
    values["export"] = ",".join([export, *(f"{name}=" for name in secrets)])
    return {"additional_parameters": values, "setup": [f"unset SLURM_EXPORT_ENV {' '.join(secrets)}", *setup]}


def _limit_signal_delay(delay_s: int, time_min: int) -> int:
    """At most a quarter of the time; and not so early that submitit takes the end of the time for a preemption.

    submitit does so until 80% of the time, or all but ten minutes of it, are over; SLURM may be a minute early.
    """
    return max(1, min(delay_s, time_min * 15, max(540, time_min * 12 - 60)))


def _pickles_without_job(folder: Path) -> list[Path]:
    """Calls that submitit has written but not yet given a job's name; it does so only after sbatch."""
    return [path for path in folder.glob("*.pkl") if re.fullmatch(r"[0-9a-f]{32}", path.stem)]


def _name_pickles(folder: Path, calls: Mapping[str, Call]) -> None:
    """Give each job its call under the name where submitit looks for it. Others may be doing the same."""
    targets = {job_id: JobPaths(folder, job_id=job_id).submitted_pickle for job_id in calls}
    missing = {job_id: path for job_id, path in targets.items() if not path.exists()}
    if not missing:
        return
    sources: dict[str, Path] = {}
    for path in _pickles_without_job(folder):
        with contextlib.suppress(FileNotFoundError):
            sources[repr(DelayedSubmission.load(path).args)] = path
    for job_id, target in missing.items():
        if source := sources.get(repr(calls[job_id].arguments)):
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                os.link(source, target)


# ------------------------------------------------------------------------------------------------------ environment

# What a login shell may hold and a job must not see. TOKENIZERS_PARALLELISM is no token.
_SECRET = re.compile(
    r"PASSWORD$|(^|_)(TOKEN(_PATH|_FILE)?|SECRETS?|PASSWD|PASSPHRASE|CREDENTIALS?|JWT|API_?KEYS?|ACCESS_KEY(_ID)?|"
    r"SECRET_(ACCESS_)?KEY|PRIVATE_KEY|AUTH_STRING)$",
    re.IGNORECASE,
)
# Where the cluster is, not which job this process itself may be in.
_OF_THE_CLUSTER = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_changing_environment = threading.Lock()


def is_secret(name: str) -> bool:
    """Whether an environment variable looks like one that gives access to something."""
    return bool(_SECRET.search(name))


def _is_of_another_job(name: str) -> bool:
    """What a flow that itself runs as a job would pass on, and what would overrule the profile."""
    return name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")) and name not in _OF_THE_CLUSTER


@contextlib.contextmanager
def _environment_changed(is_unwanted: Callable[[str], bool], added: Mapping[str, str]) -> Iterator[None]:
    """Let a child start in another environment; submitit gives no other way than this process's own.

    Empty parts of PYTHONPATH, which stand for the working folder, are left out.
    """
    with _changing_environment:
        before = dict(os.environ)
        for name in filter(is_unwanted, before):
            del os.environ[name]
        os.environ.update(added)
        if path := before.get("PYTHONPATH"):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
        try:
            yield
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)


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
