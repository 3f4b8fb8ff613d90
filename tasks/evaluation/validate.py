"""Validates the contents of lm-eval's results and samples files of a benchmark against the suite.

Reports all problems at once, with file and line. Success is validated output, never an exit code. Reads only files,
not lm-eval's code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.check_answers import Answers
from nightboard.tasks.evaluation.sharding import task_ranges
from nightboard.tasks.store.records import Shard

RESULTS = "results.json"
# lm-eval sums in another order than we do; a wrong or missing document moves a mean by far more.
_MEAN_TOLERANCE = 1e-9
_NOT_FINITE = (
    "The model computes NaN or infinity: its weights are broken, or too large for this precision (bfloat16 and float32"
    " hold more than float16)."
)


class OutputError(Exception):
    """What lm-eval left is not what the suite declares; `reasons` has everything that is wrong."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Score:
    """A number that lm-eval reports for a leaf task. `stderr` is None where it gives none."""

    metric: str
    filter: str
    value: float
    stderr: float | None


@dataclass(frozen=True)
class TaskOutput:
    """A leaf task that passed all checks."""

    task: str
    task_version: str
    n_shot: int
    n_samples: int
    task_hash: str | None
    not_finite_answers: int
    empty_answers: int
    only_answer: str | None
    doc_hashes: tuple[str, ...]
    scores: tuple[Score, ...]

    @property
    def doc_set_hash(self) -> str:
        """Hash over the ordered documents and targets."""
        return hash_documents(self.doc_hashes)


@dataclass(frozen=True)
class BenchmarkOutput:
    """A benchmark that passed all checks."""

    tasks: tuple[TaskOutput, ...]
    chat_template_hash: str | None


def samples_file(task: str) -> str:
    """Name of a task's samples file in a benchmark's folder."""
    return f"samples_{task}.jsonl"


@dataclass(frozen=True)
class _Expected:
    """What the suite declares of a task."""

    task: str
    documents: range
    n_documents: int
    n_shot: int
    metrics: tuple[str, ...]
    filter: str

    @property
    def n_samples(self) -> int:
        return len(self.documents)


@dataclass
class _Samples:
    """What a samples file holds: document ids per filter; hashes, metric values and answers at the declared filter."""

    doc_ids: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    hashes: dict[int, str] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers: Answers = field(default_factory=Answers)


def read_outputs(folder: Path, suite: Suite, shard: Shard, benchmark: str, *, is_templated: bool) -> BenchmarkOutput:
    """Check results.json and the samples files in `folder` against the suite; OutputError names all that is wrong.

    A shard that covers some documents of the benchmark must have exactly these.
    """
    reasons: list[str] = []
    results = _read_results(folder / RESULTS, reasons)
    declared = suite.benchmarks[benchmark]
    tasks = []
    for task, (first, stop) in task_ranges(suite, shard, benchmark).items():
        n_documents = declared.tasks[task].samples
        expected = _Expected(task, range(first, stop), n_documents, declared.shots, declared.metrics, declared.filter)
        samples = _read_samples(folder / samples_file(task), expected, reasons)
        if results is not None:
            tasks.append(_check_task(results, samples, expected, reasons))
    template = _check_template(results or {}, is_templated, reasons) if results is not None else None
    if reasons:
        raise OutputError(reasons)
    return BenchmarkOutput(tuple(task for task in tasks if task is not None), template)


def _read_results(path: Path, reasons: list[str]) -> dict[str, Any] | None:
    try:
        results = json.loads(path.read_bytes())
    except OSError as error:
        reasons.append(f"{path.name}: lm-eval did not save it ({error.strerror}).")
    except ValueError as error:
        reasons.append(f"{path.name}: not readable to its end, it was cut off or damaged ({error}).")
    else:
        if isinstance(results, dict):
            return results
        reasons.append(f"{path.name}: not an object (got {type(results).__name__}).")
    return None


def _check_template(results: dict[str, Any], is_templated: bool, reasons: list[str]) -> str | None:
    reported = results.get("chat_template_sha")
    if is_templated != (reported is not None):
        expected = "a chat template applied" if is_templated else "no chat template"
        reasons.append(f"{RESULTS}: chat_template_sha: the evaluation asks for {expected} (got {reported}).")
    return str(reported) if reported is not None else None


def _check_task(
    results: dict[str, Any], samples: _Samples | None, expected: _Expected, reasons: list[str]
) -> TaskOutput | None:
    task, before = expected.task, len(reasons)
    reported = _section(results, "results").get(task)
    if not isinstance(reported, dict):
        reasons.append(f"{RESULTS}: results.{task}: the task is missing; lm-eval did not run it.")
        return None
    _check_counts(results, expected, reasons)
    scores = _read_scores(reported, expected, reasons)
    if samples is not None:
        _check_means(scores, samples, expected, reasons)
    version = _section(results, "versions").get(task)
    if version is None:
        reasons.append(f"{RESULTS}: versions.{task}: the task's version is missing.")
    if samples is None or len(reasons) > before:
        return None
    return TaskOutput(
        task=task,
        task_version=str(version),
        n_shot=expected.n_shot,
        n_samples=expected.n_samples,
        task_hash=_section(results, "task_hashes").get(task),
        not_finite_answers=samples.answers.n_not_finite,
        empty_answers=samples.answers.n_empty,
        only_answer=samples.answers.only,
        doc_hashes=tuple(samples.hashes[doc_id] for doc_id in sorted(samples.hashes)),
        scores=tuple(scores.values()),
    )


def _section(results: dict[str, Any], key: str) -> dict[str, Any]:
    section = results.get(key)
    return section if isinstance(section, dict) else {}


def _check_counts(results: dict[str, Any], expected: _Expected, reasons: list[str]) -> None:
    counts = _section(_section(results, "n-samples"), expected.task)
    reported = counts.get("effective"), counts.get("original"), _section(results, "n-shot").get(expected.task)
    wanted = expected.n_samples, expected.n_documents, expected.n_shot
    keys = f"n-samples.{expected.task}.effective", f"n-samples.{expected.task}.original", f"n-shot.{expected.task}"
    nouns = "scored documents", "documents in the dataset", "few-shot examples"
    for key, want, got, noun in zip(keys, wanted, reported, nouns, strict=True):
        if want != got:
            reasons.append(f"{RESULTS}: {key}: the suite declares {want} {noun} (got {got}).")


def _read_scores(reported: dict[str, Any], expected: _Expected, reasons: list[str]) -> dict[tuple[str, str], Score]:
    """All numbers of a task. A standard error may be `N/A`; any other value that is no finite number is refused."""
    scores = {}
    for key, value in reported.items():
        metric, comma, chosen = key.rpartition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = reported.get(f"{metric}_stderr,{chosen}")
        stderr = None if stderr == "N/A" else stderr
        is_wrong = {
            key: not _is_finite(value),
            f"{metric}_stderr,{chosen}": stderr is not None and not _is_finite(stderr),
        }
        if not any(is_wrong.values()):
            scores[metric, chosen] = Score(metric, chosen, float(value), None if stderr is None else float(stderr))
        for name in (name for name, wrong in is_wrong.items() if wrong):
            reasons.append(f"{RESULTS}: results.{expected.task}.{name}: not a finite number (got {reported[name]!r}).")
    for metric in expected.metrics:
        if f"{metric},{expected.filter}" not in reported:
            reasons.append(
                f"{RESULTS}: results.{expected.task}.{metric},{expected.filter}: the declared metric is missing "
                f"(got {', '.join(key for key in reported if ',' in key) or 'none'})."
            )
    return scores


def _check_means(
    scores: dict[tuple[str, str], Score], samples: _Samples, expected: _Expected, reasons: list[str]
) -> None:
    """The reported score must be the mean over the samples (over all parts, where a document has several)."""
    for metric in expected.metrics:
        score, values = scores.get((metric, expected.filter)), samples.values[metric]
        if score is None or not values:
            continue
        mean = math.fsum(values) / len(values)
        if abs(mean - score.value) > _MEAN_TOLERANCE:
            reasons.append(
                f"{RESULTS}: results.{expected.task}.{metric},{expected.filter}: reported {score.value!r}, "
                f"but the mean over {samples_file(expected.task)} is {mean!r}."
            )


def hash_documents(doc_hashes: Iterable[str]) -> str:
    """The hash over a task's documents and targets, from those of each document in order."""
    return hashlib.sha256("".join(doc_hashes).encode()).hexdigest()


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ---------------------------------------------------------------------------------------------------------- samples


def _read_samples(path: Path, expected: _Expected, reasons: list[str]) -> _Samples | None:
    """Read a samples file to its end; stops at the first line that cannot be read."""
    samples, before = _Samples(), len(reasons)
    try:
        for number, line in _lines(path):
            problem = _add_line(samples, line, expected)
            if problem:
                reasons.append(f"{path.name}:{number}: {problem}")
                return None
    except OSError as error:
        reasons.append(f"{path.name}: lm-eval did not save it ({error.strerror}).")
        return None
    if expected.filter not in samples.doc_ids:
        filters = ", ".join(sorted(samples.doc_ids)) or "an empty file"
        reasons.append(f"{path.name}: no sample at the declared filter {expected.filter} (got {filters}).")
    if problem := samples.answers.explain_not_finite():
        is_told = any(_NOT_FINITE in reason for reason in reasons)
        reasons.append(f"{path.name}: {problem}" if is_told else f"{path.name}: {problem} {_NOT_FINITE}")
    for chosen, doc_ids in samples.doc_ids.items():
        reasons += [f"{path.name}: filter {chosen}: {wrong}" for wrong in _check_ids(doc_ids, expected.documents)]
    return samples if len(reasons) == before else None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from enumerate(file, start=1)


def _add_line(samples: _Samples, line: bytes, expected: _Expected) -> str | None:
    """Take one line into `samples`; says what is wrong with it, or None."""
    try:
        sample = json.loads(line)
    except ValueError as error:
        where = "damaged" if line.endswith(b"\n") else "cut off in the middle"
        return f"the line is {where} ({error})."
    try:
        doc_id, chosen = int(sample["doc_id"]), str(sample["filter"])
        samples.doc_ids[chosen].append(doc_id)
        if chosen == expected.filter:
            samples.hashes[doc_id] = str(sample["doc_hash"]) + str(sample["target_hash"])
            for metric in expected.metrics:
                samples.values[metric] += _parts(metric, sample[metric])
            samples.answers.add(doc_id, sample)
    except (KeyError, TypeError) as error:
        return f"not a sample of lm-eval (missing or ill-typed: {error})."
    except ValueError as error:
        return str(error)
    return None


def _parts(metric: str, value: object) -> list[float]:
    """A document's numbers: one, or a list where it has several parts."""
    numbers = value if isinstance(value, list) else [value]
    parts = []
    for number in numbers:
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{metric}: not a finite number (got {number!r}).")
        parts.append(float(number))
    return parts


def _check_ids(doc_ids: list[int], documents: range) -> list[str]:
    if len(doc_ids) != len(documents):
        return [f"the suite declares {len(documents)} documents (got {len(doc_ids)} lines)."]
    if sorted(doc_ids) != list(documents):
        missing = sorted(set(documents) - set(doc_ids))
        return [f"the document ids must be {documents[0]} to {documents[-1]}, each once (missing {missing[:5]})."]
    return []
