"""Uncertainty: intervals hold what they promise on models whose true scores are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_lake import START, Lake
from synthetic_models import SyntheticModel, add_models

from nightboard.profiles.load import load_suite
from nightboard.profiles.resolve import suite_rows
from nightboard.warehouse.build import build

pytestmark = pytest.mark.real

N_MODELS = 800
Row = dict[str, Any]


def declare(version: str = "v1") -> list[Row]:
    """leaderboard-v2, with fewer documents of MMLU-PRO: one task of many documents is the easiest of all."""
    rows = suite_rows(load_suite("leaderboard-v2"), version, START)
    return [row | ({"n_samples": 1000} if row["benchmark"] == "mmlu_pro" else {}) for row in rows]


def above(tasks: list[Row], share: Callable[[int], float]) -> SyntheticModel:
    """A model that has, of what is above its baseline, a share that depends on the task's position."""
    chances = {}
    for position, task in enumerate(tasks):
        bound = task["task_lower_bound"]
        chances[task["task"]] = bound + (1 - bound) * share(position)
    return SyntheticModel(chances)


SCENES: dict[str, Callable[[int], float]] = {
    "interior": lambda _: 0.45,
    "spread": lambda position: 0.1 + 0.8 * (position * 7 % 39) / 38,
    "baseline": lambda _: 0.004,
    "half-baseline": lambda position: 0.5 if position % 2 else 0.004,
    "top": lambda _: 0.985,
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], dict[str, SyntheticModel]]:
    folder, lake, tasks = tmp_path_factory.mktemp("simulated"), Lake(), declare()
    chance, models = np.random.default_rng(20260101), {}
    lake.add("suites", "v2", tasks)
    for scene, share in SCENES.items():
        models[scene] = above(tasks, share)
        for first in range(0, N_MODELS, 100):
            names = {f"{scene}-{number:04}": models[scene] for number in range(first, first + 100)}
            add_models(lake, folder / "lake", tasks, names, chance)
    built = build(lake.write(folder / "lake"), folder / "warehouse", START)
    return built.path, tasks, models
