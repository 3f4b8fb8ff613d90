"""Matches a samples file to its results file. Never guesses: a file that could belong to two is matched to none.

The time in both names decides; before lm-eval 0.4.3, the model's arguments. If either file was renamed, the content
must prove that both are of the same run. Reads no file itself.
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
    """An imported results file, with the facts that its samples are matched and checked by."""

    file: Path
    evaluation_id: str
    arguments_name: str | None
    suite: Suite | None
    tasks: Mapping[str, TaskFacts]

    @property
    def stamp(self) -> str | None:
        """The time in its name; None for a renamed file, or one from before lm-eval 0.4.3."""
        match = STAMP.search(self.file.name)
        return match[0] if match else None


@dataclass(frozen=True)
class Match:
    """The run and task of a samples file."""

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
        """The run of a samples file, or a text why there is none. `is_proven` compares the content of both."""
        matches = self._match_names(file)
        if len(matches) == 1:
            return matches[0]
        proven = _distinct(match for match in matches or self._list_renamed(file) if is_proven(match))
        if len(proven) == 1:
            return proven[0]
        names = ", ".join(sorted({match.run.file.name for match in proven or matches}))
        if names:
            return f"could belong to several results files ({names}), so it is not imported."
        return "has no results file of the same run among the given files. Give the paths of both in one command."

    def _match_names(self, file: Path) -> Sequence[Match]:
        """Runs that match by the names of both files; the same folder comes before others."""
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
        """Candidates in the same folder, if one of the two files has no time in its name."""
        stamped = _STAMPED.fullmatch(file.stem)
        runs = [run for run in self._by_folder[file.parent] if stamped is None or run.stamp is None]
        if stamped is not None:
            return [Match(run, stamped["task"]) for run in runs if stamped["task"] in run.tasks]
        named = (Match(run, task) for run in runs for task in _tasks_named(file, run))
        return [match for match in named if match.task == max(_tasks_named(file, match.run), key=len)]


def _tasks_named(file: Path, run: ResultsRun) -> list[str]:
    """Users add to a name, before the task and after it."""
    return [task for task in run.tasks if task in file.stem]


def _distinct(matches: Iterable[Match]) -> list[Match]:
    """One match per evaluation: copies of a results file are the same evaluation."""
    return list({match.run.evaluation_id: match for match in matches}.values())
