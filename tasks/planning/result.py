"""The plan as a record: evaluations, jobs, skipped commits. Decides nothing, and is never stored."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from nightboard.tasks.store.records import Evaluation, EvaluationShards, Job, Record

TargetStateName = Literal["planned", "waiting", "running", "done", "failed"]


class Skip(Record):
    """A watched or requested commit that a suite, or some of its benchmarks, will not run, and why."""

    model_id: str
    revision: str
    suite: str
    kind: Literal["done", "in_flight", "same_fingerprint", "rejected", "gave_up", "later", "unavailable", "budget"]
    reason: str
    benchmarks: tuple[str, ...] = Field(default=(), description="of the suite; none: all remaining ones")
    request_id: str | None = Field(default=None, description="request that asks for it; none: the watch list")


class TargetState(Record):
    """How far a target of a request is, by a plan."""

    request_id: str
    model_id: str
    revision: str
    suite: str
    state: TargetStateName
    reason: str | None = Field(default=None, description="what it waits for, or why it failed")
    gpu_hours: float = Field(default=0, description="of what is left, if it is planned or waits for budget")


class NightBudget(Record):
    """What a plan takes of a board's budget, in GPU-hours; a job without GPUs counts as one."""

    gpu_hours: float | None = Field(description="of this night; none: only organizations have a limit")
    spent: float = Field(description="of ended attempts of this night, and of those under way by their estimates")
    planned: float = Field(description="by this plan")
    waiting: float = Field(description="of evaluations that wait for budget")
    n_waiting: int = Field(description="evaluations that wait for budget")


class Plan(Record):
    """What a run will do. Frozen: what is shown is what is done."""

    board: str
    created_at: datetime
    evaluations: tuple[Evaluation, ...]
    shards: tuple[EvaluationShards, ...] = Field(default=(), description="how each of the evaluations is split")
    jobs: tuple[Job, ...]
    skipped: tuple[Skip, ...]
    gpu_hours: float
    estimate_s: float = Field(description="computing time over all jobs")
    requests: dict[str, str] = Field(default={}, description="by evaluation: the request that it is run for")
    targets: tuple[TargetState, ...] = Field(default=(), description="of all requests that were planned")
    budget: NightBudget | None = Field(default=None, description="part of the board's budget; none: it has none")

    @property
    def device_hours(self) -> float:
        """GPU-hours of all that it launches or lets wait for budget; a job without GPUs counts as one GPU."""
        launched = sum(job.estimate_s * max(1, job.gpus) for job in self.jobs) / 3600
        return launched + (self.budget.waiting if self.budget else 0)
