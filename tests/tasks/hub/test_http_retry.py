"""Requests to the Hub are tried again, for how long and how often."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from served_hub import ServedHub, make_model, serve_hub

from nightboard.flows.demo.loopback_hub.server import HubHandler
from nightboard.tasks.hub import http_retry as patience_module
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.hub.http_retry import Announcer, RetryPolicy, format_time, read_retry_after


@pytest.fixture
def served_hub() -> Iterator[ServedHub]:
    with serve_hub() as served:
        yield served


def test_back_off_grows_with_jitter_up_to_a_limit() -> None:
    retry_policy = RetryPolicy(base_s=1, longest_wait_s=10)

    for failed_tries, longest in [(1, 1), (2, 2), (3, 4), (5, 10), (9, 10)]:
        waits = {retry_policy.wait_s(failed_tries, None) for _ in range(20)}
        assert longest / 2 <= min(waits) < max(waits) <= longest


def test_retry_after_is_obeyed_up_to_a_limit() -> None:
    retry_policy = RetryPolicy(longest_retry_after_s=300)

    assert retry_policy.wait_s(1, 17) == 17
    assert retry_policy.wait_s(1, 86_400) == 300


def test_retry_after_is_read_as_seconds_as_a_date_and_from_the_rate_limit() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    assert read_retry_after({"retry-after": "7"}) == 7
    assert read_retry_after({"retry-after": soon}) == pytest.approx(90, abs=3)
    assert read_retry_after({"ratelimit": '"api";r=0;t=55'}) == 55
    assert read_retry_after({"ratelimit": '"api";r=12;t=55'}) is None
    assert read_retry_after({"retry-after": "soon"}) is None
    assert read_retry_after({}) is None


def test_a_limited_call_waits_as_asked_and_succeeds(served_hub: ServedHub) -> None:
    served_hub.add("a/m", make_model())
    served_hub.loopback.fail_next(1, 429, retry_after=12)

    assert [head.model_id for head in served_hub.client().list_heads("a")] == ["a/m"]
    assert served_hub.waits == [12]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_every_call_is_tried_again(served_hub: ServedHub, status: int, tmp_path: Path) -> None:
    sha = served_hub.add("a/m", make_model())
    hub = served_hub.client()
    calls = [
        lambda: list(hub.list_heads("a")),
        lambda: hub.model_head("a/m"),
        lambda: hub.refs("a/m"),
        lambda: hub.tree("a/m", sha),
        lambda: hub.commit_date("a/m", sha),
        lambda: hub.read_small_file("a/m", sha, "config.json"),
        lambda: hub.parameter_counts("a/m", sha, ["model.safetensors"]),
        lambda: hub.download_files("a/m", sha, ["config.json"], tmp_path),
    ]
    for call in calls:
        served_hub.loopback.fail_next(2, status)
        call()
    assert len(served_hub.waits) == 2 * len(calls)


def test_a_hub_that_stays_busy_is_unavailable_after_the_last_try(served_hub: ServedHub) -> None:
    served_hub.loopback.fail_next(100, 503)

    with pytest.raises(HubUnavailable, match=r"it answered 503, after 4 tries.*Try again later"):
        list(served_hub.client(tries=4).list_heads("a"))
    assert len(served_hub.loopback.requests) == 4
    assert len(served_hub.waits) == 3


def test_a_hub_that_is_down_is_unavailable_with_one_sentence() -> None:
    waits: list[float] = []
    hub = Hub("http://127.0.0.1:9", token="hf_secret", retry_policy=RetryPolicy(tries=3, sleep=waits.append))

    with pytest.raises(
        HubUnavailable,
        match=r"^The Hub at http://127.0.0.1:9 is not available \(the connection failed.*\(internet, HTTPS_PROXY\)",
    ):
        hub.model_head("a/m")
    assert len(waits) == 2


def test_a_hub_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        retry_policy = RetryPolicy(tries=2, read_timeout_s=0.1, sleep=lambda _: None)
        hub = Hub(f"http://127.0.0.1:{silent.getsockname()[1]}", retry_policy=retry_policy)
        with pytest.raises(HubUnavailable, match="no answer in time, after 2 tries"):
            list(hub.list_heads("a"))


def test_an_address_that_is_no_hub_is_unavailable(served_hub: ServedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HubHandler, "_route", lambda self, path: self._send(200, b"<html>Log in to the hotel", {}))
    with pytest.raises(HubUnavailable, match="does not answer like a Hub"):
        served_hub.client().model_head("a/m")


# ------------------------------------------------------------------------------------------------ a long wait speaks


def _talkative(served_hub: ServedHub, lines: list[str], **retry_policy: float) -> Hub:
    return Hub(served_hub.url, None, RetryPolicy(sleep=served_hub.waits.append, **retry_policy), say=lines.append)  # type: ignore[arg-type]


def test_a_wait_that_the_hub_asks_for_is_told_with_its_end_when_it_begins(served_hub: ServedHub) -> None:
    served_hub.add("a/m", make_model())
    served_hub.loopback.fail_next(1, 429, retry_after=3600)
    lines: list[str] = []
    ends = {datetime.now().astimezone() + timedelta(seconds=3600)}

    assert [head.model_id for head in _talkative(served_hub, lines).list_heads("a")] == ["a/m"]

    ends.add(datetime.now().astimezone() + timedelta(seconds=3600))
    start = f"The Hub at {served_hub.url} asks to wait (it answered 429): waiting until "
    assert lines in [[f"{start}{format_time(end)}."] for end in ends]
    assert sum(served_hub.waits) == 3600


def test_a_hub_that_is_away_is_told_after_the_first_wait_and_a_stumble_is_not(served_hub: ServedHub) -> None:
    served_hub.add("a/m", make_model())
    lines: list[str] = []
    hub = _talkative(served_hub, lines)
    served_hub.loopback.fail_next(1, 503)
    hub.model_head("a/m")
    assert lines == []

    served_hub.loopback.fail_next(100, 503)
    with pytest.raises(HubUnavailable):
        hub.model_head("a/m")
    (line,) = lines
    assert line.startswith(f"The Hub at {served_hub.url} is not available (it answered 503): retrying until ")


def test_a_wait_longer_than_a_night_can_take_ends_at_once_and_says_until_when(served_hub: ServedHub) -> None:
    served_hub.loopback.fail_next(1, 429, retry_after=7200)

    with pytest.raises(
        HubUnavailable, match=r"it asks to wait until [-0-9 ]*\d\d:\d\d UTC, .* limit of 60 min .*\. Try again"
    ):
        served_hub.client().model_head("a/m")
    assert served_hub.waits == []


def test_all_the_waits_that_the_hub_asks_of_one_request_have_a_limit_together(served_hub: ServedHub) -> None:
    served_hub.loopback.fail_next(100, 429, retry_after=1500)

    with pytest.raises(HubUnavailable, match="asks to wait"):
        served_hub.client().model_head("a/m")
    assert sum(served_hub.waits) == 3000


@pytest.mark.parametrize("value", ["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_until_the_end_of_days_is_refused_in_words(
    served_hub: ServedHub, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    def answer(handler: HubHandler, _path: str) -> None:
        handler._send(429, b"", {"Retry-After": value})

    monkeypatch.setattr(HubHandler, "_route", answer)
    with pytest.raises(HubUnavailable):
        served_hub.client().model_head("a/m")


def test_many_that_wait_are_told_once(served_hub: ServedHub) -> None:
    served_hub.add("a/m", make_model())
    all_have_failed = threading.Barrier(8)
    lines: list[str] = []
    # Each caller fails once: nobody asks again before all have.
    policy = RetryPolicy(sleep=lambda _: all_have_failed.wait(60))  # type: ignore[arg-type,return-value]
    hub = Hub(served_hub.url, None, policy, say=lines.append)
    served_hub.loopback.fail_next(8, 429, retry_after=400)

    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(hub.model_head, ["a/m"] * 8))
    assert [head.model_id for head in heads] == ["a/m"] * 8
    assert len(lines) == 1


def test_a_wait_is_told_again_when_it_gets_later_and_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    announcer, now = Announcer(lines.append), datetime.now(UTC)
    for minutes in (10, 10, 60, 60):
        announcer.announce("waiting", now + timedelta(minutes=minutes))
    assert len(lines) == 2
    monkeypatch.setattr(patience_module, "REPEAT_S", 0.0)
    announcer.announce("waiting", now + timedelta(minutes=60))
    assert len(lines) == 3


def test_a_time_is_told_as_short_as_it_can_be() -> None:
    now = datetime.now(UTC)
    tomorrow = (now + timedelta(days=1, hours=1)).astimezone(timezone(timedelta(hours=9)))

    assert format_time(tomorrow) == tomorrow.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    assert format_time(now).endswith(now.strftime("%H:%M:%S UTC"))
