"""How `make test` shares the tests among its workers, and what runs where the harness is not installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler.loadscope import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

# Each process that a test starts would otherwise compile torch, transformers and Prefect again, which takes longer than
# what most of them do.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Every test of these files takes long and has little in common with the next.
APART = ("tests/flows/test_nightly.py", "tests/tasks/evaluation/test_job_real.py", "tests/tasks/fetch/test_fetch.py")


# .ci/run also tests on a newer Python, where it installs all but these.
HARNESS = ("accelerate", "lm_eval", "torch", "transformers")


# No test depends on how fast the machine is.
settings.register_profile("full", deadline=None)
settings.load_profile("full")
# pytest --hypothesis-profile=few: for a second run of tests that have run in full.
settings.register_profile("few", max_examples=25, deadline=None)


class FilesOnOneWorker(LoadScopeScheduling):
    """The tests of a file, which share what it makes, on one worker, and all on a SLURM, since there is one cluster."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/slurm/"):
            return "tests/slurm"
        return nodeid if nodeid.startswith(APART) else nodeid.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip what turns out to need the harness, where it is left out on purpose."""
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if error.name in HARNESS and "NIGHTBOARD_WITHOUT_HARNESS" in os.environ:
            pytest.skip(f"needs {error.name}")
        raise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first, so that no worker has one left when the others are done."""
    long = {item.path for item in items if item.get_closest_marker("real")}
    items.sort(key=lambda item: (item.path.parent.name != "slurm", item.path not in long))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesOnOneWorker:
    return FilesOnOneWorker(config, log)
