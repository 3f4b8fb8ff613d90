"""Scores: exactly the published recipe, and no score at all for anything incomplete."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from make_lake import SMALL_SUITE, START, Lake, Row, declare_task

from nightboard.profiles.declared_rows import suite_rows
from nightboard.profiles.loading.load import load_suite

Ask = Callable[..., list[tuple[Any, ...]]]

# The recipe as it was published, written down here a second time on purpose: documents and choices of each subtask.
BBH = {
    "boolean_expressions": (250, 2), "causal_judgement": (187, 2), "date_understanding": (250, 6),
    "disambiguation_qa": (250, 3), "formal_fallacies": (250, 2), "geometric_shapes": (250, 11), "hyperbaton": (250, 2),
    "logical_deduction_five_objects": (250, 5), "logical_deduction_seven_objects": (250, 7),
    "logical_deduction_three_objects": (250, 3), "movie_recommendation": (250, 6), "navigate": (250, 2),
    "object_counting": (250, 19), "penguins_in_a_table": (146, 5), "reasoning_about_colored_objects": (250, 18),
    "ruin_names": (250, 6), "salient_translation_error_detection": (250, 6), "snarks": (178, 2),
    "sports_understanding": (250, 2), "temporal_sequences": (250, 4),
    "tracking_shuffled_objects_five_objects": (250, 5),
    "tracking_shuffled_objects_seven_objects": (250, 7), "tracking_shuffled_objects_three_objects": (250, 3),
    "web_of_lies": (250, 2),
}  # fmt: skip
MATH = {
    "algebra": 307, "counting_and_prob": 123, "geometry": 132, "intermediate_algebra": 280, "num_theory": 154,
    "prealgebra": 193, "precalculus": 135,
}  # fmt: skip
GPQA = {"diamond": 198, "extended": 546, "main": 448}
MUSR = {"murder_mysteries": (250, 2), "object_placements": (256, 5), "team_allocation": (250, 3)}

SIZES = {
    "leaderboard_mmlu_pro": 12032,
    **{f"leaderboard_bbh_{name}": n for name, (n, _) in BBH.items()},
    **{f"leaderboard_math_{name}_hard": n for name, n in MATH.items()},
    **{f"leaderboard_gpqa_{name}": n for name, n in GPQA.items()},
    **{f"leaderboard_musr_{name}": n for name, (n, _) in MUSR.items()},
}
BASELINES = {
    "leaderboard_mmlu_pro": 10,
    **{f"leaderboard_bbh_{name}": choices for name, (_, choices) in BBH.items()},
    **{f"leaderboard_gpqa_{name}": 4 for name in GPQA},
    **{f"leaderboard_musr_{name}": choices for name, (_, choices) in MUSR.items()},
}

Right = dict[str, int]


def norm(x: Fraction, choices: int) -> Fraction:
    bound = Fraction(1, choices)
    return max(Fraction(0), x - bound) / (1 - bound) * 100


def expected_scores(right: Right, prompts: int, instructions: int) -> dict[str, tuple[Fraction, Fraction]]:
    """Raw and normalized score of each benchmark from the number of right answers of each subtask, in exact numbers."""
    ifeval = (Fraction(prompts, 541) + Fraction(instructions, 834)) / 2
    bbh = {name: Fraction(right[f"leaderboard_bbh_{name}"], n) for name, (n, _) in BBH.items()}
    math = Fraction(sum(right[f"leaderboard_math_{name}_hard"] for name in MATH), 1324)
    gpqa = Fraction(sum(right[f"leaderboard_gpqa_{name}"] for name in GPQA), 1192)
    musr = {name: Fraction(right[f"leaderboard_musr_{name}"], n) for name, (n, _) in MUSR.items()}
    mmlu_pro = Fraction(right["leaderboard_mmlu_pro"], 12032)
    return {
        "ifeval": (ifeval, ifeval * 100),
        "bbh": (sum(bbh.values()) / Fraction(24), sum(norm(bbh[name], BBH[name][1]) for name in BBH) / Fraction(24)),
        "math_lvl_5": (math, math * 100),
        "gpqa": (gpqa, norm(gpqa, 4)),
        "musr": (sum(musr.values()) / Fraction(3), sum(norm(musr[name], MUSR[name][1]) for name in MUSR) / Fraction(3)),
        "mmlu_pro": (mmlu_pro, norm(mmlu_pro, 10)),
    }


def near_baseline(offset: int) -> Right:
    """Every subtask with a baseline so many right answers away from guessing."""
    return {task: n // BASELINES[task] + offset if task in BASELINES else 0 for task, n in SIZES.items()}


def drawn(seed: int) -> Right:
    chance = random.Random(seed)
    return {task: chance.randint(0, n) for task, n in SIZES.items()}


CASES: dict[str, Right] = {
    "nothing right": dict.fromkeys(SIZES, 0),
    "below the baseline": near_baseline(-3),
    "at the baseline": near_baseline(0),
    "just above the baseline": near_baseline(1),
    "everything right": SIZES,
    **{f"drawn {seed}": drawn(seed) for seed in range(40)},
}


def test_leaderboard_v2_scores_are_those_of_the_published_recipe(lake: Lake, ask: Ask) -> None:
    rows = suite_rows(load_suite("leaderboard-v2"), "v1", START)
    lake.add("suites", "v1", rows)
    expected: dict[str, dict[str, tuple[Fraction, Fraction]]] = {}
    for number, (case, right) in enumerate(CASES.items()):
        prompts, instructions = 541 * number // 45, 834 * number // 50
        expected[case] = expected_scores(right, prompts, instructions)
        values = {task: k / SIZES[task] for task, k in right.items()} | {"leaderboard_ifeval": 0.0}
        lake.commit(case)
        for score in lake.done(case, case, tasks=rows, scores=values, suite="leaderboard-v2"):
            if score["metric"].startswith("prompt_level"):
                score["value"] = prompts / 541
            elif score["metric"].startswith("inst_level"):
                score["value"] = instructions / 834

    scores = ask("select evaluation_id, benchmark, raw, normalized from benchmark_scores order by all")
    assert len(scores) == 6 * len(CASES)
    for case, benchmark, raw, normalized in scores:
        assert abs(Fraction(raw) - expected[case][benchmark][0]) < 1e-9, (case, benchmark)
        assert abs(Fraction(normalized) - expected[case][benchmark][1]) < 1e-9, (case, benchmark)

    averages = dict(ask("select model_id, average from leaderboard_v2"))
    assert averages.keys() == CASES.keys()
    for case, average in averages.items():
        assert abs(Fraction(average) - sum(n for _, n in expected[case].values()) / Fraction(6)) < 1e-9


def test_bbh_is_clipped_by_subtask_before_the_mean(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("b", "low", task_lower_bound=0.5), declare_task("b", "high", task_lower_bound=0.5)]
    lake.suite(tasks)
    lake.done("e", "m", tasks=tasks, scores={"low": 0.25, "high": 0.75})
    # clipped after the mean it would be 0, not clipped it would be 0 too
    assert ask("select raw, normalized from benchmark_scores") == [(0.5, 25.0)]


def test_pooled_benchmark_is_weighted_by_samples(lake: Lake, ask: Ask) -> None:
    changes = {"aggregate": "pooled", "normalize": "benchmark", "benchmark_lower_bound": 0.25}
    tasks = [declare_task("b", "one", n_samples=1, **changes), declare_task("b", "three", n_samples=3, **changes)]
    lake.suite(tasks)
    lake.done("e", "m", tasks=tasks, scores={"one": 0.0, "three": 1.0})
    assert ask("select raw, normalized, n_samples from benchmark_scores") == [
        (0.75, pytest.approx(100 * 0.5 / 0.75, abs=1e-12), 4)
    ]


SPOILED: list[tuple[str, object, str]] = [
    ("value", float("nan"), "arc_hard: acc is not a finite number"),
    ("value", float("inf"), "arc_hard: acc is not a finite number"),
    ("value", 55.0, "arc_hard: acc is not a fraction between 0 and 1"),
    ("value", None, "arc_hard: no value for acc"),
    ("metric", "acc_norm", "arc_hard: no value for acc"),
    ("filter", "strict", "arc_hard: no value for acc"),
    ("n_samples", 1, "arc_hard: 1 sample, expected 4"),
    ("n_samples", 3, "arc_hard: 3 samples, expected 4"),
    ("n_samples", 5, "arc_hard: 5 samples, expected 4"),
    ("n_samples", None, "arc_hard: number of samples unknown, expected 4"),
    ("n_shot", 5, "arc_hard: 5 shots, expected 0"),
    ("n_shot", None, "arc_hard: number of shots unknown, expected 0"),
    ("task_version", "2.0", "tasks have different versions"),
    ("task_version", None, "arc_hard: task version unknown"),
    ("not_finite_answers", 1, "arc_hard: 1 document has an answer that is not a finite number"),
    ("not_finite_answers", 2, "arc_hard: 2 documents have an answer that is not a finite number"),
]


def test_a_spoiled_task_takes_the_score_of_its_benchmark_and_the_rank(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/whole")
    lake.done("whole", "org/whole")
    for number, (column, value, _) in enumerate(SPOILED):
        lake.commit(f"org/{number}")
        (row,) = (row for row in lake.done(f"{number}", f"org/{number}", scores=1.0) if row["task"] == "arc_hard")
        row[column] = value
    assert ask("select evaluation_id from benchmark_scores where benchmark = 'arc'") == [("whole",)]
    assert ask("select count(*) from benchmark_scores where benchmark = 'truth'") == [(len(SPOILED) + 1,)]
    assert ask("select model_id, rank from leaderboard") == [("org/whole", 1)]
    assert ask("select distinct model_id from history") == [("org/whole",)]
    problems = dict(ask("select evaluation_id, problem from coverage where not is_complete"))
    assert problems == {f"{number}": problem for number, (_, _, problem) in enumerate(SPOILED)}


def test_a_spoiled_import_is_judged_like_a_run(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.imported("whole", "org/whole")
    for number, (column, value, _) in enumerate(SPOILED):
        (row,) = (row for row in lake.imported(f"{number}", f"org/{number}") if row["task"] == "arc_hard")
        row[column] = value
    assert ask("select evaluation_id from benchmark_scores where benchmark = 'arc'") == [("whole",)]
    assert ask("select model_id, source from leaderboard") == [("org/whole", "import:results")]
    problems = dict(ask("select evaluation_id, problem from coverage where not is_complete"))
    assert problems == {f"{number}": problem for number, (_, _, problem) in enumerate(SPOILED)}
    unknown = next(
        number for number, (column, value, _) in enumerate(SPOILED) if (column, value) == ("n_samples", None)
    )
    sql = f"select found_tasks, found_samples from coverage where evaluation_id = '{unknown}' and benchmark = 'arc'"
    assert ask(sql) == [(1, None)]


def test_an_import_of_no_suite_has_no_rank_and_no_coverage(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.imported("e", "org/m", suite=None)
    assert ask("select state, suite from evaluations") == [("done", None)]
    assert ask("select count(*) from coverage") == ask("select count(*) from leaderboard") == [(0,)]


def test_a_missing_task_is_told_by_coverage(lake: Lake, ask: Ask) -> None:
    lake.suite()
    rows = lake.done("e", "org/m")
    rows[:] = [row for row in rows if row["task"] != "arc_easy"]
    assert ask("select benchmark, expected_tasks, found_tasks, expected_samples, found_samples, is_complete, problem"
               " from coverage order by benchmark") == [
        ("arc", 2, 1, 8, 4, False, "arc_easy: no value for acc"),
        ("truth", 1, 1, 4, 4, True, None),
    ]  # fmt: skip


def test_answers_that_are_all_the_same_or_empty_are_a_warning_and_no_problem(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("arc", task, n_samples=n) for task, n in {"a": 10, "b": 10, "c": 10, "d": 9}.items()]
    lake.suite(tasks)
    told: dict[str, dict[str, Row]] = {
        "same": {"a": {"only_answer": "choice 1"}, "d": {"only_answer": "choice 1"}},
        "empty": {
            "a": {"empty_answers": 1},
            "b": {"empty_answers": 2, "only_answer": "yes"},
            "c": {"empty_answers": 0},
        },
        "nothing": {"b": {"only_answer": "", "empty_answers": 10}},
        "few": {"d": {"only_answer": "choice 1"}},
        "old": {},
    }
    for name, changes in told.items():
        lake.commit(f"org/{name}")
        for row in lake.done(name, f"org/{name}", tasks=tasks):
            row |= changes.get(row["task"], {})
    assert ask("select evaluation_id, is_complete, empty_answers, warning from coverage order by all") == [
        ("empty", True, 3, "a: 1 of 10 answers is empty; also in another task"),
        ("few", True, None, None),
        ("nothing", True, 10, "b: 10 of 10 answers are empty"),
        ("old", True, None, None),
        ("same", True, None, "a: every document got the same answer (choice 1)"),
    ]
    assert ask("select count(*) from leaderboard") == [(5,)]


def test_cut_prompts_are_added_up_as_far_as_they_are_known(lake: Lake, ask: Ask) -> None:
    lake.suite()
    counts = {"org/cut": (2, 0, 1), "org/whole": (0, 0, 0), "org/partly": (3, None, None), "org/old": (None,) * 3}
    for model, of_tasks in counts.items():
        lake.commit(model)
        for row, count in zip(lake.done(model[4:], model), of_tasks, strict=True):
            row["cut_prompts"] = count
    lake.board_row("board", "org/board")
    asked = "select cut_prompts from {} where evaluation_id = '{}' order by benchmark"
    for table in ("benchmark_scores", "coverage"):
        assert ask(asked.format(table, "cut")) == [(2,), (1,)]
        assert ask(asked.format(table, "partly")) == [(3,), (None,)]
    whole = {"org/cut": 3, "org/whole": 0, "org/partly": 3, "org/old": None, "org/board": None}
    assert dict(ask("select model_id, cut_prompts from leaderboard")) == whole
    assert dict(ask("select model_id, cut_prompts from top_models('small', era := 'main')")) == {"org/board": None}


def test_scores_without_an_outcome_are_not_all_there_and_stay_out(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/m")
    lake.done("e", "org/m")
    lake.samples("e")
    del lake.files["outcomes", "e"]
    for table in ("benchmark_scores", "leaderboard", "task_scores", "samples"):
        assert ask(f"select count(*) from {table}") == [(0,)], table
    assert ask("select state from evaluations") == [("open",)]


def test_extra_tasks_metrics_and_filters_change_nothing(lake: Lake, ask: Ask) -> None:
    lake.suite()
    rows = lake.done("e", "org/m", scores=0.5)
    before = ask("select * from benchmark_scores")
    rows += [row | {"filter": "strict", "value": 0.9} for row in rows]
    rows += [row | {"metric": "acc_norm", "value": 0.9} for row in rows]
    rows += [rows[0] | {"task": "other", "value": float("nan")}]
    assert ask("select * from benchmark_scores") == before


def test_a_declaration_with_new_titles_does_not_double_the_tasks(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.suite([task | {"benchmark_title": "New"} for task in SMALL_SUITE], hours=5)
    lake.done("e", "org/m")
    assert ask("select count(*), min(benchmark_title) from suites") == [(3, "New")]
    assert ask("select count(*) from benchmark_scores") == [(2,)]
