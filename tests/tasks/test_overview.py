"""The morning: what ran, what failed, grouped with the next step, and when the next run is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from make_lake import Lake, after

from nightboard.profiles.models.schedule import Schedule
from nightboard.tasks.overview import find_next_run, look
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
    again = "nightboard retry --board mine --all --state"
    assert found == {
        "failed": (2, 2, f"Read the log; once the cause is gone: {again} failed"),
        "out_of_memory": (1, 1, f"Add a larger tier to the cluster; with the same tiers: {again} out_of_memory"),
        "environment": (1, 1, "Look at the node, its disk and GPUs. The next run tries again."),
    }
    assert look(store, NOTHING_OPEN, after(5)).last.n_failed_attempts == 8  # type: ignore[union-attr]


def test_a_store_without_a_build_has_no_last_runs(tmp_path: Path) -> None:
    seen = look(Store(tmp_path / "none"), NOTHING_OPEN, after(0))
    assert (seen.last, seen.causes, seen.next_run) == (None, (), None)
    assert 0 < seen.disk.free_gb < seen.disk.total_gb


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
