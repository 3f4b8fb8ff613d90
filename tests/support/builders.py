"""Small declared things for tests: a suite, a commit."""

from __future__ import annotations

from datetime import UTC, datetime

from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Harness, Suite, TaskSpec
from nightboard.tasks.store.records import Commit, ResolvedSuite

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_suite(name: str = "small", version: str = "v1") -> ResolvedSuite:
    benchmark = Benchmark(
        title="BBH",
        group="leaderboard_bbh",
        dataset=DatasetSpec(id="SaylorTwift/bbh", sha="a" * 40),
        shots=3,
        metrics=("acc_norm",),
        aggregate="mean",
        normalize="task",
        tasks={"leaderboard_bbh_navigate": TaskSpec(samples=250, choices=2, lower_bound=0.5)},
    )
    suite = Suite(suite=name, title=name, harness=Harness(version="0.4.13"), benchmarks={"bbh": benchmark})
    return ResolvedSuite(suite=suite, version=version)


def make_commit(model: str, revision: str = "1", fingerprint: str | None = None, **changes: object) -> Commit:
    values: dict[str, object] = {
        "model_id": model,
        "organization": model.partition("/")[0],
        "revision": revision * 40,
        "ref": "main",
        "committed_at": NOW,
        "discovered_at": NOW,
        "state": "ok",
        "fingerprint": fingerprint or f"{model}:{revision}",
        "params_b": 1.0,
        "stored_precision": "bfloat16",
    }
    return Commit.model_validate(values | changes)
