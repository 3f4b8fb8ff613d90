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
    json = "json"
    markdown = "markdown"
    parquet = "parquet"


_ENDINGS = {
    ".csv": Format.csv,
    ".json": Format.json,
    ".md": Format.markdown,
    ".parquet": Format.parquet,
    ".txt": Format.table,
}


def choose_format(form: Format | None, output: Path | None) -> Format:
    """The format that was asked for, else the one that the file's name ends in, else a table.

    Raises FormatError for a file whose ending says nothing.
    """
    if form is not None or output is None:
        return form or Format.table
    try:
        return _ENDINGS[output.suffix.lower()]
    except KeyError:
        raise FormatError(
            f"the name {output.name} does not tell the format. End it in {', '.join(_ENDINGS)}, or say --format."
        ) from None
