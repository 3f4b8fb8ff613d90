"""Collects an ended attempt: validates its results and writes them to the lake, atomically.

Collecting twice changes nothing; if a flow is killed, the next one finishes. `outcomes` is written after the rows that
it marks as complete, with the last shard of the evaluation; the attempt's own row is written last of all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.cluster.executor import JobReport
from nightboard.tasks.evaluation.outputs import check_finished, set_aside
from nightboard.tasks.runs.launch import find_job_output
from nightboard.tasks.runs.merge_shards import MergeError, merge_shards
from nightboard.tasks.store.layout import LOG_FILE, MANIFEST_FILE, OUTCOME_FILE, SPEC_FILE, Store, name_attempt
from nightboard.tasks.store.records import AttemptSpec, EvaluationShards, Outcome, Record, RecordError, Shard
from nightboard.tasks.store.tables import has_file, read_table, write_file
from nightboard.warehouse.schema.lake_tables import ATTEMPTS, OUTCOMES

JOULES_PER_KWH = 3.6e6


class Collected(Record):
    """How an attempt ended, as the flow reports it. `is_scored`: its evaluation is complete."""

    evaluation_id: str
    shard: str
    attempt: int
    suite: str
    model_id: str
    revision: str
    state: str
    reason: str | None
    log: str
    log_tail: tuple[str, ...] = ()
    has_started: bool
    is_scored: bool


def collect_attempt(store: Store, folder: Path, now: datetime, report: JobReport | None = None) -> Collected:
    """Validate the results of an ended attempt and write them to the lake. `report`: the cluster's last report."""
    spec = AttemptSpec.read(folder / SPEC_FILE)
    outcome = _read_outcome(folder, now)
    if outcome.state == "completed":
        outcome = _verify(store, spec, outcome)
    row = _attempt_row(store, spec, outcome, folder, report if report and report.is_over else None)
    is_scored = False
    if outcome.state == "completed":
        try:
            is_scored = _write_evaluation(store, spec, row)
        except MergeError as error:
            outcome = outcome.model_copy(update={"state": "invalid", "reason": str(error)})
            row |= {"state": "invalid", "reason": str(error)}
    name = name_attempt(row["evaluation_id"], row["shard"], row["attempt"])
    if not has_file(store, ATTEMPTS, name):
        write_file(store, ATTEMPTS, name, [row])
    return Collected(
        evaluation_id=spec.evaluation.evaluation_id,
        shard=spec.planned.shard.name,
        attempt=spec.planned.number,
        suite=spec.evaluation.suite,
        model_id=spec.evaluation.model_id,
        revision=spec.evaluation.revision,
        state=outcome.state,
        reason=outcome.reason,
        log=str(store.root / str(row["log"])),
        log_tail=outcome.log_tail,
        has_started=outcome.started_at is not None,
        is_scored=is_scored,
    )


def _read_outcome(folder: Path, now: datetime) -> Outcome:
    try:
        return Outcome.read(folder / OUTCOME_FILE)
    except RecordError as error:
        return Outcome(state="invalid", reason=str(error), ended_at=now)


def _verify(store: Store, spec: AttemptSpec, outcome: Outcome) -> Outcome:
    """Check every benchmark's files again: a file may have been truncated or changed since the node wrote it."""
    work = store.work_dir(spec.evaluation.evaluation_id, spec.planned.shard.name)
    reasons = _find_damage(work, spec.suite.suite, spec.planned.shard)
    return outcome.model_copy(update={"state": "invalid", "reason": "; ".join(reasons)}) if reasons else outcome


def _find_damage(work: Path, suite: Suite, shard: Shard) -> list[str]:
    """Problems of a shard's finished benchmarks. Damaged ones are moved aside, so that they run again."""
    reasons = []
    for benchmark in shard.benchmarks:
        damage = check_finished(work / benchmark, suite, shard, benchmark)
        if damage:
            reasons += [f"{benchmark}: {reason}" for reason in damage]
            # Another flow that collects at the same time may have done it, or there is nothing to set aside.
            with contextlib.suppress(FileNotFoundError):
                set_aside(work / benchmark)
    return reasons


def _attempt_row(
    store: Store, spec: AttemptSpec, outcome: Outcome, folder: Path, report: JobReport | None
) -> dict[str, Any]:
    elapsed = (outcome.ended_at - outcome.started_at).total_seconds() if outcome.started_at else 0.0
    return {
        "evaluation_id": spec.evaluation.evaluation_id,
        "shard": spec.planned.shard.name,
        "attempt": spec.planned.number,
        "launch_id": spec.launch_id,
        "job_id": outcome.job_id,
        "array_task": spec.array_task,
        "tier": spec.tier,
        "batch_size": str(spec.batch_size),
        "node": outcome.node,
        "state": outcome.state,
        "cluster_state": report.state if report and report.state != "UNKNOWN" else None,
        "exit_code": report.exit_code if report else None,
        "reason": outcome.reason,
        "log": store.relative(_find_log(store, spec, outcome, folder)),
        "log_tail": list(outcome.log_tail),
        "started_at": outcome.started_at,
        "ended_at": outcome.ended_at,
        "elapsed_s": elapsed,
        "gpus": spec.gpus,
        "energy_kwh": _share_energy(report, elapsed),
        "estimate_s": spec.planned.estimate_s,
    }


def _find_log(store: Store, spec: AttemptSpec, outcome: Outcome, folder: Path) -> Path:
    """The attempt's log; the job's output if the job never started it."""
    log = folder / LOG_FILE
    return log if log.exists() else find_job_output(store, spec.launch_id, outcome.job_id) or log


def _share_energy(report: JobReport | None, elapsed_s: float) -> float | None:
    """The attempt's part of its job's energy, by time: a job may run several."""
    if report is None or report.energy_j is None or not report.elapsed_s:
        return None
    return report.energy_j / JOULES_PER_KWH * min(1.0, elapsed_s / report.elapsed_s)


# ------------------------------------------------------------------------------------------------------- evaluations


def _write_evaluation(store: Store, spec: AttemptSpec, row: dict[str, Any]) -> bool:
    """Write the evaluation's rows if this was its last shard; says whether it is scored now."""
    evaluation_id = spec.evaluation.evaluation_id
    if has_file(store, OUTCOMES, evaluation_id):
        return True
    shards = _read_shards(store, spec)
    others = [shard for shard in shards.shards if shard.name != spec.planned.shard.name]
    # The files are read only when nothing is missing: most shards are collected before the last one has ended.
    if not all(_has_completed(store, evaluation_id, shard) for shard in others):
        return False
    suite = spec.suite.suite
    damaged = [shard for shard in others if _find_damage(store.work_dir(evaluation_id, shard.name), suite, shard)]
    if damaged:
        return False
    merge_shards(store, evaluation_id, shards.shards, shards.taken)
    collected, ended = _other_attempts(store, spec)
    attempts = [row, *collected, *ended]
    # What the cluster says of an attempt is known when that is collected; a sum without it would be too small.
    energy = [attempt["energy_kwh"] for attempt in attempts if attempt["energy_kwh"] is not None and not ended]
    outcome = {
        "evaluation_id": evaluation_id,
        "finished_at": max(attempt["ended_at"] for attempt in attempts),
        "elapsed_s": sum(attempt["elapsed_s"] for attempt in attempts),
        "gpu_hours": sum(attempt["elapsed_s"] * attempt["gpus"] for attempt in attempts) / 3600,
        "energy_kwh": sum(energy) if energy else None,
        "source": "run",
    }
    write_file(store, OUTCOMES, evaluation_id, [outcome])
    return True


def _read_shards(store: Store, spec: AttemptSpec) -> EvaluationShards:
    """How the evaluation is split; whole in a store that is older than splitting."""
    path, evaluation_id = store.shards_file(spec.evaluation.evaluation_id), spec.evaluation.evaluation_id
    return (
        EvaluationShards.read(path)
        if path.exists()
        else EvaluationShards(evaluation_id=evaluation_id, shards=(spec.planned.shard,))
    )


def _has_completed(store: Store, evaluation_id: str, shard: Shard) -> bool:
    """Whether another shard has completed, collected or not, and its benchmarks were not set aside since."""
    work = store.work_dir(evaluation_id, shard.name)
    is_there = all((work / benchmark / MANIFEST_FILE).exists() for benchmark in shard.benchmarks)
    return is_there and any(outcome.state == "completed" for outcome in _outcomes(store, evaluation_id, shard.name))


def _outcomes(store: Store, evaluation_id: str, shard: str) -> Iterator[Outcome]:
    for path in sorted(store.shard_dir(evaluation_id, shard).glob(f"*/{OUTCOME_FILE}")):
        with contextlib.suppress(RecordError):
            yield Outcome.read(path)


def _other_attempts(store: Store, spec: AttemptSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the evaluation's other attempts: those in the lake, and those that have ended and will be collected."""
    evaluation_id, this = spec.evaluation.evaluation_id, (spec.planned.shard.name, spec.planned.number)
    rows = read_table(store, ATTEMPTS, evaluation_id=evaluation_id).to_pylist()
    collected = [row for row in rows if (row["shard"], row["attempt"]) != this]
    known = {this, *((row["shard"], row["attempt"]) for row in collected)}
    ended = []
    for folder in sorted(path.parent for path in (store.runs / evaluation_id).glob(f"*/*/{OUTCOME_FILE}")):
        if (folder.parent.name, int(folder.name)) in known:
            continue
        with contextlib.suppress(RecordError):
            other, outcome = AttemptSpec.read(folder / SPEC_FILE), Outcome.read(folder / OUTCOME_FILE)
            ended.append(_attempt_row(store, other, outcome, folder, None))
    return collected, ended
