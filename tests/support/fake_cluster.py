"""A cluster that says what a test wants, and launches on it, for tests of what flows find in a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from builders import NOW, make_suite

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.tasks.cluster.executor import Call, ClusterAway, Executor, ExecutorError, JobReport, Resources, Started
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import (
    AttemptOwner,
    Evaluation,
    EvaluationShards,
    Job,
    Launch,
    Outcome,
    PlannedAttempt,
    ProcessId,
    ResolvedSuite,
    Shard,
    Submission,
)


class FakeExecutor:
    """Records what is submitted, and says of every job what `report` is; None: the cluster does not answer."""

    def __init__(self, name: str = "local") -> None:
        self.name = name
        self.calls: list[Call] = []
        self.resources: list[Resources] = []
        self.report: JobReport | None = JobReport(state="RUNNING", is_over=False)
        self.error: BaseException | None = None
        self.by_name: dict[str, list[Started]] = {}
        self.is_away = False
        self.polls = 0

    def max_array_size(self) -> int | None:
        return None

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        started = [Started(job_id=f"{len(self.by_name) + 1}_{index}", process=None) for index in range(len(calls))]
        if not isinstance(self.error, ExecutorError) or isinstance(self.error, ClusterAway):
            self.by_name[name] = started
            self.calls += calls
        self.resources.append(resources)
        if self.error:
            raise self.error
        return started

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport] | None:
        self.polls += 1
        if self.report is None:
            return None
        return {job_id: self.report for each in submissions for job_id in each.job_ids if job_id}

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started] | None:
        if self.is_away:
            raise ClusterAway("no answer")
        return self.by_name.get(name)

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        raise AssertionError("reconciling cancels nothing")

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        raise AssertionError("reconciling throttles nothing")

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        raise AssertionError("reconciling excludes nothing")


GONE = JobReport(state="UNKNOWN", is_over=True, ending="interrupted")
NOBODY_KNOWS = JobReport(state="UNKNOWN", is_over=None)


def make_evaluation(name: str) -> Evaluation:
    return Evaluation(
        evaluation_id=name,
        suite="small",
        suite_version="v1",
        model_id=f"lab/{name}",
        revision="1" * 40,
        fingerprint=name,
        precision="float32",
        chat_template=False,
        fewshot_as_multiturn=False,
        harness_version="0.4.13",
    )


WHOLE = Shard(benchmarks=("bbh",))


def make_job(*names: str, attempt: int = 1, time_min: int = 600) -> Job:
    shards = tuple(
        PlannedAttempt(evaluation_id=n, shard=WHOLE, number=attempt, batch_size=1, estimate_s=1) for n in names
    )
    return Job(tier="cpu", attempts=shards, gpus=0, time_min=time_min)


def make_launcher(store: Store, executor: Executor, suite: ResolvedSuite | None = None) -> Launcher:
    tier = Tier(name="cpu", up_to_params_b=10)
    return Launcher(
        store=store,
        board="test",
        cluster=Cluster.model_validate({"cluster": "test", "executor": executor.name, "tiers": (tier,)}),
        executor=executor,
        evaluations={name: make_evaluation(name) for name in "abc"},
        suites={"v1": suite or make_suite()},
        shards={name: EvaluationShards(evaluation_id=name, shards=(WHOLE,)) for name in "abc"},
    )


def dead_process() -> ProcessId:
    return current_process().model_copy(update={"pid": 2**22 - 1})


def take_as_job(store: Store, name: str, process: ProcessId) -> None:
    owner = AttemptOwner(kind="job", process=process, job_id="7", at=NOW)
    assert claim_file(store.attempt_dir(name, "all", 1) / "owner.1.json", owner.to_bytes())


def finish(store: Store, name: str, state: str, reason: str | None = None) -> None:
    outcome = Outcome.model_validate({"state": state, "reason": reason, "started_at": NOW, "ended_at": NOW})
    claim_file(store.attempt_dir(name, "all", 1) / "outcome.json", outcome.to_bytes())


def pretend_launcher_is(store: Store, process: ProcessId) -> None:
    for path in store.launches.glob("*/launch.json"):
        launch = Launch.read(path)
        path.write_bytes(launch.model_copy(update={"launcher": process}).to_bytes())
