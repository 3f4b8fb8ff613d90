"""How often and how long a request to the Hub is tried again, in one place for every call of the Hub's client.

Owns the HTTP client that tries again on 408, 429, 5xx, lost connections and timeouts: exponential back-off with jitter,
`Retry-After` obeyed as long as a night can wait. The client library's own retries cover only some calls, sleep as long
as the server says and never time out; they see no error any more, because this client gives up with HubUnavailable,
which they let pass. A wait that is worth knowing of is announced. Knows no route of the Hub.
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
# A first wait up to this is no news: the Hub stumbles, and answers the second time.
_QUIET_S = 10.0
# What goes on for long is told again so often.
REPEAT_S = 600.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on. `sleep` is an argument so that tests need not wait.

    `longest_retry_after_s`: all the waiting that the Hub may ask of one request. `answer_timeout_s`: from the first
    step to the last byte of a small answer; `trying_s`: over all tries, without the waits. `slowest_bytes_s`: what must
    arrive of a file each second, on average over `slow_s`.
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
        """Seconds to wait after that many failed tries; jitter keeps many clients from coming back together."""
        if retry_after_s is not None:
            return min(retry_after_s, self.longest_retry_after_s)
        return self._longest_s(failed_tries) * random.uniform(0.5, 1.0)

    def left_s(self, failed_tries: int) -> float:
        """The longest that the waits after these tries can take together, where the Hub asks for none."""
        return sum(self._longest_s(number) for number in range(failed_tries, self.tries))

    def _longest_s(self, failed_tries: int) -> float:
        return min(self.longest_wait_s, self.base_s * 2.0 ** (failed_tries - 1))


Say = Callable[[str], None]


@dataclass
class Announcer:
    """Says that we wait for the Hub, and until when: once for all threads, again when it gets later, or takes long."""

    say: Say
    _said_at: float = field(default=float("-inf"), init=False)
    _until: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def announce(self, what: str, until: datetime) -> None:
        """Say it, unless that much is known."""
        with self._lock:
            is_later = until > self._until + timedelta(minutes=1)
            if is_later or time.monotonic() - self._said_at >= REPEAT_S:
                self._said_at, self._until = time.monotonic(), until
                self.say(f"{what} until {tell_time(until)}.")


def tell_time(at: datetime) -> str:
    """A time of day as it is here, with the day when it is another, with seconds when it is soon."""
    here, now = at.astimezone(), datetime.now().astimezone()
    form = "%H:%M:%S" if abs(here - now) < timedelta(minutes=2) else "%H:%M"
    return here.strftime(form if here.date() == now.date() else f"%Y-%m-%d {form}")


@dataclass(frozen=True)
class Asking:
    """What holds for requests of one kind: retries, who is told of waits, where the token may go, the size allowed."""

    retry_policy: RetryPolicy
    origin: str | None = None
    announcer: Announcer | None = None
    most_bytes: int = MOST_FILE_BYTES
    speed: Speed | None = None

    def bounds(self, *, is_stream: bool) -> Bounds:
        """Limits of one request; the speed of a file is watched over all requests for it."""
        if not is_stream:
            return Bounds(self.origin, min(self.most_bytes, MOST_ANSWER_BYTES))
        speed = self.speed or Speed(self.retry_policy.slowest_bytes_s, self.retry_policy.slow_s)
        return Bounds(self.origin, self.most_bytes, speed)


# The client is one for the process, but each Hub has its own retry_policy.
_ASKING: ContextVar[Asking | None] = ContextVar("asking", default=None)
_everywhere: Asking | None = None


def retry_everywhere(origin: str | None, announcer: Announcer | None = None) -> None:
    """From now on every request of this process is tried again: for a process that does nothing else than download."""
    global _everywhere
    _everywhere = Asking(RetryPolicy(), origin, announcer)


@contextmanager
def asking(what: Asking) -> Iterator[None]:
    """Requests inside the block, in this thread, are tried again and bounded as `what` says."""
    token = _ASKING.set(what)
    try:
        yield
    finally:
        _ASKING.reset(token)


class RetryingClient(BoundedClient):
    """An HTTP client whose every request inside `asking` is tried again, then ends in HubUnavailable."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        what = _ASKING.get() or _everywhere
        if what is None:  # not a request of ours
            return super().send(request, **options)
        return self._send_patiently(request, what, options)

    def _send_patiently(self, request: httpx2.Request, what: Asking, options: dict[str, Any]) -> httpx2.Response:
        retry_policy, bounds = what.retry_policy, what.bounds(is_stream=bool(options.get("stream")))
        _limit_time(request, retry_policy)
        trying_s = waited_s = 0.0
        for failed_tries in range(1, retry_policy.tries + 1):
            trouble, asked_s, started = "", None, time.monotonic()
            try:
                response = self.send_bounded(request, bounds, retry_policy.answer_timeout_s, **options)
                if response.status_code not in RETRIED_STATUSES:
                    return response
                trouble, asked_s = f"it answers {response.status_code}", read_retry_after(response.headers)
                response.close()
            except RETRIED_ERRORS as error:
                trouble = _describe(error)
            trying_s += time.monotonic() - started
            if asked_s is not None and waited_s + asked_s > retry_policy.longest_retry_after_s:
                raise HubUnavailable(_refuse_to_wait(request, trouble, asked_s, retry_policy))
            if failed_tries == retry_policy.tries or trying_s > retry_policy.trying_s:
                break
            wait_s = retry_policy.wait_s(failed_tries, asked_s)
            waited_s += wait_s
            _wait(request, what, trouble, wait_s, failed_tries, is_asked=asked_s is not None)
        where, how_often = _origin(request), f"after {failed_tries} {'try' if failed_tries == 1 else 'tries'}"
        raise HubUnavailable(f"The Hub at {where} is not available ({trouble}, {how_often}). Try again later.")


def _wait(
    request: httpx2.Request, what: Asking, trouble: str, wait_s: float, failed_tries: int, *, is_asked: bool
) -> None:
    """Wait before the next try; say so, unless it is the first and short."""
    retry_policy, hub = what.retry_policy, f"The Hub at {_origin(request)}"
    ends_at = datetime.now(UTC) + timedelta(seconds=wait_s if is_asked else retry_policy.left_s(failed_tries))
    reason, action = ("asks us to wait", "waiting") if is_asked else ("is not available", "trying again")
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
        until = tell_time(datetime.now(UTC) + timedelta(seconds=asked_s))
    except OverflowError:
        until = "the end of days"
    limit = f"{retry_policy.longest_retry_after_s / 60:.0f} min"
    return (
        f"The Hub at {_origin(request)} is not available ({trouble}): it asks us to wait until {until}, and one request"
        f" waits {limit} at most. Try again then."
    )


def read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the server asks to wait: `Retry-After` in seconds or as a date, or the Hub's `RateLimit` header."""
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
    """Give a request limits where its caller set none: a Hub that accepts and never answers would hang the night."""
    given = request.extensions.get("timeout") or {}
    limits = {"connect": retry_policy.connect_timeout_s, "pool": None}
    timeout = {
        key: given.get(key) or limits.get(key, retry_policy.read_timeout_s) for key in ("connect", "read", "write")
    }
    request.extensions = {**request.extensions, "timeout": {**timeout, "pool": given.get("pool")}}


def _describe(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    return "the connection fails" if isinstance(error, httpx2.NetworkError) else "the connection breaks off"


def _origin(request: httpx2.Request) -> str:
    """Scheme and host alone: the rest of an address may carry a signature or a password."""
    port = f":{request.url.port}" if request.url.port else ""
    return f"{request.url.scheme}://{request.url.host}{port}"
