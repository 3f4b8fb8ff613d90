"""Runs SLURM's commands (sacct, squeue, scontrol ...) and parses their output: job states, reasons, errors.

Submits nothing, and does not depend on launches.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nightboard.profiles.models.endings import Ending
from nightboard.tasks.cluster.executor import ClusterAway, ExecutorError, JobReport

# What each of SLURM's words means: not over (None), or how the job ended; and that in words.
STATES: dict[str, tuple[Ending | None, str]] = {
    "PENDING": (None, "waits for its turn"),
    "CONFIGURING": (None, "its nodes are being prepared"),
    "RUNNING": (None, "runs"),
    "SUSPENDED": (None, "is suspended"),
    "STOPPED": (None, "is stopped and keeps its nodes"),
    "SIGNALING": (None, "is being signalled"),
    "RESIZING": (None, "changes its size"),
    "STAGE_OUT": (None, "its files are being copied"),
    "COMPLETING": (None, "is ending"),
    "REQUEUED": (None, "was put back into the queue"),
    "REQUEUE_FED": (None, "was put back into the queue of its federation"),
    "REQUEUE_HOLD": (None, "was put back into the queue and is held: use scontrol release"),
    "SPECIAL_EXIT": (
        None,
        "was put back into the queue and is held for its exit code: use scontrol release",
    ),
    "RESV_DEL_HOLD": (None, "is held because its reservation was deleted"),
    "COMPLETED": (None, "the job ended without an outcome"),
    "FAILED": ("failed", "the job failed with exit code {exit_code}"),
    "TIMEOUT": ("timeout", "the time limit of {limit} was reached"),
    "DEADLINE": ("deadline", "the job's deadline has passed"),
    "PREEMPTED": ("preempted", "the job was preempted by one of higher priority"),
    "NODE_FAIL": ("node_fail", "the node failed ({node})"),
    "BOOT_FAIL": ("boot_fail", "the node did not boot ({node})"),
    "OUT_OF_MEMORY": ("out_of_memory", "out of host memory: the job used more than it was given ({node})"),
    "CANCELLED": ("cancelled", "cancelled by {by}"),
    "REVOKED": ("revoked", "another cluster of the federation has taken the job"),
}
_OVER = frozenset(state for state, (ending, _) in STATES.items() if ending) | {"COMPLETED"}
# These end by themselves. After all other ends SLURM may still be killing processes, or start the job again.
_SURELY_OVER = frozenset({"COMPLETED", "FAILED"})
# A job that failed because somebody killed its process: the signal, as SLURM, srun (as the exit code) or a shell (128
# more) reports it.
_KILLED: dict[int, tuple[Ending, str]] = {
    9: ("interrupted", "its process was killed (signal 9), perhaps for lack of memory"),
    12: ("timeout", "it was asked to stop before it could answer (signal 12)"),
    15: ("interrupted", "its process was asked to end (signal 15)"),
}
COMMAND_TIMEOUT_S = 60.0
_AWAY = re.compile(
    r"unable to contact slurm|unable to connect|connection (refused|timed out|reset|failure)|connect failure|"
    r"socket timed out|zero bytes|temporarily un(available|able)|slurm_persist_conn|problem talking to|standby mode|"
    r"no route to host|(host|network) is (down|unreachable)|transport endpoint is not connected|"
    r"message (receive|send) failure|protocol authentication error|broken pipe|no answer within",
    re.IGNORECASE,
)
_GONE = re.compile(r"already (finished|complet)|invalid job id|no longer pending", re.IGNORECASE)
_MEMORY_KILL = re.compile(r"^(slurmstepd|srun).*(exceeded.* memory limit|oom.?kill|out of memory)", re.IGNORECASE)
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)
# Running longer than its limit by so much is only said of jobs whose end was never written down.
_OVERDUE_S = 600
_SACCT_FIELDS = (
    "JobID", "State", "ExitCode", "ElapsedRaw", "TimelimitRaw", "Start", "End", "ConsumedEnergyRaw", "NodeList",
    "JobName",
)  # fmt: skip
_SQUEUE_FIELDS = ("%F", "%K", "%T", "%M", "%l", "%S", "%e", "%N", "%r", "%j")
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_RELEASE = "Release it with `scontrol release`, or stop it with `nightboard cancel`."
_IMPOSSIBLE = "Change the tier in the cluster profile, then stop the job with `nightboard cancel`."
_ASK = "It waits for a higher limit: ask the cluster's administrators, or use another account, qos or partition."
_PARTITION = "Wait for whoever runs the cluster, or use another partition."
# SLURM's reasons for a job that waits, by how they begin: in words, and what to do about those that stay (else None).
# https://slurm.schedmd.com/job_reason_codes.html
WAITS: tuple[tuple[str, str, str | None], ...] = (
    ("Resources", "waits for nodes to become free", None),
    ("Priority", "jobs of higher priority come first", None),
    ("BeginTime", "may not begin yet: SLURM starts it later", None),
    ("Cleaning", "is being cleaned up after its last start", None),
    ("Prolog", "its nodes are being prepared", None),
    ("JobArrayTaskLimit", "as many jobs of its array run as may at once", None),
    ("JobHeldUser", "is held by a user", _RELEASE),
    ("JobHeldAdmin", "is held by an administrator", "Ask whoever runs the cluster to release it."),
    ("launch failed requeued held", "could not be started on its node, and is held", _RELEASE),
    ("launch_failed_requeued_held", "could not be started on its node, and is held", _RELEASE),
    ("JobHoldMaxRequeue", "was started too often, and is held", _RELEASE),
    ("ReqNodeNotAvail", "nodes that it needs are down, drained or reserved", "Look at the nodes with `sinfo -R`."),
    ("NodeDown", "nodes that it needs are down", "Look at the nodes with `sinfo -R`."),
    ("Nodes required for job are DOWN", "nodes that it needs are down, drained or reserved", "Look at `sinfo -R`."),
    ("PartitionDown", "its partition is down", _PARTITION),
    ("PartitionInactive", "its partition starts no jobs", _PARTITION),
    ("PartitionNodeLimit", "asks for more nodes than its partition gives, or they are down", _IMPOSSIBLE),
    ("PartitionTimeLimit", "asks for more time than its partition gives", _IMPOSSIBLE),
    ("PartitionConfig", "asks for more than its partition gives", _IMPOSSIBLE),
    ("BadConstraints", "no node has what it asks for", _IMPOSSIBLE),
    ("AccountNotAllowed", "its account may not use the partition", _IMPOSSIBLE),
    ("QOSNotAllowed", "its qos may not use the partition", _IMPOSSIBLE),
    ("InvalidAccount", "its account is not valid", _IMPOSSIBLE),
    ("InvalidQOS", "its qos is not valid", _IMPOSSIBLE),
    ("DependencyNeverSatisfied", "the job that it depends on has failed", "Stop it with `nightboard cancel`."),
    ("Dependency", "waits for another job to end", None),
    ("Reservation", "waits for its reservation", None),
    ("Licenses", "waits for a license", None),
    ("FedJobLock", "waits for its federation", None),
)
# What one job may ask for at most, or all may use up over time, does not end with other jobs.
_LASTING_LIMIT = re.compile(r"PerJob|PerNode|Minutes|Wall|TimeLimit")
_LIMIT = re.compile(r"QOS|Assoc|Max\w+Per(User|Account)")


class NoAccounting(ExecutorError):
    """The cluster keeps no accounts: sacct is of no use."""


@dataclass(frozen=True)
class JobAnswer:
    """What one command says of a job. `is_sure`: nobody else has to be asked."""

    report: JobReport
    is_sure: bool = True

    @property
    def waits(self) -> bool:
        """Whether the job waits, so that SLURM has a reason."""
        return self.report.state in _WAITING


def ask_sacct(job_ids: Mapping[str, str]) -> dict[str, JobAnswer]:
    """What accounting knows of these jobs, each with the name that it must bear; one call, whatever their number."""
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids}, key=int)
    text = run("sacct", "-X", "-P", "-n", "-o", ",".join(_SACCT_FIELDS), "-j", ",".join(arrays))
    return parse_sacct(text, job_ids)


def ask_squeue(names: Sequence[str]) -> dict[str, JobAnswer]:
    """What slurmctld knows of all jobs with these names: that wait, run, or ended some minutes ago."""
    return parse_squeue(run("squeue", "-h", "-a", "-r", "-t", "all", "--name", ",".join(names), "-o", _columns()))


def find_arrays(name: str, since: datetime | None) -> list[str]:
    """Ids of the arrays and single jobs called `name`, oldest first.

    squeue knows a job from its first moment, sacct after its end: it is asked where `since` says from when on.
    """
    queued = run("squeue", "-h", "-a", "-t", "all", "--name", name, "-o", "%F").split()
    if not queued and since:
        try:
            text = run("sacct", "-X", "-P", "-n", "-S", f"{since:%Y-%m-%d}", "-o", "JobID", "--name", name)
        except NoAccounting:
            return []
        queued = [line.partition("_")[0] for line in text.splitlines()]
    return sorted({array for array in queued if array.isdigit()}, key=int)


def read_max_array_size() -> int | None:
    """How many tasks an array may have, by the cluster's configuration."""
    text = run("scontrol", "show", "config")
    # The largest index is MaxArraySize - 1, and the first is 0.
    bounds = re.findall(r"\bMaxArraySize\s*=\s*(\d+)|\bmax_array_tasks=(\d+)", text)
    sizes = [int(size or tasks) for size, tasks in bounds]
    return max(1, min(sizes)) if sizes else None


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """Stop jobs; those that have ended are left alone."""
    for start in range(0, len(job_ids), 1000):
        _run_unless_gone("scancel", *job_ids[start : start + 1000])


def has_run_out_of_memory(output: Iterable[str]) -> bool:
    """Whether SLURM has written into a job's output that it killed it for its memory; its state need not say so."""
    return any(_MEMORY_KILL.search(line) for line in output)


def exclude_nodes(array: str, nodes: str) -> None:
    """Keep what waits of the array off these nodes; nothing to do when none waits any more."""
    _run_unless_gone("scontrol", "update", f"JobId={array}", f"ExcNodeList={nodes}")


def throttle_array(array: str, parallelism: int) -> None:
    """Let so many tasks of the array run at once; nothing to do when none waits any more."""
    _run_unless_gone("scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={parallelism}")


# ------------------------------------------------------------------------------------------------- running commands


def run(*command: str) -> str:
    """What a command prints. Raises ClusterAway when the cluster does not answer, ExecutorError when it refuses."""
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=COMMAND_TIMEOUT_S, check=False,
            env=_environment(),
        )  # fmt: skip
    except FileNotFoundError:
        raise not_installed(command[0]) from None
    except subprocess.TimeoutExpired:
        raise ClusterAway(f"{command[0]}: no answer within {COMMAND_TIMEOUT_S:.0f} s") from None
    # sacct also exits with 0 when slurmdbd has lost its data base, and then knows no job.
    if process.returncode or "error:" in process.stderr:
        raise refusal(command[0], process.stderr or process.stdout)
    return process.stdout


def refusal(command: str, text: str) -> ExecutorError:
    """The error that a command's words stand for, in one line."""
    lines = (re.sub(r"^(\w+: )?(error|fatal): ", "", line.strip()) for line in text.splitlines())
    words = f"{command}: {'; '.join(dict.fromkeys(filter(None, lines)))[:500] or 'failed and did not say why'}"
    if _NO_ACCOUNTING.search(text):
        return NoAccounting(words)
    return ClusterAway(words) if _AWAY.search(text) else ExecutorError(words)


def not_installed(command: str) -> ExecutorError:
    """The error for a machine without SLURM's commands."""
    return ExecutorError(f"{command} is not on this machine. Run nightboard on a login node of the cluster.")


def _run_unless_gone(*command: str) -> None:
    try:
        run(*command)
    except ClusterAway:
        raise
    except ExecutorError as error:
        if not _GONE.search(str(error)):
            raise


# Variables that are options of SLURM's commands.
_OPTIONS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_")


def _environment() -> dict[str, str]:
    """Output as it is read here, whatever the shell's own settings: times in UTC, ranges in full where SLURM can."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OPTIONS)}
    return kept | {"TZ": "UTC", "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}


# --------------------------------------------------------------------------------------------------------- reading


def parse_sacct(text: str, job_ids: Mapping[str, str]) -> dict[str, JobAnswer]:
    """What `sacct -X -P -n` prints of these jobs. Lines that cannot be read, and other jobs' lines, are left out.

    A waiting array is one line, such as 12_[3-9%2]; SLURM itself cuts long ranges: 12_[1,3,5,7...%2] then stands for
    all tasks of the array that no other line names.
    """
    names = {job_id.partition("_")[0]: name for job_id, name in job_ids.items()}
    answers: dict[str, JobAnswer] = {}
    cut: dict[str, JobAnswer] = {}
    for cells in _read_cells(text, len(_SACCT_FIELDS)):
        job, state, exit_code, elapsed, limit, start, end, energy, nodes, name = cells
        array = job.partition("_")[0]
        if names.get(array) != name:
            continue  # numbers are given again, names are not
        report = _report(state, nodes, exit_code, float(elapsed) if elapsed.isdigit() else None, _read_number(limit))
        report = replace(report, started_at=_read_time(start), ended_at=_read_time(end) if report.is_over else None)
        answer = _judge(replace(report, energy_j=_read_energy(energy)), _read_number(limit))
        answers |= dict.fromkeys(expand_job_id(job), answer)
        if "..." in job:
            cut[array] = answer
    rest = {job_id: cut[array] for job_id in job_ids if (array := job_id.partition("_")[0]) in cut}
    return rest | answers


def parse_squeue(text: str) -> dict[str, JobAnswer]:
    """What `squeue -r` prints, one line a task."""
    answers = {}
    for cells in _read_cells(text, len(_SQUEUE_FIELDS)):
        array, index, state, elapsed, limit, start, end, nodes, waits_for, _ = cells
        limit_s = read_duration(limit)
        report = _report(state, nodes, None, read_duration(elapsed), limit_s / 60 if limit_s else None)
        report = replace(report, ended_at=_read_time(end) if report.is_over else None)
        # What stands there for a job that waits is a guess.
        report = replace(report, started_at=None if report.state == "PENDING" else _read_time(start))
        if report.state in _WAITING and waits_for not in ("", "None", "(null)"):
            words, advice = explain_wait(waits_for)
            report = replace(report, reason=words, waits_for=waits_for, advice=advice)
        answers[f"{array}_{index}" if index.isdigit() else array] = JobAnswer(report)
    return answers


def explain_wait(reason: str) -> tuple[str, str | None]:
    """SLURM's reason for a job that waits in words, its own beside them; and what to do, None: it ends by itself."""
    for start, words, advice in WAITS:
        if reason.startswith(start):
            return f"{words} ({reason})", advice
    if _LIMIT.match(reason):
        words = "a limit of its account, user or qos is reached"
        return f"{words} ({reason})", _ASK if _LASTING_LIMIT.search(reason) else None
    return f"SLURM's reason: {reason}", None


def expand_job_id(text: str) -> list[str]:
    """`7` as it is; `7_3`; `7_[1,3-5%2]` as 7_1, 7_3, 7_4, 7_5. What cannot be read stands for no job."""
    match = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\[([\d,:-]+)(\.\.\.)?(?:%\d+)?\]?))?", text)
    if not match:
        return []
    array, single, ranges, is_cut = match.groups()
    if single is not None or ranges is None:
        return [text]
    # The last number before the cut may itself be cut.
    parts = ranges.split(",")[:-1] if is_cut else ranges.split(",")
    return [f"{array}_{index}" for part in parts for index in _expand_range(part)]


def _expand_range(text: str) -> Sequence[int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", text)
    if not match:
        return ()
    first, last, step = match.groups()
    return range(int(first), int(last or first) + 1, max(1, int(step or 1)))


def _columns() -> str:
    return "|".join(_SQUEUE_FIELDS)


def _read_cells(text: str, count: int) -> Iterator[list[str]]:
    """The cells of each line that has them all; the last one may itself hold the separator."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", count - 1)]
        if len(cells) == count:
            yield cells


def _report(
    state: str, nodes: str, exit_code: str | None, elapsed_s: float | None, limit_min: float | None
) -> JobReport:
    word, _, by = state.partition(" by ")
    word = word.rstrip("+").upper()
    ending, reason = STATES.get(word, (None, f"SLURM says {word}, which is not known here; taken as running"))
    node = None if nodes in ("", "None assigned", "(null)", "N/A", "n/a") else nodes
    if word == "FAILED" and (killed := _read_signal(exit_code)) in _KILLED:
        ending, reason = _KILLED[killed]
    limit = f"{limit_min:g} min" if limit_min else "the job"
    by = f"uid {by}" if by else "another user"
    reason = reason.format(exit_code=_say_exit(exit_code), node=node or "which one is not known", limit=limit, by=by)
    return JobReport(word, word in _OVER, ending, reason, node, elapsed_s, exit_code)


def _judge(report: JobReport, limit_min: float | None) -> JobAnswer:
    if report.is_over:
        return JobAnswer(report, is_sure=report.state in _SURELY_OVER)
    is_overdue = limit_min is not None and (report.elapsed_s or 0) > limit_min * 60 + _OVERDUE_S
    return JobAnswer(report, is_sure=not is_overdue)


def _read_signal(exit_code: str | None) -> int:
    """The signal that may have ended a job, from `code:signal`; 0 for none."""
    match = re.fullmatch(r"(\d+):(\d+)", exit_code or "")
    code, signal = map(int, match.groups()) if match else (0, 0)
    return signal or (code - 128 if code > 128 else code)


def _say_exit(exit_code: str | None) -> str:
    code, _, signal = (exit_code or "").partition(":")
    return f"{code} (signal {signal})" if signal.strip("0") else code or "unknown"


def _read_number(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _read_energy(text: str) -> float | None:
    """Joules; where nothing is measured SLURM writes nothing, 0, or the largest numbers there are."""
    joules = _read_number(text)
    return joules if joules and joules < 2**63 and joules not in (2**32 - 1, 2**32 - 2) else None


def read_duration(text: str) -> float | None:
    """Seconds of `[days-][hours:]minutes:seconds`; None for UNLIMITED and the like."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _read_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
