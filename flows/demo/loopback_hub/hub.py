"""A Hub on the loopback interface, for the demo and for tests: repositories with a history, served to the real client.

Owns what a caller can do with it: make repositories, commit, change access, inject faults. The wire is
server.py's, the repositories' content repos.py's. Nothing here is meant to face a network.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nightboard.flows.demo.loopback_hub.repos import Gated, HubError, Kind, Repo

_GIT_ATTRIBUTES = b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass
class _Fault:
    left: int
    status: int
    retry_after: float | None
    path_contains: str


class LoopbackHub:
    """Repositories and the server that shows them. All methods may be called while it serves.

    `accepted_tokens` open private repositories and the files of gated ones. `page_size` is the longest page of a
    listing of models or datasets (the real Hub's is 1000).
    """

    def __init__(self, accepted_tokens: Collection[str] = (), page_size: int = 1000) -> None:
        self.accepted_tokens = frozenset(accepted_tokens)
        self.page_size = page_size
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self._repos: dict[tuple[Kind, str], Repo] = {}
        self._new_names: dict[tuple[Kind, str], str] = {}
        self._faults: list[_Fault] = []

    def create_repo(
        self,
        repo_id: str,
        kind: Kind = "model",
        *,
        gated: bool | Gated = False,
        private: bool = False,
        disabled: bool = False,
    ) -> None:
        """Make a repository with the real Hub's first commit, which holds .gitattributes alone."""
        with self.lock:
            if (kind, repo_id) in self._repos:
                raise ValueError(f"{kind} {repo_id} already exists")
            self._repos[kind, repo_id] = Repo(repo_id, kind)
            self.set_access(repo_id, kind=kind, gated=gated, private=private, disabled=disabled)
            self.commit(repo_id, {".gitattributes": _GIT_ATTRIBUTES}, "initial commit", kind=kind)

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        message: str,
        *,
        kind: Kind = "model",
        branch: str = "main",
        delete: Sequence[str] = (),
        at: datetime | None = None,
    ) -> str:
        """Add files, replace them, delete others; returns the new sha. A branch other than main must exist.

        The sha follows from repository, parent, content, message and time. Without `at` the time is the parent's
        plus one hour, so that a history made by the same calls has the same shas.
        """
        with self.lock:
            return self.repo(repo_id, kind).add_commit(files, message, branch, delete, at).sha

    def tag(self, repo_id: str, tag: str, revision: str = "main", *, kind: Kind = "model") -> None:
        with self.lock:
            repo = self.repo(repo_id, kind)
            repo.tags[tag] = repo.resolve(revision).sha

    def create_branch(self, repo_id: str, branch: str, revision: str = "main", *, kind: Kind = "model") -> None:
        with self.lock:
            repo = self.repo(repo_id, kind)
            repo.branches[branch] = repo.resolve(revision).sha

    def open_pull_request(
        self, repo_id: str, files: Mapping[str, bytes | Path], author: str, *, kind: Kind = "model"
    ) -> int:
        """Open a pull request that adds or replaces files; returns its number. Its branch is refs/pr/<number>."""
        with self.lock:
            return self.repo(repo_id, kind).open_pull_request(files, author).number

    def close_pull_request(self, repo_id: str, number: int, *, kind: Kind = "model") -> None:
        """Refuse a pull request; its branch stays."""
        with self.lock:
            self.repo(repo_id, kind).pull_requests[number - 1].is_open = False

    def rename_repo(self, repo_id: str, new_id: str, kind: Kind = "model") -> None:
        """Give a repository another name; the Hub redirects from the old one."""
        with self.lock:
            repo = self.repo(repo_id, kind)
            del self._repos[kind, repo_id]
            repo.repo_id = new_id
            self._repos[kind, new_id] = repo
            self._new_names[kind, repo_id.lower()] = new_id

    def find_name(self, repo_id: str, kind: Kind) -> str | None:
        """The name that a repository has now, where it was renamed or is asked for in other capitals."""
        with self.lock:
            if (kind, repo_id) in self._repos:
                return None
            names = {name.lower(): name for its_kind, name in self._repos if its_kind == kind}
            return names.get(repo_id.lower()) or self._new_names.get((kind, repo_id.lower()))

    def delete_repo(self, repo_id: str, kind: Kind = "model") -> None:
        with self.lock:
            self.repo(repo_id, kind)
            del self._repos[kind, repo_id]

    def set_access(
        self,
        repo_id: str,
        *,
        kind: Kind = "model",
        gated: bool | Gated | None = None,
        private: bool | None = None,
        disabled: bool | None = None,
    ) -> None:
        """Change who may read a repository; what is left out stays. `gated=True` stands for "manual"."""
        with self.lock:
            repo = self.repo(repo_id, kind)
            if gated is not None:
                repo.gated = "manual" if gated is True else gated
            repo.private = repo.private if private is None else private
            repo.disabled = repo.disabled if disabled is None else disabled

    def fail_next(self, n: int, status: int, retry_after: float | None = None, path_contains: str = "") -> None:
        """Answer the next `n` requests whose path (with query) contains `path_contains` with an error status."""
        with self.lock:
            self._faults.append(_Fault(n, status, retry_after, path_contains))

    def repo(self, repo_id: str, kind: Kind = "model") -> Repo:
        """A repository, or RepoNotFound."""
        try:
            return self._repos[kind, repo_id]
        except KeyError:
            raise HubError(404, "RepoNotFound", f"Repository not found: {kind} {repo_id}") from None

    def repos(self, kind: Kind) -> list[Repo]:
        with self.lock:
            return [repo for (its_kind, _), repo in self._repos.items() if its_kind == kind]

    def take_fault(self, path: str) -> tuple[int, float | None] | None:
        """The status and Retry-After with which to fail this request, if one was asked for."""
        with self.lock:
            for fault in self._faults:
                if fault.left > 0 and fault.path_contains in path:
                    fault.left -= 1
                    return fault.status, fault.retry_after
        return None
