"""The suites say what the installed lm-eval does. Reads lm-eval's task files; loads no data set."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.suite import Benchmark, Suite

pytestmark = pytest.mark.real

# What lm-eval generates at most where a task does not say.
DEFAULT_MAX_NEW_TOKENS = 256


@functools.cache
def _index(task_folders: tuple[str, ...]) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    tasks = Path(lm_eval.__file__).parent / "tasks"
    folders: list[str | Path] = [tasks / folder for folder in task_folders]
    return TaskManager(include_defaults=False, include_path=folders).task_index


def _leaves(index: dict[str, Any], name: str) -> list[str]:
    """Leaf tasks of a group, of the tags it names, or the task itself."""
    entry = index[name]
    children = {"GROUP": (entry.cfg or {}).get("task"), "TAG": entry.tags}.get(entry.kind.name)
    return [leaf for child in children for leaf in _leaves(index, child)] if children else [name]


def _benchmarks() -> list[Any]:
    suites = [load_suite("leaderboard-v2"), load_suite("leaderboard-v1")]
    return [pytest.param(suite, name, id=f"{suite.suite}-{name}") for suite in suites for name in suite.benchmarks]


@pytest.mark.parametrize(("suite", "name"), _benchmarks())
def test_a_benchmark_is_what_lm_eval_runs(suite: Suite, name: str) -> None:
    from importlib.metadata import version

    index, benchmark = _index(suite.harness.task_folders), suite.benchmarks[name]
    assert version("lm-eval") == suite.harness.version
    assert sorted(_leaves(index, benchmark.group)) == sorted(benchmark.tasks)
    current = next(era for era in suite.eras if era.is_current)
    for task, spec in benchmark.tasks.items():
        config = index[task].cfg
        assert config["dataset_path"] == benchmark.dataset.id
        assert config.get("dataset_name") == spec.config
        assert config.get("num_fewshot") in (None, benchmark.shots)
        assert set(benchmark.metrics) <= {metric["metric"] for metric in config["metric_list"]}
        assert benchmark.filter in {each["name"] for each in config.get("filter_list", [{"name": "none"}])}
        assert current.task_versions.get(task) in (None, str(config["metadata"]["version"]))
        _check_answers(benchmark, config, spec.choices)


def _check_answers(benchmark: Benchmark, config: dict[str, Any], choices: int) -> None:
    """Generated answers have lm-eval's length; listed choices are as many as declared."""
    if config["output_type"] == "generate_until":
        longest = config["generation_kwargs"].get("max_gen_toks", DEFAULT_MAX_NEW_TOKENS)
        assert benchmark.max_new_tokens == longest
        assert choices == 0
    else:
        assert benchmark.max_new_tokens is None
        if isinstance(config["doc_to_choice"], list):
            assert len(config["doc_to_choice"]) == choices


def test_every_generated_math_task_has_its_version_in_the_current_era() -> None:
    suite = load_suite("leaderboard-v2")
    index = _index(suite.harness.task_folders)
    versions = {task: str(index[task].cfg["metadata"]["version"]) for task in suite.benchmarks["math_lvl_5"].tasks}
    (current,) = [era for era in suite.eras if era.is_current]
    assert current.task_versions == versions


# Changes that each document undergoes by itself.
STEADY_CHANGES = {"leaderboard_math_hard": "process_docs"}


@pytest.mark.parametrize(("suite", "name"), _benchmarks())
def test_only_what_asks_the_same_in_parts_is_cut(suite: Suite, name: str) -> None:
    """Examples are the same for every document, and none of the documents depends on another."""
    index, benchmark = _index(suite.harness.task_folders), suite.benchmarks[name]
    if benchmark.cut_documents is None:
        return
    for task in benchmark.tasks:
        config = index[task].cfg
        assert benchmark.shots == 0 or config["fewshot_config"]["sampler"] == "first_n"
        assert ("process_docs" in config) == (benchmark.group in STEADY_CHANGES)
        assert {metric["aggregation"] for metric in config["metric_list"]} == {"mean"}
