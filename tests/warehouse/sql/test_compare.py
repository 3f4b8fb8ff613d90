"""Comparing two models: paired over the documents that both answered, checked by hand and by simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from make_lake import START, Lake, declare_task
from scipy.stats import binomtest, norm
from simulations import BETTER, EQUALS, count_alarms, simulate_comparisons
from synthetic_models import SyntheticModel, add_models

from nightboard.warehouse.builder.build import build

Ask = Callable[..., list[tuple[Any, ...]]]

RIGHT = {"a": [1, 1, 1, 1, 1, 1, 0, 0], "b": [1, 0, 0, 0, 0, 1, 1, 0]}
TASKS = [declare_task("arc", "arc", n_samples=8, normalize="benchmark", benchmark_lower_bound=0.2)]
COLUMNS = "benchmark, n_questions, score_a, score_b, difference, stderr, low, high, p_value, wins, losses, ties"


def answer(lake: Lake, name: str, right: list[int], task: str = "arc", **changes: Any) -> None:
    rows = [
        {
            "evaluation_id": name, "benchmark": "arc", "task": task, "doc_id": i, "doc_hash": f"d{i}", "filter": "none",
            "metric": "acc", "value": float(value), "weight": 1.0, "target": "t", "response": f"{name}{i}",
        } | changes
        for i, value in enumerate(right)
    ]  # fmt: skip
    lake.add("samples", f"{name}-{task}", rows)


@pytest.fixture
def two(lake: Lake) -> Lake:
    lake.suite(TASKS)
    for name, right in RIGHT.items():
        lake.commit(f"lab/{name}")
        lake.done(name, f"lab/{name}", scores=sum(right) / 8, tasks=TASKS)
        answer(lake, name, right)
    return lake


def test_the_difference_is_paired_by_document(two: Lake, ask: Ask) -> None:
    (arc, average) = ask(f"select {COLUMNS} from compare('lab/a', 'lab/b')")
    lead = np.array(RIGHT["a"]) - np.array(RIGHT["b"])
    stderr = 100 / 0.8 * np.std(lead, ddof=1) / np.sqrt(8)
    # Four wins and a loss of eight: Bonett and Price add one of each.
    center, adjusted = 3 / 10, np.sqrt(((4 + 1 + 2) / 10 - (3 / 10) ** 2) / 10)
    margin = norm.ppf(0.975) * adjusted / np.sqrt(1 - norm.ppf(0.975) ** 2 / 10)
    p_value = 2 * norm.sf((4 - 1) / np.sqrt(4 + 1 + 2))
    assert arc[:2] == ("arc", 8)
    assert arc[2:8] == pytest.approx(
        [
            (0.75 - 0.2) / 0.8 * 100, (0.375 - 0.2) / 0.8 * 100, 100 * 0.375 / 0.8, stderr,
            100 / 0.8 * (center - margin), 100 / 0.8 * (center + margin),
        ],
        abs=1e-9,
    )  # fmt: skip
    assert arc[8] == pytest.approx(p_value, rel=1e-6)
    assert arc[9:] == (4, 1, 3)
    assert (average[0], *average[2:9]) == ("average", *arc[2:9])
    more = ask("select holm_p, mcnemar_p, detectable_difference from compare('lab/a', 'lab/b')")
    detectable = pytest.approx(100 / 0.8 * adjusted * (norm.ppf(0.975) + norm.ppf(0.8)))
    assert more[0] == (pytest.approx(p_value, rel=1e-6), pytest.approx(binomtest(4, 5).pvalue), detectable)
    assert more[1] == (None, None, detectable)


def test_a_p_value_and_its_interval_agree_however_few_questions_there_are(lake: Lake, ask: Ask) -> None:
    """With n questions of which b are won and c lost: p < 0.05 exactly where 0 is outside of the interval."""
    tasks, n_models = [declare_task("arc", "arc", n_samples=12)], 13
    lake.suite(tasks)
    for right in range(n_models):
        lake.commit(f"lab/{right}")
        lake.done(f"{right}", f"lab/{right}", scores=right / 12, tasks=tasks)
        answer(lake, f"{right}", [1] * right + [0] * (12 - right))
    pairs = " union all ".join(f"(from compare('lab/{right}', 'lab/0'))" for right in range(n_models))
    found = ask(f"select wins, p_value, low, high from ({pairs}) where benchmark = 'arc' order by wins")
    assert [row[0] for row in found] == [*range(n_models)]
    for wins, p_value, low, high in found:
        assert p_value == pytest.approx(2 * norm.sf(wins / np.sqrt(wins + 2)), rel=1e-6)
        assert (p_value < 0.05) != (low <= 0 <= high)
        assert low <= 100 * wins / 12 <= high and low < high
    assert [wins for wins, p_value, *_ in found if p_value < 0.05] == [*range(6, 13)]  # as McNemar's exact test


def test_p_values_of_several_benchmarks_are_adjusted_for_their_number(lake: Lake, ask: Ask) -> None:
    """Holm: the smallest of three p-values counts three times, the next one twice; none is less than the one before."""
    tasks = [
        declare_task(name, name, benchmark_position=place, n_samples=40)
        for place, name in enumerate(("clear", "close", "same", "alone"))
    ]
    tasks[3]["n_samples"] = 1  # one document tells no standard error, so it is no test
    lake.suite(tasks)
    for side, right in {"a": (30, 24, 20, 1), "b": (10, 20, 20, 0)}.items():
        lake.commit(f"lab/{side}")
        lake.done(side, f"lab/{side}", tasks=tasks)
        for task, n_right in zip(tasks, right, strict=True):
            n = task["n_samples"]
            answer(lake, side, [1] * n_right + [0] * (n - n_right), task["task"], benchmark=task["benchmark"])
    found = {name: rest for name, *rest in ask("select benchmark, p_value, holm_p from compare('lab/a', 'lab/b')")}
    clear, close = (2 * norm.sf(wins / np.sqrt(wins + 2)) for wins in (20, 4))
    assert found["clear"] == pytest.approx([clear, 3 * clear], rel=1e-6)
    assert found["close"] == pytest.approx([close, 2 * close], rel=1e-6)
    assert found["same"] == [1, 1]
    assert found["alone"] == found["average"] == [None, None]


def test_a_better_score_is_not_called_worse_because_it_answers_fewer_questions(lake: Lake, ask: Ask) -> None:
    """Tasks weigh the same, whatever their size: a is worse in the large task by 30 and better in the small by 10."""
    tasks = [declare_task("bbh", task, n_samples=n) for task, n in (("large", 200), ("small", 20))]
    lake.suite(tasks)
    for side, right in {"a": (100, 18), "b": (130, 2)}.items():
        lake.commit(f"lab/{side}")
        lake.done(side, f"lab/{side}", tasks=tasks)
        for task, n_right in zip(tasks, right, strict=True):
            n = task["n_samples"]
            answer(lake, side, [1] * n_right + [0] * (n - n_right), task["task"], benchmark="bbh")
    columns = "difference, p_value, low > 0, mcnemar_p, wins, losses"
    ((difference, p_value, is_better, mcnemar_p, wins, losses),) = ask(
        f"select {columns} from compare('lab/a', 'lab/b') where benchmark = 'bbh'"
    )
    assert difference == pytest.approx((-0.15 + 0.8) / 2 * 100)
    assert p_value < 1e-6 and is_better
    assert (wins, losses, mcnemar_p) == (16, 30, pytest.approx(binomtest(16, 46).pvalue))


def test_an_interval_ends_where_the_difference_cannot_go(lake: Lake, ask: Ask) -> None:
    lake.suite(TASKS)
    for name, right in {"a": [1, 1, 1, 1, 1, 1, 1, 0], "b": [0, 0, 0, 1, 0, 0, 0, 0]}.items():
        lake.commit(f"lab/{name}")
        lake.done(name, f"lab/{name}", scores=sum(right) / 8, tasks=TASKS)
        answer(lake, name, right)
    found = ask("select low > 0, high from compare('lab/a', 'lab/b')")
    assert found == [(True, pytest.approx(100 / 0.8))] * 2
    found = ask("select low, high < 0 from compare('lab/b', 'lab/a')")
    assert found == [(pytest.approx(-100 / 0.8), True)] * 2


def test_the_other_way_round_is_the_negative(two: Lake, ask: Ask) -> None:
    there, back = (ask(f"select difference, stderr, p_value, wins, losses from compare({pair})") for pair in PAIRS)
    turned = [(-d, s, p, losses, wins) for d, s, p, wins, losses in back]
    assert np.array(turned) == pytest.approx(np.array(there))


PAIRS = ("'lab/a', 'lab/b'", "'lab/b', 'lab/a'")


def test_models_revisions_and_evaluations_can_be_named(two: Lake, ask: Ask) -> None:
    expected = ask("from compare('lab/a', 'lab/b')")
    assert len(expected) == 2
    assert ask("from compare('lab/a@r1', 'b')") == expected
    assert ask("from compare('lab/a@r2', 'b')") == []
    assert ask("from compare('lab/a', 'nobody')") == []


def test_a_copy_is_compared_by_the_scores_that_it_takes(two: Lake, ask: Ask) -> None:
    two.commit("copy/a", fingerprint="lab/a@r1", hours=1)
    assert ask("from compare('copy/a', 'lab/b')") == ask("from compare('lab/a', 'lab/b')")
    assert ask("select sum(wins + losses) from compare('copy/a', 'lab/a')") == [(0,)]
    assert ask("select count(*) from paired_answers('copy/a', 'lab/a')") == [(8,)], "each document is paired once"


def test_only_documents_that_both_answered_count(two: Lake, ask: Ask) -> None:
    for row in two.files["samples", "b-arc"][:3]:
        row["doc_hash"] += "-of-another-version"
    assert ask("select n_questions, wins, losses from compare('lab/a', 'lab/b') where benchmark = 'arc'") == [(5, 2, 1)]


def test_a_document_that_stands_twice_in_a_task_is_paired_twice_not_four_times(two: Lake, ask: Ask) -> None:
    for name in RIGHT:
        for row in two.files["samples", f"{name}-arc"]:
            row["doc_hash"] = f"d{row['doc_id'] // 2}"
    assert ask("select n_questions from compare('lab/a', 'lab/b') where benchmark = 'arc'") == [(8,)]


def test_one_document_of_a_task_tells_no_standard_error(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("arc", task, n_samples=n) for task, n in (("arc", 8), ("main", 1))]
    lake.suite(tasks)
    for name, right in RIGHT.items():
        lake.commit(f"lab/{name}")
        lake.done(name, f"lab/{name}", tasks=tasks)
        answer(lake, name, right)
        answer(lake, name, right[:1], task="main")
    found = ask("select benchmark, stderr, low, p_value is null from compare('lab/a', 'lab/b')")
    assert found == [("arc", None, None, True), ("average", None, None, True)]
    assert ask("select mcnemar_p from compare('lab/a', 'lab/b')")[0] == (pytest.approx(binomtest(4, 5).pvalue),)


def test_other_eras_are_not_compared(two: Lake, ask: Ask) -> None:
    for row in two.files["task_scores", "b"]:
        row["task_version"] = "2.0"
    assert ask("from compare('lab/a', 'lab/b')") == []


def test_a_question_of_two_tasks_counts_once(lake: Lake, ask: Ask) -> None:
    tasks = [
        declare_task("arc", task, n_samples=n, aggregate="pooled", independent_share=0.5)
        for task, n in (("arc", 8), ("main", 4))
    ]
    lake.suite(tasks)
    for name, right in RIGHT.items():
        lake.commit(f"lab/{name}")
        lake.done(name, f"lab/{name}", scores=0.5, tasks=tasks)
        for task, n in (("arc", 8), ("main", 4)):
            answer(lake, name, right[:n], task)
            for row in lake.files["samples", f"{name}-{task}"]:
                row["question_hash"] = f"q{row['doc_id']}"
    (row,) = ask("select n_questions, stderr, wins, losses from compare('lab/a', 'lab/b') where benchmark = 'arc'")
    lead = np.array(RIGHT["a"]) - np.array(RIGHT["b"])
    copies = np.array([2] * 4 + [1] * 4)
    influence = (lead - lead.mean()) * 1.0 + np.where(copies == 2, lead - lead[:4].mean(), 0)
    assert row == pytest.approx((8, 100 / 12 * np.sqrt(np.sum(influence**2) * 8 / 7), 4, 1))


@pytest.mark.real
def test_models_that_are_equally_good_are_told_apart_as_seldom_as_promised(tmp_path: Path) -> None:
    lake, chance, n_pairs = Lake(), np.random.default_rng(3), 120
    common = {"suite": "small", "suite_version": "v1", "suite_title": "Small", "declared_at": START}
    shared = {"benchmark_position": 2, "aggregate": "pooled", "independent_share": 0.5}
    tasks = [
        common | {"independent_share": 1.0} | declare_task("arc", "easy", n_samples=150),
        common | {"independent_share": 1.0} | declare_task("arc", "hard", n_samples=100, task_lower_bound=0.25),
        common | declare_task("sets", "large", n_samples=200, **shared),
        common | declare_task("sets", "small", n_samples=120, **shared),
        common | {"independent_share": 1.0} | declare_task("prompts", "prompts", n_samples=200, benchmark_position=3)
        | {"metrics": ["prompt", "instruction"]},
    ]  # fmt: skip
    lake.add("suites", "v1", tasks)
    model = SyntheticModel({"easy": 0.7, "hard": 0.5, "large": 0.4, "small": 0.4, "prompts": 0.5})
    names = [f"{side}{number}" for number in range(n_pairs) for side in "ab"]
    add_models(lake, tmp_path / "lake", tasks, dict.fromkeys(names, model), chance)
    built = build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    rows = []
    with duckdb.connect(str(built.path), read_only=True) as con:
        for number in range(n_pairs):
            sql = "select low <= 0 and 0 <= high, p_value < 0.05 from compare(?, ?)"
            rows += con.execute(sql, [f"lab/a{number}", f"lab/b{number}"]).fetchall()
    assert len(rows) == 4 * n_pairs
    held, found = np.mean(rows, axis=0)
    assert 0.93 <= held <= 0.97
    assert found <= 0.06


@pytest.mark.real
@pytest.mark.parametrize("setting", ["other strengths, equal score", "5 questions", "10 questions"])
def test_a_comparison_of_equal_scores_raises_as_few_false_alarms_as_it_says(tmp_path: Path, setting: str) -> None:
    rates = count_alarms(simulate_comparisons(tmp_path, EQUALS[setting], 60))
    # Shares of 60 pairs: twice as many as promised would be far beyond chance.
    assert rates["interval"] >= 0.93, rates
    assert rates["p_value"] <= 0.08 and rates["any holm_p"] <= 0.1 and rates["average"] <= 0.1, rates
    if setting.startswith("other"):
        assert rates["mcnemar_p"] >= 0.2, "the sign test asks who answers more questions right"


@pytest.mark.real
def test_a_difference_of_the_detectable_size_is_found_in_four_of_five_comparisons(tmp_path: Path) -> None:
    rows = simulate_comparisons(tmp_path, BETTER, 60)
    average = [row for row in rows if row["benchmark"] == "average"]
    z = [row["truth"] / row["detectable_difference"] * (norm.ppf(0.975) + norm.ppf(0.8)) for row in average]
    expected = np.mean(norm.sf(norm.ppf(0.975) - np.array(z)))
    assert np.mean([row["p_value"] < 0.05 for row in average]) == pytest.approx(expected, abs=0.15)
    assert np.mean([row["low"] <= row["truth"] <= row["high"] for row in rows]) >= 0.92
