"""Builds that others hold, damage, copy or own: readers get one message, and the next build is made beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from make_lake import START, Lake, after

from nightboard.warehouse.builder.build import BuildError, build, is_current
from nightboard.warehouse.builder.publish import POINTER, NoBuildError, UnreadableBuildError, current_build
from nightboard.warehouse.lake.locks import open_lock
from nightboard.warehouse.reader.connection import QueryError, connect, find_lake, open_cursor
from nightboard.warehouse.reader.export import open_for_copies
from nightboard.warehouse.reader.questions import rank
from nightboard.warehouse.reader.shell import open_shell
from nightboard.warehouse.reader.user_sql import run_sql


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the copy of a store of one evaluation and its samples, which was built as `store` in it."""
    folder, lake = tmp_path_factory.mktemp("built"), Lake()
    lake.suite()
    lake.commit("org/good")
    lake.done("e", "org/good")
    lake.samples("e")
    lake.write(folder / "store" / "lake")
    build(folder / "store" / "lake", folder / "store" / "warehouse", START)
    (folder / "store").rename(folder / "kept")
    return folder


@pytest.fixture
def store(built: Path) -> Path:
    """The store as it was built, where it was built."""
    shutil.rmtree(built / "store", ignore_errors=True)
    shutil.copytree(built / "kept", built / "store", symlinks=True)
    return built / "store"


@contextlib.contextmanager
def held_for_writing(path: Path) -> Iterator[int]:
    """Another process has the file open as DuckDB opens it unless it is told otherwise; its number."""
    code = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    path.chmod(0o644)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        yield process.pid
        process.kill()


def test_a_build_that_is_open_for_writing_is_one_message_and_the_next_one_is_made_beside_it(store: Path) -> None:
    warehouse, held = store / "warehouse", current_build(store / "warehouse")
    with held_for_writing(held) as pid:
        for read in (connect, open_shell, lambda each: open_for_copies(each, store).__enter__()):
            with pytest.raises(UnreadableBuildError) as caught:
                read(warehouse)
            assert str(caught.value).startswith(f"{held}: ")
            message = str(caught.value)
            assert "is open for writing in" in message
            assert f"(process {pid})" in message
            assert len(str(caught.value).splitlines()) == 1
        assert not is_current(store / "lake", warehouse), "nobody can know"
        made = build(store / "lake", warehouse, after(1)).path
        assert made == current_build(warehouse) != held
        with connect(warehouse) as con:
            assert len(rank(con).rows) == 1


def test_a_build_takes_nothing_from_the_one_before(store: Path) -> None:
    before = current_build(store / "warehouse")
    before.chmod(0o644)
    with duckdb.connect(str(before)) as con:
        con.execute("update main.task_scores set device = 'changed'")
    build(store / "lake", store / "warehouse", after(1))
    with connect(store / "warehouse") as con:
        assert con.execute("select distinct device from task_scores").fetchall() == [(None,)]


def make_loop(pointer: Path) -> None:
    pointer.symlink_to(pointer.name)


def make_text(pointer: Path) -> None:
    pointer.write_text("no database" * 1000)


def make_dangling(pointer: Path) -> None:
    pointer.symlink_to("nightboard-gone.duckdb")


def make_database(pointer: Path) -> None:
    with duckdb.connect(str(pointer)) as con:
        con.execute("create table t as select 1 as a")


@pytest.mark.parametrize(
    "make",
    [make_loop, make_text, make_dangling, make_database],
    ids=lambda each: each.__name__,
)
def test_a_pointer_that_leads_to_no_build_is_one_message_and_a_rebuild_mends_it(
    store: Path, make: Callable[[Path], None]
) -> None:
    warehouse, pointer = store / "warehouse", store / "warehouse" / POINTER
    pointer.unlink()
    make(pointer)
    with pytest.raises((NoBuildError, QueryError), match="nightboard rebuild"):
        connect(warehouse)
    assert not is_current(store / "lake", warehouse)
    build(store / "lake", warehouse, after(1))
    with connect(warehouse) as con:
        assert len(rank(con).rows) == 1


def test_a_folder_in_the_pointers_place_is_left_alone(store: Path) -> None:
    warehouse, pointer = store / "warehouse", store / "warehouse" / POINTER
    pointer.unlink()
    pointer.mkdir()
    with pytest.raises(UnreadableBuildError, match="does not lead to a build"):
        connect(warehouse)
    with pytest.raises(BuildError, match=r"Is a directory: .*current\.duckdb"):
        build(store / "lake", warehouse, after(1))
    assert pointer.is_dir() and not list(warehouse.glob(".*.tmp*"))


def test_a_damaged_page_is_one_message(store: Path) -> None:
    path = current_build(store / "warehouse")
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[20_000:] = bytes(len(data) - 20_000)
    path.write_bytes(data)
    with pytest.raises((QueryError, NoBuildError), match="nightboard rebuild"), connect(store / "warehouse") as con:
        rank(con)
    build(store / "lake", store / "warehouse", after(1))
    with connect(store / "warehouse") as con:
        assert len(rank(con).rows) == 1


# ------------------------------------------------------------------------------------------------------ copied stores


def mark_samples(lake: Path, response: str) -> None:
    """Give the samples of a lake another response, by which they are told from those of its copy."""
    with duckdb.connect() as con:
        for path in (lake / "samples").glob("*.parquet"):
            con.execute(f"create or replace table s as select * replace ('{response}' as response) from '{path}'")
            con.execute(f"copy s to '{path}'")


def test_a_copied_or_moved_store_reads_its_own_samples_and_never_the_originals(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "copy", symlinks=True)
    mark_samples(tmp_path / "copy" / "lake", "copied")
    sql, original = "select distinct response from samples", [("B",)]
    for place, told in ((store, original), (tmp_path / "copy", [("copied",)])):
        with connect(place / "warehouse") as con:
            assert con.execute(sql).fetchall() == told
            assert [*run_sql(con, sql)[0].run()[1]] == [told]
            assert run_sql(con, sql)[0].run_arrow().read_all()["response"].to_pylist() == [told[0][0]]
            assert open_cursor(open_cursor(con)).execute(sql).fetchall() == told
        with open_for_copies(place / "warehouse", tmp_path) as con:
            assert con.execute(sql).fetchall() == told
    store.rename(tmp_path / "moved")
    with connect(tmp_path / "moved" / "warehouse") as con:
        assert con.execute(sql).fetchall() == original


def test_a_copy_without_samples_says_so_and_does_not_read_the_originals(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "warehouse", tmp_path / "copy" / "warehouse", symlinks=True)
    with connect(tmp_path / "copy" / "warehouse") as con:
        assert len(rank(con).rows) == 1
        with pytest.raises(QueryError, match=r"Samples are read from the store's files\."):
            next(run_sql(con, "select response from samples")[0].run()[1])


def test_plain_duckdb_reads_samples_where_they_were_and_where_it_is_told(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "copy", symlinks=True)
    mark_samples(tmp_path / "copy" / "lake", "copied")
    with duckdb.connect(str(current_build(tmp_path / "copy" / "warehouse")), read_only=True) as con:
        assert con.execute("select distinct response from samples").fetchall() == [("B",)]
        con.execute("set variable nightboard_lake = ?", [str(find_lake(tmp_path / "copy" / "warehouse"))])
        assert con.execute("select distinct response from samples").fetchall() == [("copied",)]


# ------------------------------------------------------------------------------------------------------- group stores


@pytest.fixture
def as_member() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Be another user for a while, one of a group of which everybody may write everything but others' files."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")

    @contextlib.contextmanager
    def become() -> Iterator[None]:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return become


def test_another_members_store_can_be_built_and_says_so(
    store: Path, as_member: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    warehouse = store / "warehouse"
    for number in (1, 2):
        shutil.copy2(current_build(warehouse), warehouse / f"nightboard-2025{number}.duckdb")
    for folder in (store.parent, *store.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    warehouse.chmod(0o777)
    (store / "lake" / "samples").chmod(0o755)
    strangers = set(warehouse.glob("nightboard-*.duckdb"))
    with as_member():
        for hours in (1, 2):
            made = build(store / "lake", warehouse, after(hours)).path
            assert current_build(warehouse) == made
    left = set(warehouse.glob("nightboard-*.duckdb"))
    assert strangers <= left, "their owner removes them"
    assert len(left - strangers) == 2


def test_a_lock_of_another_member_can_be_taken(
    tmp_path: Path, as_member: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    open_lock(tmp_path / "lock").close()
    with as_member(), open_lock(tmp_path / "lock") as file:
        assert file.readable()
