"""Fixtures that several files share: a served Hub, and a filled store for tests of what runs on a node."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node import FilledCache, Node, small_suite
from once import make_once
from served_hub import ServedHub, serve_hub
from warm import warm_job

from nightboard.tasks.store.layout import Store


@pytest.fixture
def hub() -> Iterator[ServedHub]:
    with serve_hub() as served:
        yield served


@pytest.fixture(scope="session")
def filled_cache(tmp_path_factory: pytest.TempPathFactory) -> FilledCache:
    def fill(root: Path) -> None:
        script = Path(__file__).with_name("make_store.py")
        done = subprocess.run(warm_job(script.read_text(), str(root)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (root / "shas.json").write_text(done.stdout.splitlines()[-1])

    root = make_once(tmp_path_factory, "filled", fill)
    return FilledCache(root / "cache", json.loads((root / "shas.json").read_text()))


@pytest.fixture
def make_node(filled_cache: FilledCache, tmp_path: Path) -> Callable[..., Node]:
    """Makes a fresh store with the filled cache; arguments change the suite."""
    numbers = itertools.count()

    def make(**changes: object) -> Node:
        root = tmp_path / f"store{next(numbers)}"
        root.mkdir()
        (root / "cache").symlink_to(filled_cache.folder)
        return Node(Store(root), small_suite(filled_cache.shas, **changes))

    return make


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()
