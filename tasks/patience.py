"""How often and how long a request to the Hub is tried again, in one place for every call of the Hub's client.

Owns the HTTP client that tries again on 408, 429, 5xx, lost connections and timeouts: exponential back-off with jitter,
`Retry-After` obeyed up to a cap. The client library's own retries cover only some calls, sleep as long as the server
says and never time out; they see no error any more, because this client gives up with HubUnavailable, which they
let pass. Knows no route of the Hub.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
RETRIED_ERRORS = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)


class HubError(Exception):
    """Something the Hub did not give; the message is one plain sentence without any secret."""


class HubUnavailable(HubError):
    """The Hub is down, overloaded or refuses us altogether; nothing about a single model can be concluded."""


@dataclass(frozen=True)
class Patience:
    """How long to go on. `sleep` is an argument so that tests need not wait."""

    tries: int = 6
    base_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_retry_after_s: float = 300.0
    connect_timeout_s: float = 20.0
    read_timeout_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, failed_tries: int, retry_after_s: float | None) -> float:
        """Seconds to wait after that many failed tries; jitter keeps many clients from coming back together."""
        if retry_after_s is not None:
            return min(retry_after_s, self.longest_retry_after_s)
        longest = min(self.longest_wait_s, self.base_s * 2.0 ** (failed_tries - 1))
        return longest * random.uniform(0.5, 1.0)


# The client is one for the process, but each Hub has its own patience.
_PATIENCE: ContextVar[Patience | None] = ContextVar("patience", default=None)
_everywhere: Patience | None = None


def be_patient_everywhere() -> None:
    """From now on every request of this process is tried again: for a process that does nothing else than download."""
    global _everywhere
    _everywhere = Patience()


@contextmanager
def patient(patience: Patience) -> Iterator[None]:
    """Requests inside the block, in this thread, are tried again as `patience` says."""
    token = _PATIENCE.set(patience)
    try:
        yield
    finally:
        _PATIENCE.reset(token)


class PatientClient(httpx2.Client):
    """An HTTP client whose every request inside `patient` is tried again, then ends in HubUnavailable."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        patience = _PATIENCE.get() or _everywhere
        if patience is None:  # not a request of ours
            return super().send(request, **options)
        _limit_time(request, patience)
        for failed_tries in range(1, patience.tries + 1):
            trouble, retry_after_s = "", None
            try:
                response = super().send(request, **options)
                if response.status_code not in RETRIED_STATUSES:
                    return response
                trouble, retry_after_s = f"it answers {response.status_code}", read_retry_after(response.headers)
                response.close()
            except RETRIED_ERRORS as error:
                trouble = _describe(error)
            if failed_tries < patience.tries:
                patience.sleep(patience.wait_s(failed_tries, retry_after_s))
        where, how_often = _origin(request), f"after {patience.tries} tries"
        raise HubUnavailable(f"The Hub at {where} is not available ({trouble}, {how_often}). Try again later.")


def read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the server asks to wait: `Retry-After` in seconds or as a date, or the Hub's `RateLimit` header."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    if value:
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None
    exhausted = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    return float(exhausted[1]) if exhausted else None


def _limit_time(request: httpx2.Request, patience: Patience) -> None:
    """Give a request limits where its caller set none: a Hub that accepts and never answers would hang the night."""
    given = request.extensions.get("timeout") or {}
    limits = {"connect": patience.connect_timeout_s, "pool": None}
    timeout = {key: given.get(key) or limits.get(key, patience.read_timeout_s) for key in ("connect", "read", "write")}
    request.extensions = {**request.extensions, "timeout": {**timeout, "pool": given.get("pool")}}


def _describe(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    return "the connection fails" if isinstance(error, httpx2.NetworkError) else "the connection breaks off"


def _origin(request: httpx2.Request) -> str:
    """Scheme and host alone: the rest of an address may carry a signature or a password."""
    port = f":{request.url.port}" if request.url.port else ""
    return f"{request.url.scheme}://{request.url.host}{port}"
