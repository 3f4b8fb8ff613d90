"""The cluster is a real SLURM: its jobs end, and its daemons and nodes fail, in all ways that have to be told apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import submitit
from slurm import cluster as script
from slurm.cluster import Cluster, ClusterError, wait_until

Sbatch = Callable[..., str]


@pytest.fixture
def sbatch(cluster: Cluster, tmp_path: Path) -> Sbatch:
    """Submit a shell command and get the job's id; what it prints comes to tmp_path/<id>.out."""

    def submit(command: str, *options: str) -> str:
        own = ("--job-name=test-cluster", f"--output={tmp_path}/%j.out")
        return cluster.must("sbatch", "--parsable", "--mem=200", *own, *options, "--wrap", command).strip()

    return submit


@pytest.fixture(scope="module", autouse=True)
def job_of_one_minute(cluster: Cluster) -> Iterator[str]:
    """A job that reaches its time limit while the other tests run: SLURM's limits are whole minutes."""
    options = ("--mem=10", "--time=1", "--output=/dev/null", "--job-name=test-of-one-minute")
    job = cluster.must("sbatch", "--parsable", *options, "--wrap", "sleep 300").strip()
    yield job
    cluster.run("scancel", job)


def sacct(cluster: Cluster, job: str, field: str = "State") -> list[str]:
    """One line a job or array task."""
    return cluster.must("sacct", "-X", "-P", "-n", "-j", job, "-o", field).splitlines()


def wait_for(cluster: Cluster, job: str, state: str, timeout_s: float = 300, tasks: int = 1) -> None:
    def is_there() -> bool:
        found = sacct(cluster, job)
        # For a moment accounting knows some tasks of an array only.
        return len(found) == tasks and all(each.startswith(state) for each in found)

    wait_until(f"{state} of job {job}", is_there, timeout_s, lambda: str(sacct(cluster, job, "JobID,State,Reason")))


def queue_state(cluster: Cluster, job: str) -> str:
    return cluster.must("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()


def wait_until_running(cluster: Cluster, *jobs: str) -> None:
    for job in jobs:
        wait_until(f"start of job {job}", lambda job=job: queue_state(cluster, job) == "RUNNING", 300)


# ------------------------------------------------------------------------------------------------------ ways to end


def test_an_array_of_submitit_gets_a_gpu_a_task_and_is_accounted(cluster: Cluster, tmp_path: Path) -> None:
    executor = submitit.SlurmExecutor(tmp_path, max_num_timeout=0)
    executor.update_parameters(job_name="test-gpus", gpus_per_node=1, mem="500M", time=5, cpus_per_task=1)
    jobs = executor.map_array(os.getenv, ["CUDA_VISIBLE_DEVICES"] * cluster.shape.gpus)
    assert {job.result() for job in jobs} <= {str(number) for number in range(cluster.shape.gpus)}
    array = jobs[0].job_id.partition("_")[0]
    wait_for(cluster, array, "COMPLETED", tasks=cluster.shape.gpus)
    rows = [row.split("|") for row in sacct(cluster, array, "NodeList,AllocTRES")]
    assert all(node in cluster.node_names and "gres/gpu=1" in tres for node, tres in rows)


def test_a_job_waits_until_gpus_are_free(cluster: Cluster, sbatch: Sbatch) -> None:
    tasks = cluster.shape.nodes + 1
    array = sbatch("sleep 4", f"--array=1-{tasks}", f"--gres=gpu:{cluster.shape.gpus}")
    seen: list[tuple[int, int]] = []

    def is_over() -> bool:
        lines = [line for line in cluster.squeue() if line.startswith(f"{array}_")]
        seen.append((sum(" RUNNING " in line for line in lines), sum(" PENDING " in line for line in lines)))
        return not lines

    wait_until("the end of the array", is_over, 300)
    assert max(running for running, _ in seen) <= cluster.shape.nodes
    assert any(running and waiting for running, waiting in seen)
    wait_for(cluster, array, "COMPLETED", tasks=tasks)


def test_a_job_over_its_memory_ends_as_such(cluster: Cluster, sbatch: Sbatch) -> None:
    job = sbatch("python3 -c 'import time; x = b\"x\" * 600_000_000; time.sleep(60)'")
    wait_for(cluster, job, "OUT_OF_MEMORY" if cluster.shape.has_cgroups else "FAILED")
    assert sacct(cluster, job, "ExitCode") == ["0:125" if cluster.shape.has_cgroups else "0:9"]


def test_a_cancelled_job_names_who_did_it(cluster: Cluster, sbatch: Sbatch) -> None:
    job = sbatch("sleep 300")
    wait_until_running(cluster, job)
    cluster.must("scancel", job)
    wait_for(cluster, job, "CANCELLED by 0")


def test_an_array_larger_than_the_cluster_allows_is_refused(cluster: Cluster, sbatch: Sbatch) -> None:
    with pytest.raises(ClusterError, match="Invalid job array specification"):
        sbatch("true", f"--array=0-{cluster.shape.max_array_size}")


# -------------------------------------------------------------------------------------------------- ways to go on


def test_a_node_that_goes_down_ends_a_job_or_puts_it_back(cluster: Cluster, sbatch: Sbatch) -> None:
    node = cluster.node_names[-1]
    lost = sbatch("sleep 300", "--no-requeue", f"--nodelist={node}")
    back = sbatch("[ $SLURM_RESTART_COUNT ] || sleep 300", "--requeue", f"--nodelist={node}")
    wait_until_running(cluster, lost, back)
    cluster.node_down(node)
    wait_for(cluster, lost, "NODE_FAIL")
    assert queue_state(cluster, back) == "PENDING"
    cluster.node_up(node)
    start_soon(cluster, back)
    wait_for(cluster, back, "COMPLETED")
    assert sacct(cluster, lost) == ["NODE_FAIL"]


def test_a_requeued_job_runs_again_under_its_id(cluster: Cluster, sbatch: Sbatch) -> None:
    job = sbatch("[ $SLURM_RESTART_COUNT ] || sleep 300")
    wait_until_running(cluster, job)
    cluster.must("scontrol", "requeue", job)
    start_soon(cluster, job)
    wait_for(cluster, job, "COMPLETED")
    assert list_lives(cluster, job) == ["REQUEUED", "COMPLETED"]


def test_an_urgent_job_puts_another_one_back(cluster: Cluster, sbatch: Sbatch) -> None:
    whole_node = (f"--gres=gpu:{cluster.shape.gpus}", f"--nodelist={cluster.node_names[0]}")
    job = sbatch("[ $SLURM_RESTART_COUNT ] || sleep 300", *whole_node)
    wait_until_running(cluster, job)
    urgent = sbatch("true", "--partition=urgent", *whole_node)
    wait_for(cluster, urgent, "COMPLETED")
    start_soon(cluster, job)
    wait_for(cluster, job, "COMPLETED")
    assert list_lives(cluster, job) == ["PREEMPTED", "COMPLETED"]


def list_lives(cluster: Cluster, job: str) -> list[str]:
    """The state that each run of a job ended in."""
    return cluster.must("sacct", "-X", "-P", "-n", "-D", "-j", job, "-o", "State").split()


def start_soon(cluster: Cluster, job: str) -> None:
    """SLURM lets a job that it put back wait for two minutes; in the second in which it did, the node refuses it."""
    wait_until(f"job {job} in the queue again", lambda: queue_state(cluster, job) == "PENDING", 120)
    cluster.must("scontrol", "update", f"JobId={job}", "StartTime=now+2")


# ------------------------------------------------------------------------------------------------ daemons that stop


def test_jobs_outlive_a_restart_of_slurmctld(cluster: Cluster, sbatch: Sbatch) -> None:
    job = sbatch("sleep 5; echo done")
    wait_until_running(cluster, job)
    wait_for(cluster, job, "RUNNING")
    cluster.stop("slurmctld")
    # Accounting answers without it; what asks slurmctld would wait for nine seconds.
    assert sacct(cluster, job) == ["RUNNING"]
    cluster.start("slurmctld")
    wait_for(cluster, job, "COMPLETED")


def test_sacct_fails_without_slurmdbd_and_learns_later_what_happened_meanwhile(
    cluster: Cluster, sbatch: Sbatch
) -> None:
    cluster.stop("slurmdbd")
    job = sbatch("true")
    away = cluster.run("sacct", "-X", "-j", job)
    assert away.returncode == 1 and "Connection refused" in away.stderr
    wait_until("the job's end", lambda: queue_state(cluster, job) == "COMPLETED", 120)
    cluster.start("slurmdbd")
    wait_for(cluster, job, "COMPLETED")


def test_a_job_outlives_the_slurmd_of_its_node(cluster: Cluster, sbatch: Sbatch) -> None:
    node = cluster.node_names[-1]
    job = sbatch("sleep 3", f"--nodelist={node}")
    wait_until_running(cluster, job)
    cluster.stop(node)
    cluster.start(node)
    wait_for(cluster, job, "COMPLETED")


# ------------------------------------------------------------------------------------------------------- the script


def test_up_on_a_cluster_that_is_up_changes_nothing_and_another_shape_is_refused(cluster: Cluster) -> None:
    before = {name: cluster._pid(name) for name in (*script.SERVICES, *cluster.node_names)}
    cluster.up(cluster.shape)
    assert {name: cluster._pid(name) for name in before} == before
    with pytest.raises(ClusterError, match="Take it down first"):
        cluster.up(replace(cluster.shape, nodes=cluster.shape.nodes + 1))


def test_a_cluster_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    foreign = tmp_path / "etc" / "slurm.conf"
    foreign.write_text("ClusterName=theirs\n")
    monkeypatch.setenv("SLURM_CONF", str(foreign))
    assert Cluster.find() is None
    with pytest.raises(ClusterError, match="holds something else"):
        Cluster(tmp_path).up(script.Shape())
    assert Cluster(tmp_path).down() is False
    assert foreign.exists()


def test_a_machine_that_cannot_run_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="apt-get install -y --no-install-recommends slurm-wlm slurmdbd"):
        script.check_machine(str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="needs root"):
        script.check_machine(str(tmp_path))


# Last: the job has had its minute by now.
def test_a_job_over_its_time_ends_as_such(cluster: Cluster, job_of_one_minute: str) -> None:
    wait_for(cluster, job_of_one_minute, "TIMEOUT", 400)
