"""The typed form of every profile: what an operator declares, and nothing that was computed.

Owns the shape of suites, clusters, watch lists, organisations and boards. Reads no file (`load.py` does) and
knows nothing of the warehouse: what is declared here reaches SQL as rows.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nightboard.profiles.models.base import Bound, ModelId, Name, Profile, Sha, Share, Text

# --------------------------------------------------------------------------------------------------------- suites


class TaskSpec(Profile):
    """One lm-eval leaf task of a benchmark."""

    samples: int = Field(gt=0, description="documents that lm-eval scores in a full run")
    choices: int = Field(
        default=0,
        ge=0,
        description="answers to choose from; 0 where text is generated or the number differs by question",
    )
    lower_bound: Bound = Field(default=0.0, description="score of random guessing, a fraction 0..1")
    config: str | None = Field(default=None, description="configuration (subset) of the data set that the task loads")


class DatasetSpec(Profile):
    """The data set a benchmark is made of."""

    id: ModelId
    sha: Sha | None = Field(
        default=None, description="commit to use; left out: the head, pinned in the store on first use"
    )


class Benchmark(Profile):
    """A column of the leaderboard: an lm-eval group (or task), and how its tasks become one score."""

    title: Text
    group: str = Field(description="lm-eval group or task that is called; the unit of a call and of resuming")
    dataset: DatasetSpec
    shots: int = Field(ge=0)
    metrics: tuple[str, ...] = Field(min_length=1, description="lm-eval metrics whose mean is a task's score")
    filter: str = "none"
    aggregate: Literal["mean", "pooled"] = Field(description="mean: unweighted over tasks; pooled: weighted by samples")
    normalize: Literal["task", "benchmark"] = Field(description="where the baseline is subtracted: per task, or once")
    lower_bound: Bound = Field(
        default=0.0, description="baseline of the whole benchmark, used with normalize: benchmark"
    )
    max_new_tokens: int | None = Field(
        default=None, gt=0, description="longest generated answer; none: nothing is generated"
    )
    harness_data: tuple[str, ...] = Field(
        default=(), description="nltk resources that the task needs, such as punkt_tab"
    )
    cut_documents: int | None = Field(
        default=None,
        gt=0,
        description="long evaluations may be cut every so many documents; none: never. Only for fixed or first_n shots",
    )
    question_field: str | None = Field(
        default=None,
        min_length=1,
        description="field of a document that tells its question, where tasks share questions; none: they share none",
    )
    independent_share: Share = Field(
        default=1.0,
        description="how much of the samples is worth as independent ones: 1 where tasks share no questions",
    )
    tasks: dict[str, TaskSpec] = Field(min_length=1)


class Era(Profile):
    """Rows of a suite that may be ranked together: the same versions of the same tasks.

    A task that is not listed may have any version. A doc_set_hash that is not listed is the one of the era's
    first evaluation in the store.
    """

    name: Name
    is_current: bool = False
    since: str | None = Field(default=None, description="when the leaderboard moved to it, ISO date")
    task_versions: dict[str, str] = Field(default_factory=dict)
    shots: dict[str, int] = Field(default_factory=dict)
    doc_set_hashes: dict[str, str] = Field(default_factory=dict)


class Harness(Profile):
    """The lm-eval that runs the suite."""

    version: str
    task_folders: tuple[str, ...] = Field(
        default=(), description="folders under lm_eval/tasks to index (fast); empty: all of them (about 11 s)"
    )


class Suite(Profile):
    """A named set of benchmarks with everything that decides a score. `extends:` is already applied."""

    suite: Name
    title: Text
    extends: Name | None = None
    harness: Harness
    seed: int = 1234
    limit: int | None = Field(default=None, gt=0, description="score only the first N documents of a task")
    benchmarks: dict[Name, Benchmark] = Field(min_length=1)
    eras: tuple[Era, ...] = ()

    def expected_samples(self, task: TaskSpec) -> int:
        """Documents that a complete evaluation scores in `task`."""
        return task.samples if self.limit is None else min(task.samples, self.limit)

    @model_validator(mode="after")
    def _check_eras(self) -> Suite:
        if self.eras and sum(era.is_current for era in self.eras) != 1:
            raise ValueError("eras: exactly one must be current (got another number). Set is_current: true on one era.")
        return self
