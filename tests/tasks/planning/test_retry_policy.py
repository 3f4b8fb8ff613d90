"""What follows an ending: the table of the profile decides, and a refusal says why in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import pytest
from builders import NOW

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.endings import AT_FAULT, RETRIES, Ending, Retry, is_lasting
from nightboard.tasks.planning.history import Tries
from nightboard.tasks.planning.retry_policy import choose_resources, explain_end, explain_wait, shrink

TIERS = (
    Tier(name="one", up_to_params_b=10, gpus=1, batch_size="auto"),
    Tier(name="served", up_to_params_b=20, gpus=1, backend="vllm", batch_size="auto"),
    Tier(name="four", up_to_params_b=30, gpus=4, batch_size=4),
    Tier(name="eight", up_to_params_b=40, gpus=8, batch_size=1),
)


def make_cluster(**retries: Any) -> Cluster:
    return Cluster(cluster="c", executor="slurm", tiers=TIERS, retries=retries)


def tries_of(reason: str = "CUDA error", **states: int) -> Tries:
    return Tries(states=states, last_reason=reason)  # type: ignore[arg-type]


def test_memory_that_was_short_halves_the_batch_and_then_takes_the_next_tier() -> None:
    found = [shrink(make_cluster(), TIERS[0], times) for times in range(7)]
    assert [(each[0].name, each[1]) if each else None for each in found] == [
        ("one", "auto"),
        ("one", 8),
        ("four", 4),
        ("four", 2),
        ("eight", 1),
        None,
        None,
    ], "a batch of one cannot be halved, vllm is another back end, and after the largest tier there is none"


def test_what_shrinks_is_declared() -> None:
    cluster = make_cluster(failed=Retry(attempts=9, next="shrink"), out_of_memory=Retry(attempts=9))
    resources = choose_resources(tries_of(failed=2, out_of_memory=5, timeout=3), cluster, TIERS[0])
    assert resources
    assert (resources.tier.name, resources.batch_size, resources.timeouts) == ("four", 4, 3)
    assert choose_resources(tries_of(failed=9), cluster, TIERS[0]) is None


def test_every_ending_is_charged_to_something() -> None:
    assert set(AT_FAULT) == set(RETRIES) == set(get_args(Ending))


@pytest.mark.parametrize("ending", [each for each in get_args(Ending) if is_lasting(each)])
def test_what_the_model_did_is_tried_again_as_often_as_its_row_says(ending: Ending) -> None:
    most = RETRIES[ending].attempts
    assert explain_end(tries_of(**{ending: most - 1}, completed=7), make_cluster(), "all") is None
    assert explain_end(tries_of(**{ending: most}), make_cluster(), "all")
    cluster = make_cluster(**{ending: Retry(attempts=most + 1)})
    assert explain_end(tries_of(**{ending: most}), cluster, "all") is None


@pytest.mark.parametrize("ending", [each for each in get_args(Ending) if not is_lasting(each)])
def test_what_others_did_costs_the_model_nothing_and_is_bounded_in_a_run(ending: Ending) -> None:
    cluster, most = make_cluster(**{ending: Retry(attempts=3)}), 3

    def after(count: int) -> Tries:
        ended = ((ending, NOW - timedelta(days=1)),) * 50 + ((ending, NOW),) * count
        return Tries({ending: len(ended)}, "no GPU", ending, ended[-1][1], ended)

    assert explain_end(after(most), cluster, "all") is None
    assert explain_wait(after(most - 1), cluster, "all", NOW) is None
    words = str(explain_wait(after(most), cluster, "all", NOW))
    assert words.startswith("waits for the next run after 3 ")
    assert words.endswith(": no GPU")
    assert explain_wait(after(most), cluster, "all", NOW + timedelta(hours=1)) is None, "the next run begins anew"
    assert explain_wait(after(most), cluster, "all", None) is None, "the first plan of a run"


def test_endings_are_counted_apart() -> None:
    assert explain_end(tries_of(failed=1, invalid=1, timeout=4, preempted=9), make_cluster(), "all") is None


@pytest.mark.parametrize(
    ("states", "shard", "reason"),
    [
        ({"failed": 2}, "all", "gave up after 2 failed attempts: CUDA error"),
        ({"out_of_memory": 4}, "bbh", "gave up after 4 attempts that ran out of memory in bbh: CUDA error"),
        ({"fetch_failed": 3}, "all", "gave up after 3 attempts to fetch the model or its data: CUDA error"),
        ({"timeout": 5}, "all", "gave up after 5 attempts that reached their time limit: CUDA error"),
    ],
)
def test_a_refusal_names_the_ending_in_words(states: dict[str, int], shard: str, reason: str) -> None:
    assert explain_end(tries_of(**states), make_cluster(), shard) == reason


def test_one_attempt_is_called_one() -> None:
    cluster = make_cluster(failed=Retry(attempts=1))
    assert explain_end(tries_of(failed=1), cluster, "all") == "gave up after 1 failed attempt: CUDA error"


def test_what_was_cancelled_says_how_to_run_it_after_all() -> None:
    tries = tries_of("cancelled by ann", cancelled=1)
    assert explain_end(tries, make_cluster(), "all") == ("cancelled by ann; `nightboard retry` runs it again")


def test_an_ending_that_waits_for_the_next_run_waits_only_in_the_run_in_which_it_came() -> None:
    started, cluster = NOW, make_cluster(failed=Retry(attempts=9, same_run=False))

    def ended(state: Any, minutes: int) -> Tries:
        return Tries({state: 1}, "CUDA error", state, NOW + timedelta(minutes=minutes))

    assert explain_wait(ended("failed", 5), cluster, "all", started)
    assert not explain_wait(ended("failed", -5), cluster, "all", started), "it failed the night before"
    assert not explain_wait(ended("failed", 5), cluster, "all", None), "the first plan of a night"
    assert not explain_wait(ended("timeout", 5), cluster, "all", started)
    assert not explain_wait(ended("completed", 5), cluster, "all", started)
    assert not explain_wait(None, cluster, "all", started)
