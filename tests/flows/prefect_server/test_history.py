"""A night's history with a real server that is killed, stands still or was never there: the night notices nothing."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from prefect import Task

from nightboard.flows.prefect_server import reporter as module
from nightboard.flows.prefect_server.history import NO_HISTORY, Ending, History
from nightboard.flows.prefect_server.reporter import Reporter
from nightboard.flows.prefect_server.server import REPORTING_SETTINGS, ConfiguredServer, OwnServer, keep_prefect_quiet

pytestmark = pytest.mark.real


@pytest.fixture
def server(state_dir: Path) -> Iterator[OwnServer]:
    keep_prefect_quiet(state_dir, REPORTING_SETTINGS)
    own = OwnServer(state_dir)
    yield own
    own.stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def open_run(history: History) -> AbstractContextManager[Ending]:
    return history.flow_run("nightly", "board:world", {"board": "world"})


def step(name: str, **options: Any) -> Task[[], None]:
    return Task(lambda: None, name=name, **options)


def read(server: OwnServer, path: Any) -> list[dict[str, Any]]:
    with server.open_client() as client:
        rows: list[dict[str, Any]] = client.request("POST", path, json={}).json()
    return rows


def read_names(server: OwnServer, path: str) -> list[tuple[str, str]]:
    return sorted((row["name"], row["state_type"]) for row in read(server, path))


def test_a_server_that_is_killed_or_stands_still_delays_nobody_and_is_told_all_when_it_is_back(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightboard.flows.prefect_server.server.REQUEST_TIMEOUT_S", 0.5)
    reporter = Reporter(server)
    history = History(reporter)
    with open_run(history):
        wait_until(lambda: reporter.is_idle)
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        with history.step(step("while it is dead")):
            history.log(logging.INFO, "said while it is dead")
        assert not reporter.is_idle, "nobody waited for it"
        wait_until(lambda: reporter.is_idle)
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(ValueError, match="broken"), history.step(step("while it stands still")):
            raise ValueError("broken")
        time.sleep(0.7)
        assert not reporter.is_idle
        os.kill(server.pid, signal.SIGCONT)
        wait_until(lambda: reporter.is_idle)
    wait_until(lambda: reporter.is_idle)
    assert "said while it is dead" in [line["message"] for line in read(server, "/logs/filter")]
    assert read_names(server, "/flow_runs/filter") == [("nightly world", "COMPLETED")]
    assert read_names(server, "/task_runs/filter") == [
        ("while it is dead", "COMPLETED"),
        ("while it stands still", "FAILED"),
    ]
    away, back = history.take_news()
    assert away.startswith("No history: nightboard's own Prefect server cannot be used (")
    assert back == "The history is written again: nightboard's own Prefect server answers."
    history.close()


def test_a_server_that_never_answers_is_told_of_once_and_the_end_waits_for_it_a_short_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    keep_prefect_quiet(Path("unused"), REPORTING_SETTINGS)
    monkeypatch.setattr(module, "FLUSH_AWAY_S", 0.3)
    history = History(Reporter(ConfiguredServer()))
    with open_run(history):
        for number in range(3):
            with history.step(step(f"step {number}")):
                history.log(logging.INFO, "line")
    history.close()
    (news,) = history.take_news()
    assert news.startswith("No history: the Prefect server at http://127.0.0.1:9/api cannot be used (")
    assert "\n" not in news


def test_a_report_that_the_server_refuses_is_left_out_and_the_rest_is_told(server: OwnServer) -> None:
    reporter = Reporter(server)
    history = History(reporter)
    with open_run(history):
        history.add_markdown("Not A Legal Key", "text", "refused")
        history.add_outcome("after it", None)
    wait_until(lambda: reporter.is_idle)
    assert read_names(server, "/task_runs/filter") == [("after it", "COMPLETED")]
    # A busy server may also have been away for a moment.
    assert [each for each in history.take_news() if "incomplete" in each] == [
        "The history of this run is incomplete: nightboard's own Prefect server: it answers 422 to /api/artifacts/."
    ]


def test_a_step_is_shown_as_its_task_is_declared_and_the_log_says_what_happened(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightboard.flows.prefect_server.history._BATCH_LINES", 3)
    reporter = Reporter(server)
    history = History(reporter)
    documented = step("discover", tags=["hub"], retries=1, retry_delay_seconds=5, description="Ask the Hub.")

    def run() -> None:
        with open_run(history):
            with history.step(documented):
                for number in range(7):
                    history.log(logging.INFO, f"line {number}")
                history.log(logging.WARNING, "a model is gone" + "!" * 20_000)
            raise ValueError("no such board")

    with pytest.raises(ValueError, match="no such board"):
        run()
    wait_until(lambda: reporter.is_idle)
    (run,) = read(server, "/task_runs/filter")
    assert (run["name"], run["tags"]) == ("discover", ["hub"])
    assert (run["empirical_policy"]["retries"], run["empirical_policy"]["retry_delay"]) == (1, 5)
    log = read(server, "/logs/filter")
    lines = [(line["level"], line["message"][:20]) for line in log]
    assert lines == [
        (logging.DEBUG, "discover: Ask the Hub."[:20]),
        *((logging.INFO, f"line {number}") for number in range(7)),
        (logging.WARNING, "a model is gone!!!!!"),
        (logging.ERROR, "Run failed: no such "),
    ]
    assert len(log[-2]["message"]) == 10_000
    assert [line["task_run_id"] for line in log] == [run["id"]] * 9 + [None]


def test_a_run_without_a_history_starts_no_server() -> None:
    with open_run(NO_HISTORY), NO_HISTORY.step(step("step")):
        NO_HISTORY.log(logging.INFO, "line")
    NO_HISTORY.close()
    assert NO_HISTORY.take_news() == []
