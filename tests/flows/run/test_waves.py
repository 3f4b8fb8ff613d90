"""Which jobs are launched now: no store, no cluster, no clock of its own."""

from __future__ import annotations

import pytest

from nightboard.flows.run.waves import WAVE_LIMIT_S, Clock, Places, Queued, choose_now, choose_wave
from nightboard.tasks.store.records import Job

NOW = 1000.0
SETTLED = Clock(NOW, poll_interval_s=10, is_fetching=False)
FETCHING = Clock(NOW, poll_interval_s=10, is_fetching=True)


def ready(number: int, at_s: float = NOW - 1) -> list[Queued]:
    return [Queued(Job(tier=f"{index}", shards=(), gpus=1, time_min=1), at_s) for index in range(number)]


ARRIVING = [Queued(Job(tier="arriving", shards=(), gpus=1, time_min=1), None)]


def busy(free: int) -> Places:
    return Places(max_jobs=8, free=free, is_busy=True)


IDLE = Places(max_jobs=8, free=8, is_busy=False)


def test_an_idle_run_launches_all_that_it_has_places_for() -> None:
    assert len(choose_wave(ready(12), 12, IDLE, SETTLED)) == 8


def test_one_free_place_is_no_wave_and_a_quarter_of_them_is() -> None:
    assert choose_wave(ready(5), 5, busy(free=1), SETTLED) == []
    assert len(choose_wave(ready(5), 5, busy(free=2), SETTLED)) == 2


def test_the_last_job_of_the_queue_needs_no_wave() -> None:
    assert len(choose_wave(ready(1), 1, busy(free=1), SETTLED)) == 1


def test_without_free_places_or_models_nothing_is_launched() -> None:
    assert choose_wave(ready(5), 5, busy(free=0), SETTLED) == []
    assert choose_wave(ARRIVING, 1, IDLE, FETCHING) == []


def test_a_wave_waits_for_its_last_models_but_not_for_ever() -> None:
    some = [*ready(3), *ARRIVING]
    assert choose_wave(some, 4, busy(free=4), FETCHING) == []
    waited = [*ready(1, at_s=NOW - WAVE_LIMIT_S - 1), *ready(2), *ARRIVING]
    assert len(choose_wave(waited, 4, busy(free=4), FETCHING)) == 3


def test_an_idle_cluster_waits_no_longer_for_models_than_for_an_answer() -> None:
    some = [*ready(1, at_s=NOW - 11), *ARRIVING]
    assert len(choose_wave(some, 2, IDLE, FETCHING)) == 1
    assert choose_wave(some, 2, busy(free=8), FETCHING) == []


def test_what_cannot_get_more_models_is_launched_without_them() -> None:
    """Such as when the cache has no room for the next model before a job ends."""
    assert len(choose_wave(ready(3), 20, IDLE, SETTLED)) == 3
    assert choose_wave(ready(3), 20, busy(free=6), SETTLED) == []


@pytest.mark.parametrize("free", [1, 6])
def test_a_run_with_no_time_to_wait_launches_what_is_ready(free: int) -> None:
    late = Places(max_jobs=8, free=free, is_busy=True, is_late=True)
    assert len(choose_wave(ready(3), 20, late, SETTLED)) == min(3, free)


def test_models_are_prepared_beyond_the_free_places_unless_it_is_late() -> None:
    assert busy(free=3).n_prepared == 5
    assert Places(max_jobs=8, free=3, is_busy=True, is_late=True).n_prepared == 3


def test_jobs_of_one_machine_start_one_by_one_in_their_order() -> None:
    assert [job.tier for job in choose_now([*ARRIVING, *ready(3)], busy(free=2))] == ["0", "1"]
