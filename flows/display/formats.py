"""Rows in the formats that machines read, and cells for people.

Owns formats and rounding. Rows are written batch by batch, so that no result is too long.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console

from nightboard.flows.display.format_choice import Format, FormatError
from nightboard.flows.display.tables import TextColumn, cells_table, print_table
from nightboard.warehouse.reader.result import Result

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[Any, ...]

# Parameters: a model may have 0.00127 of them, or a bracket end at 80.
_IN_BILLIONS = ("params_b", "above_b", "up_to_b")
_NESTED = (list, tuple, dict)


def to_text(column: str, value: object) -> str:
    """A cell for people: numbers with 2 decimals, or 3 digits where small; short revisions, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | Decimal):
        return f"{value:.3g}" if column in _IN_BILLIONS else _round(float(value))
    if column in ("revision", "fingerprint") and isinstance(value, str) and len(value) >= 40:
        return value[:7]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return _to_json_text(value) if isinstance(value, _NESTED) else str(value)


def to_score_text(column: str, value: object) -> str:
    """A cell of a leaderboard for people: as `to_text`, but scores have 2 decimals, however small."""
    if isinstance(value, float | Decimal) and column not in _IN_BILLIONS:
        return f"{value:.2f}"
    return to_text(column, value)


def _round(value: float) -> str:
    """2 decimals, unless they would hide the number or be lost in its digits."""
    if 0 < abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:.6g}" if 1e15 <= abs(value) < math.inf else f"{value:.2f}"


Tell = Callable[[str, object], str]


def write_rows(
    columns: Sequence[str],
    batches: Iterable[Sequence[Row]],
    form: Format,
    out: IO[bytes],
    tell: Tell = to_text,
) -> None:
    """Write rows in a machine's format as they come, at full precision; Markdown and a table hold what cells `tell`."""
    match form:
        case Format.json:
            texts = _json(columns, batches)
        case Format.jsonl:
            texts = _jsonl(columns, batches)
        case Format.csv:
            texts = _csv(columns, batches, ",")
        case Format.tsv:
            texts = _csv(columns, batches, "\t")
        case Format.markdown:
            texts = _markdown(columns, batches, tell)
        case Format.table:
            texts = _text_table(columns, batches, tell)
        case Format.parquet:
            import pyarrow as pa

            rows = list(chain.from_iterable(batches))
            table = {name: [row[at] for row in rows] for at, name in enumerate(_distinct(columns))}
            write_parquet(pa.table(table).to_reader(), out)  # without rows too, its columns are there
            return
    for text in texts:
        out.write(text.encode())


def write_parquet(reader: pa.RecordBatchReader, out: IO[bytes]) -> None:
    """Write rows as Parquet as they come, with the types that they have.

    Raises FormatError for a type that Parquet does not have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [field.with_name(name) for field, name in zip(reader.schema, _distinct(reader.schema.names), strict=True)]
    )
    for field in schema:
        _require_parquet(field)
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def _require_parquet(field: pa.Field) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.ParquetWriter(io.BytesIO(), pa.schema([field])).close()
    except pa.ArrowNotImplementedError:
        raise FormatError(
            f"column {field.name} is of a type that Parquet does not have (got {field.type})."
            f' Select it as text: "{field.name}"::varchar.'
        ) from None


def to_bytes(result: Result, form: Format) -> bytes:
    """A result in one piece; see `write_rows`."""
    out = io.BytesIO()
    write_rows(result.columns, [result.rows], form, out)
    return out.getvalue()


def to_records(result: Result) -> list[dict[str, Any]]:
    """Rows as JSON objects; a repeated name gets a number, so that no value is lost."""
    return [{key: _to_json(value) for key, value in record.items()} for record in _records(*result)]


def to_table(result: Result, title_of: Mapping[str, str], tell: Tell = to_text) -> list[TextColumn]:
    """A table for people, numbers to the right."""
    columns, rows = result
    titles = [title_of.get(column, column) for column in columns]
    numeric = [title for index, title in enumerate(titles) if _is_numeric(row[index] for row in rows)]
    texts = [[tell(*cell) for cell in zip(columns, row, strict=True)] for row in rows]
    return cells_table(titles, texts, right=numeric)


def to_plain(value: object) -> object:
    """What JSON lacks, as numbers and texts."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)


def _json(columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> Iterator[str]:
    """One array with a record a line."""
    before = "[\n"
    for line in _jsonl(columns, batches):
        yield before + line.removesuffix("\n")
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _jsonl(columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> Iterator[str]:
    for batch in batches:
        for record in _records(columns, batch):
            yield _to_json_text(record) + "\n"


def _csv(columns: Sequence[str], batches: Iterable[Sequence[Row]], delimiter: str) -> Iterator[str]:
    for rows in chain([[tuple(columns)]], batches):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(map(_to_csv, row) for row in rows)
        yield text.getvalue()


def _to_csv(value: object) -> object:
    """Booleans, lists and maps as JSON writes them."""
    return _to_json_text(value) if isinstance(value, (bool, *_NESTED)) else value


@functools.cache
def _json_encoder() -> json.JSONEncoder:
    """Made once: json.dumps makes one for each cell."""
    return json.JSONEncoder(default=to_plain, ensure_ascii=False, allow_nan=False)


def _to_json_text(value: object) -> str:
    return _json_encoder().encode(_to_json(value))


def _markdown(columns: Sequence[str], batches: Iterable[Sequence[Row]], tell: Tell) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n"
    for row in chain.from_iterable(batches):
        texts = [
            _to_json_text(cell) if isinstance(cell, bool) else tell(column, cell)
            for column, cell in zip(columns, row, strict=True)
        ]
        cells = (text.replace("|", "\\|").replace("\n", " ") for text in texts)
        yield f"| {' | '.join(cells)} |\n"


def _text_table(columns: Sequence[str], batches: Iterable[Sequence[Row]], tell: Tell) -> Iterator[str]:
    text = io.StringIO()
    rows = list(chain.from_iterable(batches))
    print_table(Console(file=text, width=200, highlight=False), to_table(Result(list(columns), rows), {}, tell))
    yield text.getvalue()


def _records(columns: Sequence[str], rows: Iterable[Row]) -> list[dict[str, Any]]:
    names = _distinct(columns)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of columns, each once, as DuckDB does it: a, a_1, a_2."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            name, number = f"{column}_{number}", number + 1
        names.append(name)
    return names


def _is_numeric(values: Iterable[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in present)


def _to_json(value: object) -> object:
    """JSON has no NaN and no infinity, at any depth, and its keys are texts."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return None
    return value
