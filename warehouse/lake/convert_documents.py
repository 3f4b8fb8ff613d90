"""Converts lm-eval's samples files of a task to rows of the lake's `documents` table: one row per document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.warehouse.lake.document_texts import Document, describe_document
from nightboard.warehouse.lake.samples_file import OBJECTS, read_lines
from nightboard.warehouse.schema.lake_tables import DOCUMENTS

_BATCH_BYTES = 1 << 26


def convert_documents(files: Sequence[Path], same: dict[str, Any], out: IO[bytes] | Path) -> int:
    """Write one row per different document of these files, in their order, as Parquet; returns the number of rows.

    `same` has the columns that are the same in all rows. A document without lm-eval's hash has no row. Raises
    ConvertError for an invalid line. Rows are written as they are read, so pass a temporary file as `out`.
    """
    n_rows = 0
    with pq.ParquetWriter(out, DOCUMENTS.arrow, compression="zstd") as writer:
        for batch in _make_batches(_read_documents(files)):
            rows = [same | {"doc_hash": doc_hash} | document._asdict() for doc_hash, document in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS.arrow))
            n_rows += len(rows)
    return n_rows


def _make_batches(documents: Iterator[tuple[str, Document]]) -> Iterator[list[tuple[str, Document]]]:
    """Lists of documents that are not too long for memory, however long their texts are."""
    batch, size = [], 0
    for doc_hash, document in documents:
        batch.append((doc_hash, document))
        size += 200 + sum(len(text) for text in (document.question or "", *(document.choices or ())))
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_documents(files: Sequence[Path]) -> Iterator[tuple[str, Document]]:
    """Hash and texts of each document, where it occurs first: a file has a line for each filter."""
    seen: set[str] = set()

    def describe(line: Any) -> tuple[str, Document] | None:
        doc_hash = line.get("doc_hash") if isinstance(line, OBJECTS) else None
        if not isinstance(doc_hash, str) or doc_hash in seen:
            return None
        seen.add(doc_hash)
        return doc_hash, describe_document(line)

    for file in files:
        yield from (found for found in read_lines(file, describe) if found is not None)
