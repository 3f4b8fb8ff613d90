"""A lake to fill, and answers from the warehouse that is built from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked import ask_lake
from make_lake import Lake


@pytest.fixture
def lake() -> Lake:
    return Lake()


@pytest.fixture
def ask(lake: Lake, tmp_path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """The rows of a query over the lake as it is now; with a seed, written in another order."""
    written: dict[str, Path] = {}

    def ask_written(sql: str, seed: int | None = None) -> list[tuple[Any, ...]]:
        key = f"{seed} {lake.files}"
        if key not in written:
            written[key] = lake.write(tmp_path / str(len(written)) / "lake", seed)
        return ask_lake(written[key], sql)

    return ask_written
