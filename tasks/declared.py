"""Lets lm-eval run tasks only as the suite declares them.

Owns the check of loaded tasks: data set revision, shots, length of answers. Works on lm-eval's objects without
importing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightboard.profiles.models import Benchmark
from nightboard.tasks.validate import OutputError


@dataclass(frozen=True)
class DeclaredTasks:
    """lm-eval's task index for one benchmark.

    Stands in for a TaskManager in `simple_evaluate`, so that tasks are checked within the one load that counts: a load
    beside it would move the random state that GPQA shuffles its choices by.
    """

    index: Any
    benchmark: Benchmark

    @property
    def task_index(self) -> Any:
        return self.index.task_index

    def load(self, names: list[str]) -> Any:
        """Load as TaskManager does; OutputError says which tasks are not as declared, before anything is run."""
        loaded = self.index.load(names)
        reasons = [reason for name, task in loaded["tasks"].items() for reason in self._settle(name, task)]
        reasons += [
            f"{name}: lm-eval's {self.benchmark.group} has no such task."
            for name in self.benchmark.tasks
            if name not in loaded["tasks"]
        ]
        if reasons:
            raise OutputError(reasons)
        return loaded

    def _settle(self, name: str, task: Any) -> Iterator[str]:
        """Set shots and answer length where the suite declares others than the task; says what cannot be settled."""
        yield from self._check_dataset(name, task)
        yield from _check_documents(name, task)
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
            yield f"{name}: uses the data set {task.DATASET_PATH} (the suite declares {wanted.id})."
        for split, data in task.dataset.items():
            found = {Path(file["filename"]).parent.name for file in data.cache_files}
            if found != {wanted.sha}:
                revision = ", ".join(sorted(found)) or "none"
                yield f"{name}: split {split} is of revision {revision} (the suite declares {wanted.sha})."


def _check_documents(name: str, task: Any) -> Iterator[str]:
    """lm-eval makes the documents anew for the prompts and for the scores, and counts on a cache for them to agree."""
    if task.config.process_docs is not None and list(task.eval_docs) != list(task.task_docs):
        yield f"{name}: its documents change each time they are read, so answers would be scored against others."
