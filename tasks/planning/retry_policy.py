"""The retry policy: whether a shard gets another attempt, in this run or the next, and with which resources.

Pure. Follows the retries of the cluster profile; attempts are counted per evaluation and shard. Faults of the model are
counted over all runs, faults of nodes, cluster, Hub or harness only within one run (`same_run`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.endings import Ending, is_lasting
from nightboard.tasks.planning.history import Tries

BatchSize = int | Literal["auto"]

# The batch size after `auto` ran out of memory.
BATCH_AFTER_AUTO = 8

_IN_WORDS: dict[Ending, str] = {
    "timeout": "attempts that reached their time limit",
    "deadline": "attempts that reached their deadline",
    "preempted": "preempted attempts",
    "node_fail": "attempts whose node failed",
    "boot_fail": "attempts whose node did not boot",
    "revoked": "revoked attempts",
    "interrupted": "interrupted attempts",
    "not_started": "attempts that did not start",
    "out_of_memory": "attempts that ran out of memory",
    "failed": "failed attempts",
    "invalid": "attempts with invalid results",
    "fetch_failed": "attempts to fetch the model or its data",
    "hub_failed": "attempts to fetch it that failed at the Hub",
    "cache_failed": "attempts with files missing in the store's cache",
    "environment": "attempts that their environment failed",
    "harness": "attempts that the harness failed",
    "cancelled": "cancelled attempts",
}


@dataclass(frozen=True)
class AttemptResources:
    """Resources of the next attempt. `timeouts`: how often the time limit was too short."""

    tier: Tier
    batch_size: BatchSize
    timeouts: int = 0


def choose_resources(tries: Tries | None, cluster: Cluster, tier: Tier) -> AttemptResources | None:
    """Resources of the next attempt at a shard of `tier`; None if no tier is large enough."""
    if tries is None:
        return AttemptResources(tier, tier.batch_size)
    shrunk = shrink(cluster, tier, sum(count for ending, count in tries.endings if _shrinks(cluster, ending)))
    return AttemptResources(*shrunk, tries.states.get("timeout", 0)) if shrunk else None


def _shrinks(cluster: Cluster, ending: Ending) -> bool:
    return cluster.retry(ending).next == "shrink"


def shrink(cluster: Cluster, tier: Tier, times: int) -> tuple[Tier, BatchSize] | None:
    """Tier and batch after memory was short so many times: half the batch, then the next tier, then half of its batch.

    A tier whose batch is 1 is left at once. None when there is no larger tier of the same back end.
    """
    batch, is_halved = tier.batch_size, False
    for _ in range(times):
        if batch != 1 and not is_halved:
            batch, is_halved = BATCH_AFTER_AUTO if batch == "auto" else batch // 2, True
            continue
        larger = cluster.tiers[cluster.tiers.index(tier) + 1 :]
        following = next((candidate for candidate in larger if candidate.backend == tier.backend), None)
        if following is None:
            return None
        tier, batch, is_halved = following, following.batch_size, False
    return tier, batch


def explain_end(tries: Tries | None, cluster: Cluster, shard: str) -> str | None:
    """Why a shard is not retried in any run; None if it may be."""
    ending = find_end(tries, cluster)
    return _word_end(ending, tries.states[ending], shard, tries) if tries and ending else None


def find_end(tries: Tries | None, cluster: Cluster) -> Ending | None:
    """The ending because of which a shard is not retried in any run; None if it may be."""
    for ending, count in tries.endings if tries else ():
        if is_lasting(ending) and count >= cluster.retry(ending).attempts:
            return ending
    return None


def explain_size(tries: Tries | None, shard: str) -> str:
    """The reason for a shard for which `choose_resources` finds no tier."""
    return f"gave up: the largest tier has too little memory{_name_shard(shard)}: {_last_reason(tries)}"


def _word_end(ending: Ending, count: int, shard: str, tries: Tries | None) -> str:
    if ending == "cancelled":
        return f"{_last_reason(tries)}{_name_shard(shard)}; `nightboard retry` runs it again"
    return f"gave up after {_word_count(ending, count)}{_name_shard(shard)}: {_last_reason(tries)}"


def _word_count(ending: Ending, count: int) -> str:
    return f"{count} {_IN_WORDS[ending] if count > 1 else _IN_WORDS[ending].replace('attempts', 'attempt')}"


def _name_shard(shard: str) -> str:
    return "" if shard == "all" else f" in {shard}"


def _last_reason(tries: Tries | None) -> str:
    return (tries and tries.last_reason) or "unknown reason"


def explain_wait(tries: Tries | None, cluster: Cluster, shard: str, started_at: datetime | None) -> str | None:
    """Why a shard is not retried in the run that started at `started_at`; None if it may be."""
    if tries is None or started_at is None:
        return None
    in_this_run = Counter(state for state, ended_at in tries.ended if ended_at is not None and ended_at >= started_at)
    for ending, _ in tries.endings:
        if not is_lasting(ending) and in_this_run[ending] >= cluster.retry(ending).attempts:
            words = _word_count(ending, in_this_run[ending])
            return f"waits for the next run after {words}{_name_shard(shard)}: {_last_reason(tries)}"
    state, is_of_this_run = tries.last_state, tries.last_ended_at is not None and tries.last_ended_at >= started_at
    if is_of_this_run and state is not None and state != "completed" and not cluster.retry(state).same_run:
        return "failed in this run; the next run tries again"
    return None
