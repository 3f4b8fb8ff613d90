"""Opens the executor that a cluster's profile names."""

from __future__ import annotations

from collections.abc import Callable

from nightboard.profiles.models.cluster import Cluster
from nightboard.tasks.cluster.dry_run import DryExecutor
from nightboard.tasks.cluster.executor import Executor
from nightboard.tasks.cluster.local import LocalExecutor
from nightboard.tasks.cluster.slurm import SlurmExecutor


def open_executor(cluster: Cluster) -> Executor:
    """The executor that a cluster profile names."""
    if cluster.executor == "local":
        return LocalExecutor(cluster.gpus)
    executors: dict[str, Callable[[], Executor]] = {"dry": DryExecutor, "slurm": SlurmExecutor}
    return executors[cluster.executor]()
