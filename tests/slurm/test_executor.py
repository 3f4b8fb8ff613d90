"""Arrays on a real SLURM: submitted, followed, throttled, cancelled, and found again after a kill at a bad moment."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from slurm.cluster import Cluster

from nightboard.profiles.models.cluster import SlurmOptions
from nightboard.tasks.cluster import slurm as executor_module
from nightboard.tasks.cluster.executor import Call, ExecutorError, JobReport, Resources
from nightboard.tasks.cluster.slurm import SlurmExecutor
from nightboard.tasks.cluster.slurm_commands import has_run_out_of_memory
from nightboard.tasks.store.records import AttemptOwner, Outcome, Submission

# The nodes do not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


# ------------------------------------------------------------------------------------------------- what the jobs run


def note_environment(folder: str, number: int) -> int:
    names = [name for name in os.environ if "TOKEN" in name or name == "SLURM_JOB_NAME"]
    text = "\n".join(f"{name}={os.environ[name]}" for name in sorted(names))
    (Path(folder) / f"ran.{number}").write_text(text)
    return number


def wait_for_go(folder: str, number: int) -> None:
    """Runs until the test says go."""
    (Path(folder) / f"ran.{number}").touch()
    deadline = time.monotonic() + 300
    while not (Path(folder) / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def kill_itself(_folder: str, _number: int) -> None:
    os.kill(os.getpid(), 9)


def use_too_much_memory(_folder: str, _number: int) -> None:
    kept = []
    while True:
        kept.append(bytearray(20_000_000))
        time.sleep(0.1)


def run_one_attempt(folder: str, number: int) -> str:
    """As `run_job` does, with a shard that waits for its go."""
    from nightboard.tasks.evaluation.attempt import run_attempt

    def run() -> None:
        wait_for_go(folder, number)

    attempt = Path(folder) / "attempt"
    attempt.mkdir(exist_ok=True)
    return run_attempt(attempt, run)


# ---------------------------------------------------------------------------------------------------------- the tools


@dataclass
class Array:
    """A launch of the test on the cluster."""

    folder: Path
    name: str = field(default_factory=lambda: f"test-{secrets.token_hex(6)}")
    executor: SlurmExecutor = field(default_factory=SlurmExecutor)
    submission: Submission | None = None

    def calls(self, function: Callable[[str, int], Any], count: int) -> list[Call]:
        return [Call(function, (str(self.folder), number)) for number in range(count)]

    def submit(
        self, function: Callable[[str, int], Any], count: int = 1, parallelism: int | None = None, **resources: Any
    ) -> Array:
        options = SlurmOptions.model_validate(resources.pop("options", {}))
        values = {"gpus": 0, "nodes": 1, "cpus": 1, "mem_gb": 0.5, "time_min": 5, "options": options} | resources
        started = self.executor.submit(
            self.folder, self.name, self.calls(function, count), Resources(**values), parallelism
        )
        self.started([each.job_id for each in started])
        return self

    def started(self, job_ids: Sequence[str]) -> None:
        self.submission = Submission(
            launch_id=self.name,
            submitted_at=datetime.now(UTC),
            job_ids=tuple(job_ids),
            processes=(None,) * len(job_ids),
        )

    @property
    def job_ids(self) -> tuple[str, ...]:
        assert self.submission
        return self.submission.job_ids

    def poll(self) -> list[JobReport] | None:
        assert self.submission
        reports = self.executor.poll([self.submission], datetime.now(UTC))
        return None if reports is None else [reports[job_id] for job_id in self.submission.job_ids]

    def wait(self, is_there: Callable[[list[JobReport]], bool], timeout_s: float = 300) -> list[JobReport]:
        deadline = time.monotonic() + timeout_s
        while (reports := self.poll()) is None or not is_there(reports):
            assert time.monotonic() < deadline, reports
            time.sleep(0.3)
        return reports

    def wait_until_over(self, timeout_s: float = 300) -> list[JobReport]:
        return self.wait(lambda reports: all(each.is_over for each in reports), timeout_s)

    def wait_for_file(self, name: str, timeout_s: float = 240) -> None:
        deadline = time.monotonic() + timeout_s
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"{name} did not come: {self.poll()}"
            time.sleep(0.1)

    def wait_until_running(self) -> None:
        """Until accounting says so, too; a job that ends before is never seen to run."""
        self.wait(lambda reports: all(each.state == "RUNNING" for each in reports))


@pytest.fixture
def array(cluster: Cluster, tmp_path: Path) -> Iterator[Array]:
    made = Array(tmp_path / "launch")
    made.folder.mkdir()
    yield made
    (made.folder / "go").touch()
    cluster.run("scancel", "--name", made.name)


# -------------------------------------------------------------------------------------------------------- the tests


def test_an_array_runs_from_submission_to_its_end(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    array.submit(note_environment, 5)
    assert [job_id.partition("_")[2] for job_id in array.job_ids] == list("01234")
    reports = array.wait_until_over()
    assert [(each.state, each.exit_code, each.ending) for each in reports] == [("COMPLETED", "0:0", None)] * 5
    assert {str(each.node)[:3] for each in reports} == {"gpu"}
    for report in reports:
        assert report.started_at is not None
        assert report.ended_at is not None
        assert abs((datetime.now(UTC) - report.ended_at).total_seconds()) < 1800, "a time of UTC"
    for number in range(5):
        assert (array.folder / f"ran.{number}").read_text() == f"SLURM_JOB_NAME={array.name}"


def test_a_job_is_seen_to_wait_to_run_and_to_end(array: Array) -> None:
    array.submit(wait_for_go, 3, parallelism=1)
    reports = array.wait(lambda reports: reports[0].state == "RUNNING" and reports[2].state == "PENDING")
    assert [each.is_over for each in reports] == [False] * 3
    (array.folder / "go").touch()
    assert {each.state for each in array.wait_until_over()} == {"COMPLETED"}


def test_a_single_call_runs_too(array: Array) -> None:
    array.submit(note_environment)
    assert array.job_ids[0].isdigit()
    assert array.wait_until_over()[0].state == "COMPLETED"
    assert (array.folder / "ran.0").exists()


def test_a_job_of_two_nodes_is_one_job(array: Array) -> None:
    array.submit(run_one_attempt, nodes=2)
    (array.folder / "go").touch()
    report = array.wait_until_over()[0]
    assert report.state == "COMPLETED"
    assert str(report.node).startswith("gpu[")
    assert len(list((array.folder / "attempt").glob("owner.*.json"))) == 1


def test_submitting_does_not_wait_for_anything(array: Array) -> None:
    array.submit(note_environment, 100, parallelism=1)
    assert len(list(array.folder.glob("ran.*"))) < 100


def test_the_throttle_of_an_array_can_be_changed_while_it_runs(array: Array) -> None:
    array.submit(wait_for_go, 6, parallelism=1)
    array.wait_for_file("ran.0")
    time.sleep(3)
    assert len(list(array.folder.glob("ran.*"))) == 1
    array.executor.set_parallelism(array.job_ids, 3)
    array.wait_for_file("ran.1")
    array.wait_for_file("ran.2")
    time.sleep(3)
    assert len(list(array.folder.glob("ran.*"))) == 3
    (array.folder / "go").touch()
    array.wait_until_over()
    array.executor.set_parallelism(array.job_ids, 2)


def test_a_held_array_says_so_and_runs_on_the_nodes_that_are_left_to_it(cluster: Cluster, array: Array) -> None:
    array.submit(note_environment, 2, options={"additional_parameters": {"hold": True}})
    reports = array.wait(lambda reports: all(each.waits_for for each in reports))
    assert {(each.state, each.waits_for, each.reason) for each in reports} == {
        ("PENDING", "JobHeldUser", "is held by a user (JobHeldUser)")
    }
    assert "scontrol release" in str(reports[0].advice)
    first, *_, last = cluster.node_names
    array.executor.exclude_nodes(array.job_ids, ",".join(node for node in cluster.node_names if node != last))
    cluster.must("scontrol", "release", array.job_ids[0].partition("_")[0])
    assert {each.node for each in array.wait_until_over()} == {last}
    array.executor.exclude_nodes(array.job_ids, first)


def test_a_drained_node_is_why_a_job_waits(cluster: Cluster, array: Array) -> None:
    cluster.must("scontrol", "update", "NodeName=gpu1", "State=DRAIN", "Reason=test")
    array.submit(note_environment, options={"nodelist": "gpu1"})
    (report,) = array.wait(lambda reports: (reports[0].waits_for or "").startswith("ReqNodeNotAvail"))
    assert str(report.reason).startswith("nodes that it needs are down, drained or reserved (ReqNodeNotAvail")
    assert "sinfo -R" in str(report.advice)
    cluster.node_up("gpu1")
    assert array.wait_until_over()[0].state == "COMPLETED"


def test_chosen_jobs_are_cancelled_waiting_or_running_and_the_others_go_on(
    array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "UNKNOWN_LIMIT", executor_module.ASK_QUEUE_AFTER)
    array.submit(wait_for_go, 4, parallelism=2)
    array.wait_for_file("ran.0")
    array.wait_for_file("ran.1")
    assert array.submission
    array.executor.cancel(array.submission, [0, 3])
    array.wait_for_file("ran.2")
    (array.folder / "go").touch()
    reports = array.wait_until_over()
    assert [each.ending for each in reports] == ["cancelled", None, None, "cancelled"]
    assert reports[0].reason == f"cancelled by uid {os.getuid()}"
    array.executor.cancel(array.submission, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"options": {"partition": "nope"}}, "invalid partition specified: nope"),
        ({"options": {"constraint": "nope"}}, "Invalid feature specification"),
        ({"gpus": 64}, "Requested node configuration is not available"),
        ({"mem_gb": 100_000}, "Memory specification can not be satisfied"),
    ],
)
def test_what_sbatch_refuses_is_said_in_its_own_words(
    cluster: Cluster, array: Array, resources: dict[str, Any], words: str
) -> None:
    with pytest.raises(ExecutorError, match=words) as caught:
        array.submit(note_environment, 2, **resources)
    assert "\n" not in str(caught.value)
    assert not cluster.must("squeue", "-h", "--name", array.name)


def test_the_cluster_says_how_large_an_array_may_be(cluster: Cluster) -> None:
    assert SlurmExecutor().max_array_size() == cluster.shape.max_array_size


# ------------------------------------------------------------------------------------------------------------ endings


def test_a_killed_process_is_told_from_a_failure(array: Array) -> None:
    array.submit(kill_itself)
    report = array.wait_until_over()[0]
    assert (report.state, report.ending) == ("FAILED", "interrupted")


def test_a_job_that_uses_too_much_memory_says_so_in_its_output(array: Array) -> None:
    array.submit(use_too_much_memory, mem_gb=0.2)
    array.wait_until_over()
    output = (array.folder / f"{array.job_ids[0]}_0_log.out").read_text()
    assert has_run_out_of_memory(output.splitlines())


def test_a_job_whose_time_is_up_has_an_outcome(array: Array) -> None:
    array.submit(run_one_attempt, time_min=1)
    array.wait_until_over()
    outcome = Outcome.read(array.folder / "attempt" / "outcome.json")
    assert outcome.state == "timeout"
    assert "time limit" in str(outcome.reason)
    assert outcome.job_id == array.job_ids[0]


def test_a_job_that_ignores_its_last_warning_has_timed_out(array: Array) -> None:
    array.submit(wait_for_go, time_min=1, options={"use_srun": False})
    report = array.wait_until_over()[0]
    assert (report.ending, report.reason) == ("timeout", "the time limit of 1 min was reached")


def test_the_failure_of_a_node_ends_a_job_that_may_not_come_back(cluster: Cluster, array: Array) -> None:
    array.submit(wait_for_go, options={"additional_parameters": {"requeue": False}})
    array.wait_until_running()
    node = str((array.poll() or [])[0].node)
    try:
        cluster.node_down(node)
        report = array.wait_until_over()[0]
    finally:
        cluster.node_up(node)
    assert (report.ending, report.reason) == ("node_fail", f"the node failed ({node})")


@pytest.mark.parametrize("trouble", ["node lost", "node declared down", "scontrol requeue", "preempted with a warning"])
def test_a_job_that_comes_back_is_under_way_all_the_time_and_goes_on_with_its_attempt(
    cluster: Cluster, array: Array, trouble: str
) -> None:
    array.submit(run_one_attempt, time_min=60)
    array.wait_until_running()
    array.wait_for_file("ran.0")
    (array.folder / "ran.0").unlink()
    (job_id,), node = array.job_ids, str((array.poll() or [])[0].node)
    seen = []
    if trouble == "node lost":
        cluster.crash(node)
    if trouble.startswith("node"):
        cluster.node_down(node)
    elif trouble == "scontrol requeue":
        cluster.must("scontrol", "requeue", job_id)
    else:
        cluster.must("scancel", "--signal=USR2", job_id)
    deadline = time.monotonic() + 300
    while not (array.folder / "ran.0").exists():
        assert time.monotonic() < deadline, seen
        # SLURM lets a job wait two minutes before it comes back.
        cluster.run("scontrol", "update", f"jobid={job_id}", "starttime=now")
        seen += array.poll() or []
        time.sleep(0.5)
    cluster.node_up(node)
    assert {each.is_over for each in seen} == {False}, [each.state for each in seen]
    (array.folder / "go").touch()
    assert array.wait_until_over()[0].state == "COMPLETED"
    attempt = array.folder / "attempt"
    owners = [AttemptOwner.read(attempt / f"owner.{number}.json") for number in (1, 2)]
    assert [(owner.kind, owner.job_id) for owner in owners] == [("job", job_id)] * 2
    assert Outcome.read(attempt / "outcome.json").state == "completed"


# ------------------------------------------------------------------------------------------------ at the worst moment

KILLED_AFTER_SBATCH = """
import os, sys
from pathlib import Path
import cloudpickle
from submitit.core.utils import JobPaths
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent), str(Path(sys.argv[1]).parent / "support")]
import {module} as jobs
cloudpickle.register_pickle_by_value(jobs)
move = JobPaths.move_temporary_file

def move_or_die(self, path, name, keep_as_symlink=False):
    left = {left}
    if name == "submitted_pickle" and len(list(Path(sys.argv[2]).glob("*_submitted.pkl"))) >= left:
        os.kill(os.getpid(), 9)
    move(self, path, name, keep_as_symlink)

JobPaths.move_temporary_file = move_or_die
jobs.Array(Path(sys.argv[2]), name=sys.argv[3]).submit(jobs.note_environment, {count})
"""


@pytest.mark.parametrize(("count", "renamed"), [(1, 0), (4, 0), (4, 2)])
def test_an_array_whose_flow_was_killed_right_after_sbatch_runs_to_its_end(
    array: Array, count: int, renamed: int
) -> None:
    here = Path(__file__)
    code = KILLED_AFTER_SBATCH.format(module=here.stem, left=renamed, count=count)
    command = [sys.executable, "-c", code, str(here.parent), str(array.folder), array.name]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -9
    assert len(list(array.folder.glob("*_submitted.pkl"))) == renamed
    calls = array.calls(note_environment, count)
    found: list[list[str]] = []

    def find() -> None:
        jobs = SlurmExecutor().find(array.folder, array.name, calls)
        assert jobs is not None
        found.append([each.job_id for each in jobs])

    flows = [threading.Thread(target=find) for _ in range(2)]
    for flow in flows:
        flow.start()
    for flow in flows:
        flow.join()
    assert len(found) == 2
    assert found[0] == found[1]
    array.started(found[0])
    assert {each.state for each in array.wait_until_over()} == {"COMPLETED"}
    assert len(list(array.folder.glob("ran.*"))) == count


def test_an_array_that_was_never_submitted_is_not_found(array: Array) -> None:
    assert SlurmExecutor().find(array.folder, array.name, array.calls(note_environment, 2)) is None


def test_a_controller_that_is_stopped_while_an_array_is_submitted_gets_it_once(
    cluster: Cluster, array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "RETRY_S", 1.0)
    cluster.stop("slurmctld")
    later = threading.Timer(12, cluster.start, ["slurmctld"])
    later.start()
    try:
        array.submit(note_environment, 3)
    finally:
        later.join()
    assert {each.state for each in array.wait_until_over()} == {"COMPLETED"}
    ids = cluster.must("squeue", "-h", "-r", "-t", "all", "--name", array.name, "-o", "%F").split()
    assert set(ids) == {array.job_ids[0].partition("_")[0]}


def test_accounting_that_is_stopped_is_waited_for(cluster: Cluster, array: Array) -> None:
    array.submit(wait_for_go, 2)
    array.wait_until_running()
    cluster.stop("slurmdbd")
    try:
        assert array.poll() is None
        (array.folder / "go").touch()
        time.sleep(3)
        assert array.poll() is None
    finally:
        cluster.start("slurmdbd")
    assert {each.state for each in array.wait_until_over()} == {"COMPLETED"}


def test_a_controller_that_is_stopped_leaves_polling_at_what_accounting_knows(cluster: Cluster, array: Array) -> None:
    array.submit(wait_for_go, 2)
    array.wait_until_running()
    cluster.stop("slurmctld")
    try:
        assert [each.is_over for each in array.poll() or []] == [False, False]
    finally:
        cluster.start("slurmctld")
    (array.folder / "go").touch()
    assert {each.state for each in array.wait_until_over()} == {"COMPLETED"}
