"""A step is declared as a Prefect task, and run outside of Prefect's engine."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest
from prefect import Task
from prefect.context import FlowRunContext, TaskRunContext
from rich.console import Console

from nightboard.flows.display.console import Terminal
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.run.steps import run_step
from nightboard.tasks.hub.errors import HubUnavailable


@dataclass
class Run:
    """A step's run, which counts its tries and fails the first ones with `error`."""

    error: Exception = field(default_factory=lambda: HubUnavailable("no answer"))
    fails: int = 0
    tries: int = 0
    ui: Terminal = field(default_factory=lambda: Terminal(Console(file=io.StringIO())))
    history: History = NO_HISTORY


def ask(run: Run, word: str) -> str:
    assert TaskRunContext.get() is None
    assert FlowRunContext.get() is None
    run.tries += 1
    if run.tries <= run.fails:
        raise run.error
    return word


ASK = Task(ask, name="ask", retries=2, retry_delay_seconds=0)


def test_a_step_needs_no_server_and_runs_in_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert run_step(Run(), ASK, "yes") == "yes"


def test_a_hub_that_does_not_answer_is_asked_again_as_often_as_the_task_says() -> None:
    run = Run(fails=2)
    assert run_step(run, ASK, "yes") == "yes"
    given_up = Run(fails=3)
    with pytest.raises(HubUnavailable):
        run_step(given_up, ASK, "yes")
    assert (run.tries, given_up.tries) == (3, 3)


def test_another_error_ends_the_step_at_once() -> None:
    run = Run(error=ValueError("wrong"), fails=1)
    with pytest.raises(ValueError, match="wrong"):
        run_step(run, ASK, "yes")
    assert run.tries == 1
