"""Arrays are submitted once and found again; what the cluster says of their jobs is understood."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import submitit
from builders import NOW
from fake_slurm import FakeSlurm
from submitit.core.utils import DelayedSubmission

from nightboard.profiles.models.cluster import SlurmOptions
from nightboard.tasks.cluster import slurm as executor_module
from nightboard.tasks.cluster import slurm_commands as slurm_module
from nightboard.tasks.cluster.backends import open_executor
from nightboard.tasks.cluster.dry_run import DryExecutor
from nightboard.tasks.cluster.executor import Call, ClusterAway, ExecutorError, JobReport, Resources
from nightboard.tasks.cluster.job_environment import is_secret
from nightboard.tasks.cluster.local import LocalExecutor
from nightboard.tasks.cluster.processes import current_process, is_alive, process_of
from nightboard.tasks.cluster.slurm import OWN_PARAMETERS, SlurmExecutor, make_parameters
from nightboard.tasks.cluster.slurm_commands import STATES, expand_job_id, has_run_out_of_memory
from nightboard.tasks.store.records import ProcessId, Submission

NAME = "20260101T000000-abcd1234"
AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
DBD_AWAY = "sacct: error: Problem talking to the database: Connection refused"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", fake.path)
    for name in list(os.environ):
        if is_secret(name) or name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    return fake


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short, so that tests of patience are."""
    monkeypatch.setattr(executor_module, "RETRY_S", 0.01)
    monkeypatch.setattr(executor_module, "RETRY_FOR_S", 60.0)


def make_calls(count: int) -> list[Call]:
    return [Call(print, ("store", [f"attempt{index}"])) for index in range(count)]


def make_resources(**changes: Any) -> Resources:
    values = {"gpus": 0, "nodes": 1, "cpus": None, "mem_gb": None, "time_min": 60, "options": SlurmOptions()}
    return Resources(**(values | changes))


def submit(folder: Path, count: int = 3, parallelism: int | None = None, **changes: Any) -> list[str]:
    started = SlurmExecutor().submit(folder, NAME, make_calls(count), make_resources(**changes), parallelism)
    return [each.job_id for each in started]


def make_submission(*job_ids: str, name: str = NAME, **changes: Any) -> Submission:
    values = {"launch_id": name, "submitted_at": NOW, "job_ids": job_ids, "processes": (None,) * len(job_ids)}
    return Submission.model_validate(values | changes)


def accounted(
    job: str, state: str, exit_code: str = "0:0", elapsed: int = 0, limit: str = "60", nodes: str = "gpu1",
    energy: str = "0", end: str = "Unknown", name: str = NAME,
) -> str:  # fmt: skip
    return f"{job}|{state}|{exit_code}|{elapsed}|{limit}|2026-01-01T00:00:00|{end}|{energy}|{nodes}|{name}\n"


def queued(array: str, index: str, state: str, nodes: str = "gpu1", why: str = "None") -> str:
    return f"{array}|{index}|{state}|1:00|1:00:00|2026-01-01T00:00:00|2026-01-01T01:00:00|{nodes}|{why}|{NAME}\n"


def poll(*job_ids: str, after: timedelta = timedelta(0)) -> dict[str, JobReport]:
    reports = SlurmExecutor().poll([make_submission(*job_ids)], NOW + after)
    assert reports is not None
    assert list(reports) == list(job_ids)
    return dict(reports)


# ------------------------------------------------------------------------------------------------------- submitting


def test_all_calls_are_one_array_that_bears_the_launchs_name(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("slept"))
    cluster.answer("sbatch", "Submitted batch job 123\n")
    options = SlurmOptions(
        partition="gpu", account="lab", setup=("module load cuda",), srun_args=("--cpu-bind=none",), exclusive=False,
        additional_parameters={"mail-type": "FAIL", "nice": 10, "hold": False},
    )  # fmt: skip
    resources = {"gpus": 8, "nodes": 2, "cpus": 16, "mem_gb": 1.5, "time_min": 90, "options": options}
    assert submit(tmp_path / "f", 3, 2, **resources) == ["123_0", "123_1", "123_2"]
    assert len(cluster.calls("sbatch")) == 1
    lines = cluster.script.splitlines()
    flags = {
        "job-name": NAME, "array": "0-2%2", "time": "90", "gpus-per-node": "8", "nodes": "2", "ntasks-per-node": "1",
        "cpus-per-task": "16", "mem": "1536MB", "partition": "gpu", "account": "lab", "signal": "USR2@90",
        "mail-type": "FAIL", "nice": "10", "open-mode": "append", "output": f"{tmp_path}/f/%A_%a_0_log.out",
    }  # fmt: skip
    declared = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert declared == {f"{name}={value}" for name, value in flags.items()} | {"requeue"}
    assert lines.index("module load cuda") < next(i for i, line in enumerate(lines) if line.startswith("srun"))
    assert "--cpu-bind=none" in cluster.script
    assert [DelayedSubmission.load(tmp_path / "f" / f"123_{i}_submitted.pkl").args[1] for i in range(3)] == [
        ["attempt0"], ["attempt1"], ["attempt2"],
    ]  # fmt: skip


def test_a_single_call_is_a_plain_job(cluster: FakeSlurm, tmp_path: Path) -> None:
    cluster.answer("sbatch", "Submitted batch job 9\n")
    assert submit(tmp_path / "f", 1) == ["9"]
    assert "--array" not in cluster.script
    assert (tmp_path / "f" / "9_submitted.pkl").exists()


def test_without_gpus_no_gpus_are_asked_for_and_without_a_bound_all_jobs_may_run(
    cluster: FakeSlurm, tmp_path: Path
) -> None:
    cluster.answer("sbatch", "Submitted batch job 9\n")
    submit(tmp_path / "f", 300)
    assert "--gpus" not in cluster.script
    assert "--mem" not in cluster.script
    assert "--wckey" not in cluster.script
    assert "--array=0-299%300" in cluster.script


def test_gpus_that_a_profile_asks_for_by_type_are_not_asked_for_twice() -> None:
    given = make_parameters("n", make_resources(gpus=4, options=SlurmOptions(gres="gpu:h100:4")), 1, {})
    assert given["gres"] == "gpu:h100:4"
    assert "gpus_per_node" not in given


def test_the_profile_names_the_nodes_python(cluster: FakeSlurm, tmp_path: Path) -> None:
    cluster.answer("sbatch", "Submitted batch job 9\n")
    submit(tmp_path / "f", 2, options=SlurmOptions(python="apptainer exec --nv lm.sif python"))
    assert " apptainer exec --nv lm.sif python -P -u -m nightboard.tasks.evaluation.job_process" in cluster.script


def test_a_profile_can_say_everything_that_submitit_passes_on_and_the_tier_does_not() -> None:
    assert set(SlurmOptions.model_fields) | OWN_PARAMETERS == submitit.SlurmExecutor._valid_parameters() | {"python"}
    assert not set(SlurmOptions.model_fields) & OWN_PARAMETERS
    every = SlurmOptions(
        partition="p", account="a", qos="q", constraint="c", exclude="n1", nodelist="n2", gres="g:1", exclusive=True,
        cpus_per_gpu=1, gpus_per_task=1, mem_per_gpu="1G", mem_per_cpu="1G", dependency="d", comment="m",
        mail_type="END", mail_user="u", wckey="w", setup=("s",), teardown=("t",), srun_args=("x",), use_srun=True,
        signal_delay_s=30, additional_parameters={"nice": 1}, python="py",
    )  # fmt: skip
    assert set(every.model_dump(exclude_none=True)) == set(SlurmOptions.model_fields)
    given = make_parameters("n", make_resources(gpus=1, cpus=1, mem_gb=1, options=every), 1, {})
    assert set(given) == submitit.SlurmExecutor._valid_parameters() - {"num_gpus"}


@pytest.mark.parametrize(
    ("declared", "time_min", "given"),
    [
        (None, 600, 90),
        (None, 1, 15),
        (300, 600, 300),
        (300, 4, 60),
        (3000, 60, 660),
        (3000, 20, 300),
        (3000, 600, 3000),
    ],
)
def test_a_job_is_told_to_stop_late_enough_for_submitit_to_know_that_its_time_is_up(
    declared: int | None, time_min: int, given: int
) -> None:
    options = SlurmOptions(signal_delay_s=declared)
    assert make_parameters("n", make_resources(time_min=time_min, options=options), 1, {})["signal_delay_s"] == given
    told_s = time_min * 60 - given - 60  # SLURM may be a minute early
    assert told_s >= min(time_min * 60 * 0.8, time_min * 60 - 600), "submitit's own rule for a timeout"


@pytest.mark.parametrize(
    ("declared", "flags"),
    [
        ({}, {"requeue": True}),
        ({"requeue": False}, {"no-requeue": True}),
        ({"no_requeue": True}, {"no-requeue": True}),
        ({"no-requeue": False}, {}),
    ],
)
def test_jobs_come_back_after_a_node_failed_unless_the_profile_forbids_it(
    declared: dict[str, bool], flags: dict[str, bool]
) -> None:
    options = SlurmOptions.model_validate({"additional_parameters": declared})
    assert make_parameters("n", make_resources(options=options), 1, {})["additional_parameters"] == flags


def test_what_sbatch_refuses_is_said_in_its_own_words_in_one_line(cluster: FakeSlurm, tmp_path: Path) -> None:
    words = (
        "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid name\n"
    )
    cluster.answer("sbatch", err=words, code=1)
    with pytest.raises(ExecutorError) as caught:
        submit(tmp_path / "f")
    assert not isinstance(caught.value, ClusterAway)
    assert str(caught.value) == ("sbatch: invalid partition specified: nope; Batch job submission failed: Invalid name")
    assert len(cluster.calls("sbatch")) == 1


@pytest.mark.parametrize("missing", ["srun", "sbatch"])
def test_a_machine_without_slurm_is_told_so(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv("PATH", str(cluster.folder))
    (cluster.folder / missing).unlink()
    with pytest.raises(ExecutorError, match=f"{missing} is not on this machine. Run nightboard on a login node"):
        submit(tmp_path / "f")


@pytest.mark.parametrize(
    "words",
    [
        AWAY,
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
        "sbatch: error: Connection refused",
    ],
)
@pytest.mark.usefixtures("patient")
def test_a_cluster_that_is_away_is_asked_again(cluster: FakeSlurm, tmp_path: Path, words: str) -> None:
    cluster.answer("sbatch", err=words, code=1)
    cluster.answer("sbatch", "Submitted batch job 7\n")
    cluster.answer("squeue", err="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    cluster.answer("squeue")
    cluster.answer("sacct")
    assert submit(tmp_path / "f") == ["7_0", "7_1", "7_2"]
    assert len(cluster.calls("sbatch")) == 2
    assert len(list((tmp_path / "f").glob("*.pkl"))) == 3, "the first try has left nothing"


@pytest.mark.usefixtures("patient")
def test_an_array_that_was_accepted_although_the_answer_was_lost_is_not_submitted_twice(
    cluster: FakeSlurm, tmp_path: Path
) -> None:
    cluster.answer("sbatch", err=AWAY, code=1)
    cluster.answer("squeue", "41\n41\n")
    assert submit(tmp_path / "f") == ["41_0", "41_1", "41_2"]
    assert len(cluster.calls("sbatch")) == 1
    assert f"--name {NAME}" in cluster.calls("squeue")[0]
    assert [DelayedSubmission.load(tmp_path / "f" / f"41_{i}_submitted.pkl").args for i in range(3)] == [
        call.arguments for call in make_calls(3)
    ]


def test_nothing_is_submitted_again_while_nobody_knows_whether_it_was(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "RETRY_S", 0.01)
    monkeypatch.setattr(executor_module, "RETRY_FOR_S", 2.0)
    cluster.answer("sbatch", err=AWAY, code=1)
    cluster.answer("squeue")
    cluster.answer("sacct", err=DBD_AWAY, code=1)
    with pytest.raises(ClusterAway, match="Unable to contact slurm controller"):
        submit(tmp_path / "f")
    assert len(cluster.calls("sbatch")) == 1
    assert len(cluster.calls("squeue")) > 1


@pytest.mark.usefixtures("patient")
def test_an_answer_that_nobody_understands_leads_to_the_array_by_its_name(cluster: FakeSlurm, tmp_path: Path) -> None:
    cluster.answer("sbatch", "Thank you!\n")
    cluster.answer("squeue", "5\n")
    assert submit(tmp_path / "f", 1) == ["5"]


# ---------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True), ("HUGGING_FACE_HUB_TOKEN", True), ("HF_TOKEN_PATH", True), ("WANDB_API_KEY", True),
        ("AWS_SECRET_ACCESS_KEY", True), ("AWS_ACCESS_KEY_ID", True), ("PREFECT_API_AUTH_STRING", True),
        ("PGPASSWORD", True), ("SLURM_JWT", True), ("TOKENIZERS_PARALLELISM", False), ("MAX_NEW_TOKENS", False),
        ("SSH_AUTH_SOCK", False), ("PATH", False), ("KEYBOARD", False),
    ],
)  # fmt: skip
def test_variables_that_give_access_to_something_are_recognised(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_no_secret_reaches_a_job_or_a_file(cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    cluster.answer("sbatch", "Submitted batch job 9\n")
    submit(tmp_path / "f", 2)
    assert "#SBATCH --export=ALL,HF_TOKEN=,WANDB_API_KEY=" in cluster.script
    lines = cluster.script.splitlines()
    assert "unset SLURM_EXPORT_ENV HF_TOKEN WANDB_API_KEY" in lines[: lines.index("# command")]
    for path in (tmp_path / "f").iterdir():
        assert b"0123456789" not in path.read_bytes()
    assert os.environ["HF_TOKEN"] == "hf_0123456789"


def test_an_export_that_the_profile_declares_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(declared: str) -> object:
        options = SlurmOptions.model_validate({"additional_parameters": {"export": declared}})
        given = make_parameters("n", make_resources(options=options), 1, {"HF_TOKEN": "x"})
        return given["additional_parameters"]["export"]

    assert export("ALL,A=1") == "ALL,A=1,HF_TOKEN="
    assert export("NONE") == "NONE"


def test_a_flow_that_is_itself_a_job_passes_nothing_of_that_on(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_MEM_PER_CPU", "SBATCH_JOB_NAME", "SBATCH_EXPORT", "SUBMITIT_EXECUTOR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/other.conf")
    cluster.answer("sbatch", "Submitted batch job 9\n")
    submit(tmp_path / "f", 2)
    passed_on = {name for name in cluster.sbatch_environment if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}
    assert passed_on == {"SLURM_CONF"}
    assert os.environ["SLURM_ARRAY_JOB_ID"] == os.environ["SBATCH_EXPORT"] == "1"


# ---------------------------------------------------------------------------------------------------------- polling


def test_one_sacct_serves_all_submissions_by_the_ids_of_their_arrays(cluster: FakeSlurm) -> None:
    submissions = [make_submission(*(f"{n}_{i}" for i in range(40)), name=f"{NAME}{n}") for n in range(100, 150)]
    cluster.answer("sacct", "".join(accounted(f"{n}_[0-39%2]", "PENDING", name=f"{NAME}{n}") for n in range(100, 150)))
    reports = SlurmExecutor().poll([*submissions, make_submission("", "")], NOW)
    assert reports is not None
    assert len(reports) == 2000
    assert {report.state for report in reports.values()} == {"PENDING"}
    assert len(cluster.calls("sacct")) == 1
    assert cluster.calls("sacct")[0].endswith("-j " + ",".join(map(str, range(100, 150))))
    assert len(cluster.calls("squeue")) == 1, "for why they wait, which accounting does not know"


def test_without_open_jobs_nobody_is_asked(cluster: FakeSlurm) -> None:
    assert SlurmExecutor().poll([make_submission("", "")], NOW) == {}


def test_a_report_has_node_time_exit_code_and_energy(cluster: FakeSlurm) -> None:
    cluster.answer(
        "sacct", accounted("7_0", "FAILED", "3:0", 125, nodes="gpu[1-2]", energy="5000", end="2026-01-01T00:02:05")
    )
    assert poll("7_0")["7_0"] == JobReport(
        state="FAILED", is_over=True, ending="failed", reason="the job failed with exit code 3", node="gpu[1-2]",
        elapsed_s=125, exit_code="3:0", energy_j=5000,
        started_at=datetime(2026, 1, 1, tzinfo=UTC), ended_at=datetime(2026, 1, 1, 0, 2, 5, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize("energy", ["", "0", "18446744073709551614", "4294967294"])
def test_energy_that_nobody_measured_is_not_reported(cluster: FakeSlurm, energy: str) -> None:
    cluster.answer("sacct", accounted("7", "COMPLETED", energy=energy))
    assert poll("7")["7"].energy_j is None


UNDER_WAY = (
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "STOPPED", "SIGNALING",
    "STAGE_OUT", "COMPLETING", "SPECIAL_EXIT", "REQUEUE_FED", "RESV_DEL_HOLD",
)  # fmt: skip
ENDINGS = {
    "COMPLETED": (None, "the job ended without an outcome"),
    "FAILED": ("failed", "the job failed with exit code 3"),
    "TIMEOUT": ("timeout", "the time limit of 60 min was reached"),
    "DEADLINE": ("deadline", "the job's deadline has passed"),
    "PREEMPTED": ("preempted", "the job was preempted by one of higher priority"),
    "NODE_FAIL": ("node_fail", "the node failed (gpu1)"),
    "BOOT_FAIL": ("boot_fail", "the node did not boot (gpu1)"),
    "OUT_OF_MEMORY": ("out_of_memory", "out of host memory: the job used more than it was given (gpu1)"),
    "CANCELLED by 0": ("cancelled", "cancelled by uid 0"),
    "CANCELLED": ("cancelled", "cancelled by another user"),
    "CANCELLED+": ("cancelled", "cancelled by another user"),
    "REVOKED": ("revoked", "another cluster of the federation has taken the job"),
}


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_job_in_this_state_is_under_way(cluster: FakeSlurm, state: str) -> None:
    cluster.answer("sacct", accounted("7", state))
    report = poll("7", after=timedelta(days=3))["7"]
    assert (report.state, report.is_over, report.ending) == (state, False, None)
    assert report.ended_at is None


@pytest.mark.parametrize("state", ENDINGS)
def test_a_job_in_this_state_is_over(cluster: FakeSlurm, state: str) -> None:
    cluster.answer("sacct", accounted("7", state, "3:0", 100))
    cluster.answer("squeue")
    report = poll("7")["7"]
    assert report.is_over is True
    assert (report.ending, report.reason) == ENDINGS[state]


def test_every_state_is_handled() -> None:
    assert {state.partition(" ")[0].rstrip("+") for state in ENDINGS} | set(UNDER_WAY) == set(STATES)


def test_a_word_that_nobody_knows_counts_as_under_way(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", accounted("7", "DREAMING"))
    report = poll("7")["7"]
    assert (report.state, report.is_over) == ("DREAMING", False)
    assert "DREAMING, which is not known here" in str(report.reason)


@pytest.mark.parametrize(
    ("exit_code", "ending"),
    [("9:0", "interrupted"), ("0:9", "interrupted"), ("137:0", "interrupted"), ("143:0", "interrupted"),
     ("140:0", "timeout"), ("1:0", "failed"), ("139:0", "failed"), ("255:0", "failed"), ("", "failed")],
)  # fmt: skip
def test_a_job_whose_process_was_killed_did_not_fail_by_itself(cluster: FakeSlurm, exit_code: str, ending: str) -> None:
    cluster.answer("sacct", accounted("7", "FAILED", exit_code))
    assert poll("7")["7"].ending == ending


@pytest.mark.parametrize(
    ("text", "job_ids"),
    [
        ("7", ["7"]),
        ("7_3", ["7_3"]),
        ("7_[4-6%2]", ["7_4", "7_5", "7_6"]),
        ("7_[1,3]", ["7_1", "7_3"]),
        ("7_[0-6:3,9]", ["7_0", "7_3", "7_6", "7_9"]),
        ("7_[1,3,5,12...%2]", ["7_1", "7_3", "7_5"]),
        ("7_[1,3,5...", ["7_1", "7_3"]),
        ("7_[5-5]", ["7_5"]),
        ("7_[1,,x]", []),
        ("7_[3-]", []),
        ("7.batch", []),
        ("7+0", []),
        ("", []),
    ],
)
def test_ids_of_waiting_arrays_are_ranges(text: str, job_ids: Sequence[str]) -> None:
    assert expand_job_id(text) == job_ids


def test_a_range_that_slurm_cut_stands_for_all_that_no_other_line_names(cluster: FakeSlurm) -> None:
    lines = accounted("7_0", "RUNNING") + accounted("7_[1,3,5...%2]", "PENDING") + accounted("7_2", "COMPLETED")
    cluster.answer("sacct", lines)
    reports = poll(*(f"7_{i}" for i in range(8)))
    assert [report.state[0] for report in reports.values()] == ["R", "P", "C", "P", "P", "P", "P", "P"]


def test_odd_lines_and_other_peoples_jobs_are_left_out(cluster: FakeSlurm) -> None:
    lines = ["", "sacct: welcome", "7_0|RUNNING", accounted("7_0", "FAILED", name="somebody|else's"), "|||||||||"]
    cluster.answer("sacct", "\n".join(lines) + "\n" + accounted("7_1", "RUNNING"))
    reports = poll("7_0", "7_1")
    assert reports["7_0"] == JobReport("UNKNOWN", is_over=False)
    assert reports["7_1"].state == "RUNNING"


def test_a_job_that_accounting_has_not_heard_of_yet_is_believed_in(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", accounted("7_0", "RUNNING"))
    assert poll("7_0", "7_1", after=timedelta(seconds=10))["7_1"] == JobReport("UNKNOWN", is_over=False)
    assert not cluster.calls("squeue")
    cluster.answer("squeue", queued("7", "2", "CANCELLED"))
    reports = poll("7_0", "7_1", "7_2", after=timedelta(seconds=100))
    assert [report.is_over for report in reports.values()] == [False, False, True]
    assert reports["7_2"].ending == "cancelled", "accounting never hears of some"


def test_a_job_that_accounting_never_heard_of_is_asked_of_the_queue(cluster: FakeSlurm) -> None:
    cluster.answer("sacct")
    cluster.answer("squeue", queued("7", "0", "RUNNING") + queued("7", "1", "PENDING", ""))
    reports = poll("7_0", "7_1", "8_0", "9", after=timedelta(minutes=3))
    assert [report.state for report in reports.values()] == ["RUNNING", "PENDING", "UNKNOWN", "UNKNOWN"]
    for lost in (reports["8_0"], reports["9"]):
        assert (lost.is_over, lost.ending) == (True, "interrupted")
        assert lost.reason == "neither sacct nor squeue knows the job"
    assert (reports["7_0"].elapsed_s, reports["7_1"].node) == (60, None)
    assert len(cluster.calls("squeue")) == 1


def test_a_task_without_a_trace_in_a_known_array_was_cancelled_before_its_turn(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", accounted("7_0", "RUNNING"))
    cluster.answer("squeue", queued("7", "0", "RUNNING"))
    report = poll("7_0", "7_1", after=timedelta(minutes=3))["7_1"]
    assert (report.is_over, report.ending) == (True, "cancelled")
    assert "cancelled while it waited" in str(report.reason)


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "CANCELLED by 0", "REVOKED"])
def test_a_job_that_slurm_still_ends_or_starts_again_is_not_over(cluster: FakeSlurm, state: str) -> None:
    cluster.answer("sacct", accounted("7", state))
    cluster.answer("squeue", queued("7", "N/A", "COMPLETING"))
    cluster.answer("squeue", queued("7", "N/A", "PENDING"))
    cluster.answer("squeue", queued("7", "N/A", state.partition(" ")[0]))
    executor, submission = SlurmExecutor(), make_submission("7")
    seen = [executor.poll([submission], NOW) for _ in range(3)]
    assert [reports["7"].is_over for reports in seen if reports] == [False, False, True]


def test_a_job_that_runs_far_beyond_its_limit_only_in_the_accounts_is_over(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", accounted("7", "RUNNING", elapsed=3600 + 500) + accounted("8", "RUNNING", elapsed=9999999))
    cluster.answer("squeue")
    reports = poll("7", "8")
    assert [report.is_over for report in reports.values()] == [False, True]
    assert reports["8"].reason == "squeue does not know the job any more"


@pytest.mark.parametrize("answer", [{"err": DBD_AWAY, "code": 1}, {"err": DBD_AWAY, "code": 0}, {"hang_s": 5}])
def test_accounting_that_does_not_answer_is_waited_for(
    cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(slurm_module, "COMMAND_TIMEOUT_S", 0.5)
    cluster.answer("sacct", **answer)
    assert SlurmExecutor().poll([make_submission("7")], NOW) is None


def test_a_queue_that_does_not_answer_is_waited_for(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", accounted("7", "NODE_FAIL"))
    cluster.answer("squeue", err="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    assert SlurmExecutor().poll([make_submission("7")], NOW) is None


def test_a_cluster_without_accounts_is_asked_for_its_queue(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", err="Slurm accounting storage is disabled\n", code=1)
    cluster.answer("squeue", queued("7", "0", "RUNNING") + queued("7", "1", "TIMEOUT"))
    executor = SlurmExecutor()
    for _ in range(2):
        reports = executor.poll([make_submission("7_0", "7_1")], NOW)
        assert reports is not None
        assert [report.ending for report in reports.values()] == [None, "timeout"]
        assert reports["7_1"].reason == "the time limit of 60 min was reached"
    assert len(cluster.calls("sacct")) == 1
    assert len(cluster.calls("squeue")) == 2


def test_output_is_read_the_same_whatever_the_shells_settings(
    cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    (cluster.folder / "sacct").write_text("#!/bin/sh\nenv > " + str(cluster.folder / "sacct.env"))
    SlurmExecutor().poll([make_submission("7")], NOW)
    lines = (cluster.folder / "sacct.env").read_text().splitlines()
    assert {"TZ=UTC", "SLURM_TIME_FORMAT=standard", "SLURM_BITSTR_LEN=0"} <= set(lines)
    assert not [line for line in lines if line.startswith("SQUEUE_")]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("slurmstepd-gpu1: error: StepId=53.0 exceeded memory limit (281697280 > 214958080), being killed", True),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=53.0. Some tasks have been OOM Killed.", True),
        ("srun: error: gpu1: task 0: Out Of Memory", True),
        ("torch.OutOfMemoryError: CUDA out of memory", False),
        ("srun: error: gpu1: task 0: Killed", False),
    ],
)  # fmt: skip
def test_a_kill_for_lack_of_memory_is_seen_in_the_jobs_output(line: str, told: bool) -> None:
    assert has_run_out_of_memory(["first", line, "srun: error: gpu1: task 0: Killed"]) is told


# ---------------------------------------------------------------------------------------------------------- finding


def leave_half_done(folder: Path, calls: Sequence[Call]) -> None:
    """What submitit leaves when it is killed between sbatch and renaming."""
    folder.mkdir()
    for number, call in enumerate(calls):
        submission = DelayedSubmission(call.function, *call.arguments)
        submission.set_timeout(60, 3)
        submission.dump(folder / f"{7 - number:032x}.pkl")


@pytest.mark.parametrize("count", [1, 3])
def test_an_array_is_found_by_its_name_and_its_pickles_are_put_right(
    cluster: FakeSlurm, tmp_path: Path, count: int
) -> None:
    calls = make_calls(count)
    leave_half_done(tmp_path / "f", calls)
    cluster.answer("squeue", "41\n" * count)
    job_ids = ["41"] if count == 1 else ["41_0", "41_1", "41_2"]
    for _ in range(2):
        found = SlurmExecutor().find(tmp_path / "f", NAME, calls)
        assert found is not None
        assert [each.job_id for each in found] == job_ids
        for job_id, call in zip(job_ids, calls, strict=True):
            submission = DelayedSubmission.load(tmp_path / "f" / f"{job_id}_submitted.pkl")
            assert (submission.args, submission._timeout_min) == (call.arguments, 60)


def test_pickles_that_submitit_had_renamed_are_left_alone(cluster: FakeSlurm, tmp_path: Path) -> None:
    calls = make_calls(3)
    leave_half_done(tmp_path / "f", calls)
    (tmp_path / "f" / f"{7:032x}.pkl").rename(tmp_path / "f" / "41_0_submitted.pkl")
    before = (tmp_path / "f" / "41_0_submitted.pkl").stat()
    cluster.answer("squeue", "41\n")
    assert SlurmExecutor().find(tmp_path / "f", NAME, calls)
    assert (tmp_path / "f" / "41_0_submitted.pkl").stat() == before
    assert (tmp_path / "f" / "41_2_submitted.pkl").exists()


def test_an_array_that_has_ended_is_found_in_the_accounts(cluster: FakeSlurm, tmp_path: Path) -> None:
    calls = make_calls(2)
    leave_half_done(tmp_path / "f", calls)
    cluster.answer("squeue")
    cluster.answer("sacct", "41_0\n41_1\n")
    found = SlurmExecutor().find(tmp_path / "f", NAME, calls)
    assert found is not None
    assert [each.job_id for each in found] == ["41_0", "41_1"]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert f"-S {yesterday:%Y-%m-%d}" in cluster.calls("sacct")[0], "sacct by itself looks at today only"


def test_an_array_that_nobody_knows_was_never_submitted(cluster: FakeSlurm, tmp_path: Path) -> None:
    leave_half_done(tmp_path / "f", make_calls(2))
    cluster.answer("squeue")
    cluster.answer("sacct")
    assert SlurmExecutor().find(tmp_path / "f", NAME, make_calls(2)) is None
    assert SlurmExecutor().find(tmp_path / "none", NAME, make_calls(2)) is None


@pytest.mark.parametrize("away", ["squeue", "sacct"])
def test_a_cluster_that_is_away_knows_neither_yes_nor_no(cluster: FakeSlurm, tmp_path: Path, away: str) -> None:
    leave_half_done(tmp_path / "f", make_calls(2))
    for name in ("squeue", "sacct"):
        cluster.answer(name, err=DBD_AWAY if name == away else "", code=int(name == away))
    with pytest.raises(ClusterAway):
        SlurmExecutor().find(tmp_path / "f", NAME, make_calls(2))


# ------------------------------------------------------------------------------------------------ cancel and throttle


def test_jobs_are_cancelled_with_one_call_and_those_that_ended_are_left_alone(cluster: FakeSlurm) -> None:
    cluster.answer("scancel")
    cluster.answer("scancel", err="scancel: error: Kill job error on job id 7: Invalid job id specified", code=1)
    submission = make_submission("7_0", "7_1", "", "7_3")
    SlurmExecutor().cancel(submission, [0, 2, 3])
    SlurmExecutor().cancel(submission, [1])
    SlurmExecutor().cancel(submission, [2])
    assert cluster.calls("scancel") == ["7_0 7_3", "7_1"]


def test_a_cancel_that_the_cluster_refuses_is_said(cluster: FakeSlurm) -> None:
    cluster.answer("scancel", err="scancel: error: Kill job error on job id 7: Access/permission denied", code=1)
    cluster.answer("scancel", err="scancel: error: Unable to contact slurm controller", code=1)
    with pytest.raises(ExecutorError, match="permission denied"):
        SlurmExecutor().cancel(make_submission("7"), [0])
    with pytest.raises(ClusterAway):
        SlurmExecutor().cancel(make_submission("7"), [0])


def test_the_throttle_is_the_arrays_and_a_single_job_has_none(cluster: FakeSlurm) -> None:
    cluster.answer("scontrol")
    cluster.answer("scontrol", err="7_0: Job has already finished\n7_1-59: No error\n", code=1)
    SlurmExecutor().set_parallelism(["7_0", "7_1", "9"], 4)
    SlurmExecutor().set_parallelism(["7_0"], 0)
    assert cluster.calls("scontrol") == ["update JobId=7 ArrayTaskThrottle=4", "update JobId=7 ArrayTaskThrottle=1"]


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("MaxArraySize            = 1001\nMaxJobCount = 10000\n", 1001),
        ("MaxArraySize = 1001\nSchedulerParameters = bf_continue,max_array_tasks=200\n", 200),
        ("MaxArraySize = 0\n", 1),
        ("something = else\n", None),
    ],
)
def test_the_size_of_an_array_is_the_clusters_and_asked_once(cluster: FakeSlurm, config: str, size: int | None) -> None:
    cluster.answer("scontrol", config)
    executor = SlurmExecutor()
    assert (executor.max_array_size(), executor.max_array_size()) == (size, size)
    assert size is None or len(cluster.calls("scontrol")) == 1


# ------------------------------------------------------------------------------------------------------ local and dry


def test_an_executor_is_opened_by_its_name() -> None:
    for name in ("local", "slurm", "dry"):
        assert open_executor(name).name == name


def test_a_local_job_lives_as_long_as_its_controller() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    here = process_of(child.pid)
    assert here
    elsewhere = here.model_copy(update={"host": "elsewhere"})
    submission = make_submission("1", "2", "3", "", processes=(here, elsewhere, None, None))
    reports = LocalExecutor().poll([submission], NOW)
    assert [(report.state, report.is_over) for report in reports.values()] == [
        ("RUNNING", False), ("UNKNOWN", None), ("UNKNOWN", True),
    ]  # fmt: skip
    child.kill()
    child.wait()
    report = LocalExecutor().poll([submission], NOW)["1"]
    assert (report.is_over, report.ending) == (True, "interrupted")


def test_a_local_job_is_not_taken_for_dead_because_another_bore_its_number() -> None:
    dead = current_process().model_copy(update={"started_ticks": 1})
    both = [make_submission("5", processes=(each,)) for each in (dead, current_process())]
    for submissions in (both, both[::-1]):
        assert LocalExecutor().poll(submissions, NOW)["5"].is_over is False


def test_a_dry_executor_writes_calls_and_starts_nothing(tmp_path: Path) -> None:
    executor = DryExecutor()
    started = executor.submit(tmp_path, NAME, make_calls(2), make_resources(), None)
    assert len(list(tmp_path.glob("*.pkl"))) == 2
    reports = executor.poll([make_submission(*(each.job_id for each in started))], NOW)
    assert [report.is_over for report in reports.values()] == [True, True]


def spawn_and_sleep(folder: str) -> None:
    """A job that starts a process of its own, as an engine of a model does."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"], start_new_session=True)
    (Path(folder) / "pids.tmp").write_text(f"{os.getpid()} {child.pid}")
    (Path(folder) / "pids.tmp").rename(Path(folder) / "pids")
    child.wait()


@pytest.mark.real
@pytest.mark.parametrize("is_controller_gone", [False, True])
def test_cancelling_a_local_job_kills_all_that_it_started_and_nothing_else(
    tmp_path: Path, is_controller_gone: bool
) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    executor = LocalExecutor()
    folders = [tmp_path / NAME / str(number) for number in range(2)]
    submissions, processes = [], []
    for folder in folders:
        folder.mkdir(parents=True)
        (started,) = executor.submit(folder, NAME, [Call(spawn_and_sleep, (str(folder),))], make_resources(), None)
        submissions.append(make_submission(started.job_id, processes=(started.process,)))
    for folder, submission in zip(folders, submissions, strict=True):
        processes.append([submission.processes[0], *wait_for_processes(folder / "pids")])
    controller = processes[0][0]
    assert controller
    if is_controller_gone:
        os.kill(controller.pid, signal.SIGKILL)
        while is_alive(controller):
            time.sleep(0.01)
        # Its number may have been another launch's before.
        executor.cancel(submissions[0].model_copy(update={"launch_id": "another"}), [0])
        assert [each and is_alive(each) for each in processes[0]] == [False, True, True]
    executor.cancel(submissions[0], [0])
    assert [each and is_alive(each) for each in processes[0]] == [False] * 3
    assert [each and is_alive(each) for each in processes[1]] == [True] * 3
    executor.cancel(submissions[1], [0])
    executor.cancel(submissions[1], [0])
    assert [each and is_alive(each) for each in processes[1]] == [False] * 3
    executor.poll(submissions, NOW)


def wait_for_processes(path: Path) -> list[ProcessId | None]:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < deadline, "the job did not begin"
        time.sleep(0.05)
    return [process_of(int(pid)) for pid in path.read_text().split()]


def test_a_machine_without_sacct_cannot_poll(cluster: FakeSlurm) -> None:
    (cluster.folder / "sacct").unlink()
    os.environ["PATH"] = str(cluster.folder)
    with pytest.raises(ExecutorError, match="sacct is not on this machine"):
        SlurmExecutor().poll([make_submission("7")], NOW)


# ---------------------------------------------------------------------------------------------------- why jobs wait


@pytest.mark.parametrize(
    ("why", "words", "is_lasting"),
    [
        ("Resources", "waits for nodes to become free (Resources)", False),
        ("Priority", "jobs of higher priority come first (Priority)", False),
        ("JobHeldUser", "is held by a user (JobHeldUser)", True),
        ("JobHeldAdmin", "is held by an administrator (JobHeldAdmin)", True),
        ("launch failed requeued held", "could not be started on its node, and is held", True),
        ("ReqNodeNotAvail, UnavailableNodes:gpu1", "are down, drained or reserved (ReqNodeNotAvail, Unavail", True),
        ("PartitionDown", "its partition is down (PartitionDown)", True),
        ("BadConstraints", "no node has what it asks for (BadConstraints)", True),
        ("DependencyNeverSatisfied", "has failed (DependencyNeverSatisfied)", True),
        ("Dependency", "waits for another job to end (Dependency)", False),
        ("QOSMaxJobsPerUserLimit", "a limit of its account, user or qos is reached (QOSMaxJobs", False),
        ("QOSMaxWallDurationPerJobLimit", "a limit of its account, user or qos is reached", True),
        ("AssocGrpCPUMinutesLimit", "a limit of its account, user or qos is reached", True),
        ("AssocGrpGRES", "a limit of its account, user or qos is reached (AssocGrpGRES)", False),
        ("SomethingNew", "SLURM's reason: SomethingNew", False),
    ],
)
def test_why_a_job_waits_is_told_with_what_to_do_where_it_would_wait_for_ever(
    cluster: FakeSlurm, why: str, words: str, is_lasting: bool
) -> None:
    cluster.answer("sacct", accounted("7", "PENDING"))
    cluster.answer("squeue", queued("7", "N/A", "PENDING", why=why))
    report = poll("7")["7"]
    assert (report.state, report.waits_for, bool(report.advice)) == ("PENDING", why, is_lasting)
    assert words in str(report.reason)


def test_a_queue_that_does_not_say_why_jobs_wait_hides_nothing(cluster: FakeSlurm) -> None:
    cluster.answer("sacct", accounted("7", "PENDING"))
    cluster.answer("squeue", err="squeue: error: Unable to contact slurm controller", code=1)
    report = poll("7")["7"]
    assert (report.state, report.reason, report.waits_for) == ("PENDING", "waits for its turn", None)


def test_nodes_are_left_out_by_what_waits_of_an_array(cluster: FakeSlurm) -> None:
    cluster.answer("scontrol")
    SlurmExecutor().exclude_nodes(["7_0", "7_1", "9"], "gpu1,gpu2")
    assert cluster.calls("scontrol") == ["update JobId=7 ExcNodeList=gpu1,gpu2", "update JobId=9 ExcNodeList=gpu1,gpu2"]
