"""Finds out what became of everything that was ever launched, whoever launched it.

An attempt is open until it has an outcome. A dead one gets its outcome here; a finished one is collected. Nothing is
remembered between calls: the store and the cluster say it all, so any flow on any night and host can do this. The
cluster is asked once a call, whatever the number of jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nightboard.profiles.models import Ending
from nightboard.tasks.attempt import read_log_tail
from nightboard.tasks.collect import Collected, collect_attempt, is_collected
from nightboard.tasks.executor import ClusterAway, Executor, JobReport
from nightboard.tasks.false_start import explain_false_start, explain_lost_outcome
from nightboard.tasks.launch import (
    CLOSED_FILE,
    LAUNCH_FILE,
    SUBMISSION_FILE,
    find_job_output,
    is_under_way_here,
    make_call,
    make_submission,
    submit_folder,
)
from nightboard.tasks.ownership import current_owner, give_up
from nightboard.tasks.process import current_process, is_alive
from nightboard.tasks.records import (
    AttemptOwner,
    Launch,
    Outcome,
    ProcessId,
    Record,
    RecordError,
    Shard,
    ShardSpec,
    Submission,
)
from nightboard.tasks.slurm import has_run_out_of_memory
from nightboard.tasks.store import Store, claim_file, write_bytes

# Claiming and submitting takes seconds, minutes when the cluster does not answer; a launcher that needs longer is gone.
LAUNCHING_LIMIT = timedelta(hours=1)
# The sbatch of a flow that was killed may still be on its way to the cluster.
SUBMITTING_LIMIT = timedelta(seconds=15)
# The cluster's last word on a job (energy, exit code) comes some seconds after its outcome.
LAST_WORD_LIMIT = timedelta(minutes=2)


@dataclass(frozen=True)
class OpenShard:
    """An attempt that is still under way. `report` is what the cluster says of its job; None when it says nothing."""

    launch_id: str
    job_index: int
    shard: Shard
    folder: Path
    gpus: int = 0
    job_id: str | None = None
    report: JobReport | None = None


@dataclass(frozen=True)
class Settled:
    """What is still running, and what this call collected. `is_cluster_away`: it did not answer, ask again later."""

    open: tuple[OpenShard, ...]
    collected: tuple[Collected, ...]
    problems: tuple[str, ...]
    is_cluster_away: bool = False

    @property
    def in_flight(self) -> frozenset[str]:
        """Evaluations with a shard under way."""
        return frozenset(each.shard.evaluation_id for each in self.open)

    @property
    def open_jobs(self) -> int:
        """Jobs with a shard under way."""
        return len({(each.launch_id, each.job_index) for each in self.open})


@dataclass(frozen=True)
class _OpenLaunch:
    """A launch with something under way. `is_launching`: its flow may still claim attempts and submit."""

    folder: Path
    launch: Launch
    submission: Submission | None
    is_launching: bool


@dataclass(frozen=True)
class _Cluster:
    """The executor, and what the cluster answered about all open jobs; `reports` is None when it did not answer."""

    executor: Executor | None
    reports: Mapping[str, JobReport] | None
    now: datetime

    def report(self, launch: _OpenLaunch, index: int) -> JobReport | None:
        if launch.submission is None or self.reports is None:
            return None
        return self.reports.get(launch.submission.job_ids[index])


def settle(store: Store, executor: Executor, now: datetime) -> Settled:
    """Look at every open launch once: collect what ended, give dead attempts an outcome, list what still runs."""
    problems: list[str] = []
    launches = list(_read_open_launches(store, executor, now, problems))
    cluster = _ask(executor, launches, now)
    still_open: list[OpenShard] = []
    collected: list[Collected] = []
    for launch in launches:
        is_over = not launch.is_launching
        for each in _claimed(store, launch, cluster):
            try:
                found = _settle_attempt(store, each, launch, cluster)
            except RecordError as error:
                problems.append(_advise(error, each.folder))
                found = each
            if isinstance(found, OpenShard):
                still_open.append(found)
                is_over = False
            elif found is not None:
                collected.append(found)
        if is_over:
            write_bytes(launch.folder / CLOSED_FILE, _Closed(closed_at=now).to_bytes())
    return Settled(tuple(still_open), tuple(collected), tuple(problems), cluster.reports is None)


def list_open(store: Store, executor: Executor | None, now: datetime) -> Settled:
    """What is under way, as far as the store and, with an executor, the cluster say it. Changes nothing."""
    problems: list[str] = []
    launches = list(_read_open_launches(store, None, now, problems))
    cluster = _ask(executor, launches, now)
    shards = [
        each for launch in launches for each in _claimed(store, launch, cluster) if _is_of(each.folder, launch.launch)
    ]
    is_open = [each for each in shards if not (each.folder / "outcome.json").exists()]
    return Settled(tuple(is_open), (), tuple(problems), cluster.reports is None)


def _ask(executor: Executor | None, launches: Sequence[_OpenLaunch], now: datetime) -> _Cluster:
    """One question to the cluster for all jobs that it may know."""
    if executor is None:
        return _Cluster(None, {}, now)
    known = [each.submission for each in launches if each.submission and each.launch.executor == executor.name]
    return _Cluster(executor, executor.poll(known, now) if known else {}, now)


def _advise(error: RecordError, folder: Path) -> str:
    return (
        f"{error} What it stands for is left alone. When no job of it runs any more, move {folder} away; "
        "then it is planned again."
    )


class _Closed(Record):
    """Marks a launch with nothing under way, so that it is not looked at again."""

    closed_at: datetime


# --------------------------------------------------------------------------------------------------------- launches


def _read_open_launches(
    store: Store, executor: Executor | None, now: datetime, problems: list[str]
) -> Iterator[_OpenLaunch]:
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
            problems.append(_advise(error, folder))
            continue
        yield _OpenLaunch(folder, launch, submission, submission is None and is_launching)


def _read_submission(folder: Path) -> Submission | None:
    path = folder / SUBMISSION_FILE
    return Submission.read(path) if path.exists() else None


def _is_launching(launch: Launch, now: datetime) -> bool:
    """Whether the flow that made the launch may still claim and submit."""
    if launch.launcher == current_process():
        return is_under_way_here(launch)
    return _may_be_alive(launch.launcher, launch.created_at + LAUNCHING_LIMIT, now)


def _attach(store: Store, launch: Launch, executor: Executor, now: datetime) -> tuple[Submission | None, bool]:
    """Find by its name the array of a launch whose flow is gone before it wrote the job ids down.

    Returns its submission, None when there is none, and whether to ask again later.
    """
    claimed = {index: folders for index in range(len(launch.jobs)) if (folders := _attempts(store, launch, index))}
    calls = [make_call(store, folders) for folders in claimed.values()]
    try:
        started = executor.find(submit_folder(store, launch.launch_id), launch.launch_id, calls) if calls else None
    except ClusterAway:
        return None, True
    if started is None:
        return None, executor.name == "slurm" and now < launch.created_at + SUBMITTING_LIMIT
    submission = make_submission(launch, dict(zip(claimed, started, strict=True)), now)
    write_bytes(store.launches / launch.launch_id / SUBMISSION_FILE, submission.to_bytes())
    return submission, False


def _attempts(store: Store, launch: Launch, index: int) -> list[Path]:
    """The attempts of a job that this launch has claimed, in the order in which they are run."""
    shards = launch.jobs[index].shards
    folders = [store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt) for shard in shards]
    return [folder for folder in folders if _is_of(folder, launch)]


def _is_of(folder: Path, launch: Launch) -> bool:
    spec = folder / "spec.json"
    return spec.exists() and ShardSpec.read(spec).launch_id == launch.launch_id


# --------------------------------------------------------------------------------------------------------- attempts


def _claimed(store: Store, launch: _OpenLaunch, cluster: _Cluster) -> Iterator[OpenShard]:
    """The launch's shards whose attempt somebody has claimed and nobody has collected."""
    for index, job in enumerate(launch.launch.jobs):
        job_id = launch.submission.job_ids[index] or None if launch.submission else None
        for shard in job.shards:
            folder = store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt)
            is_claimed = (folder / "spec.json").exists()
            if is_claimed and not is_collected(store, shard.evaluation_id, shard.shard, shard.attempt):
                report = cluster.report(launch, index)
                yield OpenShard(launch.launch.launch_id, index, shard, folder, job.gpus, job_id, report)


def _settle_attempt(
    store: Store, each: OpenShard, launch: _OpenLaunch, cluster: _Cluster
) -> Collected | OpenShard | None:
    """Collected when it has ended, the shard itself while it is under way, None when it is not this launch's."""
    if not _is_of(each.folder, launch.launch):
        return None
    if _has_ended(store, each, launch, cluster):
        return collect_attempt(store, each.folder, cluster.now, each.report)
    return each


def _has_ended(store: Store, each: OpenShard, launch: _OpenLaunch, cluster: _Cluster) -> bool:
    """Whether the attempt has an outcome; gives it one when its job is gone."""
    # Life is asked for before the outcome: a job that ends in between has written its outcome by then.
    is_running = _is_running(each, launch, cluster)
    outcome = each.folder / "outcome.json"
    if outcome.exists():
        return not _awaits_last_word(each, launch, cluster)
    if is_running:
        return False
    owner = give_up(each.folder, cluster.now)
    claim_file(outcome, _explain_end(store, each, owner, launch, cluster.now).to_bytes())
    return True


def _awaits_last_word(each: OpenShard, launch: _OpenLaunch, cluster: _Cluster) -> bool:
    """Whether the cluster will soon say more of a job whose outcome is there."""
    if launch.launch.executor != "slurm" or each.report is None or each.report.is_over:
        return False
    try:
        return cluster.now < Outcome.read(each.folder / "outcome.json").ended_at + LAST_WORD_LIMIT
    except RecordError:
        return False  # collecting says what is wrong with it


def _is_running(each: OpenShard, launch: _OpenLaunch, cluster: _Cluster) -> bool:
    """Whether the job may still start, or its process runs. Changes nothing."""
    if cluster.executor is None or launch.launch.executor != cluster.executor.name:
        return True  # this executor knows nothing of that one's jobs; a board of that kind will look
    if launch.is_launching or (launch.submission is not None and cluster.reports is None):
        return True
    is_over = True if launch.submission is None or each.job_id is None else each.report and each.report.is_over
    if is_over is False:
        return True
    if is_over is None and cluster.now < _deadline(launch.launch.created_at, each, launch):
        return True
    owner = current_owner(each.folder)
    if owner is None or owner.kind != "job":
        return False
    alive = is_alive(owner.process)
    if alive is None:
        # On another host: the cluster's word counts, where it has one.
        return is_over is None and cluster.now < _deadline(owner.at, each, launch)
    return alive


def _deadline(start: datetime, each: OpenShard, launch: _OpenLaunch) -> datetime:
    """When what began at `start` is over at the latest, by the job's time limit."""
    return start + timedelta(minutes=launch.launch.jobs[each.job_index].time_min) + LAUNCHING_LIMIT


def _may_be_alive(process: ProcessId, deadline: datetime, now: datetime) -> bool:
    """A process on another host cannot be looked at: it is given until the deadline."""
    alive = is_alive(process)
    return now < deadline if alive is None else alive


# --------------------------------------------------------------------------------------------------------- outcomes


def _explain_end(store: Store, each: OpenShard, owner: AttemptOwner, launch: _OpenLaunch, now: datetime) -> Outcome:
    """The outcome of an attempt that left none, from what the cluster says of its job."""
    report = each.report
    ran = _last_run(each.folder)
    state, reason = _judge_end(store, each, ran is not None, launch)
    values: dict[str, Any] = {"state": state, "reason": reason, "job_id": each.job_id, "ended_at": now}
    if report:
        values |= {"node": report.node, "ended_at": report.ended_at or now}
    if ran:
        values |= {"job_id": ran.job_id or each.job_id, "started_at": ran.at}
        values["node"] = values.get("node") or ran.process.host
        values["ended_at"] = max(values["ended_at"], ran.at)
    return Outcome(**values, log_tail=_read_last_lines(store, each, launch))


def _judge_end(store: Store, each: OpenShard, has_begun: bool, launch: _OpenLaunch) -> tuple[Ending, str]:
    report = each.report
    if launch.submission is None or each.job_id is None:
        return "not_started", "the flow that launched it was stopped before it submitted the job"
    said = f": {report.reason}" if report and report.reason else ""
    output = _read_job_output(store, each, launch)
    if has_begun:
        if has_run_out_of_memory(output):
            return "out_of_memory", "out of host memory: the cluster killed the job, which used more than it was given"
        where = f" on {report.node}" if report and report.node else ""
        is_stopped = report is not None and report.ending not in (None, "failed", "interrupted")
        if not is_stopped and (found := explain_lost_outcome(output, each.folder)):
            return "environment", f"{found}{where}"
        return (report and report.ending) or "interrupted", (
            (report and report.reason) or f"the process ended without an outcome (killed?){where}"
        )
    if report and report.ending == "cancelled":
        return "cancelled", f"the job ended before it began to evaluate{said}"
    if report is None or report.ending is None or _has_anybody_begun(store, each, launch):
        return "not_started", f"the job ended before it came to this evaluation{said}"
    # Nothing of the model was looked at, so that it cannot be why.
    found = explain_false_start(output)
    if found or report.ending in ("failed", "timeout", "out_of_memory"):
        return "environment", f"the job ended before it began to evaluate{said}{f'. {found}' if found else ''}"
    return report.ending, f"the job ended before it began to evaluate{said}"


def _has_anybody_begun(store: Store, each: OpenShard, launch: _OpenLaunch) -> bool:
    """Whether the job ran any of its shards. One that ran none has its own trouble, which would only come again."""
    return any(_last_run(folder) for folder in _attempts(store, launch.launch, each.job_index))


def _last_run(folder: Path) -> AttemptOwner | None:
    """The last job that held the attempt, whoever holds it now; None when none ever did."""
    jobs = [owner for owner in map(AttemptOwner.read, folder.glob("owner.*.json")) if owner.kind == "job"]
    return max(jobs, key=lambda owner: owner.at, default=None)


def _read_last_lines(store: Store, each: OpenShard, launch: _OpenLaunch) -> tuple[str, ...]:
    """The end of the attempt's log; of the job's own output when the attempt never began."""
    log = each.folder / "log.txt"
    if log.exists():
        return read_log_tail(log)
    return _read_job_output(store, each, launch)


def _read_job_output(store: Store, each: OpenShard, launch: _OpenLaunch) -> tuple[str, ...]:
    path = find_job_output(store, launch.launch.launch_id, each.job_id)
    return read_log_tail(path) if path else ()


def utc_now() -> datetime:
    """The time, as every record writes it."""
    return datetime.now(UTC)
