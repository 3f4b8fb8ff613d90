"""Computes the share of max_gpus of each array: how many of its jobs may run at once. Pure.

Pure. An array's throttle limits only that array, so the throttles of all open arrays must add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Array:
    """An array of jobs. `gpus`: of one job; `unfinished`: jobs that wait or run.

    `parallelism`: jobs of it that may run now, None is all; `longest_s`: the estimate of its longest job; `is_fixed`:
    it cannot be throttled, because it is a single job.
    """

    gpus: int
    unfinished: int
    parallelism: int | None = None
    longest_s: float = 0.0
    is_fixed: bool = False

    @property
    def held(self) -> int:
        """Jobs for which GPUs are spoken for; what the array has no use for any more is free."""
        return self.unfinished if self.parallelism is None else min(self.parallelism, self.unfinished)


@dataclass(frozen=True)
class Allocation:
    """Jobs that may run at once, by array: of the open ones, and of the new ones (0: not to be submitted now).

    For an open array less than it holds means that it is to be throttled; its GPUs are free when it has come down.
    """

    opened: tuple[int, ...]
    new: tuple[int, ...]


def allocate(opened: Sequence[Array], new: Sequence[Array], max_gpus: int) -> Allocation:
    """Share the GPUs out, to the array with the longest job first. Nobody is given what another one still holds."""
    aims = _aim(opened, new, max_gpus)
    free = max_gpus - sum(array.held * array.gpus for array in opened)
    arrays = [*opened, *new]
    given = [array.held for array in opened] + [0] * len(new)
    for index in _longest_first(arrays):
        array, aim = arrays[index], aims[index]
        if aim <= given[index]:
            given[index] = aim
            continue
        more = _fitting(aim - given[index], array.gpus, free)
        given[index] += more
        free -= more * array.gpus
    return Allocation(tuple(given[: len(opened)]), tuple(given[len(opened) :]))


def _aim(opened: Sequence[Array], new: Sequence[Array], max_gpus: int) -> list[int]:
    """What each array would have if running jobs could be taken back: all it can use, the longest first.

    An open array keeps at least one job: SLURM takes a throttle of 0 for none.
    """
    arrays = [*opened, *new]
    aims = [array.held if array.is_fixed else min(1, array.unfinished) for array in opened] + [0] * len(new)
    room = max_gpus - sum(aim * array.gpus for aim, array in zip(aims, arrays, strict=True))
    for index in _longest_first(arrays):
        array = arrays[index]
        more = 0 if array.is_fixed else _fitting(array.unfinished - aims[index], array.gpus, room)
        aims[index] += more
        room -= more * array.gpus
    return aims


def _longest_first(arrays: Sequence[Array]) -> list[int]:
    """Indexes in the order in which arrays are served; of equals those that are open, then those named first."""
    return sorted(range(len(arrays)), key=lambda index: -arrays[index].longest_s)


def _fitting(jobs: int, gpus: int, free: int) -> int:
    return jobs if gpus == 0 else max(0, min(jobs, free // gpus))
