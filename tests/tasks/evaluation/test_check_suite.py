"""A suite is compared with lm-eval's index of tasks before anything runs; differences have their key and what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nightboard.profiles.errors import join_key
from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.suite import Benchmark, Harness, Suite
from nightboard.tasks.evaluation import check_suite
from nightboard.tasks.evaluation.check_suite import compare_benchmark, compare_suite, list_leaves
from nightboard.tasks.evaluation.failure_reasons import HarnessError

DECLARED: dict[str, Any] = {
    "title": "ARC", "group": "arc", "dataset": {"id": "allenai/ai2_arc"}, "shots": 0, "metrics": ("acc_norm",),
    "aggregate": "mean", "normalize": "task",
    "tasks": {
        "arc_easy": {"samples": 10, "choices": 4, "config": "Easy"}, "arc_hard": {"samples": 10, "config": "Hard"},
    },
}  # fmt: skip


def make_entry(kind: str, cfg: dict[str, Any] | None = None, tags: tuple[str, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(kind=SimpleNamespace(name=kind), cfg=cfg, tags={*tags})


def make_task(config: str, **changes: Any) -> SimpleNamespace:
    cfg = {
        "dataset_path": "allenai/ai2_arc", "dataset_name": config, "output_type": "multiple_choice",
        "test_split": "test", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    return make_entry("TASK", {**cfg, **changes})


def make_index(**changes: Any) -> dict[str, Any]:
    return {
        "arc": make_entry("TAG", tags=("arc_easy", "arc_hard")),
        "arc_easy": make_task("Easy", **changes),
        "arc_hard": make_task("Hard"),
    }


def compare(
    declared: dict[str, Any], index: dict[str, Any] | None = None, rows: int | None = 10
) -> list[tuple[str, str, bool]]:
    benchmark = Benchmark.model_validate(DECLARED | declared)
    found = compare_benchmark(("benchmarks", "arc"), benchmark, index or make_index(), lambda *_: rows)
    return [(join_key(each.key).removeprefix("benchmarks.arc."), each.text, each.is_unchecked) for each in found]


def test_a_benchmark_that_is_as_lm_eval_has_it_has_no_findings() -> None:
    assert compare({}) == []
    assert compare({"shots": 5}) == [], "a run sets shots"


@pytest.mark.parametrize(
    ("declared", "index", "key", "text"),
    [
        ({"group": "arx"}, {}, "group", "lm-eval has no such task or group (got 'arx'). Did you mean arc?"),
        ({"dataset": {"id": "a/b"}}, {}, "dataset", "arc_easy uses allenai/ai2_arc (got a/b). Write that id."),
        ({"metrics": ("ac",)}, {}, "metrics", "arc_easy has no metric of this name (got 'ac'). Did you mean acc?"),
        (
            {"filter": "strict"},
            {},
            "filter",
            "arc_easy has no filter of this name (got 'strict'). Legal filters: none.",
        ),
        ({"max_new_tokens": 9}, {}, "max_new_tokens", "arc_easy generates no text (got 9). Remove it."),
        (
            {},
            {"output_type": "generate_until", "generation_kwargs": {"max_gen_toks": 64}},
            "max_new_tokens",
            "arc_easy generates text (got no max_new_tokens). Write max_new_tokens: 64, as lm-eval has it.",
        ),
        ({"shots": 2}, {"num_fewshot": 0}, "shots", "arc_easy allows no examples (got 2). Write 0."),
        (
            {"shots": 2, "cut_documents": 8},
            {},
            "cut_documents",
            "arc_easy draws its examples at random (default) (got 8). Remove it.",
        ),
        (
            {},
            {"doc_to_choice": ["a", "b"]},
            "tasks.arc_easy.choices",
            "lm-eval has 2 (got 4). Write 2.",
        ),
        ({}, {"dataset_name": None}, "tasks.arc_easy.config", "lm-eval loads no configuration (got Easy). Remove it."),
    ],
)
def test_a_difference_names_its_key_and_what_to_write(
    declared: dict[str, Any], index: dict[str, Any], key: str, text: str
) -> None:
    first, *_ = compare(declared, make_index(**index))
    assert first[0] == key and first[1].startswith(text) and not first[2]


def test_tasks_of_the_group_and_of_the_suite_are_the_same() -> None:
    tasks = {"arc_easy": DECLARED["tasks"]["arc_easy"], "arc_heard": {"samples": 10}}
    lacking, odd = compare({"tasks": tasks})
    assert lacking[:2] == ("tasks", "lacks arc_hard of lm-eval's arc (got 2 tasks). Add them.")
    assert odd[0] == "tasks.arc_heard"
    assert odd[1].startswith("is no task of lm-eval's arc (got 'arc_heard'). Did you mean arc_hard?")


def test_documents_are_counted_where_the_rows_are_known_and_the_task_makes_none_itself() -> None:
    assert compare({}, rows=12)[0] == (
        "tasks.arc_easy.samples",
        "split test of allenai/ai2_arc has 12 rows (got 10). Write samples: 12.",
        False,
    )
    assert [each[2] for each in compare({}, rows=None)] == [True, True]
    own = make_index(process_docs="utils.process_docs")
    (odd,) = compare({}, own, rows=12)[:1]
    assert (odd[0], odd[2]) == ("tasks.arc_easy.samples", True)
    assert compare({}, own, rows=10) == []


def test_what_is_made_in_python_or_lists_no_metrics_is_not_checked() -> None:
    index = make_index() | {
        "arc_easy": make_entry("PY_TASK", {"class": "x"}),
        "arc_hard": make_task("Hard", metric_list=[]),
    }
    assert [each[2] for each in compare({}, index)] == [True, True]


def test_groups_are_followed_to_their_tasks_also_in_circles_and_inline() -> None:
    index = {
        "all": make_entry("GROUP", {"task": ["part", {"task": "inline"}, {"group": "part"}, {"odd": 1}]}),
        "part": make_entry("GROUP", {"task": ["leaf", "all"]}),
        "leaf": make_entry("TASK", {}),
    }
    assert list_leaves(index, "all") == {"leaf", "inline", "all"}


def test_another_lm_eval_or_none_compares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite.model_validate(
        {"suite": "s", "title": "S", "harness": Harness(version="0.4.13"), "benchmarks": {"arc": DECLARED}}
    )

    def ask(version: str | None, index_tasks: Any = None) -> list[tuple[str, bool]]:
        monkeypatch.setattr(check_suite, "find_installed", lambda: version)
        monkeypatch.setattr(check_suite, "index_tasks", index_tasks)
        return [(each.text, each.is_unchecked) for each in compare_suite(suite, lambda *_: 10)]

    def fail(error: Exception) -> Any:
        def index_tasks(folders: tuple[str, ...]) -> Any:
            raise error

        return index_tasks

    assert ask(None) == [("lm-eval is not installed here (nightboard[harness])", True)]
    assert ask("0.4.12") == [("the suite declares lm-eval 0.4.13, and 0.4.12 is installed", True)]
    missing = fail(HarnessError("harness.task_folders: lm-eval has no folder arx under lm_eval/tasks."))
    assert ask("0.4.13", missing) == [("lm-eval has no folder arx under lm_eval/tasks. Correct the folders.", False)]
    ((text, is_unchecked),) = ask("0.4.13", fail(ImportError("no torch")))
    assert text.startswith("lm-eval cannot be imported: ") and "no torch" in text and is_unchecked
    wrong = DECLARED | {"dataset": {"id": "a/b"}}
    suite = suite.model_copy(update={"benchmarks": {"arc": Benchmark.model_validate(wrong)}})
    told = ask("0.4.13", lambda folders: SimpleNamespace(task_index=make_index()))
    assert told == [("arc_easy uses allenai/ai2_arc (got a/b). Write that id.", False)], "once, not for each task"


@pytest.mark.real
@pytest.mark.parametrize("name", ["leaderboard-v2", "leaderboard-v1"])
def test_the_shipped_suites_are_as_the_installed_lm_eval(name: str) -> None:
    assert [each for each in compare_suite(load_suite(name), lambda *_: None) if not each.is_unchecked] == []
