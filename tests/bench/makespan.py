"""How long a plan takes on a real SLURM of 304 GPUs, against the least that any scheduler could take.

The jobs only sleep what they are estimated to take, so many times faster; SLURM decides when each of them starts.
"""

from __future__ import annotations

import csv
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import cloudpickle
from builders import NOW, make_commit
from slurm.cluster import Cluster as TestSlurm
from slurm.cluster import Shape

from nightboard.profiles.loading.load import load_cluster, load_suite
from nightboard.profiles.models.cluster import Cluster, SlurmOptions, Tier
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.cluster.executor import Call, JobReport, Resources
from nightboard.tasks.cluster.slurm import SlurmExecutor
from nightboard.tasks.planning.history import History
from nightboard.tasks.planning.packing import group_arrays
from nightboard.tasks.planning.plan import PlanInputs, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.records import Job, ResolvedSuite, Submission

# The nodes do not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = Shape(nodes=38, gpus=8, cpus=64, mem_mb=1_030_000, first_port=21000)
GPUS = SHAPE.nodes * SHAPE.gpus
# Models that were on the leaderboard in its first weeks, with the parameters of their repositories.
MODELS = Path(__file__).with_name("launch_models.csv")
# Hundreds of short shards, each with a Python to start on two cores; and a hundred long evaluations.
SPEEDUP, SPEEDUP_UNSPLIT = 60, 360
STARTED = "NIGHTBOARD_BENCH_STARTED"
# The least that a job can cost this machine: one step.
OPTIONS = SlurmOptions(
    setup=(f"export {STARTED}=$EPOCHREALTIME",),
    use_srun=False,
    signal_delay_s=1,
)


class Slurm(TestSlurm):
    """Without the tests' look at every process each second, which hundreds of sleeping jobs leave no time for."""

    def _write_configuration(self, shape: Shape) -> None:
        super()._write_configuration(shape)
        text = self.conf.read_text()
        for key, value in {"JobAcctGatherType": "jobacct_gather/none", "JobAcctGatherFrequency": "0"}.items():
            text = re.sub(f"(?m)^{key}=.*$", f"{key}={value}", text)
        self.conf.write_text(re.sub("(?m)^JobAcctGatherParams=.*$", "", text))


@dataclass(frozen=True)
class Makespan:
    """Hours of the plan's own time, from the first job's start to the last one's end."""

    hours: float
    bound_h: float
    n_jobs: int
    n_arrays: int
    gpu_hours: float
    planned_gpu_hours: float

    @property
    def overhead(self) -> float:
        """How much longer than planned the jobs held their GPUs: starting and ending them."""
        return self.gpu_hours / self.planned_gpu_hours - 1


def measure_makespans() -> tuple[Makespan, Makespan]:
    """As planned, and the same evaluations in one piece each, in the order of the list."""
    cluster = load_cluster("slurm-h100")
    plan, unsplit = plan_models(cluster), plan_models(_without_shards(cluster))
    bound_s = find_bound(plan, unsplit)
    arrays = group_arrays(plan.jobs, SHAPE.max_array_size - 1)
    names = {each.evaluation_id: each.model_id for each in unsplit.evaluations}
    in_order = sorted(unsplit.jobs, key=lambda job: names[job.attempts[0].evaluation_id].lower())
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # MariaDB runs as a user of its own
        slurm = Slurm(Path(name) / "slurm")
        slurm.up(SHAPE)
        try:
            with mock.patch.dict(os.environ, SLURM_CONF=str(slurm.conf)):
                return (
                    _run(Path(name), cluster, arrays, bound_s, SPEEDUP),
                    _run(Path(name), cluster, [(job,) for job in in_order], bound_s, SPEEDUP_UNSPLIT),
                )
        finally:
            slurm.down()


def plan_models(cluster: Cluster) -> Plan:
    """All models of the list through leaderboard-v2, nothing measured yet."""
    with MODELS.open() as file:
        sizes = {row["model"]: float(row["params_b"]) for row in csv.DictReader(file)}
    inputs = PlanInputs(
        board="bench",
        watch=WatchList(watchlist="bench", organizations=("lab",)),
        suites=[ResolvedSuite(suite=load_suite("leaderboard-v2"), version="v2")],
        cluster=cluster,
        commits=[make_commit(model, fingerprint=model, params_b=params_b) for model, params_b in sizes.items()],
        history=History(),
        now=NOW,
    )
    plan = make_plan(inputs)
    assert len(plan.evaluations) == len(sizes) == 100, plan.skipped
    return plan


def _without_shards(cluster: Cluster) -> Cluster:
    changes = {"shard_above_min": None, "share_job_below_min": 0}
    return cluster.model_copy(update={"tiers": tuple(tier.model_copy(update=changes) for tier in cluster.tiers)})


def find_bound(plan: Plan, unsplit: Plan) -> float:
    """Seconds that no schedule can beat: all GPUs busy all the time and no second start, or the longest uncut shard."""
    benchmarks = load_suite("leaderboard-v2").benchmarks
    shards = [shard for job in plan.jobs for shard in job.attempts]
    whole = [shard.estimate_s for shard in shards if not any(benchmarks[b].cut_documents for b in shard.benchmarks)]
    return max(unsplit.gpu_hours * 3600 / GPUS, *whole)


# ------------------------------------------------------------------------------------------------------ on the cluster


def sleep_until_over(seconds: float) -> None:
    """Sleep until `seconds` after the job's script began: starting Python is part of the job, not beside it."""
    time.sleep(max(0.0, float(os.environ[STARTED]) + seconds - time.time()))


def _run(folder: Path, cluster: Cluster, arrays: Sequence[Sequence[Job]], bound_s: float, speedup: int) -> Makespan:
    executor, tiers = SlurmExecutor(), {tier.name: tier for tier in cluster.tiers}
    submissions = [
        _submit(executor, folder / f"{speedup}-{number}", array, tiers[array[0].tier], speedup)
        for number, array in enumerate(arrays)
    ]
    reports = _wait(executor, submissions)
    jobs = {
        job_id: job
        for array, submission in zip(arrays, submissions, strict=True)
        for job, job_id in zip(array, submission.job_ids, strict=True)
    }
    first = min(report.started_at for report in reports.values() if report.started_at)
    last = max(report.ended_at for report in reports.values() if report.ended_at)
    held = sum((report.elapsed_s or 0) * jobs[job_id].gpus for job_id, report in reports.items())
    return Makespan(
        hours=(last - first).total_seconds() * speedup / 3600,
        bound_h=bound_s / 3600,
        n_jobs=len(jobs),
        n_arrays=len(arrays),
        gpu_hours=held * speedup / 3600,
        planned_gpu_hours=sum(job.estimate_s * job.gpus for job in jobs.values()) / 3600,
    )


def _submit(executor: SlurmExecutor, folder: Path, array: Sequence[Job], tier: Tier, speedup: int) -> Submission:
    resources = Resources(
        gpus=tier.gpus,
        nodes=tier.nodes,
        cpus=tier.cpus,
        mem_gb=tier.mem_gb,
        time_min=math.ceil(array[0].time_min / speedup),
        options=OPTIONS,
    )
    calls = [Call(sleep_until_over, (job.estimate_s / speedup,)) for job in array]
    started = executor.submit(folder, folder.name, calls, resources, None)
    return Submission(
        launch_id=folder.name,
        submitted_at=datetime.now(UTC),
        job_ids=tuple(each.job_id for each in started),
        processes=(None,) * len(started),
    )


def _wait(executor: SlurmExecutor, submissions: Sequence[Submission]) -> dict[str, JobReport]:
    while True:
        time.sleep(10)
        reports = executor.poll(submissions, datetime.now(UTC))
        if reports is not None and all(report.is_over for report in reports.values()):
            assert {report.state for report in reports.values()} == {"COMPLETED"}, reports
            return dict(reports)
