"""The jobs of a run that are not launched yet, longest first, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from nightboard.flows.run.prefetch import split_by_size
from nightboard.flows.run.state import RunState
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.store.records import Commit, Evaluation, Job, PlannedAttempt, ResolvedSuite


@dataclass
class JobQueue:
    """What a plan wants and is not launched yet. `launcher` launches the jobs of the last plan."""

    run: RunState
    suites: Sequence[ResolvedSuite]
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commits = self.run.board.read_commits()

    def take(self, plan: Plan) -> None:
        """Put the jobs of a plan into the queue, in place of what is there."""
        self.launcher: Launcher = self.run.board.launcher(plan, self.suites)
        self.run.add_plan(plan)
        cache_gb, ready = self.run.board.bundle.cluster.cache_gb, {suite.version for suite in self.suites}
        jobs = (_keep_shards(job, lambda planned: self.evaluation(planned).suite_version in ready) for job in plan.jobs)
        self.jobs = [
            smaller for job in jobs for smaller in split_by_size(job, self._size, cache_gb) if smaller.attempts
        ]

    def list_attempts(self) -> list[PlannedAttempt]:
        """Shards that are not launched yet."""
        return [planned for job in self.jobs for planned in job.attempts]

    def list_startable(self, avoided_tiers: Collection[str]) -> list[Job]:
        """Jobs whose tier may be used."""
        return [job for job in self.jobs if job.tier not in avoided_tiers]

    def list_models(self) -> Iterator[str]:
        """Fingerprints of the models that the queue needs."""
        return (fingerprint for job in self.jobs for fingerprint in self.models(job))

    def evaluation(self, planned: PlannedAttempt) -> Evaluation:
        return self.launcher.evaluations[planned.evaluation_id]

    def models(self, job: Job) -> dict[str, Commit]:
        """Commits by fingerprint of the models that a job runs."""
        evaluations = [self.evaluation(planned) for planned in job.attempts]
        return {each.fingerprint: self.commits[each.model_id, each.revision] for each in evaluations}

    def remove_jobs(self, jobs: Sequence[Job]) -> None:
        """Take jobs out that were launched."""
        removed = {id(job) for job in jobs}
        self.jobs = [job for job in self.jobs if id(job) not in removed]

    def remove_evaluations(self, evaluation_ids: Collection[str]) -> None:
        """Take shards out whose evaluation cannot run."""
        kept = (_keep_shards(job, lambda planned: planned.evaluation_id not in evaluation_ids) for job in self.jobs)
        self.jobs = [job for job in kept if job.attempts]

    def _size(self, planned: PlannedAttempt) -> tuple[str, float]:
        evaluation = self.evaluation(planned)
        return evaluation.fingerprint, self.commits[evaluation.model_id, evaluation.revision].size_gb or 0.0


def _keep_shards(job: Job, is_kept: Callable[[PlannedAttempt], bool]) -> Job:
    return job.model_copy(update={"attempts": tuple(planned for planned in job.attempts if is_kept(planned))})
