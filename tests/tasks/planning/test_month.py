"""Some nights of the simulated month: nothing twice, nothing lost, budgets kept. All: `make bench ONLY=month`."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_month import FIRST, NIGHT, Month, median_error

from nightboard.profiles.models.budget import Budget
from nightboard.tasks.planning.budget import CLASSES
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.requests.book import read_book

N_NIGHTS = 5
BUDGET = Budget(gpu_hours_per_night=36, gpu_hours_per_organization_and_week=120)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Month, Plan]:
    month = Month(tmp_path_factory.mktemp("month"), n_commits=6, budget=BUDGET)
    return month, month.run(N_NIGHTS)


def test_nothing_is_lost(lived: tuple[Month, Plan]) -> None:
    """Every commit is done, planned, or has a reason; every request is over or says what it waits for."""
    month, last = lived
    told = {(skip.model_id, skip.revision): skip for skip in last.skipped if skip.request_id is None}
    planned = {(evaluation.model_id, evaluation.revision) for evaluation in last.evaluations}
    for commit in month.watched:
        key = commit.model_id, commit.revision
        assert key in planned or told[key].reason
    kinds = {skip.kind for skip in last.skipped}
    assert kinds <= {"done", "gave_up", "in_flight", "later", "budget", "same_fingerprint"}
    for entry in read_book(month.store).values():
        assert entry.state in ("done", "planned", "running") or entry.event.reason, entry
    assert {entry.state for entry in read_book(month.store).values()} >= {"done"}


def test_nothing_is_launched_twice(lived: tuple[Month, Plan]) -> None:
    month, _ = lived
    keys = [(*attempt.key, attempt.planned.number) for attempt in month.attempts]
    assert len(keys) == len(set(keys)) > 30
    completed = [attempt.key for attempt in month.attempts if attempt.state == "completed"]
    assert len(completed) == len(set(completed))


def test_every_night_keeps_its_budget_and_no_class_starves(lived: tuple[Month, Plan]) -> None:
    """What attempts really took is more than was estimated in the first nights only."""
    month, _ = lived
    assert any(night.waiting for night in month.nights), "the budget is tight"
    for night in month.nights[2:]:
        assert sum(month.sum_used(night).values()) <= 1.3 * 36
    assert all(max(month.list_unserved(name)) <= 3 for name in CLASSES)
    assert {name for name in CLASSES if month.list_waits(name)} == set(CLASSES)


def test_estimates_learn(lived: tuple[Month, Plan]) -> None:
    month, _ = lived
    first, later = median_error(month.nights[:1]), median_error(month.nights[2:])
    assert first is not None and later is not None
    assert later < first / 2


def test_a_month_is_the_same_again(tmp_path: Path) -> None:
    months = [Month(tmp_path / name, n_commits=3, budget=BUDGET, seed=3) for name in ("a", "b")]
    first, second = (month.run(2) for month in months)
    assert first == second
    assert first.created_at > FIRST + NIGHT
