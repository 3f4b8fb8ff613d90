"""Runs one step of a flow: a module-level Prefect task, whose declaration Prefect shows and whose function runs here.

No step runs in Prefect's engine, which needs a server that answers. The history reports each step under its task's
name, tags and retries instead, so that a server that is down, slow or full neither stops a run nor holds it up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from nightboard.flows.display.console import Terminal
from nightboard.flows.prefect_server.history import History
from nightboard.tasks.hub.errors import HubUnavailable

if TYPE_CHECKING:
    from prefect import Task


class Run(Protocol):
    """What every step needs of the run that it is part of: where to say what it does."""

    ui: Terminal
    history: History


R = TypeVar("R", bound=Run)
P = ParamSpec("P")
T = TypeVar("T")


def run_step(run: R, step: Task[Concatenate[R, P], T], *arguments: P.args, **options: P.kwargs) -> T:
    """Run a step. A task's retries are for a Hub that does not answer; anything else would fail the same way again."""
    show_news(run)
    with run.history.step(step):
        for _ in range(step.retries):
            try:
                return step.fn(run, *arguments, **options)
            except HubUnavailable:
                time.sleep(float(step.retry_delay_seconds or 0))  # type: ignore[arg-type]
        return step.fn(run, *arguments, **options)


def show_news(run: Run) -> None:
    """Say what has happened to the history, which is no problem of the run itself."""
    for text in run.history.take_news():
        run.ui.warn(text)
