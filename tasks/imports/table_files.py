"""Reads an imported table from CSV, JSON, JSON lines or Parquet: rows with their places in the file, within limits.

Detects the format, simplifies the names of columns, and words the errors. The importers know the columns' meaning.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightboard.profiles.loading.regular_file import open_regular
from nightboard.tasks.imports.cells import Row, RowError
from nightboard.tasks.imports.errors import BoundError, ImportFileError

_PARQUET = b"PAR1"
# The largest boards have some thousands of rows with some dozens of columns.
MOST_ROWS = 1_000_000
_MOST_CELLS = 20_000_000
_MOST_COLUMNS = 1000
_MOST_TEXT_BYTES, _MOST_PARQUET_BYTES, _MOST_UNPACKED_BYTES = 2**26, 2**30, 2**30
_BATCH_ROWS = 1000

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class TableFile:
    """A file on this machine, and its name in messages."""

    path: Path
    name: str

    @classmethod
    def local(cls, path: Path) -> TableFile:
        return cls(path, str(path))

    def read(self) -> Iterator[tuple[str, Row | RowError]]:
        """Pairs of place (such as `board.csv:17`) and row, or its error; names of columns are simplified.

        Raises ImportFileError for a file that is not a table.
        """
        try:
            with open_regular(self.path, _MOST_PARQUET_BYTES) as opened:
                start = opened.read(4096)
            if not start.startswith(_PARQUET):
                open_regular(self.path, _MOST_TEXT_BYTES).close()
        except OSError as error:
            raise ImportFileError(f"{self.name}: cannot be read ({error.strerror}). Check the path.") from error
        if start.startswith(b"version https://git-lfs"):
            raise ImportFileError(
                f"{self.name}: is a Git LFS pointer, not the file itself. Run `git lfs pull` in its folder."
            )
        try:
            for number, (place, row) in enumerate(_choose_reader(start)(self.path)):
                if number >= MOST_ROWS:
                    raise BoundError(f"has more than {MOST_ROWS:,} rows")
                yield f"{self.name}:{place}", row if isinstance(row, RowError) else _simplify_keys(row)
        except BoundError as error:
            raise ImportFileError(f"{self.name}: {error}. Import a smaller file.") from error
        except (pa.ArrowException, OSError, csv.Error, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ImportFileError(
                f"{self.name}: is not a Parquet, CSV or JSON file ({reason}). CSV and JSON must be UTF-8."
            ) from error


def check_name(name: str) -> str:
    """Check the name of an import. Raises ImportFileError for a name that may be a path or SQL."""
    if not _NAME.fullmatch(name):
        raise ImportFileError(
            f"--name: is not a valid name (got {name!r}). Use lower-case letters, digits, dots and dashes, such as"
            " arena-2025."
        )
    return name


def simplify(name: str) -> str:
    """`Average ⬆️` as `average`, `CO₂ cost (kg)` as `co2 cost (kg)`: symbols differ between versions of a table."""
    plain = " ".join(name.replace("₂", "2").encode("ascii", "ignore").decode().lower().split())
    return plain or name.strip().lower()


def _simplify_keys(row: Row) -> Row:
    return {simplify(key): value for key, value in row.items()}


# ------------------------------------------------------------------------------------------------------------- files

Numbered = Iterator[tuple[int, Row | RowError]]


def _choose_reader(start: bytes) -> Callable[[Path], Numbered]:
    if start.startswith(_PARQUET):
        return _read_parquet
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return _read_json
    return _read_json_lines if text.startswith(b"{") else _read_csv


def _read_parquet(file: Path) -> Numbered:
    """Rows batch by batch. A small file can unpack to any number of rows and length of texts, so both are limited."""
    with pq.ParquetFile(file) as opened:
        _check_width(len(opened.schema_arrow))
        columns = [field.name for field in opened.schema_arrow if _is_cell(field.type)]
        texts = [field.name for field in opened.schema_arrow if _is_text(field.type)]
        n_rows = opened.metadata.num_rows
        if n_rows > MOST_ROWS:
            raise BoundError(f"has {n_rows:,} rows, more than the limit of {MOST_ROWS:,}")
        if n_rows * len(columns) > _MOST_CELLS:
            raise BoundError(
                f"has {n_rows:,} rows of {len(columns):,} columns, more than the limit of {_MOST_CELLS:,} cells"
            )
        groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > _MOST_UNPACKED_BYTES:
            raise BoundError(f"has more than {_MOST_UNPACKED_BYTES:,} bytes when unpacked")
    n_bytes, number = 0, 0
    # As a dictionary, a text that occurs in every row is unpacked once.
    with pq.ParquetFile(file, read_dictionary=texts) as opened:
        for batch in opened.iter_batches(_BATCH_ROWS, columns=columns):
            n_bytes += sum(_count_text_bytes(column) for column in batch.columns)
            if n_bytes > _MOST_UNPACKED_BYTES:
                raise BoundError(f"has more than {_MOST_UNPACKED_BYTES:,} bytes of text when unpacked")
            try:
                rows = batch.to_pylist()
            except (OverflowError, ValueError, KeyError, pa.ArrowException) as error:
                reason = " ".join(str(error).split())
                raise BoundError(f"has a time out of range or in an unknown zone ({reason})") from error
            for row in rows:
                number += 1
                yield number, row


def _check_width(n_columns: int) -> None:
    if n_columns > _MOST_COLUMNS:
        raise BoundError(f"has {n_columns:,} columns, more than the limit of {_MOST_COLUMNS:,}")


def _is_cell(kind: pa.DataType) -> bool:
    """Whether a column has single values: not lists, structures or bytes."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_text(kind) or not (pa.types.is_nested(kind) or _is_bytes(kind) or isinstance(kind, pa.ExtensionType))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _count_text_bytes(column: pa.Array) -> int:
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return int(pc.sum(pc.take(lengths, column.indices)).as_py() or 0)


def _read_csv(file: Path) -> Numbered:
    """Rows of a CSV file. A row with too few cells is rejected, because its last number may be truncated."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        delimiter = max(",;\t", key=opened.readline().count)
        opened.seek(0)
        reader = csv.reader(opened, strict=True, delimiter=delimiter)
        titles = next(reader, [])
        _check_width(len(titles))
        if len(set(titles)) < len(titles):
            raise ValueError(f"two columns have the name {max(titles, key=titles.count)!r}")
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(titles):
                yield line, RowError(f"has {len(cells)} cells instead of {len(titles)}.")
            elif cells:
                yield line, dict(zip(titles, cells, strict=True))
            line = reader.line_num + 1


def _read_json(file: Path) -> Numbered:
    for number, row in enumerate(json.loads(file.read_text(encoding="utf-8-sig")), start=1):
        yield number, row if isinstance(row, dict) else RowError("is not a JSON object.")


def _read_json_lines(file: Path) -> Numbered:
    with file.open(encoding="utf-8-sig") as opened:
        for number, line in enumerate(opened, start=1):
            if line.strip():
                yield number, _read_json_line(line)


def _read_json_line(line: str) -> Row | RowError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return RowError(f"is not valid JSON ({error}).")
    return row if isinstance(row, dict) else RowError("is not a JSON object.")
