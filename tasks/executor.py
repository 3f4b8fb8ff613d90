"""The one door to submitit and to the commands of SLURM: starts jobs, says what became of them, stops them.

Owns how a launch becomes processes, and what SLURM's words mean. Knows nothing of evaluations: a job is a function and
its arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError

from nightboard.profiles.models import Cluster, Ending, SlurmOptions
from nightboard.tasks.process import is_alive, list_descendants, process_of
from nightboard.tasks.records import ProcessId, Submission


class ExecutorError(Exception):
    """Jobs cannot be submitted or stopped; the message says why."""


class ClusterAway(ExecutorError):
    """The cluster does not answer for now; what was asked of it may or may not have been done."""


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
    when the job is over and did not end well; `reason` says it in words.
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


class Executor(Protocol):
    """What launching needs of a cluster. `name` is what a cluster profile calls it."""

    name: str

    def max_array_size(self) -> int | None:
        """Jobs that fit into one array; None where nobody bounds them."""
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
        """Stop jobs of a submission. Raises ExecutorError when they cannot be."""
        ...

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Let so many jobs of the array that these jobs are of run at once. Raises ExecutorError."""
        ...


def open_executor(cluster: Cluster) -> Executor:
    """The executor that a cluster profile names."""
    executors: dict[str, Callable[[], Executor]] = {"local": LocalExecutor, "dry": DryExecutor, "slurm": SlurmExecutor}
    return executors[cluster.executor]()


# ------------------------------------------------------------------------------------------------------------ local


class LocalExecutor:
    """submitit's local executor: every job is a process tree on this machine and starts at once.

    Its own memory of what runs ends with this process, so life is judged by the controller's pid and start time.
    """

    name = "local"
    # Shared by all executors of this process: a controller outlives the flow that started it, and is still our child.
    _children: ClassVar[list[submitit.Job[Any]]] = []

    def max_array_size(self) -> int | None:
        """No bound: jobs are single."""
        return None

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """Start one controller process a call; the caller bounds how many."""
        return [self._start(folder, name, call, resources) for call in calls]

    def _start(self, folder: Path, name: str, call: Call, resources: Resources) -> Started:
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(
            name=name, timeout_min=resources.time_min, gpus_per_node=resources.gpus, stderr_to_stdout=True
        )
        with _interrupts_ignored(), _environment_without_tokens():
            job = executor.submit(call.function, *call.arguments)
        self._children.append(job)
        return Started(job_id=str(job.job_id), process=process_of(int(job.job_id)))

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport]:
        """A job runs while its controller lives; nobody can tell of one on another host."""
        # Asking each child for its state also takes the dead ones off the process table.
        self._children[:] = [job for job in self._children if job.state == "RUNNING"]
        return {
            job_id: _report_process(process)
            for each in submissions
            for job_id, process in zip(each.job_ids, each.processes, strict=True)
            if job_id
        }

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> None:
        """Nobody: a local job is known by its process alone, which has taken its attempt if it ever began."""
        return

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """Kill the controllers and all that they have started."""
        for process in (submission.processes[index] for index in indexes):
            if process is None or is_alive(process) is False:
                continue
            if is_alive(process) is None:
                raise ExecutorError(f"the job runs on {process.host}, not on this host. Cancel it there.")
            for pid in (process.pid, *list_descendants(process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """Nothing to throttle: all jobs run already."""


def _report_process(process: ProcessId | None) -> JobReport:
    alive = False if process is None else is_alive(process)
    if alive is None:
        return JobReport("UNKNOWN", is_over=None)
    host = process.host if process else None
    if alive:
        return JobReport("RUNNING", is_over=False, node=host)
    return JobReport("UNKNOWN", is_over=True, ending="interrupted", node=host)


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


# ------------------------------------------------------------------------------------------------------------ SLURM

# What each of SLURM's words means: under way (None), or how the job ended, and that in words.
STATES: dict[str, tuple[Ending | None, str]] = {
    "PENDING": (None, "waits for its turn"),
    "CONFIGURING": (None, "its nodes are being prepared"),
    "RUNNING": (None, "runs"),
    "SUSPENDED": (None, "is suspended"),
    "STOPPED": (None, "is stopped and keeps its nodes"),
    "SIGNALING": (None, "is being signalled"),
    "RESIZING": (None, "changes its size"),
    "STAGE_OUT": (None, "copies its files"),
    "COMPLETING": (None, "is ending"),
    "REQUEUED": (None, "was put back into the queue"),
    "REQUEUE_FED": (None, "was put back into the queue of its federation"),
    "REQUEUE_HOLD": (None, "was put back into the queue and is held; release it with scontrol release"),
    "SPECIAL_EXIT": (None, "was put back into the queue with a special exit and is held"),
    "RESV_DEL_HOLD": (None, "is held because its reservation was deleted"),
    "COMPLETED": (None, "the job ended without an outcome"),
    "FAILED": ("failed", "the job failed with exit code {exit_code}"),
    "TIMEOUT": ("timeout", "the job reached its time limit"),
    "DEADLINE": ("deadline", "the job reached its deadline"),
    "PREEMPTED": ("preempted", "the job was preempted by another"),
    "NODE_FAIL": ("node_fail", "the node failed ({node})"),
    "BOOT_FAIL": ("boot_fail", "the node did not boot ({node})"),
    "OUT_OF_MEMORY": ("out_of_memory", "out of host memory: the job used more than it had asked for"),
    "CANCELLED": ("cancelled", "the job was cancelled by {by}"),
    "REVOKED": ("revoked", "the job was taken over by another cluster of its federation"),
}
_ENDED = frozenset(state for state, (ending, _) in STATES.items() if ending) | {"COMPLETED"}
# These may come back: SLURM puts the job into the queue again, and accounting learns of it when it starts.
_MAY_RETURN = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"})
# A job that accounting does not know is believed in for so long; it is told of new jobs with a delay.
UNKNOWN_LIMIT = timedelta(minutes=2)
# A cluster that is away is waited for so long while an array is being submitted.
PATIENCE_S = 600.0
RETRY_S = 5.0
COMMAND_TIMEOUT_S = 60.0
SIGNAL_DELAY_S = 60
_FIELDS = ("JobID", "State", "ExitCode", "NodeList", "ElapsedRaw", "Start", "End", "ConsumedEnergyRaw")
_AWAY = re.compile(
    r"unable to contact slurm|connection refused|socket timed out|zero bytes|temporarily unavailable|"
    r"unable to connect|connection timed out|communication connection failure|slurm_persist_conn|no answer within|"
    r"slurmdbd connection|problem talking to|in standby mode",
    re.IGNORECASE,
)
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)
# What a login shell may hold and a job must not see.
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
_submitting = threading.Lock()


class SlurmExecutor:
    """SLURM through submitit: an array a launch, under the launch's name; sacct is asked for all jobs at once.

    The watcher of submitit is not used: it backs off to ten minutes, and does not know what another process submitted.
    """

    name = "slurm"

    def max_array_size(self) -> int | None:
        """MaxArraySize of the cluster's configuration."""
        return self._max_array_size

    @cached_property
    def _max_array_size(self) -> int | None:
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
        return int(found[1]) if found else None

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        """One sbatch. While the cluster does not answer it is looked for by its name and tried again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._submit_once(folder, name, calls, resources, parallelism)
            except ClusterAway:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)
            # The answer to sbatch may have been lost after it was accepted.
            with contextlib.suppress(ClusterAway):
                if started := self.find(folder, name, calls):
                    return started

    def _submit_once(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        try:
            executor = submitit.SlurmExecutor(folder, python=resources.options.python)
        except RuntimeError:
            raise ExecutorError("srun is not on this machine. Run nightboard on a login node of the cluster.") from None
        executor.update_parameters(**_parameters(name, resources, parallelism or len(calls)))
        with _environment_without_tokens():
            try:
                with executor.batch():
                    jobs = [executor.submit(call.function, *call.arguments) for call in calls]
            except (FailedJobError, subprocess.CalledProcessError) as error:
                raise _refusal(str(error)) from error
        return [Started(job_id=str(job.job_id), process=None) for job in jobs]

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport] | None:
        """One sacct for all; squeue is asked only about what accounting cannot know."""
        wanted = {job_id: each.submitted_at for each in submissions for job_id in each.job_ids if job_id}
        if not wanted:
            return {}
        try:
            reports = self._account(wanted)
            doubtful = [
                job_id
                for job_id, submitted_at in wanted.items()
                if _is_doubtful(reports.get(job_id), now - submitted_at)
            ]
            queued = self._queue() if doubtful else {}
        except ClusterAway:
            return None
        for job_id in wanted:
            if job_id in queued and job_id in doubtful:
                reports[job_id] = queued[job_id]
            elif job_id not in reports:
                reports[job_id] = LOST if job_id in doubtful else JobReport("UNKNOWN", is_over=False)
        return {job_id: reports[job_id] for job_id in wanted}

    def _account(self, job_ids: Iterable[str]) -> dict[str, JobReport]:
        arrays = sorted({job_id.partition("_")[0] for job_id in job_ids}, key=int)
        try:
            # Without -S sacct would leave out what started before midnight.
            text = _ask("sacct", "-X", "-P", "-n", "-S", "2000-01-01", "-o", ",".join(_FIELDS), "-j", ",".join(arrays))
        except _NoAccountingError:
            return self._queue()
        return parse_sacct(text)

    def _queue(self, name: str | None = None) -> dict[str, JobReport]:
        """What slurmctld knows: all that waits and runs, and what ended a few minutes ago."""
        only = ("--name", name) if name else ()
        text = _ask("squeue", "-h", "-a", "-r", "-t", "all", *only, "-o", "%i|%T|%N|%S|%k")
        return {job_id: report for line in text.splitlines() for job_id, report in _read_queue_line(line)}

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started] | None:
        """Ask squeue, which knows an array from the first moment, then sacct, which never forgets."""
        found = set(self._queue(name))
        if not found:
            with contextlib.suppress(_NoAccountingError):
                text = _ask("sacct", "-X", "-P", "-n", "-S", "2000-01-01", "-o", ",".join(_FIELDS), "--name", name)
                found = set(parse_sacct(text))
        arrays = {job_id.partition("_")[0] for job_id in found}
        if not arrays:
            return None
        # Two of one name cannot be; if they are, the first is the one that could have begun.
        array = min(arrays, key=int)
        is_single = found == {array} and len(calls) == 1
        job_ids = [array] if is_single else [f"{array}_{index}" for index in range(len(calls))]
        for job_id, call in zip(job_ids, calls, strict=True):
            _put_pickle_right(folder, job_id, call)
        return [Started(job_id=job_id, process=None) for job_id in job_ids]

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        """One scancel for all."""
        job_ids = [submission.job_ids[index] for index in indexes if submission.job_ids[index]]
        for start in range(0, len(job_ids), 1000):
            _ask("scancel", *job_ids[start : start + 1000])

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        """The array's own throttle."""
        arrays = {job_id.partition("_")[0] for job_id in job_ids if "_" in job_id}
        for array in sorted(arrays):
            try:
                _ask("scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={max(1, parallelism)}")
            except ClusterAway:
                raise
            except ExecutorError as error:
                # Its last jobs have ended meanwhile; nothing is left to throttle.
                if not re.search("already finished|already completing|invalid job id", str(error), re.IGNORECASE):
                    raise


LOST = JobReport(
    "UNKNOWN", is_over=True, ending="interrupted", reason="neither sacct nor squeue knows the job any more"
)


class _NoAccountingError(ExecutorError):
    """The cluster keeps no accounts."""


def _parameters(name: str, resources: Resources, parallelism: int) -> dict[str, Any]:
    """The parameters of submitit: what a tier says, then what the profile passes on."""
    values: dict[str, Any] = {
        "job_name": name,
        "time": resources.time_min,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "gpus_per_node": resources.gpus or None,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.mem_gb * 1024:.0f}MB" if resources.mem_gb else None,
        "array_parallelism": parallelism,
        "stderr_to_stdout": True,
        "signal_delay_s": SIGNAL_DELAY_S,
        # A job whose node fails comes back, whatever the site's default is.
        "additional_parameters": {"requeue": True, **(resources.options.additional_parameters or {})},
    }
    passed = resources.options.model_dump(exclude={"python", "additional_parameters"}, exclude_none=True)
    values |= {key: list(value) if isinstance(value, tuple) else value for key, value in passed.items()}
    return {key: value for key, value in values.items() if value is not None}


def parse_sacct(text: str) -> dict[str, JobReport]:
    """Jobs by id from `sacct -P -n` with the columns asked for here; a waiting array is a range such as 12_[3-9%2]."""
    reports: dict[str, JobReport] = {}
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) != len(_FIELDS):
            continue
        job, state, exit_code, nodes, elapsed, start, end, energy = (cell.strip() for cell in cells)
        word, _, by = state.partition(" by ")
        report = _make_report(word.rstrip("+").upper(), node=_name_nodes(nodes), exit_code=exit_code, by=by)
        report = replace(
            report,
            elapsed_s=float(elapsed) if elapsed.isdigit() else None,
            started_at=_read_time(start),
            ended_at=_read_time(end),
            energy_j=float(energy) if energy.isdigit() and int(energy) else None,
        )
        reports |= dict.fromkeys(expand_job_id(job), report)
    return reports


def expand_job_id(text: str) -> list[str]:
    """`7` as it is; `7_3`; `7_[1,3-5%2]` as 7_1, 7_3, 7_4, 7_5."""
    found = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\[([\d,:-]+)(?:%\d+)?\]))?", text)
    if not found:
        return []
    array, single, ranges = found.groups()
    if single is not None:
        return [f"{array}_{int(single)}"]
    if ranges is None:
        return [array]
    job_ids = []
    for part in ranges.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        job_ids += [f"{array}_{index}" for index in range(int(first), int(last or first) + 1, int(step or 1))]
    return job_ids


def _make_report(state: str, node: str | None, exit_code: str | None, by: str) -> JobReport:
    ending, words = STATES.get(state, (None, f"is in a state that is not known here ({state})"))
    reason = words.format(exit_code=exit_code, node=node or "unknown", by=f"user {by}" if by else "somebody")
    return JobReport(state, is_over=state in _ENDED, ending=ending, reason=reason, node=node, exit_code=exit_code)


def _read_queue_line(line: str) -> Iterator[tuple[str, JobReport]]:
    job, state, nodes, start, _ = (*line.split("|"), "", "", "", "")[:5]
    report = replace(_make_report(state, _name_nodes(nodes), None, ""), started_at=_read_time(start))
    yield from ((job_id, report) for job_id in expand_job_id(job))


def _is_doubtful(report: JobReport | None, age: timedelta) -> bool:
    """Whether slurmctld has to be asked: accounting has not heard of the job, or not yet of its return."""
    return age > UNKNOWN_LIMIT if report is None else report.state in _MAY_RETURN


def _name_nodes(text: str) -> str | None:
    return None if text in ("", "None assigned", "(null)", "N/A") else text


def _read_time(text: str) -> datetime | None:
    try:
        # SLURM writes local time without a zone.
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def _put_pickle_right(folder: Path, job_id: str, call: Call) -> None:
    """Give a job's call the name under which submitit looks for it; submitit does so only after sbatch."""
    target = folder / f"{job_id}_submitted.pkl"
    if target.exists():
        return
    for path in folder.glob("*.pkl"):
        # Another flow may be doing the same.
        with contextlib.suppress(FileNotFoundError):
            if re.fullmatch(r"[0-9a-f]{32}", path.stem) and DelayedSubmission.load(path).args == call.arguments:
                os.replace(path, target)
                return


def _ask(*command: str) -> str:
    """What a command of SLURM prints. Raises ClusterAway when the cluster does not answer, else ExecutorError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise ExecutorError(
            f"{command[0]} is not on this machine. Run nightboard on a login node of the cluster."
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterAway(f"{command[0]}: no answer within {COMMAND_TIMEOUT_S:.0f} s.") from None
    if done.returncode:
        raise _refusal(f"{command[0]}: {done.stderr or done.stdout}")
    return done.stdout


def _refusal(text: str) -> ExecutorError:
    """The error that a command's words stand for, in one line."""
    words = " ".join(re.sub(r"\b(sbatch|sacct|squeue|scancel|scontrol): error: ", "", text).split())
    if _NO_ACCOUNTING.search(text):
        return _NoAccountingError(words)
    return ClusterAway(words) if _AWAY.search(text) else ExecutorError(words[:500])


# ----------------------------------------------------------------------------------------------------- surroundings


@contextlib.contextmanager
def _environment_without_tokens() -> Iterator[None]:
    """Jobs inherit the environment they are submitted from; a token has no business on a node."""
    with _submitting:
        kept = {name: os.environ.pop(name) for name in _SECRETS if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(kept)


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
