"""What `status` says of everything under way, without touching it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOW, make_suite
from fake_cluster import FakeExecutor, finish, make_job, make_launcher, take_as_job

from nightboard.tasks.cluster.executor import JobReport
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.runs.open_runs import list_open
from nightboard.tasks.runs.status import Status, describe_open, sum_up_waits
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import EvaluationShards, Progress, Shard


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def look(store: Store, executor: FakeExecutor, seconds: float = 0) -> dict[str, Status]:
    now = NOW + timedelta(seconds=seconds)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    rows, problems = describe_open(list_open(store, executor, now).open, now)
    assert not problems
    assert before == {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}, "looking changes nothing"
    return {row.model_id.removeprefix("lab/"): row for row in rows}


def test_a_job_is_told_with_state_node_age_and_benchmark(store: Store) -> None:
    slurm = FakeExecutor("slurm")
    make_launcher(store, slurm).launch([make_job("a", "b"), make_job("c")], NOW)
    take_as_job(store, "a", current_process())
    slurm.report = JobReport("RUNNING", is_over=False, node="gpu3")
    progress = Progress(benchmark="bbh", finished=(), total=1, at=NOW)
    (store.attempt_dir("a", "all", 1) / "progress.json").write_bytes(progress.to_bytes())
    rows = look(store, slurm, seconds=60)
    assert (rows["a"].state, rows["a"].node, rows["a"].job_id, rows["a"].age_s) == ("RUNNING", "gpu3", "1_0", 60)
    assert (rows["a"].benchmark, rows["a"].finished, rows["a"].total) == ("bbh", 0, 1)
    assert rows["b"].state == "NEXT IN JOB"
    assert (rows["c"].state, rows["c"].job_id, rows["c"].benchmark) == ("RUNNING", "1_1", None)


def test_what_has_ended_is_not_under_way_any_more(store: Store) -> None:
    executor = FakeExecutor()
    make_launcher(store, executor).launch([make_job("a"), make_job("b")], NOW)
    finish(store, "a", "failed", "no")
    assert set(look(store, executor)) == {"b"}


def test_a_cluster_that_does_not_answer_hides_nothing(store: Store) -> None:
    slurm = FakeExecutor("slurm")
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    slurm.report = None
    assert look(store, slurm)["a"].state == "NO ANSWER"


def write_progress(store: Store, **changes: object) -> None:
    values = {"benchmark": "bbh", "finished": (), "total": 1, "at": NOW} | changes
    (store.attempt_dir("a", "all", 1) / "progress.json").write_bytes(Progress.model_validate(values).to_bytes())


def test_the_time_left_is_an_estimate_or_unknown_and_never_zero(store: Store) -> None:
    slurm = FakeExecutor("slurm")
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert look(store, slurm)["a"].left_s == 1, "the plan's estimate"
    take_as_job(store, "a", current_process())
    assert look(store, slurm, seconds=49)["a"].left_s is None, "a model that loads tells nothing of its pace"
    write_progress(store)
    assert look(store, slurm, seconds=0.25)["a"].left_s == 0.75
    assert look(store, slurm, seconds=49)["a"].left_s is None, "the plan's estimate is used up"


def test_the_time_left_follows_the_pace_of_what_is_finished(store: Store) -> None:
    one = make_suite()
    bbh = one.suite.benchmarks["bbh"]
    suite = one.model_copy(update={"suite": one.suite.model_copy(update={"benchmarks": {"bbh": bbh, "musr": bbh}})})
    slurm, shard = FakeExecutor("slurm"), Shard(benchmarks=("bbh", "musr"))
    split = EvaluationShards(evaluation_id="a", shards=(shard,))
    launcher = replace(make_launcher(store, slurm, suite), shards={"a": split})
    job = make_job("a")
    planned = job.attempts[0].model_copy(update={"shard": shard})
    launcher.launch([job.model_copy(update={"attempts": (planned,)})], NOW)
    take_as_job(store, "a", current_process())
    write_progress(store, benchmark="musr", finished=("bbh",), total=2, at=NOW + timedelta(seconds=50))
    assert look(store, slurm, seconds=60)["a"].left_s == 40


def test_why_jobs_wait_is_told_once_with_their_number(store: Store) -> None:
    slurm = FakeExecutor("slurm")
    make_launcher(store, slurm).launch([make_job("a"), make_job("b", "c")], NOW)
    slurm.report = JobReport(
        "PENDING",
        is_over=False,
        reason="is held (JobHeldUser)",
        waits_for="JobHeldUser",
        advice="Release it.",
    )
    rows = look(store, slurm)
    assert rows["a"].waits_for == "is held (JobHeldUser)"
    assert sum_up_waits(list(rows.values())) == ["2 jobs wait: is held (JobHeldUser); 1_0, 1_1. Release it."]
    slurm.report = JobReport("RUNNING", is_over=False, reason="runs")
    assert not sum_up_waits(list(look(store, slurm).values()))
