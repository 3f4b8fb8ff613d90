"""The plan as a record: evaluations, jobs, skipped commits. Decides nothing, and is never stored."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from nightboard.tasks.store.records import Evaluation, EvaluationShards, Job, Record


class Skip(Record):
    """A watched commit that a suite, or some of its benchmarks, will not run, and why."""

    model_id: str
    revision: str
    suite: str
    kind: Literal["done", "in_flight", "same_fingerprint", "rejected", "gave_up", "later", "unavailable"]
    reason: str
    benchmarks: tuple[str, ...] = Field(default=(), description="of the suite; none: all remaining ones")


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
