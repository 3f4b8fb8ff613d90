"""A loopback server that answers as a test says, byte by byte if it has to, and notes which requests bring a token."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class OddServer:
    """`tokens`: path and `Authorization` header of every request so far, in order."""

    url: str = ""
    tokens: list[tuple[str, str | None]] = field(default_factory=list)

    def tokens_of(self, part: str) -> list[str | None]:
        return [token for path, token in self.tokens if part in path]


@contextlib.contextmanager
def serve(answer: Answer) -> Iterator[OddServer]:
    """Serve until the block ends; a client that hangs up is no error, and a trickle stops."""
    odd = OddServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            odd.tokens.append((self.path, self.headers.get("Authorization")))
            with contextlib.suppress(OSError):
                answer(self)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_args: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    odd.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield odd
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """A whole answer; `_` in a header's name stands for `-`."""
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
