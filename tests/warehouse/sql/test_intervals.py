"""Uncertainty: intervals hold what they promise on models whose true scores are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from make_lake import START, Lake, declare_task
from synthetic_models import SyntheticModel, add_models, true_scores, true_value

from nightboard.profiles.declared_rows import suite_rows
from nightboard.profiles.loading.load import load_suite
from nightboard.warehouse.builder.build import build

Row = dict[str, Any]
Truths = Mapping[str, Mapping[str, float]]
Ask = Callable[..., list[tuple[Any, ...]]]

N_MODELS = 400
# Shares, by the position of a task in the suite, of what there is above its baseline.
INTERIOR: dict[str, Callable[[int], float]] = {
    "even": lambda _: 0.45,
    "spread": lambda position: 0.15 + 0.7 * (position * 7 % 39) / 38,
}
NEAR_CLIP: dict[str, Callable[[int], float]] = {
    "guessing": lambda _: 0.004,
    "half-guessing": lambda position: 0.5 if position % 2 else 0.004,
}
# Beside each interval what it is to hold: table, key and name of the bounds.
INTERVALS = {
    "tasks": ("task_scores", "task", "value"),
    "raw": ("benchmark_scores", "benchmark", "raw"),
    "normalized": ("benchmark_scores", "benchmark", "normalized"),
    "average": ("leaderboard", "'average'", "average"),
}


@dataclass(frozen=True)
class Simulated:
    """A warehouse of evaluations `<scene>-<number>`, and the true values of each scene by kind of interval."""

    path: Path
    truths: dict[str, dict[str, dict[str, float]]]

    def cover(self, kind: str, scenes: Iterable[str]) -> dict[str, float]:
        """How often the intervals of these scenes hold the truth, by task or benchmark."""
        table, key, name = INTERVALS[kind]
        rows = [(scene, each, value) for scene in scenes for each, value in self.truths[kind][scene].items()]
        with duckdb.connect(str(self.path), read_only=True) as con:
            con.execute("create temp table truths (scene varchar, key varchar, truth double)")
            con.executemany("insert into truths values (?, ?, ?)", rows)
            holds = f"truth between {name}_low - 1e-9 and {name}_high + 1e-9"
            scores = f"select *, {key} as key, regexp_replace(evaluation_id, '-[0-9]+$', '') as scene from {table}"
            sql = f"select key, avg(({holds})::int) from ({scores}) join truths using (scene, key) group by key"
            return dict(con.execute(sql).fetchall())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder, lake, chance = tmp_path_factory.mktemp("simulated"), Lake(), np.random.default_rng(20260101)
    # Fewer documents of MMLU-PRO than there are: one task of many documents is the easiest of all.
    tasks = [
        row | ({"n_samples": 1000} if row["benchmark"] == "mmlu_pro" else {})
        for row in suite_rows(load_suite("leaderboard-v2"), "v1", START)
    ]
    lake.add("suites", "v1", tasks)
    truths: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in INTERVALS}
    for scene, share in (INTERIOR | NEAR_CLIP).items():
        model = _make_model(tasks, share)
        for first in range(0, N_MODELS, 100):
            names = [f"{scene}-{number}" for number in range(first, first + 100)]
            add_models(lake, folder / "lake", tasks, dict.fromkeys(names, model), chance)
        scores = true_scores(tasks, model)
        single = [task for task in tasks if len(task["metrics"]) == 1]
        truths["tasks"][scene] = {task["task"]: true_value(task, model.chances[task["task"]]) for task in single}
        truths["raw"][scene] = {name: raw for name, (raw, _) in scores.items()}
        truths["normalized"][scene] = {name: normalized for name, (_, normalized) in scores.items()}
        truths["average"][scene] = {"average": float(np.mean([normalized for _, normalized in scores.values()]))}
    built = build(lake.write(folder / "lake"), folder / "warehouse", START)
    return Simulated(built.path, truths)


def _make_model(tasks: list[Row], share: Callable[[int], float]) -> SyntheticModel:
    bounds = [task["task_lower_bound"] for task in tasks]
    chances = {
        task["task"]: bound + (1 - bound) * share(position)
        for position, (task, bound) in enumerate(zip(tasks, bounds, strict=True))
    }
    return SyntheticModel(chances)


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
def test_standard_errors_are_those_of_repeated_evaluations(simulated: Simulated) -> None:
    with duckdb.connect(str(simulated.path), read_only=True) as con:
        rows = con.execute(
            "select benchmark, sqrt(avg(pow(stderr, 2))) / stddev(raw), bool_or(is_approximate) from benchmark_scores"
            " where evaluation_id like 'even-%' group by benchmark"
        ).fetchall()
    assert len(rows) == 6
    assert all(0.9 <= ratio <= 1.1 and not is_approximate for _, ratio, is_approximate in rows), rows


# ---------------------------------------------------------------------------------------------------------- ranks

N_TIED, N_REPEATS = 50, 20


@pytest.mark.real
def test_rank_intervals_hold_the_true_place_among_nearly_tied_models(tmp_path: Path) -> None:
    lake, chance = Lake(), np.random.default_rng(7)
    chances = np.linspace(0.5, 0.53, N_TIED)
    places: dict[str, int] = {}
    for repeat in range(N_REPEATS):
        suite = f"suite-{repeat}"
        task = {
            "suite": suite, "suite_version": suite, "suite_title": suite, "declared_at": START,
            "independent_share": 1.0, **declare_task("arc", "arc", n_samples=600),
        }  # fmt: skip
        lake.add("suites", suite, [task])
        names = [f"{suite}-{number}" for number in range(N_TIED)]
        models = {name: SyntheticModel({"arc": chances[number]}) for number, name in enumerate(names)}
        places |= {name: N_TIED - number for number, name in enumerate(names)}
        add_models(lake, tmp_path / "lake", [task], models, chance)
    built = build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with duckdb.connect(str(built.path), read_only=True) as con:
        rows = con.execute("select evaluation_id, rank, rank_low, rank_high from leaderboard").fetchall()
    assert len(rows) == N_TIED * N_REPEATS
    assert all(low <= rank <= high for _, rank, low, high in rows)
    assert np.mean([low <= places[name] <= high for name, _, low, high in rows]) >= 0.93


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
    """Without samples: the error that lm-eval reports; one of exactly 0 is none, unless all answers were alike."""
    tasks = [declare_task("arc", f"arc-{number}", n_samples=100) for number in range(4)]
    lake.suite(tasks)
    lake.commit("lab/m")
    rows = lake.done("e", "lab/m", scores={"arc-0": 0.5, "arc-1": 0.5, "arc-2": 1.0, "arc-3": 0.5}, tasks=tasks)
    for row, stderr in zip(rows, (0.1, 0.0, 0.0, None), strict=True):
        row["stderr"] = stderr
    found = ask("select task, stderr, value_low, value_high from task_scores order by task")
    near = [tuple(pytest.approx(bound, abs=1e-3) for bound in bounds) for bounds in ((0.3175, 0.6825), (0.404, 0.596))]
    assert found == [
        ("arc-0", 0.1, *near[0]),
        ("arc-1", 0.0, *near[1]),
        ("arc-2", 0.0, pytest.approx(0.963, abs=1e-3), 1.0),
        ("arc-3", None, None, None),
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
