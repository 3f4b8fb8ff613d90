"""Splits an evaluation into shards: one, one per benchmark, or by documents at fixed places.

Pure. A benchmark is either whole or cut at all multiples of its `cut_documents`, so that the cuts are the same in every
run, whatever a model's size or a cluster's limits.
"""

from __future__ import annotations

from collections.abc import Mapping

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.store.records import Shard


def split(suite: Suite, seconds: Mapping[str, float], start_s: float, limit_s: float | None) -> tuple[Shard, ...]:
    """Parts of an evaluation whose benchmarks take `seconds` each, beside `start_s` a shard.

    One shard when all of it fits under `limit_s` or there is no limit; else one a benchmark, and those that are longer
    by themselves are cut where the suite allows it.
    """
    if limit_s is None or start_s + sum(seconds.values()) <= limit_s or _is_one_piece(suite):
        return (whole(suite),)
    shards: list[Shard] = []
    for name in suite.benchmarks:
        cuts = cut(suite, name) if start_s + seconds[name] > limit_s else ()
        shards += cuts or (Shard(name=name, benchmarks=(name,)),)
    return tuple(shards)


def whole(suite: Suite) -> Shard:
    """The evaluation as one shard."""
    return Shard(benchmarks=tuple(suite.benchmarks))


def _is_one_piece(suite: Suite) -> bool:
    return len(suite.benchmarks) == 1 and not cut(suite, next(iter(suite.benchmarks)))


def cut(suite: Suite, benchmark: str) -> tuple[Shard, ...]:
    """The benchmark's documents, its tasks joined in their order, in ranges; none when it is not to be cut."""
    spec = suite.benchmarks[benchmark]
    counts = {task: suite.expected_samples(declared) for task, declared in spec.tasks.items()}
    total, size = sum(counts.values()), spec.cut_documents
    if size is None or total <= size:
        return ()
    return tuple(
        Shard(
            name=f"{benchmark}.{start}-{min(start + size, total)}",
            benchmarks=(benchmark,),
            documents=_within_tasks(counts, start, min(start + size, total)),
        )
        for start in range(0, total, size)
    )


def _within_tasks(counts: Mapping[str, int], start: int, stop: int) -> dict[str, tuple[int, int]]:
    """The range by task, counted within each; tasks without a document in it are skipped."""
    documents, before = {}, 0
    for task, count in counts.items():
        first, last = max(start - before, 0), min(stop - before, count)
        if first < last:
            documents[task] = (first, last)
        before += count
    return documents


def task_ranges(suite: Suite, shard: Shard, benchmark: str) -> dict[str, tuple[int, int]]:
    """By task: the first document that a shard scores and the one after the last, counted within the task."""
    if shard.documents is not None:
        return dict(shard.documents)
    return {task: (0, suite.expected_samples(spec)) for task, spec in suite.benchmarks[benchmark].tasks.items()}


def count_documents(suite: Suite, shard: Shard, benchmark: str) -> int:
    """Documents of a benchmark that a shard scores."""
    return sum(stop - first for first, stop in task_ranges(suite, shard, benchmark).values())
