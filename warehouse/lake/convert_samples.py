"""Converts lm-eval's samples files (JSON lines) to rows of the lake's `samples` table.

Lines are mostly prompts: simdjson parses them faster than a disk reads, and only the parts that rows need become
objects. Counts and documents are validated elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import simdjson

from nightboard.warehouse.schema.lake_tables import SAMPLES

_BATCH_ROWS = 50_000
_READ_BYTES = 1 << 20
# The kernel reads this much ahead while lines are parsed; smaller files are not worth a thread.
_FETCH_BYTES, _FETCH_FROM_BYTES = 1 << 28, 1 << 23
_OBJECTS = (simdjson.Object, dict)
_REQUIRED = ("doc_id", "filter", "metrics", "filtered_resps")


class ConvertError(Exception):
    """A samples file cannot be read; the message names the file and the line."""


_Row = tuple[int, str | None, str | None, str, str, float | None, float, str | None, str | None]
"""doc_id, doc_hash, question_hash, filter, metric, value, weight, target and response of one row."""


def convert_samples(
    files: Mapping[str, Path],
    benchmark: str | None,
    evaluation_id: str,
    out: IO[bytes] | Path,
    question_field: str | None = None,
) -> int:
    """Write one row per task, document, filter and metric as Parquet; returns the number of rows.

    `question_field` is the field of a document with its question, if tasks of the benchmark share questions. A value
    that is not a number, a boolean or a list of booleans (such as a pair that only the whole task can score) is null.
    Raises ConvertError for an invalid line. Rows are written as they are read, so pass a temporary file as `out` and
    rename it.
    """
    n_rows = 0
    with pq.ParquetWriter(out, SAMPLES.arrow, compression="zstd") as writer:
        for task in sorted(files):
            same = {"evaluation_id": evaluation_id, "benchmark": benchmark, "task": task}
            for batch in _make_batches(_read_rows(files[task], question_field), same):
                writer.write_table(batch)
                n_rows += batch.num_rows
    return n_rows


# ---------------------------------------------------------------------------------------------------------------- rows


def _make_batches(rows: Iterable[list[_Row]], same: Mapping[str, str | None]) -> Iterator[pa.Table]:
    batch: list[_Row] = []
    for of_line in rows:
        batch += of_line
        if len(batch) >= _BATCH_ROWS:
            yield _to_table(batch, same)
            batch = []
    if batch:
        yield _to_table(batch, same)


def _to_table(rows: list[_Row], same: Mapping[str, str | None]) -> pa.Table:
    """The rows as a batch, with the columns that are the same in all rows."""
    columns = {name: pa.repeat(pa.scalar(text, pa.string()), len(rows)) for name, text in same.items()}
    others = [field for field in SAMPLES.arrow if field.name not in same]
    columns |= {
        field.name: pa.array(values, field.type) for field, values in zip(others, zip(*rows, strict=True), strict=True)
    }
    return pa.table([columns[name] for name in SAMPLES.arrow.names], schema=SAMPLES.arrow)


def _to_value(score: object) -> tuple[float | None, float]:
    """A score as a number (the file may have it as text), and the number of booleans it is the mean of."""
    if isinstance(score, float):
        return score, 1.0
    if isinstance(score, list) and all(isinstance(part, bool) for part in score):
        return (sum(score) / len(score) if score else None), float(len(score))
    with contextlib.suppress(OverflowError, ValueError):
        return float(score) if isinstance(score, int | str) else None, 1.0
    return None, 1.0


def _to_response(filtered: list[Any]) -> str | None:
    """The first answer; for multiple choice, the log-likelihoods of all answers, as JSON."""
    first = filtered[0] if filtered else None
    if isinstance(first, list):
        if len(first) == 2 and first[1] in ("True", "False"):
            return orjson.dumps(_to_numbers(filtered)).decode()
        first = first[0] if first else None
    return _to_text(first)


def _to_numbers(requests: list[Any]) -> list[float | None]:
    try:  # five times faster than one by one
        numbers: list[float | None] = orjson.loads(f"[{','.join([request[0] for request in requests])}]")
    except (TypeError, ValueError, LookupError):
        numbers = []
    if len(numbers) == len(requests) and {*map(type, numbers)} == {float}:
        return numbers
    return [_to_number(request) for request in requests]


def _to_number(request: Any) -> float | None:
    try:
        return float(request[0])
    except (TypeError, ValueError, LookupError):
        return None


def _to_text(value: object) -> str | None:
    """A text unchanged, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(_unbox(value), ensure_ascii=False, separators=(",", ":"))


# --------------------------------------------------------------------------------------------------------------- lines


def _read_rows(path: Path, question_field: str | None) -> Iterator[list[_Row]]:
    """The rows of each line."""
    parser = simdjson.Parser()
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            yield _make_rows(parser.parse(line), question_field)
        except (ValueError, RuntimeError):
            # Python's own parser also reads NaN; for invalid JSON, it gives the error message.
            if text := bytes(line).strip():
                try:
                    yield _make_rows(_parse_slowly(text), question_field)
                except ValueError as error:
                    message = f"{path}: line {number}: {error}. The file is damaged; run the evaluation again."
                    raise ConvertError(message) from error


def _parse_slowly(line: bytes) -> Any:
    try:
        value = json.loads(line.decode())
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate, which only Python accepts
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from error
    return value


def _make_rows(line: Any, question_field: str | None) -> list[_Row]:
    """One row per metric of a parsed line. Raises ValueError for a line that is not a sample."""
    if not isinstance(line, _OBJECTS):
        raise ValueError("not a JSON object")
    get = line.get
    doc_id, chosen = get("doc_id"), get("filter")
    metrics, filtered = _unbox(get("metrics")), _unbox(get("filtered_resps"))
    if not (type(doc_id) is int and isinstance(chosen, str) and isinstance(filtered, list) and _are_texts(metrics)):
        raise ValueError(_explain({name: _unbox(get(name)) for name in _REQUIRED}))
    if not -(2**63) <= doc_id < 2**63:
        raise ValueError(f"doc_id does not fit into 64 bits (got {doc_id})")
    doc_hash, question_hash = _to_text(get("doc_hash")), _hash_question(get("doc"), question_field)
    target, response = _to_text(get("target")), _to_response(filtered)
    return [
        (doc_id, doc_hash, question_hash, chosen, metric, *_to_value(_unbox(get(metric))), target, response)
        for metric in dict.fromkeys(metrics)
    ]


def _hash_question(document: Any, field: str | None) -> str | None:
    if field is None or not isinstance(document, _OBJECTS):
        return None
    question = _to_text(document.get(field))
    return None if question is None else hashlib.sha256(question.encode()).hexdigest()


def _unbox(value: Any) -> Any:
    """A value parsed by simdjson as a Python object."""
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def _explain(fields: Mapping[str, object]) -> str:
    if missing := [name for name, value in fields.items() if value is None]:
        return f"lacks {', '.join(missing)}"
    if not isinstance(fields["doc_id"], int):
        return f"doc_id is not a number (got {fields['doc_id']!r})"
    return "not a sample of lm-eval (expected filter: text, metrics: list of texts, filtered_resps: list)"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and {*map(type, value)} <= {str}


def _read_lines(path: Path) -> Iterator[memoryview]:
    """The lines of a file without line ends. A yielded line is valid only until the next one is requested."""
    buffer, n_held = bytearray(_READ_BYTES), 0
    try:
        with path.open("rb", buffering=0) as file, _fetching(file):
            while n_read := file.readinto(memoryview(buffer)[n_held:]):
                start, seen, end = 0, n_held, n_held + n_read
                while (stop := buffer.find(b"\n", max(start, seen), end)) >= 0:
                    yield memoryview(buffer)[start:stop]
                    start = stop + 1
                n_held = end - start
                buffer[:n_held] = buffer[start:end]
                if n_held == len(buffer):
                    buffer = buffer + bytes(len(buffer))  # a new buffer: a caller may still hold a line of the old one
    except FileNotFoundError as error:
        raise ConvertError(f"{path}: the file does not exist.") from error
    except OSError as error:
        raise ConvertError(f"{path}: cannot be read ({error.strerror}).") from error
    if n_held:
        yield memoryview(buffer)[:n_held]


@contextlib.contextmanager
def _fetching(file: IO[bytes]) -> Iterator[None]:
    """Make the kernel read the file ahead, so that the disk is busy while lines are parsed."""
    is_done = Event()
    thread = Thread(target=_fetch, args=(file.fileno(), is_done), daemon=True)
    if os.fstat(file.fileno()).st_size >= _FETCH_FROM_BYTES:
        thread.start()
    try:
        yield
    finally:
        is_done.set()
        if thread.is_alive():
            thread.join()


def _fetch(source: int, is_done: Event) -> None:
    """Discard the data; it is then in the kernel's cache."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        offset = 0
        while not is_done.is_set() and (n_sent := os.sendfile(nowhere.fileno(), source, offset, _FETCH_BYTES)):
            offset += n_sent
