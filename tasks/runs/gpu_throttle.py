"""Sets the computed shares on the open arrays of all flows, so that together they stay within max_gpus.

The number on disk is never less than the jobs that may run: it is written before an array may run more, and after it
runs less, so that a killed flow leaves no used GPU counted as free.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nightboard.tasks.cluster.executor import ClusterAway, Executor, ExecutorError
from nightboard.tasks.runs.gpu_allocation import Array, allocate
from nightboard.tasks.runs.launch import read_parallelism, write_parallelism
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Job

# What the cluster says of jobs may be so old: a job that waits by its word may have begun meanwhile.
REPORT_LAG_S = 30.0
_TASK_OF_ARRAY = re.compile(r"\d+_\d+")
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})


@dataclass(frozen=True)
class _Opened:
    """An open array: its jobs that are not over, by index."""

    launch_id: str
    jobs: Mapping[int, Sequence[OpenAttempt]]

    @property
    def first(self) -> OpenAttempt:
        return next(iter(self.jobs.values()))[0]

    @property
    def job_ids(self) -> list[str]:
        ids = (shards[0].job_id for shards in self.jobs.values())
        return [job_id for job_id in ids if job_id and _TASK_OF_ARRAY.fullmatch(job_id)]

    @property
    def longest_s(self) -> float:
        return max(sum(shard.planned.estimate_s for shard in shards) for shards in self.jobs.values())

    @property
    def running(self) -> int:
        """Jobs that run, or may run for all that is known."""
        reports = [shards[0].report for shards in self.jobs.values()]
        return sum(report is None or report.state not in _WAITING for report in reports)


@dataclass
class Throttle:
    """The GPUs that a store's arrays may use, as one flow shares them out; `max_gpus` None: as the cluster decides."""

    store: Store
    executor: Executor
    max_gpus: int | None
    problems: list[str] = field(default_factory=list)
    # Arrays with a lowered throttle that may still run more jobs: the new number, and since when.
    _lowered: dict[str, tuple[int, float]] = field(default_factory=dict)
    # By launch. An array keeps its place in the order while its jobs end, or two of a length would push each other.
    _longest_s: dict[str, float] = field(default_factory=dict)

    def share(self, opened: Sequence[OpenAttempt], arrays: Sequence[Sequence[Job]]) -> list[int | None]:
        """How many jobs of each new array may run at once (0: not now, None: all), with room made for them.

        To be called while no other flow launches. Raises ClusterAway; what was done by then holds. An array that cannot
        be throttled stays as it is, and `problems` says why.
        """
        if not self._is_active or self.max_gpus is None:
            return [None] * len(arrays)
        launches = _group(opened)
        known = {launched.launch_id: read_parallelism(self.store, launched.launch_id) for launched in launches}
        self._lowered = {launch_id: lowered for launch_id, lowered in self._lowered.items() if launch_id in known}
        before = [self._describe(launched, known[launched.launch_id]) for launched in launches]
        wanted = [Array(array[0].gpus, len(array), longest_s=array[0].estimate_s) for array in arrays]
        shares = allocate(before, wanted, self.max_gpus)
        for launched, array, allowed in zip(launches, before, shares.opened, strict=True):
            try:
                self._set(launched, known[launched.launch_id], allowed, array)
            except ClusterAway:
                raise
            except ExecutorError as error:
                self.problems.append(f"The array of launch {launched.launch_id} cannot be throttled: {error}")
        return list(shares.new)

    def has_waiting(self, opened: Sequence[OpenAttempt]) -> bool:
        """Whether an open array could run more jobs than it may, or is being throttled."""
        if not self._is_active:
            return False
        launches = _group(opened)
        bounds = ((launched, read_parallelism(self.store, launched.launch_id)) for launched in launches)
        return bool(self._lowered) or any(
            bound is not None and bound < len(launched.jobs) for launched, bound in bounds
        )

    @property
    def _is_active(self) -> bool:
        return self.max_gpus is not None and self.executor.name == "slurm"

    def _describe(self, launched: _Opened, parallelism: int | None) -> Array:
        return Array(
            gpus=launched.first.gpus,
            unfinished=len(launched.jobs),
            parallelism=parallelism,
            longest_s=self._longest_s.setdefault(launched.launch_id, launched.longest_s),
            is_fixed=not launched.job_ids or launched.first.gpus == 0,
        )

    def _set(self, launched: _Opened, before: int | None, allowed: int, array: Array) -> None:
        if allowed > array.held:
            self._raise(launched, before, allowed)
        elif allowed < array.held:
            self._lower(launched, allowed)
        elif launched.launch_id in self._lowered:
            # Its throttle was lowered, which is no longer needed.
            self.executor.set_parallelism(launched.job_ids, before or len(launched.jobs))
            del self._lowered[launched.launch_id]

    def _raise(self, launched: _Opened, before: int | None, allowed: int) -> None:
        write_parallelism(self.store, launched.launch_id, allowed)
        try:
            self.executor.set_parallelism(launched.job_ids, allowed)
        except ClusterAway:
            raise  # it may have been done; the number on disk is the larger one
        except ExecutorError:
            if before is not None:
                write_parallelism(self.store, launched.launch_id, before)
            raise
        self._lowered.pop(launched.launch_id, None)

    def _lower(self, launched: _Opened, allowed: int) -> None:
        lowered_to, since_s = self._lowered.get(launched.launch_id, (None, 0.0))
        if lowered_to != allowed:
            self.executor.set_parallelism(launched.job_ids, allowed)
            self._lowered[launched.launch_id] = (allowed, time.monotonic())
        elif launched.running <= allowed and time.monotonic() - since_s > REPORT_LAG_S:
            write_parallelism(self.store, launched.launch_id, allowed)
            del self._lowered[launched.launch_id]


def _group(opened: Sequence[OpenAttempt]) -> list[_Opened]:
    launches: dict[str, dict[int, list[OpenAttempt]]] = defaultdict(lambda: defaultdict(list))
    for launched in opened:
        launches[launched.launch_id][launched.job_index].append(launched)
    return [_Opened(launch_id, jobs) for launch_id, jobs in sorted(launches.items())]
