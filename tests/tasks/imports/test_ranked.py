"""A results file in the layout of the Open LLM Leaderboard ranks with the official numbers, or says what it lacks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from asked import ask_lake
from make_lake import Lake

from nightboard.profiles.declared_rows import era_rows, suite_rows
from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.validate import read_outputs
from nightboard.tasks.imports.lm_eval_results import read_facts
from nightboard.tasks.imports.results import ResultsImport, choose_suite, import_results
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Shard

NOW = datetime(2026, 1, 1, tzinfo=UTC)
V2, V1 = load_suite("leaderboard-v2"), load_suite("leaderboard-v1")
SHA = "a" * 40
# Guessing rates and sample counts as they were published, apart from the profile.
BBH_CHOICES = {
    "boolean_expressions": 2, "causal_judgement": 2, "date_understanding": 6, "disambiguation_qa": 3,
    "formal_fallacies": 2, "geometric_shapes": 11, "hyperbaton": 2, "logical_deduction_five_objects": 5,
    "logical_deduction_seven_objects": 7, "logical_deduction_three_objects": 3, "movie_recommendation": 6,
    "navigate": 2, "object_counting": 19, "penguins_in_a_table": 5, "reasoning_about_colored_objects": 18,
    "ruin_names": 6, "salient_translation_error_detection": 6, "snarks": 2, "sports_understanding": 2,
    "temporal_sequences": 4, "tracking_shuffled_objects_five_objects": 5, "tracking_shuffled_objects_seven_objects": 7,
    "tracking_shuffled_objects_three_objects": 3, "web_of_lies": 2,
}  # fmt: skip
BBH_COUNTS = {"causal_judgement": 187, "penguins_in_a_table": 146, "snarks": 178}
MATH_COUNTS = {
    "algebra": 307, "counting_and_prob": 123, "geometry": 132, "intermediate_algebra": 280, "num_theory": 154,
    "prealgebra": 193, "precalculus": 135,
}  # fmt: skip
GPQA_COUNTS = {"diamond": 198, "extended": 546, "main": 448}
MUSR = {"murder_mysteries": (250, 2), "object_placements": (256, 5), "team_allocation": (250, 3)}

Json = dict[str, Any]


def draw_counts(seed: int) -> dict[str, tuple[int, int]]:
    """Right answers and answers by task, near and below guessing too."""
    chance = random.Random(seed)
    sizes = {f"leaderboard_bbh_{name}": BBH_COUNTS.get(name, 250) for name in BBH_CHOICES}
    sizes |= {f"leaderboard_math_{name}_hard": n for name, n in MATH_COUNTS.items()}
    sizes |= {f"leaderboard_gpqa_{name}": n for name, n in GPQA_COUNTS.items()}
    sizes |= {f"leaderboard_musr_{name}": n for name, (n, _) in MUSR.items()}
    sizes |= {"leaderboard_mmlu_pro": 12032, "leaderboard_ifeval": 541, "instructions": 834}
    return {task: (round(n * chance.uniform(*chance.choice([(0, 0.3), (0.2, 1)]))), n) for task, n in sizes.items()}


def norm(score: Fraction, bound: Fraction) -> Fraction:
    return max(Fraction(0), score - bound) / (1 - bound) * 100


def official_scores(counts: Mapping[str, tuple[int, int]]) -> dict[str, Fraction]:
    """The six normalised scores and their mean as the leaderboard defined them, in exact fractions."""
    share = {task: Fraction(right, n) for task, (right, n) in counts.items()}

    def pool(prefix: str) -> Fraction:
        found = [pair for task, pair in counts.items() if task.startswith(prefix)]
        return Fraction(sum(right for right, _ in found), sum(n for _, n in found))

    bbh = [norm(share[f"leaderboard_bbh_{name}"], Fraction(1, choices)) for name, choices in BBH_CHOICES.items()]
    musr = [norm(share[f"leaderboard_musr_{name}"], Fraction(1, choices)) for name, (_, choices) in MUSR.items()]
    scores = {
        "ifeval": (share["leaderboard_ifeval"] + share["instructions"]) / 2 * 100,
        "bbh": sum(bbh, Fraction(0)) / 24,
        "math_lvl_5": pool("leaderboard_math") * 100,
        "gpqa": norm(pool("leaderboard_gpqa"), Fraction(1, 4)),
        "musr": sum(musr, Fraction(0)) / 3,
        "mmlu_pro": norm(share["leaderboard_mmlu_pro"], Fraction(1, 10)),
    }
    return scores | {"average": sum(scores.values(), Fraction(0)) / 6}


SHOTS = {"bbh": 3, "math": 4, "gpqa": 0, "musr": 0, "mmlu": 5, "ifeval": 0}


def official_file(counts: Mapping[str, tuple[int, int]], math_version: float = 3.0, **changes: Any) -> Json:
    """results_<time>.json as the leaderboard published it: 39 subtasks, and rows of groups that are no scores."""
    results: Json = {
        "leaderboard": {" ": " ", "alias": "leaderboard"},
        "leaderboard_bbh": {"acc_norm,none": 0.123, "acc_norm_stderr,none": 0.1, "alias": " - leaderboard_bbh"},
        "leaderboard_gpqa": {" ": " ", "alias": " - leaderboard_gpqa"},
    }
    versions: dict[str, Any] = {"leaderboard": "N/A", "leaderboard_bbh": "N/A"}
    n_samples, shots = {}, {"leaderboard": 0}
    for task, (right, n) in counts.items():
        family = task.split("_")[1] if task != "instructions" else ""
        if not family:
            continue
        value = right / n
        metric = {"math": "exact_match", "mmlu": "acc"}.get(family, "acc_norm")
        results[task] = {f"{metric},none": value, f"{metric}_stderr,none": 0.01, "alias": f"  - {task}"}
        if family == "ifeval":
            right_parts, n_parts = counts["instructions"]
            results[task] = {
                "prompt_level_strict_acc,none": value, "prompt_level_strict_acc_stderr,none": 0.01,
                "inst_level_strict_acc,none": right_parts / n_parts, "inst_level_strict_acc_stderr,none": "N/A",
                "prompt_level_loose_acc,none": 1.0, "inst_level_loose_acc,none": 1.0, "alias": " - leaderboard_ifeval",
            }  # fmt: skip
        versions[task] = {"math": math_version, "ifeval": 2.0, "mmlu": 0.1}.get(family, 1.0)
        n_samples[task], shots[task] = {"original": n, "effective": n}, SHOTS[family]
    return {
        "results": results,
        "groups": {"leaderboard": {" ": " ", "alias": "leaderboard"}},
        "versions": versions,
        "n-shot": shots,
        "n-samples": n_samples,
        "config": {
            "model": "hf",
            "model_args": f"pretrained=lab/official,revision={SHA},trust_remote_code=False,dtype=torch.bfloat16",
            "model_sha": SHA, "model_dtype": "torch.bfloat16", "batch_size": "auto:6", "limit": None,
        },
        "git_hash": "8f1dc26", "date": 1718500000.5, "chat_template": None, "fewshot_as_multiturn": False,
    } | changes  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def bring_in(store: Store, tmp_path: Path) -> Callable[..., ResultsImport]:
    def bring_in(*contents: Json, suites: tuple[Suite, ...] = (V2, V1)) -> ResultsImport:
        folder = tmp_path / "files"
        folder.mkdir(exist_ok=True)
        for number, content in enumerate(contents):
            (folder / f"results_{number}.json").write_text(json.dumps(content))
        *_, done = import_results(store, [folder], suites, NOW)
        return done

    return bring_in


def ask(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return ask_lake(store.lake, sql)


def test_official_files_give_the_official_numbers(store: Store, bring_in: Callable[..., ResultsImport]) -> None:
    drawn = [draw_counts(seed) for seed in range(12)]
    contents = [official_file(counts) for counts in drawn]
    for number, content in enumerate(contents):
        content["config"]["model_args"] = f"pretrained=lab/m{number:02},revision={SHA},dtype=bfloat16"
    done = bring_in(*contents)
    assert {(each.suite, each.is_new) for each in done.imported} == {("leaderboard-v2", True)}
    assert done.left_out == []
    names = ("bbh", "gpqa", "ifeval", "math_lvl_5", "mmlu_pro", "musr")
    sql = "select list(normalized order by benchmark) from benchmark_scores group by model_id order by model_id"
    rows = [scores for (scores,) in ask(store, sql)]
    averages = ask(store, "select average from leaderboard order by model_id")
    assert len(rows) == len(averages) == 12
    for counts, scores, (average,) in zip(drawn, rows, averages, strict=True):
        expected = official_scores(counts)
        assert dict(zip(names, scores, strict=True)) == pytest.approx(
            {name: float(expected[name]) for name in names}, rel=0, abs=1e-9
        )
        assert average == pytest.approx(float(expected["average"]), rel=0, abs=1e-9)
    best = max(range(12), key=lambda number: official_scores(drawn[number])["average"])
    assert ask(store, "select model_id, revision, precision, chat_template, era from leaderboard where rank = 1") == [
        (f"lab/m{best:02}", SHA, "bfloat16", False, "math-verify")
    ]
    assert ask(store, "select distinct benchmark from task_scores order by 1") == [
        ("bbh",), ("gpqa",), ("ifeval",), ("math_lvl_5",), ("mmlu_pro",), ("musr",), (None,),
    ]  # fmt: skip


def spoil(content: Json, path: str, value: Any = ...) -> Json:
    """Change what stands at `a/b/c`, or drop it."""
    *parents, last = path.split("/")
    inner = content
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return content


MATH = "leaderboard_math_algebra_hard"
SPOILED: list[tuple[str, Any, str]] = [
    (f"results/{MATH}", ..., f"{MATH}: no value for exact_match"),
    (f"results/{MATH}/exact_match,none", float("nan"), f"{MATH}: no value for exact_match"),
    (f"results/{MATH}/exact_match,none", "0.5", f"{MATH}: no value for exact_match"),
    (f"results/{MATH}/exact_match,none", 10**400, f"{MATH}: no value for exact_match"),
    (f"results/{MATH}/exact_match,none", 30.7, f"{MATH}: exact_match is not a fraction between 0 and 1"),
    (f"n-samples/{MATH}", {"original": 1187, "effective": 1187}, f"{MATH}: 1187 samples, expected 307"),
    (f"n-samples/{MATH}", {"original": 307, "effective": 10}, f"{MATH}: 10 samples, expected 307"),
    (f"n-samples/{MATH}", ..., f"{MATH}: number of samples unknown, expected 307"),
    (f"n-shot/{MATH}", 0, f"{MATH}: 0 shots, expected 4"),
    (f"n-shot/{MATH}", ..., f"{MATH}: number of shots unknown, expected 4"),
    (f"versions/{MATH}", 2.0, "tasks have different versions"),
    (f"versions/{MATH}", ..., f"{MATH}: task version unknown"),
]


def test_a_benchmark_that_is_not_whole_has_no_score_and_coverage_says_why(
    store: Store, bring_in: Callable[..., ResultsImport]
) -> None:
    counts = draw_counts(3)
    done = bring_in(official_file(counts), *(spoil(official_file(counts), path, value) for path, value, _ in SPOILED))
    numbers = {each.evaluation_id: Path(each.file).stem.split("_")[1] for each in done.imported}
    problems = ask(store, "select evaluation_id, benchmark, problem from coverage where not is_complete")
    assert {(numbers[evaluation], *rest) for evaluation, *rest in problems} == {
        (str(number), "math_lvl_5", problem) for number, (_, _, problem) in enumerate(SPOILED, start=1)
    }
    scored = dict(ask(store, "select evaluation_id, count(*) from benchmark_scores group by all"))
    assert {numbers[each]: n for each, n in scored.items()} == {
        str(number): 5 if number else 6 for number in range(len(SPOILED) + 1)
    }
    assert [numbers[row[0]] for row in ask(store, "select evaluation_id from leaderboard")] == ["0"]


def test_the_lost_level_5_filter_gives_no_math_score(store: Store, bring_in: Callable[..., ResultsImport]) -> None:
    """Versions of early 2025 asked all 5,000 problems under the same names."""
    counts = draw_counts(4)
    lost = {"algebra": 1187, "counting_and_prob": 474, "geometry": 479, "intermediate_algebra": 903, "num_theory": 540,
            "prealgebra": 871, "precalculus": 546}  # fmt: skip
    counts |= {f"leaderboard_math_{name}_hard": (n // 2, n) for name, n in lost.items()}
    bring_in(official_file(counts))
    assert ask(store, "select expected_samples, found_samples from coverage where not is_complete") == [(1324, 5000)]
    assert ask(store, "select count(*) from benchmark_scores") == [(5,)]
    assert ask(store, "select count(*) from leaderboard") == [(0,)]


def test_versions_of_math_decide_the_era_and_runs_rank_beside(
    store: Store, bring_in: Callable[..., ResultsImport]
) -> None:
    bring_in(*(official_file(draw_counts(5), version) for version in (1.0, 2.0, 3.0, 9.0)))
    rows = suite_rows(V2, "pinned", NOW)
    tasks = [{key: value for key, value in row.items() if not key.startswith("suite")} for row in rows]
    lake = Lake()
    versions = {row["task"]: "3.0" for row in tasks if row["benchmark"] == "math_lvl_5"}
    versions |= {"leaderboard_mmlu_pro": "0.1", "leaderboard_ifeval": "2.0"}
    lake.done("run", "lab/run", tasks=tasks, versions=versions, suite=V2.suite, suite_version="pinned", scores=1.0)
    lake.files["suites", "pinned"] = rows
    lake.files["eras", "pinned"] = era_rows(V2, "pinned", NOW)
    lake.write(store.lake)
    found = ask(store, "select era, rank, model_id, source from leaderboard order by era, rank")
    assert [row for row in found if not row[0].startswith("era-")] == [
        ("launch", 1, "lab/official", "import:results"),
        ("math-parser-fix", 1, "lab/official", "import:results"),
        ("math-verify", 1, "lab/run", "run"),
        ("math-verify", 2, "lab/official", "import:results"),
    ]
    assert len(found) == 5


# ---------------------------------------------------------------------------------------------------- choosing a suite


def facts(shots: Json | None = None, counts: Json | None = None, *tasks: str) -> Any:
    content = {
        "results": {task: {"acc,none": 0.5} for task in tasks},
        "n-shot": shots or {},
        "n-samples": {task: {"effective": n} for task, n in (counts or {}).items()},
    }
    return read_facts(content)


def test_the_suite_with_most_tasks_of_these_names_and_shots_is_chosen() -> None:
    demo = load_suite("demo")
    assert choose_suite([V2, V1], facts(None, None, "gsm8k", "hellaswag", "leaderboard_ifeval")) is V1
    assert choose_suite([V1, V2], facts({"gsm8k": 8}, None, "gsm8k", "leaderboard_ifeval")) is V2
    assert choose_suite([V2, V1], facts({"gsm8k": 8}, None, "gsm8k", "boolq")) is None
    assert choose_suite([], facts(None, None, "gsm8k")) is None
    # The same names in both: the counts tell, and without counts the order.
    assert choose_suite([V2, demo], facts(None, {"leaderboard_ifeval": 3}, "leaderboard_ifeval")) is demo
    assert choose_suite([V2, demo], facts(None, {"leaderboard_ifeval": 541}, "leaderboard_ifeval")) is V2
    assert choose_suite([demo, V2], facts(None, None, "leaderboard_ifeval")) is demo


def test_one_file_can_be_scored_by_two_suites_and_no_suite_changes_another(
    store: Store, bring_in: Callable[..., ResultsImport]
) -> None:
    content = official_file(draw_counts(6))
    assert [each.suite for each in bring_in(content, suites=(V1,)).imported] == [None]
    assert [each.suite for each in bring_in(content).imported] == ["leaderboard-v2"]
    assert ask(store, "select suite, count(*) from evaluations group by all order by all") == [
        ("leaderboard-v2", 1),
        (None, 1),
    ]
    assert ask(store, "select count(*) from leaderboard") == [(1,)]


# ------------------------------------------------------------------------------------------------------- documents


def write_benchmark(folder: Path, suite: Suite, benchmark: str) -> None:
    """results.json and samples of one benchmark, as a run leaves them and as others do."""
    folder.mkdir(parents=True)
    declared = suite.benchmarks[benchmark]
    content: Json = {key: {} for key in ("results", "versions", "n-shot", "n-samples", "task_hashes")}
    for task, spec in declared.tasks.items():
        n = spec.samples
        content["results"][task] = {"alias": task, "acc_norm,none": 1 / n, "acc_norm_stderr,none": 0.1}
        content["versions"][task], content["n-shot"][task] = 1.0, declared.shots
        content["n-samples"][task] = {"original": n, "effective": n}
        lines = [
            {"doc_id": i, "doc": {"q": i}, "target": "A", "arguments": {}, "resps": [["x"]], "filtered_resps": ["x"],
             "filter": "none", "metrics": ["acc_norm"], "acc_norm": float(i == 0), "doc_hash": f"{task}{i}",
             "prompt_hash": "p", "target_hash": f"t{i}"}
            for i in range(n)
        ]  # fmt: skip
        (folder / f"samples_{task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content["config"] = {"model": "hf", "model_args": "pretrained=lab/m"}
    (folder / "results.json").write_text(json.dumps(content))


def test_documents_are_hashed_as_those_of_a_run(store: Store, tmp_path: Path) -> None:
    demo = load_suite("demo")
    write_benchmark(tmp_path / "musr", demo, "musr")
    ours = read_outputs(tmp_path / "musr", demo, Shard(benchmarks=("musr",)), "musr", is_templated=False)
    *_, done = import_results(store, [tmp_path / "musr"], [demo], NOW)
    assert [(each.n_samples_files, each.suite) for each in done.imported] == [(3, "demo")]
    assert done.left_out == []
    found = dict(ask(store, "select task, doc_set_hash from task_scores where doc_set_hash is not null"))
    assert found == {each.task: each.doc_set_hash for each in ours.tasks}
    assert ask(store, "select distinct benchmark from samples") == [("musr",)]


def test_samples_that_come_later_count_as_if_they_had_been_there(tmp_path: Path) -> None:
    """Also in a build that carries over what the one before has computed."""
    demo = load_suite("demo")
    write_benchmark(tmp_path / "musr", demo, "musr")
    late, whole = Store(tmp_path / "late"), Store(tmp_path / "whole")
    sql = "select * from benchmark_scores order by benchmark"
    steps = [(late, "musr/results.json"), (late, "musr"), (whole, "musr")]
    found = []
    for store, path in steps:
        _ = [*import_results(store, [tmp_path / path], [demo], NOW)]
        found.append((ask(store, sql), ask(store, "select * from task_scores order by task, metric")))
    assert found[0] != found[1] == found[2]
    assert found[2][0]
