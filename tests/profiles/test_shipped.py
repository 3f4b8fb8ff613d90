"""The shipped profiles load, and the leaderboards' suites are exactly the published recipe."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

import nightboard.profiles.loading.load as load_module
from nightboard.profiles.loading.load import (
    list_profiles,
    load_board,
    load_cluster,
    load_organizations,
    load_suite,
    load_watchlist,
    validate_paths,
)
from nightboard.profiles.models.endings import RETRIES
from nightboard.profiles.models.suite import Suite

SHIPPED = Path(load_module.__file__).parents[1]

# Lower bounds of the published normalisation: 1 / number of choices.
BBH_CHOICES = {
    "boolean_expressions": 2,
    "causal_judgement": 2,
    "date_understanding": 6,
    "disambiguation_qa": 3,
    "formal_fallacies": 2,
    "geometric_shapes": 11,
    "hyperbaton": 2,
    "logical_deduction_five_objects": 5,
    "logical_deduction_seven_objects": 7,
    "logical_deduction_three_objects": 3,
    "movie_recommendation": 6,
    "navigate": 2,
    "object_counting": 19,
    "penguins_in_a_table": 5,
    "reasoning_about_colored_objects": 18,
    "ruin_names": 6,
    "salient_translation_error_detection": 6,
    "snarks": 2,
    "sports_understanding": 2,
    "temporal_sequences": 4,
    "tracking_shuffled_objects_five_objects": 5,
    "tracking_shuffled_objects_seven_objects": 7,
    "tracking_shuffled_objects_three_objects": 3,
    "web_of_lies": 2,
}


def _samples(suite: Suite) -> dict[str, int]:
    return {
        name: sum(suite.expected_samples(task) for task in benchmark.tasks.values())
        for name, benchmark in suite.benchmarks.items()
    }


def _bounds(suite: Suite, benchmark: str) -> dict[str, float]:
    return {name: task.lower_bound for name, task in suite.benchmarks[benchmark].tasks.items()}


@pytest.mark.parametrize(
    "folder", ["suites", "clusters", "watchlists", "organizations", "boards/quickstart.yaml", "boards/open-models.yaml"]
)
def test_shipped_profiles_have_no_mistakes(folder: str) -> None:
    assert validate_paths([SHIPPED / folder]) == []


def test_every_shipped_profile_loads_by_its_name() -> None:
    names = list_profiles()
    assert {"quickstart", "open-models"} <= set(names["board"])
    assert {"leaderboard-v1", "leaderboard-v2", "quickstart", "demo", "demo-multiple-choice"} == set(names["suite"])
    assert [load_suite(name).suite for name in names["suite"]] == list(names["suite"])
    assert [load_cluster(name).cluster for name in names["cluster"]] == list(names["cluster"])
    assert [load_watchlist(name).watchlist for name in names["watchlist"]] == list(names["watchlist"])
    assert [load_board(name).board.board for name in names["board"]] == list(names["board"])
    assert names["organizations"] == ("organizations",)


def test_leaderboard_v2_has_the_published_tasks_and_counts() -> None:
    suite = load_suite("leaderboard-v2")
    assert list(suite.benchmarks) == ["ifeval", "bbh", "math_lvl_5", "gpqa", "musr", "mmlu_pro"]
    assert sum(len(benchmark.tasks) for benchmark in suite.benchmarks.values()) == 39
    assert _samples(suite) == {
        "ifeval": 541,
        "bbh": 5761,
        "math_lvl_5": 1324,
        "gpqa": 198 + 546 + 448,
        "musr": 250 + 256 + 250,
        "mmlu_pro": 12032,
    }
    assert {name: benchmark.shots for name, benchmark in suite.benchmarks.items()} == {
        "ifeval": 0,
        "bbh": 3,
        "math_lvl_5": 4,
        "gpqa": 0,
        "musr": 0,
        "mmlu_pro": 5,
    }


def test_leaderboard_v2_is_scored_as_published() -> None:
    suite = load_suite("leaderboard-v2")
    assert {n: (b.metrics, b.filter, b.aggregate, b.normalize, b.lower_bound) for n, b in suite.benchmarks.items()} == {
        "ifeval": (("prompt_level_strict_acc", "inst_level_strict_acc"), "none", "mean", "benchmark", 0.0),
        "bbh": (("acc_norm",), "none", "mean", "task", 0.0),
        "math_lvl_5": (("exact_match",), "none", "pooled", "benchmark", 0.0),
        "gpqa": (("acc_norm",), "none", "pooled", "benchmark", 1 / 4),
        "musr": (("acc_norm",), "none", "mean", "task", 0.0),
        "mmlu_pro": (("acc",), "none", "pooled", "benchmark", 1 / 10),
    }


def test_leaderboard_v2_bounds_are_exactly_one_by_the_choices() -> None:
    suite = load_suite("leaderboard-v2")
    assert _bounds(suite, "bbh") == {f"leaderboard_bbh_{name}": 1 / n for name, n in BBH_CHOICES.items()}
    assert _bounds(suite, "musr") == {
        "leaderboard_musr_murder_mysteries": 1 / 2,
        "leaderboard_musr_object_placements": 1 / 5,
        "leaderboard_musr_team_allocation": float(Fraction(1, 3)),
    }
    for benchmark in suite.benchmarks.values():
        for task in benchmark.tasks.values():
            assert task.lower_bound == (1 / task.choices if task.choices else 0.0)


def test_leaderboard_v2_names_the_three_scorings_of_math() -> None:
    suite = load_suite("leaderboard-v2")
    math_tasks = set(suite.benchmarks["math_lvl_5"].tasks)
    assert [(era.name, set(era.task_versions.values()), era.is_current) for era in suite.eras] == [
        ("launch", {"1.0"}, False),
        ("math-parser-fix", {"2.0"}, False),
        ("math-verify", {"3.0"}, True),
    ]
    assert all(set(era.task_versions) == math_tasks for era in suite.eras)


def test_leaderboard_v1_is_the_published_recipe() -> None:
    suite = load_suite("leaderboard-v1")
    assert {n: (b.shots, b.metrics, b.filter) for n, b in suite.benchmarks.items()} == {
        "arc_challenge": (25, ("acc_norm",), "none"),
        "hellaswag": (10, ("acc_norm",), "none"),
        "mmlu": (5, ("acc",), "none"),
        "truthfulqa_mc2": (0, ("acc",), "none"),
        "winogrande": (5, ("acc",), "none"),
        "gsm8k": (5, ("exact_match",), "strict-match"),
    }
    assert len(suite.benchmarks["mmlu"].tasks) == 57
    assert _samples(suite) == {
        "arc_challenge": 1172,
        "hellaswag": 10042,
        "mmlu": 14042,
        "truthfulqa_mc2": 817,
        "winogrande": 1267,
        "gsm8k": 1319,
    }
    bounds = [t.lower_bound for b in suite.benchmarks.values() for t in b.tasks.values()]
    assert not any([*bounds, *(benchmark.lower_bound for benchmark in suite.benchmarks.values())])
    assert {benchmark.aggregate for benchmark in suite.benchmarks.values()} == {"mean"}


def test_long_benchmarks_are_cut_where_the_documents_do_not_depend_on_each_other() -> None:
    cuts = {
        suite: {name: b.cut_documents for name, b in load_suite(suite).benchmarks.items() if b.cut_documents}
        for suite in ("leaderboard-v2", "leaderboard-v1")
    }
    assert cuts == {
        "leaderboard-v2": {"bbh": 2048, "math_lvl_5": 256, "musr": 256, "mmlu_pro": 2048},
        "leaderboard-v1": {"mmlu": 2048, "truthfulqa_mc2": 256},
    }


def test_the_example_of_a_slurm_cluster_spells_out_what_is_shipped() -> None:
    cluster = load_cluster("slurm-h100")
    assert cluster.retries == RETRIES
    written = (SHIPPED / "clusters/slurm-h100.yaml").read_text()
    assert all(f"  {ending}: {{attempts: " in written for ending in RETRIES)
    assert cluster.max_gpus == 38 * 8
    weights = [tier.max_weights_gb / (80 * tier.gpus) for tier in cluster.tiers]
    assert all(share <= 0.75 for share in weights), "a quarter of the GPUs' memory is left to the answers"


def test_demo_suites_have_the_counts_of_the_demo_datasets() -> None:
    demo, choice = load_suite("demo"), load_suite("demo-multiple-choice")
    assert _samples(demo) == {"ifeval": 3, "bbh": 48, "math_lvl_5": 7, "gpqa": 12, "musr": 12, "mmlu_pro": 12}
    assert _samples(choice) == {"gpqa": 12, "musr": 12, "mmlu_pro": 12}


def test_smaller_suites_score_like_the_one_they_extend() -> None:
    whole = load_suite("leaderboard-v2")
    for name in ("demo", "demo-multiple-choice", "quickstart"):
        for key, benchmark in load_suite(name).benchmarks.items():
            tasks = {task: spec.model_copy(update={"samples": 1}) for task, spec in benchmark.tasks.items()}
            origin = whole.benchmarks[key]
            counted = {task: spec.model_copy(update={"samples": 1}) for task, spec in origin.tasks.items()}
            assert benchmark.model_copy(update={"tasks": tasks}) == origin.model_copy(update={"tasks": counted})


def test_organizations_have_a_country_or_none() -> None:
    organizations = load_organizations().organizations
    assert len(organizations) >= 40
    assert organizations["mistralai"].country == "FR"
    assert organizations["bigscience"].country is None
