"""The work folder of a shard, from which an attempt resumes: finished benchmarks, stored answers, leftovers.

Deletes only partial files and those that can be made again; damaged files are moved aside.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.outputs import check_finished, set_aside
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import Shard
from nightboard.tasks.store.trust import check_trust

_log = logging.getLogger(__name__)


def find_unfinished(work: Path, suite: Suite, shard: Shard) -> list[str]:
    """Benchmarks of a shard that are still to be run. A damaged one is set aside and counts as unfinished."""
    todo = []
    for benchmark in shard.benchmarks:
        folder = work / benchmark
        reasons = check_finished(folder, suite, shard, benchmark) if folder.exists() else None
        if reasons:
            _log.warning("%s was finished but is damaged, so it runs again: %s", benchmark, "; ".join(reasons))
            set_aside(folder)
        if reasons is None or reasons:
            todo.append(benchmark)
    return todo


@contextlib.contextmanager
def fresh_folder(work: Path, benchmark: str, purpose: str) -> Iterator[Path]:
    """An empty folder for half-made things, gone at the end; what a killed attempt left in it is removed first.

    Its name begins with a dot, so it is never taken for a finished benchmark.
    """
    folder = work / f".{benchmark}.{purpose}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_folder(folder: Path, target: Path) -> None:
    """Make a complete benchmark folder visible by one rename. If another attempt was faster, its folder stays."""
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _log.warning("%s was finished by another attempt at the same moment; that one is kept", target.name)


def answers_path(work: Path, benchmark: str, root: Path) -> Path:
    """lm-eval's `use_cache` for a benchmark, with all answers so far readable and worth keeping.

    A damaged file is moved aside, and one that another user can have written, because lm-eval unpickles it. An
    answer that is NaN or infinite is taken out: a fault of an earlier attempt's node or precision would decide every
    later one.
    """
    path = work / "answers" / benchmark
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f"{path.name}_rank0.db")  # the name that lm-eval makes of it
    if file.exists() and not (_is_trusted(file, root) and _clean_answers(file)):
        kept = set_aside(file)
        file.with_name(f"{file.name}-journal").unlink(missing_ok=True)
        _log.warning(
            "the stored answers of %s cannot be read; the benchmark starts again (old file: %s)", benchmark, kept
        )
    return path


def _is_trusted(file: Path, root: Path) -> bool:
    try:
        check_trust(file, root)
    except StoreError as error:
        _log.warning("%s", error)
        return False
    return True


def _clean_answers(file: Path) -> bool:
    """Take answers that are not finite out of lm-eval's file; False when it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(file)) as database:
            if database.execute("pragma quick_check").fetchone() != ("ok",):
                return False
            if database.execute("select 1 from sqlite_master where name = 'unnamed'").fetchone():
                rows = database.execute("select key, value from unnamed")
                wrong = [(key,) for key, value in rows if not _is_finite(value)]
                database.executemany("delete from unnamed where key = ?", wrong)
                database.commit()
                if wrong:
                    _log.warning("%d stored answers are NaN or infinite and are computed again", len(wrong))
    except Exception:  # unpickling damaged bytes can raise anything
        return False
    return True


def _is_finite(value: bytes) -> bool:
    answer = pickle.loads(bytes(value))  # noqa: S301 - lm-eval's own file, which it unpickles itself
    number = answer[0] if isinstance(answer, tuple) else answer
    return not isinstance(number, float) or math.isfinite(number)


def link_dataset(shared: Path, sha: str, private: Path) -> None:
    """Make `private` a `datasets` cache with the one revision `sha` of `shared`, by links.

    lm-eval's tasks write what they make of the documents beside them (GPQA: shuffled by the global random state) and
    read it back within the run. Beside the shared files it would decide the documents of every later run.
    """
    infos = sorted(shared.glob(f"*/*/*/{sha}/dataset_info.json"))
    if not infos:
        raise FileNotFoundError(f"{shared}: the dataset is not in the store's cache. The next run downloads it again.")
    for info in infos:
        target = private / info.parent.relative_to(shared)
        target.mkdir(parents=True)
        for file in info.parent.iterdir():
            if file.is_file() and not file.name.startswith("cache-"):
                (target / file.name).symlink_to(file.absolute())
