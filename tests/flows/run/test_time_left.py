"""When a run's jobs are done, by the plan's estimates and what jobs of the run have taken."""

from __future__ import annotations

from nightboard.flows.run.time_left import TimeLeft


def test_nothing_is_estimated_while_all_jobs_wait_in_the_queue() -> None:
    assert TimeLeft().estimate(0, {}, set(), [60, 60]) is None


def test_what_waits_is_shared_by_the_jobs_that_run() -> None:
    assert TimeLeft().estimate(0, {"a": 100, "b": 100}, set(), [100, 100]) == 200


def test_the_longest_job_bounds_the_estimate() -> None:
    assert TimeLeft().estimate(0, {"a": 10, "b": 1000}, set(), []) == 1000


def test_time_that_has_passed_is_taken_off_and_never_leaves_zero() -> None:
    left = TimeLeft()
    left.estimate(0, {"a": 100}, set(), [])
    assert left.estimate(30, {"a": 100}, set(), []) == 70
    assert left.estimate(130, {"a": 100}, set(), []) is None, "the estimate is used up"


def test_jobs_that_took_twice_their_estimate_double_the_rest() -> None:
    left = TimeLeft()
    left.estimate(0, {"a": 100}, set(), [100, 100])
    assert left.estimate(200, {"b": 100}, {"a"}, [100]) == 400


def test_a_job_that_failed_at_once_says_nothing_of_the_pace() -> None:
    left = TimeLeft()
    left.estimate(0, {"a": 100}, set(), [])
    assert left.estimate(1, {"b": 100}, set(), []) == 100
