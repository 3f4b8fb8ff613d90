"""Imports the samples of imported lm-eval runs, each task completely or not at all, and adds their facts to its scores.

Samples that are damaged, that disagree with their results file, or that exist in two different versions are listed as
skipped. Samples in the lake are never replaced: importing them again changes nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.imports.lm_eval_results import (
    BrokenFileError,
    Json,
    parse_results,
    read_bytes,
    read_embedded,
    score_rows,
)
from nightboard.tasks.imports.lm_eval_samples import Placed, Samples, list_embedded, list_samples, read_samples
from nightboard.tasks.imports.match_samples import Match, ResultsRun, RunIndex
from nightboard.tasks.store.documents import write_documents
from nightboard.tasks.store.files import replace_atomically
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import has_file, read_table, write_file
from nightboard.warehouse.lake.convert_samples import convert_samples
from nightboard.warehouse.lake.samples_file import ConvertError
from nightboard.warehouse.schema.lake_tables import SAMPLES, TASK_SCORES

LeaveOut = Callable[[str, BrokenFileError], None]


@dataclass(frozen=True)
class _Source:
    """Samples of one task of a run, and their place."""

    run: ResultsRun
    task: str
    place: str
    list_all: Callable[[], Iterator[Placed]]

    @classmethod
    def of_file(cls, match: Match, file: Path) -> _Source:
        return cls(match.run, match.task, str(file), partial(list_samples, file))

    def read(self, folder: Path) -> Samples:
        """All samples, in a new file of the folder. Raises BrokenFileError."""
        handle, name = tempfile.mkstemp(dir=folder)
        with open(handle, "wb"):
            return read_samples(self.list_all(), self.run.tasks[self.task].filters, Path(name))

    def read_checked(self, folder: Path) -> Samples:
        """Like `read`; also raises BrokenFileError if they disagree with the results file."""
        samples = self.read(folder)
        if conflict := samples.find_conflict(self.run.tasks[self.task]):
            raise conflict
        return samples


def name_benchmarks(suite: Suite | None) -> dict[str, str]:
    """The benchmark of each task of the suite."""
    benchmarks = suite.benchmarks if suite else {}
    return {task: name for name, benchmark in benchmarks.items() for task in benchmark.tasks}


@dataclass
class SamplesImporter:
    """Writes samples to a store. `known` has the hashes of the samples in the lake, by evaluation and task."""

    store: Store
    leave_out: LeaveOut
    known: dict[tuple[str, str], str]

    @classmethod
    def open(cls, store: Store, leave_out: LeaveOut) -> SamplesImporter:
        """`leave_out` is called for skipped samples."""
        scores = read_table(store, TASK_SCORES, ["evaluation_id", "task", "samples_hash"])
        rows = scores.filter(pc.is_valid(scores["samples_hash"])).to_pylist()
        return cls(store, leave_out, {(row["evaluation_id"], row["task"]): row["samples_hash"] for row in rows})

    def import_embedded(self, run: ResultsRun, content: Json) -> int:
        """Import the samples inside the results file; returns the number of tasks that have some."""
        sources = []
        for task, samples in read_embedded(content).items():
            place = f"{run.file}: samples.{task}"
            if task in run.tasks and isinstance(samples, list):
                sources.append(_Source(run, task, place, partial(list_embedded, samples)))
            else:
                self.leave_out(place, BrokenFileError("is not a list of samples of a task that has results."))
        return self._import_run(run, sources)

    def import_files(self, runs: Sequence[ResultsRun], files: Sequence[Path]) -> Iterator[tuple[ResultsRun, int, int]]:
        """Import files of samples, run by run: yields the run, its number of files, and how many are in the lake."""
        index = RunIndex(runs)
        sources: dict[Path, list[_Source]] = defaultdict(list)
        for file in files:
            match = index.match(file, partial(_is_proven, file))
            if isinstance(match, Match):
                sources[match.run.file].append(_Source.of_file(match, file))
            else:
                self.leave_out(str(file), _find_break(file) or BrokenFileError(match))
        for of_run in sources.values():
            yield of_run[0].run, len(of_run), self._import_run(of_run[0].run, of_run)

    def _import_run(self, run: ResultsRun, sources: Sequence[_Source]) -> int:
        by_task: dict[str, list[_Source]] = defaultdict(list)
        for source in sources:
            by_task[source.task].append(source)
        new_samples: dict[str, Samples] = {}
        n_imported = 0
        for task, candidates in by_task.items():
            with tempfile.TemporaryDirectory() as folder:
                samples, good = self._read_whole(candidates, Path(folder))
                if samples is None or not self._write(good[0], samples):
                    continue
                n_imported += len(good)
                if problem := samples.answers.explain_not_finite():
                    self.leave_out(good[0].place, BrokenFileError(f"{problem} {task} counts as not scored."))
                if (run.evaluation_id, task) not in self.known:
                    new_samples[task] = samples
        if new_samples:
            self._write_scores(run, new_samples)
        return n_imported

    def _read_whole(self, sources: Sequence[_Source], folder: Path) -> tuple[Samples | None, list[_Source]]:
        """The samples of a task and their places; None, and listed as skipped, if they are damaged or differ."""
        by_digest: dict[str, Samples] = {}
        good = []
        for source in sources:
            try:
                samples = source.read_checked(folder)
            except BrokenFileError as error:
                self.leave_out(source.place, error)
                continue
            by_digest[samples.digest] = samples
            good.append(source)
        key = sources[0].run.evaluation_id, sources[0].task
        if len({*by_digest, self.known.get(key)} - {None}) > 1:
            for source in good:
                reason = f"the same run has different samples of {source.task}. Give only the file with the right ones."
                self.leave_out(source.place, BrokenFileError(reason))
            return None, []
        return next(iter(by_digest.values()), None), good

    def _write(self, source: _Source, samples: Samples) -> bool:
        """Write what is new of a task; False, and listed as skipped, if its samples cannot be converted."""
        try:
            self._write_documents(source, samples)
            if (source.run.evaluation_id, source.task) not in self.known:
                self._write_rows(source, samples)
        except ConvertError as error:
            self.leave_out(source.place, BrokenFileError(str(error).replace(f"{samples.lines}: ", "")))
            return False
        return True

    def _write_rows(self, source: _Source, samples: Samples) -> None:
        run, task = source.run, source.task
        benchmark = name_benchmarks(run.suite).get(task)
        declared = run.suite.benchmarks[benchmark] if run.suite and benchmark else None
        digest = hashlib.sha256(f"{task}\0{samples.digest}".encode("utf-8", "replace")).hexdigest()[:16]
        name = f"{run.evaluation_id}-{digest}"
        if has_file(self.store, SAMPLES, name):  # an earlier import was interrupted between the samples and the scores
            return
        with replace_atomically(self.store.lake_file(SAMPLES.name, name)) as out:
            convert_samples(
                {task: samples.lines},
                benchmark,
                run.evaluation_id,
                out,
                question_field=declared.question_field if declared else None,
                may_publish=declared is None or declared.publish_documents,
            )

    def _write_documents(self, source: _Source, samples: Samples) -> None:
        facts = source.run.tasks[source.task]
        if samples.doc_set_hash is not None:
            write_documents(
                self.store,
                source.task,
                samples.doc_set_hash,
                [samples.lines],
                dataset_id=facts.dataset_id,
                dataset_sha=facts.dataset_sha,
                is_imported=True,
            )

    def _write_scores(self, run: ResultsRun, new_samples: Mapping[str, Samples]) -> None:
        """Write the scores of these tasks again, with the facts from their samples: the row with samples counts."""
        content = parse_results(read_bytes(run.file))
        rows = [row for row in score_rows(content, name_benchmarks(run.suite)) if row["task"] in new_samples]
        nothing = dict.fromkeys(TASK_SCORES.arrow.names) | {"evaluation_id": run.evaluation_id}
        for row in rows:
            samples = new_samples[row["task"]]
            row |= {"samples_hash": samples.digest, "doc_set_hash": samples.doc_set_hash}
            row |= {
                "not_finite_answers": samples.answers.n_not_finite,
                "empty_answers": samples.answers.n_empty,
                "only_answer": samples.answers.only,
            }
            if row["n_samples"] is None and samples.has_all_documents:
                row["n_samples"] = samples.n_documents
        digests = sorted(samples.digest for samples in new_samples.values())
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        write_file(self.store, TASK_SCORES, f"{run.evaluation_id}-{name}", [nothing | row for row in rows])
        self.known.update({(run.evaluation_id, task): samples.digest for task, samples in new_samples.items()})


def _is_proven(file: Path, match: Match) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            samples = _Source.of_file(match, file).read(Path(folder))
        except BrokenFileError:
            return False
        return samples.is_proven(match.run.tasks[match.task])


def _find_break(file: Path) -> BrokenFileError | None:
    """Why a file cannot be read from its beginning, or holds no samples at all."""
    try:
        line, _, first = next(list_samples(file), (None, "", {"doc_id": 0}))
    except BrokenFileError as error:
        return error
    if not isinstance(first, dict) or "doc_id" not in first:
        return BrokenFileError("is not a samples file of lm-eval: it has no doc_id.", line)
    return None
