"""Which Parquet files hold the lake's rows: small ones as they were written, or the large ones that replace them.

A large file names the files that it replaces in its own footer, so it appears and takes their place in one rename. The
names stay known when the files are gone: what was written once is never written again, nor listed if it is.
Owns the reading of a table's folder; writes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.warehouse.errors import WarehouseError

COMPACTED = "compacted"
SOURCES_KEY = "nightboard_sources"


class LakeError(WarehouseError):
    """A file of the lake cannot be read; the message names it."""


@dataclass(frozen=True)
class Listing:
    """A table's folder: `small` files, and `large` ones with what each replaces; paths are relative to the folder."""

    small: frozenset[str]
    large: Mapping[str, frozenset[str]]

    @property
    def replaced(self) -> frozenset[str]:
        """Every file that a large one has taken the place of, whether it is still there or not."""
        return frozenset().union(*self.large.values())

    @property
    def live(self) -> list[str]:
        """The files that hold every row, each once."""
        return sorted((self.small | self.large.keys()) - self.replaced)


def read_listing(lake: Path, table: str) -> Listing:
    """Look at a table's folder. Whoever compacts or removes files meanwhile, no row is missed or seen twice."""
    folder = lake / table
    while True:
        large, small = _read_large(folder), _find_parquet(folder, but=COMPACTED)
        # A file that went while we looked was replaced by a large one; if that is new, look again.
        if large == _read_large(folder):
            return Listing(frozenset(small), large)


def list_paths(lake: Path, table: str) -> list[Path]:
    """The files that hold a table's rows, each row once."""
    return [lake / table / name for name in read_listing(lake, table).live]


def is_large(path: Path) -> bool:
    """Whether a file was made by compaction, so that its name tells nothing of its rows."""
    return path.parent.name == COMPACTED


def list_written(lake: Path, table: str) -> set[str]:
    """Names, without their suffix, of all files of a table that were ever written."""
    listing = read_listing(lake, table)
    return {name.removesuffix(".parquet") for name in listing.small | listing.replaced}


def read_holders(lake: Path, table: str) -> dict[str, str]:
    """Every file of a table that was ever written, without its suffix, and the file that holds its rows now."""
    listing = read_listing(lake, table)
    held = {file: file for file in listing.small}
    live = set(listing.live)
    held |= {source: large for large, sources in listing.large.items() if large in live for source in sources}
    return {file.removesuffix(".parquet"): held[file] for file in sorted(held) if not file.startswith(f"{COMPACTED}/")}


def is_written(lake: Path, table: str, name: str) -> bool:
    """Whether the file `name`.parquet of a table was ever written, compacted since or not."""
    file = f"{name}.parquet"
    return (lake / table / file).exists() or any(file in found for found in _read_large(lake / table).values())


def check_readable(paths: Iterable[Path]) -> None:
    """Raise LakeError with those of the files that cannot be read to their end; reads all of them."""
    if damaged := ", ".join(str(path) for path in paths if _is_damaged(path)):
        raise LakeError(f"{damaged}: damaged, it cannot be read to its end. Take it from a backup.")


def _is_damaged(path: Path) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError):
        return True
    return False


@lru_cache(maxsize=4096)
def read_sources(path: Path) -> frozenset[str]:
    """The files that a large file replaces. A file of that name never changes. Raises LakeError for a damaged one."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except pa.ArrowInvalid as error:
        raise LakeError(
            f"{path}: is damaged ({error}). It has the rows of many files: take it from a backup."
        ) from error
    return frozenset(json.loads(metadata.get(SOURCES_KEY.encode(), b"[]")))


def _read_large(folder: Path) -> dict[str, frozenset[str]]:
    while True:
        names = _find_parquet(folder / COMPACTED)
        with contextlib.suppress(FileNotFoundError):  # replaced by a larger one and removed
            sources = {f"{COMPACTED}/{name}": read_sources(folder / COMPACTED / name) for name in sorted(names)}
            if names == _find_parquet(folder / COMPACTED):
                return sources


def _find_parquet(folder: Path, but: str | None = None) -> set[str]:
    """Parquet files below a folder, hidden ones (which are not finished) left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*.parquet") if not path.name.startswith("."))
    return {str(path) for path in found if path.parts[0] != but}
