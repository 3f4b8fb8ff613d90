"""Reads new request files of a board's folders and datasets, and makes requests of them.

A file is read once: what came of each is stored after its request. Killed in between, it is read again, and its request
is known. A file that cannot be used is a finding of its own, and the others are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from nightboard.tasks.hub.errors import HubError, HubUnavailable, Unreadable
from nightboard.tasks.requests.checks import CheckInputs
from nightboard.tasks.requests.request_file import MOST_BYTES, RequestFileError, parse_request_file
from nightboard.tasks.requests.sources import FileKey, FileSet, SourceFile, list_dataset, list_folder
from nightboard.tasks.requests.submission import Answer, Asker, answer, finish_pending, record
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import ReadFile, as_row
from nightboard.tasks.store.tables import append_rows, read_table
from nightboard.warehouse.schema.request_tables import REQUEST_FILES

# So many files are checked before what came of them is stored.
BATCH = 50
# A head and pull requests of one source that a run reads: each is listed as a whole.
FILE_SETS_PER_RUN = 50

Became = Literal["accepted", "rejected", "known", "not a request", "unusable"]


@dataclass
class Intake:
    """What became of new request files. `n_left`: files, and `n_sets_left`: pull requests, for the next run.

    `unusable`: the files that have mistakes; `problems`: sources that could not be read.
    """

    became: Counter[Became] = field(default_factory=Counter)
    n_left: int = 0
    n_sets_left: int = 0
    unusable: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_news(self) -> bool:
        return bool(self.became or self.n_left or self.n_sets_left or self.problems)


def read_request_files(store: Store, inputs: CheckInputs, folders: Sequence[Path], datasets: Sequence[str]) -> Intake:
    """Read what is new in folders and datasets, and complete requests whose writer was killed."""
    intake, seen = Intake(), read_seen(store)
    record(store, finish_pending(inputs))
    sources = [(f"{folder}", partial(list_folder, folder)) for folder in folders]
    sources += [(f"dataset {name}", partial(list_dataset, inputs.hub, name, seen)) for name in datasets]
    for name, list_source in sources:
        try:
            _Reader(store, inputs, seen, intake).read_source(list_source())
        except HubError as error:
            intake.problems.append(str(error))
        except OSError as error:
            intake.problems.append(f"{name}: request files cannot be read ({error.strerror}). Check the path.")
    return intake


def read_seen(store: Store) -> set[FileKey]:
    """The files, and whole commits, that were read before."""
    rows = read_table(store, REQUEST_FILES, ["source", "path", "blob_id"]).to_pylist()
    return {(row["source"], row["path"], row["blob_id"]) for row in rows}


@dataclass
class _Reader:
    """Reads the new files of one source."""

    store: Store
    inputs: CheckInputs
    seen: set[FileKey]
    intake: Intake
    n_new: int = 0
    n_left: int = 0
    n_failed: int = 0

    @property
    def has_room(self) -> bool:
        return self.n_new < self.inputs.bundle.board.submissions.files_per_run

    def read_source(self, sets: Iterable[FileSet]) -> None:
        for number, each in enumerate(sets):
            if self.has_room and number < FILE_SETS_PER_RUN:
                self._read_set(each)
            else:
                self.intake.n_sets_left += 1

    def _read_set(self, files: FileSet) -> None:
        self.n_left = self.n_failed = 0
        new = self._list_new(files)
        while self._read_batch(islice(new, BATCH)):
            pass
        self.intake.n_left += self.n_left
        if files.key and not self.n_left and not self.n_failed:
            source, path, revision = files.key
            row = ReadFile(
                source=source, path=path, blob_id=revision, source_revision=revision, read_at=self.inputs.now
            )
            append_rows(self.store, REQUEST_FILES, [as_row(row)])

    def _list_new(self, files: FileSet) -> Iterator[SourceFile]:
        for file in files.files():
            if file.key in self.seen:
                continue
            if not self.has_room:
                self.n_left += 1
                continue
            self.seen.add(file.key)
            yield file

    def _read_batch(self, batch: Iterable[SourceFile]) -> int:
        """Read some files, and store what became of them; returns how many there were."""
        answers: list[Answer] = []
        n_read = 0
        rows: list[ReadFile] = []
        try:
            for file in batch:
                n_read += 1
                try:
                    row, given = self._read_file(file)
                except HubUnavailable as error:
                    self.n_failed += 1
                    self.n_new += 1
                    self.inputs.hub.raise_if_down(error)
                    self.intake.problems.append(f"{file.source} {file.path}: {error}")
                else:
                    rows.append(row)
                    answers += [given] if given else []
        finally:
            record(self.store, answers)
            append_rows(self.store, REQUEST_FILES, [as_row(row) for row in rows])
        return n_read

    def _read_file(self, file: SourceFile) -> tuple[ReadFile, Answer | None]:
        """What becomes of one file. Raises HubUnavailable where that cannot be known now."""
        became, reason, given = self._judge(file)
        self.intake.became[became] += 1
        # A file of a folder that asks for nothing costs the Hub nothing.
        self.n_new += file.revision is not None or given is not None
        if became == "unusable":
            self.intake.unusable.append(f"{file.source} {file.path}: {reason}")
        row = ReadFile(
            source=file.source, path=file.path, blob_id=file.blob_id, source_revision=file.revision,
            read_at=self.inputs.now, request_id=given.entry.request.request_id if given else None, reason=reason,
        )  # fmt: skip
        return row, given

    def _judge(self, file: SourceFile) -> tuple[Became, str | None, Answer | None]:
        if file.size > MOST_BYTES:
            text = f"it has {file.size:,} bytes, and a request takes at most {MOST_BYTES:,}. Correct the file."
            return "unusable", text, None
        try:
            request = parse_request_file(file.read())
        except (RequestFileError, Unreadable) as error:
            return "unusable", str(error), None
        if not request.is_request:
            return "not a request", f"its status is {request.status}", None
        asker = Asker(
            file.author or request.sender or "unknown",
            source=file.source, source_file=file.path, source_revision=file.revision,
        )  # fmt: skip
        given = answer(request.to_form(), asker, self.inputs)
        if given.is_known:
            return "known", None, given
        return "rejected" if given.findings else "accepted", None, given
