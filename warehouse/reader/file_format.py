"""The formats that tables are exported in. Imports nothing, so that the command line can list them at once."""

from __future__ import annotations

from enum import StrEnum


class FileFormat(StrEnum):
    """What a table is exported as. JSON is one array."""

    parquet = "parquet"
    csv = "csv"
    json = "json"
