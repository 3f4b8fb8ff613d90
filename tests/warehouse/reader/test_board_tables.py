"""The tables for the SQL page: what a board shows, no texts of documents, and the same bytes for the same rows."""

from __future__ import annotations

import pyarrow as pa
import pytest
from page_lake import EVIL, share_store

from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.board_tables import BoardTable, read_board_tables
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import NO_FILTERS, Filters

OF_MODELS = ("leaderboard", "small", "benchmark_scores", "candidates", "models", "evaluations", "costs")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return share_store(tmp_path_factory)


def read(store: Store, filters: Filters = NO_FILTERS, suites: list[str] | None = None) -> dict[str, BoardTable]:
    with connect(store.warehouse) as con:
        return {table.name: table for table in read_board_tables(con, filters, suites)}


def list_values(table: BoardTable, column: str) -> set[str]:
    return set(table.rows[column].to_pylist())


def test_a_store_gives_all_its_rows(store: Store) -> None:
    tables = read(store)
    assert [*tables] == [
        "leaderboard", "small", "benchmark_scores", "candidates", "models", "organizations", "evaluations", "costs",
        "suites",
    ]  # fmt: skip
    assert {EVIL, "lab/strong", "lab/weak"} < list_values(tables["leaderboard"], "model_id")
    assert "lab/broken-1" in list_values(tables["evaluations"], "model_id")
    assert list_values(tables["organizations"], "organization") == {"lab", "evil", "rtl"}
    assert [name for name, table in tables.items() if table.suite] == ["small"]


def test_a_board_gives_only_the_rows_of_its_models_and_suites(store: Store) -> None:
    tables = read(store, Filters(models=["lab/weak"], sources=[]), ["small"])
    assert [name for name in OF_MODELS if list_values(tables[name], "model_id") != {"lab/weak"}] == []
    assert list_values(tables["organizations"], "organization") == {"lab"}
    nothing = read(store, Filters(models=["lab/weak"], sources=[]), ["another"])
    assert "small" not in nothing, "the table of a suite without rows"
    assert [name for name, table in nothing.items() if table.rows.num_rows] == []


def test_no_texts_of_documents_and_no_logs_leave_the_store(store: Store) -> None:
    for table in read(store).values():
        stream = table.write_stream().lower()
        assert not [text for text in (b"secret", b"runtimeerror", b"someone@here") if text in stream], table.name


def test_every_column_has_its_meaning_and_a_type_that_needs_no_extension(store: Store) -> None:
    for table in read(store).values():
        assert [column.name for column in table.columns] == table.rows.column_names
        assert all(column.description for column in table.columns)
        assert {column.type for column in table.columns} <= {
            "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR[]"
        }  # fmt: skip
        assert not [kind for kind in table.rows.schema.types if pa.types.is_timestamp(kind) and kind.tz]


def test_what_memory_holds_in_the_place_of_a_null_is_not_written() -> None:
    valid = pa.py_buffer(b"\x05")
    one, other = (
        pa.table({"n": pa.Array.from_buffers(pa.int64(), 3, [valid, pa.array([1, rest, 2]).buffers()[1]])})
        for rest in (7, 8)
    )
    assert one.equals(other)
    assert BoardTable("t", "", (), one).write_stream() == BoardTable("t", "", (), other).write_stream()
