"""Importing an external ranking: its columns are found, every model has one place, nothing of a broken row gets in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.ranking import RankingImport, import_ranking
from nightboard.tasks.imports.table_files import TableFile
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import read_table
from nightboard.warehouse.schema.lake_tables import RANKINGS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = datetime(2025, 3, 1, tzinfo=UTC)

Import = Callable[..., RankingImport]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def bring_in(store: Store, tmp_path: Path) -> Import:
    def bring_in(content: str | bytes, hours: float = 0, **options: Any) -> RankingImport:
        file = tmp_path / "ranking"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return import_ranking(store, TableFile(file, "ranking"), "arena", NOW + timedelta(hours=hours), **options)

    return bring_in


def entries(store: Store) -> list[tuple[Any, ...]]:
    rows = read_table(store, RANKINGS).to_pylist()
    return sorted((row["model_name"], row["rank"], row["score"], row["published_at"]) for row in rows)


def left_out(done: RankingImport) -> list[tuple[str, str]]:
    return [(each.where, each.reason) for each in done.left_out]


ROWS = [
    {"model": "lab/a", "rank": 1, "score": 1250.5, "date": "2025-03-01"},
    {"model": "lab/b", "rank": 2, "score": 1200.0, "date": "2025-03-01"},
]
AS_CSV = "model,rank,score,date\nlab/a,1,1250.5,2025-03-01\nlab/b,2,1200.0,2025-03-01\n"


def test_csv_json_json_lines_and_parquet_say_the_same(store: Store, bring_in: Import) -> None:
    first = bring_in(AS_CSV)
    assert (first.is_new, first.n_imported, first.dates, first.left_out) == (True, 2, (DAY,), ())
    assert entries(store) == [("lab/a", 1, 1250.5, DAY), ("lab/b", 2, 1200.0, DAY)]
    parquet = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), parquet)
    others = [
        AS_CSV.replace(",", ";"), AS_CSV.replace(",", "\t"), "\ufeff" + AS_CSV, json.dumps(ROWS),
        "".join(json.dumps(row) + "\n" for row in reversed(ROWS)), parquet.getvalue().to_pybytes(),
    ]  # fmt: skip
    assert [bring_in(content, hours=1).is_new for content in others] == [False] * 6
    assert len(list((store.lake / "rankings").iterdir())) == 1


@pytest.mark.parametrize(
    ("header", "model", "order"),
    [
        ("Model Name,Arena Score", "model name", {"score": "arena score"}),
        ("full,model_id,#", "model_id", {"rank": "#"}),
        ("fullname,leaderboard_publish_date,Elo-Rating", "fullname", {"score": "elo-rating"}),
    ],
)
def test_columns_are_found_by_the_usual_titles(
    bring_in: Import, header: str, model: str, order: dict[str, str]
) -> None:
    cells = ["2025-03-01" if "date" in title else "7" for title in header.split(",")]
    columns = dict(bring_in(f"{header}\n{','.join(cells)}\n").columns)
    columns.pop("date", None)
    assert columns == {"model": model} | order


def test_a_column_can_be_named(store: Store, bring_in: Import) -> None:
    bring_in("Who,Win Rate\na,0.5\n", columns={"model": "who", "score": "Win Rate"})
    assert entries(store) == [("a", None, 0.5, None)]


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        ("who,score\na,1\n", {}, "--column model=NAME. Columns: who, score"),
        ("model,votes\na,1\n", {}, "--column score=NAME"),
        ("model,score\na,1\n", {"score": "elo"}, "--column: ranking has no column 'elo'. Columns: model, score"),
        ("model,score,score\na,1,2\n", {}, "two columns have the name 'score'"),
        ("model,score\n", {}, "has no rows"),
        ("", {}, "has no rows"),
        (b"\xff\xfe", {}, "is not a Parquet, CSV or JSON file"),
        ('[{"model": "a"', {}, "is not a Parquet, CSV or JSON file"),
        ("[" * 100_000, {}, "is not a Parquet, CSV or JSON file"),
    ],
)
def test_a_file_that_is_no_ranking_is_refused(
    store: Store, bring_in: Import, content: str | bytes, columns: dict[str, str], says: str
) -> None:
    with pytest.raises(ImportFileError, match=says):
        bring_in(content, columns=columns)
    assert not store.lake.exists()


def test_bad_rows_are_listed_with_line_and_reason_and_the_others_count(store: Store, bring_in: Import) -> None:
    done = bring_in(
        "model,rank,score,date\ngood,1,9,2025-03-01\n,2,8,2025-03-01\nhalf,2.5,8,2025-03-01\nzero,0,8,2025-03-01\n"
        "text,2,much,2025-03-01\nempty,,,2025-03-01\nwhen,3,7,yesterday\ncut,4\nendless,4,inf,2025-03-01\n"
    )
    assert entries(store) == [("good", 1, 9.0, DAY)]
    assert left_out(done) == [
        ("ranking:3", "model: is empty."),
        ("ranking:4", "rank: must be a whole number from 1 (got '2.5')."),
        ("ranking:5", "rank: must be a whole number from 1 (got '0')."),
        ("ranking:6", "score: is not a number (got 'much')."),
        ("ranking:7", "has neither a rank nor a score."),
        ("ranking:8", "date: is not a date such as 2025-03-01 (got 'yesterday')."),
        ("ranking:9", "has 2 cells instead of 4."),
        ("ranking:10", "score: is not finite (got 'inf')."),
    ]


def test_broken_json_lines_are_listed(store: Store, bring_in: Import) -> None:
    done = bring_in('{"model": "a", "rank": 1}\n{"model": "b"\n[1]\n\n{"model": "\\ud800", "rank": 2}\n{"rank": 3}\n')
    assert [(where, reason.partition(" (")[0]) for where, reason in left_out(done)] == [
        ("ranking:2", "is not valid JSON"),
        ("ranking:3", "is not a JSON object."),
        ("ranking:5", "model: is not valid Unicode."),
        ("ranking:6", "model: is empty."),
    ]
    assert entries(store) == [("a", 1, None, None)]


def test_a_model_that_is_there_twice_with_other_values_is_left_out_altogether(store: Store, bring_in: Import) -> None:
    done = bring_in("model,rank\na,1\nb,2\na,1\nb,3\n")
    assert entries(store) == [("a", 1, None, None)]
    assert [where for where, _ in left_out(done)] == ["ranking:3", "ranking:5"]
    assert "b occurs 2 times" in done.left_out[0].reason


def test_rows_outside_the_order_of_the_others_are_left_out(store: Store, bring_in: Import) -> None:
    done = bring_in("model,rank,score\na,1,\nb,2,7\nc,,6\n")
    assert [each[0] for each in entries(store)] == ["a", "b"]
    assert left_out(done) == [("ranking:4", "has no rank, which orders the other rows.")]


def test_thousands_may_have_commas_where_none_can_be_a_decimal_one(store: Store, bring_in: Import) -> None:
    done = bring_in('model;rank;score\na;1;1,400\nb;2;"1,234,567.5"\nc;3;-12,000\nd;1,004;7\n')
    assert {name: (rank, score) for name, rank, score, _ in entries(store)} == {
        "a": (1, 1400), "b": (2, 1234567.5), "c": (3, -12000), "d": (1004, 7)
    }  # fmt: skip
    assert left_out(done) == []
    for other in ("1,4", "0,400", "1,4000", "1.400,5"):
        done = bring_in(f"model;score\na;1,400\nb;{other}\n", hours=1)
        assert [where for where, _ in left_out(done)] == ["ranking:2", "ranking:3"]


def test_a_date_is_given_to_rows_without_one(store: Store, bring_in: Import) -> None:
    later = datetime(2025, 4, 1, tzinfo=UTC)
    assert bring_in("model,rank,date\na,1,\nb,2,2025-03-01T23:59:00Z\n", date=later).dates == (later,)
    assert entries(store) == [("a", 1, None, later), ("b", 2, None, later)]


def test_a_file_with_a_model_at_several_dates_is_a_history(store: Store, bring_in: Import) -> None:
    done = bring_in("model,rank,date\na,1,2025-03-01\nb,2,2025-03-01\nb,1,2025-04-01\nc,2,2025-04-01\nd,3,\n")
    later = datetime(2025, 4, 1, tzinfo=UTC)
    assert done.dates == (DAY, later)
    assert entries(store) == [("a", 1, None, DAY), ("b", 1, None, later), ("b", 2, None, DAY), ("c", 2, None, later)]
    assert [where for where, _ in left_out(done)] == ["ranking:6"]


def test_importing_twice_changes_nothing_and_another_direction_is_another_ranking(
    store: Store, bring_in: Import
) -> None:
    assert bring_in(AS_CSV).is_new
    assert not bring_in(AS_CSV, hours=9).is_new
    assert bring_in(AS_CSV, hours=9, is_ascending=True).is_new


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_the_one_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for start in (b"", b"model,rank\n", b'{"model": "a", "rank": 1}\n', b"[", b"PAR1"):
        (folder / "file").write_bytes(start + content)
        with contextlib.suppress(ImportFileError):
            import_ranking(Store(folder), TableFile.local(folder / "file"), "arena", NOW)


def test_what_is_imported_last_is_the_newest_whatever_the_clock_says(store: Store, bring_in: Import) -> None:
    for hours, rank in ((0, 1), (-24, 2), (-48, 3), (24, 4)):
        bring_in(f"model,rank\nlab/a,{rank}\n", hours)
    rows = sorted(read_table(store, RANKINGS).to_pylist(), key=lambda row: row["imported_at"])
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert [row["imported_at"] for row in rows[::3]] == [NOW, NOW + timedelta(hours=24)], "a right clock is believed"
