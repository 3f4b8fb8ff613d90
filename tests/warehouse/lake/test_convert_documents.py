"""Documents: lm-eval's lines of a task become one row per document, whatever its texts are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nightboard.warehouse.lake.convert_documents import convert_documents
from nightboard.warehouse.lake.samples_file import ConvertError
from nightboard.warehouse.schema.lake_tables import DOCUMENTS

SAME = {"task": "t", "doc_set_hash": "set", "is_imported": False, "dataset_id": "own/data", "dataset_sha": "a" * 40}


def line(doc_hash: object, question: str, **changes: Any) -> str:
    sample = {"doc": {"question": question}, "doc_hash": doc_hash, "target": "A", "filtered_resps": ["x"]} | changes
    return json.dumps(sample, ensure_ascii=False) + "\n"


def convert(folder: Path, *files: str) -> list[dict[str, Any]]:
    paths = [folder / f"{number}.jsonl" for number in range(len(files))]
    for path, text in zip(paths, files, strict=True):
        path.write_text(text)
    n_rows = convert_documents(paths, SAME, folder / "out.parquet")
    table = pq.read_table(folder / "out.parquet")
    assert (table.schema.remove_metadata(), table.num_rows) == (DOCUMENTS.arrow, n_rows)
    return list(table.to_pylist())


def test_a_document_has_one_row_over_shards_filters_and_repetitions(tmp_path: Path) -> None:
    first, second = line("d1", "One?") * 2, line("d2", "Two?") + line("d1", "One?") + line(None, "no hash")
    rows = convert(tmp_path, first, second)
    assert rows == [
        SAME | {"doc_hash": name, "question": text, "choices": None, "target": "A", "category": None}
        for name, text in (("d1", "One?"), ("d2", "Two?"))
    ]


@pytest.mark.parametrize("text", ["x" * 2**20, "a\0b", "\u202e\u2028", "<script>"])
def test_odd_texts_stay_what_they_are(tmp_path: Path, text: str) -> None:
    (row,) = convert(tmp_path, line("d", text, target=text))
    assert (row["question"], row["target"]) == (text, text)


def test_documents_beyond_a_batch_are_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightboard.warehouse.lake.convert_documents._BATCH_BYTES", 500)
    rows = convert(tmp_path, "".join(line(f"d{number}", "?" * number) for number in range(7)))
    assert [row["doc_hash"] for row in rows] == [f"d{number}" for number in range(7)]


@pytest.mark.parametrize("broken", ["{", '{"doc_hash": "d", "doc": {"question": "\\udc00"}}'])
def test_a_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    with pytest.raises(ConvertError, match=r"0\.jsonl: line 2: not valid JSON"):
        convert(tmp_path, line("d1", "One?") + broken + "\n")


@pytest.mark.parametrize(
    "odd",
    [
        "42\n", "[]\n", '{"doc_hash": 1}\n', '{"doc_hash": "d", "filtered_resps": 1}\n',
        '{"doc_hash": "d", "metrics": 5, "arguments": 5, "filtered_resps": [["1", "True"], ["2", "True"]]}\n',
        '{"doc_hash": "d", "target": {}, "doc": {"question": {}, "choices": {}}, "arguments": [[]]}\n',
    ],
)  # fmt: skip
def test_what_is_no_sample_breaks_nothing(tmp_path: Path, odd: str) -> None:
    assert convert(tmp_path, odd + line("d1", "One?"))[-1]["question"] == "One?"
