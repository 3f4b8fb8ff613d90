"""The tests of this folder run on the SLURM that cluster.py starts, and leave it as they found it.

Others may have jobs there: a test looks at its own alone, which are called test-..., or after a launch of its store.

Without one they are skipped, or fail where NIGHTBOARD_REQUIRE_SLURM=1. A SLURM of somebody else is never used.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from slurm.cluster import Cluster, ClusterError, own_jobs, wait_until

# As long as a whole test run takes on a busy machine.
LOCKED_FOR_S = 2 * 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slurm")
            item.add_marker("real")
            # The first one may have to wait for another test run to end.
            item.add_marker(pytest.mark.timeout(func_only=True))


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
        _wait_for_other_runs(lock, found.state)
        patch.setenv("SLURM_CONF", str(found.conf))
        yield found


def _wait_for_other_runs(lock: TextIO, state: Path) -> None:
    """Two test runs would stop each other's daemons."""
    deadline = time.monotonic() + LOCKED_FOR_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                another = "python3 tests/slurm/cluster.py up --state FOLDER --first-port 20000"
                pytest.fail(f"another test run uses the cluster in {state}. Start a second: {another}", pytrace=False)
            time.sleep(1)


@pytest.fixture(autouse=True)
def _left_as_found(cluster: Cluster, tmp_path: Path) -> Iterator[None]:
    """Daemons and nodes that a test stopped are up again after it, and none of its jobs is left."""
    before = list_jobs(cluster, tmp_path)
    yield
    cluster.repair()
    try:
        # A job that has ended takes a moment to go.
        wait_until("the end of the test's jobs", lambda: list_jobs(cluster, tmp_path).keys() <= before.keys(), 10)
    except ClusterError:
        left = [line for job, line in list_jobs(cluster, tmp_path).items() if job not in before]
        cluster.cancel(left)
        wait_until("the end of cancelled jobs", lambda: list_jobs(cluster, tmp_path).keys() <= before.keys(), 120)
        if left:
            pytest.fail("jobs left in the queue, cancelled now:\n" + "\n".join(left), pytrace=False)


def list_jobs(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Jobs of a test by their ids; `folder` has its stores."""
    lines = own_jobs(cluster.squeue(), {"test-", *(path.name for path in folder.rglob("launches/*"))})
    return {line.partition(" ")[0]: line for line in lines}
