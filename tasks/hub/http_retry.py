"""Retries of requests to the Hub: how often, with which back-off, and how long; announces long waits.

The HTTP client here retries on 408, 429, 5xx, lost connections and timeouts: exponential back-off with jitter;
`Retry-After` is obeyed up to a limit. The client library's own retries cover only some calls, sleep as long as the
server says and never time out. They are bypassed: this client ends with HubUnavailable, which they do not catch.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.hub.transport import MOST_ANSWER_BYTES, MOST_FILE_BYTES, BoundedClient, Bounds, Speed

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
RETRIED_ERRORS = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)
# A first wait up to this is not announced: the Hub usually answers the second time.
_QUIET_S = 10.0
_UNREACHED = (
    "Check that this machine reaches it (internet, HTTPS_PROXY) and that the address is right (HF_ENDPOINT, or `hub` in"
    " the board), or try again later."
)
# A long wait is announced again at this interval.
REPEAT_S = 600.0


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of retries. `sleep` is an argument so that tests need not wait.

    `longest_retry_after_s`: longest total wait that the Hub can request for one request. `answer_timeout_s`: from the
    first step to the last byte of a small answer; `trying_s`: over all tries, without the waits. `slowest_bytes_s`:
    slowest accepted download speed, on average over `slow_s`.
    """

    tries: int = 6
    base_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_retry_after_s: float = 3600.0
    connect_timeout_s: float = 20.0
    read_timeout_s: float = 120.0
    answer_timeout_s: float = 180.0
    trying_s: float = 400.0
    slowest_bytes_s: float = 10_000.0
    slow_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, failed_tries: int, retry_after_s: float | None) -> float:
        """Seconds to wait after that many failed tries; jitter keeps many clients from retrying at the same moment."""
        if retry_after_s is not None:
            return min(retry_after_s, self.longest_retry_after_s)
        return self._longest_s(failed_tries) * random.uniform(0.5, 1.0)

    def left_s(self, failed_tries: int) -> float:
        """Upper bound of all waits after these tries, if the Hub requests none."""
        return sum(self._longest_s(number) for number in range(failed_tries, self.tries))

    def _longest_s(self, failed_tries: int) -> float:
        return min(self.longest_wait_s, self.base_s * 2.0 ** (failed_tries - 1))


Say = Callable[[str], None]


@dataclass
class Announcer:
    """Announces a wait for the Hub and its end: once for all threads, again if it gets longer or takes long."""

    say: Say
    _said_at: float = field(default=float("-inf"), init=False)
    _until: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def announce(self, what: str, until: datetime) -> None:
        """Announce the wait, unless it is already announced."""
        with self._lock:
            is_later = until > self._until + timedelta(minutes=1)
            if is_later or time.monotonic() - self._said_at >= REPEAT_S:
                self._said_at, self._until = time.monotonic(), until
                self.say(f"{what} until {format_time(until)}.")


def format_time(at: datetime) -> str:
    """A time of day in UTC, with the date if it is another day, with seconds if it is soon."""
    at, now = at.astimezone(UTC), datetime.now(UTC)
    form = "%H:%M:%S UTC" if abs(at - now) < timedelta(minutes=2) else "%H:%M UTC"
    return at.strftime(form if at.date() == now.date() else f"%Y-%m-%d {form}")


@dataclass(frozen=True)
class Asking:
    """Settings of requests of one kind: retries, announcer, address that gets the token, largest answer."""

    retry_policy: RetryPolicy
    origin: str | None = None
    announcer: Announcer | None = None
    most_bytes: int = MOST_FILE_BYTES
    speed: Speed | None = None

    def bounds(self, *, is_stream: bool) -> Bounds:
        """Limits of one request; the speed of a file is measured over all requests for it."""
        if not is_stream:
            return Bounds(self.origin, min(self.most_bytes, MOST_ANSWER_BYTES))
        speed = self.speed or Speed(self.retry_policy.slowest_bytes_s, self.retry_policy.slow_s)
        return Bounds(self.origin, self.most_bytes, speed)


# The process has one client, but each Hub its own settings.
_ASKING: ContextVar[Asking | None] = ContextVar("asking", default=None)
_everywhere: Asking | None = None


def retry_everywhere(origin: str | None, announcer: Announcer | None = None) -> None:
    """From now on, retry all requests of this process: for a process that only downloads."""
    global _everywhere
    _everywhere = Asking(RetryPolicy(), origin, announcer)


@contextmanager
def asking(what: Asking) -> Iterator[None]:
    """Requests in the block, in this thread, are retried and limited as `what` says."""
    token = _ASKING.set(what)
    try:
        yield
    finally:
        _ASKING.reset(token)


class RetryingClient(BoundedClient):
    """An HTTP client that retries all requests inside `asking` and finally raises HubUnavailable."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        what = _ASKING.get() or _everywhere
        if what is None:  # not one of our requests
            return super().send(request, **options)
        return self._send_patiently(request, what, options)

    def _send_patiently(self, request: httpx2.Request, what: Asking, options: dict[str, Any]) -> httpx2.Response:
        retry_policy, bounds = what.retry_policy, what.bounds(is_stream=bool(options.get("stream")))
        _limit_time(request, retry_policy)
        trying_s = waited_s = 0.0
        for failed_tries in range(1, retry_policy.tries + 1):
            trouble, asked_s, advice, started = "", None, "Try again later.", time.monotonic()
            try:
                response = self.send_bounded(request, bounds, retry_policy.answer_timeout_s, **options)
                if response.status_code not in RETRIED_STATUSES:
                    return response
                trouble, asked_s = f"it answered {response.status_code}", read_retry_after(response.headers)
                response.close()
            except RETRIED_ERRORS as error:
                trouble, advice = _describe(error), _UNREACHED
            trying_s += time.monotonic() - started
            if asked_s is not None and waited_s + asked_s > retry_policy.longest_retry_after_s:
                raise HubUnavailable(_refuse_to_wait(request, trouble, asked_s, retry_policy))
            if failed_tries == retry_policy.tries or trying_s > retry_policy.trying_s:
                break
            wait_s = retry_policy.wait_s(failed_tries, asked_s)
            waited_s += wait_s
            _wait(request, what, trouble, wait_s, failed_tries, is_asked=asked_s is not None)
        where, how_often = _origin(request), f"after {failed_tries} {'try' if failed_tries == 1 else 'tries'}"
        raise HubUnavailable(f"The Hub at {where} is not available ({trouble}, {how_often}). {advice}")


def _wait(
    request: httpx2.Request, what: Asking, trouble: str, wait_s: float, failed_tries: int, *, is_asked: bool
) -> None:
    """Wait before the next try; announce it, unless it is the first and short."""
    retry_policy, hub = what.retry_policy, f"The Hub at {_origin(request)}"
    ends_at = datetime.now(UTC) + timedelta(seconds=wait_s if is_asked else retry_policy.left_s(failed_tries))
    reason, action = ("asks to wait", "waiting") if is_asked else ("is not available", "retrying")
    sentence = f"{hub} {reason} ({trouble}): {action}"
    while wait_s > 0:
        if what.announcer and (failed_tries > 1 or wait_s > _QUIET_S):
            what.announcer.announce(sentence, ends_at)
        part_s = min(wait_s, REPEAT_S)
        retry_policy.sleep(part_s)
        wait_s -= part_s
    if what.speed:
        what.speed.restart()


def _refuse_to_wait(request: httpx2.Request, trouble: str, asked_s: float, retry_policy: RetryPolicy) -> str:
    try:
        until = format_time(datetime.now(UTC) + timedelta(seconds=asked_s))
    except OverflowError:
        until = "a date beyond the calendar"
    limit = f"{retry_policy.longest_retry_after_s / 60:.0f} min"
    return (
        f"The Hub at {_origin(request)} is not available ({trouble}): it asks to wait until {until}, longer than the"
        f" limit of {limit} for one request. Try again after that time."
    )


def read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the server requests to wait: `Retry-After` (seconds or a date), or the Hub's `RateLimit` header."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d+)?", value):
        return float(value)
    if value:
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    exhausted = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,12})", headers.get("ratelimit", ""))
    return float(exhausted[1]) if exhausted else None


def _limit_time(request: httpx2.Request, retry_policy: RetryPolicy) -> None:
    """Give a request default limits, so that a Hub that accepts and never answers does not block the run."""
    given = request.extensions.get("timeout") or {}
    limits = {"connect": retry_policy.connect_timeout_s, "pool": None}
    timeout = {
        key: given.get(key) or limits.get(key, retry_policy.read_timeout_s) for key in ("connect", "read", "write")
    }
    request.extensions = {**request.extensions, "timeout": {**timeout, "pool": given.get("pool")}}


def _describe(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    return "the connection failed" if isinstance(error, httpx2.NetworkError) else "the connection was interrupted"


def _origin(request: httpx2.Request) -> str:
    """Only scheme and host: the rest of an address may contain a signature or a password."""
    port = f":{request.url.port}" if request.url.port else ""
    return f"{request.url.scheme}://{request.url.host}{port}"
