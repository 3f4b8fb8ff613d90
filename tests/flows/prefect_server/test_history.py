"""A night's history with a real server that is killed, stands still or was never there: the night notices nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightboard.flows.prefect_server import history as module
from nightboard.flows.prefect_server.history import History, Reporter
from nightboard.flows.prefect_server.server import ConfiguredServer, OwnServer, keep_prefect_quiet

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    keep_prefect_quiet(tmp_path)
    own = OwnServer(tmp_path)
    yield own
    own.stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def begin(history: History) -> None:
    history.begin("world", {"board": "world"})


def read_names(server: OwnServer, path: object) -> list[tuple[str, str]]:
    with server.open_client() as client:
        found = client.request("POST", path, json={}).json()  # type: ignore[arg-type]
    return sorted((each["name"], each["state_type"]) for each in found)


def test_a_server_that_is_killed_or_stands_still_delays_nobody_and_is_told_all_when_it_is_back(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightboard.flows.prefect_server.server.REQUEST_TIMEOUT_S", 0.5)
    reporter = Reporter(server)
    history = History(reporter)
    begin(history)
    wait_until(lambda: reporter.is_idle)
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    with history.step("while it is dead"):
        pass
    assert not reporter.is_idle, "nobody waited for it"
    wait_until(lambda: reporter.is_idle)
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(ValueError, match="broken"), history.step("while it stands still"):
        raise ValueError("broken")
    time.sleep(0.7)
    assert not reporter.is_idle
    os.kill(server.pid, signal.SIGCONT)
    wait_until(lambda: reporter.is_idle)
    history.end("COMPLETED", "Completed", "")
    wait_until(lambda: reporter.is_idle)
    assert read_names(server, "/flow_runs/filter") == [("nightly world", "COMPLETED")]
    assert read_names(server, "/task_runs/filter") == [
        ("while it is dead", "COMPLETED"),
        ("while it stands still", "FAILED"),
    ]
    away, back = history.take_news()
    assert away.startswith("Without history: nightboard's own Prefect server cannot be used (")
    assert back == "With history again: nightboard's own Prefect server answers."
    history.close()


def test_a_server_that_never_answers_is_told_of_once_and_the_end_waits_for_it_a_short_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    keep_prefect_quiet(Path("unused"))
    monkeypatch.setattr(module, "FLUSH_AWAY_S", 0.3)
    history = History(Reporter(ConfiguredServer()))
    begin(history)
    for number in range(3):
        with history.step(f"step {number}"):
            pass
    history.close()
    (news,) = history.take_news()
    assert news.startswith("Without history: the Prefect server at http://127.0.0.1:9/api cannot be used (")
    assert "\n" not in news


def test_a_report_that_the_server_refuses_is_left_out_and_the_rest_is_told(server: OwnServer) -> None:
    reporter = Reporter(server)
    history = History(reporter)
    begin(history)
    history.add_markdown("Not A Legal Key", "text", "refused")
    history.add_outcome("after it", None)
    wait_until(lambda: reporter.is_idle)
    assert read_names(server, "/task_runs/filter") == [("after it", "COMPLETED")]
    # A busy server may also have been away for a moment.
    assert [each for each in history.take_news() if "incomplete" in each] == [
        "The history of this night is incomplete: nightboard's own Prefect server: it answers 422 to /api/artifacts/."
    ]


def test_a_night_without_a_history_starts_no_server() -> None:
    begin(module.NO_HISTORY)
    with module.NO_HISTORY.step("step"):
        pass
    module.NO_HISTORY.close()
    assert module.NO_HISTORY.take_news() == []
