"""Uncertainty: intervals hold what they promise on models whose true scores are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from make_lake import Lake, declare_task
from simulations import Simulated, simulate_boards, simulate_places, simulate_scores

Ask = Callable[..., list[tuple[Any, ...]]]

INTERIOR = ("even", "spread")
NEAR_CLIP = ("guessing", "half-guessing")
NEAR_CEILING = ("ceiling", "few documents, even", "few documents, ceiling")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulate_scores(tmp_path_factory.mktemp("simulated"), 400)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["raw", "normalized", "average"])
def test_interior_intervals_hold_the_truth_as_often_as_they_say(simulated: Simulated, kind: str) -> None:
    covered = simulated.cover(kind, INTERIOR)
    assert len(covered) == (1 if kind == "average" else 6)
    assert all(0.93 <= share <= 0.97 for share in covered.values()), covered


@pytest.mark.real
def test_intervals_of_tasks_hold_the_truth_as_often_as_they_say(simulated: Simulated) -> None:
    covered = list(simulated.cover("tasks", INTERIOR).values())
    assert len(covered) == 38
    assert 0.94 <= np.mean(covered) <= 0.96
    assert min(covered) >= 0.925  # 38 shares of 800 draws each


@pytest.mark.real
@pytest.mark.parametrize("kind", ["raw", "normalized", "average"])
def test_intervals_near_the_clip_hold_the_truth_often_enough(simulated: Simulated, kind: str) -> None:
    covered = simulated.cover(kind, NEAR_CLIP)
    assert all(share >= 0.93 for share in covered.values()), covered


@pytest.mark.real
@pytest.mark.parametrize("scene", NEAR_CEILING)
@pytest.mark.parametrize("kind", ["raw", "normalized", "average"])
def test_intervals_near_the_ceiling_and_of_few_documents_hold_the_truth(
    simulated: Simulated, kind: str, scene: str
) -> None:
    covered = simulated.cover(kind, [scene])
    assert all(share >= 0.925 for share in covered.values()), covered  # shares of 400 draws each


@pytest.mark.real
def test_standard_errors_are_those_of_repeated_evaluations(simulated: Simulated) -> None:
    with duckdb.connect(str(simulated.path), read_only=True) as con:
        rows = con.execute(
            "select benchmark, sqrt(avg(pow(stderr, 2))) / stddev(raw), bool_or(is_approximate) from benchmark_scores"
            " where evaluation_id like 'even-%' group by benchmark"
        ).fetchall()
    assert len(rows) == 6
    assert all(0.9 <= ratio <= 1.1 and not is_approximate for _, ratio, is_approximate in rows), rows


# ---------------------------------------------------------------------------------------------------------- ranks


@pytest.mark.real
def test_rank_intervals_hold_the_true_place_among_nearly_tied_models(tmp_path: Path) -> None:
    assert simulate_places(tmp_path, n_repeats=20) >= 0.93


def test_models_far_apart_have_no_other_place(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("arc", "arc", n_samples=2000)]
    lake.suite(tasks)
    for name, score in (("best", 0.9), ("middle", 0.6), ("worst", 0.3)):
        lake.commit(f"lab/{name}")
        lake.done(name, f"lab/{name}", scores=score, tasks=tasks)
    lake.commit("copy/best", hours=1, fingerprint="lab/best@r1")
    assert ask("select model_id, rank_low, rank, rank_high from leaderboard order by rank") == [
        ("lab/best", 1, 1, 2),
        ("copy/best", 1, 2, 2),
        ("lab/middle", 3, 3, 3),
        ("lab/worst", 4, 4, 4),
    ]


def test_who_may_be_the_best_is_told_for_all_at_once(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("arc", "arc", n_samples=400)]
    lake.suite(tasks)
    for name, score in (("first", 0.8), ("close", 0.79), ("far", 0.6)):
        lake.commit(f"lab/{name}")
        lake.done(name, f"lab/{name}", scores=score, tasks=tasks)
    assert ask("select model_id, rank_low from inseparable_from_first('small')") == [("lab/first", 1), ("lab/close", 1)]
    assert ask("from inseparable_from_first('other')") == []


def test_one_document_tells_an_interval_but_no_standard_error_and_no_regression(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("arc", f"arc-{number}", n_samples=1) for number in range(7)]
    lake.suite(tasks)
    for hours, right in enumerate((6, 5)):
        lake.commit("lab/m", f"r{hours}", hours=hours)
        scores = {task["task"]: float(number < right) for number, task in enumerate(tasks)}
        lake.done(f"e{hours}", "lab/m", f"r{hours}", scores=scores, hours=hours, tasks=tasks)
    (row,) = ask("select stderr, raw_low, raw_high, is_approximate from benchmark_scores where evaluation_id = 'e0'")
    assert row == (None, pytest.approx(0.487, abs=1e-3), pytest.approx(0.974, abs=1e-3), True)
    assert ask("select average_stderr, average_low < average from leaderboard") == [(None, True)]
    assert ask("from regressions") == []


def test_a_reported_standard_error_gives_a_task_score_its_interval(lake: Lake, ask: Ask) -> None:
    """Without samples: the error that lm-eval reports; one that cannot be is none (0, unless all are alike)."""
    tasks = [declare_task("arc", f"arc-{number}", n_samples=100) for number in range(7)]
    lake.suite(tasks)
    lake.commit("lab/m")
    scores = {f"arc-{number}": 1.0 if number == 2 else 0.5 for number in range(7)}
    rows = lake.done("e", "lab/m", scores=scores, tasks=tasks)
    for row, stderr in zip(rows, (0.1, 0.0, 0.0, None, 0.51, -0.1, 0.5), strict=True):
        row["stderr"] = stderr
    found = ask("select task, stderr, value_low, value_high from task_scores order by task")
    near = [tuple(pytest.approx(bound, abs=1e-3) for bound in bounds) for bounds in ((0.3175, 0.6825), (0.404, 0.596))]
    assert found == [
        ("arc-0", 0.1, *near[0]),
        ("arc-1", 0.0, *near[1]),
        ("arc-2", 0.0, pytest.approx(0.963, abs=1e-3), 1.0),
        ("arc-3", None, None, None),
        ("arc-4", 0.51, *near[1]),
        ("arc-5", -0.1, *near[1]),
        ("arc-6", 0.5, pytest.approx(0.055, abs=1e-3), pytest.approx(0.945, abs=1e-3)),
    ]


def test_a_standard_error_of_nothing_makes_no_drop_a_regression(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("math", "algebra", n_samples=1324)]
    lake.suite(tasks)
    for hours, right in enumerate((812, 800)):
        lake.commit("lab/m", f"r{hours}", hours=hours)
        for row in lake.done(f"e{hours}", "lab/m", f"r{hours}", scores=right / 1324, hours=hours, tasks=tasks):
            row["stderr"] = 0.0
    assert ask("from regressions") == []
    low, high = ask("select raw_low, raw_high from benchmark_scores where evaluation_id = 'e0'")[0]
    assert (low, high) == (pytest.approx(0.587, abs=1e-3), pytest.approx(0.639, abs=1e-3))


def test_a_board_has_approximate_intervals_above_the_baseline_of_its_benchmarks(lake: Lake, ask: Ask) -> None:
    bound = {"normalize": "benchmark", "benchmark_lower_bound": 0.25, "n_samples": 100}
    lake.suite([declare_task("arc", "arc", **bound), declare_task("truth", "truth", **bound)])
    lake.board_row("board", "org/m", 0.5)
    columns = "normalized, normalized_stderr, normalized_low, normalized_high, is_approximate"
    stderr = 0.05 / 0.75 * 100
    assert ask(f"select {columns} from benchmark_scores where benchmark = 'arc'") == [
        (
            pytest.approx(100 / 3),
            pytest.approx(stderr),
            pytest.approx(20.51, abs=0.01),
            pytest.approx(46.16, abs=0.01),
            True,
        )
    ]


def test_a_board_row_of_a_model_that_guesses_may_have_no_score(tmp_path: Path) -> None:
    """Clipping each task at its baseline raises the published score; the interval has to hold 0 nevertheless."""
    covered = simulate_boards(tmp_path, 200)
    assert covered["benchmark"] >= 0.95 and covered["average"] >= 0.95, covered
