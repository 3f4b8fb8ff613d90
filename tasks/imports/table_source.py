"""Finds the files of a table to import: on this machine, or in a dataset on the Hub, at one commit.

Files from the Hub are temporary.
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
_EXAMPLE = "Name a Parquet or CSV file, or a dataset on the Hub such as open-llm-leaderboard/contents"


@dataclass(frozen=True)
class Tables:
    """The files of one table, in order. `revision`: their commit, if they are from the Hub."""

    name: str
    files: tuple[TableFile, ...]
    revision: str | None = None

    @classmethod
    def local(cls, path: Path) -> Self:
        """A file; or a folder, such as a clone of the dataset. Raises ImportFileError for one without a table."""
        if not path.is_dir():
            return cls(str(path), (TableFile.local(path),))
        names = choose_tables(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
        if not names:
            raise ImportFileError(f"{path}: the folder has no Parquet or CSV file. {_EXAMPLE}.")
        return cls(str(path), tuple(TableFile.local(path / name) for name in names))


def choose_tables(paths: Iterable[str]) -> list[str]:
    """The files of a dataset that hold its table: all Parquet files, or, if there are none, all CSV files."""
    seen = sorted(path for path in paths if not any(part.startswith(".") for part in PurePosixPath(path).parts))
    by_suffix = [[path for path in seen if path.lower().endswith(suffix)] for suffix in _SUFFIXES]
    return next((paths for paths in by_suffix if paths), [])


@contextmanager
def open_tables(source: str, revision: str | None, open_hub: Callable[[], Hub]) -> Iterator[Tables]:
    """The files of a local path, if it exists, otherwise of the dataset on the Hub with that id.

    Raises ImportFileError if there is neither, HubError if the Hub fails.
    """
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise ImportFileError(
                f"--revision: is only for a dataset on the Hub (got the local path {source}). Remove it."
            )
        yield Tables.local(path)
    elif not _ID.fullmatch(source) or source.lower().endswith(_SUFFIXES):
        raise ImportFileError(f"{source}: is neither an existing file nor the id of a dataset. {_EXAMPLE}.")
    else:
        with tempfile.TemporaryDirectory(prefix="nightboard-") as folder:
            yield _download(open_hub(), source, revision, Path(folder))


def _download(hub: Hub, dataset_id: str, revision: str | None, folder: Path) -> Tables:
    from nightboard.tasks.hub.errors import RepoGone

    try:
        sha = hub.dataset_sha(dataset_id, revision)
    except RepoGone as error:
        raise ImportFileError(
            f"{dataset_id}: is neither an existing file nor a public dataset at {hub.endpoint}. {_EXAMPLE}."
        ) from error
    name = f"{dataset_id}@{sha}"
    sizes = {file.path: file.size for file in hub.tree(dataset_id, sha, "dataset")}
    paths = choose_tables(sizes)
    if not paths:
        raise ImportFileError(f"{name}: the dataset has no Parquet or CSV file. {_EXAMPLE}.")
    hub.download_files(dataset_id, sha, {path: sizes[path] for path in paths}, folder, "dataset")
    return Tables(name, tuple(TableFile(folder / path, f"{name}/{path}") for path in paths), sha)
