"""Frees stopped or cancelled evaluations, so that the next run tries them again (`nightboard retry`).

Earlier attempts stay in the store; a file next to them says which no longer count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.endings import Ending
from nightboard.tasks.errors import TaskError
from nightboard.tasks.planning.history import History
from nightboard.tasks.planning.plan import choose_tier, weigh
from nightboard.tasks.planning.retry_policy import choose_resources, explain_end, explain_size, find_end
from nightboard.tasks.runs.launch import launching
from nightboard.tasks.store.files import write_bytes
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit, Evaluation, Freed
from nightboard.warehouse.reader.connection import QueryError
from nightboard.warehouse.reader.questions import match_name
from nightboard.warehouse.reader.sql_errors import sort_by_nearness

# How an attempt ended is known once it is collected.
SEEN_LATER = "What has just failed or been cancelled can be retried after `nightboard collect`."


class FreeError(TaskError):
    """A name matches nothing that can be freed; the message says why, with similar names."""


@dataclass(frozen=True)
class Stopped:
    """A shard that no run tries again: how its last attempts ended, why in words, and the last one's number."""

    evaluation: Evaluation
    shard: str
    ending: Ending
    reason: str
    last_attempt: int


def find_stopped(
    history: History, evaluations: Iterable[Evaluation], commits: Iterable[Commit], cluster: Cluster
) -> list[Stopped]:
    """Shards that gave up or were cancelled, of evaluations that are not done."""
    by_fingerprint = {commit.fingerprint: commit for commit in commits}
    stopped = []
    scored = {entry.evaluation.evaluation_id for serving in history.done.values() for entry in serving}
    known = {row.evaluation_id: row for row in evaluations if row.evaluation_id not in scored}
    for (key, shard), tries in sorted(history.tries.items()):
        evaluation = known.get(key)
        if evaluation is None or (key, shard) in history.shards_in_flight or (key, shard) in history.finished:
            continue
        ending, reason = find_end(tries, cluster), explain_end(tries, cluster, shard)
        if ending is None and "out_of_memory" in tries.states:
            commit = by_fingerprint.get(evaluation.fingerprint)
            tier = choose_tier(cluster, weigh(commit, evaluation.precision) if commit else None) or cluster.tiers[-1]
            if choose_resources(tries, cluster, tier) is None:
                ending, reason = "out_of_memory", explain_size(tries, shard)
        if ending and reason:
            stopped.append(Stopped(evaluation, shard, ending, reason, history.last_attempts.get((key, shard), 0)))
    return stopped


def choose_stopped(stopped: Sequence[Stopped], targets: Sequence[str], known: Iterable[Evaluation]) -> list[Stopped]:
    """Those that are meant: by evaluation, model, or model@revision.

    Raises FreeError for a target that names none of them, QueryError for one that may name several.
    """
    evaluations = list(known)
    meant: set[str] = set()
    for target in targets:
        found = find_meant(target, [*evaluations, *(shard.evaluation for shard in stopped)])
        if not any(shard.evaluation.evaluation_id in found for shard in stopped):
            raise FreeError(_explain_miss(target, stopped, is_known=bool(found)))
        meant |= found
    return [shard for shard in stopped if shard.evaluation.evaluation_id in meant]


def find_meant(target: str, evaluations: Sequence[Evaluation]) -> set[str]:
    """The ids of the evaluations that a user means: by their id, model or model@revision, shortened or not.

    Raises QueryError where it is not clear which model, revision or id is meant.
    """
    name, at, commit = target.partition("@")
    found = match_name(name, {each.evaluation_id for each in evaluations}, {each.model_id for each in evaluations})
    meant = [each for each in evaluations if found in (each.evaluation_id, each.model_id)]
    if at:
        meant = [each for each in meant if commit and each.revision.startswith(commit.lower())]
        if len(revisions := {each.revision for each in meant}) > 1:
            names = ", ".join(revision[: max(7, len(commit) + 2)] for revision in sorted(revisions))
            raise QueryError(f"{target} matches {len(revisions)} revisions. Write more letters of one: {names}.")
    return {each.evaluation_id for each in meant}


def _explain_miss(target: str, stopped: Sequence[Stopped], *, is_known: bool) -> str:
    models = sorted({shard.evaluation.model_id for shard in stopped})
    if is_known:
        return f"{target}: is neither stopped nor cancelled, so it needs no retry. {SEEN_LATER}"
    near = sort_by_nearness(target.partition("@")[0], models)[:3]
    hint = f"Similar: {', '.join(near)}." if near else "Nothing is stopped or cancelled."
    return f"{target}: matches no stopped or cancelled evaluation. {hint}"


def free(store: Store, stopped: Iterable[Stopped], by: str, now: datetime) -> None:
    """Let no attempt so far count at these shards; while no flow launches. Doing it twice changes nothing more."""
    attempts: dict[str, dict[str, int]] = defaultdict(dict)
    for shard in stopped:
        attempts[shard.evaluation.evaluation_id][shard.shard] = shard.last_attempt
    with launching(store):
        for key, numbers in attempts.items():
            path = store.freed_file(key)
            before: Mapping[str, int] = Freed.read(path).attempts if path.exists() else {}
            freed = Freed(evaluation_id=key, attempts={**before, **numbers}, by=by, at=now)
            write_bytes(path, freed.to_bytes())
