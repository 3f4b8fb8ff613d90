"""The tests of this folder run on the SLURM that cluster.py starts, and leave it as they found it.

Without one they are skipped, or fail where NIGHTBOARD_REQUIRE_SLURM=1. A SLURM of somebody else is never used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.cluster import Cluster, ClusterError, wait_until

# Every job that these tests submit carries it, so that nobody else's job is taken for one that they left.
LABEL = f"tests-{os.getpid()}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slurm")
            item.add_marker("real")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that is up; SLURM's commands of this process and its children talk to it."""
    found = Cluster.find()
    if found is None or not found.is_up():
        reason = "no SLURM of these tests answers; `make slurm-up` starts one"
        if os.environ.get("NIGHTBOARD_REQUIRE_SLURM") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SLURM_CONF": str(found.conf), "SBATCH_WCKEY": LABEL}.items():
            patch.setenv(name, value)
            found.env[name] = value
        yield found


@pytest.fixture(autouse=True)
def _left_as_found(cluster: Cluster) -> Iterator[None]:
    """Daemons and nodes that a test stopped are up again after it, and none of its jobs is left."""
    yield
    cluster.repair()
    # A job that has ended takes a moment to go.
    try:
        wait_until("the end of the test's jobs", lambda: not cluster.squeue(LABEL), 3)
    except ClusterError:
        left = cluster.squeue(LABEL)
        cluster.cancel_all(LABEL)
        wait_until("the end of cancelled jobs", lambda: not cluster.squeue(LABEL), 30)
        if left:
            pytest.fail("jobs left in the queue, cancelled now:\n" + "\n".join(left), pytrace=False)
