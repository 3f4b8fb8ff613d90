"""Which format rows are written in. Imports nothing, so that the command line can list the formats at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class FormatError(ValueError):
    """Rows cannot be written in the format that was asked for; the message says why and what to do."""


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    tsv = "tsv"
    json = "json"
    jsonl = "jsonl"
    markdown = "markdown"
    parquet = "parquet"


_ENDINGS = {
    ".csv": Format.csv,
    ".tsv": Format.tsv,
    ".json": Format.json,
    ".jsonl": Format.jsonl,
    ".md": Format.markdown,
    ".parquet": Format.parquet,
    ".txt": Format.table,
}


def choose_format(form: Format | None, output: Path | None) -> Format:
    """The format that was asked for, else the one that the file's name ends in, else a table.

    Raises FormatError for a file with another ending.
    """
    if form is not None or output is None:
        return form or Format.table
    try:
        return _ENDINGS[output.suffix.lower()]
    except KeyError:
        raise FormatError(
            f"no format for the name {output.name}. End it in {', '.join(_ENDINGS)}, or add --format."
        ) from None
