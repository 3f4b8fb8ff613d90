"""Finds out what became of everything that was ever launched, whoever launched it.

An attempt is open until it has an outcome. A dead one gets its outcome here; a finished one is collected. Nothing is
remembered between calls: the store says it all, so any flow on any night can do this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightboard.tasks.collect import Collected, collect_attempt, is_collected
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
            mine, ended, is_over = _settle_launch(store, folder, executor, now)
        except RecordError as error:
            problems.append(f"{error} Its evaluations are left alone; move {folder} away to have them planned again.")
            continue
        still_open += mine
        collected += ended
        if is_over:
            write_bytes(folder / CLOSED_FILE, _Closed(closed_at=now).to_bytes())
    return Settled(tuple(still_open), tuple(collected), tuple(problems))


def _settle_launch(
    store: Store, folder: Path, executor: Executor, now: datetime
) -> tuple[list[OpenShard], list[Collected], bool]:
    launch, submission = _read_launch(folder)
    # Asked before the attempts are looked at: a launcher that lives may claim more of them.
    is_launching = submission is None and _may_be_alive(launch.launcher, launch.created_at + LAUNCHING_LIMIT, now)
    still_open, collected = [], []
    for each, spec in _attempts(store, launch):
        if is_collected(store, spec):
            continue
        if _has_ended(each, launch, submission, executor, now):
            collected.append(collect_attempt(store, each.folder, now))
        else:
            still_open.append(each)
    return still_open, collected, not still_open and not is_launching


def in_flight(store: Store, executor: Executor, now: datetime) -> frozenset[str]:
    """Evaluations that run, or have ended and wait to be collected. Changes nothing and passes over damaged records."""
    found = set()
    for folder in _open_launches(store):
        with contextlib.suppress(RecordError):
            launch, submission = _read_launch(folder)
            found |= {
                spec.evaluation.evaluation_id
                for each, spec in _attempts(store, launch)
                if not is_collected(store, spec)
                and (_is_running(each, launch, submission, executor, now) or (each.folder / "outcome.json").exists())
            }
    return frozenset(found)


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


def _attempts(store: Store, launch: Launch) -> Iterator[tuple[OpenShard, ShardSpec]]:
    """The attempts that this launch claimed; a shard that another launch claimed first is not ours."""
    for index, job in enumerate(launch.jobs):
        for shard in job.shards:
            folder = store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt)
            if not (folder / "spec.json").exists():
                continue
            spec = ShardSpec.read(folder / "spec.json")
            if spec.launch_id == launch.launch_id:
                yield OpenShard(launch.launch_id, index, shard, folder), spec


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
    if owner.kind == "job" and _may_be_alive(owner.process, _deadline(each, launch), now):
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
    if submission is None:
        may_start = _may_be_alive(launch.launcher, launch.created_at + LAUNCHING_LIMIT, now)
    else:
        may_start = executor.is_job_alive(submission, each.job_index)
    if may_start or not (each.folder / "owner.json").exists():
        return may_start
    owner = AttemptOwner.read(each.folder / "owner.json")
    return owner.kind == "job" and _may_be_alive(owner.process, _deadline(each, launch), now)


def _deadline(each: OpenShard, launch: Launch) -> datetime:
    return launch.created_at + timedelta(minutes=launch.jobs[each.job_index].time_min) + LAUNCHING_LIMIT


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
