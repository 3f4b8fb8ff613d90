"""A board's flows as Prefect deployments: what is deployed, and that a real server runs them."""

from __future__ import annotations

import importlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from deployed import start, wait_for, wait_for_process, wait_until
from prefect import Flow, Task
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from served_hub import serve_hub
from webhook import serve_webhook

from nightboard.flows import backfill, collect, deployments, nightly, rebuild
from nightboard.flows.deployments import deploy, describe_schedule, make_deployments
from nightboard.flows.prefect_server.server import OwnServer, ServerError
from nightboard.profiles.loading.load import load_board

TASKS = {
    item.name: item
    for module in (nightly, collect, backfill, rebuild)
    for item in vars(module).values()
    if isinstance(item, Task)
}
BOARD = """
board: mine
title: Mine
watch: quickstart
suites: [quickstart]
cluster: local
store: store
hub: {hub}
schedule: {{cron: "{cron}", timezone: Europe/Paris}}
"""


def write_board(folder: Path, cron: str = "30 1 * * *", hub: str = "http://127.0.0.1:9") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(BOARD.format(hub=hub, cron=cron))
    return path


def test_deployments_are_named_after_the_board_and_run_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_board(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = {deployment.full_name: deployment for deployment in make_deployments(load_board("mine"), 90)}
    assert made.keys() == {"nightly/mine", "collect/mine", "backfill/mine", "rebuild/mine"}
    of_board = {"board": str(tmp_path / "mine.yaml"), "store": str(tmp_path / "store")}
    assert made["nightly/mine"].parameters == of_board | {"wait_min": 90, "models": None}
    assert made["collect/mine"].parameters == of_board
    assert made["rebuild/mine"].parameters == of_board
    for deployment in made.values():
        module, _, name = str(deployment.entrypoint).rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert isinstance(flow, Flow)
        given = deployment.parameters.keys()
        assert given <= flow.parameters.properties.keys()
        asked = {"select"} if flow.name == "backfill" else set()
        assert {*flow.parameters.required} == {"board"} | asked, "what whoever starts it has to say"
        assert flow.description, "which the deployment shows, as it has none of its own"
        assert deployment.tags == ["board:mine"]


def test_the_boards_schedule_is_that_of_its_nights(tmp_path: Path) -> None:
    bundle = load_board(write_board(tmp_path))
    made = {deployment.flow_name: deployment for deployment in make_deployments(bundle, None)}
    [night] = made["nightly"].schedules or []
    assert (night.schedule.cron, night.schedule.timezone) == ("30 1 * * *", "Europe/Paris")
    [every] = made["collect"].schedules or []
    assert every.schedule.interval == timedelta(minutes=10)
    assert not made["rebuild"].schedules
    assert describe_schedule(bundle) == (
        "nightly at '30 1 * * *' (Europe/Paris), collect every 10 min, backfill and rebuild by hand"
    )


def test_without_a_server_nothing_is_deployed_and_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no Prefect server is configured\. Set PREFECT_API_URL, or use"):
        deploy(load_board(write_board(tmp_path)), "pool", None)


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path, use_server: Callable[[str], None]) -> None:
    use_server("http://127.0.0.1:9/api")
    with pytest.raises(ServerError, match=r"^the Prefect server at http://127.0.0.1:9/api cannot be used \(.+\)$"):
        deploy(load_board(write_board(tmp_path)), "pool", None)


def test_every_step_has_a_name_a_tag_and_a_description() -> None:
    assert TASKS.keys() == {
        "collect", "discover", "pin datasets", "read requests", "plan", "fetch datasets", "rebuild", "build warehouse",
        "report", "select",
    }  # fmt: skip
    assert all(task.tags and task.description for task in TASKS.values())


def test_only_steps_that_ask_the_hub_and_change_nothing_are_retried() -> None:
    assert {name for name, task in TASKS.items() if task.retries} == {"discover", "pin datasets"}


# ------------------------------------------------------------------------------------------------- with a real server


@pytest.fixture
def use_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Names the Prefect server of this process."""
    from prefect.context import refresh_global_settings_context

    def use(url: str) -> None:
        monkeypatch.setenv("PREFECT_API_URL", url)
        refresh_global_settings_context()

    yield use
    monkeypatch.undo()
    refresh_global_settings_context()


@pytest.fixture
def server(state_dir: Path, use_server: Callable[[str], None]) -> Iterator[SyncPrefectClient]:
    own = OwnServer(state_dir)
    with own.open_client():
        use_server(str(own.url))
    with get_client(sync_client=True) as client:
        yield client
    own.stop()


@pytest.mark.real
def test_a_deployment_runs_on_a_worker_and_one_that_falls_silent_is_crashed(
    tmp_path: Path, server: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "SILENT_FOR", timedelta(seconds=deployments.HEARTBEAT_S + 5))
    with serve_hub() as hub, serve_webhook() as hook:
        board = write_board(tmp_path / "board", hub=hub.url)
        board.write_text(board.read_text() + "notify: [custom-webhook/ops, secret/other, env/OTHER]\n")
        bundle = load_board(board)
        lacking = "notify: custom-webhook/ops: the Prefect server has no such block. Create it, or correct the name."
        first = deploy(bundle, "pool", 60)
        assert (first.made_pool, first.warnings) == (True, (lacking,))
        data = {"text": "{{subject}}\n{{body}}"}
        CustomWebhookNotificationBlock(name="ops", url=hook.url, json_data=data).save("ops")
        assert deploy(bundle, "pool", 60) == deployments.Deployed(
            ("nightly/mine", "collect/mine", "backfill/mine", "rebuild/mine"), False
        )
        assert len(server.read_deployments()) == 4
        assert [automation.name for automation in server.read_automations()] == ["nightboard: crashed runs of mine"]
        with start(tmp_path / "worker", "prefect", "worker", "start", "--pool", "pool", "--type", "process") as worker:
            night = server.read_deployment_by_name("nightly/mine")
            server.create_flow_run_from_deployment(night.id)
            # The hub has no dataset of the suite: the run ends, and says so.
            ended = wait_for(server, "nightly mine", lambda run: run.state is not None and run.state.is_final(), 240)
            assert ended.state is not None
            assert "problem" in str(ended.state.message)
            hub.loopback.fail_next(10**6, 503)
            server.create_flow_run_from_deployment(night.id)
            silent = wait_for(server, "nightly mine", lambda run: bool(run.state and run.state.is_running()), 240)
            process = wait_for_process(server, silent)
            worker.kill()
            os.kill(process.pid, signal.SIGKILL)
            crashed = wait_for(server, "nightly mine", lambda run: bool(run.state and run.state.is_crashed()), 240)
            wait_until(lambda: len(hook.bodies) == 2, "both notifications")
    failed, died = (str(body["text"]) for body in hook.bodies)
    assert failed.startswith("nightboard mine: ") and "new cause" in failed
    assert died == (
        "nightboard mine: a run has crashed\nnightly mine: No heartbeat: its process has died. "
        "Submitted jobs keep running; the next nightly or collect goes on."
    )
    assert crashed.id == silent.id
    assert crashed.state is not None
    assert crashed.state.message == "No heartbeat: its process has died."


@pytest.mark.real
@pytest.mark.usefixtures("state_dir")
def test_a_served_board_runs_by_its_own_cron_with_a_server_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with serve_hub() as hub:
        board = write_board(tmp_path, cron="* * * * *", hub=hub.url)
        with start(tmp_path / "output", "nightboard", "serve", "--board", str(board)) as serving:
            address = wait_for_address(tmp_path / "output")
            with SyncPrefectClient(f"{address}/api") as client:
                ended = wait_for(client, "nightly mine", lambda run: bool(run.state and run.state.is_final()), 300)
            assert ended.auto_scheduled
            serving.send_signal(signal.SIGINT)
            assert serving.wait(120) == 0
        with start(tmp_path / "again", "nightboard", "serve", "--board", str(board)) as serving:
            wait_for_address(tmp_path / "again")
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(120) == 0
    for output in (tmp_path / "output", tmp_path / "again"):
        said = output.read_text()
        assert "Ended. Submitted jobs keep running; `nightboard collect` gathers their results.\n" in said
        assert "Traceback" not in said and "Warning" not in said


def wait_for_address(output: Path, within_s: float = 240) -> str:
    """Where a served board's runs are seen in the browser."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if said := re.search(r"Runs in the browser: (http://127\.0\.0\.1:\d+)\.", output.read_text()):
            return said[1]
        time.sleep(0.2)
    raise TimeoutError(output.read_text())
