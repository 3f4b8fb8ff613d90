"""Estimates when a run's jobs are done: the plan's estimates, corrected by how long jobs of this run have taken.

Pure: the time and what runs are arguments.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class _Running:
    began_s: float
    estimate_s: float


@dataclass
class TimeLeft:
    """Watches jobs run. A job that ended tells how far the estimates are off."""

    _running: dict[Hashable, _Running] = field(default_factory=dict)
    _taken_s: float = 0.0
    _estimated_s: float = 0.0

    def estimate(
        self, now_s: float, running: Mapping[Hashable, float], completed: set[Hashable], waiting: Sequence[float]
    ) -> float | None:
        """Seconds until all jobs are done; None while none runs: when a queue moves is not known.

        `running` and `waiting` are estimates in seconds; of what has vanished from `running` only `completed` counts.
        """
        for job in self._running.keys() - running.keys():
            ended = self._running.pop(job)
            if job in completed:
                self._taken_s += now_s - ended.began_s
                self._estimated_s += ended.estimate_s
        for job, estimate_s in running.items():
            self._running.setdefault(job, _Running(now_s, estimate_s))
        pace = self._taken_s / self._estimated_s if self._estimated_s else 1.0
        left = [max(0.0, pace * job.estimate_s - (now_s - job.began_s)) for job in self._running.values()]
        left += [pace * estimate_s for estimate_s in waiting]
        # No job can be split, and no more run at once than run now.
        return (max(*left, sum(left) / len(running)) or None) if running else None
