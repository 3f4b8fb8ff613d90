"""Lists open launches and attempts, and the cluster's report on their jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from nightboard.tasks.cluster.executor import ClusterAway, Executor, JobReport
from nightboard.tasks.cluster.processes import current_process, may_be_alive
from nightboard.tasks.runs.launch import is_under_way_here, make_call, make_submission
from nightboard.tasks.store.files import write_bytes
from nightboard.tasks.store.layout import (
    CLOSED_FILE,
    LAUNCH_FILE,
    OUTCOME_FILE,
    SPEC_FILE,
    SUBMISSION_FILE,
    Store,
    name_attempt,
)
from nightboard.tasks.store.records import AttemptSpec, Launch, PlannedAttempt, Record, RecordError, Submission
from nightboard.tasks.store.tables import has_file
from nightboard.warehouse.schema.lake_tables import ATTEMPTS

# Claiming and submitting takes seconds, minutes when the cluster does not answer; a launcher that needs longer is gone.
LAUNCHING_LIMIT = timedelta(hours=1)
# The sbatch of a flow that was killed may still be on its way to the cluster.
SUBMITTING_LIMIT = timedelta(seconds=15)


@dataclass(frozen=True)
class OpenAttempt:
    """An open attempt. `report` is the cluster's report on its job; None if there is none."""

    launch_id: str
    job_index: int
    planned: PlannedAttempt
    folder: Path
    gpus: int = 0
    job_id: str | None = None
    report: JobReport | None = None


@dataclass(frozen=True)
class OpenLaunch:
    """A launch with open attempts. `is_launching`: its flow may still claim attempts and submit."""

    folder: Path
    launch: Launch
    submission: Submission | None
    is_launching: bool


@dataclass(frozen=True)
class ClusterAnswer:
    """The executor, and what the cluster answered about all open jobs; `reports` is None when it did not answer."""

    executor: Executor | None
    reports: Mapping[str, JobReport] | None
    now: datetime

    def report(self, launch: OpenLaunch, index: int) -> JobReport | None:
        if launch.submission is None or self.reports is None:
            return None
        return self.reports.get(launch.submission.job_ids[index])


def advise_on_launch(error: RecordError, folder: Path) -> str:
    """The message about a launch whose records cannot be read."""
    return (
        f"{error} Skipped. When no job of this launch runs any more, move {folder} away; its shards are then planned"
        " again."
    )


class Closed(Record):
    """Mark a launch without open attempts as closed, so that it is not read again."""

    closed_at: datetime


# --------------------------------------------------------------------------------------------------------- launches


def read_open_launches(
    store: Store, executor: Executor | None, now: datetime, problems: list[str]
) -> Iterator[OpenLaunch]:
    """Launches that are not closed; those without job ids are looked for with `executor`, where one is given."""
    for path in sorted(store.launches.glob(f"*/{LAUNCH_FILE}")):
        folder = path.parent
        if (folder / CLOSED_FILE).exists():
            continue
        try:
            launch = Launch.read(path)
            # Asked before anything is looked at: a launcher that lives may claim and submit meanwhile.
            is_launching = _is_launching(launch, now)
            submission = _read_submission(folder)
            if submission is None and not is_launching and executor and launch.executor == executor.name:
                submission, is_launching = _attach(store, launch, executor, now)
        except RecordError as error:
            problems.append(advise_on_launch(error, folder))
            continue
        yield OpenLaunch(folder, launch, submission, submission is None and is_launching)


def _read_submission(folder: Path) -> Submission | None:
    path = folder / SUBMISSION_FILE
    return Submission.read(path) if path.exists() else None


def _is_launching(launch: Launch, now: datetime) -> bool:
    """Whether the flow that made the launch may still claim and submit."""
    if launch.launcher == current_process():
        return is_under_way_here(launch)
    return may_be_alive(launch.launcher, launch.created_at + LAUNCHING_LIMIT, now)


def _attach(store: Store, launch: Launch, executor: Executor, now: datetime) -> tuple[Submission | None, bool]:
    """Find by its name the array of a launch whose flow is gone before it wrote the job ids down.

    Returns its submission, None when there is none, and whether to ask again later.
    """
    claimed = {index: folders for index in range(len(launch.jobs)) if (folders := list_attempts(store, launch, index))}
    calls = [make_call(store, folders) for folders in claimed.values()]
    try:
        started = executor.find(store.submit_dir(launch.launch_id), launch.launch_id, calls) if calls else None
    except ClusterAway:
        return None, True
    if started is None:
        return None, executor.name == "slurm" and now < launch.created_at + SUBMITTING_LIMIT
    submission = make_submission(launch, dict(zip(claimed, started, strict=True)), now)
    write_bytes(store.launch_dir(launch.launch_id) / SUBMISSION_FILE, submission.to_bytes())
    return submission, False


def list_attempts(store: Store, launch: Launch, index: int) -> list[Path]:
    """The attempts of a job that this launch has claimed, in the order in which they are run."""
    shards = launch.jobs[index].attempts
    folders = [store.attempt_dir(planned.evaluation_id, planned.shard.name, planned.number) for planned in shards]
    return [folder for folder in folders if belongs_to(folder, launch)]


def belongs_to(folder: Path, launch: Launch) -> bool:
    """Whether this launch has claimed the attempt."""
    spec = folder / SPEC_FILE
    return spec.exists() and AttemptSpec.read(spec).launch_id == launch.launch_id


# --------------------------------------------------------------------------------------------------------- attempts


def is_collected(store: Store, planned: PlannedAttempt) -> bool:
    """Whether an attempt's row is in the lake, where it comes last."""
    return has_file(store, ATTEMPTS, name_attempt(planned.evaluation_id, planned.shard.name, planned.number))


def list_claimed(store: Store, launch: OpenLaunch, cluster: ClusterAnswer) -> Iterator[OpenAttempt]:
    """The launch's shards with an attempt that is claimed and not collected."""
    for index, job in enumerate(launch.launch.jobs):
        job_id = launch.submission.job_ids[index] or None if launch.submission else None
        for planned in job.attempts:
            folder = store.attempt_dir(planned.evaluation_id, planned.shard.name, planned.number)
            is_claimed = (folder / SPEC_FILE).exists()
            if is_claimed and not is_collected(store, planned):
                report = cluster.report(launch, index)
                yield OpenAttempt(launch.launch.launch_id, index, planned, folder, job.gpus, job_id, report)


# -------------------------------------------------------------------------------------------------------------- runs


@dataclass(frozen=True)
class OpenRuns:
    """What is still running, and what could not be read. `is_cluster_away`: it did not answer, ask again later."""

    open: tuple[OpenAttempt, ...]
    problems: tuple[str, ...]
    is_cluster_away: bool = False

    @property
    def in_flight(self) -> frozenset[str]:
        """Evaluations with an open shard."""
        return frozenset(attempt.planned.evaluation_id for attempt in self.open)

    @property
    def open_jobs(self) -> int:
        """Jobs with an open shard."""
        return len({(attempt.launch_id, attempt.job_index) for attempt in self.open})


def list_open(store: Store, executor: Executor | None, now: datetime) -> OpenRuns:
    """List open attempts, according to the store and, with an executor, the cluster. Changes nothing."""
    problems: list[str] = []
    launches = list(read_open_launches(store, None, now, problems))
    cluster = ask(executor, launches, now)
    shards = [
        attempt
        for launch in launches
        for attempt in list_claimed(store, launch, cluster)
        if belongs_to(attempt.folder, launch.launch)
    ]
    is_open = [shard for shard in shards if not (shard.folder / OUTCOME_FILE).exists()]
    return OpenRuns(tuple(is_open), tuple(problems), cluster.reports is None)


def find_executor(store: Store, now: datetime) -> str | None:
    """The name of the executor of the newest open launch; None if no launch is open."""
    launches = [opened.launch for opened in read_open_launches(store, None, now, [])]
    return max(launches, key=lambda launch: launch.created_at).executor if launches else None


def ask(executor: Executor | None, launches: Sequence[OpenLaunch], now: datetime) -> ClusterAnswer:
    """One question to the cluster for all jobs that it may know."""
    if executor is None:
        return ClusterAnswer(None, {}, now)
    known = [launch.submission for launch in launches if launch.submission and launch.launch.executor == executor.name]
    return ClusterAnswer(executor, executor.poll(known, now) if known else {}, now)
