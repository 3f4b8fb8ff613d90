"""Documents are written once for each task, set of documents and kind of source, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nightboard.tasks.store.documents import write_documents
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.lake.samples_file import ConvertError

SETS = [("one", "s1", False), ("one", "s2", False), ("two", "s1", False), ("one", "s1", True)]


def write(store: Store, file: Path, task: str = "one", doc_set_hash: str = "s1", is_imported: bool = False) -> None:
    write_documents(store, task, doc_set_hash, [file], dataset_id=None, dataset_sha=None, is_imported=is_imported)


def read(store: Store) -> list[tuple[str, str, bool, str]]:
    files = (store.lake / "documents").glob("*")
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted((row["task"], row["doc_set_hash"], row["is_imported"], row["question"]) for row in rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({"doc": {"question": "first"}, "doc_hash": "d", "filtered_resps": ["x"]}) + "\n")
    return path


def test_each_task_set_and_kind_of_source_is_written_once(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "store")
    for each in SETS:
        write(store, file, *each)
    file.write_text(file.read_text().replace("first", "second"))
    for each in SETS:
        write(store, file, *each)
    assert read(store) == sorted((*each, "first") for each in SETS)


def test_a_damaged_file_leaves_nothing_and_the_next_one_is_taken(tmp_path: Path, file: Path) -> None:
    store, whole = Store(tmp_path / "store"), file.read_text()
    file.write_text(whole + "{")
    with pytest.raises(ConvertError, match="line 2"):
        write(store, file)
    assert list((store.lake / "documents").iterdir()) == []
    file.write_text(whole)
    write(store, file)
    assert read(store) == [("one", "s1", False, "first")]
