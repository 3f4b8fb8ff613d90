"""Converts lm-eval's samples files (JSON lines) to rows of the lake's `samples` table.

Lines are mostly prompts, which are never made objects. Counts and documents are validated elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeGuard

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.warehouse.lake.document_texts import count_options, find_chosen, has_likelihoods, name_option
from nightboard.warehouse.lake.samples_file import OBJECTS, read_lines, to_text, unbox
from nightboard.warehouse.schema.lake_tables import SAMPLES

_BATCH_ROWS = 50_000
_REQUIRED = ("doc_id", "filter", "metrics", "filtered_resps")


_Row = tuple[int, str | None, str | None, str, str, float | None, float, str | None, str | None, str | None]
"""doc_id, doc_hash, question_hash, filter, metric, value, weight, target, response and answer of one row."""


def convert_samples(
    files: Mapping[str, Path],
    benchmark: str | None,
    evaluation_id: str,
    out: IO[bytes] | Path,
    question_field: str | None = None,
    may_publish: bool = True,
) -> int:
    """Write one row per task, document, filter and metric as Parquet; returns the number of rows.

    `question_field` is the field of a document with its question, if tasks of the benchmark share questions. A value
    that is not a number, a boolean or a list of booleans (such as a pair that only the whole task can score) is null.
    Answers have the texts of options unless these may not be published: then they are letters alone.
    Raises ConvertError for an invalid line. Rows are written as they are read, so pass a temporary file as `out` and
    rename it.
    """
    n_rows, make = 0, partial(_make_rows, question_field=question_field, may_publish=may_publish)
    with pq.ParquetWriter(out, SAMPLES.arrow, compression="zstd") as writer:
        for task in sorted(files):
            same = {"evaluation_id": evaluation_id, "benchmark": benchmark, "task": task}
            for batch in _make_batches(read_lines(files[task], make), same):
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
    """The first answer of generated text."""
    first = filtered[0] if filtered else None
    if isinstance(first, list):
        first = first[0] if first else None
    return to_text(first)


def _choose(line: Any, metrics: list[str], numbers: list[float | None], may_publish: bool) -> list[str | None]:
    """For each metric the option that it takes as the answer; None where no option was chosen."""
    n_options = count_options(numbers, metrics)
    if not n_options or not _are_known(numbers):
        return [None] * len(metrics)
    chosen = [find_chosen(line, metric, numbers, n_options) for metric in metrics]
    return [None if index is None else name_option(line, index, may_publish) for index in chosen]


def _are_known(numbers: list[float | None]) -> TypeGuard[list[float]]:
    return None not in numbers


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


# --------------------------------------------------------------------------------------------------------------- lines


def _make_rows(line: Any, question_field: str | None, may_publish: bool) -> list[_Row]:
    """One row per metric of a parsed line. Raises ValueError for a line that is not a sample."""
    if not isinstance(line, OBJECTS):
        raise ValueError("not a JSON object")
    get = line.get
    doc_id, chosen = get("doc_id"), get("filter")
    metrics, filtered = unbox(get("metrics")), unbox(get("filtered_resps"))
    if not (type(doc_id) is int and isinstance(chosen, str) and isinstance(filtered, list) and _are_texts(metrics)):
        raise ValueError(_explain({name: unbox(get(name)) for name in _REQUIRED}))
    if not -(2**63) <= doc_id < 2**63:
        raise ValueError(f"doc_id does not fit into 64 bits (got {doc_id})")
    doc_hash, question_hash = to_text(get("doc_hash")), _hash_question(get("doc"), question_field)
    target, metrics = to_text(get("target")), [*dict.fromkeys(metrics)]
    if has_likelihoods(filtered):
        numbers = _to_numbers(filtered)
        response: str | None = orjson.dumps(numbers).decode()
        answers = _choose(line, metrics, numbers, may_publish)
    else:
        response = _to_response(filtered)
        answers = [response] * len(metrics)
    return [
        (doc_id, doc_hash, question_hash, chosen, metric, *_to_value(unbox(get(metric))), target, response, answer)
        for metric, answer in zip(metrics, answers, strict=True)
    ]


def _hash_question(document: Any, field: str | None) -> str | None:
    if field is None or not isinstance(document, OBJECTS):
        return None
    question = to_text(document.get(field))
    return None if question is None else hashlib.sha256(question.encode()).hexdigest()


def _explain(fields: Mapping[str, object]) -> str:
    if missing := [name for name, value in fields.items() if value is None]:
        return f"lacks {', '.join(missing)}"
    if not isinstance(fields["doc_id"], int):
        return f"doc_id is not a number (got {fields['doc_id']!r})"
    return "not a sample of lm-eval (expected filter: text, metrics: list of texts, filtered_resps: list)"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and {*map(type, value)} <= {str}
