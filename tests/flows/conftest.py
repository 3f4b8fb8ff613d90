"""Keeps Prefect's settings of one test away from the next, and out of the user's home; and a history to start from."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from once import make_once

from nightboard.flows.prefect_server.server import OwnServer

# Importing prefect makes this folder, and test files may import it before any fixture runs.
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="nightboard-tests-prefect-"))
os.environ.setdefault("DO_NOT_TRACK", "1")


@pytest.fixture(autouse=True)
def prefect_settings() -> Iterator[None]:
    """Take back what a test has set."""
    before = {key: value for key, value in os.environ.items() if key.startswith(("PREFECT_", "DO_NOT_TRACK"))}
    yield
    for key in [key for key in os.environ if key.startswith("PREFECT_")]:
        del os.environ[key]
    os.environ.update(before)
    if "prefect.context" in sys.modules:
        sys.modules["prefect.context"].refresh_global_settings_context()


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Prefect server that has made its tables, which is two thirds of what a start takes."""

    def make(folder: Path) -> None:
        own = OwnServer(folder)
        own.open_client()
        own.stop()

    return make_once(tmp_path_factory, "empty-history", make)


@pytest.fixture
def state_dir(empty_history: Path, tmp_path: Path) -> Path:
    """A copy of it, for a server of the test's own."""
    return Path(shutil.copytree(empty_history, tmp_path / "store" / "prefect"))
