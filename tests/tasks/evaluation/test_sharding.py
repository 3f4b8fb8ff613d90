"""Splitting an evaluation: every document exactly once, and the same cuts whatever the limits and estimates."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Harness, Suite, TaskSpec
from nightboard.tasks.evaluation.sharding import count_documents, cut, split, whole
from nightboard.tasks.store.records import Shard


def make_benchmark(counts: list[int], cut_documents: int | None) -> Benchmark:
    return Benchmark(
        title="B",
        group="g",
        dataset=DatasetSpec(id="a/b", sha="a" * 40),
        shots=0,
        metrics=("acc",),
        aggregate="mean",
        normalize="task",
        cut_documents=cut_documents,
        tasks={f"task{index}": TaskSpec(samples=count) for index, count in enumerate(counts)},
    )


benchmarks_strategy = st.builds(
    make_benchmark,
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.one_of(st.none(), st.integers(1, 60)),
)
suites_strategy = st.builds(
    lambda benchmarks, limit: Suite(
        suite="s",
        title="S",
        harness=Harness(version="1"),
        limit=limit,
        benchmarks={f"b{index}": each for index, each in enumerate(benchmarks)},
    ),
    st.lists(benchmarks_strategy, min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(1, 30)),
)
seconds_strategy = st.lists(st.floats(0, 1000), min_size=4, max_size=4)
limit_strategy = st.one_of(st.none(), st.floats(1, 3000))


def split_by(suite: Suite, seconds: list[float], limit_s: float | None) -> tuple[Shard, ...]:
    return split(suite, dict(zip(suite.benchmarks, seconds, strict=False)), 10.0, limit_s)


def list_documents(suite: Suite, part: Shard) -> list[tuple[str, str, int]]:
    documents = []
    for name in part.benchmarks:
        for task, spec in suite.benchmarks[name].tasks.items():
            first, stop = (
                (0, suite.expected_samples(spec)) if part.documents is None else part.documents.get(task, (0, 0))
            )
            documents += [(name, task, number) for number in range(first, stop)]
    return documents


@given(suites_strategy, seconds_strategy, limit_strategy)
def test_parts_cover_every_document_exactly_once(suite: Suite, seconds: list[float], limit_s: float | None) -> None:
    parts = split_by(suite, seconds, limit_s)
    assert Counter(each for part in parts for each in list_documents(suite, part)) == Counter(
        list_documents(suite, whole(suite))
    )
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
        assert (
            sum(count_documents(suite, part, name) for name in part.benchmarks) == len(list_documents(suite, part)) > 0
        )


@given(suites_strategy, seconds_strategy, st.floats(1, 200))
def test_a_benchmark_is_whole_or_cut_at_all_its_places(suite: Suite, seconds: list[float], limit_s: float) -> None:
    """So two runs that cut a benchmark cut it alike, whatever they knew of its length."""
    parts = split_by(suite, seconds, limit_s)
    for name, benchmark in suite.benchmarks.items():
        ranges = [part for part in parts if part.documents is not None and part.benchmarks == (name,)]
        if not ranges:
            continue
        total, size = sum(map(suite.expected_samples, benchmark.tasks.values())), benchmark.cut_documents
        assert size is not None
        assert [part.name for part in ranges] == [f"{name}.{i}-{min(i + size, total)}" for i in range(0, total, size)]
        in_order = [each for part in ranges for each in list_documents(suite, part)]
        assert in_order == list_documents(suite, Shard(benchmarks=(name,))), "the tasks joined in their order"


@given(suites_strategy, seconds_strategy)
def test_nothing_is_split_without_a_limit_or_below_it(suite: Suite, seconds: list[float]) -> None:
    assert split_by(suite, seconds, None) == (whole(suite),)
    assert split_by(suite, seconds, 10.0 + sum(seconds)) == (whole(suite),)


def test_a_long_evaluation_is_split_by_benchmark_and_its_long_benchmarks_by_documents() -> None:
    suite = load_suite("leaderboard-v2")
    seconds = {"ifeval": 900.0, "bbh": 30.0, "math_lvl_5": 90.0, "gpqa": 900.0, "musr": 10.0, "mmlu_pro": 900.0}
    names = [part.name for part in split(suite, seconds, 0.0, 100.0)]
    assert names[:5] == ["ifeval", "bbh", "math_lvl_5", "gpqa", "musr"], "IFEval and GPQA are long and never cut"
    assert names[5:] == [f"mmlu_pro.{start}-{min(start + 2048, 12032)}" for start in range(0, 12032, 2048)]


def test_a_range_over_tasks_counts_within_each_task() -> None:
    benchmark = make_benchmark([5, 3, 6], 4)
    suite = Suite(suite="s", title="S", harness=Harness(version="1"), benchmarks={"b": benchmark})
    assert {part.name: part.documents for part in cut(suite, "b")} == {
        "b.0-4": {"task0": (0, 4)},
        "b.4-8": {"task0": (4, 5), "task1": (0, 3)},
        "b.8-12": {"task2": (0, 4)},
        "b.12-14": {"task2": (4, 6)},
    }
    first_three = suite.model_copy(update={"limit": 3})
    assert [part.documents for part in cut(first_three, "b")] == [
        {"task0": (0, 3), "task1": (0, 1)},
        {"task1": (1, 3), "task2": (0, 2)},
        {"task2": (2, 3)},
    ], "a suite's limit is counted by task"
