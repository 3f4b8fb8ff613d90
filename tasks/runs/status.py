"""The open shards in `nightboard status`: state, job, node, age, benchmark, time left of each.

Reads the store and the cluster's report; changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nightboard.tasks.evaluation.lease import current_owner
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.store.layout import PROGRESS_FILE, SPEC_FILE
from nightboard.tasks.store.records import AttemptOwner, AttemptSpec, Progress, RecordError

# More of them make a line hard to read.
MOST_JOBS = 5


@dataclass(frozen=True)
class Status:
    """One shard that is not over. `age_s`: since it began, else since it was submitted; `left_s`: an estimate or None.

    `waits_for`: why it waits, in words and in the cluster's own; `advice`: what to do, None where it ends by itself.
    """

    evaluation_id: str
    model_id: str
    revision: str
    suite: str
    shard: str
    attempt: int
    state: str
    job_id: str | None
    node: str | None
    gpus: int
    age_s: float
    benchmark: str | None
    finished: int
    total: int
    left_s: float | None
    waits_for: str | None = None
    advice: str | None = None


def sum_up_waits(rows: Sequence[Status]) -> list[str]:
    """Why jobs wait, each reason once with the number of its jobs and what to do; the most frequent first."""
    jobs: dict[tuple[str, str | None], dict[str, None]] = defaultdict(dict)
    for row in rows:
        if row.waits_for:
            jobs[row.waits_for, row.advice][row.job_id or row.evaluation_id] = None
    most_first = sorted(jobs.items(), key=lambda wait: -len(wait[1]))
    return [word_wait(list(job_ids), reason, advice) for (reason, advice), job_ids in most_first]


def word_wait(job_ids: Sequence[str], reason: str, advice: str | None) -> str:
    """`2 jobs wait: is held by a user (JobHeldUser); 7_0, 7_1. Release it with ...`."""
    shown = ", ".join(job_ids[:MOST_JOBS]) + (", ..." if len(job_ids) > MOST_JOBS else "")
    noun = "1 job waits" if len(job_ids) == 1 else f"{len(job_ids)} jobs wait"
    return f"{noun}: {reason}; {shown}." + (f" {advice}" if advice else "")


def describe_open(shards: Sequence[OpenAttempt], now: datetime) -> tuple[list[Status], list[str]]:
    """Open shards, those that run first, oldest first; and what could not be read."""
    rows, problems = [], []
    begun = {(attempt.launch_id, attempt.job_index) for attempt in shards if _running_owner(attempt.folder)}
    for attempt in shards:
        try:
            rows.append(_describe(attempt, now, (attempt.launch_id, attempt.job_index) in begun))
        except RecordError as error:
            problems.append(str(error))
    return sorted(rows, key=lambda s: (s.state != "RUNNING", -s.age_s, s.model_id, s.shard)), problems


def _describe(attempt: OpenAttempt, now: datetime, has_job_begun: bool) -> Status:
    spec = AttemptSpec.read(attempt.folder / SPEC_FILE)
    owner = _running_owner(attempt.folder)
    progress = read_progress(attempt.folder)
    return Status(
        evaluation_id=spec.evaluation.evaluation_id,
        model_id=spec.evaluation.model_id,
        revision=spec.evaluation.revision,
        suite=spec.evaluation.suite,
        shard=spec.planned.shard.name,
        attempt=spec.planned.number,
        state=_name_state(attempt, is_waiting_in_job=has_job_begun and owner is None),
        job_id=attempt.job_id,
        node=(attempt.report.node if attempt.report else None) or (owner.process.host if owner else None),
        gpus=attempt.gpus,
        age_s=max(0.0, (now - (owner.at if owner else spec.created_at)).total_seconds()),
        benchmark=progress.benchmark if progress else None,
        finished=len(progress.finished) if progress else 0,
        total=len(spec.planned.shard.benchmarks),
        left_s=_estimate_left(spec, owner, progress, now),
        waits_for=attempt.report.reason if attempt.report and attempt.report.waits_for else None,
        advice=attempt.report.advice if attempt.report else None,
    )


def _name_state(attempt: OpenAttempt, *, is_waiting_in_job: bool) -> str:
    """The cluster's state, or nightboard's own."""
    if is_waiting_in_job:
        return "NEXT IN JOB"
    if attempt.job_id is None:
        return "SUBMITTING"
    return attempt.report.state if attempt.report else "NO ANSWER"


def _running_owner(folder: Path) -> AttemptOwner | None:
    try:
        owner = current_owner(folder)
    except RecordError:
        return None
    return owner if owner and owner.kind == "job" else None


def read_progress(folder: Path) -> Progress | None:
    """How far an attempt is; None before its model is loaded, and where that cannot be read."""
    try:
        return Progress.read(folder / PROGRESS_FILE)
    except RecordError:
        return None


def _estimate_left(
    spec: AttemptSpec, owner: AttemptOwner | None, progress: Progress | None, now: datetime
) -> float | None:
    """Seconds until the shard is done: the plan's estimate, or the pace of the benchmarks that it has finished.

    None while a job loads its model, which tells nothing of its pace, and once the estimate is used up.
    """
    if owner is None:
        return spec.planned.estimate_s
    if progress is None:
        return None
    left_s = spec.planned.estimate_s - (now - owner.at).total_seconds()
    if progress.finished:
        suite = spec.suite.suite
        documents = {
            name: sum(suite.expected_samples(task) for task in suite.benchmarks[name].tasks.values())
            for name in spec.planned.shard.benchmarks
        }
        n_finished = sum(documents[name] for name in progress.finished)
        pace_s = (progress.at - owner.at).total_seconds() / n_finished
        left_s = pace_s * (sum(documents.values()) - n_finished) - (now - progress.at).total_seconds()
    return left_s if left_s > 0 else None
