"""How `make test` shares the tests among its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler.loadscope import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer


class ClusterOnOneWorker(LoadScopeScheduling):
    """Every test for itself, but those on a SLURM one after the other: there is one cluster."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/slurm" if nodeid.startswith("tests/slurm/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ClusterOnOneWorker:
    return ClusterOnOneWorker(config, log)
