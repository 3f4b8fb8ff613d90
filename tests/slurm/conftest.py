"""The tests of this folder run on the SLURM that cluster.py starts, and leave it as they found it.

Without one they are skipped, or fail where NIGHTBOARD_REQUIRE_SLURM=1. A SLURM of somebody else is never used.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.cluster import Cluster, ClusterError, wait_until


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
    with (found.state / "tests.lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        # Two test runs would take each other's jobs for their own, and stop each other's daemons.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            another = "python3 tests/slurm/cluster.py up --state FOLDER --first-port 20000"
            pytest.fail(f"another test run uses the cluster in {found.state}. Start a second: {another}", pytrace=False)
        patch.setenv("SLURM_CONF", str(found.conf))
        yield found


@pytest.fixture(autouse=True)
def _left_as_found(cluster: Cluster) -> Iterator[None]:
    """Daemons and nodes that a test stopped are up again after it, and none of its jobs is left."""
    before = list_jobs(cluster)
    yield
    cluster.repair()
    try:
        # A job that has ended takes a moment to go.
        wait_until("the end of the test's jobs", lambda: list_jobs(cluster).keys() <= before.keys(), 3)
    except ClusterError:
        left = [line for job, line in list_jobs(cluster).items() if job not in before]
        cluster.cancel(left)
        wait_until("the end of cancelled jobs", lambda: list_jobs(cluster).keys() <= before.keys(), 30)
        if left:
            pytest.fail("jobs left in the queue, cancelled now:\n" + "\n".join(left), pytrace=False)


def list_jobs(cluster: Cluster) -> dict[str, str]:
    return {line.partition(" ")[0]: line for line in cluster.squeue()}
