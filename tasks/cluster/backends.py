"""Chooses the executor of a cluster's profile: SLURM, local or dry."""

from __future__ import annotations

from collections.abc import Callable

from nightboard.profiles.models.cluster import Cluster
from nightboard.tasks.cluster.dry_run import DryExecutor
from nightboard.tasks.cluster.executor import Executor
from nightboard.tasks.cluster.local import LocalExecutor
from nightboard.tasks.cluster.slurm import SlurmExecutor


def open_executor(cluster: Cluster) -> Executor:
    """The executor of a cluster profile."""
    if cluster.executor == "local":
        return LocalExecutor(cluster.gpus)
    executors: dict[str, Callable[[], Executor]] = {"dry": DryExecutor, "slurm": SlurmExecutor}
    return executors[cluster.executor]()
