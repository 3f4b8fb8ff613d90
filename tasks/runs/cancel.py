"""Cancels running evaluations, so that no run retries them (`nightboard cancel`).

Their attempts get the outcome `cancelled` first, then their jobs are stopped, so that another flow sees them as
cancelled. Other shards that share a job with them are released and planned again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nightboard.tasks.cluster.executor import Executor
from nightboard.tasks.errors import TaskError
from nightboard.tasks.evaluation.lease import current_owner, revoke
from nightboard.tasks.runs.launch import release
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.runs.retry_stopped import is_meant
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import OUTCOME_FILE, SPEC_FILE, SUBMISSION_FILE, Store
from nightboard.tasks.store.records import AttemptSpec, Outcome, Submission


class CancelError(TaskError):
    """A target cannot be cancelled; the message says why and lists valid targets."""


@dataclass(frozen=True)
class Cancelled:
    """The cancelled shards, and the stopped jobs."""

    shards: tuple[OpenAttempt, ...]
    job_ids: tuple[str, ...]


def choose(shards: Sequence[OpenAttempt], targets: Sequence[str]) -> list[OpenAttempt]:
    """The open shards that match: by evaluation id or its beginning, model, model@revision, or job id.

    Raises CancelError for a target that matches nothing.
    """
    evaluations = {id(each): AttemptSpec.read(each.folder / SPEC_FILE).evaluation for each in shards}

    def is_one(each: OpenAttempt, target: str) -> bool:
        is_job = each.job_id is not None and target in (each.job_id, each.job_id.partition("_")[0])
        return is_job or is_meant(evaluations[id(each)], target)

    for target in targets:
        if not any(is_one(each, target) for each in shards):
            models = sorted({each.model_id for each in evaluations.values()})
            raise CancelError(
                f"{target}: matches no running evaluation. Name an evaluation, a model or a job."
                + (f" Running: {', '.join(models)}." if models else " No evaluations are running.")
            )
    return [each for each in shards if any(is_one(each, target) for target in targets)]


def cancel(
    store: Store,
    executor: Executor,
    shards: Sequence[OpenAttempt],
    chosen: Sequence[OpenAttempt],
    by: str,
    now: datetime,
) -> Cancelled:
    """Stop `chosen` of the open `shards`; `by` says who asked. Raises ExecutorError when the cluster does not obey."""
    wanted = {each.folder for each in chosen}
    jobs: dict[tuple[str, int], list[OpenAttempt]] = defaultdict(list)
    for each in shards:
        jobs[each.launch_id, each.job_index].append(each)
    ended: list[OpenAttempt] = []
    stopping: dict[str, list[OpenAttempt]] = defaultdict(list)
    for (launch_id, _), members in jobs.items():
        mine = [each for each in members if each.folder in wanted]
        if not mine:
            continue
        is_stopped = len(mine) == len(members) or any(_has_begun(each) for each in mine)
        for each in mine:
            if not _has_begun(each):
                revoke(each.folder, now)
            outcome = Outcome(state="cancelled", reason=f"cancelled by {by}", job_id=each.job_id, ended_at=now)
            if claim_file(each.folder / OUTCOME_FILE, outcome.to_bytes()):
                ended.append(each)
        if is_stopped and members[0].job_id:
            for each in (each for each in members if each.folder not in wanted):
                release(each.folder, "its job was cancelled for another evaluation", now)
            stopping[launch_id].append(members[0])
    for launch_id, firsts in stopping.items():
        submission = Submission.read(store.launch_dir(launch_id) / SUBMISSION_FILE)
        executor.cancel(submission, [each.job_index for each in firsts])
    return Cancelled(tuple(ended), tuple(str(each.job_id) for firsts in stopping.values() for each in firsts))


def _has_begun(each: OpenAttempt) -> bool:
    owner = current_owner(each.folder)
    return owner is not None and owner.kind == "job"
