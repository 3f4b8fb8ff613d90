"""Parses the samples of one task as written by lm-eval, and summarizes them: documents, hashes, means.

Reads all layouts: one sample per line, or (before lm-eval 0.4.3) one list; with or without the names of filter and
metrics. A file is read completely or rejected. The facts that samples must agree with are arguments.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from nightboard.profiles.loading.regular_file import open_regular
from nightboard.tasks.evaluation.check_answers import Answers
from nightboard.tasks.evaluation.validate import hash_documents
from nightboard.tasks.imports.lm_eval_results import LFS, BrokenFileError, TaskFacts, read_bytes, to_finite, to_whole

# lm-eval sums in another order than we do; a wrong or missing document changes a mean by far more.
_MEAN_TOLERANCE = 1e-9
_NO_SCORES = (
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash", "question_hash",
)  # fmt: skip
# A line is one sample with its few-shot examples.
_MOST_LINE_BYTES, _MOST_LINES_BYTES = 2**26, 2**40
_HASHES = ("doc_hash", "prompt_hash", "target_hash")

Json = dict[str, Any]
# A sample with its line in the file, or, without lines, its name in messages.
Placed = tuple[int | None, str, object]
Place = tuple[int | None, str]


@dataclass
class _Strange:
    """The first value of a metric that is not a finite number, and how many of its values are not."""

    place: Place
    shown: str
    is_list: bool
    n_values: int = 0
    n_of_all: int = 0


@dataclass(frozen=True)
class Samples:
    """All samples of a task. `lines`: a file of them in lm-eval's present layout; `digest`: hash of the imported parts.

    `doc_set_hash` is None unless all documents from the first on have hashes; `task_hash` likewise. A mean is None if a
    value is not a number: `strange` has the first such value of each metric and filter, `last` the highest doc_id.
    `answers`: statistics of the answers.
    `partial`: how many documents have a score, if the file names no metrics and some documents lack it.
    """

    lines: Path
    digest: str
    n_documents: int
    has_all_documents: bool
    doc_set_hash: str | None
    task_hash: str | None
    means: dict[tuple[str, str], float | None]
    strange: dict[tuple[str, str], _Strange]
    partial: dict[tuple[str, str], int]
    last: tuple[int, Place]
    answers: Answers

    def find_conflict(self, facts: TaskFacts) -> BrokenFileError | None:
        """Why these are not all samples of a task with these facts."""
        if facts.n_samples not in (None, self.n_documents):
            return BrokenFileError(f"has {self.n_documents} documents, but the results file has {facts.n_samples}.")
        if facts.n_samples is not None and not self.has_all_documents:
            doc_id, (line, name) = self.last
            return BrokenFileError(
                f"{name}has doc_id {doc_id}, but the {self.n_documents} documents of the results file are 0 to"
                f" {self.n_documents - 1}.",
                line,
            )
        return self._find_strange(facts) or self._find_other_mean(facts)

    def _find_strange(self, facts: TaskFacts) -> BrokenFileError | None:
        """A value that is inconsistent with a finite score.

        Metrics that are not means may have lists and pairs, or only texts, for their own aggregation.
        """
        for key, strange in self.strange.items():
            is_mixed = strange.n_values < strange.n_of_all
            if key in facts.finite and (is_mixed or (key in facts.means and not strange.is_list)):
                line, name = strange.place
                return BrokenFileError(
                    f"{name}has {strange.shown} as {key[0]} (filter {key[1]}), but the results file a finite score.",
                    line,
                )
        return None

    def _find_other_mean(self, facts: TaskFacts) -> BrokenFileError | None:
        for (metric, chosen), value in facts.means.items():
            if n_scored := self.partial.get((metric, chosen)):
                return BrokenFileError(
                    f"has a number as {metric} for {n_scored} of its {self.n_documents} documents, but the results file"
                    " a finite score."
                )
            mean = self.means.get((metric, chosen), math.nan)
            if mean is not None and not abs(mean - value) <= _MEAN_TOLERANCE * max(1, abs(value)):
                shown = "no value" if math.isnan(mean) else repr(mean)
                return BrokenFileError(f"gives {shown} as {metric},{chosen}, but the results file has {value!r}.")
        return None

    def is_proven(self, facts: TaskFacts) -> bool:
        """Whether the content proves that they belong to this run: the hash of prompts, or count and scores."""
        if self.find_conflict(facts) is not None:
            return False
        if facts.task_hash is not None and self.task_hash is not None:
            return facts.task_hash == self.task_hash
        has_means = any(self.means.get(key) is not None for key in facts.means)
        return facts.n_samples == self.n_documents and has_means


@dataclass
class _Found:
    """The state while a file is read."""

    digest: Any = field(default_factory=hashlib.sha256)
    task_digest: Any = field(default_factory=hashlib.sha256)
    has_task_hash: bool = True
    names_metrics: bool = True
    seen: Counter[int] = field(default_factory=Counter)
    documents: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    hashes: dict[int, str] = field(default_factory=dict)
    values: dict[tuple[str, str], list[float | None]] = field(default_factory=lambda: defaultdict(list))
    strange: dict[tuple[str, str], _Strange] = field(default_factory=dict)
    last: tuple[int, Place] = (-1, (None, ""))
    answers: Answers = field(default_factory=Answers)


def read_samples(samples: Iterable[Placed], filters: Sequence[str], lines: Path) -> Samples:
    """Write all samples to the new file `lines` and summarize them. Raises BrokenFileError for the first bad one.

    `filters` are those of the task's results, in their order: older versions of lm-eval do not name them, and write all
    documents once for each filter.
    """
    found = _Found()
    with lines.open("wb") as out:
        for line, name, value in samples:
            try:
                sample = _complete(value, found, filters)
                _note(sample, found)
                _note_places(sample, value, (line, name), found)
                if isinstance(value, dict) and found.seen[sample["doc_id"]] == 1:
                    found.answers.add(sample["doc_id"], value)
                out.write(_dump(sample) + b"\n")
            except (ValueError, RecursionError) as error:
                raise BrokenFileError(f"{name}{error}", line) from error
    return _conclude(found, lines)


def list_samples(file: Path) -> Iterator[Placed]:
    """The samples of a file, one by one. Raises BrokenFileError at the first unreadable line."""
    try:
        with open_regular(file, _MOST_LINES_BYTES) as opened:
            start = opened.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
            opened.seek(0)
            if start.startswith(b"version https://git-lfs"):
                raise BrokenFileError(LFS)
            if start.startswith(b"["):
                yield from _list_array(read_bytes(file))
                return
            for number, line in enumerate(iter(partial(opened.readline, _MOST_LINE_BYTES + 1), b""), start=1):
                if len(line) > _MOST_LINE_BYTES:
                    raise BrokenFileError(f"is longer than the limit of {_MOST_LINE_BYTES:,} bytes.", number)
                if line.strip():
                    yield number, "", _parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, number)
    except OSError as error:
        raise BrokenFileError(f"cannot be read ({error.strerror}).") from error


def list_embedded(samples: Iterable[object]) -> Iterator[Placed]:
    """Samples of a list, named by their numbers."""
    yield from ((None, f"sample {number}: ", sample) for number, sample in enumerate(samples, start=1))


def _list_array(data: bytes) -> Iterator[Placed]:
    try:
        samples = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise BrokenFileError(f"is not valid JSON ({error.msg}).", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise BrokenFileError(f"cannot be read as JSON ({error}).") from error
    yield from list_embedded(samples)


def _parse(line: bytes, number: int) -> object:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        what = str(error)
        if isinstance(error, json.JSONDecodeError):
            what = f"{error.msg.removesuffix(' at')} at column {error.pos + 1}"
        where = "" if line.endswith(b"\n") else ", and the file ends with it"
        raise BrokenFileError(f"is not valid JSON ({what}){where}.", number) from error


# -------------------------------------------------------------------------------------------------------- one sample


def _complete(value: object, found: _Found, filters: Sequence[str]) -> Json:
    """The sample with the names of its filter and metrics. Raises ValueError if it is not a sample."""
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object.")
    doc_id = to_whole(value.get("doc_id"))
    if doc_id is None:
        raise ValueError(f"is not a sample of lm-eval: {_explain_doc_id(value)}")
    if not isinstance(value.get("filtered_resps"), list):
        raise ValueError("is not a sample of lm-eval: it has no filtered_resps.")
    chosen, metrics = value.get("filter"), value.get("metrics")
    if chosen is None:
        if found.seen[doc_id] >= max(1, len(filters)):
            raise ValueError(f"document {doc_id} occurs more often than its results have filters.")
        chosen = filters[found.seen[doc_id]] if filters else "none"
    if metrics is None:
        found.names_metrics = False
        metrics = [key for key, score in value.items() if _is_score(key, score)]
    if not isinstance(chosen, str) or not isinstance(metrics, list):
        raise ValueError("is not a sample of lm-eval: filter is not a text, or metrics is not a list.")
    for metric in metrics:
        if not isinstance(metric, str) or metric in _NO_SCORES or metric not in value:
            raise ValueError(f"has no score under the name of a metric that it lists (got {str(metric)[:40]!r}).")
    found.seen[doc_id] += 1
    scores = {metric: _clean(value[metric]) for metric in metrics}
    return value | scores | {"doc_id": doc_id, "filter": chosen, "metrics": metrics}


def _explain_doc_id(value: Json) -> str:
    if value.get("doc_id") is None:
        return "it has no doc_id."
    return f"its doc_id must be a whole number from 0 up, below 2^62 (got {json.dumps(value['doc_id'])[:40]})."


def _is_score(key: str, value: object) -> bool:
    return key not in _NO_SCORES and isinstance(value, int | float | list)


def _note(sample: Json, found: _Found) -> None:
    """Add a sample to the state. Raises ValueError for a duplicate document."""
    doc_id, chosen = sample["doc_id"], sample["filter"]
    if doc_id in found.documents[chosen]:
        raise ValueError(f"document {doc_id} occurs twice with filter {chosen}.")
    found.documents[chosen].add(doc_id)
    hashes = [value if _is_hash(value := sample.get(key)) else None for key in _HASHES]
    document, _, target = hashes
    if document is not None and target is not None:
        found.hashes[doc_id] = document + target
    found.has_task_hash = found.has_task_hash and None not in hashes
    found.task_digest.update("".join(filter(None, hashes)).encode())
    scores = {metric: sample[metric] for metric in sample["metrics"]}
    for metric, value in scores.items():
        found.values[metric, chosen].append(to_finite(int(value) if isinstance(value, bool) else value))
    found.digest.update(
        _dump({"scores": scores, "of": [doc_id, chosen, *hashes], "response": sample["filtered_resps"]})
    )


def _note_places(sample: Json, read: object, place: Place, found: _Found) -> None:
    """Note the place of the highest doc_id, and the first value of each metric that is not a number, as read."""
    found.last = max(found.last, (sample["doc_id"], place), key=lambda last: last[0])
    for metric in sample["metrics"]:
        key = metric, sample["filter"]
        if found.values[key][-1] is None and key not in found.strange and isinstance(read, dict):
            shown = json.dumps(read[metric])[:40]
            found.strange[key] = _Strange(place, shown, isinstance(read[metric], list | dict))


def _is_hash(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isascii() and value != ""


def _dump(value: Json) -> bytes:
    """As JSON that all readers accept: without NaN and lone surrogates."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_clean(value), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def _clean(value: object) -> object:
    """The value without NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if is_number and to_finite(value) is None else value


# --------------------------------------------------------------------------------------------------- the whole file


def _conclude(found: _Found, lines: Path) -> Samples:
    if not found.documents:
        raise BrokenFileError("has no samples.")
    documents = next(iter(found.documents.values()))
    if any(others != documents for others in found.documents.values()):
        counts = ", ".join(f"{chosen} has {len(others)}" for chosen, others in found.documents.items())
        raise BrokenFileError(f"has different documents for different filters ({counts}).")
    has_all = documents == set(range(len(documents)))
    has_hashes = has_all and found.hashes.keys() == documents
    partial = {key: len(values) for key, values in found.values.items() if len(values) < len(documents)}
    for key, strange in found.strange.items():
        strange.n_values, strange.n_of_all = found.values[key].count(None), len(found.values[key])
    return Samples(
        lines=lines,
        digest=found.digest.hexdigest()[:32],
        n_documents=len(documents),
        has_all_documents=has_all,
        doc_set_hash=hash_documents(found.hashes[doc_id] for doc_id in sorted(documents)) if has_hashes else None,
        task_hash=found.task_digest.hexdigest() if found.has_task_hash else None,
        means={
            key: None if None in values else math.fsum(value for value in values if value is not None) / len(values)
            for key, values in found.values.items()
        },
        strange=found.strange,
        partial={} if found.names_metrics else partial,
        last=found.last,
        answers=found.answers,
    )
