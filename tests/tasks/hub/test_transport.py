"""What one request may cost, in bytes and time, and where the token goes: shown with servers that mean no good."""

from __future__ import annotations

import gzip
import itertools
import json
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from odd_server import Answer, OddServer, send, serve
from served_hub import ServedHub, make_model, serve_hub

from nightboard.tasks.hub import client as hub_module
from nightboard.tasks.hub.client import Hub, open_hub
from nightboard.tasks.hub.errors import HubError, HubUnavailable, Unreadable
from nightboard.tasks.hub.http_retry import RetryPolicy
from nightboard.tasks.hub.transport import withhold_token

MIB = 1024 * 1024
SHA = "0" * 40


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PAGE_BYTES", MIB)


def _hub(server: OddServer, token: str | None = None, **retry_policy: float) -> Hub:
    return Hub(server.url, token, RetryPolicy(sleep=lambda _: None, **retry_policy))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ bytes


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


def _bomb(body: bytes, encoding: str) -> Answer:
    return lambda handler: send(handler, body, Content_Encoding=encoding)


_ONCE = gzip.compress(bytes(100 * MIB), 1)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("answer", [_endless, _bomb(_ONCE, "gzip"), lambda h: send(h, b" " * 2 * MIB)])
def test_an_answer_is_taken_up_to_a_size_and_no_further(answer: Answer) -> None:
    with serve(answer) as server:
        tracemalloc.start()
        try:
            with pytest.raises(Unreadable, match=r"^The list of models of a is larger than 1048576 bytes\.$"):
                list(_hub(server).list_heads("a"))
            assert tracemalloc.get_traced_memory()[1] < 16 * MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(_ONCE), "gzip, gzip", "has a compression that was not requested"),
        (b"x", "br", "has a compression that was not requested"),
        (b"no gzip", "gzip", "compressed answer is damaged"),
        (gzip.compress(b"[]" * 500)[:-9], "gzip", "compressed answer is truncated"),
    ],
    ids=["twice", "unknown", "damaged", "cut"],
)
def test_an_answer_with_odd_compression_is_refused(body: bytes, encoding: str, reason: str) -> None:
    with serve(_bomb(body, encoding)) as server, pytest.raises(HubUnavailable, match=reason):
        list(_hub(server).list_heads("a"))


def test_a_compressed_answer_is_read() -> None:
    with serve(_bomb(gzip.compress(json.dumps({"id": "a/m", "sha": SHA}).encode()), "gzip")) as server:
        assert _hub(server).model_head("a/m").sha == SHA


def test_a_redirect_with_a_bomb_as_its_body_is_not_unpacked(small_pages: None) -> None:
    with serve(lambda h: send(h, _ONCE, 302, Location="/api/models?next", Content_Encoding="gzip")) as server:
        with pytest.raises(Unreadable, match="is larger than"):
            list(_hub(server).list_heads("a"))


def test_a_file_is_taken_up_to_the_size_that_the_tree_names(tmp_path: Path) -> None:
    with serve_hub() as served:
        sha = served.add("a/m", make_model())
        with pytest.raises(Unreadable, match=r"config.json is larger than 3 bytes\.$"):
            served.client().download_files("a/m", sha, {"config.json": 3}, tmp_path)
        size = len(make_model()["config.json"])
        served.client().download_files("a/m", sha, {"config.json": size}, tmp_path)
    assert (tmp_path / "config.json").stat().st_size == size


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"id": ' + b"9" * 5_000 + b"}", b'{"id": "\xff"}', b"[" + b'{"id": "a"},' * 10]
)
def test_an_answer_that_cannot_be_read_is_an_error_and_no_traceback(body: bytes) -> None:
    with serve(lambda handler: send(handler, body)) as server:
        for call in (lambda hub: list(hub.list_heads("a")), lambda hub: hub.model_head("a/m")):
            with pytest.raises(HubError):
                call(_hub(server))


def test_a_range_that_is_not_kept_to_costs_no_whole_file() -> None:
    with serve(_endless) as server:
        assert _hub(server).parameter_counts("a/m", SHA, ["model.safetensors"]) == {}


# ------------------------------------------------------------------------------------------------------------ pages


def test_a_listing_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head = json.dumps([{"id": f"a/m{next(numbers)}", "sha": SHA}]).encode()
        send(handler, head, Link=f'</api/models?page={next(numbers)}>; rel="next"')

    monkeypatch.setattr(hub_module, "MOST_PAGES", 5)
    with serve(answer) as server:
        seen = []
        with pytest.raises(HubError, match="has more than 5 pages"):
            seen += _hub(server).list_heads("a")
        with pytest.raises(HubError, match="has more than 5 pages"):
            _hub(server).tree("a/m", SHA)
        assert len(server.tokens) == 10


@pytest.mark.parametrize("limit", ["MOST_MODELS", "MOST_FILES"])
def test_a_listing_of_too_many_ends(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = {"type": "file", "path": "x", "size": 1, "oid": SHA, "id": "a/m", "sha": SHA}
    monkeypatch.setattr(hub_module, limit, 10)
    with serve(lambda handler: send(handler, json.dumps([file] * 20).encode())) as server:
        with pytest.raises(HubError, match=r"more than 10 (files|models)"):
            _ = list(_hub(server).list_heads("a")), _hub(server).tree("a/m", SHA)


def test_pages_that_lead_in_a_circle_are_left() -> None:
    with serve(lambda h: send(h, b"[]", Link=f'<{h.path}>; rel="next"')) as server:
        with pytest.raises(HubError, match="link in a loop"):
            list(_hub(server).list_heads("a"))
        assert len(server.tokens) == 2


# ------------------------------------------------------------------------------------------------------------- time


def _trickle(start: bytes) -> Answer:
    """An answer that is whole and good after three seconds."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        for _ in range(148):
            time.sleep(0.02)
            handler.wfile.write(b" ")
            handler.wfile.flush()
        handler.wfile.write(b"[]" if b"Content-Length" in start else b"\r\nContent-Length: 2\r\n\r\n[]")

    return answer


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 150\r\n\r\n"], ids=["head", "body"]
)
def test_an_answer_that_trickles_is_given_up(start: bytes) -> None:
    with serve(_trickle(start)) as server:
        with pytest.raises(HubUnavailable, match="no answer in time, after 2 tries"):
            list(_hub(server, answer_timeout_s=0.2, tries=2).list_heads("a"))


def test_tries_that_take_long_are_fewer() -> None:
    with serve(_trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 150\r\n\r\n")) as server:
        with pytest.raises(HubUnavailable, match="no answer in time, after 1 try"):
            list(_hub(server, answer_timeout_s=0.2, trying_s=0.1).list_heads("a"))


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_file_that_trickles_is_given_up(tmp_path: Path, hangs_up: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers = {"ETag": '"x"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"}
        if handler.command == "HEAD":
            send(handler, b"x" * 5_000, **{key.replace("-", "_"): value for key, value in headers.items()})
            return
        status = b"206 Partial Content" if handler.headers.get("Range") else b"200 OK"
        start = b"HTTP/1.1 " + status + b"\r\nContent-Length: 4000\r\n\r\n"
        if hangs_up:  # a little comes each time, so that the client would resume for ever
            handler.wfile.write(start + b"x")
            handler.close_connection = True
        else:
            _trickle(start)(handler)

    with serve(answer) as server:
        hub = _hub(server, slowest_bytes_s=100_000, slow_s=0.2)
        with pytest.raises(HubUnavailable, match=r"it takes too long \(less than 100000 bytes a second arrive\)"):
            hub.download_files("a/m", SHA, ["model.safetensors"], tmp_path)


# ------------------------------------------------------------------------------------------------------------ token


@pytest.fixture
def elsewhere() -> Iterator[OddServer]:
    """Another address, which would like to have the token."""
    with serve(lambda handler: send(handler, b"[]", ETag='"x"', X_Repo_Commit=SHA)) as server:
        yield server


def test_a_next_link_to_another_address_carries_no_token(elsewhere: OddServer) -> None:
    with serve(lambda h: send(h, b"[]", Link=f'<{elsewhere.url}/api/models?page=2>; rel="next"')) as server:
        for call in (lambda hub: list(hub.list_heads("a")), lambda hub: hub.tree("a/m", SHA)):
            call(_hub(server, "hf_secret"))
    assert [token for _, token in server.tokens] == ["Bearer hf_secret"] * 2
    assert [token for _, token in elsewhere.tokens] == [None] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_address_carries_no_token(elsewhere: OddServer, tmp_path: Path, status: int) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers = {"ETag": '"x"', "X_Repo_Commit": SHA, "X_Linked_Size": "2"}
        send(handler, b"", status, Location=elsewhere.url + handler.path, **headers)

    with serve(answer) as server:
        hub = _hub(server, "hf_secret")
        assert hub.read_small_file("a/m", SHA, "config.json") == b"[]"
        hub.download_files("a/m", SHA, ["config.json"], tmp_path)
        list(hub.list_heads("a"))
    assert {token for _, token in server.tokens} == {"Bearer hf_secret"}
    assert {token for _, token in elsewhere.tokens} == {None}
    assert len(elsewhere.tokens) >= 3


@pytest.mark.parametrize(
    ("endpoint", "environment", "is_sent"),
    [
        ("https://huggingface.co", {}, True),
        ("https://huggingface.co:443/", {}, True),
        ("http://huggingface.co", {}, False),
        ("https://huggingface.co.evil.example", {}, False),
        ("https://huggingface.co@evil.example", {}, False),
        ("https://hub.example", {}, False),
        ("https://hub.example", {"HF_ENDPOINT": "https://hub.example/"}, True),
        ("https://hub.example:8443", {"HF_ENDPOINT": "https://hub.example"}, False),
        ("http://hub.example", {"HF_ENDPOINT": "http://hub.example"}, False),
        ("http://127.0.0.1:8000", {}, False),
        ("http://127.0.0.1:8000", {"HF_ENDPOINT": "http://127.0.0.1:8000"}, True),
        ("http://[::1]:8000", {"NIGHTBOARD_TOKEN_HOSTS": "[::1]:8000, http://[::1]:8000"}, True),
        ("http://localhost:8000", {"NIGHTBOARD_TOKEN_HOSTS": "a.example, LOCALHOST:8000"}, True),
        ("https://hub.example", {"NIGHTBOARD_TOKEN_HOSTS": "hub.example"}, True),
        ("https://hub.example:8443", {"NIGHTBOARD_TOKEN_HOSTS": "hub.example"}, False),
        ("https://hub.example", {"NIGHTBOARD_TOKEN_HOSTS": "https://hub.example"}, True),
        ("http://hub.example", {"NIGHTBOARD_TOKEN_HOSTS": "hub.example"}, False),
        ("https://hub.example", {"NIGHTBOARD_TOKEN_HOSTS": ""}, False),
    ],
)
def test_the_token_goes_where_the_operator_has_said(endpoint: str, environment: dict[str, str], is_sent: bool) -> None:
    assert (withhold_token(endpoint, environment) is None) is is_sent


@pytest.mark.parametrize("address", ["hub.example", "https://[", "https://h:99999", "ftp://h", "https://"])
def test_what_is_no_address_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(HubUnavailable, match="is not a valid address of a Hub"):
        open_hub()


@pytest.mark.parametrize("allowed", ["", "HF_ENDPOINT", "NIGHTBOARD_TOKEN_HOSTS"])
def test_a_hub_that_only_the_board_names_gets_no_token_and_messages_say_so(
    monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "good")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with serve_hub() as served:
        _check_token(served, monkeypatch, allowed)


def _check_token(served: ServedHub, monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    sha = served.add("org/m", make_model(), gated=True)
    served.add("org/secret", make_model(), private=True)
    if allowed:
        monkeypatch.setenv(allowed, served.url)
    hub = open_hub(served.url)
    assert hub.token == ("good" if allowed else None)
    if allowed:
        assert hub.read_small_file("org/m", sha, "config.json")
        assert hub.model_head("org/secret").is_private
        return
    host = served.url.removeprefix("http://")
    advice = f"To send it there, set NIGHTBOARD_TOKEN_HOSTS={host} in the environment"
    for call in (lambda: hub.read_small_file("org/m", sha, "config.json"), lambda: hub.model_head("org/secret")):
        with pytest.raises(HubError, match=advice):
            call()
