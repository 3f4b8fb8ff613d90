"""A SLURM made of a few lists: arrays with throttles, jobs that end as a test wants, and what was asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fake_cluster import dead_process

from nightboard.tasks.cluster.executor import Call, ClusterAway, ExecutorError, JobReport, Resources, Started
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.records import AttemptOwner, AttemptSpec, Outcome, Submission

Ends = Callable[[AttemptSpec], str]
"""How the attempt of a spec ends: an outcome's state, or SLURM's word for a job that leaves none or still runs."""


@dataclass
class Array:
    name: str
    gpus: int
    throttle: int
    calls: Sequence[Call]
    states: list[str]
    excluded: str = ""
    nodes: dict[int, str] = field(default_factory=dict)

    @property
    def running(self) -> int:
        return self.states.count("RUNNING")


@dataclass
class SimulatedSlurm:
    """Time goes on with `step`: what runs ends as `ends` says, then what may starts.

    A job gets the first node that is not excluded; on those of `broken` it fails for its environment.
    """

    name: str = "slurm"
    ends: Ends = lambda spec: "completed"
    arrays: list[Array] = field(default_factory=list)
    is_away: bool = False
    refusal: str | None = None
    polls: int = 0
    most_gpus: int = 0
    begun: list[tuple[str, int]] = field(default_factory=list)
    nodes: Sequence[str] = ("gpu1",)
    broken: set[str] = field(default_factory=set)
    waits: JobReport | None = None

    def max_array_size(self) -> int | None:
        return 1000

    def submit(
        self, folder: Path, name: str, calls: Sequence[Call], resources: Resources, parallelism: int | None
    ) -> list[Started]:
        if self.refusal:
            raise ExecutorError(self.refusal)
        if self.is_away:
            raise ClusterAway("no answer")
        if not self._node(resources.options.exclude or ""):
            raise ExecutorError("sbatch: Requested node configuration is not available")
        gpus = resources.gpus * resources.nodes
        self.arrays.append(Array(name, gpus, parallelism or len(calls), calls, ["PENDING"] * len(calls)))
        self.arrays[-1].excluded = resources.options.exclude or ""
        return [Started(job_id, None) for job_id in self._ids(len(self.arrays) - 1)]

    def _node(self, excluded: str) -> str | None:
        return next((node for node in self.nodes if node not in excluded.split(",")), None)

    def exclude_nodes(self, job_ids: Sequence[str], nodes: str) -> None:
        for number in {int(job_id.partition("_")[0]) for job_id in job_ids}:
            self.arrays[number - 1].excluded = nodes

    def _ids(self, number: int) -> list[str]:
        count = len(self.arrays[number].calls)
        return [str(number + 1)] if count == 1 else [f"{number + 1}_{index}" for index in range(count)]

    def poll(self, submissions: Sequence[Submission], now: datetime) -> Mapping[str, JobReport] | None:
        self.polls += 1
        if self.is_away:
            return None
        states = {
            job_id: self._report(state, array)
            for number, array in enumerate(self.arrays)
            for job_id, state in zip(self._ids(number), array.states, strict=True)
        }
        return {job_id: states[job_id] for each in submissions for job_id in each.job_ids if job_id}

    def _report(self, state: str, array: Array) -> JobReport:
        if state == "PENDING" and not self._node(array.excluded):
            return JobReport(state, is_over=False, waits_for="BadConstraints")
        return self.waits if state == "PENDING" and self.waits else _report(state)

    def find(self, folder: Path, name: str, calls: Sequence[Call]) -> list[Started] | None:
        if self.is_away:
            raise ClusterAway("no answer")
        numbers = [number for number, array in enumerate(self.arrays) if array.name == name]
        return [Started(job_id, None) for job_id in self._ids(numbers[0])] if numbers else None

    def cancel(self, submission: Submission, indexes: Sequence[int]) -> None:
        raise AssertionError("nothing is cancelled")

    def set_parallelism(self, job_ids: Sequence[str], parallelism: int) -> None:
        numbers = {int(job_id.partition("_")[0]) for job_id in job_ids}
        assert parallelism > 0, "SLURM takes 0 for no bound"
        for number in numbers:
            self.arrays[number - 1].throttle = parallelism

    def step(self) -> None:
        for array in self.arrays:
            for index, state in enumerate(array.states):
                if state == "RUNNING":
                    array.states[index] = self._end(array.calls[index], array.nodes[index])
        for array in self.arrays:
            for index, state in enumerate(array.states):
                node = None if self.waits else self._node(array.excluded)
                if state == "PENDING" and node and array.running < array.throttle:
                    array.states[index], array.nodes[index] = "RUNNING", node
        self.most_gpus = max(self.most_gpus, sum(array.running * array.gpus for array in self.arrays))

    def _end(self, call: Call, node: str) -> str:
        """The job's state in SLURM. A job that is killed leaves no outcome."""
        for folder in map(Path, call.arguments[1]):
            spec, now = AttemptSpec.read(folder / "spec.json"), datetime.now(UTC)
            if (folder / "outcome.json").exists():
                continue
            owner = AttemptOwner(kind="job", process=dead_process(), job_id="7", at=now)
            if claim_file(folder / "owner.1.json", owner.to_bytes()):
                self.begun.append((spec.evaluation.model_id, spec.planned.number))
            state = "environment" if node in self.broken else self.ends(spec)
            if state in ("RUNNING", "NODE_FAIL", "PREEMPTED"):
                return state
            outcome = {"state": state, "reason": "as the test wants", "started_at": now, "ended_at": now, "node": node}
            claim_file(folder / "outcome.json", Outcome.model_validate(outcome).to_bytes())
        return "COMPLETED"


def _report(state: str) -> JobReport:
    endings = {"NODE_FAIL": "node_fail", "PREEMPTED": "preempted"}
    is_over = state in ("COMPLETED", *endings)
    return JobReport(state, is_over=is_over, ending=endings.get(state), reason=None, node="gpu1")  # type: ignore[arg-type]
