"""Cancelling: what is chosen stops for good, what shares its job goes on later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from builders import NOW
from fake_cluster import FakeExecutor, dead_process, make_evaluation, make_job, make_launcher, take_as_job

from nightboard.tasks.evaluation.lease import current_owner
from nightboard.tasks.runs.cancel import CancelError, Cancelled, cancel, choose
from nightboard.tasks.runs.open_runs import list_open
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Submission


class Cancellable(FakeExecutor):
    def __init__(self) -> None:
        super().__init__("slurm")
        self.stopped: list[str] = []

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        self.stopped += [submission.job_ids[index] for index in indexes]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def slurm() -> Cancellable:
    return Cancellable()


def stop(store: Store, slurm: Cancellable, *targets: str) -> Cancelled:
    shards = list_open(store, slurm, NOW).open
    return cancel(store, slurm, shards, choose(shards, targets), "ada on login1", NOW)


def endings(store: Store, slurm: Cancellable) -> dict[str, str]:
    slurm.report = None  # the cluster's last word is not waited for
    return {each.evaluation_id: each.state for each in reconcile(store, slurm, NOW).collected}


def test_a_waiting_job_is_cancelled_with_the_reason(store: Store, slurm: Cancellable) -> None:
    make_launcher(store, slurm).launch([make_job("a"), make_job("b")], NOW)
    assert stop(store, slurm, "lab/a").job_ids == ("1_0",)
    assert slurm.stopped == ["1_0"]
    collected = reconcile(store, slurm, NOW).collected or reconcile(store, slurm, NOW).open
    assert collected
    assert endings(store, slurm) == {"a": "cancelled"}


def test_a_running_job_is_stopped_and_what_waits_in_it_is_given_back(store: Store, slurm: Cancellable) -> None:
    make_launcher(store, slurm).launch([make_job("a", "b")], NOW)
    take_as_job(store, "a", dead_process())
    stop(store, slurm, "lab/a@111")
    assert slurm.stopped == ["1_0"]
    assert endings(store, slurm) == {"a": "cancelled", "b": "not_started"}


def test_what_only_waits_in_a_running_job_leaves_the_job_alone(store: Store, slurm: Cancellable) -> None:
    make_launcher(store, slurm).launch([make_job("a", "b")], NOW)
    take_as_job(store, "a", dead_process())
    stop(store, slurm, "lab/b")
    assert not slurm.stopped
    owner = current_owner(store.attempt_dir("b", "all", 1))
    assert owner
    assert owner.kind == "abandoned", "the job finds the attempt taken and leaves it out"
    assert endings(store, slurm) == {"b": "cancelled"}


def test_an_array_is_named_by_its_job_id(store: Store, slurm: Cancellable) -> None:
    make_launcher(store, slurm).launch([make_job("a"), make_job("b")], NOW)
    make_launcher(store, slurm).launch([make_job("c")], NOW)
    assert stop(store, slurm, "1").job_ids == ("1_0", "1_1")


def test_a_name_that_means_nothing_cancels_nothing(store: Store, slurm: Cancellable) -> None:
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    with pytest.raises(CancelError, match=r"lab/x: matches no running .* lab/a"):
        stop(store, slurm, "lab/a", "lab/x")
    assert not slurm.stopped
    assert set(list_open(store, slurm, NOW).in_flight) == {"a"}


def test_a_short_name_does_not_mean_another_model_because_that_one_runs(store: Store, slurm: Cancellable) -> None:
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    shards = list_open(store, slurm, NOW).open
    assert [shard.job_id for shard in choose(shards, ["A"])] == ["1_0"]
    ended = make_evaluation("b").model_copy(update={"model_id": "a/b", "evaluation_id": "b"})
    longer = make_evaluation("c").model_copy(update={"model_id": "lab/a-b", "evaluation_id": "c"})
    with pytest.raises(CancelError, match=r"^b: matches no running"):
        choose(shards, ["b"], [ended, longer])
