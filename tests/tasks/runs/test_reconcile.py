"""Launching and reconciling: nothing is started twice, nothing that was launched is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import NOW
from fake_cluster import (
    GONE,
    NOBODY_KNOWS,
    FakeExecutor,
    dead_process,
    finish,
    make_job,
    make_launcher,
    pretend_launcher_is,
    take_as_job,
)
from warm import warm

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.tasks.cluster.executor import ClusterAway, ExecutorError, JobReport
from nightboard.tasks.cluster.local import LocalExecutor
from nightboard.tasks.cluster.processes import current_process, process_of
from nightboard.tasks.evaluation import job as job_module
from nightboard.tasks.planning.history import read_history
from nightboard.tasks.runs import launch as launch_module
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import (
    AttemptOwner,
    EvaluationShards,
    Job,
    PlannedAttempt,
    ProcessId,
    Shard,
    Submission,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor()


def states(store: Store) -> dict[str, dict[str, int]]:
    return {key: dict(tries.states) for (key, _), tries in read_history(store).tries.items()}


@pytest.fixture
def living_process() -> Iterator[ProcessId]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = process_of(child.pid)
    assert process
    yield process
    child.kill()
    child.wait()


def test_a_launched_shard_is_in_flight_until_its_outcome_is_collected(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    open_runs = reconcile(store, executor, NOW)
    assert open_runs.in_flight == {"a", "b"}
    assert open_runs.open_jobs == 1
    finish(store, "a", "failed", "CUDA error")
    open_runs = reconcile(store, executor, NOW)
    assert [(each.evaluation_id, each.state, each.reason) for each in open_runs.collected] == [
        ("a", "failed", "CUDA error")
    ]
    assert open_runs.in_flight == {"b"}
    assert not reconcile(store, executor, NOW).collected, "collecting twice changes nothing"


def test_two_flows_launch_a_shard_once(store: Store, executor: FakeExecutor) -> None:
    assert make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    assert make_launcher(store, executor).launch([make_job("a", "b"), make_job("c")], NOW)
    assert not make_launcher(store, executor).launch([make_job("c")], NOW)
    submitted = [Path(folder).parts[-3] for call in executor.calls for folder in call.arguments[1]]
    assert submitted == ["a", "b", "c"]
    open_runs = reconcile(store, executor, NOW)
    assert open_runs.in_flight == {"a", "b", "c"}
    assert (open_runs.open_jobs, len(open_runs.open)) == (2, 3), "each shard belongs to the launch that claimed it"


def test_a_flow_that_planned_on_old_knowledge_does_not_run_a_finished_shard_again(
    store: Store, executor: FakeExecutor
) -> None:
    launcher = make_launcher(store, executor)
    launcher.launch([make_job("a")], NOW)
    finish(store, "a", "failed", "no")
    reconcile(store, executor, NOW)
    assert launcher.launch([make_job("a", attempt=1)], NOW) is None
    assert launcher.launch([make_job("a", attempt=2)], NOW)


def test_a_job_killed_while_it_runs_is_interrupted(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    take_as_job(store, "a", dead_process())
    executor.report = GONE
    collected = {each.evaluation_id: each.state for each in reconcile(store, executor, NOW).collected}
    assert collected == {"a": "interrupted", "b": "not_started"}
    assert states(store) == {"a": {"interrupted": 1}, "b": {"not_started": 1}}


def test_a_living_process_keeps_its_attempt_when_its_controller_is_gone(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    take_as_job(store, "a", current_process())
    executor.report = GONE
    assert reconcile(store, executor, NOW).in_flight == {"a"}


def test_a_process_on_another_host_is_given_its_time_limit(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    take_as_job(store, "a", current_process().model_copy(update={"host": "elsewhere"}))
    executor.report = NOBODY_KNOWS
    assert reconcile(store, executor, NOW + timedelta(hours=9)).in_flight == {"a"}
    assert reconcile(store, executor, NOW + timedelta(hours=12)).collected[0].state == "interrupted"


def test_a_job_on_a_host_that_is_gone_does_not_live_for_ever(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    executor.report = NOBODY_KNOWS
    assert reconcile(store, executor, NOW + timedelta(hours=9)).open_jobs == 1
    assert reconcile(store, executor, NOW + timedelta(hours=12)).collected[0].state == "not_started"


def test_another_kind_of_cluster_leaves_the_jobs_alone(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    executor.name, executor.report = "dry", GONE
    assert reconcile(store, executor, NOW).in_flight == {"a"}


def test_planning_knows_what_is_claimed_and_not_collected(store: Store, executor: FakeExecutor) -> None:
    launch = make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    assert launch
    finish(store, "a", "failed", "no")
    history = read_history(store)
    assert history.last_attempts == {("a", "all"): 1, ("b", "all"): 1}
    assert {key.fingerprint for key in history.in_flight} == {"a", "b"}, "ended, but not collected yet"
    reconcile(store, executor, NOW)
    assert {key.fingerprint for key in read_history(store).in_flight} == {"b"}
    (store.launches / launch.launch_id).rename(store.root / "moved away")
    lost = read_history(store)
    assert not lost.in_flight
    assert lost.last_attempts["b", "all"] == 1, "the number stays taken"


def test_one_damaged_attempt_hides_no_other(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a"), make_job("b"), make_job("c")], NOW)
    damaged = store.attempt_dir("a", "all", 1) / "spec.json"
    damaged.write_bytes(b"")
    finish(store, "b", "failed", "no")
    open_runs = reconcile(store, executor, NOW)
    assert [each.evaluation_id for each in open_runs.collected] == ["b"]
    assert open_runs.in_flight == {"a", "c"}
    assert str(damaged) in open_runs.problems[0]


def test_a_flow_killed_before_it_submitted_leaves_attempts_that_are_given_up(
    store: Store, executor: FakeExecutor, living_process: ProcessId
) -> None:
    executor.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_launcher(store, executor).launch([make_job("a")], NOW)
    executor.by_name.clear()
    pretend_launcher_is(store, living_process)
    assert reconcile(store, executor, NOW).in_flight == {"a"}, "the launcher lives: it may still submit"
    pretend_launcher_is(store, dead_process())
    assert [each.state for each in reconcile(store, executor, NOW).collected] == ["not_started"]
    late = AttemptOwner(kind="job", process=current_process(), at=NOW)
    owner_file = store.attempt_dir("a", "all", 1) / "owner.1.json"
    assert not claim_file(owner_file, late.to_bytes()), "a job that starts late finds its attempt taken"


def test_a_launch_without_claims_is_not_closed_under_a_living_launcher(
    store: Store, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = make_launcher(store, executor)
    claim = launch_module.claim_dir
    # Another flow looks at the store in the middle of this launch.
    monkeypatch.setattr(
        launch_module, "claim_dir", lambda path, files: (reconcile(store, executor, NOW), claim(path, files))[1]
    )
    launcher.launch([make_job("a")], NOW)
    assert reconcile(store, executor, NOW).in_flight == {"a"}


def test_a_job_that_says_completed_and_wrote_nothing_is_invalid(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    finish(store, "a", "completed")
    collected = reconcile(store, executor, NOW).collected[0]
    assert collected.state == "invalid"
    assert "bbh" in str(collected.reason)
    assert not list(store.lake.glob("outcomes/*")), "nothing partial is scored"


def test_a_failed_fetch_spends_an_attempt_and_keeps_the_reason(store: Store, executor: FakeExecutor) -> None:
    launcher = make_launcher(store, executor)
    launcher.record_fetch_failure(make_job("a").attempts[0], "fetch_failed", "lab/a is gone", NOW)
    collected = reconcile(store, executor, NOW).collected
    assert [(each.state, each.reason) for each in collected] == [("fetch_failed", "lab/a is gone")]
    assert not executor.calls


def test_a_damaged_launch_record_is_named_and_stops_nothing_else(store: Store, executor: FakeExecutor) -> None:
    launcher = make_launcher(store, executor)
    damaged = launcher.launch([make_job("a")], NOW)
    launcher.launch([make_job("b")], NOW)
    assert damaged
    (store.launches / damaged.launch_id / "launch.json").write_text('{"launch_id": ')
    open_runs = reconcile(store, executor, NOW)
    assert open_runs.in_flight == {"b"}
    assert damaged.launch_id in open_runs.problems[0]


def test_a_process_is_not_mistaken_for_another_with_its_pid() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = process_of(child.pid)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process
    assert process_of(child.pid) is None, "dead and not yet waited for is dead"
    child.wait()


def launch_and_die(store: Store, executor: FakeExecutor, *jobs: Job) -> None:
    """A flow that is killed after sbatch and before the ids are on disk."""
    executor.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_launcher(store, executor).launch(jobs, NOW)
    pretend_launcher_is(store, dead_process())


@pytest.fixture
def slurm() -> FakeExecutor:
    return FakeExecutor("slurm")


def test_an_array_whose_ids_were_never_written_down_is_found_by_its_name(store: Store, slurm: FakeExecutor) -> None:
    assert make_launcher(store, slurm).launch([make_job("c")], NOW)
    launch_and_die(store, slurm, make_job("c"), make_job("a"), make_job("b"))
    open_runs = reconcile(store, slurm, NOW)
    assert {each.planned.evaluation_id: each.job_id for each in open_runs.open} == {"c": "1_0", "a": "2_0", "b": "2_1"}
    slurm.by_name.clear()
    assert reconcile(store, slurm, NOW).open == open_runs.open, "the ids are on disk now"


def test_the_name_of_an_array_says_whose_it_is(store: Store, slurm: FakeExecutor) -> None:
    launch = make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert launch
    assert list(slurm.by_name) == [launch.launch_id]
    assert launch.launch_id.startswith("nightboard-test-20260101T000000-")


def test_an_array_of_an_earlier_version_is_found_by_the_name_that_it_has(
    store: Store, slurm: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(launch_module, "name_launch", lambda board, now: "20260101T010000-df7ce64b")
        launch_and_die(store, slurm, make_job("a"))
    slurm.error = None
    make_launcher(store, slurm).launch([make_job("b")], NOW)
    assert {each.job_id for each in reconcile(store, slurm, NOW).open} == {"1_0", "2_0"}


def test_an_array_is_not_given_up_while_the_cluster_does_not_answer(store: Store, slurm: FakeExecutor) -> None:
    launch_and_die(store, slurm, make_job("a"))
    slurm.is_away = True
    assert reconcile(store, slurm, NOW + timedelta(days=1)).in_flight == {"a"}
    slurm.is_away = False
    assert [each.job_id for each in reconcile(store, slurm, NOW + timedelta(days=1)).open] == ["1_0"]


def test_an_sbatch_that_outlived_its_flow_is_given_some_seconds(store: Store, slurm: FakeExecutor) -> None:
    launch_and_die(store, slurm, make_job("a"))
    late = dict(slurm.by_name)
    slurm.by_name.clear()
    assert reconcile(store, slurm, NOW + timedelta(seconds=5)).in_flight == {"a"}
    slurm.by_name.update(late)
    assert [each.job_id for each in reconcile(store, slurm, NOW + timedelta(seconds=6)).open] == ["1_0"]


def test_an_array_that_the_cluster_does_not_know_is_given_up(store: Store, slurm: FakeExecutor) -> None:
    launch_and_die(store, slurm, make_job("a"))
    slurm.by_name.clear()
    collected = reconcile(store, slurm, NOW + timedelta(minutes=1)).collected
    assert [(each.state, each.attempt) for each in collected] == [("not_started", 1)]


def test_a_refused_array_gives_its_attempts_back_with_the_reason(store: Store, slurm: FakeExecutor) -> None:
    slurm.error = ExecutorError("invalid partition specified: gpuu")
    with pytest.raises(ExecutorError, match="gpuu"):
        make_launcher(store, slurm).launch([make_job("a", "b")], NOW)
    collected = reconcile(store, slurm, NOW).collected
    assert {(each.state, "gpuu" in str(each.reason)) for each in collected} == {("not_started", True)}
    assert not reconcile(store, slurm, NOW).open


def test_an_answer_that_was_lost_is_no_refusal(store: Store, slurm: FakeExecutor) -> None:
    slurm.error = ClusterAway("no answer for 10 minutes")
    with pytest.raises(ClusterAway):
        make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert [each.job_id for each in reconcile(store, slurm, NOW).open] == ["1_0"], "sbatch had been accepted"


def test_jobs_are_waited_for_while_the_cluster_is_away(store: Store, slurm: FakeExecutor) -> None:
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    take_as_job(store, "a", dead_process())
    slurm.report = None
    open_runs = reconcile(store, slurm, NOW + timedelta(days=2))
    assert open_runs.in_flight == {"a"}
    assert open_runs.is_cluster_away


def test_the_cluster_is_asked_once_whatever_is_open(store: Store, slurm: FakeExecutor) -> None:
    for name in "abc":
        make_launcher(store, slurm).launch([make_job(name)], NOW)
    reconcile(store, slurm, NOW)
    assert slurm.polls == 1


@pytest.mark.parametrize(
    "ending", ["timeout", "preempted", "node_fail", "boot_fail", "out_of_memory", "failed", "cancelled", "deadline"]
)
def test_how_a_job_ended_is_how_the_attempt_that_it_ran_ended(store: Store, slurm: FakeExecutor, ending: str) -> None:
    make_launcher(store, slurm).launch([make_job("a", "b")], NOW)
    take_as_job(store, "a", dead_process())
    (store.attempt_dir("a", "all", 1) / "log.txt").write_text("one\nlast words\n")
    slurm.report = JobReport(ending.upper(), is_over=True, ending=ending, reason="so it was", node="gpu3")  # type: ignore[arg-type]
    collected = {each.evaluation_id: each for each in reconcile(store, slurm, NOW).collected}
    assert (collected["a"].state, collected["a"].reason) == (ending, "so it was")
    assert collected["a"].log_tail == ("one", "last words")
    innocent = "cancelled" if ending == "cancelled" else "not_started"
    assert collected["b"].state == innocent, "what the job did not come to has no part in its end"


def test_a_job_that_could_not_even_begin_tells_of_its_environment(store: Store, slurm: FakeExecutor) -> None:
    launch = make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert launch
    output = store.launches / launch.launch_id / "submitit" / "1_0_0_log.out"
    output.parent.mkdir(exist_ok=True)
    output.write_text("srun: error: pyton: command not found\n")
    slurm.report = JobReport(state="FAILED", is_over=True, ending="failed", reason="exit code 127", node="gpu1")
    collected = reconcile(store, slurm, NOW).collected[0]
    assert collected.state == "environment"
    assert "exit code 127" in str(collected.reason)
    assert "change `python` or `setup` in the cluster profile" in str(collected.reason)
    assert "pyton" in collected.log_tail[0]


def test_an_outcome_that_could_not_be_written_is_no_failure_of_the_model(store: Store, slurm: FakeExecutor) -> None:
    launch = make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert launch
    take_as_job(store, "a", dead_process())
    output = store.launches / launch.launch_id / "submitit" / "1_0_0_log.out"
    output.parent.mkdir(exist_ok=True)
    folder = store.attempt_dir("a", "all", 1)
    output.write_text(
        f"nightboard.tasks.store.layout.StoreError: {folder}: no outcome could be written: disk is full\n"
    )
    slurm.report = JobReport(state="FAILED", is_over=True, ending="failed", reason="exit code 1", node="gpu1")
    collected = reconcile(store, slurm, NOW).collected[0]
    assert (collected.state, collected.reason) == (
        "environment",
        "no outcome could be written: disk is full on gpu1",
    )


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        ("failed", "rope type /a: no outcome could be written: is unknown"),
        ("timeout", "{folder}: no outcome could be written: x"),
    ],
)
def test_words_of_a_repository_or_after_a_time_limit_are_no_lost_outcome(
    store: Store, slurm: FakeExecutor, ending: Any, line: str
) -> None:
    launch = make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert launch
    take_as_job(store, "a", dead_process())
    output = store.launches / launch.launch_id / "submitit" / "1_0_0_log.out"
    output.parent.mkdir(exist_ok=True)
    output.write_text(line.format(folder=store.attempt_dir("a", "all", 1)))
    slurm.report = JobReport(state="X", is_over=True, ending=ending, reason="why", node="gpu1")
    assert reconcile(store, slurm, NOW).collected[0].state == ending


@pytest.mark.parametrize("ending", ["failed", "timeout", "out_of_memory"])
def test_a_job_that_evaluated_nothing_cannot_have_failed_by_a_model(
    store: Store, slurm: FakeExecutor, ending: Any
) -> None:
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    slurm.report = JobReport(state="FAILED", is_over=True, ending=ending, reason="so it ended", node="gpu1")
    collected = reconcile(store, slurm, NOW).collected[0]
    assert (collected.state, collected.reason) == (
        "environment",
        "the job ended before it began to evaluate: so it ended",
    )


def test_a_kill_for_lack_of_memory_is_read_from_the_jobs_own_output(store: Store, slurm: FakeExecutor) -> None:
    launch = make_launcher(store, slurm).launch([make_job("a")], NOW)
    assert launch
    take_as_job(store, "a", dead_process())
    output = store.launches / launch.launch_id / "submitit" / "1_0_0_log.out"
    output.parent.mkdir(exist_ok=True)
    output.write_text("slurmstepd-gpu1: error: Exceeded job memory limit\nsrun: error: gpu1: task 0: Killed\n")
    slurm.report = JobReport(state="FAILED", is_over=True, ending="interrupted", reason="killed", node="gpu1")
    collected = reconcile(store, slurm, NOW).collected[0]
    assert collected.state == "out_of_memory"
    assert str(collected.reason).startswith("out of host memory")


def test_a_job_that_is_over_ends_an_attempt_on_a_host_that_cannot_be_asked(store: Store, slurm: FakeExecutor) -> None:
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    take_as_job(store, "a", current_process().model_copy(update={"host": "gpu7"}))
    assert reconcile(store, slurm, NOW).in_flight == {"a"}
    slurm.report = JobReport(state="NODE_FAIL", is_over=True, ending="node_fail", reason="gpu7 failed", node="gpu7")
    assert reconcile(store, slurm, NOW).collected[0].state == "node_fail"


def test_the_last_word_of_the_cluster_is_awaited_but_not_for_ever(store: Store, slurm: FakeExecutor) -> None:
    make_launcher(store, slurm).launch([make_job("a")], NOW)
    finish(store, "a", "failed", "no")
    assert reconcile(store, slurm, NOW + timedelta(seconds=1)).in_flight == {"a"}
    assert reconcile(store, slurm, NOW + timedelta(minutes=3)).collected[0].state == "failed"


def test_what_a_tier_says_goes_over_what_the_cluster_says(store: Store, slurm: FakeExecutor) -> None:
    tier = Tier.model_validate(
        {"name": "cpu", "up_to_params_b": 1, "gpus": 2, "mem_gb": 8, "cpus": 4, "slurm": {"partition": "big"}}
    )
    cluster = Cluster.model_validate(
        {"cluster": "c", "executor": "slurm", "tiers": [tier], "slurm": {"partition": "small", "account": "me"}}
    )
    replace(make_launcher(store, slurm), cluster=cluster).launch([make_job("a", time_min=15)], NOW)
    given = slurm.resources[0]
    assert (given.gpus, given.nodes, given.cpus, given.mem_gb, given.time_min) == (2, 1, 4, 8, 15)
    assert (given.options.partition, given.options.account) == ("big", "me")


def test_an_evaluation_is_split_only_in_one_way(store: Store, slurm: FakeExecutor) -> None:
    launcher = make_launcher(store, slurm)
    launcher.launch([make_job("a")], NOW)
    halves = tuple(Shard(name=f"bbh.{at}-{at + 1}", benchmarks=("bbh",)) for at in (0, 1))
    other = replace(launcher, shards={"a": EvaluationShards(evaluation_id="a", shards=halves)})
    shard = PlannedAttempt(evaluation_id="a", shard=halves[0], batch_size=1, estimate_s=1)
    assert other.launch([Job(tier="cpu", attempts=(shard,), gpus=0, time_min=600)], NOW) is None


def sleep_job(folder: str, _attempts: list[str]) -> None:
    """What the local executor runs in the test below."""
    (Path(folder) / "ran").write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.real
def test_the_local_executor_sees_its_job_live_and_die_from_another_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(job_module, "run_job", sleep_job)
    executor = LocalExecutor()
    make_launcher(store, executor).launch([make_job("a")], NOW)
    submission = Submission.read(next(store.launches.glob("*/submission.json")))
    deadline = time.monotonic() + 240
    while not (store.root / "ran").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    look = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from nightboard.tasks.cluster.local import LocalExecutor\n"
        "from nightboard.tasks.runs.reconcile import reconcile\n"
        "from nightboard.tasks.store.layout import Store\n"
        "now = datetime(2026, 1, 1, tzinfo=UTC)\n"
        "print(sorted(reconcile(Store(Path(sys.argv[1])), LocalExecutor(), now).in_flight))"
    )

    def in_flight() -> str:
        return subprocess.run(warm(look, str(store.root)), check=True, capture_output=True, text=True).stdout.strip()

    assert in_flight() == "['a']"
    os.kill(int((store.root / "ran").read_text()), signal.SIGKILL)
    os.kill(int(submission.job_ids[0]), signal.SIGKILL)
    assert in_flight() == "[]"
    reports = executor.poll([submission], NOW)
    assert [report.is_over for report in reports.values()] == [True]
