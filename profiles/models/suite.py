"""The suite model: benchmarks, their lm-eval tasks and datasets, few-shot counts, metrics, eras."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nightboard.profiles.models.base import Bound, ModelId, Name, Profile, Sha, Share, Text

# Generation arguments that leave decoding greedy.
GREEDY: dict[str, tuple[bool | float, ...]] = {"do_sample": (False,), "temperature": (0,)}

# --------------------------------------------------------------------------------------------------------- suites


class TaskSpec(Profile):
    """One lm-eval leaf task of a benchmark."""

    samples: int = Field(gt=0, description="documents that lm-eval scores in a full run")
    choices: int = Field(
        default=0,
        ge=0,
        description="answers to choose from; 0 if text is generated or the number differs between questions",
    )
    lower_bound: Bound = Field(default=0.0, description="score of random guessing, a fraction 0..1")
    config: str | None = Field(default=None, description="configuration (subset) of the dataset that the task loads")


class DatasetSpec(Profile):
    """The dataset of a benchmark."""

    id: ModelId
    sha: Sha | None = Field(
        default=None, description="commit to use; default: the head, pinned in the store on first use"
    )


class Benchmark(Profile):
    """A column of the leaderboard: an lm-eval group (or task), and how its tasks become one score."""

    title: Text
    group: str = Field(
        description="lm-eval group or task to call; one call each, and an attempt resumes after a finished call"
    )
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
        default=None, gt=0, description="longest generated answer; default: none is generated"
    )
    harness_data: tuple[str, ...] = Field(
        default=(), description="NLTK resources that the task needs, such as punkt_tab"
    )
    cut_documents: int | None = Field(
        default=None,
        gt=0,
        description="long evaluations may be split every so many documents; default: never."
        " Only for fixed or first_n few-shot examples",
    )
    question_field: str | None = Field(
        default=None,
        min_length=1,
        description="field of a document that holds its question, if tasks share questions; default: they share none",
    )
    independent_share: Share = Field(
        default=1.0,
        description="effective number of independent samples, as a share of all; 1 if tasks share no questions",
    )
    publish_documents: bool = Field(
        default=True,
        exclude_if=bool,  # decides nothing about a score; records have it only where it is false
        description="whether pages and exports may show questions and options; false where the authors forbid it",
    )
    tasks: dict[str, TaskSpec] = Field(min_length=1)


class Era(Profile):
    """Rows of a suite that may be ranked together: the same versions of the same tasks.

    A task that is not listed may have any version. A doc_set_hash that is not listed is taken from the era's first
    evaluation in the store.
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
        default=(), description="folders under lm_eval/tasks to index (fast); empty: all of them (slow, about 11 s)"
    )


class Suite(Profile):
    """A named set of benchmarks with all settings that decide a score. `extends:` is already applied."""

    suite: Name
    title: Text
    extends: Name | None = None
    harness: Harness
    seed: int = 1234
    limit: int | None = Field(default=None, gt=0, description="score only the first N documents of a task")
    benchmarks: dict[Name, Benchmark] = Field(min_length=1)
    eras: tuple[Era, ...] = ()
    allowed_generation: dict[str, tuple[bool | float, ...]] = Field(
        default_factory=lambda: dict(GREEDY),
        exclude=True,  # decides what of imports is ranked, and nothing about an evaluation: not in versions and records
        description="generation arguments that an imported result may have and still be ranked, with their values;"
        " default: those of greedy decoding",
    )

    def expected_samples(self, task: TaskSpec) -> int:
        """Documents that a complete evaluation scores in `task`."""
        return task.samples if self.limit is None else min(task.samples, self.limit)

    @model_validator(mode="after")
    def _check_eras(self) -> Suite:
        if self.eras and sum(era.is_current for era in self.eras) != 1:
            raise ValueError(
                f"eras: exactly one must be current (got {sum(era.is_current for era in self.eras)})."
                " Set is_current: true on one era."
            )
        return self
