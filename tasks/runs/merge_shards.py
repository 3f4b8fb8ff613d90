"""Merges the shards of an evaluation, and the benchmarks reused from earlier ones, into its rows of the lake.

Benchmarks that ran in one shard are copied. A split benchmark is rescored over all its documents, as lm-eval scores a
task: the mean in the order of the documents. Benchmarks of an earlier evaluation of the same files and settings are
copied from its rows, so that an evaluation has all rows of its own. outputs.py decides whether a shard is complete.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.tasks.evaluation.outputs import SAMPLES_TABLE, SCORES_TABLE
from nightboard.tasks.evaluation.validate import hash_documents, samples_file
from nightboard.tasks.store.documents import write_documents
from nightboard.tasks.store.files import replace_atomically
from nightboard.tasks.store.layout import DOCUMENTS_FILE, MANIFEST_FILE, Store
from nightboard.tasks.store.records import BenchmarkManifest, Shard, Taken
from nightboard.tasks.store.tables import read_table, write_file
from nightboard.warehouse.lake.samples_file import ConvertError
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import SAMPLES, TASK_SCORES

# What must be the same in all shards of a benchmark ...
_COMMON = ("task_version", "n_shot", "dataset_id", "dataset_sha", "chat_template_hash", "harness_version")
# ... and what may differ: all of it is kept, or counted together.
_OF_PART = ("node", "device", "batch_size")
_COUNTS = ("not_finite_answers", "empty_answers", "cut_prompts", "cut_answers")


class MergeError(Exception):
    """Shards cannot be merged; the message says why."""


def merge_shards(store: Store, evaluation_id: str, shards: Sequence[Shard], taken: Sequence[Taken] = ()) -> None:
    """Write the evaluation's rows of `task_scores` and `samples`, and new documents. Twice is the same.

    The shards must be complete.

    Raises MergeError when the shards of a benchmark do not fit together, or rows that are to be taken over are gone.
    """
    folders: dict[str, list[Path]] = defaultdict(list)
    for shard in shards:
        for benchmark in shard.benchmarks:
            folders[benchmark].append(store.work_dir(evaluation_id, shard.name) / benchmark)
    scores = []
    for of_shards in folders.values():
        rows = _score(of_shards)
        _write_documents(store, of_shards, rows)
        scores += rows
    scores += [row for benchmark in taken for row in _take_scores(store, evaluation_id, benchmark)]
    write_file(store, TASK_SCORES, evaluation_id, scores)
    files = [folder / SAMPLES_TABLE for of_shards in folders.values() for folder in of_shards]
    own = (_as_declared(data, SAMPLES) for file in files for data in _row_groups(file))
    others = (_take_samples(store, evaluation_id, benchmark) for benchmark in taken)
    _write_all(itertools.chain(own, others), store.lake_file(SAMPLES.name, evaluation_id), SAMPLES)


def _write_documents(store: Store, folders: Sequence[Path], scores: Sequence[dict[str, Any]]) -> None:
    """Write the documents of a benchmark's tasks, from lm-eval's files in the folders of its shards."""
    for task, row in {row["task"]: row for row in scores}.items():
        files = [path for folder in folders if (path := folder / samples_file(task)).exists()]
        try:
            write_documents(
                store,
                task,
                row["doc_set_hash"],
                files,
                dataset_id=row["dataset_id"],
                dataset_sha=row["dataset_sha"],
                is_imported=False,
            )
        except ConvertError as error:
            raise MergeError(str(error)) from error


def _take_scores(store: Store, evaluation_id: str, taken: Taken) -> list[dict[str, Any]]:
    """Rows of another evaluation as rows of this one, with its id in `measured_by` and without costs."""
    rows = read_table(store, TASK_SCORES, evaluation_id=taken.evaluation_id, tasks=taken.tasks).to_pylist()
    if missing := [task for task in taken.tasks if task not in {row["task"] for row in rows}]:
        raise MergeError(f"{taken.benchmark}: evaluation {taken.evaluation_id} has no scores of {', '.join(missing)}.")
    own = {"evaluation_id": evaluation_id, "benchmark": taken.benchmark, "benchmark_s": None}
    return [{**row, **own, "measured_by": row["measured_by"] or taken.evaluation_id} for row in rows]


def _take_samples(store: Store, evaluation_id: str, taken: Taken) -> pa.Table:
    data = read_table(store, SAMPLES, evaluation_id=taken.evaluation_id, tasks=taken.tasks)
    for name, value in (("evaluation_id", evaluation_id), ("benchmark", taken.benchmark)):
        values = pa.repeat(pa.scalar(value, pa.string()), data.num_rows)
        data = data.set_column(data.column_names.index(name), SAMPLES.arrow.field(name), values)
    return data


def _score(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of a benchmark's scores, from the folders of its shards in the order of their documents."""
    tables = [_as_declared(pq.read_table(folder / SCORES_TABLE), TASK_SCORES) for folder in folders]
    if len(folders) == 1:
        return list(tables[0].to_pylist())
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in (row for table in tables for row in table.to_pylist()):
        rows[row["task"], row["metric"], row["filter"]].append(row)
    documents = _join_documents(folders)
    values = _join_values(folders)
    seconds = sum(BenchmarkManifest.read(folder / MANIFEST_FILE).elapsed_s for folder in folders)
    return [_join_rows(parts, documents[key[0]], values[key], seconds) for key, parts in rows.items()]


def _join_documents(folders: Sequence[Path]) -> dict[str, list[str]]:
    documents: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        for task, hashes in json.loads((folder / DOCUMENTS_FILE).read_bytes()).items():
            documents[task] += hashes
    return documents


@dataclass
class _Values:
    """A metric's number for each document, in the order of the documents; plain: one number each, none missing."""

    numbers: list[float]
    is_plain: bool


def _join_values(folders: Sequence[Path]) -> dict[tuple[str, str, str], _Values]:
    columns = ["task", "metric", "filter", "doc_id", "value", "weight"]
    table = pa.concat_tables(pq.read_table(folder / SAMPLES_TABLE, columns=columns) for folder in folders)
    table = table.sort_by([("task", "ascending"), ("doc_id", "ascending")])
    values: dict[tuple[str, str, str], _Values] = defaultdict(lambda: _Values([], is_plain=True))
    cells = (table[name].to_pylist() for name in ("task", "metric", "filter", "value", "weight"))
    for task, metric, chosen, value, weight in zip(*cells, strict=True):
        joined = values[task, metric, chosen]
        joined.numbers.append(value)
        joined.is_plain &= value is not None and weight == 1
    return values


def _join_rows(
    rows: Sequence[dict[str, Any]], doc_hashes: Sequence[str], values: _Values, seconds: float
) -> dict[str, Any]:
    first = rows[0]
    count = sum(row["n_samples"] for row in rows)
    where = f"{first['task']}, {first['metric']}"
    if len(values.numbers) != count or len(doc_hashes) != count:
        raise MergeError(f"{where}: the shards have {count} documents, their samples {len(values.numbers)}.")
    if not values.is_plain:
        raise MergeError(
            f"{where}: is not a mean over documents, so it cannot be split. Remove cut_documents from the suite."
        )
    for name in _COMMON:
        if len(distinct := dict.fromkeys(str(row[name]) for row in rows)) > 1:
            raise MergeError(f"{where}: the shards were run with different values of {name}: {', '.join(distinct)}.")
    return {
        **first,
        **{name: _join_texts(row[name] for row in rows) for name in _OF_PART},
        **{name: _add_up([row[name] for row in rows]) for name in _COUNTS},
        "only_answer": first["only_answer"] if len({row["only_answer"] for row in rows}) == 1 else None,
        "library_versions": _join_versions([row["library_versions"] for row in rows]),
        "value": mean(values.numbers),
        "stderr": mean_stderr(values.numbers) if count > 1 else None,
        "n_samples": count,
        "doc_set_hash": hash_documents(doc_hashes),
        "task_hash": None,
        "benchmark_s": seconds,
    }


def mean(numbers: Sequence[float]) -> float:
    """As lm-eval's `mean`, to the last bit; from Python 3.12 on `sum` rounds otherwise, here as there."""
    return sum(numbers) / len(numbers)


def mean_stderr(numbers: Sequence[float]) -> float:
    """As lm-eval's `mean_stderr`: that of a sample, so by n - 1."""
    center = mean(numbers)
    return math.sqrt(sum([(x - center) ** 2 for x in numbers]) / (len(numbers) - 1)) / math.sqrt(len(numbers))


def _join_texts(texts: Iterable[str | None]) -> str | None:
    distinct = list(dict.fromkeys(text for text in texts if text is not None))
    return ", ".join(distinct) or None


def _add_up(counts: Sequence[int | None]) -> int | None:
    """The sum; not known where one of them is not."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _join_versions(objects: Sequence[str]) -> str:
    """JSON objects as one: a library that the shards had in different versions has them all."""
    versions = [json.loads(text) for text in dict.fromkeys(objects)]
    names = dict.fromkeys(name for version in versions for name in version)
    return json.dumps({name: _join_texts(version.get(name) for version in versions) for name in names})


def _write_all(parts: Iterable[pa.Table], target: Path, table: Table) -> None:
    """Join tables into one file, one at a time."""
    with replace_atomically(target) as file, pq.ParquetWriter(file, table.arrow, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part)


def _row_groups(path: Path) -> Iterator[pa.Table]:
    source = pq.ParquetFile(path)
    for index in range(source.num_row_groups):
        yield source.read_row_group(index)


def _as_declared(data: pa.Table, table: Table) -> pa.Table:
    """The table's columns in their order; what the file was written without is null."""
    for name in table.arrow.names:
        if name not in data.column_names:
            data = data.append_column(table.arrow.field(name), pa.nulls(data.num_rows, table.arrow.field(name).type))
    return data.select(table.arrow.names).cast(table.arrow)
