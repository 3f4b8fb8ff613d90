"""The kinds of ending of an attempt, who is at fault, and the default retries of each (see retry_policy.py)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nightboard.profiles.models.base import Profile

# The names of endings: SLURM's states in lower case, and nightboard's own.
Ending = Literal[
    "timeout", "deadline", "preempted", "node_fail", "boot_fail", "revoked", "interrupted", "not_started",
    "out_of_memory", "failed", "invalid", "fetch_failed", "hub_failed", "cache_failed",
    "environment", "harness", "cancelled",
]  # fmt: skip

# Who is at fault. `environment`: a node, its disk, GPUs or installed packages.
Party = Literal["model", "environment", "cluster", "hub", "harness", "operator"]

AT_FAULT: dict[Ending, Party] = {
    "timeout": "model",
    "deadline": "cluster",
    "preempted": "cluster",
    "node_fail": "cluster",
    "boot_fail": "cluster",
    "revoked": "cluster",
    "interrupted": "cluster",
    "not_started": "cluster",
    "out_of_memory": "model",
    "failed": "model",
    "invalid": "model",
    "fetch_failed": "model",
    "hub_failed": "hub",
    "cache_failed": "environment",
    "environment": "environment",
    "harness": "harness",
    "cancelled": "operator",
}


def is_lasting(ending: Ending) -> bool:
    """Whether attempts with this ending are counted over all runs: faults of the model, and cancelled attempts."""
    return AT_FAULT[ending] in ("model", "operator")


class Retry(Profile):
    """The retry rule after one ending. A key that is missing in a cluster's file is as in RETRIES."""

    attempts: int = Field(
        gt=0,
        description="attempts allowed to end this way. Model at fault or cancelled: counted over all runs; then the"
        " evaluation stops until `nightboard retry`. Otherwise: counted in each run, from zero",
    )
    next: Literal["resume", "shrink"] = Field(
        default="resume",
        description="resume: continue after the finished part; shrink: with half the batch size, then in the next tier",
    )
    same_run: bool = Field(default=True, description="retry in the same run; false: in the next run")


RETRIES: dict[Ending, Retry] = {
    "timeout": Retry(attempts=5),
    "deadline": Retry(attempts=5),
    "preempted": Retry(attempts=10),
    "node_fail": Retry(attempts=5),
    "boot_fail": Retry(attempts=5),
    "revoked": Retry(attempts=5),
    "interrupted": Retry(attempts=5),
    "not_started": Retry(attempts=20),
    "out_of_memory": Retry(attempts=4, next="shrink"),
    "failed": Retry(attempts=2, same_run=False),
    "invalid": Retry(attempts=2, same_run=False),
    "fetch_failed": Retry(attempts=3, same_run=False),
    "hub_failed": Retry(attempts=1, same_run=False),
    "cache_failed": Retry(attempts=1, same_run=False),
    "environment": Retry(attempts=5),
    "harness": Retry(attempts=1, same_run=False),
    "cancelled": Retry(attempts=1, same_run=False),
}


def fill_retries(value: object) -> object:
    """Complete each declared retry with the shipped one of the same ending."""
    if not isinstance(value, dict):
        return value
    shipped: dict[str, Retry] = {str(ending): retry for ending, retry in RETRIES.items()}
    return {
        ending: shipped[ending].model_dump() | given if ending in shipped and isinstance(given, dict) else given
        for ending, given in value.items()
    }
