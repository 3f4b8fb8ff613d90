"""A lake to fill, and answers from the warehouse that is built from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked import ask_lake, find_sources
from make_lake import Lake

from nightboard.warehouse.builder import sql_models
from nightboard.warehouse.builder.sql_models import find_references, load_checks, load_models


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


KEPT = {f"main.{name}" for name in ("suites", "samples", "task_scores", "benchmark_scores", "leaderboard")}
KEPT |= {f"derived.{path.stem}" for path in (sql_models.SQL_FOLDER / "derived").glob("*.sql")}


@pytest.fixture(scope="session")
def few_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQL of these tables and of all that they are made of, with the checks that read nothing else."""
    folder = tmp_path_factory.mktemp("few-models")
    models = {model.key: model for model in load_models()}
    kept = find_sources(models, KEPT)
    paths = [Path(models[key].folder) / f"{models[key].name}.sql" for key in kept]
    paths += [Path("checks") / f"{name}.sql" for name, sql in load_checks().items() if find_references(sql) <= kept]
    for path in paths:
        (folder / path.parent).mkdir(exist_ok=True)
        shutil.copy(sql_models.SQL_FOLDER / path, folder / path)
    return folder


@pytest.fixture
def builds_few_models(few_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has to do with builds, and not with what is in them: makes them in half the time."""
    monkeypatch.setattr(sql_models, "SQL_FOLDER", few_models)
