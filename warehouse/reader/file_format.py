"""The formats that tables are exported in. Imports nothing, so that the command line can list them at once."""

from __future__ import annotations

from enum import StrEnum


class FileFormat(StrEnum):
    """What a table is exported as. `json` is one array, `jsonl` one object a line."""

    parquet = "parquet"
    csv = "csv"
    tsv = "tsv"
    json = "json"
    jsonl = "jsonl"
