"""Finds out what became of everything that was ever launched, whoever launched it.

An attempt is open until it has an outcome. A dead one gets its outcome here; a finished one is collected. Nothing is
remembered between calls: the store says it all, so any flow on any night can do this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightboard.tasks.collect import Collected, attempt_file, collect_attempt
from nightboard.tasks.executor import Executor
from nightboard.tasks.launch import CLOSED_FILE, LAUNCH_FILE, SUBMISSION_FILE
from nightboard.tasks.process import current_process, is_alive
from nightboard.tasks.records import (
    AttemptOwner,
    Launch,
    Outcome,
    ProcessId,
    Record,
    RecordError,
    Shard,
    ShardSpec,
    Submission,
)
from nightboard.tasks.store import Store, claim_file, write_bytes

# Claiming and submitting takes seconds; a launcher that needs longer is gone.
LAUNCHING_LIMIT = timedelta(hours=1)


@dataclass(frozen=True)
class OpenShard:
    """An attempt that is still under way."""

    launch_id: str
    job_index: int
    shard: Shard
    folder: Path


@dataclass(frozen=True)
class Settled:
    """What is still running, and what this call collected."""

    open: tuple[OpenShard, ...]
    collected: tuple[Collected, ...]
    problems: tuple[str, ...]

    @property
    def in_flight(self) -> frozenset[str]:
        """Evaluations with a shard under way."""
        return frozenset(each.shard.evaluation_id for each in self.open)

    @property
    def open_jobs(self) -> int:
        """Jobs with a shard under way."""
        return len({(each.launch_id, each.job_index) for each in self.open})


def settle(store: Store, executor: Executor, now: datetime) -> Settled:
    """Look at every open launch once: collect what ended, give dead attempts an outcome, list what still runs."""
    still_open: list[OpenShard] = []
    collected: list[Collected] = []
    problems: list[str] = []
    for folder in _open_launches(store):
        try:
            launch, submission = _read_launch(folder)
        except RecordError as error:
            problems.append(_advise(error, folder))
            continue
        # Asked before the attempts are looked at: a launcher that lives may claim more of them.
        is_over = submission is not None or not _may_be_alive(launch.launcher, launch.created_at + LAUNCHING_LIMIT, now)
        for each in _claimed(store, launch):
            try:
                found = _settle_attempt(store, each, launch, submission, executor, now)
            except RecordError as error:
                problems.append(_advise(error, each.folder))
                found = each
            if isinstance(found, OpenShard):
                still_open.append(found)
                is_over = False
            elif found is not None:
                collected.append(found)
        if is_over:
            write_bytes(folder / CLOSED_FILE, _Closed(closed_at=now).to_bytes())
    return Settled(tuple(still_open), tuple(collected), tuple(problems))


def _advise(error: RecordError, folder: Path) -> str:
    return (
        f"{error} What it stands for is left alone. When no job of it runs any more, move {folder} away; "
        "then it is planned again."
    )


def _settle_attempt(
    store: Store, each: OpenShard, launch: Launch, submission: Submission | None, executor: Executor, now: datetime
) -> Collected | OpenShard | None:
    """Collected when it has ended, the shard itself while it is under way, None when it is not this launch's."""
    if ShardSpec.read(each.folder / "spec.json").launch_id != launch.launch_id:
        return None
    if _has_ended(each, launch, submission, executor, now):
        return collect_attempt(store, each.folder, now)
    return each


class _Closed(Record):
    """Marks a launch with nothing under way, so that it is not looked at again."""

    closed_at: datetime


def _open_launches(store: Store) -> Iterator[Path]:
    for path in sorted(store.launches.glob(f"*/{LAUNCH_FILE}")):
        if not (path.parent / CLOSED_FILE).exists():
            yield path.parent


def _read_launch(folder: Path) -> tuple[Launch, Submission | None]:
    submission = folder / SUBMISSION_FILE
    return Launch.read(folder / LAUNCH_FILE), Submission.read(submission) if submission.exists() else None


def _claimed(store: Store, launch: Launch) -> Iterator[OpenShard]:
    """The launch's shards whose attempt somebody has claimed and nobody has collected."""
    for index, job in enumerate(launch.jobs):
        for shard in job.shards:
            folder = store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt)
            is_claimed = (folder / "spec.json").exists()
            if is_claimed and not attempt_file(store, shard.evaluation_id, shard.shard, shard.attempt).exists():
                yield OpenShard(launch.launch_id, index, shard, folder)


def _has_ended(
    each: OpenShard, launch: Launch, submission: Submission | None, executor: Executor, now: datetime
) -> bool:
    """Whether the attempt has an outcome; gives it one when its process is gone."""
    # Life is asked for before the outcome: a job that ends in between has written its outcome by then.
    is_running = _is_running(each, launch, submission, executor, now)
    if (each.folder / "outcome.json").exists():
        return True
    if is_running:
        return False
    owner = _owner_after_giving_up(each.folder, now)
    if owner.kind == "job" and _may_be_alive(owner.process, _deadline(owner.at, each, launch), now):
        return False
    if owner.kind == "job":
        state, reason = "interrupted", f"the process ended without an outcome (killed?) on {owner.process.host}"
    elif submission is None:
        state, reason = "not_started", "the flow that launched it was stopped before it submitted the job"
    else:
        state, reason = "not_started", "the job ended before it came to this evaluation"
    outcome = Outcome.model_validate(
        {
            "state": state,
            "reason": reason,
            "job_id": owner.job_id,
            "node": owner.process.host if owner.kind == "job" else None,
            "started_at": owner.at if owner.kind == "job" else None,
            "ended_at": now,
        }
    )
    claim_file(each.folder / "outcome.json", outcome.to_bytes())
    return True


def _is_running(
    each: OpenShard, launch: Launch, submission: Submission | None, executor: Executor, now: datetime
) -> bool:
    """Whether the job may still start, or its process runs. Changes nothing."""
    if launch.executor != executor.name:
        return True  # this executor knows nothing of that one's jobs; a board of that kind will look
    if submission is None:
        may_start = _may_be_alive(launch.launcher, launch.created_at + LAUNCHING_LIMIT, now)
    else:
        alive = executor.is_job_alive(submission, each.job_index)
        may_start = now < _deadline(launch.created_at, each, launch) if alive is None else alive
    if may_start or not (each.folder / "owner.json").exists():
        return may_start
    owner = AttemptOwner.read(each.folder / "owner.json")
    return owner.kind == "job" and _may_be_alive(owner.process, _deadline(owner.at, each, launch), now)


def _deadline(start: datetime, each: OpenShard, launch: Launch) -> datetime:
    """When what began at `start` is over at the latest, by the job's time limit."""
    return start + timedelta(minutes=launch.jobs[each.job_index].time_min) + LAUNCHING_LIMIT


def _may_be_alive(process: ProcessId, deadline: datetime, now: datetime) -> bool:
    """A process on another host cannot be looked at: it is given until the deadline."""
    alive = is_alive(process)
    return now < deadline if alive is None else alive


def _owner_after_giving_up(folder: Path, now: datetime) -> AttemptOwner:
    """Take the attempt away from a job that has not begun; a job that comes later finds it taken and leaves it."""
    path = folder / "owner.json"
    mine = AttemptOwner(kind="abandoned", process=current_process(), at=now)
    if claim_file(path, mine.to_bytes()):
        return mine
    return AttemptOwner.read(path)


def utc_now() -> datetime:
    """The time, as every record writes it."""
    return datetime.now(UTC)
