"""Packs shards into jobs, and jobs into arrays: which shards share a job, time limits, the order of jobs.

Pure. A shard is only an estimate, a tier and a number of timeouts.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.tasks.store.records import Job, PlannedAttempt

# A cluster schedules jobs of a few lengths better than jobs of any length, and an array has one time limit.
SHORTEST_LIMIT_MIN = 15
# What a job needs on a busy day beside its estimate: a slow file system, a node that wakes up.
STARTING_MIN = 5.0


@dataclass(frozen=True)
class Placement:
    """A shard to run, with its resources.

    `is_alone`: it ended other jobs early, and is not to end those of others again.
    """

    planned: PlannedAttempt
    tier: Tier
    timeouts: int = 0
    is_alone: bool = False

    @property
    def order(self) -> tuple[float, str, str]:
        """Longest first; names break ties, so the order is always the same."""
        return -self.planned.estimate_s, self.planned.evaluation_id, self.planned.shard.name


def pack_jobs(placements: Iterable[Placement], cluster: Cluster) -> tuple[Job, ...]:
    """Turn shards into jobs, longest first; short ones of a tier share jobs, one after the other."""
    by_tier: dict[str, list[Placement]] = {}
    for placement in placements:
        by_tier.setdefault(placement.tier.name, []).append(placement)
    jobs: list[Job] = []
    for tier in cluster.tiers:
        members = sorted(by_tier.get(tier.name, ()), key=lambda placement: placement.order)
        is_short = [
            placement.planned.estimate_s < tier.share_job_below_min * 60 and not placement.is_alone
            for placement in members
        ]
        groups = [[placement] for placement, short in zip(members, is_short, strict=True) if not short]
        groups += _share(
            [placement for placement, short in zip(members, is_short, strict=True) if short], tier, cluster
        )
        jobs += [_make_job(tier, group, cluster) for group in groups]
    return tuple(
        sorted(jobs, key=lambda job: (-job.estimate_s, job.attempts[0].evaluation_id, job.attempts[0].shard.name))
    )


def _share(short: Sequence[Placement], tier: Tier, cluster: Cluster) -> list[list[Placement]]:
    """Deal shards, longest first, to the job that has least so far; no job beyond what the tier allows.

    On SLURM there are as many jobs as make each about as long as what need not share; elsewhere as many as may run.
    """
    full_s = tier.share_job_below_min * 60
    count = math.ceil(sum(placement.planned.estimate_s for placement in short) / full_s) if short else 0
    if cluster.executor != "slurm":
        count = max(count, min(len(short), cluster.max_jobs))
    groups: list[list[Placement]] = [[] for _ in range(count)]
    loads = [(0.0, index) for index in range(count)]
    for placement in short:
        load_s, least = loads[0]
        together_s = load_s + placement.planned.estimate_s
        if load_s and _needs_min(together_s, 0, cluster) > tier.time_min:
            groups.append([placement])
            heapq.heappush(loads, (placement.planned.estimate_s, len(groups) - 1))
        else:
            groups[least].append(placement)
            heapq.heapreplace(loads, (together_s, least))
    return groups


def _make_job(tier: Tier, group: Sequence[Placement], cluster: Cluster) -> Job:
    estimate_s = sum(placement.planned.estimate_s for placement in group)
    timeouts = max(placement.timeouts for placement in group)
    return Job(
        tier=tier.name,
        attempts=tuple(placement.planned for placement in group),
        gpus=tier.gpus * tier.nodes,
        time_min=limit_minutes(estimate_s, timeouts, tier, cluster),
    )


def limit_minutes(estimate_s: float, timeouts: int, tier: Tier, cluster: Cluster) -> int:
    """A job's time limit: its estimate with headroom, rounded up to one of a few classes, up to the tier's.

    Doubled after each timeout. Only SLURM uses it for scheduling; elsewhere a job gets the tier's time.
    """
    if cluster.executor != "slurm":
        return tier.time_min
    doublings = math.ceil(math.log2(_needs_min(estimate_s, timeouts, cluster) / SHORTEST_LIMIT_MIN))
    return min(SHORTEST_LIMIT_MIN << max(0, doublings), tier.time_min)


def _needs_min(estimate_s: float, timeouts: int, cluster: Cluster) -> float:
    return float((STARTING_MIN + estimate_s / 60 * cluster.time_headroom) * 2**timeouts)


def group_arrays(jobs: Iterable[Job], max_array_size: int | None) -> list[tuple[Job, ...]]:
    """Jobs as arrays: one per tier and time limit, in chunks of the largest array size; longest first."""
    arrays: dict[tuple[str, int], list[Job]] = {}
    for job in sorted(jobs, key=lambda job: -job.estimate_s):
        arrays.setdefault((job.tier, job.time_min), []).append(job)
    chunks = [
        tuple(members[start : start + (max_array_size or len(members))])
        for members in arrays.values()
        for start in range(0, len(members), max_array_size or len(members))
    ]
    return sorted(chunks, key=lambda chunk: -chunk[0].estimate_s)
