"""How many jobs of each open array may run at once, so that all arrays together keep to a number of GPUs.

Pure. An array's own throttle bounds that array alone, so the throttles of all open ones have to add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Array:
    """An array of jobs. `gpus`: of one job; `unfinished`: jobs that wait or run; `parallelism`: None is unbounded."""

    gpus: int
    unfinished: int
    parallelism: int | None = None

    @property
    def allotted(self) -> int:
        """Jobs that may run at once now."""
        return self.unfinished if self.parallelism is None else min(self.parallelism, self.unfinished)


@dataclass(frozen=True)
class Allotment:
    """Jobs that may run at once, by array: of the open ones, and of the new ones (0: not to be submitted now)."""

    opened: tuple[int, ...]
    new: tuple[int, ...]


def allot(opened: Sequence[Array], new: Sequence[Array], max_gpus: int) -> Allotment:
    """Give what is free to the open arrays first, then to the new ones, each in its order.

    An open array is never given less than it has, because what runs in it cannot be taken back; what it has no use for
    any more is free.
    """
    free = max_gpus - sum(array.allotted * array.gpus for array in opened)
    raised = []
    for array in opened:
        more = _fitting(array.unfinished - array.allotted, array.gpus, free)
        free -= more * array.gpus
        raised.append(array.allotted + more)
    started = []
    for array in new:
        jobs = _fitting(array.unfinished, array.gpus, free)
        free -= jobs * array.gpus
        started.append(jobs)
    return Allotment(tuple(raised), tuple(started))


def _fitting(jobs: int, gpus: int, free: int) -> int:
    return jobs if gpus == 0 else max(0, min(jobs, free // gpus))
