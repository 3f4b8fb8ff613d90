"""The models in the store's cache: how much room they take, who wants them, and which can go.

A flow marks what it is about to launch; what is marked by a living flow, or needed by an attempt under way, is never
removed. Owns `cache/wanted/` and the removal of folders in `cache/models/`; fetching is fetch.py's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nightboard.tasks.process import current_process, is_alive
from nightboard.tasks.records import ProcessId, RecordError
from nightboard.tasks.store import Store, write_bytes

GB = 1e9


@dataclass(frozen=True)
class ModelCache:
    """The cache of one store, as one flow uses it. `budget_gb` None: as much as there is room for on the disk."""

    store: Store
    budget_gb: float | None

    def want(self, fingerprint: str) -> None:
        """Keep a model from being removed until `release`, or until this process is gone."""
        with self._alone():
            write_bytes(self._mark(fingerprint), current_process().to_bytes())
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.store.model_dir(fingerprint))  # the least recently used go first

    def release(self, fingerprint: str) -> None:
        """Take the mark off; whoever else wants the model keeps it."""
        self._mark(fingerprint).unlink(missing_ok=True)

    def has(self, fingerprint: str) -> bool:
        """Whether the model lies in the cache."""
        return self.store.model_dir(fingerprint).is_dir()

    def used_gb(self) -> float:
        """What lies in the cache, half-fetched models included."""
        files = (path for path in self._models.rglob("*") if not path.is_symlink() and path.is_file())
        return sum(_size(path) for path in files) / GB

    def evict(self, list_needed: Callable[[], Iterable[str]], enough_gb: float | None = None) -> list[str]:
        """Remove what nobody needs, least recently used first; returns the fingerprints.

        `list_needed` is asked while nobody else can mark or remove. With `enough_gb` no more is removed than that.
        """
        if not self._models.is_dir():
            return []
        removed: list[str] = []
        freed_gb = 0.0
        with self._alone():
            needed = {*list_needed(), *self._wanted()}
            for folder in sorted(self._models.iterdir(), key=lambda path: path.stat().st_mtime):
                fingerprint = folder.name.removeprefix(".").partition(".part")[0]
                if not folder.is_dir() or fingerprint in needed:
                    continue
                if enough_gb is not None and freed_gb >= enough_gb:
                    break
                freed_gb += sum(_size(path) for path in folder.rglob("*") if path.is_file()) / GB
                _remove(folder)
                removed.append(fingerprint)
        return removed

    @property
    def _models(self) -> Path:
        return self.store.cache / "models"

    def _mark(self, fingerprint: str) -> Path:
        process = current_process()
        name = f"{process.host}-{process.pid}-{process.started_ticks}.json"
        return self.store.cache / "wanted" / fingerprint / name

    def _wanted(self) -> Iterator[str]:
        """What living flows have marked; the marks of dead ones are removed."""
        for path in (self.store.cache / "wanted").glob("*/*.json"):
            try:
                is_gone = is_alive(ProcessId.read(path)) is False
            except RecordError:
                continue  # taken off in this moment
            if is_gone:
                path.unlink(missing_ok=True)
            else:
                yield path.parent.name

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.store.cache.mkdir(parents=True, exist_ok=True)
        with (self.store.cache / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _remove(folder: Path) -> None:
    """Remove a folder so that nobody sees half of it."""
    gone = folder.with_name(f".gone.{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
