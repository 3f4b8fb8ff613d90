"""Lists request files: in folders, in datasets on the Hub, and in open pull requests to these.

A file is known by its source, path and content, so that the same content is read once. Reads no Hub's file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.responses import TreeFile
from nightboard.tasks.requests.request_file import MOST_BYTES
from nightboard.tasks.store.texts import clean_text

_ENDING = ".json"
_MOST_PATH = 4_000

FileKey = tuple[str, str, str]
"""Source, path, and an id of the content."""


@dataclass(frozen=True)
class SourceFile:
    """A request file that can be read. `revision`: the commit that holds it; `author`: who asks to add it."""

    source: str
    path: str
    blob_id: str
    size: int
    read: Callable[[], bytes]
    revision: str | None = None
    author: str | None = None

    @property
    def key(self) -> FileKey:
        return self.source, self.path, self.blob_id


@dataclass(frozen=True)
class FileSet:
    """Request files that are there together; of a dataset, in a commit, which never changes."""

    source: str
    revision: str | None
    files: Callable[[], Iterator[SourceFile]]

    @property
    def key(self) -> FileKey | None:
        """What is remembered when all of it was read."""
        return (self.source, "", self.revision) if self.revision else None


def list_folder(folder: Path) -> Iterator[FileSet]:
    """The request files below a folder. Links and hidden files are left out. Raises OSError without the folder."""
    os.stat(folder)
    source = f"folder:{folder}"
    yield FileSet(source, None, lambda: _walk(source, folder))


def _walk(source: str, folder: Path) -> Iterator[SourceFile]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.endswith(_ENDING) and not name.startswith(".") and stat.S_ISREG((facts := path.lstat()).st_mode):
                yield _read_file(source, folder, path, facts)


def _read_file(source: str, folder: Path, path: Path, facts: os.stat_result) -> SourceFile:
    is_small = facts.st_size <= MOST_BYTES
    content = path.read_bytes() if is_small else f"{facts.st_size} {facts.st_mtime_ns}".encode()
    name, blob_id = clean_text(str(path.relative_to(folder)), _MOST_PATH), hashlib.sha256(content).hexdigest()
    return SourceFile(source, name, blob_id, facts.st_size, lambda: content)


def list_dataset(hub: Hub, dataset_id: str, seen: Collection[FileKey]) -> Iterator[FileSet]:
    """The head of a dataset, then its open pull requests, of which only added files count. `seen`: what was read.

    Raises HubError.
    """
    source, head = f"dataset:{dataset_id}", hub.dataset_sha(dataset_id)
    if (source, "", head) not in seen:
        yield FileSet(source, head, lambda: _list_commit(hub, dataset_id, head, None))
    pull_requests = hub.open_pull_requests(dataset_id)
    commits = hub.refs(dataset_id, "dataset", with_pull_requests=True).pull_requests if pull_requests else {}
    paths: set[str] = set()
    for each in pull_requests:
        sha = commits.get(each.ref)
        if sha is None or (source, "", sha) in seen:
            continue
        paths = paths or {file.path for file in hub.list_files(dataset_id, head, "dataset")}
        yield FileSet(source, sha, _added(hub, dataset_id, sha, each.author or each.ref, paths))


def _added(
    hub: Hub, dataset_id: str, sha: str, author: str, paths: Collection[str]
) -> Callable[[], Iterator[SourceFile]]:
    return lambda: (file for file in _list_commit(hub, dataset_id, sha, author) if file.path not in paths)


def _list_commit(hub: Hub, dataset_id: str, sha: str, author: str | None) -> Iterator[SourceFile]:
    def reader(file: TreeFile) -> Callable[[], bytes]:
        return lambda: hub.read_small_file(dataset_id, sha, file.path, "dataset", MOST_BYTES)

    for file in hub.list_files(dataset_id, sha, "dataset"):
        if file.path.endswith(_ENDING):
            yield SourceFile(f"dataset:{dataset_id}", file.path, file.content_id, file.size, reader(file), sha, author)
