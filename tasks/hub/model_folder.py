"""Integrity of a model's folder in the cache: the list of its files, write protection, checks before it is loaded.

A folder holds exactly the files of its fingerprint; the list is next to the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nightboard.tasks.hub.fingerprint import INDEX_FILE, ScoredFiles, Unusable, choose_files, hash_files
from nightboard.tasks.hub.inspect_config import FOLLOWED, find_redirects
from nightboard.tasks.store.files import write_bytes
from nightboard.tasks.store.records import Record, RecordError

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class NotTheModel(Exception):
    """A folder does not hold the hashed model in a loadable form; the message says what is wrong."""


class DamagedFolder(NotTheModel):
    """The folder was changed after its download, not a fault of the model; the message says what to do."""


class HashedFile(Record):
    """A file with the Hub's id: git's blob id, or SHA-256 for large files."""

    content_id: str
    size: int


class HashedFiles(Record):
    """The list of files of a model's folder: `.<fingerprint>.files.json` next to it. The fingerprint is its hash."""

    record_version: Literal[1] = 1
    files: dict[str, HashedFile]

    @property
    def fingerprint(self) -> str:
        return hash_files({path: file.content_id for path, file in self.files.items()})


@dataclass(frozen=True)
class _Found:
    """A file in the folder, by its name only."""

    path: str
    content_id: str = ""


def list_file(folder: Path) -> Path:
    """Path of the list of a model's files."""
    return folder.with_name(f".{folder.name}.files.json")


def write_list(folder: Path, files: Mapping[str, HashedFile]) -> None:
    """Write the list of the folder's files; folders of old stores have none."""
    write_bytes(list_file(folder), HashedFiles(files=dict(files)).to_bytes())


def is_intact(path: Path, file: HashedFile) -> bool:
    """Whether a file has the size and hash given by the Hub."""
    if path.stat().st_size != file.size:
        return False
    is_large = len(file.content_id) == hashlib.sha256().digest_size * 2
    blob = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    digest = hashlib.sha256() if is_large else blob
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest() == file.content_id


# ------------------------------------------------------------------------------------------------------------- modes


def protect(folder: Path) -> None:
    """Make the folder read-only. In a group's store, members can still remove it."""
    with contextlib.suppress(
        OSError
    ):  # another member's folder, or a read-only file system: the check reports problems
        for where, _, names in os.walk(folder):
            for path in (Path(where, name) for name in names):
                _take_modes(path, _WRITABLE)
            if not os.stat(where).st_mode & stat.S_IWGRP:
                _take_modes(Path(where), _WRITABLE)


def remove_folder(folder: Path, ignore_errors: bool = False) -> None:
    """Remove a folder, protected or not."""
    for where, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(where, os.stat(where).st_mode | stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=ignore_errors)


def _take_modes(path: Path, modes: int) -> None:
    before = path.lstat().st_mode
    if before & modes and not stat.S_ISLNK(before):
        path.chmod(stat.S_IMODE(before) & ~modes)


# ------------------------------------------------------------------------------------------------------------- checks


def check_folder(folder: Path, fingerprint: str, *, has_allowed_code: bool = False) -> ScoredFiles:
    """Check that the folder holds exactly the hashed files, and no reference to others. Raises NotTheModel.

    Compares the sizes of all files, and the content of all except the weights, if the list of files exists.
    """
    present = list(_list_files(folder))
    try:
        chosen = choose_files(present, (folder / INDEX_FILE).read_bytes, has_allowed_code=has_allowed_code)
    except Unusable as unusable:
        raise NotTheModel(f"{folder}: {unusable}") from unusable
    if extra := sorted({file.path for file in present} - set(chosen.files)):
        raise _damaged(folder, f"it contains {extra[0]}, which is not one of the model's files")
    _compare(folder, fingerprint, chosen)
    for name in (path for path in FOLLOWED if path in chosen.files):
        if redirects := find_redirects(name, _read_object(folder / name), chosen.files):
            raise NotTheModel(redirects[0])
    return chosen


def _compare(folder: Path, fingerprint: str, chosen: ScoredFiles) -> None:
    path = list_file(folder)
    if not path.exists():
        return
    try:
        listed = HashedFiles.read(path)
    except RecordError as error:
        raise _damaged(folder, str(error)) from error
    if listed.fingerprint != fingerprint:
        raise _damaged(folder, f"{path.name} next to it belongs to another model")
    if lacking := sorted(set(listed.files) - set(chosen.files)):
        raise _damaged(folder, f"it lacks {lacking[0]}")
    for name in chosen.files:
        file = listed.files.get(name)
        is_same = file is not None and (folder / name).stat().st_size == file.size
        if file is None or not is_same or (name not in chosen.weights and not is_intact(folder / name, file)):
            raise _damaged(folder, f"{name} differs from the downloaded file")


def _list_files(folder: Path) -> Iterator[_Found]:
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(where, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield _Found(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                raise _damaged(folder, f"{path.relative_to(folder)} is a link or not a regular file")


def _read_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NotTheModel(f"{path.name} is not valid JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise NotTheModel(f"{path.name} is not a JSON object")
    return value


def _damaged(folder: Path, what: str) -> DamagedFolder:
    return DamagedFolder(f"{folder}: {what}. Remove the folder; the next run downloads it again.")
