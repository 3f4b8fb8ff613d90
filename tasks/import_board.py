"""Takes the published table of another leaderboard into the lake: scores of benchmarks, without tasks and samples.

Owns the layout of the Open LLM Leaderboard's `contents` data set, as CSV or Parquet. A row that cannot be read is left
out and listed; importing twice changes nothing, and a newer table of the same name takes the place of an older one row
by row. Scores are computed where all scores are: in the warehouse.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightboard.profiles.mistakes import suggest
from nightboard.profiles.models import Suite
from nightboard.profiles.resolve import hash_json
from nightboard.tasks.declare import declare_imported
from nightboard.tasks.store import Store, write_parquet
from nightboard.warehouse.schema import IMPORTED_SCORES, IMPORTS

# The era of a suite that declares none.
AS_PUBLISHED = "as-published"

_MODEL_TYPES = {
    "🟢": "pretrained", "🟩": "continuously pretrained", "🔶": "fine-tuned", "💬": "chat", "🤝": "merge",
    "🌸": "multimodal",
}  # fmt: skip
_NAME, _SHA = re.compile(r"[a-z0-9][a-z0-9._-]*"), re.compile(r"[0-9a-f]{40}")
_REQUIRED = ("eval_name", "fullname", "model sha", "precision", "chat template", "average")

Row = dict[str, Any]


class ImportFileError(Exception):
    """A file cannot be imported, and nothing of it was; the message names it and says why."""


class _RowError(Exception):
    """A row cannot be read; the message names the column."""


@dataclass(frozen=True)
class LeftOut:
    """What was not imported: file and line (of a Parquet file the row, from 1), and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class BoardImport:
    """What became of a board's file. `is_new`: it was not in the store before."""

    file: str
    source: str
    suite: str
    era: str
    is_new: bool
    n_imported: int
    n_without_sha: int
    left_out: tuple[LeftOut, ...]


def import_board(store: Store, file: Path, suite: Suite, era: str | None, name: str, now: datetime) -> BoardImport:
    """Write the rows of a board's table into the lake, as source `import:<name>` in an era of the suite.

    Raises ImportFileError for a file that is no such table, an era that the suite does not declare, and a bad name.
    """
    if not _NAME.fullmatch(name):
        raise ImportFileError(f"--name: use small letters, digits, dots and dashes, such as arena-2025 (got {name!r}).")
    era, source = _choose_era(suite, era), f"import:{name}"
    numbered = list(_read_file(file))
    titles = _match_columns(file, numbered[0][1] if numbered else {}, suite)
    found: dict[str, tuple[Row, list[Row]]] = {}
    left_out = []
    for number, row in numbered:
        try:
            evaluation, scores = _read_row(row, titles)
            key = [source, suite.suite, era, evaluation["row_name"], evaluation["revision"] or ""]
            evaluation_id = hash_json(key)[:32]
            if found.setdefault(evaluation_id, (evaluation, scores)) != (evaluation, scores):
                raise _RowError(f"eval_name: {evaluation['row_name']} is there before, with other values.")
        except _RowError as error:
            left_out.append(LeftOut(f"{file}:{number}", str(error)))
    is_new = bool(found) and _write(store, found, {"source": source, "suite": suite.suite, "era": era}, suite, now)
    return BoardImport(
        file=str(file),
        source=source,
        suite=suite.suite,
        era=era,
        is_new=is_new,
        n_imported=len(found),
        n_without_sha=sum(evaluation["revision"] is None for evaluation, _ in found.values()),
        left_out=tuple(left_out),
    )


def _choose_era(suite: Suite, era: str | None) -> str:
    names = [each.name for each in suite.eras] or [AS_PUBLISHED]
    if era is None and len(names) == 1:
        return names[0]
    if era is None:
        raise ImportFileError(
            f"--era: suite {suite.suite} was scored in {len(names)} ways; say which one the file has: "
            f"{', '.join(names)}."
        )
    if era not in names:
        raise ImportFileError(
            f"--era: suite {suite.suite} has no era of that name (got {era!r}). {suggest(era, names, 'eras')}"
        )
    return era


def _write(
    store: Store, found: Mapping[str, tuple[Row, list[Row]]], common: Mapping[str, str], suite: Suite, now: datetime
) -> bool:
    """Write both tables, the one that vouches for the other last; False when this content was imported before."""
    evaluations, scores = [], []
    for evaluation_id, (evaluation, benchmarks) in sorted(found.items()):
        evaluations.append({"evaluation_id": evaluation_id, **common, **evaluation})
        scores += [{"evaluation_id": evaluation_id, **benchmark} for benchmark in benchmarks]
    file = f"{hash_json([[_plain(row) for row in rows] for rows in (evaluations, scores)])[:32]}.parquet"
    target = store.lake / IMPORTS.name / file
    if target.exists():
        return False
    declare_imported(store, suite, now)
    for table, rows, path in (
        (IMPORTED_SCORES, scores, store.lake / IMPORTED_SCORES.name / file),
        (IMPORTS, evaluations, target),
    ):
        write_parquet(path, table, [dict.fromkeys(table.arrow.names) | row | {"imported_at": now} for row in rows])
    return True


def _plain(row: Row) -> Row:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}


# ------------------------------------------------------------------------------------------------------------- files


def _read_file(file: Path) -> Iterator[tuple[int, Row]]:
    """Rows with their line numbers, column names simplified."""
    try:
        with file.open("rb") as opened:
            start = opened.read(40)
    except OSError as error:
        raise ImportFileError(f"{file}: cannot be read ({error.strerror}).") from error
    if start.startswith(b"version https://git-lfs"):
        raise ImportFileError(f"{file}: is a Git LFS pointer, not the file itself. Run `git lfs pull` where it lies.")
    try:
        yield from _read_parquet(file) if start.startswith(b"PAR1") else _read_csv(file)
    except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError) as error:
        raise ImportFileError(f"{file}: neither Parquet nor CSV in UTF-8 ({' '.join(str(error).split())}).") from error


def _read_parquet(file: Path) -> Iterator[tuple[int, Row]]:
    table = pq.read_table(file)
    table = table.rename_columns([_simplify(name) for name in table.column_names])
    yield from enumerate(table.to_pylist(), start=1)


def _read_csv(file: Path) -> Iterator[tuple[int, Row]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, strict=True)
        for row in reader:
            yield reader.line_num, {_simplify(key): value for key, value in row.items() if key is not None}


def _simplify(name: str) -> str:
    """`Average ⬆️` as `average`, `CO₂ cost (kg)` as `co2 cost (kg)`: signs differ between versions of the data set."""
    return " ".join(name.replace("₂", "2").encode("ascii", "ignore").decode().lower().split())


def _match_columns(file: Path, row: Row, suite: Suite) -> dict[str, str]:
    """The column of each benchmark, by its title. Raises ImportFileError for a table that lacks any."""
    titles = {name: _simplify(benchmark.title) for name, benchmark in suite.benchmarks.items()}
    wanted = [*_REQUIRED, *(column for title in titles.values() for column in (f"{title} raw", title))]
    if missing := [column for column in wanted if column not in row]:
        what = f"lacks the columns {', '.join(missing)}" if row else "has no rows"
        raise ImportFileError(
            f"{file}: {what}. Wanted is the Open LLM Leaderboard's data set `contents`, with its raw scores."
        )
    return titles


# -------------------------------------------------------------------------------------------------------------- rows


def _read_row(row: Row, titles: Mapping[str, str]) -> tuple[Row, list[Row]]:
    """An evaluation and its scores, one for each benchmark. Raises _RowError."""
    sha = str(row["model sha"] or "").strip()
    kind = _text(row, "t") or _text(row, "type") or ""
    evaluation = {
        "row_name": _require(row, "eval_name"),
        "model_id": _require(row, "fullname"),
        "revision": sha if _SHA.fullmatch(sha) else None,
        "precision": _require(row, "precision"),
        "chat_template": bool(_flag(row, "chat template")),
        "finished_at": _day(row, "submission date"),
        "published_average": _number(row, "average"),
        "params_b": _positive(_number(row, "#params (b)")),
        "model_type": _MODEL_TYPES.get(kind[:1]),
        "weight_type": _text(row, "weight type"),
        "architecture": _text(row, "architecture"),
        "license": _text(row, "hub license"),
        "base_model": _text(row, "base model"),
        "generation": _whole(row, "generation"),
        "is_merged": _flag(row, "merged"),
        "is_moe": _flag(row, "moe"),
        "is_flagged": _flag(row, "flagged"),
        "is_official": _flag(row, "official providers"),
        "is_available": _flag(row, "available on the hub"),
        "likes": _whole(row, "hub"),
        "uploaded_at": _day(row, "upload to hub date"),
        "co2_kg": _number(row, "co2 cost (kg)"),
    }
    scores = [
        {"benchmark": name, "raw": _bounded(row, f"{title} raw", 1), "published": _bounded(row, title, 100)}
        for name, title in titles.items()
    ]
    return evaluation, scores


def _text(row: Row, column: str) -> str | None:
    return str(row[column]).strip() or None if row.get(column) is not None else None


def _require(row: Row, column: str) -> str:
    text = _text(row, column)
    if text is None:
        raise _RowError(f"{column}: is empty.")
    return text


def _number(row: Row, column: str) -> float | None:
    """A finite number; nothing, and what stands for nothing in tables, is None."""
    text = _text(row, column)
    if text is None or text.lower() in ("nan", "none", "null", "n/a"):
        return None
    try:
        number = float(text)
    except ValueError:
        raise _RowError(f"{column}: is no number (got {text[:40]!r}).") from None
    if not math.isfinite(number):
        raise _RowError(f"{column}: is not finite (got {text[:40]!r}).")
    return number


def _bounded(row: Row, column: str, highest: float) -> float | None:
    number = _number(row, column)
    if number is not None and not 0 <= number <= highest:
        raise _RowError(f"{column}: must lie between 0 and {highest:g} (got {number!r}).")
    return number


def _positive(number: float | None) -> float | None:
    """Boards write 0 or -1 for a size that they do not know."""
    return number if number is not None and number > 0 else None


def _whole(row: Row, column: str) -> int | None:
    number = _number(row, column)
    return None if number is None else int(number)


def _flag(row: Row, column: str) -> bool | None:
    text = (_text(row, column) or "").lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no"):
        return False
    if text:
        raise _RowError(f"{column}: must be true or false (got {text[:40]!r}).")
    return None


def _day(row: Row, column: str) -> datetime | None:
    value = row.get(column)
    try:
        found = value if isinstance(value, date) else datetime.fromisoformat(str(value or "").strip())
    except ValueError:
        return None
    moment = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
