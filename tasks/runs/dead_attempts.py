"""Detects dead attempts (ended without an outcome) and writes their outcome from the cluster's report."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nightboard.profiles.models.endings import Ending
from nightboard.tasks.cluster.processes import is_alive
from nightboard.tasks.cluster.slurm_commands import has_run_out_of_memory
from nightboard.tasks.evaluation.job_log import read_log_tail
from nightboard.tasks.evaluation.lease import current_owner
from nightboard.tasks.runs.false_start import explain_false_start, explain_lost_outcome
from nightboard.tasks.runs.launch import find_job_output
from nightboard.tasks.runs.open_runs import LAUNCHING_LIMIT, ClusterAnswer, OpenAttempt, OpenLaunch, list_attempts
from nightboard.tasks.store.layout import LOG_FILE, OWNER_FILES, Store
from nightboard.tasks.store.records import AttemptOwner, Outcome


def is_attempt_running(attempt: OpenAttempt, launch: OpenLaunch, cluster: ClusterAnswer) -> bool:
    """Whether the job may still start, or its process runs. Changes nothing."""
    if cluster.executor is None or launch.launch.executor != cluster.executor.name:
        return True  # another kind of executor launched it; a board with that executor will check it
    if launch.is_launching or (launch.submission is not None and cluster.reports is None):
        return True
    is_over = True if launch.submission is None or attempt.job_id is None else attempt.report and attempt.report.is_over
    if is_over is False:
        return True
    if is_over is None and cluster.now < _deadline(launch.launch.created_at, attempt, launch):
        return True
    owner = current_owner(attempt.folder)
    if owner is None or owner.kind != "job":
        return False
    alive = is_alive(owner.process)
    if alive is None:
        # On another host: the cluster's report counts, if there is one.
        return is_over is None and cluster.now < _deadline(owner.at, attempt, launch)
    return alive


def _deadline(start: datetime, attempt: OpenAttempt, launch: OpenLaunch) -> datetime:
    """The latest end of a job that started at `start`, from its time limit."""
    return start + timedelta(minutes=launch.launch.jobs[attempt.job_index].time_min) + LAUNCHING_LIMIT


# --------------------------------------------------------------------------------------------------------- outcomes


def explain_end(store: Store, attempt: OpenAttempt, owner: AttemptOwner, launch: OpenLaunch, now: datetime) -> Outcome:
    """The outcome of an attempt without one, from the cluster's report on its job."""
    report = attempt.report
    ran = _last_run(attempt.folder)
    state, reason = _judge_end(store, attempt, ran is not None, launch)
    values: dict[str, Any] = {"state": state, "reason": reason, "job_id": attempt.job_id, "ended_at": now}
    if report:
        values |= {"node": report.node, "ended_at": report.ended_at or now}
    if ran:
        values |= {"job_id": ran.job_id or attempt.job_id, "started_at": ran.at}
        values["node"] = values.get("node") or ran.process.host
        values["ended_at"] = max(values["ended_at"], ran.at)
    return Outcome(**values, log_tail=_read_last_lines(store, attempt, launch))


def _judge_end(store: Store, attempt: OpenAttempt, has_begun: bool, launch: OpenLaunch) -> tuple[Ending, str]:
    report = attempt.report
    if launch.submission is None or attempt.job_id is None:
        return "not_started", "the flow that launched it was stopped before it submitted the job"
    said = f": {report.reason}" if report and report.reason else ""
    output = _read_job_output(store, attempt, launch)
    if has_begun:
        if has_run_out_of_memory(output):
            return "out_of_memory", "out of host memory: the cluster killed the job, which used more than it was given"
        where = f" on {report.node}" if report and report.node else ""
        is_stopped = report is not None and report.ending not in (None, "failed", "interrupted")
        if not is_stopped and (lost := explain_lost_outcome(output, attempt.folder)):
            return "environment", f"{lost}{where}"
        return (report and report.ending) or "interrupted", (
            (report and report.reason) or f"the process ended without an outcome (killed?){where}"
        )
    if report and report.ending == "cancelled":
        return "cancelled", f"the job ended before it began to evaluate{said}"
    if report is None or report.ending is None or _has_anybody_begun(store, attempt, launch):
        return "not_started", f"the job ended before it started this evaluation{said}"
    # The model was not read, so it cannot be the cause.
    false_start = explain_false_start(output)
    if false_start or report.ending in ("failed", "timeout", "out_of_memory"):
        return (
            "environment",
            f"the job ended before it began to evaluate{said}{f'. {false_start}' if false_start else ''}",
        )
    return report.ending, f"the job ended before it began to evaluate{said}"


def _has_anybody_begun(store: Store, attempt: OpenAttempt, launch: OpenLaunch) -> bool:
    """Whether the job ran any of its shards. One that ran none has its own trouble, which would only come again."""
    return any(_last_run(folder) for folder in list_attempts(store, launch.launch, attempt.job_index))


def _last_run(folder: Path) -> AttemptOwner | None:
    """The last job that owned the attempt; None if none did."""
    jobs = [owner for owner in map(AttemptOwner.read, folder.glob(OWNER_FILES)) if owner.kind == "job"]
    return max(jobs, key=lambda owner: owner.at, default=None)


def _read_last_lines(store: Store, attempt: OpenAttempt, launch: OpenLaunch) -> tuple[str, ...]:
    """The end of the attempt's log; of the job's own output when the attempt never began."""
    log = attempt.folder / LOG_FILE
    if log.exists():
        return read_log_tail(log)
    return _read_job_output(store, attempt, launch)


def _read_job_output(store: Store, attempt: OpenAttempt, launch: OpenLaunch) -> tuple[str, ...]:
    path = find_job_output(store, launch.launch.launch_id, attempt.job_id)
    return read_log_tail(path) if path else ()
