"""Decides which results file a samples file belongs to. Never guesses: what could belong to two belongs to none.

The time in both names decides; before lm-eval 0.4.3 it is the model's arguments. Where an owner renamed either file,
its content must show that the two are of one run. Reads no file itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.imports.lm_eval_model import STAMP
from nightboard.tasks.imports.lm_eval_results import TaskFacts

_STAMPED = re.compile(rf"samples_(?P<task>.+)_(?P<stamp>{STAMP.pattern})")


@dataclass(frozen=True)
class ResultsRun:
    """A results file that is imported, as far as its samples are found and judged by it."""

    file: Path
    evaluation_id: str
    arguments_name: str | None
    suite: Suite | None
    tasks: Mapping[str, TaskFacts]

    @property
    def stamp(self) -> str | None:
        """The time in its name; None for a file that was renamed, or is older than such names."""
        found = STAMP.search(self.file.name)
        return found[0] if found else None


@dataclass(frozen=True)
class Match:
    """The run and task that a samples file is of."""

    run: ResultsRun
    task: str


Proof = Callable[[Match], bool]


class RunIndex:
    """Runs by time and by folder."""

    def __init__(self, runs: Iterable[ResultsRun]) -> None:
        self._by_stamp: dict[str, list[ResultsRun]] = defaultdict(list)
        self._by_folder: dict[Path, list[ResultsRun]] = defaultdict(list)
        for run in runs:
            self._by_folder[run.file.parent].append(run)
            if run.stamp is not None:
                self._by_stamp[run.stamp].append(run)

    def match(self, file: Path, is_proven: Proof) -> Match | str:
        """The run of a samples file, or why there is none, in words. `is_proven` looks at the content of both."""
        found = self._match_names(file)
        if len(found) == 1:
            return found[0]
        proven = _distinct(match for match in found or self._list_renamed(file) if is_proven(match))
        if len(proven) == 1:
            return proven[0]
        names = ", ".join(sorted({match.run.file.name for match in proven or found}))
        if names:
            return f"could belong to several results files ({names}), so it is left with none."
        return "there is no results file of the same run among the files given; give the paths of both together."

    def _match_names(self, file: Path) -> Sequence[Match]:
        """Runs that the names of both files tell; the same folder comes before others."""
        stamped = _STAMPED.fullmatch(file.stem)
        if stamped is None:
            return _distinct(
                Match(run, task)
                for run in self._by_folder[file.parent]
                for task in run.tasks
                if run.arguments_name is not None and file.stem == f"{run.arguments_name}_{task}"
            )
        task = stamped["task"]
        matches = [Match(run, task) for run in self._by_stamp[stamped["stamp"]] if task in run.tasks]
        beside = [match for match in matches if match.run.file.parent == file.parent]
        return _distinct(beside or matches)

    def _list_renamed(self, file: Path) -> Sequence[Match]:
        """Runs in the same folder that may be of the same run, where one of the two files has no time in its name."""
        stamped = _STAMPED.fullmatch(file.stem)
        runs = [run for run in self._by_folder[file.parent] if stamped is None or run.stamp is None]
        if stamped is not None:
            return [Match(run, stamped["task"]) for run in runs if stamped["task"] in run.tasks]
        named = (Match(run, task) for run in runs for task in run.tasks if file.stem.endswith(task))
        return [match for match in named if match.task == max(_tasks_named(file, match.run), key=len)]


def _tasks_named(file: Path, run: ResultsRun) -> list[str]:
    return [task for task in run.tasks if file.stem.endswith(task)]


def _distinct(matches: Iterable[Match]) -> list[Match]:
    """One match an evaluation: copies of a results file are the same."""
    return list({match.run.evaluation_id: match for match in matches}.values())
