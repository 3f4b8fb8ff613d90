"""Taking an imported board out of the store: its rows and no others, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asked import ask_lake
from board_table import board_row, write_csv
from make_lake import Lake

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports import remove
from nightboard.tasks.imports.board import BoardImport, import_board
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.remove import remove_board
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder import compact
from nightboard.warehouse.builder.build import build

SUITE = load_suite("leaderboard-v2")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RIGHT, WRONG = "math-parser-fix", "math-verify"


def bring_in(store: Store, era: str, *models: str, name: str = "board") -> BoardImport:
    rows = [board_row(model) for model in models]
    return import_board(store, write_csv(store.root.parent / "contents.csv", rows), SUITE, era, name, NOW)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A board in two eras, another board, and a run."""
    store = Store(tmp_path / "store")
    lake = Lake()
    lake.done("ours", "lab/ours")
    lake.write(store.lake)
    bring_in(store, RIGHT, "lab/a", "lab/b")
    bring_in(store, WRONG, "lab/b", "lab/c", name="other")
    return store


def snapshot(store: Store) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in store.lake.rglob("*.parquet")}


def list_rows(store: Store) -> list[tuple[Any, ...]]:
    scores = ask_lake(store.lake, "select count(*) from benchmark_scores")
    return [*scores, *ask_lake(store.lake, "select model_id, source, era from leaderboard order by all")]


def test_rows_in_another_era_are_told(store: Store) -> None:
    assert bring_in(store, RIGHT, "lab/a").other_eras == {}
    assert bring_in(store, WRONG, "lab/b", "lab/c").other_eras == {RIGHT: 1}


def test_a_forgotten_era_leaves_what_was_before_and_can_be_imported_again(store: Store) -> None:
    before, rows = snapshot(store), list_rows(store)
    bring_in(store, WRONG, "lab/a", "lab/d")
    bring_in(store, WRONG, "lab/e")
    with_wrong = list_rows(store)
    assert len(with_wrong) == len(rows) + 3
    done = remove_board(store, "board", WRONG)
    assert (done.source, done.era, done.n_rows) == ("import:board", WRONG, 3)
    assert snapshot(store) == before
    assert list_rows(store) == rows
    assert bring_in(store, WRONG, "lab/a", "lab/d").is_new
    assert bring_in(store, WRONG, "lab/e").is_new
    assert list_rows(store) == with_wrong


def test_killed_after_the_first_file_no_score_of_it_is_left_to_be_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list_rows(store)
    bring_in(store, WRONG, "lab/a")

    def die(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remove, "sync", die)
        with pytest.raises(KeyboardInterrupt):
            remove_board(store, "board", WRONG)
    assert list_rows(store) == rows
    assert bring_in(store, WRONG, "lab/a").is_new
    assert len(list_rows(store)) == len(rows) + 1


@pytest.mark.parametrize(
    ("name", "era", "says"),
    [
        ("bord", None, "no board was imported as 'bord'. Imported boards: board, other"),
        ("board", None, f"imported in 2 eras. Name one: {RIGHT}, {WRONG}"),
        ("board", "launch", f"not imported in era 'launch'. Eras: {RIGHT}, {WRONG}"),
        ("results", None, "outputs of lm-eval cannot"),
    ],
)
def test_what_is_not_there_is_said_and_nothing_goes(store: Store, name: str, era: str | None, says: str) -> None:
    bring_in(store, WRONG, "lab/a")
    before = snapshot(store)
    with pytest.raises(ImportFileError, match=says):
        remove_board(store, name, era)
    assert snapshot(store) == before


def test_what_was_compacted_is_refused_and_nothing_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "COMPACT_FROM", 2)
    build(store.lake, store.warehouse, NOW)
    rows, before = list_rows(store), snapshot(store)
    with pytest.raises(ImportFileError, match="compacted"):
        remove_board(store, "board", RIGHT)
    assert snapshot(store) == before
    assert list_rows(store) == rows
