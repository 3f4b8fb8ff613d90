"""A folder of profiles of one's own, to break in every way."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

WriteProfile = Callable[[str, str], Path]

BOARD = """\
board: mine
title: Mine
watch: few
suites: [small]
cluster: here
store: ./store
"""
WATCHLIST = """\
watchlist: few
models: [acme/one]
"""
SUITE = """\
suite: small
title: Small
extends: leaderboard-v2
only: [bbh]
limit: 2
"""
CLUSTER = """\
cluster: here
executor: local
tiers:
  - name: all
    up_to_params_b: 1
"""


@pytest.fixture
def write(tmp_path: Path) -> WriteProfile:
    """Write a profile file below the test's folder."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def board(write: WriteProfile) -> Path:
    """A board of one's own that is in order, with its profiles beside it and in folders."""
    write("watchlists/few.yaml", WATCHLIST)
    write("suites/small.yaml", SUITE)
    write("here.yaml", CLUSTER)
    return write("mine.yaml", BOARD)
