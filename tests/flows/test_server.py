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

from nightboard.flows import server
from nightboard.flows.server import ServerError, prefect_server

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
    output, errors = run.communicate(timeout=120)
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
    return rows


@pytest.mark.real
def test_a_run_is_quiet_keeps_its_history_and_leaves_no_process_and_nothing_in_the_users_home(
    tmp_path: Path, start_run: StartRun
) -> None:
    state_dir = tmp_path / "store" / "prefect"
    # A proxy that does not answer must not come between a run and its own server.
    proxy = "http://127.0.0.1:9"
    run = start_run(state_dir, HTTP_PROXY=proxy, http_proxy=proxy, ALL_PROXY=proxy)
    started = read_line(run)
    (states, after), errors = finish(run)
    assert errors == ""
    assert states == ["Completed", "Completed", "Completed", "Failed", "Completed", "Completed"]
    assert started["home"] == str(state_dir)
    assert after == {"after": None, "home_left": True}
    assert wait_until_gone(started["children"], within_s=0)
    assert list((tmp_path / "home").iterdir()) == []
    assert query(state_dir, "select state_type, count(*) from task_run group by 1 order by 1") == [
        ("COMPLETED", 6),
        ("FAILED", 1),
    ]
    assert query(state_dir, "select name, state_type from flow_run") == [("small demo", "COMPLETED")]
    assert query(state_dir, "select data from artifact where type = 'progress'")[-1] == (100,)
    log = (state_dir / "server.log").read_text()
    assert "Traceback" not in log
    assert "locked" not in log


@pytest.mark.real
def test_two_runs_at_once_have_a_server_each_and_the_second_history_is_thrown_away(
    tmp_path: Path, start_run: StartRun
) -> None:
    state_dir = tmp_path / "prefect"
    first = start_run(state_dir, "sleep")
    one = read_line(first)
    second = start_run(state_dir)
    two = read_line(second)
    (states, after), errors = finish(second)
    assert "Failed" in states
    assert errors == ""
    assert one["url"] != two["url"]
    assert one["home"] == str(state_dir) != two["home"]
    assert after["home_left"] is False
    read_line(first)
    assert query(state_dir, "select count(*) from flow_run") == [(1,)]


@pytest.mark.real
def test_a_server_ends_with_a_run_that_was_killed_and_the_next_run_has_the_same_history(
    tmp_path: Path, start_run: StartRun
) -> None:
    state_dir = tmp_path / "prefect"
    killed = start_run(state_dir, "sleep")
    first = read_line(killed)
    read_line(killed)
    assert len(first["children"]) >= 1
    killed.kill()
    killed.communicate()
    following = start_run(state_dir)
    assert read_line(following)["home"] == str(state_dir)
    assert wait_until_gone(first["children"], within_s=0)
    finish(following)
    assert query(state_dir, "select count(*) from flow_run") == [(2,)]


@pytest.mark.real
def test_a_server_that_does_not_come_up_is_explained_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_bytes(b"this is no database " * 400)
    (tmp_path / "server.log").write_text("an older message\n")
    with pytest.raises(ServerError) as raised, prefect_server(tmp_path):
        pass
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'server.log'}: the Prefect server did not come up")
    assert "file is not a database" in message
    assert "an older message" not in message
    assert len(message.splitlines()) <= 21


@pytest.mark.real
def test_a_configured_server_is_used_and_none_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with prefect_server(tmp_path / "prefect") as url:
        assert url is None
        assert server.is_server_configured()
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    assert not (tmp_path / "prefect").exists()


@pytest.mark.real
def test_a_server_named_by_a_profile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('active = "site"\n[profiles.site]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(profiles))
    with prefect_server(tmp_path / "prefect") as url:
        assert url is None
    assert not (tmp_path / "prefect").exists()
