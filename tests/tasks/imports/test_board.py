"""Importing a published leaderboard: its rows rank, its scores are computed anew, nothing broken gets in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asked import ask_lake
from board_table import NORMALIZED, Row, board_row, write_csv
from make_lake import Lake

from nightboard.profiles.declared_rows import era_rows, suite_rows
from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.board import BoardImport, import_board
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import find_disagreements

SUITE = load_suite("leaderboard-v2")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ERA = "math-parser-fix"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def bring_in(store: Store, tmp_path: Path) -> Callable[..., BoardImport]:
    def bring_in(*rows: Row, hours: float = 0, era: str = ERA) -> BoardImport:
        return import_board(
            store, write_csv(tmp_path / "contents.csv", list(rows)), SUITE, era, "board", NOW + timedelta(hours=hours)
        )

    return bring_in


def ask(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return ask_lake(store.lake, sql)


def snapshot(store: Store) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in store.lake.rglob("*.parquet")}


def test_rows_rank_with_what_the_board_says_of_them(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    done = bring_in(
        board_row("lab/first"),
        board_row("lab/second", **{"IFEval Raw": 0.5, "IFEval": 50.0, "Flagged": True, "Available on the hub": False}),
    )
    assert (done.n_imported, done.n_without_sha, done.left_out, done.is_new) == (2, 0, (), True)
    rows = ask(
        store,
        "select rank, model_id, era, is_current_era, organization, revision, precision, chat_template, params_b,"
        " model_type, license, is_merged, is_flagged, model_state, source from leaderboard order by rank",
    )
    same = (ERA, False, "lab", "a" * 40, "bfloat16", True, 7.6, "fine-tuned", "mit", False)
    assert rows == [
        (1, "lab/first", *same, False, "available", "import:board"),
        (2, "lab/second", *same, True, "unavailable", "import:board"),
    ]
    assert ask(store, "select co2_kg, state, attempts from evaluations") == [(1.5, "done", 0)] * 2


def test_scores_are_computed_where_the_raw_ones_tell_them(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    wrong = {"GPQA": 99.0, "BBH": 12.0, "Average ⬆️": 7.0}
    bring_in(board_row("lab/model", **wrong))
    scores = {
        row[0]: row[1:] for row in ask(store, "select benchmark, raw, normalized, published from benchmark_scores")
    }
    assert scores["gpqa"] == pytest.approx((0.37, 16.0, 99.0))
    assert scores["mmlu_pro"] == pytest.approx((0.53, NORMALIZED["MMLU-PRO"], NORMALIZED["MMLU-PRO"]))
    assert scores["bbh"] == (0.63, 12.0, 12.0)
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        found = find_disagreements(con, "import:board", 1e-9)
    average = (72 + 12 + 40 + 16 + 18.7 + NORMALIZED["MMLU-PRO"]) / 6
    at = found.columns.index("benchmark")
    assert [row[at : at + 3] for row in found.rows] == [
        ("gpqa", 99.0, pytest.approx(16.0)),
        ("average", 7.0, pytest.approx(average)),
    ]


def test_importing_twice_changes_nothing(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    rows = [board_row("lab/a"), board_row("lab/b")]
    bring_in(*rows)
    before = snapshot(store)
    again = bring_in(*reversed(rows), hours=5)
    assert not again.is_new
    assert snapshot(store) == before


def test_a_newer_table_takes_the_place_of_an_older_one(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    assert bring_in(board_row("lab/a"), board_row("lab/gone")).n_withdrawn == 0
    newer = bring_in(board_row("lab/a", **{"MATH Lvl 5 Raw": 0.9, "MATH Lvl 5": 90.0}), hours=1)
    assert newer.n_withdrawn == 1
    sql = "select model_id, raw from benchmark_scores where benchmark = 'math_lvl_5' order by model_id"
    assert ask(store, sql) == [("lab/a", 0.9), ("lab/gone", 0.4)]
    assert ask(store, "select model_id from leaderboard") == [("lab/a",)]
    assert ask(store, "select model_id from imports where is_withdrawn") == [("lab/gone",)]
    # A table that was there before does not count as the newest because it is seen again.
    bring_in(board_row("lab/a"), board_row("lab/gone"), hours=2)
    assert ask(store, sql) == [("lab/a", 0.9), ("lab/gone", 0.4)]


def test_rows_without_a_commit_are_kept_apart_by_their_names(
    store: Store, bring_in: Callable[..., BoardImport]
) -> None:
    done = bring_in(
        board_row("lab/a", sha=""),
        board_row("lab/a", sha="", eval_name="lab_a_other", **{"Submission Date": "2024-11-01"}),
        board_row("lab/b", sha="main"),
    )
    assert done.n_without_sha == 3
    assert ask(store, "select count(*), count(distinct fingerprint), count(revision) from evaluations") == [(3, 3, 0)]
    assert ask(store, "select model_id, revision from leaderboard order by model_id") == [
        ("lab/a", None),
        ("lab/b", None),
    ]


def test_a_branch_or_tag_in_place_of_a_commit_is_part_of_the_identity(
    store: Store, bring_in: Callable[..., BoardImport]
) -> None:
    names = ("step1", "step2", "main", "nan")
    bring_in(*(board_row("lab/a", sha=name, eval_name=f"lab_a_{name}") for name in names))
    rows = ask(store, "select revision, settings from leaderboard order by settings nulls first")
    assert rows == [(None, ""), (None, "revision=step1"), (None, "revision=step2")]


def test_what_cannot_be_read_is_left_out_with_line_and_reason(
    store: Store, bring_in: Callable[..., BoardImport], tmp_path: Path
) -> None:
    done = bring_in(
        board_row("lab/good"),
        board_row("lab/text", **{"GPQA Raw": "a lot"}),
        board_row("lab/high", **{"BBH Raw": 1.5}),
        board_row("lab/infinite", **{"Average ⬆️": "inf"}),
        board_row("", eval_name="nameless"),
        board_row("lab/flag", **{"Chat Template": "perhaps"}),
        board_row("lab/good", **{"GPQA Raw": 0.9}),
        board_row("lab/liked", **{"Hub ❤️": 1e300}),
    )
    file = tmp_path / "contents.csv"
    assert [(each.where, each.reason.partition(":")[0]) for each in done.left_out] == [
        (f"{file}:3", "gpqa raw"),
        (f"{file}:4", "bbh raw"),
        (f"{file}:5", "average"),
        (f"{file}:6", "fullname"),
        (f"{file}:7", "chat template"),
        (f"{file}:8", "eval_name"),
        (f"{file}:9", "Hub ❤️"),
    ]
    assert ask(store, "select model_id from evaluations") == [("lab/good",)]


def test_a_missing_score_gives_no_rank_and_coverage_says_so(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    bring_in(board_row("lab/a", **{"GPQA Raw": "", "GPQA": ""}), board_row("lab/b"))
    assert ask(store, "select model_id from leaderboard") == [("lab/b",)]
    sql = "select benchmark, found_samples, problem from coverage where not is_complete"
    assert ask(store, sql) == [("gpqa", None, "the board has no score")]


def test_parquet_says_the_same_as_csv(store: Store, bring_in: Callable[..., BoardImport], tmp_path: Path) -> None:
    rows = [board_row("lab/a"), board_row("lab/b", sha="")]
    bring_in(*rows)
    file = tmp_path / "contents.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    before = snapshot(store)
    assert not import_board(store, file, SUITE, ERA, "board", NOW).is_new
    assert snapshot(store) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PAR1 and nothing more", "is not a Parquet, CSV or JSON file"),
        (b"\xff\xfe\x00\x81", "is not a Parquet, CSV or JSON file"),
        (b"", "has no rows"),
        (b"model,score\na,1\n", "lacks the columns eval_name"),
    ],
)
def test_a_file_that_is_no_board_is_refused(store: Store, tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(ImportFileError, match=says):
        import_board(store, file, SUITE, ERA, "board", NOW)
    assert snapshot(store) == {}


@pytest.mark.parametrize(
    ("era", "name", "says"),
    [
        (None, "board", "Name the era of the file: launch, math-parser-fix"),
        ("math-verifi", "board", "math-verify"),
        (ERA, "../x", "--name"),
        (ERA, "results", "--name: is reserved for rows of `import results`"),
    ],
)
def test_an_unknown_era_or_a_bad_name_is_refused(
    store: Store, tmp_path: Path, era: str | None, name: str, says: str
) -> None:
    file = write_csv(tmp_path / "contents.csv", [board_row("lab/a")])
    with pytest.raises(ImportFileError, match=says):
        import_board(store, file, SUITE, era, name, NOW)


def add_run(store: Store, model: str, math_version: str) -> None:
    """An evaluation of our own: everything half right."""
    rows = suite_rows(SUITE, "pinned", NOW)
    tasks = [{key: value for key, value in row.items() if not key.startswith("suite")} for row in rows]
    lake = Lake()
    versions = {row["task"]: math_version for row in tasks if row["benchmark"] == "math_lvl_5"}
    lake.done(
        model.replace("/", "-"), model, tasks=tasks, versions=versions, suite=SUITE.suite, suite_version="pinned",
        scores=0.5,
    )  # fmt: skip
    lake.files["suites", "pinned"] = rows
    lake.files["eras", "pinned"] = era_rows(SUITE, "pinned", NOW)
    lake.write(store.lake)


def test_a_new_evaluation_ranks_among_the_rows_of_its_era_and_beside_others(
    store: Store, bring_in: Callable[..., BoardImport]
) -> None:
    bring_in(board_row("lab/old"))
    add_run(store, "lab/ours", "2.0")
    add_run(store, "lab/newer", "3.0")
    assert ask(store, "select era, rank, model_id, source from leaderboard order by era, rank") == [
        (ERA, 1, "lab/old", "import:board"),
        (ERA, 2, "lab/ours", "run"),
        ("math-verify", 1, "lab/newer", "run"),
    ]


def test_a_discovered_copy_takes_the_imported_scores(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    bring_in(board_row("lab/a"))
    lake = Lake()
    lake.commit("lab/a", "a" * 40, fingerprint="same")
    lake.commit("copy/a", "c" * 40, fingerprint="same", hours=1)
    lake.write(store.lake)
    assert ask(store, "select model_id, identical_to from leaderboard order by rank") == [
        ("lab/a", None),
        ("copy/a", "lab/a"),
    ]


def test_the_table_that_is_imported_last_counts_whatever_the_clock_says(
    store: Store, bring_in: Callable[..., BoardImport]
) -> None:
    bring_in(board_row("lab/a", **{"IFEval Raw": 0.5, "IFEval": 50.0}))
    bring_in(board_row("lab/a", **{"IFEval Raw": 0.6, "IFEval": 60.0}), hours=-1000)
    assert ask(store, "select ifeval from leaderboard_v2") == [(60.0,)]


def test_wide_table_and_comments_hold_with_imports(store: Store, bring_in: Callable[..., BoardImport]) -> None:
    bring_in(board_row("lab/a"))
    assert ask(store, "select model_id, ifeval, musr from leaderboard_v2") == [("lab/a", 72.0, 18.7)]
    with pytest.raises(duckdb.Error):
        ask(store, "select * from no_such_table")
