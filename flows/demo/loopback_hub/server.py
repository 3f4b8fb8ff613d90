"""The Hub's protocol over HTTP, as far as huggingface_hub, datasets and transformers speak it to load things.

Owns routes and access. How an answer looks on the wire is http_answers.py's, what it says payloads.py's and
tree.py's.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from nightboard.flows.demo.loopback_hub import payloads, tree
from nightboard.flows.demo.loopback_hub.http_answers import Answering
from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.repos import Commit, HubError, Kind, Repo


@contextlib.contextmanager
def serve(hub: LoopbackHub, port: int = 0) -> Iterator[str]:
    """Serve a Hub on 127.0.0.1 and give the endpoint's URL. Afterwards the port is closed and connections are cut."""
    server = HubServer(hub, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.close_connections()
        server.server_close()
        thread.join()


# As many as the real Hub lists on a page.
DISCUSSIONS_PAGE = 10
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


class HubHandler(Answering):
    """Answers one connection: finds the route, checks access, asks for the content."""

    server: HubServer

    def do_GET(self) -> None:  # noqa: N802 (http.server calls it by this name)
        self._answer()

    def do_HEAD(self) -> None:  # noqa: N802 (likewise)
        self._answer()

    def do_POST(self) -> None:  # noqa: N802 (likewise)
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
            self._send_error(error)

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
        """The repository a request names; a private one does not exist for strangers, a disabled one for nobody.

        From an old name, and from one in other capitals, the Hub redirects.
        """
        if name := self.hub.find_name(groups["id"], _kind(groups)):
            self.extra_headers["Location"] = self.path.replace(f"/{groups['id']}", f"/{name}", 1)
            raise HubError(307, "", f"Temporary Redirect. Redirecting to {name}")
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
        fields = self._fields(payloads.LISTED_FULL if self._flag("full") else payloads.LISTED)
        if not self.query.get("expand"):
            fields += tuple(name for name in ("config", "cardData") if self._flag(name))
        page = self._take_page(repos, self.hub.page_size)
        self._send_json([payloads.describe_repo(repo, repo.head, fields) for repo in page])

    def show_repo(self, groups: dict[str, str]) -> None:
        repo = self._find_repo(groups)
        commit = repo.resolve(groups.get("rev", "main"))
        fields = self._fields(payloads.DESCRIBED)
        self._send_json(payloads.describe_repo(repo, commit, fields, blobs=self._flag("blobs")))

    def check_access(self, groups: dict[str, str]) -> None:
        self._check_gate(self._find_repo(groups))
        self._send_json({})

    def _check_gate(self, repo: Repo) -> None:
        if repo.gated and not self._is_accepted:
            status = 403 if self._token else 401
            raise HubError(status, "GatedRepo", f"Access to {repo.kind} {repo.repo_id} is restricted.")

    def list_tree(self, groups: dict[str, str]) -> None:
        expand = self._flag("expand")
        commit = self._find_commit(groups)
        rows = tree.list_tree(commit, groups.get("path", ""), recursive=self._flag("recursive"), expand=expand)
        self._send_json(self._take_page(rows, 50 if expand else 1000))

    def list_commits(self, groups: dict[str, str]) -> None:
        page = self._take_page(list(self._find_commit(groups).history()), 50)
        self._send_json([_describe_commit(commit) for commit in page])

    def list_refs(self, groups: dict[str, str]) -> None:
        repo = self._find_repo(groups)
        branches = {name: sha for name, sha in repo.branches.items() if not name.startswith("refs/")}
        refs = {"branches": ("refs/heads/", branches), "tags": ("refs/tags/", repo.tags), "converts": ("", {})}
        if self._flag("include_prs"):
            refs["pullRequests"] = ("", {name: repo.branches[name] for name in repo.branches.keys() - branches.keys()})
        answer: dict[str, list[Any]] = {
            kind: [{"name": name, "ref": f"{prefix}{name}", "targetCommit": sha} for name, sha in names.items()]
            for kind, (prefix, names) in refs.items()
        }
        self._send_json(answer)

    def list_discussions(self, groups: dict[str, str]) -> None:
        """Pull requests, the newest first; there are no other discussions."""
        status, start = self._text("status"), int(self._text("p") or 0) * DISCUSSIONS_PAGE
        rows = [
            {"num": each.number, "isPullRequest": True, "author": {"name": each.author}}
            for each in reversed(self._find_repo(groups).pull_requests)
            if status not in ("open", "closed") or each.is_open == (status == "open")
        ]
        page = rows[start : start + DISCUSSIONS_PAGE]
        self._send_json({"discussions": page, "count": len(rows), "start": start})

    def show_paths(self, groups: dict[str, str]) -> None:
        if "json" in (self.headers.get("Content-Type") or ""):
            asked = json.loads(self.body)
        else:
            form = parse_qs(self.body.decode())
            asked = {"paths": form.get("paths", []), "expand": form.get("expand", [""])[-1].lower() == "true"}
        rows = tree.describe_paths(self._find_commit(groups), asked["paths"], expand=bool(asked.get("expand")))
        self._send_json(rows)

    def send_file(self, groups: dict[str, str]) -> None:
        repo = self._find_repo(groups)
        commit = repo.resolve(groups["rev"])
        self.extra_headers = {"X-Repo-Commit": commit.sha}
        self._check_gate(repo)
        blob = commit.files.get(groups["path"])
        if blob is None:
            raise HubError(404, "EntryNotFound", "Entry not found")
        self._send_blob(blob)

    def _fields(self, default: tuple[str, ...]) -> tuple[str, ...]:
        asked = tuple(self.query.get("expand", ()))
        for name in asked:
            if name not in payloads.EXPANDABLE:
                raise HubError(400, "", f"expand: {name} is not a property")
        return asked or default


def _kind(groups: dict[str, str]) -> Kind:
    return "dataset" if groups.get("kind", "").startswith("dataset") else "model"


def _describe_commit(commit: Commit) -> dict[str, Any]:
    title, _, message = commit.message.partition("\n")
    return {
        "id": commit.sha,
        "title": title,
        "message": message.strip(),
        "authors": [{"user": "demo"}],
        "date": payloads.format_time(commit.at),
    }


_Handler = Callable[[HubHandler, dict[str, str]], None]
_API = r"/api/(?P<kind>models|datasets)"
_ROUTES: tuple[tuple[str, re.Pattern[str], _Handler], ...] = tuple(
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("GET HEAD", _API, HubHandler.list_repos),
        ("GET HEAD", rf"{_API}/{_ID}/auth-check", HubHandler.check_access),
        ("GET HEAD", rf"{_API}/{_ID}/refs", HubHandler.list_refs),
        ("GET HEAD", rf"{_API}/{_ID}/discussions", HubHandler.list_discussions),
        ("GET HEAD", rf"{_API}/{_ID}/revision/{_REV}", HubHandler.show_repo),
        ("GET HEAD", rf"{_API}/{_ID}/tree/{_REV}(?:/(?P<path>.*))?", HubHandler.list_tree),
        ("GET HEAD", rf"{_API}/{_ID}/commits/{_REV}", HubHandler.list_commits),
        ("POST", rf"{_API}/{_ID}/paths-info/{_REV}", HubHandler.show_paths),
        ("GET HEAD", rf"{_API}/{_ID}", HubHandler.show_repo),
        ("GET HEAD", rf"/(?:(?P<kind>datasets)/)?{_ID}/(?:resolve|raw)/{_REV}/(?P<path>.+)", HubHandler.send_file),
    )
)
