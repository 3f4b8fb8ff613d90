"""Listens for the Hub's webhook: a watched model that changes gets a nightly run of its own.

Of what it is sent it believes the model's name only, and that only with the right secret: what has changed is asked of
the Hub by the run.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Scheduled
from pydantic import BaseModel, ValidationError

from nightboard.flows.prefect_server.server import ConfiguredServer, ServerError
from nightboard.flows.run.deployed import tag_board
from nightboard.profiles.loading.load import BoardBundle
from nightboard.profiles.model_settings import is_watched
from nightboard.profiles.models.base import MODEL_ID_PATTERN
from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.store.records import utc_now

PATH = "/webhook"
SECRET_VARIABLE, SECRET_HEADER = "NIGHTBOARD_WEBHOOK_SECRET", "X-Webhook-Secret"
# The Hub's payloads are some kilobytes long.
MOST_BYTES = 1_000_000
READ_TIMEOUT_S = 10.0
# A model is often uploaded in many commits: the run starts so long after the first, and the others wait for it.
SETTLE_FOR = timedelta(minutes=1)


@dataclass(frozen=True)
class Listening:
    """Where to listen, and the secret that the Hub must know."""

    host: str
    port: int
    secret: str


class Refused(Exception):
    """A request that starts nothing: the status and the text of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def read_secret() -> str:
    """The webhook's secret. Raises ServerError if there is none."""
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        raise ServerError(f"{SECRET_VARIABLE} is not set. Set it to the secret of the webhook in the Hub's settings")
    return secret


# ------------------------------------------------------------------------------------------------------------- payload


class _Event(BaseModel):
    action: str
    scope: str


class _Repo(BaseModel):
    type: str
    name: str
    headSha: str | None = None  # noqa: N815


class _UpdatedRef(BaseModel):
    ref: str
    newSha: str | None = None  # noqa: N815


class _Payload(BaseModel):
    """What is read of the Hub's payload."""

    event: _Event
    repo: _Repo
    updatedRefs: list[_UpdatedRef] | None = None  # noqa: N815


@dataclass(frozen=True)
class Change:
    """A model has changed. `key` is the same when this is told again."""

    model_id: str
    key: str


def read_change(body: bytes) -> Change | None:
    """The model that the Hub says has changed, if any. Raises Refused for what is no payload of the Hub."""
    try:
        payload = _Payload.model_validate_json(body)
    except ValidationError as error:
        raise Refused(400, f"this is no payload of the Hub's webhook ({error.error_count()} mistakes)") from error
    event, repo = payload.event, payload.repo
    if repo.type != "model" or not event.scope.startswith("repo") or event.action not in ("create", "update"):
        return None
    if not re.fullmatch(MODEL_ID_PATTERN, repo.name):
        raise Refused(400, "repo.name is not the id of a model")
    refs = sorted((each.ref, each.newSha or "") for each in payload.updatedRefs or ())
    return Change(repo.name, f"nightboard webhook {hash_json([repo.name, repo.headSha, refs])}")


# ---------------------------------------------------------------------------------------------------------------- runs


def start_run(client: SyncPrefectClient, bundle: BoardBundle, change: Change) -> bool:
    """Start a nightly run for the model alone, unless one is about to; says whether it did."""
    tags = [tag_board(bundle), f"model:{change.model_id}"]
    waiting = {"tags": {"all_": tags}, "state": {"type": {"any_": [StateType.SCHEDULED]}}}
    if client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(waiting), limit=1):
        return False
    deployment = client.read_deployment_by_name(f"nightly/{bundle.board.board}")
    client.create_flow_run_from_deployment(
        deployment.id,
        parameters={"models": [change.model_id]},
        state=Scheduled(scheduled_time=utc_now() + SETTLE_FOR),
        tags=tags,
        idempotency_key=change.key,
    )
    return True


# -------------------------------------------------------------------------------------------------------------- server


@contextlib.contextmanager
def listen(bundle: BoardBundle, at: Listening) -> Iterator[int]:
    """Answer the Hub from a thread of its own until this closes; yields the port. Raises ServerError."""
    starting = threading.Lock()

    def take(change: Change) -> str:
        if not is_watched(bundle.watch, change.model_id):
            raise Refused(404, f"{change.model_id} is not watched by board {bundle.board.board}")
        try:
            # One after the other, so that of two at once the second one sees the run of the first.
            with starting, ConfiguredServer().open_client() as client:
                is_new = start_run(client, bundle, change)
        except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound, RuntimeError) as error:
            raise Refused(503, f"the Prefect server started no run ({type(error).__name__}); send it again") from error
        return f"a run for {change.model_id} {'starts soon' if is_new else 'is about to start already'}"

    try:
        server = _Server((at.host, at.port), make_handler(at.secret, take))
    except (OSError, OverflowError) as error:
        raise ServerError(
            f"{at.host}:{at.port}: cannot be listened on ({error}). Choose another --webhook-port or --webhook-host"
        ) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_args: object) -> None:
        """Somebody who hangs up is nobody's mistake here."""


def make_handler(secret: str, take: Callable[[Change], str]) -> type[BaseHTTPRequestHandler]:
    """Answers requests: `take` is given each change, and returns or refuses with the text of the answer."""

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT_S

        def do_POST(self) -> None:
            try:
                change = read_change(self._read_body())
                status, text = (202, take(change)) if change else (200, "nothing to do: no model has changed")
            except Refused as refused:
                status, text = refused.status, str(refused)
            self._answer(status, text)

        def _read_body(self) -> bytes:
            """The body of a request that may be read."""
            if self.path.partition("?")[0] != PATH:
                raise Refused(404, f"the webhook is at {PATH}")
            given = self.headers.get(SECRET_HEADER, "")
            # What came is one character a byte.
            if not hmac.compare_digest(given.encode("latin-1"), secret.encode()):
                raise Refused(401, f"{SECRET_HEADER} is missing or wrong")
            length = self.headers.get("Content-Length", "")
            if not re.fullmatch(r"[0-9]{1,12}", length):
                raise Refused(411, "Content-Length is missing")
            if int(length) > MOST_BYTES:
                raise Refused(413, f"the body is longer than {MOST_BYTES:,} bytes")
            try:
                return self.rfile.read(int(length))
            except OSError as error:
                raise Refused(408, "the body did not come") from error

        def _answer(self, status: int, text: str) -> None:
            body = f"{text}\n".encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
                # Whoever still sends reads the answer before the connection breaks.
                self.connection.shutdown(socket.SHUT_WR)

        def log_message(self, *_args: object) -> None:
            pass

    return Handler
