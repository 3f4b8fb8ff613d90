"""Turn lm-eval's samples files (JSON lines) into rows of the lake's `samples` table.

Owns the reading of one such file. Lines are mostly prompts: simdjson parses them faster than a disk reads, and only
what rows are made of becomes objects. Does not judge scores: counts and documents are validated elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import simdjson

from nightboard.warehouse.schema import SAMPLES

_BATCH_ROWS = 50_000
# Small: the kernel reads on while a piece is parsed.
_READ_BYTES = 1 << 17
_OBJECTS = (simdjson.Object, dict)
_REQUIRED = ("doc_id", "filter", "metrics", "filtered_resps")


class ConvertError(Exception):
    """A samples file cannot be read; the message names the file and the line."""


class _Sample(NamedTuple):
    """What is read of a line. `question`: what the document asks, if a field is named for it."""

    doc_id: int
    doc_hash: str | None
    question: str | None
    filter: str
    scores: Mapping[str, object]
    target: str | None
    response: str | None


def convert_samples(
    files: Mapping[str, Path],
    benchmark: str | None,
    evaluation_id: str,
    out: IO[bytes] | Path,
    question_field: str | None = None,
) -> int:
    """Write one row per task, document, filter and metric as Parquet; returns the number of rows.

    `question_field` names the field of a document that tells its question, where tasks of the benchmark share some.
    A value that is no number, truth or list of truths (such as a pair that only the whole task can score) is null.
    Raises ConvertError for a broken line. Give `out` as a file that appears by renaming: rows are written as they come.
    """
    n_rows = 0
    with pq.ParquetWriter(out, SAMPLES.arrow, compression="zstd") as writer:
        for task in sorted(files):
            same = {"evaluation_id": evaluation_id, "benchmark": benchmark, "task": task}
            for batch in _make_batches(_read_samples(files[task], question_field), same):
                writer.write_table(batch)
                n_rows += batch.num_rows
    return n_rows


# ---------------------------------------------------------------------------------------------------------------- rows


@dataclass
class _Rows:
    """Columns of the rows to be written, but for those that are the same in all."""

    doc_id: list[int] = field(default_factory=list)
    doc_hash: list[str | None] = field(default_factory=list)
    question_hash: list[str | None] = field(default_factory=list)
    filter: list[str] = field(default_factory=list)
    metric: list[str] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    target: list[str | None] = field(default_factory=list)
    response: list[str | None] = field(default_factory=list)

    def add(self, sample: _Sample) -> None:
        question_hash = None if sample.question is None else hashlib.sha256(sample.question.encode()).hexdigest()
        for metric, score in sample.scores.items():
            value, weight = _to_value(score)
            self.doc_id.append(sample.doc_id)
            self.doc_hash.append(sample.doc_hash)
            self.question_hash.append(question_hash)
            self.filter.append(sample.filter)
            self.metric.append(metric)
            self.value.append(value)
            self.weight.append(weight)
            self.target.append(sample.target)
            self.response.append(sample.response)

    def to_table(self, same: Mapping[str, str | None]) -> pa.Table:
        columns = {name: pa.repeat(pa.scalar(text, pa.string()), len(self.doc_id)) for name, text in same.items()}
        columns |= {name: pa.array(values, SAMPLES.arrow.field(name).type) for name, values in vars(self).items()}
        return pa.table([columns[name] for name in SAMPLES.arrow.names], schema=SAMPLES.arrow)


def _make_batches(samples: Iterable[_Sample], same: Mapping[str, str | None]) -> Iterator[pa.Table]:
    rows = _Rows()
    for sample in samples:
        rows.add(sample)
        if len(rows.doc_id) >= _BATCH_ROWS:
            yield rows.to_table(same)
            rows = _Rows()
    if rows.doc_id:
        yield rows.to_table(same)


def _to_value(score: object) -> tuple[float | None, float]:
    """A score as a number, and how many truths it is the mean of."""
    if isinstance(score, list) and all(isinstance(part, bool) for part in score):
        return (sum(score) / len(score) if score else None), float(len(score))
    if isinstance(score, bool | int | float):
        with contextlib.suppress(OverflowError):
            return float(score), 1.0
    return None, 1.0


def _to_response(filtered: list[Any]) -> str | None:
    """The first answer; of a choice between answers the log-likelihoods of all, as JSON."""
    first = filtered[0] if filtered else None
    if isinstance(first, list):
        if len(first) == 2 and first[1] in ("True", "False"):
            return orjson.dumps(_to_numbers(filtered)).decode()
        first = first[0] if first else None
    return _to_text(first)


def _to_numbers(requests: list[Any]) -> list[float | None]:
    with contextlib.suppress(TypeError, ValueError, LookupError):  # five times faster than one by one
        numbers: list[float | None] = orjson.loads(f"[{','.join([request[0] for request in requests])}]")
        if len(numbers) == len(requests):
            return numbers
    return [_to_number(request) for request in requests]


def _to_number(request: Any) -> float | None:
    try:
        return float(request[0])
    except (TypeError, ValueError, LookupError):
        return None


def _to_text(value: object) -> str | None:
    """A text as it is, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(_unbox(value), ensure_ascii=False, separators=(",", ":"))


# --------------------------------------------------------------------------------------------------------------- lines


def _read_samples(path: Path, question_field: str | None) -> Iterator[_Sample]:
    parser = simdjson.Parser()
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            yield _pick(parser.parse(line), question_field)
        except (ValueError, RuntimeError):
            # What only Python's own parser reads, such as NaN, or what is wrong, in its words.
            if text := bytes(line).strip():
                try:
                    yield _pick(_parse_slowly(text), question_field)
                except ValueError as error:
                    message = f"{path}: line {number}: {error}. The file is damaged; run the evaluation again."
                    raise ConvertError(message) from error


def _parse_slowly(line: bytes) -> Any:
    try:
        value = json.loads(line.decode())
        json.dumps(value, ensure_ascii=False).encode()  # half a character, which only Python lets through
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from error
    return value


def _pick(line: Any, question_field: str | None) -> _Sample:
    """The sample of a parsed line. Raises ValueError for what is none."""
    if not isinstance(line, _OBJECTS):
        raise ValueError("not a JSON object")
    get = line.get
    doc_id, chosen = get("doc_id"), get("filter")
    metrics, filtered = _unbox(get("metrics")), _unbox(get("filtered_resps"))
    if not (type(doc_id) is int and isinstance(chosen, str) and isinstance(filtered, list) and _are_texts(metrics)):
        raise ValueError(_explain({name: _unbox(get(name)) for name in _REQUIRED}))
    if not -(2**63) <= doc_id < 2**63:
        raise ValueError(f"doc_id is no number of 64 bits (got {doc_id})")
    document = get("doc") if question_field else None
    return _Sample(
        doc_id=doc_id,
        doc_hash=_to_text(get("doc_hash")),
        question=_to_text(document.get(question_field or "")) if isinstance(document, _OBJECTS) else None,
        filter=chosen,
        scores={name: _unbox(get(name)) for name in metrics},
        target=_to_text(get("target")),
        response=_to_response(filtered),
    )


def _unbox(value: Any) -> Any:
    """What simdjson has parsed, as Python's own objects."""
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def _explain(found: Mapping[str, object]) -> str:
    if missing := [name for name, value in found.items() if value is None]:
        return f"lacks {', '.join(missing)}"
    if not isinstance(found["doc_id"], int):
        return f"doc_id is not a number (got {found['doc_id']!r})"
    return "not a sample of lm-eval (filter is a text, metrics a list of texts, filtered_resps a list)"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _read_lines(path: Path) -> Iterator[memoryview]:
    """The lines of a file without their ends. What is yielded holds only until the next line is asked for."""
    buffer, n_held = bytearray(_READ_BYTES), 0
    try:
        with path.open("rb", buffering=0) as file:
            while n_read := file.readinto(memoryview(buffer)[n_held:]):
                start, seen, end = 0, n_held, n_held + n_read
                while (stop := buffer.find(b"\n", max(start, seen), end)) >= 0:
                    yield memoryview(buffer)[start:stop]
                    start = stop + 1
                n_held = end - start
                buffer[:n_held] = buffer[start:end]
                if n_held == len(buffer):
                    buffer = buffer + bytes(len(buffer))  # another one: whoever still has a line holds this
    except FileNotFoundError as error:
        raise ConvertError(f"{path}: no such file.") from error
    except OSError as error:
        raise ConvertError(f"{path}: cannot be read ({error.strerror}).") from error
    if n_held:
        yield memoryview(buffer)[:n_held]
