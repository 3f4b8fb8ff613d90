"""Checks that lm-eval's tasks are as the suite declares: dataset revision, shots, length of answers, splitting.

Works on lm-eval's objects without importing it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightboard.profiles.models.suite import Benchmark
from nightboard.tasks.evaluation.validate import OutputError

# lm-eval's function for the mean: what the parts of a benchmark are joined by.
_MEAN = ("lm_eval.api.metrics", "mean")


@dataclass(frozen=True)
class SuiteTasks:
    """lm-eval's task index for one benchmark; `wanted` are the tasks that are run, `is_cut` when not all of them whole.

    Stands in for a TaskManager in `simple_evaluate`, so that tasks are checked within the one load that counts: a load
    beside it would move the random state that GPQA shuffles its choices by.
    """

    index: Any
    benchmark: Benchmark
    wanted: Collection[str]
    is_cut: bool

    @property
    def task_index(self) -> Any:
        return self.index.task_index

    def load(self, names: list[str]) -> Any:
        """Load as TaskManager does; OutputError says which tasks are not as declared, before anything is run."""
        loaded = self.index.load(names)
        reasons = [reason for name, task in loaded["tasks"].items() for reason in self._settle(name, task)]
        reasons += [
            f"{name}: lm-eval's {self.benchmark.group} has no such task."
            for name in self.wanted
            if name not in loaded["tasks"]
        ]
        if reasons:
            raise OutputError(reasons)
        return loaded

    def _settle(self, name: str, task: Any) -> Iterator[str]:
        """Set shots and answer length where the suite declares others than the task; yields what cannot be set."""
        yield from self._check_dataset(name, task)
        yield from _check_documents(name, task)
        if self.is_cut:
            yield from _check_cut(name, task, self.benchmark.shots)
        wanted, shots = self.benchmark.shots, task.get_config("num_fewshot")
        if shots == 0 and wanted:
            yield f"{name}: lm-eval allows no few-shot examples here (the suite declares {wanted})."
        elif shots != wanted:
            task.set_config("num_fewshot", wanted)
        settings, longest = task.get_config("generation_kwargs") or {}, self.benchmark.max_new_tokens
        if task.get_config("output_type") == "generate_until" and longest not in (None, settings.get("max_gen_toks")):
            # A copy: tasks of one index share what their YAML files share.
            task.set_config("generation_kwargs", {**settings, "max_gen_toks": longest})

    def _check_dataset(self, name: str, task: Any) -> Iterator[str]:
        """The last word on the revision: the folder that the documents were really read from."""
        wanted = self.benchmark.dataset
        if wanted.id != task.DATASET_PATH:
            yield f"{name}: uses the dataset {task.DATASET_PATH} (the suite declares {wanted.id})."
        for split, data in task.dataset.items():
            revisions = {Path(file["filename"]).parent.name for file in data.cache_files}
            if revisions != {wanted.sha}:
                revision = ", ".join(sorted(revisions)) or "none"
                yield f"{name}: split {split} is of revision {revision} (the suite declares {wanted.sha})."


def _check_cut(name: str, task: Any, shots: int) -> Iterator[str]:
    """What would give a document another prompt, or a task another score, when only some documents are run at a time.

    Fixed few-shot examples are not enough: lm-eval's own sampler draws from those, too.
    """
    sampler = getattr(task.config.fewshot_config, "sampler", None)
    if shots and sampler != "first_n":
        yield f"{name}: its few-shot examples are drawn at random ({sampler or 'default'}), so it cannot be split."
    if task.config.process_docs is not None and not _is_steady(task):
        yield f"{name}: makes its documents with random numbers, so it cannot be split."
    for metric, aggregate in task.aggregation().items():
        function = getattr(aggregate, "__module__", None), getattr(aggregate, "__name__", str(aggregate))
        if function != _MEAN:
            yield f"{name}: {metric} is not a mean over documents but {function[1]}, so it cannot be split."


def _is_steady(task: Any) -> bool:
    """Whether the documents are the same under another random state."""
    split = task.dataset[task.config.test_split or task.config.validation_split]
    with _another_random_state():
        # From memory, so that nothing is read back from a cache of what was made before.
        made = task.config.process_docs(split.select(range(len(split)), keep_in_memory=True))
    return list(made) == list(task.eval_docs)


@contextmanager
def _another_random_state() -> Iterator[None]:
    """Python's and numpy's random numbers are others meanwhile, and go on as before afterwards."""
    import numpy as np  # comes with lm-eval; where nothing is evaluated it is not needed

    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        random.seed("another state")
        np.random.seed(random.randrange(2**32))
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


def _check_documents(name: str, task: Any) -> Iterator[str]:
    """lm-eval makes the documents twice, for prompts and for scores, and relies on a cache for them to be the same."""
    if task.config.process_docs is not None and list(task.eval_docs) != list(task.task_docs):
        yield f"{name}: its documents change each time they are read, so answers would be scored against others."
