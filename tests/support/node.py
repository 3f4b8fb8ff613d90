"""A store with a real model and data sets, and jobs on it, for tests of what runs on a node."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builders import NOW
from warm import warm_job

from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Harness, Suite, TaskSpec
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import AttemptSpec, Evaluation, PlannedAttempt, ResolvedSuite, Shard


@dataclass(frozen=True)
class FilledCache:
    """A store's cache, filled once a session, and the commits of its data sets."""

    folder: Path
    shas: dict[str, str]


@dataclass
class Node:
    """A store with one evaluation, and a way to run attempts at it as a job does: in a process of its own."""

    store: Store
    suite: Suite

    def prepare(
        self,
        attempt: int = 1,
        benchmarks: tuple[str, ...] | None = None,
        shard: Shard | None = None,
        **changes: object,
    ) -> Path:
        """Write an attempt's spec as launch does; returns its folder."""
        evaluation = {
            "evaluation_id": "evaluation", "suite": self.suite.suite, "suite_version": "v1", "model_id": "own/tiny",
            "revision": "1" * 40, "fingerprint": "tiny", "precision": "float32", "chat_template": False,
            "fewshot_as_multiturn": True, "harness_version": self.suite.harness.version,
        }  # fmt: skip
        of_spec = ("batch_size", "device", "gpus", "model_args")
        spec_changes = {key: changes.pop(key) for key in of_spec if key in changes}
        spec = AttemptSpec(
            launch_id="launch",
            array_task=0,
            evaluation=Evaluation.model_validate(evaluation | changes),
            suite=ResolvedSuite(suite=self.suite, version="v1"),
            planned=PlannedAttempt(
                evaluation_id="evaluation",
                number=attempt,
                shard=shard or Shard(benchmarks=benchmarks or tuple(self.suite.benchmarks)),
                batch_size=4,
                estimate_s=1,
            ),
            tier="cpu",
            created_at=NOW,
            **({"device": "cpu", "batch_size": 4, "gpus": 0} | spec_changes),  # type: ignore[arg-type]
        )
        folder = self.store.attempt_dir("evaluation", spec.planned.shard.name, attempt)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_bytes(spec.to_bytes())
        return folder

    @property
    def work(self) -> Path:
        return self.store.work_dir("evaluation", "all")

    def finish(self, *folders: Path) -> None:
        """Run a job with these attempts, all of which must complete."""
        self.finish_with("", *folders)

    def finish_with(self, before: str, *folders: Path) -> None:
        done = self.run(*folders, before=before)
        assert all(state == "completed" for state in ast.literal_eval(done.stdout.rpartition("STATES ")[2])), done

    def command(self, *folders: Path, before: str = "", python: Callable[..., list[str]] = warm_job) -> list[str]:
        code = f"""
import sys
{before}
from nightboard.tasks.evaluation.job import run_job
print("STATES", run_job(sys.argv[1], sys.argv[2:]), flush=True)
"""
        return python(code, str(self.store.root), *map(str, folders))

    def run(
        self, *folders: Path, before: str = "", python: Callable[..., list[str]] = warm_job
    ) -> subprocess.CompletedProcess[str]:
        """Run a job with these attempts to its end. `before` is code that runs first, to bring trouble."""
        command = self.command(*folders, before=before, python=python)
        return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def small_suite(shas: dict[str, str], **changes: object) -> Suite:
    """Four benchmarks of the leaderboard, with the counts of `tasks/make_store.py`."""

    def tasks(prefix: str, counts: dict[str, int]) -> dict[str, TaskSpec]:
        return {f"{prefix}{name}": TaskSpec(samples=count) for name, count in counts.items()}

    def benchmark(group: str, dataset: str, metrics: tuple[str, ...], shots: int, **more: object) -> Benchmark:
        values = {
            "title": group, "group": group, "dataset": DatasetSpec(id=dataset, sha=shas.get(dataset)), "shots": shots,
            "metrics": metrics, "aggregate": "mean", "normalize": "task",
        }  # fmt: skip
        return Benchmark.model_validate(values | more)

    ifeval, gpqa, musr, mmlu_pro = (
        "wis-k/instruction-following-eval", "Idavidrein/gpqa", "TAUR-Lab/MuSR", "TIGER-Lab/MMLU-Pro",
    )  # fmt: skip
    strict = ("prompt_level_strict_acc", "inst_level_strict_acc")
    musr_counts = {"murder_mysteries": 3, "object_placements": 3, "team_allocation": 3}
    benchmarks = {
        "ifeval": benchmark(
            "leaderboard_ifeval", ifeval, strict, 0, max_new_tokens=8, tasks=tasks("leaderboard_", {"ifeval": 4})
        ),
        "gpqa": benchmark(
            "leaderboard_gpqa", gpqa, ("acc_norm",), 0,
            tasks=tasks("leaderboard_gpqa_", {"diamond": 4, "extended": 8, "main": 6}),
        ),
        "musr": benchmark("leaderboard_musr", musr, ("acc_norm",), 0, tasks=tasks("leaderboard_musr_", musr_counts)),
        "mmlu_pro": benchmark(
            "leaderboard_mmlu_pro", mmlu_pro, ("acc",), 5, tasks=tasks("leaderboard_", {"mmlu_pro": 40})
        ),
    }  # fmt: skip
    harness = Harness(version="0.4.13", task_folders=("leaderboard",))
    values = {"suite": "small", "title": "Small", "harness": harness, "benchmarks": benchmarks}
    return Suite.model_validate(values | changes)
