"""A board's table straight from the Hub by the real client: the commit it took, all its files, and clear refusals."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from board_table import board_row
from served_hub import ServedHub

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import GatedNoAccess, HubUnavailable, RevisionGone
from nightboard.tasks.imports.board import BoardImport, import_board
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.table_source import choose_tables, open_tables
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect

ID = "lab/contents"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def no_hub() -> Hub:
    raise AssertionError("the Hub is asked for a local path")


def as_parquet(*rows: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def add_dataset(hub: ServedHub, **files: bytes) -> str:
    hub.loopback.create_repo(ID, "dataset")
    return commit(hub, **files)


def commit(hub: ServedHub, **files: bytes) -> str:
    named = {name.replace("__", "/").replace("_DOT_", "."): content for name, content in files.items()}
    return hub.loopback.commit(ID, named, "add a table", kind="dataset")


def bring_in(hub: ServedHub, store: Store, revision: str | None = None, token: str | None = None) -> BoardImport:
    with open_tables(ID, revision, lambda: hub.client(token, tries=2)) as tables:
        return import_board(store, tables, load_suite("leaderboard-v2"), "math-parser-fix", "board", NOW)


def test_all_shards_of_the_newest_commit_are_one_table_and_the_commit_is_told(hub: ServedHub, tmp_path: Path) -> None:
    sha = add_dataset(
        hub,
        README_DOT_md=b"# Contents",
        data__a_DOT_parquet=as_parquet(board_row("lab/a"), board_row("lab/b")),
        data__b_DOT_parquet=as_parquet(board_row("lab/c"), board_row("lab/bad", **{"GPQA Raw": 7.0})),
        other_DOT_csv=b"not,read\n1,2\n",
    )
    store = Store(tmp_path / "store")
    done = bring_in(hub, store)
    assert (done.n_imported, done.revision, done.file) == (3, sha, f"{ID}@{sha}")
    assert [each.where for each in done.left_out] == [f"{ID}@{sha}/data/b.parquet:2"]
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        assert con.execute("select distinct source_revision from imports").fetchall() == [(sha,)]
    assert not bring_in(hub, store).is_new


def test_a_named_revision_is_taken_though_a_newer_one_is_there(hub: ServedHub, tmp_path: Path) -> None:
    first = add_dataset(hub, a_DOT_parquet=as_parquet(board_row("lab/old")))
    second = commit(hub, a_DOT_parquet=as_parquet(board_row("lab/old"), board_row("lab/new")))
    store = Store(tmp_path / "store")
    assert (bring_in(hub, store, first).n_imported, bring_in(hub, store).n_imported) == (1, 2)
    assert bring_in(hub, store, "main").revision == second
    with pytest.raises(RevisionGone, match=f"{ID} at v9 does not exist"):
        bring_in(hub, store, "v9")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("lab/nothing", "neither an existing file nor a public dataset at http"),
        (
            "contents.parquet",
            "neither an existing file nor the id .*Name a Parquet or CSV file, or a dataset",
        ),
        ("data/contents.csv", "neither an existing file nor the id"),
        ("../../x", "neither an existing file nor the id"),
    ],
)
def test_what_is_neither_a_path_nor_a_dataset_is_refused_with_both_ways(
    hub: ServedHub, source: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImportFileError, match=says), open_tables(source, None, hub.client):
        pass


def test_a_dataset_without_a_table_is_refused(hub: ServedHub, tmp_path: Path) -> None:
    add_dataset(hub, README_DOT_md=b"# Nothing yet")
    with pytest.raises(ImportFileError, match="the dataset has no Parquet or CSV file"):
        bring_in(hub, Store(tmp_path))


def test_a_gated_dataset_needs_a_token_that_was_granted_access(hub: ServedHub, tmp_path: Path) -> None:
    add_dataset(hub, a_DOT_parquet=as_parquet(board_row("lab/a")))
    hub.loopback.repo(ID, "dataset").gated = "manual"
    with pytest.raises(GatedNoAccess, match="is gated"):
        bring_in(hub, Store(tmp_path))
    assert bring_in(hub, Store(tmp_path), token="good").n_imported == 1


def test_a_hub_that_is_down_is_said(hub: ServedHub, tmp_path: Path) -> None:
    add_dataset(hub, a_DOT_parquet=as_parquet(board_row("lab/a")))
    hub.loopback.fail_next(9, 503)
    with pytest.raises(HubUnavailable, match="not available"):
        bring_in(hub, Store(tmp_path))


def test_a_local_path_wins_and_the_hub_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lab/contents/data/b.parquet", "lab/contents/data/a.parquet", "lab/contents/.git/c.parquet"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(as_parquet(board_row(f"lab/{file.stem}")))
    with open_tables(ID, None, no_hub) as tables:
        assert [file.name for file in tables.files] == [f"{ID}/data/a.parquet", f"{ID}/data/b.parquet"]
        assert tables.revision is None
    with pytest.raises(ImportFileError, match="got the local path"), open_tables(ID, "main", no_hub):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportFileError, match="the folder has no Parquet or CSV file"):
        with open_tables("empty", None, no_hub):
            pass


def test_csv_files_are_the_table_where_there_is_no_parquet() -> None:
    assert choose_tables(["b.csv", "README.md", "data/a.csv"]) == ["b.csv", "data/a.csv"]
    assert choose_tables(["b.csv", ".cache/x.parquet", "a.PARQUET"]) == ["a.PARQUET"]
