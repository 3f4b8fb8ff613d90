"""A lake to fill, and the warehouse that is built from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from make_lake import START, Lake

from nightboard.warehouse.builder.build import build


@pytest.fixture
def lake() -> Lake:
    return Lake()


@pytest.fixture
def ask(lake: Lake, tmp_path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """Build from the lake as it is now, if it has changed, and return the rows of a query."""
    builds: dict[str, Path] = {}

    def ask_built(sql: str, seed: int | None = None) -> list[tuple[Any, ...]]:
        key = f"{seed} {lake.files}"
        if key not in builds:
            folder = tmp_path / str(len(builds))
            builds[key] = build(lake.write(folder / "lake", seed), folder / "warehouse", START).path
        with duckdb.connect(str(builds[key]), read_only=True) as con:
            return con.execute(sql).fetchall()

    return ask_built
