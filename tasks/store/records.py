"""The JSON records in a store: plans, launches, attempts, outcomes, pins (wire format between processes and runs).

All models reject unknown keys, so that an incompatible file is an error instead of being misread.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from nightboard.profiles.errors import describe_value, join_key
from nightboard.profiles.models.endings import Ending
from nightboard.profiles.models.suite import Suite
from nightboard.tasks.errors import TaskError
from nightboard.tasks.store.texts import Words

RequestKind = Literal["backfill", "submission"]
TargetMode = Literal["missing", "failed", "stale", "replicate"]
RequestState = Literal["pending", "accepted", "rejected", "planned", "running", "done", "failed", "withdrawn"]

# What is wrong with one file, at most.
SHOWN_ERRORS = 3


class RecordError(TaskError):
    """A record in the store cannot be read; the message names the file."""


class Record(BaseModel):
    """Base of all records."""

    # Keys in a store never change; an attribute's name may differ.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record. Raises RecordError, which names the file and the error."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise RecordError(f"{path}: cannot be read as {cls.__name__} ({error.strerror}).") from error
        except ValidationError as error:
            raise RecordError(f"{path}: cannot be read as {cls.__name__} ({describe_errors(error)}).") from error


def describe_errors(error: ValidationError) -> str:
    """Pydantic's findings in plain words, the first of them."""
    wrong = [_describe_error(details) for details in error.errors(include_url=False)]
    if len(wrong) > SHOWN_ERRORS:
        wrong[SHOWN_ERRORS:] = [f"{len(wrong) - SHOWN_ERRORS} more"]
    return "; ".join(wrong)


def _describe_error(details: ErrorDetails) -> str:
    """One of pydantic's findings in plain words."""
    kind, key = details["type"], join_key(details["loc"])
    if kind == "json_invalid":
        return f"invalid JSON, {details['ctx']['error']}"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is not a known key"
    return f"{key or 'the file'} has a wrong value (got {describe_value(details['input'])})"


# ------------------------------------------------------------------------------------------------------- planning


class Commit(Record):
    """A row of the lake's `commits` table (see warehouse/schema.py for the meaning of each column)."""

    model_id: str
    organization: str
    revision: str
    ref: str
    committed_at: datetime | None
    discovered_at: datetime
    state: Literal["ok", "rejected"]
    reason: Words | None = None
    fingerprint: str | None = None
    weights_hash: str | None = None
    params_b: float | None = None
    size_gb: float | None = None
    stored_precision: Words | None = None
    architecture: Words | None = None
    has_chat_template: bool = False
    context_length: int | None = None
    needs_remote_code: bool = False
    is_gated: bool = False
    license: Words | None = None
    model_type: str | None = None
    base_model: Words | None = None
    files: tuple[str, ...] = ()


class ModelState(Record):
    """A row of the lake's `models` table: a change of a model's state."""

    model_id: str
    organization: str
    state: Literal["available", "gated", "private", "disabled", "deleted"]
    observed_at: datetime


class Request(Record):
    """A row of the lake's `requests` table: somebody's wish for evaluations."""

    request_id: str
    board: str
    kind: RequestKind
    asked_by: str
    asked_at: datetime
    source: str = "command"
    source_file: str | None = None
    source_revision: str | None = None
    reason: str | None = None
    priority: int = 0
    suites: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    selection: str | None = None
    exclusion: str | None = None
    is_replicate: bool | None = None
    model_id: str | None = None
    revision: str | None = None
    precision: str | None = None
    chat_template: str | None = None
    weight_type: str | None = None
    base_model: str | None = None


class RequestTarget(Record):
    """A row of the lake's `request_targets` table: what a request evaluates, fixed when it is accepted."""

    request_id: str
    model_id: str
    revision: str
    suite: str
    benchmarks: tuple[str, ...] = ()
    mode: TargetMode = "missing"
    replicate: int = 0
    precision: str | None = None
    chat_template: str | None = None


class RequestEvent(Record):
    """A row of the lake's `request_events` table: a change of a request's state."""

    request_id: str
    changed_at: datetime
    state: RequestState
    changed_by: str
    reason: str | None = None
    n_targets: int | None = None
    n_done: int | None = None
    n_failed: int | None = None
    gpu_hours: float | None = None


class ReadFile(Record):
    """A row of the lake's `request_files` table: a request file that was read, and what came of it."""

    source: str
    path: str
    blob_id: str
    source_revision: str | None = None
    read_at: datetime
    request_id: str | None = None
    reason: Words | None = None


class DatasetPin(Record):
    """The commit of a dataset without a pin in its suite, from the first use on; the same for all later runs."""

    record_version: Literal[1] = 1
    dataset_id: str
    sha: str


class FetchedDataset(Record):
    """The marker of a dataset's cache folder: its complete configurations."""

    record_version: Literal[1] = 1
    dataset_id: str
    sha: str
    configs: tuple[str | None, ...]


class ResolvedSuite(Record):
    """A suite with the commits of its datasets; `version` is the hash over everything that decides a score."""

    suite: Suite
    version: str
    unavailable: dict[str, str] = Field(default={}, description="benchmarks that cannot run now, with the reasons")


class Evaluation(Record):
    """The unit of work that is done once: a model's files with a suite and settings."""

    evaluation_id: str
    suite: str
    suite_version: str
    model_id: str
    revision: str
    fingerprint: str
    precision: str
    chat_template: bool
    fewshot_as_multiturn: bool
    trust_remote_code: bool = False
    backend: str = "hf"
    replicate: int = 0
    harness_version: str
    params_b: float | None = None
    left_out: dict[str, str] = Field(
        default={}, description="benchmarks of the suite that it does not run, with the reasons"
    )


class Shard(Record):
    """What a shard covers: benchmarks, or a range of documents of one benchmark; `all` is the whole evaluation."""

    name: str = "all"
    benchmarks: tuple[str, ...]
    documents: dict[str, tuple[int, int]] | None = Field(
        default=None, description="by task: first document and the one after the last; none: all of them"
    )


class Taken(Record):
    """A benchmark of an earlier evaluation whose rows another evaluation reuses."""

    benchmark: str
    tasks: tuple[str, ...]
    evaluation_id: str


class EvaluationShards(Record):
    """How an evaluation is split: on disk before its first attempt, and the same for every later one."""

    record_version: Literal[1] = 1
    evaluation_id: str
    shards: tuple[Shard, ...] = Field(validation_alias="parts", serialization_alias="parts")
    taken: tuple[Taken, ...] = Field(default=(), description="what is not run, because it is measured")


class Freed(Record):
    """A `nightboard retry` of a stopped evaluation: by shard, the last attempt that no longer counts."""

    record_version: Literal[1] = 1
    evaluation_id: str
    attempts: dict[str, int]
    by: str
    at: datetime


class PlannedAttempt(Record):
    """An attempt at a shard that one job is to run.

    Its number is fixed by the plan: a flow with an older plan finds the number taken, and leaves the shard to the
    other flow.
    """

    evaluation_id: str
    shard: Shard = Field(validation_alias="part", serialization_alias="part")
    number: int = Field(default=1, validation_alias="attempt", serialization_alias="attempt")
    batch_size: int | Literal["auto"]
    estimate_s: float


class Job(Record):
    """One array task: attempts that run one after the other on the same resources."""

    tier: str
    attempts: tuple[PlannedAttempt, ...] = Field(validation_alias="shards", serialization_alias="shards")
    gpus: int = Field(description="over all its nodes")
    time_min: int

    @property
    def estimate_s(self) -> float:
        return sum(attempt.estimate_s for attempt in self.attempts)


# --------------------------------------------------------------------------------------------- launch and evaluate


class ProcessId(Record):
    """A process with its start time, because a pid alone can be reused."""

    host: str
    boot_id: str
    pid: int
    started_ticks: int = Field(description="start time in clock ticks since boot (proc(5), field 22)")


class AttemptSpec(Record):
    """Everything a node needs to run one attempt at a shard; written before the job exists."""

    record_version: Literal[1] = 1
    launch_id: str
    array_task: int
    evaluation: Evaluation
    suite: ResolvedSuite
    planned: PlannedAttempt = Field(validation_alias="shard", serialization_alias="shard")
    tier: str
    device: str
    batch_size: int | Literal["auto"]
    model_args: dict[str, str | int | float | bool] = {}
    gpus: int
    created_at: datetime


class AttemptOwner(Record):
    """The owner of an attempt: the job that runs it, or a flow that revoked it.

    Owners follow one another in `owner.1.json`, `owner.2.json` ...; the process that creates the next file first is the
    owner. A job that its cluster restarts takes over from its own dead run; a revoked attempt has no further owner.
    """

    record_version: Literal[1] = 1
    kind: Literal["job", "abandoned"]
    process: ProcessId
    job_id: str | None = None
    at: datetime


class Progress(Record):
    """How far an attempt is: progress.json in its folder, replaced at each start and end of a benchmark."""

    record_version: Literal[1] = 1
    benchmark: str | None = Field(description="the one that runs now; none when none is left to run")
    finished: tuple[str, ...]
    total: int
    at: datetime


class Outcome(Record):
    """How an attempt ended, written by the node, or by the flow that found it dead."""

    record_version: Literal[1] = 1
    state: Literal["completed"] | Ending
    reason: str | None = None
    job_id: str | None = None
    node: str | None = None
    started_at: datetime | None = None
    ended_at: datetime
    log_tail: tuple[str, ...] = ()


class BenchmarkManifest(Record):
    """The marker of a finished benchmark: `manifest.json`, with the size and SHA-256 of every file in its folder."""

    record_version: Literal[1] = 1
    benchmark: str
    files: dict[str, tuple[int, str]]
    elapsed_s: float
    started_at: datetime
    finished_at: datetime


class Launch(Record):
    """An array of jobs: on disk before anything is submitted."""

    record_version: Literal[1] = 1
    launch_id: str
    board: str
    cluster: str
    executor: str
    created_at: datetime
    launcher: ProcessId
    jobs: tuple[Job, ...]


class Submission(Record):
    """The job ids of a launch, in the order of its jobs: on disk right after submission."""

    record_version: Literal[1] = 1
    launch_id: str
    submitted_at: datetime
    job_ids: tuple[str, ...]
    processes: tuple[ProcessId | None, ...] = Field(description="the local controller of each job; none on SLURM")


class Parallelism(Record):
    """How many jobs of a launch's array may run at once, over all flows."""

    record_version: Literal[1] = 1
    launch_id: str
    parallelism: int


class Notified(Record):
    """The causes of failures on a board that people were told of, and when a run last saw each."""

    record_version: Literal[1] = 1
    causes: dict[str, datetime] = {}


def as_row(record: Record) -> dict[str, Any]:
    """A record as a row for Parquet: objects become JSON text, empty ones null."""
    return {
        name: (json.dumps(value, ensure_ascii=False) if value else None) if isinstance(value, dict) else value
        for name, value in record.model_dump().items()
    }


def utc_now() -> datetime:
    """The current time in UTC, as records store it."""
    return datetime.now(UTC)
