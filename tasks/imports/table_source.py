"""Finds the files of a table that is to be imported: on this machine, or in a data set on the Hub, at one commit.

Owns the choice between the two. Of the Hub's files it keeps nothing: what they say goes into the lake.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.table_files import TableFile

if TYPE_CHECKING:
    from nightboard.tasks.hub.client import Hub


_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_SUFFIXES = (".parquet", ".csv")
_EXAMPLE = "Name a Parquet or CSV file, or a data set on the Hub such as open-llm-leaderboard/contents"


@dataclass(frozen=True)
class Tables:
    """The files that make one table, in order. `revision`: the commit they are of, where they came from the Hub."""

    name: str
    files: tuple[TableFile, ...]
    revision: str | None = None

    @classmethod
    def local(cls, path: Path) -> Self:
        """A file; or a folder, such as a clone of the data set. Raises ImportFileError for one without a table."""
        if not path.is_dir():
            return cls(str(path), (TableFile.local(path),))
        found = choose_tables(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
        if not found:
            raise ImportFileError(f"{path}: there is no Parquet and no CSV file in this folder. {_EXAMPLE}.")
        return cls(str(path), tuple(TableFile.local(path / each) for each in found))


def choose_tables(paths: Iterable[str]) -> list[str]:
    """Of a data set's files those that hold its table: all of its Parquet files, or without any its CSV files."""
    seen = sorted(path for path in paths if not any(part.startswith(".") for part in PurePosixPath(path).parts))
    by_suffix = [[path for path in seen if path.lower().endswith(suffix)] for suffix in _SUFFIXES]
    return next((found for found in by_suffix if found), [])


@contextmanager
def open_tables(source: str, revision: str | None, open_hub: Callable[[], Hub]) -> Iterator[Tables]:
    """The files of a local path, if there is one, else of the data set on the Hub with that id.

    Raises ImportFileError for what is neither, HubError for what the Hub does not give.
    """
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise ImportFileError(f"--revision: {source} lies on this machine; only a data set on the Hub has commits.")
        yield Tables.local(path)
    elif not _ID.fullmatch(source) or source.lower().endswith(_SUFFIXES):
        raise ImportFileError(f"{source}: there is no such file, and it is no id of a data set. {_EXAMPLE}.")
    else:
        with tempfile.TemporaryDirectory(prefix="nightboard-") as folder:
            yield _download(open_hub(), source, revision, Path(folder))


def _download(hub: Hub, dataset_id: str, revision: str | None, folder: Path) -> Tables:
    from nightboard.tasks.hub.errors import RepoGone

    try:
        sha = hub.dataset_sha(dataset_id, revision)
    except RepoGone as error:
        raise ImportFileError(
            f"{dataset_id}: there is no such file here, and no such data set at {hub.endpoint}, or it is private."
            f" {_EXAMPLE}."
        ) from error
    name = f"{dataset_id}@{sha}"
    sizes = {file.path: file.size for file in hub.tree(dataset_id, sha, "dataset")}
    found = choose_tables(sizes)
    if not found:
        raise ImportFileError(f"{name}: there is no Parquet and no CSV file in this data set. {_EXAMPLE}.")
    hub.download_files(dataset_id, sha, {path: sizes[path] for path in found}, folder, "dataset")
    return Tables(name, tuple(TableFile(folder / path, f"{name}/{path}") for path in found), sha)
