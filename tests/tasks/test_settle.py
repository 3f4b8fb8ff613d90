"""Launching and settling: nothing is started twice, nothing that was launched is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOW, make_suite

from nightboard.profiles.models import Cluster, Tier
from nightboard.tasks import launch as launch_module
from nightboard.tasks.executor import Call, LocalExecutor, Started
from nightboard.tasks.history import read_history
from nightboard.tasks.launch import Launcher
from nightboard.tasks.process import current_process, process_of
from nightboard.tasks.records import (
    AttemptOwner,
    Evaluation,
    Job,
    Launch,
    Outcome,
    ProcessId,
    ResolvedSuite,
    Shard,
    Submission,
)
from nightboard.tasks.settle import settle
from nightboard.tasks.store import Store, claim_file


class FakeExecutor:
    """Records what is submitted; `alive` says whether its jobs live."""

    name = "local"

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.alive: bool | None = True
        self.dies_in_submit = False

    def submit(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started]:
        if self.dies_in_submit:
            raise KeyboardInterrupt
        self.calls += calls
        return [Started(job_id=f"{name}_{index}", process=None) for index in range(len(calls))]

    def is_job_alive(self, submission: Submission, index: int) -> bool | None:
        return self.alive


def make_evaluation(name: str) -> Evaluation:
    return Evaluation(
        evaluation_id=name,
        suite="small",
        suite_version="v1",
        model_id=f"lab/{name}",
        revision="1" * 40,
        fingerprint=name,
        precision="float32",
        chat_template=False,
        fewshot_as_multiturn=False,
        harness_version="0.4.13",
    )


def make_job(*names: str, attempt: int = 1, time_min: int = 600) -> Job:
    shards = tuple(Shard(evaluation_id=n, attempt=attempt, benchmarks=("bbh",), estimate_s=1) for n in names)
    return Job(tier="cpu", shards=shards, gpus=0, time_min=time_min)


def make_launcher(store: Store, executor: FakeExecutor | LocalExecutor, suite: ResolvedSuite | None = None) -> Launcher:
    tier = Tier(name="cpu", up_to_params_b=10)
    return Launcher(
        store=store,
        board="test",
        cluster=Cluster(cluster="test", executor="local", tiers=(tier,)),
        executor=executor,
        evaluations={name: make_evaluation(name) for name in "abc"},
        suites={"v1": suite or make_suite()},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor()


def dead_process() -> ProcessId:
    return current_process().model_copy(update={"pid": 2**22 - 1})


def take_as_job(store: Store, name: str, process: ProcessId) -> None:
    owner = AttemptOwner(kind="job", process=process, job_id="7", at=NOW)
    assert claim_file(store.attempt_dir(name, "all", 1) / "owner.json", owner.to_bytes())


def finish(store: Store, name: str, state: str, reason: str | None = None) -> None:
    outcome = Outcome.model_validate({"state": state, "reason": reason, "started_at": NOW, "ended_at": NOW})
    claim_file(store.attempt_dir(name, "all", 1) / "outcome.json", outcome.to_bytes())


def states(store: Store) -> dict[str, dict[str, int]]:
    return {key: dict(tries.states) for key, tries in read_history(store).tries.items()}


def pretend_launcher_died(store: Store) -> None:
    for path in store.launches.glob("*/launch.json"):
        launch = Launch.read(path)
        path.write_bytes(launch.model_copy(update={"launcher": dead_process()}).to_bytes())


def test_a_launched_shard_is_in_flight_until_its_outcome_is_collected(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    settled = settle(store, executor, NOW)
    assert settled.in_flight == {"a", "b"}
    assert settled.open_jobs == 1
    finish(store, "a", "failed", "CUDA error")
    settled = settle(store, executor, NOW)
    assert [(each.evaluation_id, each.state, each.reason) for each in settled.collected] == [
        ("a", "failed", "CUDA error")
    ]
    assert settled.in_flight == {"b"}
    assert not settle(store, executor, NOW).collected, "collecting twice changes nothing"


def test_two_flows_launch_a_shard_once(store: Store, executor: FakeExecutor) -> None:
    assert make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    assert make_launcher(store, executor).launch([make_job("a", "b"), make_job("c")], NOW)
    assert not make_launcher(store, executor).launch([make_job("c")], NOW)
    submitted = [Path(folder).parts[-3] for call in executor.calls for folder in call.arguments[1]]
    assert submitted == ["a", "b", "c"]
    settled = settle(store, executor, NOW)
    assert settled.in_flight == {"a", "b", "c"}
    assert (settled.open_jobs, len(settled.open)) == (2, 3), "each shard belongs to the launch that claimed it"


def test_a_flow_that_planned_on_old_knowledge_does_not_run_a_finished_shard_again(
    store: Store, executor: FakeExecutor
) -> None:
    launcher = make_launcher(store, executor)
    launcher.launch([make_job("a")], NOW)
    finish(store, "a", "failed", "no")
    settle(store, executor, NOW)
    assert launcher.launch([make_job("a", attempt=1)], NOW) is None
    assert launcher.launch([make_job("a", attempt=2)], NOW)


def test_a_job_killed_while_it_runs_is_interrupted(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    take_as_job(store, "a", dead_process())
    executor.alive = False
    collected = {each.evaluation_id: each.state for each in settle(store, executor, NOW).collected}
    assert collected == {"a": "interrupted", "b": "not_started"}
    assert states(store) == {"a": {"interrupted": 1}, "b": {"not_started": 1}}


def test_a_living_process_keeps_its_attempt_when_its_controller_is_gone(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    take_as_job(store, "a", current_process())
    executor.alive = False
    assert settle(store, executor, NOW).in_flight == {"a"}


def test_a_process_on_another_host_is_given_its_time_limit(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    take_as_job(store, "a", current_process().model_copy(update={"host": "elsewhere"}))
    executor.alive = False
    assert settle(store, executor, NOW + timedelta(hours=9)).in_flight == {"a"}
    assert settle(store, executor, NOW + timedelta(hours=12)).collected[0].state == "interrupted"


def test_a_job_on_a_host_that_is_gone_does_not_live_for_ever(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    executor.alive = None
    assert settle(store, executor, NOW + timedelta(hours=9)).open_jobs == 1
    assert settle(store, executor, NOW + timedelta(hours=12)).collected[0].state == "not_started"


def test_another_kind_of_cluster_leaves_the_jobs_alone(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    executor.name, executor.alive = "dry", False
    assert settle(store, executor, NOW).in_flight == {"a"}


def test_planning_knows_what_is_claimed_and_not_collected(store: Store, executor: FakeExecutor) -> None:
    launch = make_launcher(store, executor).launch([make_job("a", "b")], NOW)
    assert launch
    finish(store, "a", "failed", "no")
    history = read_history(store)
    assert history.last_attempts == {"a": 1, "b": 1}
    assert {key.fingerprint for key in history.in_flight} == {"a", "b"}, "ended, but not collected yet"
    settle(store, executor, NOW)
    assert {key.fingerprint for key in read_history(store).in_flight} == {"b"}
    (store.launches / launch.launch_id).rename(store.root / "moved away")
    lost = read_history(store)
    assert not lost.in_flight
    assert lost.last_attempts["b"] == 1, "the number stays taken"


def test_one_damaged_attempt_hides_no_other(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a"), make_job("b"), make_job("c")], NOW)
    damaged = store.attempt_dir("a", "all", 1) / "spec.json"
    damaged.write_bytes(b"")
    finish(store, "b", "failed", "no")
    settled = settle(store, executor, NOW)
    assert [each.evaluation_id for each in settled.collected] == ["b"]
    assert settled.in_flight == {"a", "c"}
    assert str(damaged) in settled.problems[0]


def test_a_flow_killed_before_it_submitted_leaves_attempts_that_are_given_up(
    store: Store, executor: FakeExecutor
) -> None:
    executor.dies_in_submit = True
    with pytest.raises(KeyboardInterrupt):
        make_launcher(store, executor).launch([make_job("a")], NOW)
    assert settle(store, executor, NOW).in_flight == {"a"}, "the launcher lives: it may still submit"
    pretend_launcher_died(store)
    assert [each.state for each in settle(store, executor, NOW).collected] == ["not_started"]
    late = AttemptOwner(kind="job", process=current_process(), at=NOW)
    owner_file = store.attempt_dir("a", "all", 1) / "owner.json"
    assert not claim_file(owner_file, late.to_bytes()), "a job that starts late finds its attempt taken"


def test_a_launch_without_claims_is_not_closed_under_a_living_launcher(
    store: Store, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = make_launcher(store, executor)
    claim = launch_module.claim_dir
    # Another flow looks at the store in the middle of this launch.
    monkeypatch.setattr(
        launch_module, "claim_dir", lambda path, files: (settle(store, executor, NOW), claim(path, files))[1]
    )
    launcher.launch([make_job("a")], NOW)
    assert settle(store, executor, NOW).in_flight == {"a"}


def test_a_job_that_says_completed_and_wrote_nothing_is_invalid(store: Store, executor: FakeExecutor) -> None:
    make_launcher(store, executor).launch([make_job("a")], NOW)
    finish(store, "a", "completed")
    collected = settle(store, executor, NOW).collected[0]
    assert collected.state == "invalid"
    assert "bbh" in str(collected.reason)
    assert not list(store.lake.glob("outcomes/*")), "nothing partial is scored"


def test_a_failed_fetch_spends_an_attempt_and_keeps_the_reason(store: Store, executor: FakeExecutor) -> None:
    launcher = make_launcher(store, executor)
    launcher.record_fetch_failure(make_job("a").shards[0], "lab/a is gone", NOW)
    collected = settle(store, executor, NOW).collected
    assert [(each.state, each.reason) for each in collected] == [("fetch_failed", "lab/a is gone")]
    assert not executor.calls


def test_a_damaged_launch_record_is_named_and_stops_nothing_else(store: Store, executor: FakeExecutor) -> None:
    launcher = make_launcher(store, executor)
    damaged = launcher.launch([make_job("a")], NOW)
    launcher.launch([make_job("b")], NOW)
    assert damaged
    (store.launches / damaged.launch_id / "launch.json").write_text('{"launch_id": ')
    settled = settle(store, executor, NOW)
    assert settled.in_flight == {"b"}
    assert damaged.launch_id in settled.problems[0]


def test_a_process_is_not_mistaken_for_another_with_its_pid() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = process_of(child.pid)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process
    assert process_of(child.pid) is None, "dead and not yet waited for is dead"
    child.wait()


def sleep_job(folder: str, _attempts: list[str]) -> None:
    """What the local executor runs in the test below."""
    (Path(folder) / "ran").write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.real
def test_the_local_executor_sees_its_job_live_and_die_from_another_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(launch_module, "run_job", sleep_job)
    executor = LocalExecutor()
    make_launcher(store, executor).launch([make_job("a")], NOW)
    submission = Submission.read(next(store.launches.glob("*/submission.json")))
    deadline = time.monotonic() + 60
    while not (store.root / "ran").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    look = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from nightboard.tasks.executor import LocalExecutor; from nightboard.tasks.settle import settle\n"
        "from nightboard.tasks.store import Store\n"
        "print(sorted(settle(Store(Path(sys.argv[1])), LocalExecutor(), datetime(2026, 1, 1, tzinfo=UTC)).in_flight))"
    )

    def in_flight() -> str:
        return subprocess.run(
            [sys.executable, "-c", look, str(store.root)], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert in_flight() == "['a']"
    os.kill(int((store.root / "ran").read_text()), signal.SIGKILL)
    os.kill(int(submission.job_ids[0]), signal.SIGKILL)
    assert in_flight() == "[]"
    assert not executor.is_job_alive(submission, 0)
