"""The morning: what ran, what failed, grouped with the next step, and when the next run is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from make_lake import Lake, after
from screen import show_on_screen

from nightboard.flows.display.console import Terminal
from nightboard.flows.display.overview import show_overview
from nightboard.profiles.models.board import Board
from nightboard.profiles.models.budget import Budget
from nightboard.profiles.models.schedule import Schedule
from nightboard.tasks.overview import Estimates, NightUse, find_next_run, look
from nightboard.tasks.runs.open_runs import OpenRuns
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build

NOTHING_OPEN = OpenRuns((), ())


def test_failures_are_grouped_with_the_next_step_for_each(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path)
    lake.suite()
    for number, (state, reason) in enumerate(
        [("failed", "CUDA error"), ("failed", "CUDA error"), ("out_of_memory", "no memory"), ("environment", "no disk")]
    ):
        lake.planned(f"e{number}", f"lab/{number}")
        for attempt in (1, 2):
            lake.attempt(f"e{number}", state, attempt, reason=reason, ended_at=after(number + 1))
    lake.done("good", "lab/good", hours=20)
    lake.done("old", "lab/old", hours=-30)
    build(lake.write(store.lake), store.warehouse, after(30))
    seen = look(store, NOTHING_OPEN, after(30), "mine")
    assert seen.last
    assert (seen.last.n_done, seen.last.n_failed_attempts) == (1, 0), "what ended in the last 24 hours"
    found = {cause.ending: (cause.n_evaluations, cause.n_models, cause.next_step) for cause in seen.causes}
    log, again = "nightboard why --board mine lab/1", "nightboard retry --board mine --all --state"
    assert found == {
        "failed": (2, 2, f"Read the log: {log}. What is given up runs again after: {again} failed"),
        "out_of_memory": (1, 1, f"Add a larger tier to the cluster; with the same tiers: {again} out_of_memory"),
        "environment": (1, 1, "Look at the node, its disk and GPUs. The next run tries again."),
    }
    assert look(store, NOTHING_OPEN, after(5)).last.n_failed_attempts == 8  # type: ignore[union-attr]


def test_a_store_without_a_build_has_no_last_runs(tmp_path: Path) -> None:
    seen = look(Store(tmp_path / "none"), NOTHING_OPEN, after(0))
    assert (seen.last, seen.causes, seen.next_run) == (None, (), None)
    assert 0 < seen.disk.free_gb < seen.disk.total_gb


def test_the_budget_of_the_night_and_the_error_of_estimates_are_told(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path)
    lake.suite()
    lake.done("e", "lab/e", hours=20)
    took = {"started_at": after(19), "ended_at": after(20), "elapsed_s": 3600.0, "gpus": 2}
    lake.attempt("e", "completed", estimate_s=4000.0, **took)
    build(lake.write(store.lake), store.warehouse, after(30))
    declared = Board(
        board="mine", title="Mine", watch="w", suites=("small",), cluster="c", store="s",
        budget=Budget(gpu_hours_per_night=5),
    )  # fmt: skip
    seen = look(store, NOTHING_OPEN, after(30), "mine", declared)
    assert seen.budget == NightUse(5, 2)
    assert seen.estimates == Estimates(pytest.approx(0.1), 1)
    assert look(store, NOTHING_OPEN, after(40), "mine", declared).budget == NightUse(5, 0), "another night"
    shown = show_on_screen(120, lambda: show_overview(Terminal(), seen, None))
    assert "Budget: 3.0 of 5 GPU-hours of this night left.\n" in shown
    small = replace(seen, budget=NightUse(0.02, 0.0025))
    shown_small = show_on_screen(120, lambda: show_overview(Terminal(), small, None))
    assert "Budget: 0.018 of 0.02 GPU-hours of this night left.\n" in shown_small
    assert "Estimates: off by 10% in the median, over 1 evaluation of the last 30 days.\n" in shown


@pytest.mark.parametrize(
    ("cron", "timezone", "expected"),
    [
        ("0 2 * * *", "UTC", datetime(2026, 3, 29, 2, tzinfo=UTC)),
        ("0 4 * * *", "Europe/Paris", datetime(2026, 3, 29, 2, tzinfo=UTC)),
        ("*/30 * * * mon-fri", "UTC", datetime(2026, 3, 30, 0, tzinfo=UTC)),
    ],
)
def test_the_next_run_is_in_the_zone_of_the_schedule(cron: str, timezone: str, expected: datetime) -> None:
    saturday = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert find_next_run(Schedule(cron=cron, timezone=timezone), saturday) == expected
