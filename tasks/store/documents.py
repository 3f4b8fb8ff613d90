"""Writes the texts of a task's documents to the lake: once for each set of documents, never per evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.store.files import replace_atomically
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import has_file
from nightboard.warehouse.schema.lake_tables import DOCUMENTS


def write_documents(
    store: Store,
    task: str,
    doc_set_hash: str,
    files: Sequence[Path],
    *,
    dataset_id: str | None,
    dataset_sha: str | None,
    is_imported: bool,
) -> None:
    """Write the documents of these samples files of a task, unless this set was written before. Twice is the same.

    Imported files may say anything, so they never stand for the documents of a run. Raises ConvertError for an invalid
    line.
    """
    name = hash_json([task, doc_set_hash, is_imported])[:32]
    if has_file(store, DOCUMENTS, name):
        return
    from nightboard.warehouse.lake.convert_documents import convert_documents  # imports pyarrow

    same = {
        "task": task,
        "doc_set_hash": doc_set_hash,
        "is_imported": is_imported,
        "dataset_id": dataset_id,
        "dataset_sha": dataset_sha,
    }
    with replace_atomically(store.lake_file(DOCUMENTS.name, name)) as out:
        convert_documents(files, same, out)
