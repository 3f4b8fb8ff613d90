"""Turns jobs of a plan into running jobs, so that no shard is ever started twice.

The order is the guarantee: the launch is on disk, then each attempt is claimed by creating its folder (the first
flow wins), then the jobs are submitted, then their ids are on disk. What a flow left between two of these steps is
put right by `settle.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nightboard.profiles.models import Cluster, Tier
from nightboard.tasks.evaluate import run_job
from nightboard.tasks.executor import Call, Executor, Started
from nightboard.tasks.process import current_process
from nightboard.tasks.records import (
    Evaluation,
    Job,
    Launch,
    Outcome,
    ResolvedSuite,
    Shard,
    ShardSpec,
    Submission,
    as_row,
)
from nightboard.tasks.store import Store, claim_dir, claim_file, write_bytes, write_parquet
from nightboard.warehouse.schema import EVALUATIONS

LAUNCH_FILE, SUBMISSION_FILE, CLOSED_FILE = "launch.json", "submission.json", "closed.json"


@dataclass(frozen=True)
class Launcher:
    """What all launches of a flow share."""

    store: Store
    board: str
    cluster: Cluster
    executor: Executor
    evaluations: Mapping[str, Evaluation]
    suites: Mapping[str, ResolvedSuite]

    def launch(self, jobs: Sequence[Job], now: datetime) -> Launch | None:
        """Claim and submit `jobs`. Shards that another flow has claimed are left to it; None when none is left."""
        launch = self._begin(jobs, now)
        claimed = [(index, self._claim(launch, index, now)) for index in range(len(jobs))]
        claimed = [(index, attempts) for index, attempts in claimed if attempts]
        folder = self.store.launches / launch.launch_id
        calls = [self._call(jobs[index], attempts) for index, attempts in claimed]
        started = self.executor.submit(folder / "submitit", launch.launch_id, calls) if calls else []
        self._record_submission(launch, dict(zip((index for index, _ in claimed), started, strict=True)), now)
        return launch if calls else None

    def record_fetch_failure(self, shard: Shard, reason: str, now: datetime) -> None:
        """Spend an attempt on a shard whose model or data could not be fetched, so that the reason is kept."""
        job = Job(tier=self.cluster.tiers[0].name, shards=(shard,), gpus=0, time_min=1)
        launch = self._begin([job], now)
        for folder in self._claim(launch, 0, now):
            outcome = Outcome(state="fetch_failed", reason=reason, ended_at=now)
            claim_file(folder / "outcome.json", outcome.to_bytes())
        self._record_submission(launch, {}, now)

    def _record_submission(self, launch: Launch, started: Mapping[int, Started], now: datetime) -> None:
        indexes = range(len(launch.jobs))
        submission = Submission(
            launch_id=launch.launch_id,
            submitted_at=now,
            job_ids=tuple(started[i].job_id if i in started else "" for i in indexes),
            processes=tuple(started[i].process if i in started else None for i in indexes),
        )
        write_bytes(self.store.launches / launch.launch_id / SUBMISSION_FILE, submission.to_bytes())

    def _begin(self, jobs: Sequence[Job], now: datetime) -> Launch:
        launch = Launch(
            launch_id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
            board=self.board,
            cluster=self.cluster.cluster,
            executor=self.cluster.executor,
            created_at=now,
            launcher=current_process(),
            jobs=tuple(jobs),
        )
        write_bytes(self.store.launches / launch.launch_id / LAUNCH_FILE, launch.to_bytes())
        return launch

    def _claim(self, launch: Launch, index: int, now: datetime) -> list[Path]:
        """Create the attempt folders of a job; returns those that are ours."""
        folders = []
        for shard in launch.jobs[index].shards:
            spec = self._spec(launch, index, shard, now)
            folder = self.store.attempt_dir(shard.evaluation_id, shard.shard, shard.attempt)
            self._record_evaluation(spec.evaluation, now)
            if claim_dir(folder, {"spec.json": spec.to_bytes()}):
                folders.append(folder)
        return folders

    def _record_evaluation(self, evaluation: Evaluation, now: datetime) -> None:
        path = self.store.lake / EVALUATIONS.name / f"{evaluation.evaluation_id}.parquet"
        if not path.exists():
            row = {key: value for key, value in as_row(evaluation).items() if key in EVALUATIONS.arrow.names}
            write_parquet(path, EVALUATIONS, [row | {"planned_at": now}])

    def _spec(self, launch: Launch, index: int, shard: Shard, now: datetime) -> ShardSpec:
        evaluation = self.evaluations[shard.evaluation_id]
        tier = self._tier(launch.jobs[index].tier)
        return ShardSpec(
            launch_id=launch.launch_id,
            array_task=index,
            evaluation=evaluation,
            suite=self.suites[evaluation.suite_version],
            shard=shard,
            device=tier.device or ("cuda" if tier.gpus else "cpu"),
            batch_size=tier.batch_size,
            gpus=launch.jobs[index].gpus,
            created_at=now,
        )

    def _tier(self, name: str) -> Tier:
        return next(tier for tier in self.cluster.tiers if tier.name == name)

    def _call(self, job: Job, attempts: Iterable[Path]) -> Call:
        arguments = (str(self.store.root), [str(path) for path in attempts])
        return Call(function=run_job, arguments=arguments, gpus=job.gpus, time_min=job.time_min)


@contextlib.contextmanager
def launching(store: Store) -> Iterator[None]:
    """One flow at a time counts free places and launches into them. Kept for seconds, never while waiting."""
    store.launches.mkdir(parents=True, exist_ok=True)
    with (store.launches / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
