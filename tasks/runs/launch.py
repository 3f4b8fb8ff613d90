"""Launches the jobs of a plan: claims attempts, submits arrays, records job ids; no shard is ever started twice.

The order is the guarantee: the launch is on disk, then each attempt is claimed by creating its folder (the first
flow wins), then the jobs are submitted as one array with the launch's name, then their ids are on disk. If a flow is
killed between two of these steps, `reconcile.py` repairs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nightboard.profiles.models.cluster import Cluster, SlurmOptions, Tier
from nightboard.profiles.models.endings import Ending
from nightboard.tasks.cluster.executor import Call, ClusterAway, Executor, ExecutorError, Resources, Started
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.evaluation.lease import revoke
from nightboard.tasks.store.files import claim_dir, claim_file, write_bytes
from nightboard.tasks.store.layout import LAUNCH_FILE, OUTCOME_FILE, PARALLELISM_FILE, SPEC_FILE, SUBMISSION_FILE, Store
from nightboard.tasks.store.records import (
    AttemptSpec,
    Evaluation,
    EvaluationShards,
    Job,
    Launch,
    Outcome,
    Parallelism,
    PlannedAttempt,
    ResolvedSuite,
    Submission,
    as_row,
)
from nightboard.tasks.store.tables import has_file, write_file
from nightboard.tasks.store.trust import close_to_others
from nightboard.warehouse.lake.locks import open_lock
from nightboard.warehouse.schema.lake_tables import EVALUATIONS

# Launches that this process is in the middle of.
_under_way: set[str] = set()


@dataclass(frozen=True)
class Launcher:
    """What all launches of a flow share. `shards` says by evaluation how it is split, `requests` who asked for it."""

    store: Store
    board: str
    cluster: Cluster
    executor: Executor
    evaluations: Mapping[str, Evaluation]
    suites: Mapping[str, ResolvedSuite]
    shards: Mapping[str, EvaluationShards]
    requests: Mapping[str, str] = field(default_factory=dict)

    def launch(
        self, jobs: Sequence[Job], now: datetime, parallelism: int | None = None, avoided: Collection[str] = ()
    ) -> Launch | None:
        """Claim `jobs` and submit them as one array; they share a tier and a time limit.

        At most `parallelism` of them run at once; None: all. None of them runs on the nodes `avoided`. Shards that
        another flow has claimed are left to it; the answer is None when none is left. Raises ExecutorError when the
        cluster refuses the array, whose attempts are given back then, and ClusterAway when it does not answer: what
        became of the array is found out by `reconcile`.
        """
        with self._begin(jobs, now) as launch:
            claimed = {index: folders for index in range(len(jobs)) if (folders := self._claim(launch, index, now))}
            if parallelism is not None:
                write_parallelism(self.store, launch.launch_id, parallelism)
            started = self._submit(launch, list(claimed.values()), parallelism, avoided, now) if claimed else []
            self._record_submission(launch, dict(zip(claimed, started, strict=True)), now)
            return launch if claimed else None

    def _submit(
        self,
        launch: Launch,
        attempts: Sequence[Sequence[Path]],
        parallelism: int | None,
        avoided: Collection[str],
        now: datetime,
    ) -> list[Started]:
        folder = self.store.submit_dir(launch.launch_id)
        calls = [make_call(self.store, folders) for folders in attempts]
        resources = self._resources(launch.jobs, avoided)
        try:
            return self.executor.submit(folder, launch.launch_id, calls, resources, parallelism)
        except ClusterAway:
            raise
        except ExecutorError as error:
            for attempt in (attempt for folders in attempts for attempt in folders):
                release(attempt, f"the cluster refused the job: {error}", now)
            self._record_submission(launch, {}, now)
            raise

    def record_fetch_failure(self, planned: PlannedAttempt, ending: Ending, reason: str, now: datetime) -> None:
        """Spend an attempt on a shard whose model or data could not be fetched, so that the reason is kept."""
        job = Job(tier=self.cluster.tiers[0].name, attempts=(planned,), gpus=0, time_min=1)
        with self._begin([job], now) as launch:
            for folder in self._claim(launch, 0, now):
                outcome = Outcome(state=ending, reason=reason, ended_at=now)
                claim_file(folder / OUTCOME_FILE, outcome.to_bytes())
            self._record_submission(launch, {}, now)

    def _record_submission(self, launch: Launch, started: Mapping[int, Started], now: datetime) -> None:
        write_bytes(
            self.store.launch_dir(launch.launch_id) / SUBMISSION_FILE, make_submission(launch, started, now).to_bytes()
        )

    @contextlib.contextmanager
    def _begin(self, jobs: Sequence[Job], now: datetime) -> Iterator[Launch]:
        """A launch on disk; until the end it is not taken for one whose flow is gone."""
        launch = Launch(
            launch_id=name_launch(self.board, now),
            board=self.board,
            cluster=self.cluster.cluster,
            executor=self.cluster.executor,
            created_at=now,
            launcher=current_process(),
            jobs=tuple(jobs),
        )
        _under_way.add(launch.launch_id)
        try:
            write_bytes(self.store.launch_dir(launch.launch_id) / LAUNCH_FILE, launch.to_bytes())
            yield launch
        finally:
            _under_way.remove(launch.launch_id)

    def _claim(self, launch: Launch, index: int, now: datetime) -> list[Path]:
        """Create the attempt folders of a job; returns those that are ours."""
        folders = []
        for planned in launch.jobs[index].attempts:
            if not self._claim_shards(planned.evaluation_id):
                continue
            spec = self._spec(launch, index, planned, now)
            folder = self.store.attempt_dir(planned.evaluation_id, planned.shard.name, planned.number)
            self._record_evaluation(spec.evaluation, now)
            if claim_dir(folder, {SPEC_FILE: spec.to_bytes()}):
                folders.append(folder)
        return folders

    def _claim_shards(self, evaluation_id: str) -> bool:
        """Fix how the evaluation is split; False when another flow has fixed another split, and so has it."""
        path, wanted = self.store.shards_file(evaluation_id), self.shards[evaluation_id]
        if path.exists() or not claim_file(path, wanted.to_bytes()):
            return EvaluationShards.read(path) == wanted
        return True

    def _record_evaluation(self, evaluation: Evaluation, now: datetime) -> None:
        if not has_file(self.store, EVALUATIONS, evaluation.evaluation_id):
            row = {key: value for key, value in as_row(evaluation).items() if key in EVALUATIONS.arrow.names}
            row |= {"planned_at": now, "request_id": self.requests.get(evaluation.evaluation_id)}
            write_file(self.store, EVALUATIONS, evaluation.evaluation_id, [row])

    def _spec(self, launch: Launch, index: int, planned: PlannedAttempt, now: datetime) -> AttemptSpec:
        evaluation = self.evaluations[planned.evaluation_id]
        tier = self._tier(launch.jobs[index].tier)
        return AttemptSpec(
            launch_id=launch.launch_id,
            array_task=index,
            evaluation=evaluation,
            suite=self.suites[evaluation.suite_version],
            planned=planned,
            tier=tier.name,
            device=tier.device or ("cuda" if tier.gpus else "cpu"),
            batch_size=planned.batch_size,
            model_args=tier.model_args,
            gpus=launch.jobs[index].gpus,
            created_at=now,
        )

    def _tier(self, name: str) -> Tier:
        return next(tier for tier in self.cluster.tiers if tier.name == name)

    def excluded(self, tier: str, avoided: Collection[str]) -> str:
        """The nodes that no job of a tier gets: those that the profile excludes, and those `avoided`."""
        return ",".join(dict.fromkeys(filter(None, (self._options(tier).exclude, *sorted(avoided)))))

    def _options(self, tier: str) -> SlurmOptions:
        options = {name: value for name, value in self._tier(tier).slurm if value is not None}
        return SlurmOptions(**{**dict(self.cluster.slurm), **options})

    def _resources(self, jobs: Sequence[Job], avoided: Collection[str]) -> Resources:
        tier = self._tier(jobs[0].tier)
        assert {(job.tier, job.time_min) for job in jobs} == {(tier.name, jobs[0].time_min)}, "not one array"
        options = self._options(tier.name)
        return Resources(
            gpus=tier.gpus,
            nodes=tier.nodes,
            cpus=tier.cpus,
            mem_gb=tier.mem_gb,
            time_min=jobs[0].time_min,
            options=options.model_copy(update={"exclude": self.excluded(tier.name, avoided) or None}),
        )


def name_launch(board: str, now: datetime) -> str:
    """A launch's id, which is also its jobs' name on the cluster: `squeue` shows whose they are."""
    return f"nightboard-{board}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def is_under_way_here(launch: Launch) -> bool:
    """Whether this process is in the middle of the launch."""
    return launch.launch_id in _under_way


def make_call(store: Store, attempts: Sequence[Path]) -> Call:
    """What a job runs: these attempts, one after the other."""
    from nightboard.tasks.evaluation.job import run_job  # what only a launch and a job need

    return Call(function=run_job, arguments=(str(store.root), [str(path) for path in attempts]))


def make_submission(launch: Launch, started: Mapping[int, Started], now: datetime) -> Submission:
    """The record of jobs that were handed over, by their index in the launch."""
    indexes = range(len(launch.jobs))
    return Submission(
        launch_id=launch.launch_id,
        submitted_at=now,
        job_ids=tuple(started[i].job_id if i in started else "" for i in indexes),
        processes=tuple(started[i].process if i in started else None for i in indexes),
    )


def find_job_output(store: Store, launch_id: str, job_id: str | None) -> Path | None:
    """The job's own output; None where it left none."""
    return next(store.submit_dir(launch_id).glob(f"{job_id}_*_log.out"), None) if job_id else None


def release(folder: Path, reason: str, now: datetime) -> None:
    """Release an attempt that no job can have started; skip one that has an owner nevertheless."""
    if revoke(folder, now).kind == "abandoned":
        outcome = Outcome(state="not_started", reason=reason, ended_at=now)
        claim_file(folder / OUTCOME_FILE, outcome.to_bytes())


def read_parallelism(store: Store, launch_id: str) -> int | None:
    """How many jobs of a launch may run at once; None where there is no bound."""
    path = store.launch_dir(launch_id) / PARALLELISM_FILE
    return Parallelism.read(path).parallelism if path.exists() else None


def write_parallelism(store: Store, launch_id: str, parallelism: int) -> None:
    """Keep what an array may use: before it may use more, after it may use less."""
    write_bytes(
        store.launch_dir(launch_id) / PARALLELISM_FILE,
        Parallelism(launch_id=launch_id, parallelism=parallelism).to_bytes(),
    )


@contextlib.contextmanager
def launching(store: Store) -> Iterator[None]:
    """One flow at a time counts free places and launches into them. Kept for seconds, never while waiting."""
    store.launches.mkdir(parents=True, exist_ok=True)
    close_to_others(store.root)
    with open_lock(store.launch_lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
