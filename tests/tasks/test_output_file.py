"""The one writer of files that a user names: nothing of a store, nothing that is not meant, and pipes stay pipes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from nightboard.tasks.output_file import OutputFile, OutputFileError
from nightboard.tasks.store.layout import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The folders of a store that has run and was built."""
    found = Store(tmp_path / "store")
    for folder in (found.runs, found.launches, found.lake / "samples", found.warehouse):
        folder.mkdir(parents=True)
    (found.lake / "samples" / "a.parquet").write_text("samples")
    (found.warehouse / "nightboard-1.duckdb").write_text("a build")
    (found.warehouse / "current.duckdb").symlink_to("nightboard-1.duckdb")
    return found


def write(path: Path, store: Store, *, is_forced: bool = False, data: bytes = b"new") -> None:
    with OutputFile(path, store, is_forced).open() as out:
        out.write(data)


@pytest.mark.parametrize("place", ["new.csv", "lake/samples/a.parquet", "warehouse/current.duckdb", "runs/new/x.csv"])
@pytest.mark.parametrize("way", ["its own", "another's", "by a link", "by dots"])
def test_nothing_is_written_into_a_store_whichever_it_is(tmp_path: Path, store: Store, place: str, way: str) -> None:
    own = store if way == "its own" else Store(tmp_path / "mine")
    (tmp_path / "link").symlink_to(store.root)
    root = {"by a link": tmp_path / "link", "by dots": tmp_path / "link" / ".." / "store"}.get(way, store.root)
    with pytest.raises(OutputFileError, match="is inside the store"):
        write(root / place, own, is_forced=True)
    assert not (store.root / "new.csv").exists()
    assert (store.lake / "samples" / "a.parquet").read_text() == "samples"


@pytest.mark.parametrize("folders", [["lake/commits"], ["warehouse"], ["runs", "launches"]])
def test_a_store_is_known_by_what_it_has_so_far(tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / "young" / folder).mkdir(parents=True)
    if folders == ["warehouse"]:
        (tmp_path / "young" / "warehouse" / "current.duckdb").symlink_to("gone.duckdb")
    with pytest.raises(OutputFileError, match="is inside the store"):
        write(tmp_path / "young" / "x.csv", Store(tmp_path / "mine"))


def test_a_link_to_a_file_of_a_store_is_refused_and_one_to_another_file_is_followed(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / "x.csv").symlink_to(store.lake / "samples" / "a.parquet")
    with pytest.raises(OutputFileError, match="is inside the store"):
        write(tmp_path / "x.csv", Store(tmp_path / "mine"), is_forced=True)
    (tmp_path / "y.csv").symlink_to("real.csv")
    write(tmp_path / "y.csv", store)
    assert (tmp_path / "real.csv").read_text() == "new"
    assert (tmp_path / "y.csv").is_symlink()


def test_a_file_that_is_there_is_replaced_by_force_only_and_stays_when_something_fails(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / "x.csv").write_text("old")
    with pytest.raises(OutputFileError, match=r"exists\. .*--force"):
        write(tmp_path / "x.csv", store)
    with pytest.raises(TypeError):
        write(tmp_path / "x.csv", store, is_forced=True, data="no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "x.csv").read_text() == "old"
    write(tmp_path / "x.csv", store, is_forced=True)
    assert (tmp_path / "x.csv").read_text() == "new"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store", "x.csv"]


def test_no_folder_is_made(tmp_path: Path, store: Store) -> None:
    with pytest.raises(OutputFileError, match=r"the folder .*no does not exist\. Create it"):
        write(tmp_path / "no" / "x.csv", store)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("kind", ["folder", "loop", "file as a folder", "long name"])
def test_what_can_be_no_file_is_one_message(tmp_path: Path, store: Store, kind: str) -> None:
    path = tmp_path / "x.csv"
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to("x.csv")
        case "file as a folder":
            path.write_text("old")
            path = path / "y.csv"
        case "long name":
            path = tmp_path / ("x" * 300)
    with pytest.raises(OutputFileError, match=r"x"):
        write(path, store, is_forced=True)


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path, store: Store) -> None:
    pipe, read = tmp_path / "x.csv", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, store)
    reader.join()
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_null_device_swallows_all_and_stays(store: Store) -> None:
    write(Path("/dev/null"), store)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_what_the_process_has_open_is_written_on(tmp_path: Path, store: Store) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.write(b"before ")
        file.flush()
        for folder in ("/dev/fd", "/proc/self/fd"):
            write(Path(folder) / str(file.fileno()), store)
    assert (tmp_path / "log").read_text() == "before newnew"
    with pytest.raises(OutputFileError, match="cannot be written"):
        write(Path("/dev/fd/987"), store)
