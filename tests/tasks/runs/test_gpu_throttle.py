"""What is on disk of an array's throttle is never less than what the array may run, wherever a flow is killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_cluster import FakeExecutor, make_job

from nightboard.tasks.cluster.executor import ClusterAway, ExecutorError, JobReport
from nightboard.tasks.runs import gpu_throttle as module
from nightboard.tasks.runs.gpu_throttle import Throttle
from nightboard.tasks.runs.launch import read_parallelism, write_parallelism
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Job


class Arrays(FakeExecutor):
    """Notes every throttle that is set, with what the store says of it in that moment."""

    def __init__(self, store: Store) -> None:
        super().__init__("slurm")
        self.store, self.set, self.refusal = store, list[tuple[str, int, int | None]](), None

    refusal: ExecutorError | None

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        launch_id = f"launch{job_ids[0].partition('_')[0]}"
        self.set.append((launch_id, parallelism, read_parallelism(self.store, launch_id)))
        if self.refusal:
            raise self.refusal


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def arrays(store: Store) -> Arrays:
    return Arrays(store)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until a test moves it on."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def make_open(number: int, jobs: int, gpus: int, *, running: int = 0, estimate_s: float = 60) -> list[OpenAttempt]:
    """The open shards of array `number`; its first jobs run."""
    shard = make_job("a").attempts[0].model_copy(update={"estimate_s": estimate_s})
    return [
        OpenAttempt(
            launch_id=f"launch{number}",
            job_index=index,
            planned=shard,
            folder=Path(f"{number}/{index}"),
            gpus=gpus,
            job_id=f"{number}_{index}",
            report=JobReport("RUNNING" if index < running else "PENDING", is_over=False),
        )
        for index in range(jobs)
    ]


def wanted(jobs: int, gpus: int, estimate_s: float = 60) -> list[Job]:
    shard = make_job("a").attempts[0].model_copy(update={"estimate_s": estimate_s})
    return [Job(tier="t", attempts=(shard,), gpus=gpus, time_min=60)] * jobs


def test_a_raise_is_on_disk_before_it_is_in_force(store: Store, arrays: Arrays) -> None:
    write_parallelism(store, "launch1", 2)
    throttle = Throttle(store, arrays, max_gpus=8)
    opened = make_open(1, jobs=6, gpus=2, running=2)
    assert throttle.has_waiting(opened)
    assert throttle.share(opened, [wanted(4, gpus=1)]) == [0]
    assert arrays.set == [("launch1", 4, 4)]
    assert throttle.share(opened, []) == []
    assert len(arrays.set) == 1, "once is enough"


def test_a_raise_that_is_refused_is_taken_back_on_disk(store: Store, arrays: Arrays) -> None:
    write_parallelism(store, "launch1", 2)
    arrays.refusal = ExecutorError("not allowed")
    throttle = Throttle(store, arrays, max_gpus=8)
    throttle.share(make_open(1, jobs=6, gpus=2), [])
    assert read_parallelism(store, "launch1") == 2
    assert throttle.problems == ["The array of launch launch1 cannot be throttled: not allowed"]


def test_a_raise_without_an_answer_may_hold(store: Store, arrays: Arrays) -> None:
    write_parallelism(store, "launch1", 2)
    arrays.refusal = ClusterAway("no answer")
    with pytest.raises(ClusterAway):
        Throttle(store, arrays, max_gpus=8).share(make_open(1, jobs=6, gpus=2), [])
    assert read_parallelism(store, "launch1") == 4


def test_an_array_that_gives_way_is_counted_in_full_until_its_jobs_have_ended(
    store: Store, arrays: Arrays, clock: SimpleNamespace
) -> None:
    write_parallelism(store, "launch1", 8)
    throttle = Throttle(store, arrays, max_gpus=8)
    long = [wanted(1, gpus=4, estimate_s=6000)]
    assert throttle.share(make_open(1, jobs=20, gpus=1, running=8), long) == [0]
    assert arrays.set == [("launch1", 4, 8)]
    clock.s += 100
    assert throttle.share(make_open(1, jobs=18, gpus=1, running=6), long) == [0]
    assert read_parallelism(store, "launch1") == 8, "six of its jobs still run"
    assert throttle.share(make_open(1, jobs=16, gpus=1, running=4), long) == [0]
    assert read_parallelism(store, "launch1") == 4
    assert throttle.share(make_open(1, jobs=16, gpus=1, running=4), long) == [1]
    assert len(arrays.set) == 1


def test_what_the_cluster_said_before_a_throttle_took_hold_is_not_believed(
    store: Store, arrays: Arrays, clock: SimpleNamespace
) -> None:
    write_parallelism(store, "launch1", 8)
    throttle = Throttle(store, arrays, max_gpus=8)
    long = [wanted(1, gpus=4, estimate_s=6000)]
    for _ in range(3):
        clock.s += 5
        throttle.share(make_open(1, jobs=20, gpus=1, running=4), long)
    assert read_parallelism(store, "launch1") == 8, "four more may have begun meanwhile"


def test_an_array_need_not_give_way_any_more_when_the_longer_job_is_gone(
    store: Store, arrays: Arrays, clock: SimpleNamespace
) -> None:
    write_parallelism(store, "launch1", 8)
    throttle = Throttle(store, arrays, max_gpus=8)
    opened = make_open(1, jobs=20, gpus=1, running=8)
    throttle.share(opened, [wanted(1, gpus=4, estimate_s=6000)])
    assert throttle.has_waiting(opened)
    throttle.share(opened, [])
    assert [(launch, parallelism) for launch, parallelism, _ in arrays.set] == [("launch1", 4), ("launch1", 8)]


def test_jobs_alone_and_those_of_other_executors_are_counted_and_left_alone(store: Store, arrays: Arrays) -> None:
    (alone,) = make_open(1, jobs=1, gpus=3)
    opened = [replace(alone, job_id="17")]
    throttle = Throttle(store, arrays, max_gpus=8)
    assert throttle.share(opened, [wanted(8, gpus=1, estimate_s=6000)]) == [5]
    assert not arrays.set


def test_without_a_bound_the_cluster_alone_decides(store: Store, arrays: Arrays) -> None:
    throttle = Throttle(store, arrays, max_gpus=None)
    assert throttle.share(make_open(1, jobs=6, gpus=2), [wanted(4, gpus=1)]) == [None]
    assert not throttle.has_waiting(make_open(1, jobs=6, gpus=2))
