"""Imports outputs of lm-eval that nightboard did not make: results files, and the samples of the same runs.

A results file with tasks of a suite becomes an evaluation of that suite, which the warehouse scores like a run; the
numbers of any other file are only in `task_scores`. A damaged file is listed with line and reason and not imported; if
only its samples are damaged, its scores are imported, and the samples can be imported again after a repair.
An evaluation is identified by the bytes of its results file and the suite: importing it again changes nothing but what
is said of it: by an option of the import, or by a newer version of this program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from nightboard.profiles.models.suite import Suite
from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.imports.errors import ImportFileError, LeftOut
from nightboard.tasks.imports.lm_eval_model import Identity, describe, name_arguments, read_identity
from nightboard.tasks.imports.lm_eval_results import (
    BrokenFileError,
    Json,
    TaskFacts,
    list_structured,
    parse_results,
    read_bytes,
    read_facts,
    score_rows,
)
from nightboard.tasks.imports.lm_eval_settings import TEMPLATE_SHA, list_settings
from nightboard.tasks.imports.match_samples import ResultsRun
from nightboard.tasks.imports.samples import SamplesImporter, name_benchmarks
from nightboard.tasks.store.declarations import declare_imported
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import read_table, write_file
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import IMPORTS, TASK_SCORES


@dataclass
class ResultsFile:
    """One results file that is now in the lake. `is_new`: was not before; `suite` None: it has no tasks of a suite.

    `not_comparable`: settings because of which it is not ranked.
    """

    file: str
    evaluation_id: str
    model_id: str
    suite: str | None
    settings: str | None
    not_comparable: str | None
    n_tasks: int
    n_scores: int
    n_samples_files: int
    is_new: bool


@dataclass
class ResultsImport:
    """The state of an import of all files under the given paths: `n_read` of `n_files` are read.

    `future`: files with a date in the future, treated as evaluated at the time of the import.
    """

    n_files: int = 0
    n_read: int = 0
    imported: list[ResultsFile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    future: list[LeftOut] = field(default_factory=list)

    def leave_out(self, place: str, error: BrokenFileError) -> None:
        """Add to the list of skipped files. Texts are cleaned for the terminal."""
        where = f"{place}:{error.line}" if error.line else place
        self.left_out.append(LeftOut(*(text.encode("utf-8", "replace").decode() for text in (where, str(error)))))

    def limit_time(self, file: Path, finished_at: datetime | None, now: datetime) -> datetime | None:
        """The end of the file's evaluation, at most now; a later time is listed."""
        if finished_at is None or finished_at <= now:
            return finished_at
        reason = f"has an evaluation time in the future (got {finished_at:%Y-%m-%d %H:%M} UTC)."
        self.future.append(LeftOut(_show(file), reason))
        return now


@dataclass(frozen=True)
class Options:
    """What a user says about all files of an import.

    `model_id`: the model of files that name none. `supersedes`: they rank in place of the model's other rows.
    `find_commit`: the sha that a model's branch or tag had at a time, if it is known.
    """

    model_id: str | None = None
    supersedes: bool = False
    find_commit: Callable[[str, str, datetime], str | None] | None = None


def import_results(
    store: Store, paths: Sequence[Path], suites: Sequence[Suite], now: datetime, options: Options = Options()
) -> Iterator[ResultsImport]:
    """Import every results file under `paths`; yields the same growing summary after each file.

    A file becomes an evaluation of the suite that has most of its tasks; if several have, the first in `suites`.
    Raises ImportFileError for a path that does not exist or holds no such file.
    """
    summary = ResultsImport()
    results, samples = _find_files(paths, summary)
    summary.n_files = len(results) + len(samples)
    known = _read_known(store)
    importer, runs = SamplesImporter.open(store, summary.leave_out), []
    for file in results:
        if imported := _import_scores(store, file, suites, options, known, summary, now):
            for task, metric in list_structured(imported[1]):
                reason = f"{metric} is an object or a list, not a number, so it is no score."
                summary.leave_out(f"{file}: results.{task}", BrokenFileError(reason))
            run, content = imported
            runs.append(run)
            summary.imported[-1].n_samples_files += importer.import_embedded(run, content)
        summary.n_read += 1
        yield summary
    by_file = {result.file: result for result in summary.imported}
    for run, n_files, n_imported in importer.import_files(runs, samples):
        by_file[_show(run.file)].n_samples_files += n_imported
        summary.n_read += n_files
        yield summary
    summary.n_read = summary.n_files
    yield summary


def _find_files(paths: Sequence[Path], summary: ResultsImport) -> tuple[list[Path], list[Path]]:
    """Files that may be results, and files that may be samples; named pipes and devices are listed as skipped."""
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise ImportFileError(f"{path}: no such file or folder. Check the path.")
        below = [path] if not path.is_dir() else sorted(file for file in path.rglob("*.*") if not file.is_dir())
        files.update(dict.fromkeys(file for file in below if file == path or _suffix(file) in (".json", ".jsonl")))
    for file in [file for file in files if file.exists() and not file.is_file()]:
        summary.leave_out(str(file), BrokenFileError("is a pipe, socket or device. Give a regular file."))
        del files[file]
    if not files and not summary.left_out:
        raise ImportFileError(
            f"{', '.join(map(str, paths))}: there are no .json or .jsonl files in it. Check the path."
        )
    samples = {file for file in files if _suffix(file) == ".jsonl" or file.name.startswith("samples_")}
    return [file for file in files if file not in samples], [file for file in files if file in samples]


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def _read_known(store: Store) -> dict[str, Json]:
    """What the lake says of each imported results file, by evaluation."""
    rows = read_table(store, IMPORTS).to_pylist()
    return {row["evaluation_id"]: row for row in sorted(rows, key=lambda row: row["imported_at"])}


def _import_scores(
    store: Store,
    file: Path,
    suites: Sequence[Suite],
    options: Options,
    known: dict[str, Json],
    summary: ResultsImport,
    now: datetime,
) -> tuple[ResultsRun, Json] | None:
    """Write the scores of a results file; None, and listed as skipped, if it cannot be read."""
    try:
        data = read_bytes(file)
        content = parse_results(data)
        tasks = read_facts(content)
        suite = choose_suite(suites, tasks)
        identity = read_identity(content, suite, options.model_id)
        run = ResultsRun(file, _make_id(data, suite, identity, options), name_arguments(content), suite, tasks)
        row = describe(content, file, identity)
        if options.supersedes:
            own = {name: value for name, value in identity.settings.identity.items() if name != TEMPLATE_SHA}
            row["settings"] = list_settings(own)
        row |= {"suite": suite.suite if suite else None, "supersedes": options.supersedes or None}
        row["finished_at"] = summary.limit_time(file, row["finished_at"], now)
        scores = to_table(TASK_SCORES, list(score_rows(content, name_benchmarks(suite))), run.evaluation_id)
        before = known.get(run.evaluation_id)
        row |= _infer_commit(row, before, options)
        if before is None:
            imports = to_table(IMPORTS, [row | {"imported_at": now}], run.evaluation_id)
    except BrokenFileError as error:
        summary.leave_out(str(file), error)
        return None
    if before is None:
        if suite is not None:
            declare_imported(store, suite, now)
        write_file(store, TASK_SCORES, run.evaluation_id, scores)
        write_file(store, IMPORTS, run.evaluation_id, imports)
        known[run.evaluation_id] = row | {"imported_at": now}
    elif changed := {key: row[key] for key in _SAID if row[key] != before[key]}:
        known[run.evaluation_id] = _write_again(store, before | changed, now)
    summary.imported.append(
        ResultsFile(
            file=_show(file),
            evaluation_id=run.evaluation_id,
            model_id=row["model_id"],
            suite=row["suite"],
            settings=row["settings"],
            not_comparable=row["not_comparable"],
            n_tasks=len(set(scores["task"].to_pylist())),
            n_scores=scores.num_rows,
            n_samples_files=0,
            is_new=before is None,
        )
    )
    return run, content


def _infer_commit(row: Json, before: Json | None, options: Options) -> Json:
    """The commit of a branch or tag at the time of the evaluation, or what an earlier import found."""
    if row["revision"] is None and row["revision_name"] and row["finished_at"] and options.find_commit:
        sha = options.find_commit(row["model_id"], row["revision_name"], row["finished_at"])
        return {"revision": sha, "is_revision_inferred": sha is not None or None}
    if row["revision"] is None and before is not None:
        return {key: before[key] for key in ("revision", "is_revision_inferred")}
    return {"is_revision_inferred": None}


# What an option of a later import, or a newer version of this program, may say differently of the same file.
_SAID = (
    "model_id", "revision", "revision_name", "is_revision_inferred", "base_model", "weight_type", "precision",
    "chat_template", "fewshot_as_multiturn", "settings", "not_comparable", "supersedes",
)  # fmt: skip


def _write_again(store: Store, row: Json, now: datetime) -> Json:
    """A newer description of an evaluation: it replaces the older one."""
    row = row | {"imported_at": max(now, row["imported_at"] + timedelta(microseconds=1))}
    name = hash_json([str(row[key]) for key in (*_SAID, "imported_at")])[:16]
    write_file(store, IMPORTS, f"{row['evaluation_id']}-{name}", to_table(IMPORTS, [row], row["evaluation_id"]))
    return row


def _make_id(data: bytes, suite: Suite | None, identity: Identity, options: Options) -> str:
    """The evaluation's id. A model that only the user names is part of it."""
    said = f"{options.model_id}\0" if identity.is_name_given else ""
    return hashlib.sha256(f"results\0{suite.suite if suite else ''}\0{said}".encode() + data).hexdigest()[:32]


def choose_suite(suites: Sequence[Suite], tasks: Mapping[str, TaskFacts]) -> Suite | None:
    """The suite with most of these tasks and (if known) shots; if several, the one with most of these sample counts.

    None if no task belongs to any suite.
    """
    best = max(suites, key=lambda suite: _count_matches(suite, tasks), default=None)
    return best if best is not None and _count_matches(best, tasks)[0] else None


def _count_matches(suite: Suite, tasks: Mapping[str, TaskFacts]) -> tuple[int, int]:
    """Number of tasks that the suite has with these shots, and of these with these sample counts."""
    has_count = [
        tasks[name].n_samples == suite.expected_samples(task)
        for benchmark in suite.benchmarks.values()
        for name, task in benchmark.tasks.items()
        if name in tasks and tasks[name].n_shot in (None, benchmark.shots)
    ]
    return len(has_count), sum(has_count)


def to_table(table: Table, rows: list[Json], evaluation_id: str) -> pa.Table:
    """The rows as an Arrow table. Raises BrokenFileError for a value that Parquet cannot store."""
    try:
        nothing = dict.fromkeys(table.arrow.names) | {"evaluation_id": evaluation_id}
        return pa.Table.from_pylist([nothing | row for row in rows], schema=table.arrow)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError) as error:
        raise BrokenFileError(f"has a value that cannot be stored ({' '.join(str(error).split())[:200]}).") from error


def _show(file: Path) -> str:
    return str(file).encode("utf-8", "replace").decode()
