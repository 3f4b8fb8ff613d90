"""Nights on one store without a Hub, a cluster or lm-eval: planned, launched, collected and built as a board does it.

What a node leaves is made up (see made_shards.py): all models answer alike, so that scores made in one way are equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from asked import ask_lake
from builders import NOW, make_commit
from fake_cluster import FakeExecutor
from made_shards import PLACE, made_suite, write_files

from nightboard.profiles.models.board import Organizations
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.suite import Benchmark, Suite
from nightboard.profiles.models.watchlist import WatchList
from nightboard.profiles.suite_version import resolve_suite
from nightboard.tasks.evaluation.outputs import finish_benchmark
from nightboard.tasks.planning.history import read_history
from nightboard.tasks.planning.plan import PlanInputs, RequestedCommit, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.collect import collect_attempt
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.store.declarations import declare
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import AttemptSpec, Commit, Outcome, ResolvedSuite, as_row
from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.schema.lake_tables import COMMITS

CLUSTER = Cluster(cluster="c", executor="local", tiers=(Tier(name="cpu", up_to_params_b=10),))
WATCH = WatchList(watchlist="all", organizations=("lab",))
SUITE = made_suite()


def change(suite: Suite = SUITE, **benchmarks: Any) -> Suite:
    """The suite with changes to benchmarks by name: a dictionary of fields, or None to take one away."""
    found: dict[str, Benchmark] = {}
    for name, benchmark in suite.benchmarks.items():
        if (changes := benchmarks.get(name, {})) is not None:
            found[name] = Benchmark.model_validate(benchmark.model_dump() | changes)
    return suite.model_copy(update={"benchmarks": found})


def with_bounds(bound: float) -> Suite:
    """The suite whose tasks have a score of random guessing."""
    tasks = {name: benchmark.model_dump()["tasks"] for name, benchmark in SUITE.benchmarks.items()}
    for of_benchmark in tasks.values():
        for task in of_benchmark.values():
            task["lower_bound"] = bound
    return change(**{name: {"tasks": of_benchmark} for name, of_benchmark in tasks.items()})


@dataclass
class Nights:
    """A store, and the nights on it. `ran`: the benchmarks that each night has run, by model."""

    root: Path
    ran: list[dict[str, list[str]]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    _hours: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    def plan(
        self,
        suite: Suite,
        *commits: Commit,
        unavailable: dict[str, str] | None = None,
        requested: Sequence[RequestedCommit] = (),
    ) -> Plan:
        return self._plan(self._resolve(suite, unavailable), commits, requested)

    def night(
        self,
        suite: Suite,
        *names: str | Commit,
        unavailable: dict[str, str] | None = None,
        requested: Sequence[RequestedCommit] = (),
    ) -> Plan:
        """Plan, run and collect; models are named, or commits."""
        plan = self.start(suite, *names, unavailable=unavailable, requested=requested)
        self.finish(plan)
        return plan

    def start(
        self,
        suite: Suite,
        *names: str | Commit,
        unavailable: dict[str, str] | None = None,
        requested: Sequence[RequestedCommit] = (),
    ) -> Plan:
        """Plan and launch."""
        now = NOW + timedelta(hours=next(self._hours))
        commits = [make_commit(f"lab/{name}") if isinstance(name, str) else name for name in names]
        resolved = self._resolve(suite, unavailable)
        for commit in (*commits, *(each.commit for each in requested)):
            path = self.store.lake / COMMITS.name / f"{commit.model_id.replace('/', '--')}.parquet"
            write_parquet(path, COMMITS, [as_row(commit)])
        declare(self.store, [resolved], Organizations(organizations={}), now)
        plan = self._plan(resolved, commits, requested)
        launcher = Launcher(
            self.store, "board", CLUSTER, FakeExecutor(), {each.evaluation_id: each for each in plan.evaluations},
            {resolved.version: resolved}, {each.evaluation_id: each for each in plan.shards},
            plan.requests,
        )  # fmt: skip
        self.ran.append({})
        if plan.jobs:
            launcher.launch(plan.jobs, now)
        return plan

    def finish(self, plan: Plan) -> None:
        """Run and collect what a plan has launched."""
        now = NOW + timedelta(hours=next(self._hours))
        for job in plan.jobs:
            for shard in job.attempts:
                folder = self.store.attempt_dir(shard.evaluation_id, shard.shard.name, shard.number)
                self._run(folder, now)
                assert collect_attempt(self.store, folder, now).is_scored

    def _resolve(self, suite: Suite, unavailable: dict[str, str] | None) -> ResolvedSuite:
        pinned, version = resolve_suite(suite, {}, unavailable or {})
        return ResolvedSuite(suite=pinned, version=version, unavailable=unavailable or {})

    def _plan(self, suite: ResolvedSuite, commits: Any, requested: Sequence[RequestedCommit] = ()) -> Plan:
        history = read_history(self.store, [suite])
        return make_plan(PlanInputs("board", WATCH, [suite], CLUSTER, commits, history, NOW, requested=requested))

    def _run(self, folder: Path, now: Any) -> None:
        """What a node does, of made-up answers."""
        spec, end = AttemptSpec.read(folder / "spec.json"), now + timedelta(minutes=1)
        for name in spec.planned.shard.benchmarks:
            work = self.store.work_dir(spec.evaluation.evaluation_id, spec.planned.shard.name) / name
            work.mkdir(parents=True)
            write_files(work, spec.suite.suite, spec.planned.shard, name, {})
            finish_benchmark(work, spec, name, PLACE, now, end)
        outcome = Outcome(state="completed", job_id="1_0", started_at=now, ended_at=end)
        (folder / "outcome.json").write_bytes(outcome.to_bytes())
        self.ran[-1].setdefault(spec.evaluation.model_id, []).extend(spec.planned.shard.benchmarks)
        self.folders.append(folder)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over what the store has now."""
        return ask_lake(self.store.lake, sql)

    def ranking(self) -> list[tuple[str, str, float]]:
        rows = self.ask("select model_id, era, average from leaderboard order by model_id")
        return [(model, era, round(average, 6)) for model, era, average in rows]
