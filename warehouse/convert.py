"""Turn lm-eval's samples files (JSON lines) into rows of the lake's `samples` table.

Owns the reading of one such file. DuckDB reads it, and of it only the columns that are needed, which is several times
faster than any parser of whole lines. Does not judge scores: counts and documents are validated elsewhere.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.warehouse.ddl import OFFLINE, escape_glob, quote
from nightboard.warehouse.models import SQL_FOLDER
from nightboard.warehouse.schema import SAMPLES

_BATCH_ROWS = 50_000
_FIXED = {
    "doc_id": "BIGINT",
    "doc_hash": "VARCHAR",
    "filter": "VARCHAR",
    "metrics": "VARCHAR[]",
    "target": "VARCHAR",
    "filtered_resps": "JSON",
}
_REQUIRED = ("doc_id", "filter", "metrics", "filtered_resps")
_LACKS_REQUIRED = """
select 1 from lines where doc_id is null or filter is null or metrics is null or filtered_resps is null limit 1
"""


class ConvertError(Exception):
    """A samples file cannot be read; the message names the file and the line."""


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
            for batch in _read_samples(files[task], benchmark, task, evaluation_id, question_field):
                writer.write_table(batch)
                n_rows += batch.num_rows
    return n_rows


def _read_samples(
    path: Path, benchmark: str | None, task: str, evaluation_id: str, question_field: str | None
) -> Iterator[pa.Table]:
    parameters = {"evaluation_id": evaluation_id, "benchmark": benchmark, "task": task}
    sql = (SQL_FOLDER / "queries" / "samples_of_lines.sql").read_text()
    try:
        with duckdb.connect(config=OFFLINE) as con:
            if _load_lines(con, path, question_field):
                for batch in con.sql(sql, params=parameters).to_arrow_reader(_BATCH_ROWS):
                    yield pa.Table.from_batches([batch]).select(SAMPLES.arrow.names).cast(SAMPLES.arrow)
    except duckdb.Error as error:
        raise ConvertError(_find_bad_line(path) or f"{path}: {' '.join(str(error).split())}") from error


def _load_lines(con: duckdb.DuckDBPyConnection, path: Path, question_field: str | None) -> bool:
    """Make the table `lines`: the fixed columns, one a metric, and question_hash. Says whether there is any metric.

    Raises ConvertError for a line without its fixed columns.
    """
    metrics = _first_metrics(path)
    while True:
        _read_lines(con, path, metrics, question_field).create("lines")
        if con.execute(_LACKS_REQUIRED).fetchone():
            raise ConvertError(_find_bad_line(path) or f"{path}: a line lacks one of {', '.join(_REQUIRED)}.")
        found = {row[0] for row in con.execute("select distinct unnest(metrics) from lines").fetchall()}
        if found <= metrics:
            return bool(found)
        # Later lines list others: the file is read once more.
        metrics |= found
        con.execute("drop table lines")


def _first_metrics(path: Path) -> set[str]:
    """Metrics that the first line lists, which nearly always are those of all lines. What is wrong is found later."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
        return {name for name in json.loads(file.readline())["metrics"] if isinstance(name, str)}
    return set()


def _read_lines(
    con: duckdb.DuckDBPyConnection, path: Path, metrics: Iterable[str], question_field: str | None
) -> duckdb.DuckDBPyRelation:
    """Documents are long: only their question is ever read."""
    columns = _FIXED | dict.fromkeys(sorted(metrics), "JSON")
    question = "cast(null as varchar)"
    if question_field is not None:
        field = quote(question_field)
        columns, question = columns | {"doc": f"STRUCT({field} VARCHAR)"}, f"sha256(doc.{field})"
    lines = con.read_json(escape_glob(path), format="newline_delimited", columns=columns)
    return lines.project(f"* {'exclude (doc)' if question_field else ''}, {question} as question_hash")


def _find_bad_line(path: Path) -> str | None:
    """The first line that is not as lm-eval writes it. DuckDB's own line numbers are not those of the file."""
    if not path.exists():
        return f"{path}: no such file."
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and (problem := _problem_of(line)):
                return f"{path}: line {number}: {problem}. The file is damaged; run the evaluation again."
    return None


def _problem_of(line: bytes) -> str | None:
    try:
        value: Any = json.loads(line.decode())
        json.dumps(value, ensure_ascii=False).encode()  # half a character, which only Python lets through
    except ValueError as error:
        return f"not valid JSON ({error})"
    if not isinstance(value, dict):
        return "not a JSON object"
    if missing := [name for name in _REQUIRED if value.get(name) is None]:
        return f"lacks {', '.join(missing)}"
    if not isinstance(value["doc_id"], int):
        return f"doc_id is not a number (got {value['doc_id']!r})"
    return None
