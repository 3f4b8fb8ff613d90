"""Moves the outcome of an ended attempt into the lake, by atomic renames with deterministic names.

Collecting twice changes nothing; a flow that is killed in between is finished by the next. `outcomes` is written after
the rows it vouches for, the attempt's own row last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.tasks.outputs import check_finished, set_aside
from nightboard.tasks.records import Outcome, Record, RecordError, ShardSpec
from nightboard.tasks.store import Store, replace_atomically, write_parquet
from nightboard.warehouse.schema import ATTEMPTS, OUTCOMES, SAMPLES, TASK_SCORES, Table


class Collected(Record):
    """How an attempt ended, as the flow reports it."""

    evaluation_id: str
    attempt: int
    suite: str
    model_id: str
    revision: str
    state: str
    reason: str | None
    log: str
    log_tail: tuple[str, ...] = ()
    has_started: bool


def attempt_file(store: Store, evaluation_id: str, shard: str, attempt: int) -> Path:
    """Where an attempt's row lies in the lake; once it is there, the attempt is collected."""
    return store.lake / ATTEMPTS.name / f"{evaluation_id}-{shard}-{attempt}.parquet"


def collect_attempt(store: Store, folder: Path, now: datetime) -> Collected:
    """Validate what an ended attempt left, and put it into the lake."""
    spec = ShardSpec.read(folder / "spec.json")
    outcome = _read_outcome(folder, now)
    if outcome.state == "completed":
        outcome = _verify(store, spec, outcome)
    row = _attempt_row(store, spec, outcome, folder)
    if outcome.state == "completed":
        _write_evaluation(store, spec, row)
    target = _file_of(store, spec)
    if not target.exists():
        write_parquet(target, ATTEMPTS, [row])
    return Collected(
        evaluation_id=spec.evaluation.evaluation_id,
        attempt=spec.shard.attempt,
        suite=spec.evaluation.suite,
        model_id=spec.evaluation.model_id,
        revision=spec.evaluation.revision,
        state=outcome.state,
        reason=outcome.reason,
        log=str(row["log"]),
        log_tail=outcome.log_tail,
        has_started=outcome.started_at is not None,
    )


def _read_outcome(folder: Path, now: datetime) -> Outcome:
    try:
        return Outcome.read(folder / "outcome.json")
    except RecordError as error:
        return Outcome(state="invalid", reason=str(error), ended_at=now)


def _verify(store: Store, spec: ShardSpec, outcome: Outcome) -> Outcome:
    """Check every benchmark's files again: between the node and here a file may have been cut or changed."""
    work = store.work_dir(spec.evaluation.evaluation_id, spec.shard.shard)
    reasons = []
    for benchmark in spec.shard.benchmarks:
        found = check_finished(work / benchmark, spec.suite.suite, benchmark)
        if found:
            reasons += [f"{benchmark}: {reason}" for reason in found]
            # Another flow that collects at the same time may have done it, or there is nothing to set aside.
            with contextlib.suppress(FileNotFoundError):
                set_aside(work / benchmark)
    return outcome.model_copy(update={"state": "invalid", "reason": "; ".join(reasons)}) if reasons else outcome


def _attempt_row(store: Store, spec: ShardSpec, outcome: Outcome, folder: Path) -> dict[str, Any]:
    elapsed = (outcome.ended_at - outcome.started_at).total_seconds() if outcome.started_at else 0.0
    return {
        "evaluation_id": spec.evaluation.evaluation_id,
        "shard": spec.shard.shard,
        "attempt": spec.shard.attempt,
        "launch_id": spec.launch_id,
        "job_id": outcome.job_id,
        "array_task": spec.array_task,
        "node": outcome.node,
        "state": outcome.state,
        "reason": outcome.reason,
        "log": store.relative(folder / "log.txt"),
        "started_at": outcome.started_at,
        "ended_at": outcome.ended_at,
        "elapsed_s": elapsed,
        "gpus": spec.gpus,
    }


def _file_of(store: Store, spec: ShardSpec) -> Path:
    return attempt_file(store, spec.evaluation.evaluation_id, spec.shard.shard, spec.shard.attempt)


def _write_evaluation(store: Store, spec: ShardSpec, row: dict[str, Any]) -> None:
    evaluation_id = spec.evaluation.evaluation_id
    name = f"{evaluation_id}.parquet"
    if (store.lake / OUTCOMES.name / name).exists():
        return
    work = store.work_dir(evaluation_id, spec.shard.shard)
    for table in (TASK_SCORES, SAMPLES):
        parts = [work / benchmark / f"{table.name}.parquet" for benchmark in spec.shard.benchmarks]
        _concatenate(parts, store.lake / table.name / name, table)
    attempts = [row, *_earlier_attempts(store, spec)]
    outcome = {
        "evaluation_id": evaluation_id,
        "finished_at": row["ended_at"],
        "elapsed_s": sum(each["elapsed_s"] for each in attempts),
        "gpu_hours": sum(each["elapsed_s"] * each["gpus"] for each in attempts) / 3600,
        "source": "run",
    }
    write_parquet(store.lake / OUTCOMES.name / name, OUTCOMES, [outcome])


def _earlier_attempts(store: Store, spec: ShardSpec) -> list[dict[str, Any]]:
    files = (store.lake / ATTEMPTS.name).glob(f"{spec.evaluation.evaluation_id}-{spec.shard.shard}-*.parquet")
    mine = _file_of(store, spec)
    return [row for file in sorted(files) if file != mine for row in pq.read_table(file).to_pylist()]


def _concatenate(parts: Iterable[Path], target: Path, table: Table) -> None:
    """Join Parquet files of a table, a row group at a time."""
    with replace_atomically(target) as file, pq.ParquetWriter(file, table.arrow, compression="zstd") as writer:
        for part in parts:
            source = pq.ParquetFile(part)
            for index in range(source.num_row_groups):
                writer.write_table(_as_declared(source.read_row_group(index), table))


def _as_declared(data: pa.Table, table: Table) -> pa.Table:
    return data.select(table.arrow.names).cast(table.arrow)
