"""The demo's questions are what lm-eval's tasks expect, and the prompts made of them are the ones it builds."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nightboard.flows.demo.prompts import choose_known, make_prompts
from nightboard.flows.demo.questions import load_questions, make_datasets
from nightboard.profiles.loading.load import load_suite


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], list[dict[str, object]]]:
    """Rows by data set and file."""
    return {
        (dataset, path): [json.loads(line) for line in content.splitlines()]
        for dataset, files in make_datasets().items()
        for path, content in files.items()
        if path != "README.md"
    }


def find_leaderboard_folder() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        pytest.skip("lm_eval is not installed")
    return Path(spec.origin).parent / "tasks" / "leaderboard"


def test_columns_are_those_of_the_real_datasets(rows: dict[tuple[str, str], list[dict[str, object]]]) -> None:
    columns = {dataset: tuple(lines[0]) for (dataset, _), lines in rows.items()}
    assert columns == {
        "wis-k/instruction-following-eval": ("key", "prompt", "instruction_id_list", "kwargs"),
        "SaylorTwift/bbh": ("input", "target"),
        "DigitalLearningGmbH/MATH-lighteval": ("problem", "level", "type", "solution"),
        "Idavidrein/gpqa": (
            "Question",
            "Correct Answer",
            "Incorrect Answer 1",
            "Incorrect Answer 2",
            "Incorrect Answer 3",
        ),
        "TAUR-Lab/MuSR": ("narrative", "question", "choices", "answer_index", "answer_choice"),
        "TIGER-Lab/MMLU-Pro": (
            "question_id",
            "question",
            "options",
            "answer",
            "answer_index",
            "cot_content",
            "category",
            "src",
        ),
    }


def test_demo_suite_declares_the_counts_that_the_datasets_hold(
    rows: dict[tuple[str, str], list[dict[str, object]]],
) -> None:
    found: Counter[str] = Counter()
    for (dataset, path), lines in rows.items():
        if not path.startswith(("train", "validation")) or "instruction" in dataset:
            kept = [line for line in lines if line.get("level") in (None, "Level 5")]
            found[dataset] += len(kept) if "/train" not in path or "gpqa" in dataset else 0
    declared: Counter[str] = Counter()
    for benchmark in load_suite("demo").benchmarks.values():
        declared[benchmark.dataset.id] += sum(task.samples for task in benchmark.tasks.values())
    assert found == declared


def test_math_has_an_easy_problem_that_lm_eval_drops(rows: dict[tuple[str, str], list[dict[str, object]]]) -> None:
    levels = {path: [row["level"] for row in lines] for (name, path), lines in rows.items() if "MATH" in name}
    assert levels["algebra/test.jsonl"] == ["Level 1", "Level 5"]
    assert len(levels) == 14


def test_targets_of_bbh_are_among_the_choices_of_lm_eval() -> None:
    read = YAML(typ="safe").load
    asked = load_questions()["bbh"]
    tasks = [read(path) for path in (find_leaderboard_folder() / "bbh_mc").glob("[a-z]*.yaml")]
    assert {task["dataset_name"] for task in tasks} == set(asked)
    for task in tasks:
        assert {row["target"] for row in asked[task["dataset_name"]]} <= set(task["doc_to_choice"])
        assert {
            prompt.wrong for prompt in make_prompts() if prompt.question in str(asked[task["dataset_name"]])
        } <= set(task["doc_to_choice"])


def test_right_answers_of_musr_and_mmlu_pro_are_where_the_index_says(
    rows: dict[tuple[str, str], list[dict[str, object]]],
) -> None:
    for (dataset, _), lines in rows.items():
        for row in lines:
            if "MuSR" in dataset:
                assert ast.literal_eval(str(row["choices"]))[row["answer_index"]] == row["answer_choice"]
            if "MMLU" in dataset:
                assert "ABCDEFGHIJ"[int(str(row["answer_index"]))] == row["answer"]


def test_every_prompt_has_a_right_answer_and_a_different_wrong_one() -> None:
    prompts = make_prompts()
    assert Counter(prompt.benchmark for prompt in prompts) == {
        "bbh": 48,
        "ifeval": 3,
        "math_lvl_5": 7,
        "gpqa": 4 * 24,
        "musr": 12,
        "mmlu_pro": 12,
    }
    assert all(prompt.right != prompt.wrong for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)


def test_more_skill_knows_all_that_less_skill_knows_in_every_benchmark() -> None:
    prompts = make_prompts()
    weak, medium, strong = (choose_known(prompts, skill) for skill in (0.3, 0.6, 0.95))
    assert weak < medium < strong
    benchmark = {prompt.question: prompt.benchmark for prompt in prompts}
    assert Counter(benchmark[question] for question in medium) == {
        "bbh": 29,
        "ifeval": 2,
        "math_lvl_5": 4,
        "gpqa": 2,
        "musr": 7,
        "mmlu_pro": 7,
    }
