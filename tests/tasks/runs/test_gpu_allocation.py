"""All arrays together keep to the GPUs that may be used, and nothing that could run has to wait."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nightboard.tasks.runs.gpu_allocation import Array, allocate

arrays = st.lists(
    st.builds(
        Array,
        gpus=st.sampled_from([1, 2, 8]),
        unfinished=st.integers(1, 50),
        longest_s=st.sampled_from([60.0, 600.0, 6000.0]),
        parallelism=st.none(),
    ),
    max_size=5,
)


def used(parallelism: tuple[int, ...], of: list[Array]) -> int:
    return sum(jobs * array.gpus for jobs, array in zip(parallelism, of, strict=True))


@dataclass
class Simulation:
    """Arrays on a cluster that starts what their throttles allow; `running` and `throttles` belong to `opened`."""

    max_gpus: int
    random: random.Random
    opened: list[Array] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    throttles: list[int] = field(default_factory=list)

    def share(self, new: list[Array]) -> list[Array]:
        """One round as a flow does it; returns what has to wait."""
        shares = allocate(self.opened, new, self.max_gpus)
        for index, allowed in enumerate(shares.opened):
            array = self.opened[index]
            if array.is_fixed:
                assert allowed == array.held
                continue
            assert allowed >= 1, "SLURM takes a throttle of 0 for none"
            self.throttles[index] = allowed
            # What is known of an array comes down once it has come down.
            if allowed > array.held or self.running[index] <= allowed:
                self.opened[index] = replace(array, parallelism=allowed)
        for array, allowed in zip(new, shares.new, strict=True):
            if allowed:
                self.opened.append(replace(array, parallelism=allowed, is_fixed=array.unfinished == 1))
                self.running.append(0)
                self.throttles.append(allowed)
        return [array for array, allowed in zip(new, shares.new, strict=True) if not allowed]

    def start(self) -> None:
        for index, array in enumerate(self.opened):
            self.running[index] = max(self.running[index], min(array.unfinished, self.throttles[index]))

    def end_some(self) -> None:
        """One job at least, as long as any runs."""
        busy = [index for index, running in enumerate(self.running) if running]
        surely = self.random.choice(busy) if busy else None
        for index, array in enumerate(self.opened):
            ended = self.random.randint(1 if index == surely else 0, self.running[index])
            self.running[index] -= ended
            self.opened[index] = replace(array, unfinished=array.unfinished - ended)
        left = [index for index, array in enumerate(self.opened) if array.unfinished]
        self.opened = [self.opened[index] for index in left]
        self.running = [self.running[index] for index in left]
        self.throttles = [self.throttles[index] for index in left]

    @property
    def gpus(self) -> int:
        return sum(running * array.gpus for running, array in zip(self.running, self.opened, strict=True))


@settings(max_examples=200, deadline=None)
@given(st.lists(arrays, min_size=1, max_size=4), st.integers(8, 100), st.randoms(use_true_random=False))
def test_no_more_gpus_run_than_may_and_everything_gets_its_turn(
    waves: list[list[Array]], max_gpus: int, chance: random.Random
) -> None:
    cluster, waiting = Simulation(max_gpus, chance), list[Array]()
    for _ in range(2000):
        if waves:
            waiting += waves.pop(0)
        waiting = cluster.share(waiting)
        cluster.start()
        assert cluster.gpus <= max_gpus
        cluster.end_some()
        if not (waves or waiting or cluster.opened):
            return
    raise AssertionError("something waits for ever")


@given(arrays, st.integers(1, 400))
def test_no_gpu_is_left_while_a_job_that_fits_it_waits(new: list[Array], max_gpus: int) -> None:
    given_jobs = allocate([], new, max_gpus).new
    free = max_gpus - used(given_jobs, new)
    assert free >= 0
    waiting = [array.gpus for array, jobs in zip(new, given_jobs, strict=True) if jobs < array.unfinished]
    assert all(gpus > free for gpus in waiting)


def test_what_a_drained_array_leaves_goes_to_the_next() -> None:
    drained, hungry = Array(gpus=8, unfinished=1, parallelism=4), Array(gpus=8, unfinished=10, parallelism=2)
    shares = allocate([drained, hungry], [Array(gpus=1, unfinished=100)], max_gpus=50)
    assert shares.opened == (1, 5)
    assert shares.new == (2,)


def test_a_longer_job_makes_shorter_arrays_give_way_and_waits_until_they_have() -> None:
    short = Array(gpus=1, unfinished=100, parallelism=16, longest_s=60)
    long = Array(gpus=8, unfinished=1, longest_s=6000)
    shares = allocate([short], [long], max_gpus=16)
    assert (shares.opened, shares.new) == ((8,), (0,)), "its jobs still run"
    shares = allocate([replace(short, parallelism=8)], [long], max_gpus=16)
    assert (shares.opened, shares.new) == ((8,), (1,))


def test_a_shorter_array_takes_nothing_from_a_longer_one() -> None:
    long = Array(gpus=8, unfinished=10, parallelism=2, longest_s=6000)
    shares = allocate([long], [Array(gpus=1, unfinished=50, longest_s=60)], max_gpus=16)
    assert (shares.opened, shares.new) == ((2,), (0,))


def test_jobs_without_gpus_are_not_bounded() -> None:
    assert allocate([Array(gpus=4, unfinished=9, parallelism=1)], [Array(gpus=0, unfinished=7)], 4).new == (7,)


def test_what_nobody_can_throttle_keeps_what_it_has() -> None:
    alone = Array(gpus=8, unfinished=1, is_fixed=True, longest_s=60)
    shares = allocate([alone], [Array(gpus=8, unfinished=3, longest_s=6000)], max_gpus=16)
    assert (shares.opened, shares.new) == ((1,), (1,))
