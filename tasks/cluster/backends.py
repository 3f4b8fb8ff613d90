"""Chooses the executor that a cluster's profile, or a launch, names: SLURM, local or dry."""

from __future__ import annotations

from collections.abc import Sequence

from nightboard.tasks.cluster.executor import Executor


def open_executor(name: str, gpus: int | Sequence[int] | None = None) -> Executor:
    """The executor of a name; imports that one alone. `gpus`: what the profile says a machine for local jobs has."""
    if name == "local":
        from nightboard.tasks.cluster.local import LocalExecutor

        return LocalExecutor(gpus)
    if name == "slurm":
        from nightboard.tasks.cluster.slurm import SlurmExecutor

        return SlurmExecutor()
    from nightboard.tasks.cluster.dry_run import DryExecutor

    return DryExecutor()
