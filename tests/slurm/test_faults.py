"""Whole nights on a real SLURM, with everything that a cluster does to them: each evaluation is done exactly once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from once import make_once
from slurm.cluster import Cluster, own_jobs, wait_until
from slurm.counted import NODE_CODE
from world import World, make_models, open_world

from nightboard.flows.demo.scenes import write_punkt

CLUSTER = """
cluster: quick
executor: slurm
max_jobs: 4
max_gpus: 4
poll_interval_s: 1
slurm:
  setup: ["export PYTHONPATH={code} COUNTED={folder}", "{setup}"]
  signal_delay_s: 5
  python: {python}
tiers:
  - {{name: cpu, up_to_params_b: 1, gpus: 1, cpus: 1, mem_gb: 2, time_min: {time_min}, device: cpu, batch_size: 8}}
retries: {retries}
"""
# Calls of lab/strong's evaluation when nothing goes wrong; counted once, below.
ALONE: dict[str, int] = {}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_once(tmp_path_factory, "models", make_models)


@dataclass
class Site:
    """A world with one model on the cluster; its nodes count the calls of the model."""

    world: World
    cluster: Cluster
    folder: Path

    def declare(self, time_min: int = 10, retries: str = "{}", setup: str = "true", python: str = "null") -> None:
        values = {"time_min": time_min, "retries": retries, "setup": setup, "python": python}
        text = CLUSTER.format(code=self.folder / "code", folder=self.folder, **values)
        (self.folder / "clusters/quick.yaml").write_text(text)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def slow_down(self, seconds: float) -> None:
        (self.folder / "slow").write_text(str(seconds))

    def hold_at(self, count: int) -> None:
        """From its so many-th call on, the model waits until `speed_up`."""
        (self.folder / "hold").write_text(str(count))

    def speed_up(self) -> None:
        (self.folder / "slow").unlink(missing_ok=True)
        (self.folder / "hold").unlink(missing_ok=True)

    def wait_for_calls(self, count: int) -> None:
        wait_until(f"{count} calls", lambda: len(self.calls()) >= count, 600)

    def jobs(self, state: str = "") -> list[str]:
        """Ids of this board's jobs in the queue, in one state or in any; others may have jobs there, too."""
        launches = [path.name for path in self.world.store.launches.glob("*")]
        return [line.split()[0] for line in own_jobs(self.cluster.squeue(), launches) if state in line.split()[1]]

    def job(self) -> str:
        (job,) = self.jobs("RUNNING")
        return job

    def node(self) -> str:
        return self.cluster.must("squeue", "-h", "-j", self.job(), "-o", "%N").strip()

    @contextlib.contextmanager
    def night(self, stop_after: str = "") -> Iterator[subprocess.Popen[str]]:
        """A night in a process of its own; at the end it must have ended well, unless it was to be killed."""
        process = self.world.start_night(stop_after)
        try:
            yield process
            _, errors = process.communicate(timeout=1200)
            assert process.returncode == (-signal.SIGKILL if stop_after else 0), errors[-3000:]
        finally:
            process.kill()

    def endings(self) -> list[str]:
        rows = self.world.query("select state from attempts order by started_at nulls first, attempt")
        return [str(state) for (state,) in rows]

    def check_done_once(self, kills: int = 0) -> None:
        """Scored by exactly one completed attempt; no call was made twice but one batch a kill; no job is left."""
        assert self.endings().count("completed") == 1
        assert [model for model, _ in self.world.ranking()] == ["lab/strong"]
        assert len(list((self.world.store.lake / "outcomes").iterdir())) == 1
        assert len(self.calls()) <= ALONE["calls"] + kills
        # A job whose end a controller that was away has missed stays COMPLETING for a while.
        wait_until("the end of its jobs", lambda: not self.jobs(), 240)


@pytest.fixture
def site(tmp_path: Path, models: Path, cluster: Cluster) -> Iterator[Site]:
    (tmp_path / "code").mkdir()
    shutil.copy(NODE_CODE, tmp_path / "code" / "sitecustomize.py")
    with open_world(tmp_path, models) as world:
        world.hub.delete_repo("lab/weak")
        site = Site(world, cluster, tmp_path)
        site.declare()
        if not ALONE:
            assert len(world.night().evaluated) == 1
            ALONE["calls"] = len(site.calls())
            assert ALONE["calls"] >= 4
            shutil.rmtree(world.store.root)
            (tmp_path / "calls").unlink()
        yield site


def test_a_quiet_night_on_the_cluster(site: Site) -> None:
    report = site.world.night()
    assert [each.model_id for each in report.evaluated] == ["lab/strong"]
    site.check_done_once()
    rows = site.world.query("select job_id, node, state, cluster_state, exit_code, gpus, tier from attempts")
    ((job_id, node, *rest),) = rows
    assert "_" not in str(job_id) or str(job_id).endswith("_0")
    assert str(node).startswith("gpu")
    assert rest == ["completed", "COMPLETED", "0:0", 1, "cpu"]
    models = (site.world.store.cache / "models").iterdir()
    assert not [path for path in models if path.is_dir()], "the model is evicted when it is done"


def test_the_cluster_gives_the_same_leaderboard_as_this_machine(site: Site, models: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    with open_world(local, models) as world:
        for each in (site.world, world):
            # All six benchmarks of the demo board, every document of them.
            (each.folder / "suites/small.yaml").write_text("suite: small\ntitle: Small\nextends: demo\n")
            write_punkt(each.store.nltk_dir)
        site.world.add_model("lab/weak")
        site.world.night()
        world.night()
        benchmarks = "ifeval, bbh, math_lvl_5, gpqa, musr, mmlu_pro"
        leaderboard = f"select rank, model_id, evaluation_id, average, {benchmarks} from small order by rank"
        assert len(world.query(leaderboard)) == 2
        assert site.world.query(leaderboard) == world.query(leaderboard)
        scores = "task, metric, filter, value, stderr, n_samples, doc_set_hash, task_hash"
        for query in (
            f"select evaluation_id, {scores} from task_scores order by all",
            "select * from samples order by all",
        ):
            assert site.world.query(query) == world.query(query)


def test_scancel_stops_the_evaluation_until_somebody_asks_for_it_again(site: Site) -> None:
    # submitit ignores SIGTERM; SIGKILL comes some seconds later.
    site.hold_at(2)
    with site.night():
        site.wait_for_calls(2)
        site.cluster.must("scancel", site.job())
    assert site.endings() == ["cancelled"]
    assert not site.jobs()
    report = site.world.night()
    assert [skip.kind for skip in report.plan.skipped] == ["gave_up"]
    site.speed_up()
    freed = command_of(site)("retry", "lab/strong")
    assert "1 evaluation to retry" in freed.stdout, freed.stderr
    site.world.night()
    site.check_done_once(kills=1)


def test_a_python_that_is_not_there_costs_no_model_and_stops_the_tier(site: Site) -> None:
    site.world.add_model("lab/weak")
    site.declare(python="/opt/gone/bin/python")
    report = site.world.night()
    assert set(site.endings()) == {"environment"}
    problems = "\n".join(report.problems)
    assert "Node gpu1: 3 attempts in a row failed for their environment" in problems
    assert "Tier cpu: 3 attempts in a row failed for their environment (gpu1, gpu2)" in problems
    assert "/opt/gone/bin/python: No such file or directory" in problems
    assert "change `python` or `setup` in the cluster profile" in problems
    assert len(report.not_started) == 2
    assert not report.failed
    logs = site.world.query("select distinct log from failures")
    assert all((site.world.store.root / str(log)).exists() for (log,) in logs), "what the jobs said can be read"


def test_a_node_without_the_package_is_left_out_and_another_does_the_work(site: Site) -> None:
    broken = site.folder / "broken"
    broken.mkdir()
    (broken / "submitit.py").write_text("raise ModuleNotFoundError(\"No module named 'submitit'\")")
    site.declare(setup=f"[ $SLURMD_NODENAME = gpu1 ] && export PYTHONPATH={broken} || true")
    report = site.world.night()
    assert site.endings() == ["environment"] * 3 + ["completed"]
    assert site.world.query("select distinct node from attempts where state = 'environment'") == [("gpu1",)]
    (problem,) = report.problems
    assert "No module named 'submitit'" in problem
    site.check_done_once()


def test_a_requeued_job_goes_on_where_it_stopped(site: Site) -> None:
    site.hold_at(2)
    with site.night():
        site.wait_for_calls(2)
        site.cluster.must("scontrol", "requeue", site.job())
        release_requeued(site)
    assert site.endings() == ["completed"], "one attempt, which its job took over from its dead run"
    site.check_done_once(kills=1)


def release_requeued(site: Site) -> None:
    """SLURM holds a requeued job back for two minutes; an administrator can let it start now, and on."""
    wait_until("the requeued job", lambda: bool(site.jobs("PENDING")), 240)
    site.speed_up()
    site.cluster.must("scontrol", "update", f"JobId={site.jobs('PENDING')[0]}", "StartTime=now+2")


def test_a_node_that_goes_down_loses_nothing(site: Site) -> None:
    site.hold_at(2)
    with site.night():
        site.wait_for_calls(2)
        node = site.node()
        site.cluster.node_down(node)
        release_requeued(site)
    site.check_done_once(kills=1)


def test_a_preempted_job_comes_back(site: Site) -> None:
    site.hold_at(2)
    with site.night():
        site.wait_for_calls(2)
        gpus = site.cluster.shape.gpus
        for node in site.cluster.node_names:
            site.cluster.must(
                "sbatch", "--partition=urgent", f"--nodelist={node}", f"--gres=gpu:{gpus}", "--mem=1", "--wckey=urgent",
                "--job-name=test-urgent", "--output=/dev/null", "--wrap", "sleep 20",
            )  # fmt: skip
        wait_until("preemption", lambda: not site.jobs("RUNNING"), 240)
        wait_until("the urgent jobs", lambda: not own_jobs(site.cluster.squeue(), ["test-urgent"]), 240)
        release_requeued(site)
    site.check_done_once(kills=1)


def test_a_job_whose_time_is_up_goes_on_in_another(site: Site) -> None:
    site.declare(time_min=1, retries="{timeout: {attempts: 20}}")
    site.slow_down(12)
    with site.night():
        wait_until("a second attempt", lambda: len(list(site.world.store.runs.glob("*/*/2"))) == 1, 240)
        site.speed_up()
    # On a busy machine Python alone takes most of a minute.
    *timeouts, last = site.endings()
    assert (set(timeouts), last) == ({"timeout"}, "completed")
    site.check_done_once(kills=len(timeouts))


def test_a_job_that_takes_more_memory_than_it_has_is_done_with_half_the_batch(site: Site) -> None:
    (site.folder / "greedy").touch()
    report = site.world.night()
    assert site.endings() == ["out_of_memory", "completed"]
    assert site.world.query("select batch_size from attempts order by attempt") == [("8",), ("4",)]
    assert [model for model, _ in site.world.ranking()] == ["lab/strong"]
    assert [each.state for each in report.retried] == ["out_of_memory"]
    assert not report.failed
    assert not report.has_failures


def test_a_controller_that_is_away_is_waited_for(site: Site) -> None:
    site.slow_down(1)
    with site.night():
        site.wait_for_calls(2)
        site.cluster.stop("slurmctld")
        time.sleep(30)
        site.cluster.start("slurmctld")
        site.speed_up()
    site.check_done_once()


def test_a_controller_that_is_away_when_jobs_are_submitted_is_waited_for(site: Site) -> None:
    site.cluster.stop("slurmctld")
    with site.night():
        time.sleep(20)
        site.cluster.start("slurmctld")
    site.check_done_once()


def test_accounting_that_is_away_is_waited_for(site: Site) -> None:
    site.slow_down(0.5)
    with site.night():
        site.wait_for_calls(1)
        site.cluster.stop("slurmdbd")
        site.speed_up()
        time.sleep(15)
        site.cluster.start("slurmdbd")
    site.check_done_once()


@pytest.mark.parametrize("place", ["claim", "sbatch", "launch", "merge"])
def test_a_flow_killed_anywhere_is_finished_by_the_next(site: Site, place: str) -> None:
    with site.night(stop_after=place):
        pass
    with site.night():
        pass
    site.check_done_once()


def test_a_flow_killed_while_it_waits_leaves_its_jobs_to_the_next(site: Site) -> None:
    site.hold_at(2)
    process = site.world.start_night()
    site.wait_for_calls(2)
    process.kill()
    process.communicate()
    site.speed_up()
    site.world.night()
    assert site.endings() == ["completed"]
    site.check_done_once()


def test_a_job_killed_inside_a_benchmark_does_one_batch_twice_at_most(site: Site) -> None:
    site.hold_at(3)
    with site.night():
        site.wait_for_calls(3)
        os.kill(int(site.calls()[-1]), signal.SIGKILL)
        site.speed_up()
    assert site.endings()[-1] == "completed"
    assert len(site.endings()) <= 2
    site.check_done_once(kills=1)


def test_two_flows_at_once_do_everything_once(site: Site) -> None:
    with site.night(), site.night():
        pass
    site.world.night()
    assert site.endings() == ["completed"]
    site.check_done_once()


def test_an_operator_sees_and_cancels_what_runs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    run = command_of(site)
    site.hold_at(1)
    with site.night():
        site.wait_for_calls(1)
        status = run("status")
        assert status.returncode == 0, status.stderr
        line = next(line for line in status.stdout.splitlines() if "lab/strong" in line)
        assert all(text in line for text in ("RUNNING", site.job(), "gpu", "musr")), line
        assert "1 running on 1 GPU of at most 4" in status.stdout
        cancelled = run("cancel", "lab/strong")
        assert cancelled.returncode == 0, cancelled.stderr
        assert "1 shard cancelled, 1 job stopped" in cancelled.stdout
    assert site.endings() == ["cancelled"]
    assert "No evaluations are running." in run("status").stdout
    wait_until("the end of its jobs", lambda: not site.jobs(), 120)


def command_of(site: Site) -> Callable[..., subprocess.CompletedProcess[str]]:
    import sys

    def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).with_name("nightboard"))
        full = [program, command, "--board", site.world.board, *arguments]
        return subprocess.run(full, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})

    return run
