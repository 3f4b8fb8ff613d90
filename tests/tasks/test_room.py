"""All arrays together keep to the GPUs that may be used, and nothing that could run has to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nightboard.tasks.room import Array, allot

arrays = st.lists(
    st.builds(Array, gpus=st.sampled_from([0, 1, 2, 8]), unfinished=st.integers(1, 50), parallelism=st.none()),
    max_size=5,
)


def used(parallelism: tuple[int, ...], of: list[Array]) -> int:
    return sum(jobs * array.gpus for jobs, array in zip(parallelism, of, strict=True))


@given(arrays, arrays, st.integers(1, 400))
def test_the_sum_keeps_to_the_bound_from_wave_to_wave(first: list[Array], second: list[Array], max_gpus: int) -> None:
    began = allot([], first, max_gpus)
    assert used(began.new, first) <= max_gpus
    running = [Array(array.gpus, array.unfinished, jobs) for array, jobs in zip(first, began.new, strict=True) if jobs]
    then = allot(running, second, max_gpus)
    assert used(then.opened, running) + used(then.new, second) <= max_gpus
    assert all(now >= array.allotted for now, array in zip(then.opened, running, strict=True)), "nothing is taken back"


@given(arrays, st.integers(1, 400))
def test_no_gpu_is_left_while_a_job_that_fits_it_waits(new: list[Array], max_gpus: int) -> None:
    given_jobs = allot([], new, max_gpus).new
    free = max_gpus - used(given_jobs, new)
    waiting = [array.gpus for array, jobs in zip(new, given_jobs, strict=True) if jobs < array.unfinished]
    assert all(gpus > free for gpus in waiting)


def test_what_a_drained_array_leaves_goes_to_the_next() -> None:
    drained, hungry = Array(gpus=8, unfinished=1, parallelism=4), Array(gpus=8, unfinished=10, parallelism=2)
    shares = allot([drained, hungry], [Array(gpus=1, unfinished=100)], max_gpus=50)
    assert shares.opened == (1, 5)
    assert shares.new == (2,)


def test_jobs_without_gpus_are_not_bounded() -> None:
    assert allot([Array(gpus=4, unfinished=9, parallelism=1)], [Array(gpus=0, unfinished=7)], 4).new == (7,)
