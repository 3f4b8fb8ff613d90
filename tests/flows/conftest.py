"""Keeps Prefect's settings of one test away from the next, and Prefect out of the user's home."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest

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
