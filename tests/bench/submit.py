"""Submitting 1,000 evaluations to a real SLURM, against a loop of one sbatch each; and what watching them costs.

The jobs sleep: what is measured is the way to them. Every call of SLURM's commands is counted by a stand-in on PATH.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from builders import make_suite
from fake_cluster import make_evaluation
from slurm.cluster import Cluster as SlurmCluster

from nightboard.profiles.models.cluster import Cluster, SlurmOptions, Tier
from nightboard.tasks.cluster.slurm import SlurmExecutor
from nightboard.tasks.planning.packing import group_arrays
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import EvaluationShards, Job, PlannedAttempt, Shard

N_EVALUATIONS = 1000
POLL_INTERVAL_S = 10.0
WATCHED_S = 60.0
COUNTED = ("sbatch", "sacct", "squeue", "scontrol")
# The rest of submitit's command line becomes a comment of the job's script.
SLEEP = "sleep 20 #"


def measure_submit() -> Iterator[tuple[str, str, str, str, float]]:
    """Rows of what is measured: what, ours, against what, theirs, ratio."""
    found = SlurmCluster.find()
    if found is None or not found.is_up():
        raise SystemExit("no SLURM of the tests answers; `make slurm-up` starts one")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = _count_calls(folder / "bin")
        os.environ["SLURM_CONF"] = str(found.conf)
        try:
            store, executor = Store(folder / "store"), SlurmExecutor()
            ours_s, arrays = _submit(store, executor)
            submitting = count()
            _watch(store, executor)
            watching = count() - submitting
            found.cancel(found.squeue())
            theirs_s = _loop(folder, found)
        finally:
            found.cancel(found.squeue())
    yield (
        f"submit {N_EVALUATIONS:,} evaluations, {submitting['sbatch']} sbatch ({arrays} arrays)", f"{ours_s:.1f} s",
        f"a loop of {N_EVALUATIONS:,} sbatch", f"{theirs_s:.1f} s", ours_s / theirs_s,
    )  # fmt: skip
    asked = (watching["sacct"] + watching["squeue"]) / WATCHED_S * 60
    allowed = 60 / POLL_INTERVAL_S
    yield (
        f"questions to the cluster a minute, {N_EVALUATIONS:,} jobs open", f"{asked:.1f}",
        f"one every {POLL_INTERVAL_S:.0f} s", f"{allowed:.1f}", asked / allowed,
    )  # fmt: skip


def _submit(store: Store, executor: SlurmExecutor) -> tuple[float, int]:
    """Seconds from the plan's jobs to all ids on disk, and how many arrays they became."""
    evaluations = {f"e{index:04}": make_evaluation(f"e{index:04}") for index in range(N_EVALUATIONS)}
    tier = Tier(name="one", up_to_params_b=100, gpus=1, cpus=1, mem_gb=0.1)
    options = SlurmOptions(python=SLEEP, use_srun=False)
    part = Shard(benchmarks=("bbh",))
    launcher = Launcher(
        store=store,
        board="bench",
        cluster=Cluster(cluster="bench", executor="slurm", tiers=(tier,), slurm=options),
        executor=executor,
        evaluations=evaluations,
        suites={"v1": make_suite()},
        shards={name: EvaluationShards(evaluation_id=name, shards=(part,)) for name in evaluations},
    )
    shards = (PlannedAttempt(evaluation_id=name, shard=part, batch_size=1, estimate_s=60) for name in evaluations)
    jobs = [Job(tier="one", attempts=(shard,), gpus=1, time_min=15) for shard in shards]
    started = time.perf_counter()
    arrays = group_arrays(jobs, executor.max_array_size())
    for array in arrays:
        launcher.launch(array, datetime.now(UTC))
    return time.perf_counter() - started, len(arrays)


def _watch(store: Store, executor: SlurmExecutor) -> None:
    """What the flow does while it waits."""
    until = time.monotonic() + WATCHED_S
    while time.monotonic() < until:
        reconcile(store, executor, datetime.now(UTC))
        time.sleep(POLL_INTERVAL_S)


def _loop(folder: Path, cluster: SlurmCluster) -> float:
    script = folder / "job.sh"
    script.write_text("#!/bin/sh\nsleep 20\n")
    started = time.perf_counter()
    for _ in range(N_EVALUATIONS):
        cluster.must("sbatch", "--gpus-per-node=1", "--mem=100", "--output=/dev/null", str(script))
    return time.perf_counter() - started


def _count_calls(folder: Path) -> _Count:
    folder.mkdir()
    log = folder / "calls"
    log.touch()
    for name in COUNTED:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} >>{log}\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    return _Count(log)


class _Count:
    """How often each command was called so far."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self) -> Counter[str]:
        return Counter(self.log.read_text().split())
