"""A page is replaced as a whole: after a full disk, kill -9 or two publishers at once there is one whole page."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nightboard.tasks.page import publish as module
from nightboard.tasks.page.publish import MARKER, PageError, publish
from tests.support.forks import Fork

N_FILES = 20


def write(out: Path, text: str) -> None:
    with publish(out) as folder:
        for number in range(N_FILES):
            (folder / f"{number}.html").write_text(text)


def read(out: Path) -> str:
    """The text that all files of a whole page have."""
    texts = {(out / f"{number}.html").read_text() for number in range(N_FILES)}
    assert len(texts) == 1, texts
    assert (out / MARKER).exists()
    return texts.pop()


def list_rests(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.name not in (out.name, f".{out.name}.lock"))


@pytest.fixture(params=["swapped at once", "moved in two steps"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a page, on a file system that can swap two names and on one that cannot."""
    if request.param == "moved in two steps":
        monkeypatch.setattr(module, "_exchange", lambda one, other: False)
    return tmp_path / "it's a [page]"


def test_a_new_page_takes_the_place_of_the_old_one(out: Path) -> None:
    write(out, "old")
    (out / "only in the old one.html").touch()
    write(out, "new")
    assert read(out) == "new"
    assert len([*out.iterdir()]) == N_FILES + 1
    assert list_rests(out) == []
    assert out.stat().st_mode & 0o777 == 0o755


def test_the_old_page_stays_when_the_disk_is_full(out: Path) -> None:
    write(out, "old")
    said = r"No space left on device.*A page that is there stays\. Make room"
    with pytest.raises(PageError, match=said), publish(out):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert read(out) == "old"
    assert list_rests(out) == []


@pytest.mark.parametrize("error", [ValueError("a mistake"), RuntimeError("a mistake"), KeyboardInterrupt("a mistake")])
def test_the_old_page_stays_when_rendering_fails(out: Path, error: BaseException) -> None:
    write(out, "old")
    with pytest.raises(type(error), match=str(error)), publish(out):
        raise error
    assert read(out) == "old"
    assert list_rests(out) == []


def kill_at(out: Path, name: str, text: str) -> None:
    """Publish in this process, which dies before or after a call, such as `before rename`."""
    when, _, method = name.partition(" ")
    called = getattr(module if method == "_exchange" else Path, method)

    def die(*args: object) -> object:
        result = called(*args) if when == "after" else None
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module if method == "_exchange" else Path, method, die)
    write(out, text)


@pytest.mark.parametrize("moment", ["before rename", "after rename", "before _exchange", "after _exchange"])
def test_a_killed_publisher_leaves_a_whole_page_to_the_next_one(out: Path, moment: str) -> None:
    write(out, "old")
    child = Fork(target=kill_at, args=(out, moment, "killed"))
    child.start()
    child.join()
    assert child.exitcode in (-signal.SIGKILL, 0)
    is_between_two_steps = moment == "after rename" and child.exitcode
    assert is_between_two_steps or read(out) in ("old", "killed")
    with pytest.raises(ValueError, match="not this time"), publish(out):
        raise ValueError("not this time")
    assert read(out) in ("old", "killed"), "a page that was moved away comes back"
    assert list_rests(out) == []


def test_where_names_are_swapped_at_once_there_is_always_a_page(tmp_path: Path) -> None:
    """A reader beside a publisher finds a page every time that it looks."""
    out = tmp_path / "page"
    write(out, "0")
    if not module._exchange(_make(tmp_path / "a"), _make(tmp_path / "b")):
        pytest.skip("this file system cannot swap two names")
    child = Fork(target=publish_often, args=(out, "x", 40))
    child.start()
    looks = 0
    while child.is_alive():
        assert (out / "0.html").exists()
        looks += 1
    child.join()
    assert looks


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def publish_often(out: Path, text: str, times: int) -> None:
    for _ in range(times):
        write(out, text)


def test_two_publishers_at_once_leave_one_whole_page(out: Path) -> None:
    children = [Fork(target=publish_often, args=(out, name * 1000, 10)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert set(read(out)) < {"a", "b"}
    assert list_rests(out) == []


def test_the_second_publisher_waits_for_the_first(tmp_path: Path) -> None:
    out = tmp_path / "page"
    with publish(out) as folder:
        child = Fork(target=write, args=(out, "second"))
        child.start()
        for number in range(N_FILES):
            (folder / f"{number}.html").write_text("first")
        assert child.is_alive()
    child.join()
    assert read(out) == "second"


def _own_files(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").touch()


def _file(out: Path) -> None:
    out.write_text("mine")


@pytest.mark.parametrize("make", [_own_files, _file])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    out = tmp_path / "out"
    make(out)
    with pytest.raises(PageError, match=r"holds files that are no page of nightboard's. Name another folder"):
        write(out, "page")
    assert out.is_file() or [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_and_a_link_to_a_page_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "one")
    write(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "real") == "two"


@pytest.mark.parametrize("name", ["file/page", "loop/page", "x" * 300, "nul\0"])
def test_an_impossible_path_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PageError, match=r"the page cannot be written \(.+\)"):
        write(tmp_path / name, "page")


def test_rests_of_another_page_with_a_longer_name_stay(tmp_path: Path) -> None:
    (tmp_path / ".page.new.new-1").mkdir()
    write(tmp_path / "page", "one")
    assert (tmp_path / ".page.new.new-1").is_dir()
