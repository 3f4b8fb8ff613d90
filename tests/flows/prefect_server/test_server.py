"""A run's Prefect server: quiet, its own, gone with the run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nightboard.flows.prefect_server.server import (
    ConfiguredServer,
    OwnServer,
    ServerError,
    find_server,
    keep_prefect_quiet,
)

SCRIPT = Path(__file__).with_name("small_flow.py")


StartRun = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[StartRun]:
    """Starts a run whose user has an empty home and no Prefect settings; ends it with the test."""
    runs = []
    (tmp_path / "home").mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}

    def start(state_dir: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
        run = subprocess.Popen(
            [sys.executable, "-W", "error", str(SCRIPT), str(state_dir), *options],
            env=clean | {"HOME": str(tmp_path / "home")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.kill()
        run.communicate()


def read_line(run: subprocess.Popen[str]) -> Any:
    assert run.stdout is not None
    line = run.stdout.readline()
    assert line, run.stderr.read() if run.stderr else ""
    return json.loads(line)


def finish(run: subprocess.Popen[str]) -> tuple[list[Any], str]:
    """What a run still printed, as JSON lines, and all that it said on its standard error."""
    output, errors = run.communicate(timeout=400)
    assert run.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()], errors


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pids: list[int], within_s: float = 15) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def query(state_dir: Path, sql: str) -> list[Any]:
    with sqlite3.connect(state_dir / "prefect.db") as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return [tuple(map(_parse, row)) for row in rows]


def _parse(value: Any) -> Any:
    """Prefect keeps the data of artifacts as JSON, rows as a text of JSON in it."""
    for _ in range(2):
        try:
            value = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return value
    return value


@pytest.mark.real
def test_a_run_is_quiet_keeps_its_history_and_leaves_no_process_and_nothing_in_the_users_home(
    tmp_path: Path, start_run: StartRun
) -> None:
    state_dir = tmp_path / "store" / "prefect"
    # A proxy that does not answer must not come between a run and its own server.
    proxy = "http://127.0.0.1:9"
    run = start_run(state_dir, HTTP_PROXY=proxy, http_proxy=proxy, ALL_PROXY=proxy)
    started = read_line(run)
    (after,), errors = finish(run)
    assert errors == ""
    assert started["home"] == str(state_dir)
    assert after == {"news": [], "home_left": True}
    assert wait_until_gone(started["children"], within_s=0)
    assert list((tmp_path / "home").iterdir()) == []
    assert query(state_dir, "select state_type, count(*) from task_run group by 1 order by 1") == [
        ("COMPLETED", 6),
        ("FAILED", 1),
    ]
    assert query(state_dir, "select name, state_type from flow_run") == [("nightly demo", "COMPLETED")]
    artifacts = "select key, data from artifact order by key"
    assert query(state_dir, artifacts) == [
        ("evaluations", 100),
        ("night", "# A night"),
        ("ranking", [{"rank": 1, "model": "m0", "average": None}]),
    ]
    log = (state_dir / "server.log").read_text()
    assert "Traceback" not in log
    assert "locked" not in log


@pytest.mark.real
def test_two_runs_at_once_have_a_server_each_and_the_second_history_is_thrown_away(
    state_dir: Path, start_run: StartRun
) -> None:
    first = start_run(state_dir, "sleep")
    one = read_line(first)
    second = start_run(state_dir)
    two = read_line(second)
    (after,), errors = finish(second)
    assert errors == ""
    assert one["url"] != two["url"]
    assert one["home"] == str(state_dir) != two["home"]
    assert after["home_left"] is False
    assert query(state_dir, "select count(*) from flow_run") == [(1,)]


@pytest.mark.real
def test_a_server_ends_with_a_run_that_was_killed_and_the_next_run_has_the_same_history_and_marks_it(
    state_dir: Path, start_run: StartRun
) -> None:
    killed = start_run(state_dir, "sleep")
    first = read_line(killed)
    assert len(first["children"]) >= 1
    killed.kill()
    killed.communicate()
    following = start_run(state_dir)
    assert read_line(following)["home"] == str(state_dir)
    assert wait_until_gone(first["children"], within_s=0)
    finish(following)
    states = "select state_type, state_name from flow_run order by created"
    assert query(state_dir, states) == [("CRASHED", "Crashed"), ("COMPLETED", "Completed")]


@pytest.mark.real
def test_a_server_that_does_not_come_up_is_explained_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_bytes(b"this is no database " * 400)
    (tmp_path / "server.log").write_text("an older message\n")
    own = OwnServer(tmp_path)
    with pytest.raises(ServerError) as raised:
        own.open_client()
    own.stop()
    log = tmp_path / "server.log"
    assert str(raised.value) == f"the server ended before it answered; its log is {log}"
    assert "file is not a database" in log.read_text()


@pytest.mark.real
def test_a_configured_server_is_used_and_none_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    keep_prefect_quiet(tmp_path)
    assert isinstance(find_server(tmp_path), ConfiguredServer)


@pytest.mark.real
def test_a_server_named_by_a_profile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('active = "site"\n[profiles.site]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(profiles))
    keep_prefect_quiet(tmp_path)
    assert find_server(tmp_path).name == "the Prefect server at http://127.0.0.1:9/api"
