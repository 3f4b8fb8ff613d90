"""The Hub's protocol over HTTP, as far as huggingface_hub, datasets and transformers speak it to load things.

Owns routes, headers, paging and error codes. Decides nothing about content.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from nightboard.profiles.boards.demo import describe
from nightboard.profiles.boards.demo.repos import Blob, Commit, HubError, Kind, Repo

if TYPE_CHECKING:
    from nightboard.profiles.boards.demo.hub import LoopbackHub

T = TypeVar("T")

_ID = r"(?P<id>[^/]+?(?:/[^/]+?)??)"
_REV = r"(?P<rev>[^/]+)"


class HubServer(ThreadingHTTPServer):
    """Threads a connection, and knows its connections: a Hub that went down must not answer on an old one."""

    daemon_threads = True

    def __init__(self, hub: LoopbackHub, port: int) -> None:
        self.hub = hub
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), HubHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up in the middle of an answer is no trouble of ours."""


class HubHandler(BaseHTTPRequestHandler):
    """Answers one connection. Every answer goes through `_answer`, `_send_json` or `_send_file`."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes; with Nagle's algorithm each small answer would wait 40 ms.
    disable_nagle_algorithm = True
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; requests are in `hub.requests`."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    @property
    def hub(self) -> LoopbackHub:
        return self.server.hub

    def _answer(self) -> None:
        self.hub.requests.append((self.command, self.path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = {key.removesuffix("[]"): values for key, values in parse_qs(parts.query).items()}
        self.extra_headers: dict[str, str] = {}
        try:
            if fault := self.hub.take_fault(self.path):
                self._send_fault(*fault)
                return
            self._route(parts.path)
        except HubError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message} | self.extra_headers
            headers = {key: value for key, value in headers.items() if value}
            self._send(error.status, json.dumps({"error": error.message}).encode(), headers)

    def _send_fault(self, status: int, retry_after: float | None) -> None:
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self._send(status, b'{"error": "asked to fail"}', headers)

    def _route(self, path: str) -> None:
        for method, pattern, handler in _ROUTES:
            if (match := pattern.fullmatch(path)) and self.command in method:
                handler(self, {key: unquote(value) for key, value in match.groupdict().items() if value is not None})
                return
        raise HubError(404, "", f"no such page: {path}")

    # ------------------------------------------------------------------------------------------------ access

    @property
    def _is_accepted(self) -> bool:
        return self._token in self.hub.accepted_tokens

    @property
    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _find_repo(self, groups: dict[str, str]) -> Repo:
        """The repository a request names; a private one does not exist for strangers, a disabled one for nobody."""
        repo = self.hub.repo(groups["id"], _kind(groups))
        if repo.private and not self._is_accepted:
            raise HubError(404, "RepoNotFound", "Repository not found")
        if repo.disabled:
            raise HubError(403, "", "Access to this resource is disabled.")
        return repo

    def _find_commit(self, groups: dict[str, str]) -> Commit:
        return self._find_repo(groups).resolve(groups.get("rev", "main"))

    # ------------------------------------------------------------------------------------------------ routes

    def list_repos(self, groups: dict[str, str]) -> None:
        author, search = self._text("author"), self._text("search")
        repos = [repo for repo in self.hub.repos(_kind(groups)) if self._is_accepted or not repo.private]
        repos = [repo for repo in repos if author in ("", repo.repo_id.rpartition("/")[0])]
        repos = [repo for repo in repos if search.lower() in repo.repo_id.lower()]
        repos.sort(key=lambda repo: repo.repo_id)
        if self._text("sort") in ("lastModified", "createdAt"):
            by_creation = self._text("sort") == "createdAt"
            repos.sort(key=lambda repo: repo.created_at if by_creation else repo.head.at, reverse=True)
        fields = self._fields(describe.LISTED_FULL if self._flag("full") else describe.LISTED)
        if not self.query.get("expand"):
            fields += tuple(name for name in ("config", "cardData") if self._flag(name))
        page = self._take_page(repos, self.hub.page_size)
        self._send_json([describe.describe_repo(repo, repo.head, fields) for repo in page])

    def show_repo(self, groups: dict[str, str]) -> None:
        repo = self._find_repo(groups)
        commit = repo.resolve(groups.get("rev", "main"))
        fields = self._fields(describe.DESCRIBED)
        self._send_json(describe.describe_repo(repo, commit, fields, blobs=self._flag("blobs")))

    def list_tree(self, groups: dict[str, str]) -> None:
        expand = self._flag("expand")
        commit = self._find_commit(groups)
        rows = describe.list_tree(commit, groups.get("path", ""), recursive=self._flag("recursive"), expand=expand)
        self._send_json(self._take_page(rows, 50 if expand else 1000))

    def list_commits(self, groups: dict[str, str]) -> None:
        page = self._take_page(list(self._find_commit(groups).history()), 50)
        self._send_json([_describe_commit(commit) for commit in page])

    def list_refs(self, groups: dict[str, str]) -> None:
        repo = self._find_repo(groups)
        refs = {"branches": ("heads", repo.branches), "tags": ("tags", repo.tags)}
        answer: dict[str, list[Any]] = {
            kind: [{"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": sha} for name, sha in names.items()]
            for kind, (folder, names) in refs.items()
        }
        self._send_json(answer | {"converts": [], "pullRequests": []})

    def show_paths(self, groups: dict[str, str]) -> None:
        if "json" in (self.headers.get("Content-Type") or ""):
            asked = json.loads(self.body)
        else:
            form = parse_qs(self.body.decode())
            asked = {"paths": form.get("paths", []), "expand": form.get("expand", [""])[-1].lower() == "true"}
        rows = describe.describe_paths(self._find_commit(groups), asked["paths"], expand=bool(asked.get("expand")))
        self._send_json(rows)

    def send_file(self, groups: dict[str, str]) -> None:
        repo = self._find_repo(groups)
        commit = repo.resolve(groups["rev"])
        self.extra_headers = {"X-Repo-Commit": commit.sha}
        if repo.gated and not self._is_accepted:
            status = 403 if self._token else 401
            raise HubError(status, "GatedRepo", f"Access to {repo.kind} {repo.repo_id} is restricted.")
        blob = commit.files.get(groups["path"])
        if blob is None:
            raise HubError(404, "EntryNotFound", "Entry not found")
        self._send_blob(blob)

    # ----------------------------------------------------------------------------------------------- answers

    def _text(self, name: str) -> str:
        return self.query.get(name, [""])[-1]

    def _flag(self, name: str) -> bool:
        return self._text(name).lower() in ("true", "1")

    def _fields(self, default: tuple[str, ...]) -> tuple[str, ...]:
        asked = tuple(self.query.get("expand", ()))
        for name in asked:
            if name not in describe.EXPANDABLE:
                raise HubError(400, "", f"expand: {name} is not a property")
        return asked or default

    def _take_page(self, rows: list[T], longest: int) -> list[T]:
        """The page that the query's cursor names; a Link header leads to the next one."""
        size = min(int(self._text("limit") or longest), longest)
        start = int(self._text("cursor") or 0)
        if start + size < len(rows):
            query = {**self.query, "cursor": [str(start + size)]}
            host = self.headers.get("Host") or f"127.0.0.1:{self.server.server_port}"
            url = f"http://{host}{urlsplit(self.path).path}?{urlencode(query, doseq=True)}"
            self.extra_headers["Link"] = f'<{url}>; rel="next"'
        return rows[start : start + size]

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), self.extra_headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._send_head(status, len(body), {"Content-Type": "application/json; charset=utf-8"} | headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_blob(self, blob: Blob) -> None:
        start, end = self._asked_range(blob.size)
        headers = {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if blob.lfs_sha256:
            headers |= {"X-Linked-Etag": f'"{blob.lfs_sha256}"', "X-Linked-Size": str(blob.size)}
        status = 200
        if "Range" in self.headers:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        self._send_head(status, end - start, self.extra_headers | headers)
        if self.command != "HEAD":
            for block in blob.stream(start, end - start):
                self.wfile.write(block)

    def _asked_range(self, size: int) -> tuple[int, int]:
        """First byte and the one after the last; the whole file without a Range header."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "bytes=0-")
        start = int(match[1]) if match else 0
        if match is None or (start >= size and start > 0):
            self.extra_headers["Content-Range"] = f"bytes */{size}"
            raise HubError(416, "", "Range Not Satisfiable")
        return start, min(int(match[2]) + 1, size) if match[2] else size


def _kind(groups: dict[str, str]) -> Kind:
    return "dataset" if groups.get("kind", "").startswith("dataset") else "model"


def _describe_commit(commit: Commit) -> dict[str, Any]:
    title, _, message = commit.message.partition("\n")
    return {
        "id": commit.sha,
        "title": title,
        "message": message.strip(),
        "authors": [{"user": "demo"}],
        "date": describe.format_time(commit.at),
    }


_Handler = Callable[[HubHandler, dict[str, str]], None]
_API = r"/api/(?P<kind>models|datasets)"
_ROUTES: tuple[tuple[str, re.Pattern[str], _Handler], ...] = tuple(
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("GET HEAD", _API, HubHandler.list_repos),
        ("GET HEAD", rf"{_API}/{_ID}/refs", HubHandler.list_refs),
        ("GET HEAD", rf"{_API}/{_ID}/revision/{_REV}", HubHandler.show_repo),
        ("GET HEAD", rf"{_API}/{_ID}/tree/{_REV}(?:/(?P<path>.*))?", HubHandler.list_tree),
        ("GET HEAD", rf"{_API}/{_ID}/commits/{_REV}", HubHandler.list_commits),
        ("POST", rf"{_API}/{_ID}/paths-info/{_REV}", HubHandler.show_paths),
        ("GET HEAD", rf"{_API}/{_ID}", HubHandler.show_repo),
        ("GET HEAD", rf"/(?:(?P<kind>datasets)/)?{_ID}/(?:resolve|raw)/{_REV}/(?P<path>.+)", HubHandler.send_file),
    )
)
