"""Cancels running evaluations, so that no run retries them (`nightboard cancel`).

Their attempts get the outcome `cancelled` first, then their jobs are stopped, so that another flow sees them as
cancelled. Other shards that share a job with them are released and planned again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nightboard.tasks.cluster.executor import Executor
from nightboard.tasks.errors import TaskError
from nightboard.tasks.evaluation.lease import current_owner, revoke
from nightboard.tasks.runs.launch import release
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.runs.retry_stopped import find_meant
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import OUTCOME_FILE, SPEC_FILE, SUBMISSION_FILE, Store
from nightboard.tasks.store.records import AttemptSpec, Evaluation, Outcome, Submission


class CancelError(TaskError):
    """A target cannot be cancelled; the message says why and lists valid targets."""


@dataclass(frozen=True)
class Cancelled:
    """The cancelled shards, and the stopped jobs."""

    shards: tuple[OpenAttempt, ...]
    job_ids: tuple[str, ...]


def choose(
    shards: Sequence[OpenAttempt], targets: Sequence[str], known: Iterable[Evaluation] = ()
) -> list[OpenAttempt]:
    """The open shards that match: by evaluation, model, model@revision, or job id.

    `known`: all evaluations, so that a short name means the same whatever runs.
    Raises CancelError for a target that matches nothing, QueryError for one that may name several evaluations.
    """
    everything = list(known)
    evaluations = [AttemptSpec.read(shard.folder / SPEC_FILE).evaluation for shard in shards]
    chosen: set[Path] = set()
    for target in targets:
        found = {
            shard.folder
            for shard in shards
            if shard.job_id and target in (shard.job_id, shard.job_id.partition("_")[0])
        }
        if not found:
            meant = find_meant(target, [*everything, *evaluations])
            found = {
                shard.folder
                for shard, evaluation in zip(shards, evaluations, strict=True)
                if evaluation.evaluation_id in meant
            }
        chosen |= found
        if not found:
            models = sorted({evaluation.model_id for evaluation in evaluations})
            raise CancelError(
                f"{target}: matches no running evaluation. Name an evaluation, a model or a job."
                + (f" Running: {', '.join(models)}." if models else " No evaluations are running.")
            )
    return [shard for shard in shards if shard.folder in chosen]


def cancel(
    store: Store,
    executor: Executor,
    shards: Sequence[OpenAttempt],
    chosen: Sequence[OpenAttempt],
    by: str,
    now: datetime,
) -> Cancelled:
    """Stop `chosen` of the open `shards`; `by` says who asked. Raises ExecutorError when the cluster does not obey."""
    wanted = {attempt.folder for attempt in chosen}
    jobs: dict[tuple[str, int], list[OpenAttempt]] = defaultdict(list)
    for shard in shards:
        jobs[shard.launch_id, shard.job_index].append(shard)
    ended: list[OpenAttempt] = []
    stopping: dict[str, list[OpenAttempt]] = defaultdict(list)
    for (launch_id, _), members in jobs.items():
        mine = [member for member in members if member.folder in wanted]
        if not mine:
            continue
        is_stopped = len(mine) == len(members) or any(_has_begun(attempt) for attempt in mine)
        for attempt in mine:
            if not _has_begun(attempt):
                revoke(attempt.folder, now)
            outcome = Outcome(state="cancelled", reason=f"cancelled by {by}", job_id=attempt.job_id, ended_at=now)
            if claim_file(attempt.folder / OUTCOME_FILE, outcome.to_bytes()):
                ended.append(attempt)
        if is_stopped and members[0].job_id:
            for attempt in (member for member in members if member.folder not in wanted):
                release(attempt.folder, "its job was cancelled for another evaluation", now)
            stopping[launch_id].append(members[0])
    for launch_id, firsts in stopping.items():
        submission = Submission.read(store.launch_dir(launch_id) / SUBMISSION_FILE)
        executor.cancel(submission, [first.job_index for first in firsts])
    return Cancelled(tuple(ended), tuple(str(first.job_id) for firsts in stopping.values() for first in firsts))


def _has_begun(attempt: OpenAttempt) -> bool:
    owner = current_owner(attempt.folder)
    return owner is not None and owner.kind == "job"
