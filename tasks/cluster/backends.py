"""Chooses the executor of a cluster's profile: SLURM, local or dry."""

from __future__ import annotations

from nightboard.profiles.models.cluster import Cluster
from nightboard.tasks.cluster.executor import Executor


def open_executor(cluster: Cluster) -> Executor:
    """The executor of a cluster profile; imports that one alone."""
    if cluster.executor == "local":
        from nightboard.tasks.cluster.local import LocalExecutor

        return LocalExecutor(cluster.gpus)
    if cluster.executor == "slurm":
        from nightboard.tasks.cluster.slurm import SlurmExecutor

        return SlurmExecutor()
    from nightboard.tasks.cluster.dry_run import DryExecutor

    return DryExecutor()
