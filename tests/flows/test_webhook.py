"""The Hub's webhook over HTTP on loopback: who is answered what, and which runs a real Prefect server then has."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import NOW
from typer.testing import CliRunner

from nightboard.flows import webhook as module
from nightboard.flows.cli.main import app
from nightboard.flows.deployments import make_deployments
from nightboard.flows.nightly import run_nightly
from nightboard.flows.prefect_server.server import OwnServer, ServerError
from nightboard.flows.run.report import RunReport
from nightboard.flows.run.state import RunState
from nightboard.flows.webhook import MOST_BYTES, PATH, SECRET_HEADER, Change, Listening, Refused, listen, read_change
from nightboard.profiles.loading.load import BoardBundle, load_board
from nightboard.tasks.planning.result import Plan

SECRET = "an-ümlaut"
BOARD = """
board: mine
title: Mine
watch: few
suites: [quickstart]
cluster: local
store: store
"""


def payload(name: str = "lab/one", sha: str = "a", **changes: object) -> dict[str, Any]:
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "model", "name": name, "headSha": sha * 40, "private": False, "owner": {"id": "x"}},
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": None, "newSha": sha * 40}],
        "webhook": {"id": "y", "version": 3},
    } | changes


@pytest.fixture
def bundle(tmp_path: Path) -> BoardBundle:
    (tmp_path / "few.yaml").write_text("watchlist: few\norganizations: [lab]\nexclude: ['*-GGUF']\n")
    (tmp_path / "mine.yaml").write_text(BOARD)
    return load_board(tmp_path / "mine.yaml")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """The changes for which a run was asked, in place of Prefect's server."""
    changes: list[Change] = []

    def start_run(client: object, bundle: BoardBundle, change: Change) -> bool:
        changes.append(change)
        return changes.count(change) == 1

    monkeypatch.setattr(module, "start_run", start_run)
    monkeypatch.setattr(module, "ConfiguredServer", lambda: SimpleNamespace(open_client=nullcontext))
    return changes


@pytest.fixture
def port(bundle: BoardBundle) -> Iterator[int]:
    with listen(bundle, Listening("127.0.0.1", 0, SECRET)) as opened:
        yield opened


def send(port: int, body: bytes | dict[str, Any], path: str = PATH, **headers: str) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    given = {SECRET_HEADER: SECRET} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, data, {name: value.encode() for name, value in given.items() if value})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text.strip()


def test_a_watched_model_that_changes_gets_a_run(port: int, started: list[Change]) -> None:
    assert send(port, payload()) == (202, "a run for lab/one starts soon")
    assert send(port, payload(), path=f"{PATH}?from=hub") == (202, "a run for lab/one is about to start already")
    assert [change.model_id for change in started] == ["lab/one"] * 2


@pytest.mark.parametrize("secret", ["", "wrong", "an-umlaut"])
def test_without_the_secret_nothing_is_read(port: int, secret: str, started: list[Change]) -> None:
    assert send(port, payload(), **{SECRET_HEADER: secret}) == (401, "X-Webhook-Secret is missing or wrong")
    assert not started


@pytest.mark.parametrize("name", ["other/one", "lab/one-GGUF", "one"])
def test_a_model_that_the_board_does_not_watch_gets_none(port: int, name: str, started: list[Change]) -> None:
    assert send(port, payload(name)) == (404, f"{name} is not watched by board mine")
    assert not started


def test_another_path_and_another_method_are_refused(port: int) -> None:
    assert send(port, payload(), path="/") == (404, "the webhook is at /webhook")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", PATH)
    assert connection.getresponse().status == 501


def test_a_long_body_is_refused_unread(port: int, started: list[Change]) -> None:
    """Only the head is sent: an answer shows that nobody waits for the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{SECRET_HEADER}: {SECRET}\r\nContent-Length: {10 * MOST_BYTES}\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.0 413 ")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{SECRET_HEADER}: {SECRET}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.0 411 ")
    assert send(port, payload())[0] == 202
    assert len(started) == 1


def test_a_body_that_does_not_come_ends_at_some_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = module.make_handler(SECRET, lambda change: "")
    assert handler.timeout == module.READ_TIMEOUT_S
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{SECRET_HEADER}: {SECRET}\r\nContent-Length: 9\r\n\r\n{{".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"event": {}}', b'{"event": 1, "repo": 2}',
        json.dumps(payload("lab/../one")).encode(), json.dumps(payload("lab/one\n")).encode(),
        json.dumps(payload("\ud800")).encode(), json.dumps(payload(updatedRefs=3)).encode(),
        json.dumps(payload() | {"repo": {"type": "model", "name": ["lab/one"]}}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_payload_is_refused_in_one_line(port: int, body: bytes, started: list[Change]) -> None:
    status, text = send(port, body)
    assert (status, text.count("\n")) == (400, 0)
    assert not started


@pytest.mark.parametrize(
    "changes",
    [
        {"event": {"action": "create", "scope": "discussion"}},
        {"event": {"action": "delete", "scope": "repo"}},
        {"repo": {"type": "dataset", "name": "lab/one"}},
    ],
)
def test_what_changes_no_model_is_taken_and_starts_nothing(
    port: int, changes: dict[str, Any], started: list[Change]
) -> None:
    assert send(port, payload(**changes)) == (200, "nothing to do: no model has changed")
    assert not started


def test_a_change_that_is_told_again_has_the_same_key_and_another_one_has_not() -> None:
    def key(**changes: Any) -> str:
        change = read_change(json.dumps(payload(**changes)).encode())
        assert change
        return change.key

    branch = [{"ref": "refs/heads/step-1", "newSha": "c" * 40}, {"ref": "refs/heads/step-1", "newSha": None}]
    keys = {key(), key(sha="b"), key(name="lab/two"), key(updatedRefs=branch), key(updatedRefs=None)}
    assert len(keys) == 5
    assert key(webhook={"id": "z"}) == key()


def test_a_prefect_server_that_is_away_is_said_so_that_the_hub_sends_it_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.context import refresh_global_settings_context

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    refresh_global_settings_context()
    assert send(port, payload()) == (503, "the Prefect server started no run (ConnectError); send it again")


def test_nobody_listens_without_a_secret_or_on_a_port_in_use(bundle: BoardBundle, port: int) -> None:
    board = str(bundle.path)
    said = CliRunner().invoke(app, ["serve", "--board", board, "--webhook-port", "8090"], env={})
    assert isinstance(said.exception, ServerError)
    assert str(said.exception).startswith("NIGHTBOARD_WEBHOOK_SECRET is not set. Set it to the secret of the webhook")
    with pytest.raises(ServerError, match=r"^127\.0\.0\.1:\d+: cannot be listened on .* Choose another --webhook-port"):
        listen(bundle, Listening("127.0.0.1", port, SECRET)).__enter__()


def test_a_refusal_has_a_status() -> None:
    with pytest.raises(Refused) as refused:
        read_change(b"")
    assert refused.value.status == 400


def test_the_run_that_it_starts_is_for_the_model_alone(bundle: BoardBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[RunState] = []

    def run_steps(run: RunState, wait_min: float | None) -> RunReport:
        runs.append(run)
        plan = Plan(board="mine", created_at=NOW, evaluations=(), jobs=(), skipped=(), gpu_hours=0, estimate_s=0)
        return RunReport(
            board="mine", started_at=NOW, ended_at=NOW, new_commits=(), plan=plan, collected=(), in_flight=(),
            not_started=(), problems=(),
        )  # fmt: skip

    monkeypatch.setattr("nightboard.flows.nightly.run_steps", run_steps)
    run_nightly(str(bundle.path))
    run_nightly(str(bundle.path), models=["lab/one"])
    everything, alone = runs
    assert (everything.board.bundle.watch, everything.only_requests) == (bundle.watch, None)
    assert [model.id for model in alone.board.bundle.watch.models] == ["lab/one"]
    assert not alone.board.bundle.watch.organizations
    assert alone.only_requests == frozenset(), "it leaves requests to the night"


@pytest.mark.real
def test_several_events_for_a_model_are_one_run_of_the_deployment_for_this_model(
    bundle: BoardBundle, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.context import refresh_global_settings_context

    own = OwnServer(state_dir)
    with own.open_client() as client:
        monkeypatch.setenv("PREFECT_API_URL", str(own.url))
        refresh_global_settings_context()
        with listen(bundle, Listening("127.0.0.1", 0, SECRET)) as port:
            assert send(port, payload()) == (503, "the Prefect server started no run (ObjectNotFound); send it again")
            make_deployments(bundle, 60)[0].apply()
            answers = [send(port, payload(name, sha)) for name in ("lab/one", "lab/two") for sha in "aab"]
            runs = [run for run in client.read_flow_runs() if not run.auto_scheduled]
            assert [status for status, _ in answers] == [202] * 6
            assert sorted(run.parameters["models"] for run in runs) == [["lab/one"], ["lab/two"]]
            one = next(run for run in runs if run.parameters["models"] == ["lab/one"])
            assert set(one.tags) == {"board:mine", "model:lab/one"}
            assert one.parameters["wait_min"] == 60
            assert one.state and one.state.state_details.scheduled_time
            assert one.state.state_details.scheduled_time > datetime.now(UTC)
            # What is told again after the run has begun starts no other; what is new does.
            client.set_flow_run_state(one.id, module_state("RUNNING"), force=True)
            send(port, payload())
            assert len([run for run in client.read_flow_runs() if not run.auto_scheduled]) == 2
            send(port, payload(sha="c"))
            assert len([run for run in client.read_flow_runs() if not run.auto_scheduled]) == 3
    own.stop()


def module_state(kind: str) -> Any:
    from prefect.client.schemas.objects import State, StateType

    return State(type=StateType(kind))
