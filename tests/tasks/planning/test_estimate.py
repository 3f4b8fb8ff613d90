"""Estimates: measured where something similar ran, else by parameters, answers to choose from and tokens."""

from __future__ import annotations

import pytest
from builders import make_suite

from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.cluster import Tier
from nightboard.tasks.evaluation.sharding import cut, split, whole
from nightboard.tasks.planning.estimate import NEAREST, Estimator, Size, start_seconds
from nightboard.tasks.planning.history import Cost, CostKey, History
from nightboard.tasks.store.records import ResolvedSuite, Shard

GPU = Tier(name="gpu", up_to_params_b=100, gpus=1)
V2 = ResolvedSuite(suite=load_suite("leaderboard-v2"), version="v2")
SEVEN = Size(7.0, 14.0)


def measure(*costs: tuple[str | None, Cost], backend: str = "hf", has_gpus: bool = True) -> Estimator:
    found: dict[CostKey, list[Cost]] = {}
    for benchmark, cost in costs:
        found.setdefault(CostKey("leaderboard-v2", benchmark, backend, has_gpus), []).append(cost)
    return Estimator(History(costs=found))


def total(estimator: Estimator, size: Size = SEVEN, tier: Tier = GPU) -> float:
    return sum(estimator.benchmarks(V2, size, tier).values())


def test_the_first_guess_is_about_what_the_public_board_took() -> None:
    """Median GPU-hours by the energy that it published, by parameters in billions."""
    hours = {size: total(Estimator(History()), Size(size, 2 * size)) / 3600 for size in (0.5, 8, 14.7, 27.2)}
    published = {0.5: 2.8, 8: 3.4, 14.7: 5.6, 27.2: 11.6}
    assert all(1 / 2 < hours[size] / published[size] < 2 for size in published), hours


def test_generated_answers_cost_by_their_length_and_questions_by_their_choices() -> None:
    seconds = Estimator(History()).benchmarks(V2, SEVEN, GPU)
    suite = V2.suite
    longer = {**suite.benchmarks, "ifeval": suite.benchmarks["ifeval"].model_copy(update={"max_new_tokens": 2560})}
    twice = ResolvedSuite(suite=suite.model_copy(update={"benchmarks": longer}), version="twice")
    assert Estimator(History()).benchmarks(twice, SEVEN, GPU)["ifeval"] == pytest.approx(2 * seconds["ifeval"])
    assert seconds["mmlu_pro"] / seconds["gpqa"] == pytest.approx(12032 * 10 / (1192 * 4))


def test_gpus_make_vllm_faster_and_hf_only_larger() -> None:
    one, eight = GPU, GPU.model_copy(update={"gpus": 8})
    assert total(Estimator(History()), tier=one) == total(Estimator(History()), tier=eight)
    served = {"backend": "vllm"}
    alone = total(Estimator(History()), tier=one.model_copy(update=served))
    assert total(Estimator(History()), tier=eight.model_copy(update=served)) == pytest.approx(alone / 8)


def test_without_a_gpu_it_takes_hundreds_of_times_longer() -> None:
    ratio = total(Estimator(History()), tier=GPU.model_copy(update={"gpus": 0})) / total(Estimator(History()))
    assert 100 < ratio < 1000


def test_what_a_benchmark_took_on_similar_models_replaces_the_guess_for_it_alone() -> None:
    guess = Estimator(History()).benchmarks(V2, SEVEN, GPU)
    found = measure(("bbh", Cost(7.0, 5761, 5000.0, 1))).benchmarks(V2, SEVEN, GPU)
    assert found["bbh"] == pytest.approx(5000.0)
    assert {name: found[name] for name in guess if name != "bbh"} == {n: s for n, s in guess.items() if n != "bbh"}
    half = measure(("bbh", Cost(7.0, 5761 * 2, 5000.0, 1))).benchmarks(V2, SEVEN, GPU)
    assert half["bbh"] == pytest.approx(2500.0), "by documents"


def test_what_a_whole_suite_took_is_shared_out_as_guessed() -> None:
    """Lakes of older versions know no benchmark's seconds."""
    guess = Estimator(History()).benchmarks(V2, SEVEN, GPU)
    cost = Cost(7.0, 21606, 9000.0 + start_seconds(14.0), 1, has_start=True)
    found = measure((None, cost), ("bbh", Cost(7.0, 5761, 100.0, 1))).benchmarks(V2, SEVEN, GPU)
    assert found["bbh"] == pytest.approx(100.0), "the benchmark's own seconds go first"
    assert found["ifeval"] / found["math_lvl_5"] == pytest.approx(guess["ifeval"] / guess["math_lvl_5"])
    assert found["ifeval"] / 9000 == pytest.approx(guess["ifeval"] / sum(guess.values()))


def test_only_similar_sizes_and_the_same_kind_of_machine_tell_something() -> None:
    cost = Cost(7.0, 5761, 5000.0, 1)
    guess = Estimator(History())
    for size in (Size(1.5, 3.0), Size(30.0, 60.0)):
        assert total(measure(("bbh", cost)), size) == total(guess, size)
    assert total(measure(("bbh", cost), has_gpus=False)) == total(guess)
    assert total(measure(("bbh", cost), backend="vllm")) == total(guess)
    processor = GPU.model_copy(update={"gpus": 0})
    assert total(measure(("bbh", cost)), tier=processor) == total(guess, tier=processor)
    assert total(measure(("bbh", cost)), Size(14.0, 28.0)) != total(guess, Size(14.0, 28.0))


def test_the_median_of_similar_models_counts() -> None:
    costs = [("bbh", Cost(7.0, 5761, seconds, 1)) for seconds in (100.0, 200.0, 9000.0)]
    assert measure(*costs).benchmarks(V2, SEVEN, GPU)["bbh"] == pytest.approx(200.0)


def test_of_many_similar_models_the_nearest_count_and_of_one_size_the_newest() -> None:
    far = [("bbh", Cost(3.0, 5761, 9000.0, 1))] * NEAREST
    near = [("bbh", Cost(7.0, 5761, 200.0, 1))] * NEAREST
    assert measure(*near, *far).benchmarks(V2, SEVEN, GPU)["bbh"] == pytest.approx(200.0)
    newer = [("bbh", Cost(7.0, 5761, 100.0, 1))] * NEAREST
    assert measure(*near, *newer).benchmarks(V2, SEVEN, GPU)["bbh"] == pytest.approx(100.0)


def test_parts_take_together_what_the_whole_takes_but_for_their_starts() -> None:
    estimator = Estimator(History())
    parts = split(V2.suite, estimator.benchmarks(V2, SEVEN, GPU), 0.0, 600.0)
    assert len(parts) > 15
    together = sum(estimator.seconds(V2, part, SEVEN, GPU) for part in parts)
    alone = estimator.seconds(V2, whole(V2.suite), SEVEN, GPU)
    assert together == pytest.approx(alone + (len(parts) - 1) * start_seconds(14.0))
    first, *_, last = cut(V2.suite, "mmlu_pro")
    assert estimator.seconds(V2, first, SEVEN, GPU) > estimator.seconds(V2, last, SEVEN, GPU), (
        "1,792 documents, not 2,048"
    )


def test_loading_takes_longer_for_a_larger_model() -> None:
    estimator, suite = Estimator(History()), make_suite()
    part = Shard(benchmarks=("bbh",))
    small, large = (estimator.seconds(suite, part, Size(7.0, gb), GPU) for gb in (14.0, 280.0))
    assert large - small == pytest.approx(start_seconds(280.0) - start_seconds(14.0))
    assert start_seconds(280.0) > 2 * start_seconds(14.0)
