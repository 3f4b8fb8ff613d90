"""Decides which jobs, and how many, are launched now. Pure: the queue, the places and the clock are arguments.

On a cluster jobs are launched in waves, an array a wave, not an sbatch a job. On this machine they start one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nightboard.tasks.store.records import Job

# A new wave is launched when so much of the places is free.
WAVE = 0.25
# A wave whose last models still arrive is launched without them after so long.
WAVE_LIMIT_S = 60.0


@dataclass(frozen=True)
class Places:
    """How much may run. `free`: jobs that may still be launched; `is_busy`: some are open; `is_late`: no time is left
    to wait for jobs, so that what can be launched now is all that will be.
    """

    max_jobs: int
    free: int
    is_busy: bool
    is_late: bool = False

    @property
    def n_prepared(self) -> int:
        """How many jobs of the queue get their models: for the free places, and the next ones to be free."""
        return self.free + (0 if self.is_late else math.ceil(self.max_jobs * WAVE))


@dataclass(frozen=True)
class Queued:
    """A job of the queue whose models are prepared. `ready_at_s`: when the last one was there; None: not yet."""

    job: Job
    ready_at_s: float | None


@dataclass(frozen=True)
class Clock:
    """Times on one monotonic clock. `is_fetching`: models still arrive."""

    now_s: float
    poll_interval_s: float
    is_fetching: bool


def choose_now(prepared: Sequence[Queued], places: Places) -> list[Job]:
    """What starts at once where jobs are single: all that is ready, as far as there are places."""
    return [each.job for each in prepared if each.ready_at_s is not None][: places.free]


def choose_wave(prepared: Sequence[Queued], n_queued: int, places: Places, clock: Clock) -> list[Job]:
    """What is launched as a wave: all that is ready, when there are places for a wave and it is complete or has waited.

    `prepared` are the first of the `n_queued` jobs of the queue. A wave is complete when no other job could join it.
    """
    ready = choose_now(prepared, places)
    if not ready or not _has_room(n_queued, places):
        return []
    is_complete = len(ready) == min(places.free, n_queued)
    is_rest = not clock.is_fetching and (places.is_late or not places.is_busy)
    return ready if is_complete or is_rest or _has_waited(prepared, places, clock) else []


def _has_room(n_queued: int, places: Places) -> bool:
    """Whether so many places are free that a wave is worth an array."""
    is_pressing = places.is_late or not places.is_busy
    return is_pressing or places.free >= min(n_queued, places.max_jobs * WAVE)


def _has_waited(prepared: Sequence[Queued], places: Places, clock: Clock) -> bool:
    """Whether the first job of the wave has waited long enough for the others; shorter while nothing runs."""
    first_at_s = min(each.ready_at_s for each in prepared if each.ready_at_s is not None)
    limit_s = WAVE_LIMIT_S if places.is_busy else min(WAVE_LIMIT_S, clock.poll_interval_s)
    return clock.now_s - first_at_s > limit_s
