"""Jobs and arrays: longest first, short ones share, and a time limit covers what is in it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.tasks.planning.packing import STARTING_MIN, Placement, group_arrays, limit_minutes, pack_jobs
from nightboard.tasks.store.records import Job, PlannedAttempt, Shard

SMALL = Tier(name="small", up_to_params_b=10, gpus=1, time_min=600, share_job_below_min=30)
LARGE = Tier(name="large", up_to_params_b=80, gpus=4, nodes=2, backend="vllm", time_min=1000)


def make_cluster(executor: str = "slurm", max_jobs: int = 3, **changes: object) -> Cluster:
    small = SMALL.model_copy(update=changes)
    values = {"cluster": "c", "executor": executor, "max_jobs": max_jobs, "tiers": (small, LARGE), "time_headroom": 2}
    return Cluster.model_validate(values)


def make_piece(name: str, minutes: float, tier: Tier = SMALL, timeouts: int = 0) -> Placement:
    part = Shard(benchmarks=("bbh",))
    shard = PlannedAttempt(evaluation_id=name, shard=part, batch_size=1, estimate_s=minutes * 60)
    return Placement(shard, tier, timeouts, is_alone=timeouts > 0)


def names(job: Job) -> list[str]:
    return [shard.evaluation_id for shard in job.attempts]


def test_jobs_go_longest_first_over_all_tiers() -> None:
    placements = [make_piece("b", 50), make_piece("a", 90, LARGE), make_piece("c", 120), make_piece("d", 1)]
    jobs = pack_jobs(placements, make_cluster())
    assert [names(job) for job in jobs] == [["c"], ["a"], ["b"], ["d"]]
    assert [(job.tier, job.gpus) for job in jobs] == [("small", 1), ("large", 8), ("small", 1), ("small", 1)]


def test_on_slurm_short_shards_fill_jobs_up_to_what_need_not_share() -> None:
    jobs = pack_jobs([make_piece(f"m{index}", 5) for index in range(12)], make_cluster(max_jobs=100))
    assert [len(job.attempts) for job in jobs] == [6, 6]


def test_elsewhere_short_shards_share_as_many_jobs_as_may_run() -> None:
    jobs = pack_jobs([make_piece(f"m{index}", 1) for index in range(12)], make_cluster("local", max_jobs=3))
    assert [len(job.attempts) for job in jobs] == [4, 4, 4]


def test_a_shard_that_was_cut_short_runs_alone() -> None:
    jobs = pack_jobs([make_piece("a", 5), make_piece("b", 5), make_piece("c", 5, timeouts=1)], make_cluster())
    assert sorted(names(job) for job in jobs) == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("minutes", "timeouts", "limit"),
    [
        (1, 0, 15),
        (5, 0, 15),
        (5.1, 0, 30),
        (12, 0, 30),
        (100, 0, 240),
        (100, 1, 480),
        (100, 2, 600),
        (5000, 0, 600),
    ],
)
def test_a_time_limit_is_the_estimate_with_headroom_in_a_class(minutes: float, timeouts: int, limit: int) -> None:
    """(5 + minutes x 2) x 2^timeouts, rounded up to 15, 30, 60 ... and never above the tier's 600."""
    assert limit_minutes(minutes * 60, timeouts, SMALL, make_cluster()) == limit
    assert limit_minutes(minutes * 60, timeouts, SMALL, make_cluster("local")) == 600, "only SLURM plans by it"


@given(
    st.lists(st.floats(0.1, 400), max_size=60),
    st.sampled_from(["slurm", "local"]),
    st.integers(1, 8),
    st.sampled_from([10, 60, 600]),
    st.sampled_from([0, 5, 30, 500]),
)
def test_every_shard_runs_once_and_within_its_jobs_limit(
    minutes: list[float], executor: str, max_jobs: int, time_min: int, share_below: float
) -> None:
    cluster = make_cluster(executor, max_jobs, time_min=time_min, share_job_below_min=share_below)
    jobs = pack_jobs([make_piece(f"m{i}", each, cluster.tiers[0]) for i, each in enumerate(minutes)], cluster)
    assert Counter(name for job in jobs for name in names(job)) == Counter(f"m{i}" for i in range(len(minutes)))
    assert all(first.estimate_s >= second.estimate_s for first, second in pairwise(jobs))
    for job in jobs:
        assert job.time_min <= time_min
        needed = STARTING_MIN + sum(shard.estimate_s for shard in job.attempts) / 60 * cluster.time_headroom
        assert needed <= job.time_min or len(job.attempts) == 1, "only a shard alone may need more than the tier has"
        estimates = [shard.estimate_s for shard in job.attempts]
        assert estimates == sorted(estimates, reverse=True)
        assert len(estimates) == 1 or max(estimates) < share_below * 60


def make_job(tier: str, time_min: int, estimate_s: float) -> Job:
    shard = PlannedAttempt(
        evaluation_id=f"{tier}{time_min}", shard=Shard(benchmarks=("b",)), batch_size=1, estimate_s=estimate_s
    )
    return Job(tier=tier, attempts=(shard,), gpus=1, time_min=time_min)


def test_an_array_has_one_tier_and_one_time_limit_and_is_no_longer_than_the_cluster_allows() -> None:
    jobs = [
        make_job("a", 15, 3),
        make_job("b", 15, 9),
        make_job("a", 30, 8),
        make_job("a", 15, 4),
        make_job("a", 15, 5),
    ]
    found = [[(job.tier, job.time_min, job.estimate_s) for job in array] for array in group_arrays(jobs, 2)]
    assert found == [
        [("b", 15, 9)],
        [("a", 30, 8)],
        [("a", 15, 5), ("a", 15, 4)],
        [("a", 15, 3)],
    ], "longest first inside and across"
    assert [len(array) for array in group_arrays(jobs, None)] == [1, 1, 3]
    assert group_arrays([], 5) == []


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([15, 30]), st.floats(1, 99)), max_size=40),
    st.one_of(st.none(), st.integers(1, 7)),
)
def test_arrays_hold_every_job_once(rows: list[tuple[str, int, float]], most: int | None) -> None:
    jobs = [make_job(*row) for row in rows]
    arrays = group_arrays(jobs, most)
    assert Counter(id(job) for array in arrays for job in array) == Counter(map(id, jobs))
    assert all(len({(job.tier, job.time_min) for job in array}) == 1 for array in arrays)
    assert all(len(array) <= (most or len(jobs)) for array in arrays)
    for array in arrays:
        assert [job.estimate_s for job in array] == sorted((job.estimate_s for job in array), reverse=True)
    assert all(first[0].estimate_s >= second[0].estimate_s for first, second in pairwise(arrays))
