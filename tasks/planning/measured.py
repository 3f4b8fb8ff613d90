"""Decides which benchmarks of a suite are already measured, and by which evaluation, so that they are not run again.

Pure. A benchmark is measured if the numbers of its score are stored and were measured as the suite now declares. The
version of lm-eval and the commit of a dataset do not count: scores with others are ranked separately, and whether to
update them is the operator's decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightboard.profiles.declared_rows import describe_measurement
from nightboard.profiles.models.suite import Suite
from nightboard.tasks.planning.history import Done, Measurement, Number
from nightboard.tasks.store.records import Evaluation, ResolvedSuite


@dataclass(frozen=True)
class _Task:
    """What a suite requires of a task."""

    task: str
    numbers: frozenset[Number]
    measurement: Measurement

    def is_in(self, entry: Done) -> bool:
        """Whether an evaluation at another version of the suite has it; what is not known of it is as asked for."""
        if entry.numbers is None or not self.numbers <= entry.numbers:
            return False
        measured, asked = entry.measurements.get(self.task), self.measurement
        if measured is None:
            return True
        is_same = measured.otherwise in (None, asked.otherwise)
        return is_same and (measured.n_samples, measured.n_shot) == (asked.n_samples, asked.n_shot)


@dataclass(frozen=True)
class Asked:
    """What a request asks for of an evaluation. `benchmarks`: none are all of the suite.

    `is_again`: a score of another version of the suite, or of a smaller `replicate`, does not serve.
    """

    benchmarks: tuple[str, ...] = ()
    is_again: bool = False
    replicate: int = 0


NOTHING_ASKED = Asked()
# Why an evaluation leaves a benchmark out that a request does not ask for.
NOT_ASKED = "not asked for"


class Wanted:
    """What a suite requires, by benchmark."""

    def __init__(self, suite: ResolvedSuite) -> None:
        self._version = suite.version
        self._tasks = {name: tuple(_list_tasks(suite.suite, name)) for name in suite.suite.benchmarks}

    def choose_sources(self, entries: Sequence[Done], asked: Asked = NOTHING_ASKED) -> dict[str, Evaluation]:
        """The evaluation to reuse each benchmark from, if any: the one with most benchmarks, then the newest.

        What is asked for again is reused only from an evaluation that answers it.
        """
        measured = [
            (self._list_measured(entry) - self._list_unanswered(entry, asked), entry.evaluation)
            for entry in reversed(entries)
        ]
        measured.sort(key=lambda pair: -len(pair[0]))
        sources = ((name, next((source for names, source in measured if name in names), None)) for name in self._tasks)
        return {name: source for name, source in sources if source is not None}

    def _list_unanswered(self, entry: Done, asked: Asked) -> frozenset[str]:
        """Benchmarks that are asked for again, and that the evaluation does not answer."""
        if not asked.is_again:
            return frozenset()
        benchmarks = frozenset(asked.benchmarks or self._tasks)
        is_answer = entry.evaluation.suite_version == self._version and entry.evaluation.replicate >= asked.replicate
        return benchmarks & entry.reused if is_answer else benchmarks

    def _list_measured(self, entry: Done) -> frozenset[str]:
        if entry.evaluation.suite_version == self._version:
            return frozenset(self._tasks) - frozenset(entry.evaluation.left_out)
        return frozenset(name for name, tasks in self._tasks.items() if all(task.is_in(entry) for task in tasks))


def _list_tasks(suite: Suite, benchmark: str) -> Iterator[_Task]:
    spec = suite.benchmarks[benchmark]
    for name, task in spec.tasks.items():
        numbers = frozenset((name, metric, spec.filter) for metric in spec.metrics)
        otherwise = describe_measurement(suite, spec, task)
        yield _Task(name, numbers, Measurement(suite.expected_samples(task), spec.shots, otherwise))
