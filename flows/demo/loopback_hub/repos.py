"""Repositories with a commit history, as a Hub keeps them: blobs, commits, branches and tags.

Owns ids: git blob ids, LFS hashes and commit shas, each computed as the real Hub's readers expect. Speaks no HTTP.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["model", "dataset"]
Gated = Literal[False, "auto", "manual"]

FIRST_COMMIT_AT = datetime(2026, 1, 1, tzinfo=UTC)
LFS_SUFFIXES = (".safetensors", ".gguf", ".bin")
LFS_ABOVE_BYTES = 10_000_000


class HubError(Exception):
    """A request that the Hub refuses, with the status and the X-Error-Code that the real one answers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _git_id(kind: str, content: Iterable[bytes], size: int) -> str:
    digest = hashlib.sha1(f"{kind} {size}\0".encode(), usedforsecurity=False)
    for block in content:
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Blob:
    """Content of a file version. A path is read where it lies, so that file must not change afterwards."""

    content: bytes | Path
    size: int
    oid: str
    lfs_sha256: str | None = None
    pointer_size: int | None = None

    @classmethod
    def store(cls, name: str, content: bytes | Path) -> Blob:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if not name.endswith(LFS_SUFFIXES) and size <= LFS_ABOVE_BYTES:
            return cls(content, size, _git_id("blob", _read_blocks(content), size))
        digest = hashlib.sha256()
        for block in _read_blocks(content):
            digest.update(block)
        sha256 = digest.hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return cls(content, size, _git_id("blob", [pointer], len(pointer)), sha256, len(pointer))

    @property
    def etag(self) -> str:
        return self.lfs_sha256 or self.oid

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        return b"".join(self.stream(start, self.size - start if length is None else length))

    def stream(self, start: int, length: int) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield self.content[start : start + length]
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while length > 0 and (block := file.read(min(length, 1 << 20))):
                length -= len(block)
                yield block


def _read_blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        yield from _iterate_file(file)


def _iterate_file(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(1 << 20):
        yield block


@dataclass(frozen=True)
class Commit:
    """One commit: all files of the repository after it."""

    sha: str
    parent: Commit | None = field(repr=False)
    message: str
    at: datetime
    files: Mapping[str, Blob] = field(repr=False)

    def history(self) -> Iterator[Commit]:
        """This commit and its ancestors, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def last_change(self, path: str) -> Commit:
        """The commit that last changed a file, or anything in a folder."""
        for commit in self.history():
            if commit.parent is None or _under(commit.files, path) != _under(commit.parent.files, path):
                return commit
        raise AssertionError("a history ends with a commit that has no parent")


def _under(files: Mapping[str, Blob], path: str) -> dict[str, str]:
    return {name: blob.oid for name, blob in files.items() if name == path or name.startswith(f"{path}/")}


@dataclass
class PullRequest:
    """A pull request, and whether it waits for an answer."""

    number: int
    author: str
    is_open: bool = True


@dataclass
class Repo:
    """A repository. `gated`, `private` and `disabled` may change; commits are only added."""

    repo_id: str
    kind: Kind
    gated: Gated = False
    private: bool = False
    disabled: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: list[PullRequest] = field(default_factory=list)

    def open_pull_request(self, files: Mapping[str, bytes | Path], author: str) -> PullRequest:
        """Commit the files to a new branch of the head."""
        number = len(self.pull_requests) + 1
        branch = f"refs/pr/{number}"
        self.branches[branch] = self.head.sha
        self.add_commit(files, f"Pull request {number}", branch, (), None)
        self.pull_requests.append(PullRequest(number, author))
        return self.pull_requests[-1]

    def add_commit(
        self, files: Mapping[str, bytes | Path], message: str, branch: str, delete: Iterable[str], at: datetime | None
    ) -> Commit:
        """Add a commit to a branch. Without a time it comes one hour after its parent: shas repeat from run to run."""
        parent = self.resolve(branch) if self.commits else None
        if at is None:
            at = parent.at + timedelta(hours=1) if parent else FIRST_COMMIT_AT
        after = dict(parent.files) if parent else {}
        for path in delete:
            if path not in after:
                raise HubError(404, "EntryNotFound", f"{self.repo_id}: no file {path} to delete on {branch}")
            del after[path]
        after |= {path: Blob.store(path, content) for path, content in files.items()}
        commit = Commit(self._make_sha(parent, after, message, at), parent, message, at, dict(sorted(after.items())))
        self.commits[commit.sha] = commit
        self.branches[branch] = commit.sha
        return commit

    def _make_sha(self, parent: Commit | None, files: Mapping[str, Blob], message: str, at: datetime) -> str:
        oids = sorted((path, blob.oid) for path, blob in files.items())
        # The id stands for the author: on the real Hub no two repositories share a commit by accident.
        content = [self.kind, self.repo_id, parent.sha if parent else None, oids, message, at.isoformat()]
        data = json.dumps(content).encode()
        return _git_id("commit", [data], len(data))

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    @property
    def created_at(self) -> datetime:
        return min(commit.at for commit in self.commits.values())

    def resolve(self, revision: str) -> Commit:
        """The commit that a sha, branch, tag or full ref names; RevisionNotFound when there is none."""
        for names, prefix in ((self.branches, "refs/heads/"), (self.tags, "refs/tags/")):
            if (sha := names.get(revision.removeprefix(prefix))) is not None:
                return self.commits[sha]
        if revision in self.commits:
            return self.commits[revision]
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
