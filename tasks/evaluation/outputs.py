"""Makes a finished benchmark folder of lm-eval's files, with a manifest that shows truncated or changed files later.

Owns the rows of `task_scores` and the manifest that vouches for a folder. What is complete is decided by validate.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.check_prompts import Asked
from nightboard.tasks.evaluation.sharding import task_ranges
from nightboard.tasks.evaluation.validate import RESULTS, BenchmarkOutput, read_outputs, samples_file
from nightboard.tasks.store.files import replace_atomically, write_bytes
from nightboard.tasks.store.layout import DOCUMENTS_FILE, MANIFEST_FILE
from nightboard.tasks.store.records import AttemptSpec, BenchmarkManifest, RecordError, Shard
from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.lake.convert_samples import convert_samples
from nightboard.warehouse.schema.lake_tables import TASK_SCORES

SCORES_TABLE, SAMPLES_TABLE = "task_scores.parquet", "samples.parquet"
# By task the hash of each document with its target, in order: what a benchmark's shards are joined by.


@dataclass(frozen=True)
class Provenance:
    """What ran the benchmark. Names are columns of `task_scores`."""

    harness_version: str
    library_versions: str
    node: str
    device: str


def finish_benchmark(
    folder: Path,
    spec: AttemptSpec,
    benchmark: str,
    place: Provenance,
    started_at: datetime,
    ended_at: datetime,
    asked: Mapping[str, Asked] | None = None,
) -> None:
    """Validate lm-eval's files in `folder` and add the two tables and the manifest, which vouches for them all.

    `asked`: what is known of each task's prompts.

    Raises OutputError when something is not as declared; then there is no manifest.
    """
    suite, evaluation, shard = spec.suite.suite, spec.evaluation, spec.planned.shard
    output = read_outputs(folder, suite, shard, benchmark, is_templated=evaluation.chat_template)
    elapsed_s = (ended_at - started_at).total_seconds()
    write_parquet(
        folder / SCORES_TABLE, TASK_SCORES, list(_score_rows(output, spec, benchmark, place, elapsed_s, asked or {}))
    )
    write_bytes(folder / DOCUMENTS_FILE, json.dumps({task.task: task.doc_hashes for task in output.tasks}).encode())
    files = {task.task: folder / samples_file(task.task) for task in output.tasks}
    declared = suite.benchmarks[benchmark]
    with replace_atomically(folder / SAMPLES_TABLE) as table:
        convert_samples(
            files,
            benchmark,
            evaluation.evaluation_id,
            table,
            question_field=declared.question_field,
            may_publish=declared.publish_documents,
        )
    names = dict.fromkeys([DOCUMENTS_FILE, *_expected_files(suite, shard, benchmark)])
    manifest = BenchmarkManifest(
        benchmark=benchmark,
        files={name: _seal(folder / name) for name in names},
        elapsed_s=elapsed_s,
        started_at=started_at,
        finished_at=ended_at,
    )
    write_bytes(folder / MANIFEST_FILE, manifest.to_bytes())


def _score_rows(
    output: BenchmarkOutput,
    spec: AttemptSpec,
    benchmark: str,
    place: Provenance,
    elapsed_s: float,
    asked: Mapping[str, Asked],
) -> Iterator[dict[str, Any]]:
    """One row per task, metric and filter (see TASK_SCORES)."""
    dataset = spec.suite.suite.benchmarks[benchmark].dataset
    common = {
        "evaluation_id": spec.evaluation.evaluation_id,
        "benchmark": benchmark,
        "dataset_id": dataset.id,
        "dataset_sha": dataset.sha,
        "chat_template_hash": output.chat_template_hash,
        "batch_size": str(spec.batch_size),
        "benchmark_s": elapsed_s,
        **asdict(place),
    }
    for task in output.tasks:
        of_task = {key: value for key, value in asdict(task).items() if key not in ("scores", "doc_hashes")}
        of_task["doc_set_hash"] = task.doc_set_hash
        of_task |= asdict(asked.get(task.task, Asked()))
        for score in task.scores:
            yield common | of_task | asdict(score)


def _expected_files(suite: Suite, shard: Shard, benchmark: str) -> list[str]:
    """What must be there. A shard cannot be joined without its documents; whole ones of old stores have none."""
    names = [RESULTS, SCORES_TABLE, SAMPLES_TABLE, *([DOCUMENTS_FILE] if shard.documents else [])]
    return [*names, *(samples_file(task) for task in task_ranges(suite, shard, benchmark))]


def _seal(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file that is on disk, not only in memory."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


# ----------------------------------------------------------------------------------------------- finished benchmarks


def check_finished(folder: Path, suite: Suite, shard: Shard, benchmark: str) -> list[str]:
    """What is wrong with a finished benchmark's folder, by its manifest; an empty list when nothing is."""
    try:
        manifest = BenchmarkManifest.read(folder / MANIFEST_FILE)
    except RecordError as error:
        return [str(error)]
    if manifest.benchmark != benchmark:
        return [f"{folder / MANIFEST_FILE}: benchmark: must be {benchmark} (got {manifest.benchmark})."]
    missing = [name for name in _expected_files(suite, shard, benchmark) if name not in manifest.files]
    reasons = [f"{folder / MANIFEST_FILE}: files: {name} is not listed." for name in missing]
    for name, sealed in manifest.files.items():
        reasons += _check_sealed(folder / name, sealed)
    return reasons


def _check_sealed(path: Path, sealed: tuple[int, str]) -> list[str]:
    size, digest = sealed
    try:
        with path.open("rb") as file:
            actual = os.fstat(file.fileno()).st_size
            if actual != size:
                return [f"{path}: must have {size} bytes as its manifest says (got {actual})."]
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return [f"{path}: its content is not what its manifest says."]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror})."]
    return []


def set_aside(path: Path) -> Path:
    """Move a damaged file or folder out of the way, to `<name>.damaged-<time>`; nothing is deleted."""
    target = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(target)
    return target
