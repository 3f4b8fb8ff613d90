"""How an attempt can end, who is to blame for it, and what follows: the shipped table of retries."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nightboard.profiles.models.base import Profile

# The words for how an attempt ended: SLURM's states in small letters, and nightboard's own.
Ending = Literal[
    "timeout", "deadline", "preempted", "node_fail", "boot_fail", "revoked", "interrupted", "not_started",
    "out_of_memory", "failed", "invalid", "fetch_failed", "hub_failed", "cache_failed",
    "environment", "harness", "cancelled",
]  # fmt: skip

# What an ending is to be charged to. `environment`: a node, its disk, GPUs or installed packages.
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
    """Whether attempts that ended so are counted over all runs: the model's own, and what somebody has cancelled."""
    return AT_FAULT[ending] in ("model", "operator")


class Retry(Profile):
    """What follows when an attempt ended in one way. In a cluster's file, what is left out is as in RETRIES."""

    attempts: int = Field(
        gt=0,
        description="attempts that may end so: in all where the model is the cause, or it was cancelled; then the"
        " evaluation stops until `nightboard retry`. In one run where the cause is another; the next run begins anew",
    )
    next: Literal["resume", "shrink"] = Field(
        default="resume",
        description="resume: go on from what is finished; shrink: with half the batch, the time after in the next tier",
    )
    tonight: bool = Field(default=True, description="try again in the same run; false: in the next one")


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
    "failed": Retry(attempts=2, tonight=False),
    "invalid": Retry(attempts=2, tonight=False),
    "fetch_failed": Retry(attempts=3, tonight=False),
    "hub_failed": Retry(attempts=1, tonight=False),
    "cache_failed": Retry(attempts=1, tonight=False),
    "environment": Retry(attempts=5),
    "harness": Retry(attempts=1, tonight=False),
    "cancelled": Retry(attempts=1, tonight=False),
}


def fill_retries(value: object) -> object:
    """Complete each declared retry from the shipped one of the same ending."""
    if not isinstance(value, dict):
        return value
    shipped: dict[str, Retry] = {str(ending): retry for ending, retry in RETRIES.items()}
    return {
        ending: shipped[ending].model_dump() | given if ending in shipped and isinstance(given, dict) else given
        for ending, given in value.items()
    }
