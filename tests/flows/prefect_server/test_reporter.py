"""A run's reports are sent in order; what an operator hears of a server that is busy or away."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nightboard.flows.prefect_server import reporter as module
from nightboard.flows.prefect_server.reporter import Reporter

AWAY = "No history: the Prefect server cannot be used (it answers 503 to /api/flow_runs). The run continues without it."
BACK = "The history is written again: the Prefect server answers."


class FakeServer:
    name = "the Prefect server"

    @contextlib.contextmanager
    def open_client(self) -> Iterator[Any]:
        yield object()

    def stop(self) -> None:
        """Nothing runs."""


@pytest.mark.parametrize(("n_busy", "news"), [(1, []), (2, [AWAY, BACK])])
def test_a_server_that_is_busy_once_is_no_news(n_busy: int, news: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.0)
    tries: list[object] = []

    def report(client: object) -> None:
        tries.append(client)
        if len(tries) <= n_busy:
            request = httpx.Request("POST", "http://prefect.test/api/flow_runs")
            raise httpx.HTTPStatusError("", request=request, response=httpx.Response(503, request=request))

    reporter = Reporter(FakeServer())
    reporter.add(report)
    reporter.close()
    assert len(tries) == n_busy + 1
    assert reporter.take_news() == news
