"""The space of models in the store's cache: reservations of flows, the budget, and the removal of unused models.

A flow reserves the models that it is about to launch. A model that is reserved by a running flow or needed by an open
attempt is never removed. Owns `cache/wanted/` and the removal of folders in `cache/models/`; models.py downloads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from uuid import uuid4

from nightboard.tasks.cluster.processes import current_process, is_alive
from nightboard.tasks.hub.model_folder import list_file, remove_folder
from nightboard.tasks.runs.open_runs import list_open
from nightboard.tasks.store.files import write_bytes
from nightboard.tasks.store.layout import SPEC_FILE, Store
from nightboard.tasks.store.records import AttemptSpec, ProcessId, Record, RecordError, utc_now
from nightboard.warehouse.lake.locks import open_lock

GB = 1e9
# Sums of sizes are rounded; a smaller difference is ignored.
BYTE_GB = 1 / GB
# A flow on another host cannot be checked: it counts as ended if it has not touched its marks for this long.
MARK_LIMIT_S = 3600.0
_GONE = ".gone."


class Wanted(Record):
    """The models that a flow is about to launch, with their sizes: one file per flow, touched while it runs."""

    record_version: Literal[1] = 1
    process: ProcessId
    sizes_gb: dict[str, float]


def list_open_models(store: Store) -> set[str]:
    """The models of all open attempts, of all flows. Raises RecordError for an attempt that cannot be read."""
    folders = {attempt.planned.evaluation_id: attempt.folder for attempt in list_open(store, None, utc_now()).open}
    return {AttemptSpec.read(folder / SPEC_FILE).evaluation.fingerprint for folder in folders.values()}


@dataclass
class ModelCache:
    """The cache of one store, as one flow uses it.

    `budget_gb` None: limited only by the disk.
    """

    store: Store
    budget_gb: float | None = None
    keep_models: bool = False
    _marked: dict[str, float] = field(default_factory=dict)
    _sizes_gb: dict[str, float] = field(default_factory=dict)

    def has(self, fingerprint: str) -> bool:
        """Whether the model is in the cache."""
        return self.store.model_dir(fingerprint).is_dir()

    def reserve(self, sizes_gb: Mapping[str, float], later: Collection[str] = ()) -> bool:
        """Reserve models, all or none of them; False if there is not enough space now.

        Space is freed by removing unused models, least recently used first, and the models of `later` last.
        """
        with self._alone():
            if self.budget_gb is not None and not self._make_room(sizes_gb, self.budget_gb, later):
                return False
            self._mark({**self._marked, **sizes_gb})
            for fingerprint in sizes_gb:
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    os.utime(self.store.model_dir(fingerprint))  # marks it as used now
        return True

    def keep_only(self, fingerprints: Collection[str]) -> None:
        """Remove this flow's marks from all other models."""
        remaining = {key: size for key, size in self._marked.items() if key in fingerprints}
        if remaining != self._marked:
            with self._alone():
                self._mark(remaining)

    def touch(self) -> None:
        """Touch the marks, which shows other hosts that this flow is running."""
        if self._marked:
            try:
                os.utime(self._mark_file)
            except FileNotFoundError:
                self._mark(self._marked)

    def tidy(self, later: Collection[str] = ()) -> list[str]:
        """Remove models that are not needed now or `later`; returns their fingerprints.

        Partial downloads are always removed, complete models only if the cluster does not keep models.
        """
        spared = {*later, *self._marked}
        candidates = [path for path in self._list() if _fingerprint(path) not in spared]
        candidates = [path for path in candidates if _is_part(path) or not self.keep_models]
        removed: list[str] = []
        if candidates:
            with self._alone():
                needed = self._list_needed()
                removed = [_fingerprint(path) for path in candidates if self._remove(path, needed)]
        self._delete_removed()
        return removed

    # ---------------------------------------------------------------------------------------------------------- space

    def _make_room(self, wanted_gb: Mapping[str, float], budget_gb: float, later: Collection[str]) -> bool:
        marked = self._read_marks()
        lying = {path: self._measure(path) for path in self._list()}
        # For a model that is being downloaded, the mark has its final size.
        known = {**wanted_gb, **marked, **{path.name: size for path, size in lying.items() if not _is_part(path)}}
        left_over = sum(size for path, size in lying.items() if _is_part(path) and _fingerprint(path) not in known)
        missing_gb = sum(known.values()) + left_over - budget_gb
        if missing_gb < BYTE_GB:
            return True
        needed = {*wanted_gb, *marked, *list_open_models(self.store)}
        loose = [path for path in lying if _fingerprint(path) not in needed]
        if sum(lying[path] for path in loose) < missing_gb - BYTE_GB:
            return False
        for path in sorted(loose, key=lambda path: (_fingerprint(path) in later, _used_at(path))):
            if missing_gb >= BYTE_GB and self._remove(path, needed):
                missing_gb -= lying[path]
        self._delete_removed()
        return True

    def _measure(self, folder: Path) -> float:
        """The size of a model; the files of a fingerprint never change."""
        size_gb = self._sizes_gb.get(folder.name)
        if size_gb is None:
            # os.walk skips folders that are renamed meanwhile.
            size_gb = sum(_size(Path(where, name)) for where, _, names in os.walk(folder) for name in names) / GB
            if not _is_part(folder):
                self._sizes_gb[folder.name] = size_gb
        return size_gb

    def _remove(self, folder: Path, needed: Collection[str]) -> bool:
        """Rename a folder to hide it at once; deleting it takes longer."""
        fingerprint = _fingerprint(folder)
        if fingerprint in needed:
            return False
        with contextlib.suppress(FileNotFoundError):  # another flow removed it
            folder.rename(folder.with_name(f"{_GONE}{fingerprint}.{uuid4().hex}"))
        # A downloading flow marks the model first, so no process holds the lock now.
        folder.with_name(f".{fingerprint}.lock").unlink(missing_ok=True)
        list_file(folder.with_name(fingerprint)).unlink(missing_ok=True)
        self._sizes_gb.pop(fingerprint, None)
        return True

    def _delete_removed(self) -> None:
        """Delete hidden folders, also the leftovers of a killed flow."""
        for path in self._models.glob(f"{_GONE}*"):
            remove_folder(path, ignore_errors=True)

    @property
    def _models(self) -> Path:
        return self.store.models

    def _list(self) -> list[Path]:
        """Folders of models, complete and partial ones (these start with a dot)."""
        paths = self._models.iterdir() if self._models.is_dir() else iter(())
        return [path for path in paths if path.is_dir() and not path.name.startswith(_GONE)]

    # --------------------------------------------------------------------------------------------------------- marks

    def _mark(self, sizes_gb: Mapping[str, float]) -> None:
        self._marked = dict(sizes_gb)
        if self._marked:
            write_bytes(self._mark_file, Wanted(process=current_process(), sizes_gb=self._marked).to_bytes())
        else:
            self._mark_file.unlink(missing_ok=True)

    @property
    def _mark_file(self) -> Path:
        process = current_process()
        return self.store.wanted_models / f"{process.host}-{process.pid}-{process.started_ticks}.json"

    def _list_needed(self) -> set[str]:
        # In this order: a launch creates the attempt before the mark is removed, so one of the two is always seen.
        marked = self._read_marks()
        return {*marked, *list_open_models(self.store)}

    def _read_marks(self) -> dict[str, float]:
        """The marks of running flows; removes those of ended ones. Call this with the lock held."""
        marked: dict[str, float] = {}
        for path in self.store.wanted_models.glob("*.json"):
            try:
                wanted = Wanted.read(path)
            except RecordError:
                if path.exists():
                    raise  # its models may be needed
                continue
            if self._is_gone(path, wanted.process):
                path.unlink(missing_ok=True)
            else:
                marked |= wanted.sizes_gb
        return marked

    def _is_gone(self, path: Path, process: ProcessId) -> bool:
        alive = is_alive(process)
        if alive is not None:
            return not alive
        # Both times are the file system's, because the clocks of two hosts may differ.
        return self._lock_file.stat().st_mtime - path.stat().st_mtime > MARK_LIMIT_S

    @property
    def _lock_file(self) -> Path:
        return self.store.cache_lock

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the cache: one flow at a time marks or removes."""
        self.store.cache.mkdir(parents=True, exist_ok=True)
        with open_lock(self._lock_file) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(PermissionError):  # another member's file: its owner sets the time
                os.utime(self._lock_file)
            yield


def _fingerprint(folder: Path) -> str:
    """The fingerprint in a folder's name, also in `.<fingerprint>.part` and similar names."""
    return folder.name.removeprefix(".").partition(".part")[0]


def _is_part(folder: Path) -> bool:
    return folder.name.startswith(".")


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    except FileNotFoundError:
        return 0
