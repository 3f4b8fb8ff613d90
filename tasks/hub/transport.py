"""The HTTP client for the Hub: limits of size, time and speed of an answer, and the addresses that get the token.

Enforces the limits while an answer arrives: bytes as sent and after decompression, seconds for a small answer, a
minimum speed for a large file; and sends the `Authorization` header only to the Hub's own address. Retries are in
http_retry.py.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

PUBLIC_HUB = "https://huggingface.co"
# More addresses that get the token, with commas: hosts, or origins such as https://hub.example:8443.
TOKEN_HOSTS = "NIGHTBOARD_TOKEN_HOSTS"  # noqa: S105 (a name, not a password)
# The client itself rejects larger files over plain HTTP.
MOST_FILE_BYTES = 50 * 10**9
# Default limit of an answer that is held in memory.
MOST_ANSWER_BYTES = 256 * 1024 * 1024
_EXTENSION = "nightboard.bounds"
_STEP_BYTES = 1024 * 1024


class TooLarge(Exception):
    """An answer is larger than its limit; the message is a part of a sentence."""


class TooSlow(Exception):
    """A download is slower than the limit; the message is a part of a sentence."""


class Speed:
    """Checks that at least `least_bytes_s` arrive, on average over each window of `window_s`."""

    def __init__(self, least_bytes_s: float, window_s: float) -> None:
        self.least_bytes_s, self.window_s = least_bytes_s, window_s
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Start a window now: the time before was an intended wait."""
        self._since, self._bytes = time.monotonic(), 0

    def count(self, received: int) -> None:
        """Count received bytes. Raises TooSlow at the end of a window with too few."""
        with self._lock:
            self._bytes += received
            elapsed = time.monotonic() - self._since
            if elapsed < self.window_s:
                return
            if self._bytes < self.least_bytes_s * elapsed:
                raise TooSlow(f"less than {self.least_bytes_s:g} bytes a second arrive")
            self.restart()


@dataclass(frozen=True)
class Bounds:
    """Limits of one request. `origin`: the only address that gets the token; `speed`: for a streamed file."""

    origin: str | None
    most_bytes: int
    speed: Speed | None = None


def is_address(text: str) -> bool:
    """Whether a server can be at this address."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_private(url: httpx2.URL) -> bool:
    """Whether the connection is private: encrypted, or on this machine."""
    return url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host))


def withhold_token(endpoint: str, environment: Mapping[str, str]) -> str | None:
    """Why the operator's token is not sent to the Hub at `endpoint`; None if it is.

    It is sent to the public Hub, to the operator's HF_ENDPOINT and to the hosts in NIGHTBOARD_TOKEN_HOSTS, but not to
    a Hub that only a board file names, because anybody may have written that. Unencrypted only on this machine.
    """
    address = httpx2.URL(endpoint)
    if not is_private(address):
        return f"The token is not sent: {endpoint} is not encrypted. Use https."
    own = environment.get("HF_ENDPOINT") or PUBLIC_HUB
    if any(address.origin == httpx2.URL(trusted).origin for trusted in (PUBLIC_HUB, own)):
        return None
    allowed = [host.strip().lower().rstrip("/") for host in environment.get(TOKEN_HOSTS, "").split(",")]
    host = address.netloc.decode("ascii")
    if {host, f"{address.scheme}://{host}"} & set(allowed):
        return None
    return (
        f"The token is not sent: only the board file names {endpoint}. To send it there, set {TOKEN_HOSTS}={host} in"
        " the environment."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class BoundedClient(httpx2.Client):
    """An HTTP client that enforces the `Bounds` of a request, through all redirects."""

    def __init__(self) -> None:
        super().__init__(
            follow_redirects=True,
            headers={"Accept-Encoding": "gzip"},  # the only encoding that is decoded below
            event_hooks={"request": [_guard_token], "response": [_bound_answer]},
        )
        # Only at the socket does a time limit also apply to slow headers. The library supports a custom network back
        # end, but gives no way to pass one.
        for transport in (self._transport, *self._mounts.values()):
            if isinstance(transport, httpx2.HTTPTransport):
                assert hasattr(transport._pool, "_network_backend")
                transport._pool._network_backend = _TimedNetwork()

    def send_bounded(self, request: httpx2.Request, bounds: Bounds, seconds: float, **options: Any) -> httpx2.Response:
        """Send within `bounds`; the answer (for a stream, its beginning) must arrive within `seconds`."""
        if options.get("stream"):
            request.headers["Accept-Encoding"] = "identity"  # so that its size is known and it can be resumed
        request.extensions = {**request.extensions, _EXTENSION: bounds}
        with _until(time.monotonic() + seconds):
            return super().send(request, **options)


def _guard_token(request: httpx2.Request) -> None:
    """Remove the token from a request to another address than the Hub's, or over an open connection."""
    bounds = request.extensions.get(_EXTENSION)
    if isinstance(bounds, Bounds) and "Authorization" in request.headers:
        is_the_hub = bounds.origin is not None and request.url.origin == httpx2.URL(bounds.origin).origin
        if not is_the_hub or not is_private(request.url):
            del request.headers["Authorization"]


def _bound_answer(response: httpx2.Response) -> None:
    bounds = response.request.extensions.get(_EXTENSION)
    if isinstance(bounds, Bounds) and isinstance(response.stream, httpx2.SyncByteStream):
        encoding = response.headers.pop("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            response.headers.pop("Content-Length", None)  # the compressed size, not that of the content
        response.stream = _BoundedStream(response.stream, encoding, bounds)


@dataclass
class _BoundedStream(httpx2.SyncByteStream):
    """The decompressed bytes of an answer, within its bounds."""

    stream: httpx2.SyncByteStream
    encoding: str
    bounds: Bounds

    def __iter__(self) -> Iterator[bytes]:
        sent = self._limit(self._watch())
        if self.encoding in ("identity", ""):
            return sent
        if self.encoding in ("gzip", "x-gzip"):
            return self._limit(_gunzip(sent))
        raise httpx2.DecodingError("the answer has a compression that was not requested")

    def close(self) -> None:
        self.stream.close()

    def _watch(self) -> Iterator[bytes]:
        for block in self.stream:
            if self.bounds.speed:
                self.bounds.speed.count(len(block))
            yield block

    def _limit(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        left = self.bounds.most_bytes
        for block in blocks:
            left -= len(block)
            if left < 0:
                raise TooLarge(f"is larger than {self.bounds.most_bytes} bytes")
            yield block


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress in small steps: a block can expand to a thousand times its size."""
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for block in blocks:
            while block and not decompressor.eof:
                yield decompressor.decompress(block, _STEP_BYTES)
                block = decompressor.unconsumed_tail
        yield decompressor.flush()
    except zlib.error as error:
        raise httpx2.DecodingError("the compressed answer is damaged") from error
    if not decompressor.eof:
        raise httpx2.DecodingError("the compressed answer is truncated")


# ------------------------------------------------------------------------------------------------------------- time

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def _until(deadline: float) -> Iterator[None]:
    token = _DEADLINE.set(deadline)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def _time_left(limit_s: float | None, late: type[Exception]) -> float | None:
    """Seconds that a network step may take: its own limit, or the remaining time of the request."""
    deadline = _DEADLINE.get()
    if deadline is None:
        return limit_s
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("the time limit of this request is reached")
    return left if limit_s is None else min(limit_s, left)


class _TimedNetwork(httpcore2.SyncBackend):
    """Connections on which every step is limited to the remaining time of the request."""

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore2.NetworkStream:
        limit_s = _time_left(timeout, httpcore2.ConnectTimeout)
        return _TimedStream(super().connect_tcp(host, port, limit_s, *args, **options))


@dataclass
class _TimedStream(httpcore2.NetworkStream):
    stream: httpcore2.NetworkStream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, _time_left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, _time_left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        limit_s = _time_left(timeout, httpcore2.ConnectTimeout)
        return _TimedStream(self.stream.start_tls(ssl_context, server_hostname, limit_s))

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)
