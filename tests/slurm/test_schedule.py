"""A deployed board on a real SLURM: a night by its own cron, `collect` after a kill, a backfill by the API."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import start, wait_for, wait_for_process
from once import make_once
from prefect.client.schemas.filters import FlowRunFilter
from slurm.cluster import Cluster, own_jobs, wait_until
from slurm.counted import NODE_CODE
from slurm.postgres import ask, find_programs, serve_postgres
from world import World, make_models, open_world

from nightboard.flows.prefect_server.server import QUIET_SETTINGS, OwnServer

CLUSTER = """
cluster: quick
executor: slurm
max_jobs: {max_jobs}
poll_interval_s: 1
slurm:
  setup: ["export PYTHONPATH=CODE COUNTED=CODE"]
tiers:
  - {{name: cpu, up_to_params_b: 1, gpus: 1, cpus: 1, mem_gb: 2, time_min: 10, device: cpu, batch_size: 8}}
"""
POSTGRES = find_programs()
WITHOUT = pytest.mark.skip(reason="no PostgreSQL that can be started here (apt-get install postgresql): SQLite below")
DATABASES = ["postgresql"] if POSTGRES else [pytest.param("postgresql", marks=WITHOUT), "sqlite"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_once(tmp_path_factory, "models", make_models)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "sqlite":
        yield None
    else:
        assert POSTGRES
        with serve_postgres(POSTGRES) as url:
            yield url


@pytest.fixture
def server(database_url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnServer]:
    """A Prefect server, which the programs of the test use."""
    own = OwnServer(tmp_path / "prefect")
    if database_url:
        own._environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
    with own.open_client():
        pass
    values = QUIET_SETTINGS | {"PREFECT_API_URL": str(own.url), "PREFECT_HOME": str(tmp_path / "prefect-home")}
    for name, value in (values | {"PREFECT_WORKER_QUERY_SECONDS": "1"}).items():
        monkeypatch.setenv(name, value)
    yield own
    own.stop()


@pytest.fixture
def world(tmp_path: Path, models: Path) -> Iterator[World]:
    """A world with one model, whose jobs wait at its first call for `hold` to go."""
    shutil.copy(NODE_CODE, tmp_path / "sitecustomize.py")
    (tmp_path / "hold").write_text("1")
    with open_world(tmp_path, models, 4, CLUSTER.replace("CODE", str(tmp_path)), names=["lab/strong"]) as opened:
        board = Path(opened.board)
        board.write_text(board.read_text() + 'schedule: {cron: "* * * * *"}\n')
        yield opened


@pytest.mark.parametrize("database_url", DATABASES, indirect=True)
def test_a_night_that_its_cron_has_started_is_finished_after_a_kill_and_a_backfill_is_started_by_the_api(
    world: World, cluster: Cluster, server: OwnServer, database_url: str | None, tmp_path: Path
) -> None:
    deploying = [str(Path(sys.executable).with_name("nightboard")), "deploy", "--board", world.board]
    deployed = subprocess.run([*deploying, "--work-pool", "slurm"], capture_output=True, text=True, check=False)
    assert deployed.returncode == 0, deployed.stderr
    assert "deployed  nightly/world" in deployed.stdout
    # One run at a time: that of the next minute does not take over.
    options = ("worker", "start", "--pool", "slurm", "--limit", "1")
    with server.open_client() as client, start(tmp_path / "worker", "prefect", *options):
        night = wait_for(client, "nightly world", lambda run: bool(run.state and run.state.is_running()), 300)
        assert night.auto_scheduled, "by its own cron"
        process = wait_for_process(client, night)
        wait_until("the job's first call", lambda: (tmp_path / "calls").exists(), 300)
        # From here on only what the test asks for runs.
        nightly, collect = (client.read_deployment_by_name(f"{flow}/world") for flow in ("nightly", "collect"))
        for deployment in (nightly, collect):
            client.pause_deployment(deployment.id)
        others = FlowRunFilter.model_validate({"state": {"type": {"any_": ["SCHEDULED", "PENDING"]}}})
        for run in client.read_flow_runs(flow_run_filter=others):
            client.delete_flow_run(run.id)
        os.kill(process.pid, signal.SIGKILL)
        killed = wait_for(client, "nightly world", lambda run: bool(run.state and run.state.is_crashed()), 300)
        assert killed.id == night.id
        assert own_jobs(cluster.squeue(), {path.name for path in world.store.launches.iterdir()}), "its job runs on"

        (tmp_path / "hold").unlink()
        assert len(world.wait_for_outcomes(1)) == 1
        asked = client.create_flow_run_from_deployment(collect.id)
        is_over = wait_for(client, "collect world", lambda run: run.id == asked.id and bool(run.end_time), 300)

        backfill = client.read_deployment_by_name("backfill/world")
        wanted = {"select": "model:lab/strong", "benchmarks": ["musr"], "replicate": True}
        asked = client.create_flow_run_from_deployment(backfill.id, parameters=wanted)
        ended = wait_for(client, "backfill world", lambda run: run.id == asked.id and bool(run.end_time), 300)
    assert ended.state and ended.state.message == "1 evaluation completed, 0 failed"
    assert is_over.state and is_over.state.message == "1 attempt collected, 0 evaluations still running"
    assert world.query("select state, count(*) from attempts group by all") == [("completed", 2)]
    assert [model for model, _ in world.ranking()] == ["lab/strong"]
    assert world.query("select kind, state, n_done from requests") == [("backfill", "done", 1)]
    assert world.query("select replicate, request_id is null from evaluations order by 1") == [(0, True), (1, False)]
    if POSTGRES and database_url:
        n_runs = ask(
            POSTGRES, database_url, "select count(*) from flow_run where state_type in ('CRASHED', 'COMPLETED')"
        )
        assert int(n_runs) >= 2, "Prefect kept them there"
