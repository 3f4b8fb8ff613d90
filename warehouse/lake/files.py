"""Lists the Parquet files that hold the lake's rows: the original small ones, or the large ones that replace them.

A large file names the files that it replaces in its own footer, so it appears and replaces them in one rename. These
names stay known after the files are removed: a file that was written once is never written or listed again.
Writes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nightboard.warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

COMPACTED = "compacted"
SOURCES_KEY = "nightboard_sources"


class LakeError(WarehouseError):
    """A file of the lake cannot be read; the message names it."""


@dataclass(frozen=True)
class Listing:
    """A table's folder: `small` files, and `large` ones with the files they replace; paths relative to the folder."""

    small: frozenset[str]
    large: Mapping[str, frozenset[str]]

    @property
    def replaced(self) -> frozenset[str]:
        """All files that a large one replaces, whether they still exist or not."""
        return frozenset().union(*self.large.values())

    @property
    def live(self) -> list[str]:
        """The files that together hold every row once."""
        return sorted((self.small | self.large.keys()) - self.replaced)


def read_listing(lake: Path, table: str) -> Listing:
    """List a table's folder. A concurrent compaction makes no row missing or duplicate."""
    folder = lake / table
    while True:
        large, small = _read_large(folder), _find_parquet(folder, but=COMPACTED)
        # A file that disappeared meanwhile was replaced by a large one; if that is new, list again.
        if large == _read_large(folder):
            return Listing(frozenset(small), large)


def list_paths(lake: Path, table: str) -> list[Path]:
    """The files that together hold a table's rows, each row once."""
    return [lake / table / name for name in read_listing(lake, table).live]


def is_large(path: Path) -> bool:
    """Whether a file was made by compaction; its name then says nothing about its rows."""
    return path.parent.name == COMPACTED


def list_written(lake: Path, table: str) -> set[str]:
    """Names, without suffix, of all files of a table that were ever written."""
    listing = read_listing(lake, table)
    return {name.removesuffix(".parquet") for name in listing.small | listing.replaced}


def is_written(lake: Path, table: str, name: str) -> bool:
    """Whether the file `name`.parquet of a table was ever written, even if compacted since."""
    file = f"{name}.parquet"
    return (lake / table / file).exists() or any(file in replaced for replaced in _read_large(lake / table).values())


def check_readable(paths: Iterable[Path]) -> None:
    """Read all files to their end; raise LakeError with the damaged ones."""
    if damaged := ", ".join(str(path) for path in paths if _is_damaged(path)):
        raise LakeError(f"{damaged}: is damaged and cannot be read completely. Restore it from a backup.")


def _is_damaged(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError):
        return True
    return False


def escape_glob(path: Path) -> str:
    """A path in which DuckDB expands no wildcards."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in str(path))


@cache
def _open_memory() -> duckdb.DuckDBPyConnection:
    """An empty database, for the metadata of files."""
    import duckdb

    return duckdb.connect()


@lru_cache(maxsize=4096)
def read_sources(path: Path) -> frozenset[str]:
    """The files that a large file replaces. A large file never changes. Raises LakeError for a damaged one."""
    import duckdb  # starts in half the time that pyarrow takes

    try:
        with _open_memory().cursor() as con:
            query = "select decode(value) from parquet_kv_metadata(?) where decode(key) = ?"
            rows = con.execute(query, [escape_glob(path), SOURCES_KEY]).fetchall()
    except duckdb.Error as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        reason = str(error).splitlines()[0]
        raise LakeError(f"{path}: is damaged ({reason}). It replaces many files: restore it from a backup.") from error
    return frozenset(json.loads(rows[0][0]) if rows else ())


def _read_large(folder: Path) -> dict[str, frozenset[str]]:
    while True:
        names = _find_parquet(folder / COMPACTED)
        with contextlib.suppress(FileNotFoundError):  # replaced by a larger file and removed
            sources = {f"{COMPACTED}/{name}": read_sources(folder / COMPACTED / name) for name in sorted(names)}
            if names == _find_parquet(folder / COMPACTED):
                return sources


def _find_parquet(folder: Path, but: str | None = None) -> set[str]:
    """Parquet files below a folder, without hidden ones, which are unfinished."""
    paths = (path.relative_to(folder) for path in folder.rglob("*.parquet") if not path.name.startswith("."))
    return {str(path) for path in paths if path.parts[0] != but}
