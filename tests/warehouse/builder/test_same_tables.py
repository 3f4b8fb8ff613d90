"""The same work gives the same tables: in whichever order, how often and in which files the rows came."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_lake import SMALL_SUITE, START, Lake, after, read_build

from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.builder import compact as compaction
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.schema.lake_tables import LAKE_TABLES

N_MODELS = 6
TASKS = [task["task"] for task in SMALL_SUITE]
# Few values, so that many tie.
SCORES = st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0])
EVALUATIONS = st.lists(
    st.tuples(
        st.integers(0, N_MODELS - 1),
        st.sampled_from(["r1", "r2"]),
        st.tuples(SCORES, SCORES, SCORES),
        st.integers(1, 4),
        st.sampled_from(["done", "done", "done", "lacks a task", "failed", "open"]),
        st.sampled_from(["1.0", "1.0", "2.0"]),
    ),
    min_size=5,
    max_size=12,
)


def draw_lake(evaluations: list[tuple[int, str, tuple[float, ...], int, str, str]]) -> Lake:
    lake = Lake()
    lake.suite()
    lake.suite(hours=1)
    lake.era("now", *({"task": task, "task_version": "1.0"} for task in TASKS))
    for number in range(N_MODELS):
        for hours, revision in enumerate(["r1", "r2"]):
            lake.commit(f"org/m{number}", revision, hours, fingerprint=f"f{number // 2}", params_b=number % 3 or None)
    for number, (model, revision, scores, hours, state, version) in enumerate(evaluations):
        model_id, common = f"org/m{model}", {"fingerprint": f"f{model // 2}", "replicate": number}
        if state in ("done", "lacks a task"):
            rows = lake.done(
                f"e{number}", model_id, revision, scores=dict(zip(TASKS, scores, strict=True)), hours=hours,
                versions=dict.fromkeys(TASKS, version), **common,
            )  # fmt: skip
            lake.samples(f"e{number}")
            if state == "lacks a task":
                rows.pop()
        else:
            lake.planned(f"e{number}", model_id, revision, **common)
        if state != "open":
            lake.attempt(f"e{number}", "failed" if state == "failed" else "completed")
    return lake


def build_tables(lake: Path) -> dict[str, list[Any]]:
    return read_build(build(lake, lake.parent / "warehouse", START).path)


@settings(max_examples=settings().max_examples // 25, deadline=None)
@given(EVALUATIONS, st.integers(0, 10**6))
def test_orders_duplicates_compaction_and_rebuilds_change_no_table(
    evaluations: list[tuple[int, str, tuple[float, ...], int, str, str]], seed: int
) -> None:
    lake = draw_lake(evaluations)
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        root = Path(name)
        plain = lake.write(root / "plain" / "lake")
        expected = build_tables(plain)
        assert build_tables(plain) == expected, "built twice"
        assert build_tables(lake.write(root / "shuffled" / "lake", seed)) == expected, "rows and files in another order"
        assert build_tables(write_twice(lake, root / "twice" / "lake", seed)) == expected, "collected twice"
        patch.setattr(compaction, "COMPACT_FROM", 2)
        patch.setattr(compaction, "ROWS_PER_FILE", 10)
        assert build_tables(plain) == expected, "compacted"
        moved = root / "moved"
        shutil.move(root / "plain", moved)
        assert build_tables(moved / "lake") == expected, "moved"


def write_twice(lake: Lake, folder: Path, seed: int) -> Path:
    """As when two flows collect the same work under names of their own; samples have one name for both."""
    chance = random.Random(seed)
    lake.write(folder)
    for (table, name), rows in lake.files.items():
        if table != "samples":
            again = folder / table / f"{chance.random()}-{name}.parquet"
            write_parquet(again, LAKE_TABLES[table], chance.sample(rows, len(rows)))
    return folder


def test_rows_that_came_in_many_nights_or_in_one_give_the_same_tables(tmp_path: Path) -> None:
    chance = random.Random(5)
    evaluations = [
        (chance.randrange(N_MODELS), "r1", (0.1, 0.5, 0.7), hours, state, "1.0")
        for hours, state in enumerate(["done", "lacks a task", "done", "failed", "done", "done"], start=1)
    ]
    for n_done in range(2, len(evaluations) + 1, 2):
        draw_lake(evaluations[:n_done]).write(tmp_path / "nights" / "lake")
        night = build(tmp_path / "nights" / "lake", tmp_path / "nights" / "warehouse", after(n_done))
    assert read_build(night.path) == build_tables(draw_lake(evaluations).write(tmp_path / "once" / "lake"))
