"""Imports the published table of the Open LLM Leaderboard into the lake: benchmark scores, without tasks and samples.

Reads the layout of its dataset `contents`, in one file or several. A row that cannot be read is skipped and listed;
importing twice changes nothing, and a newer table with the same name replaces an older one row by row. Scores are
computed in the warehouse, like all scores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nightboard.profiles.errors import suggest
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.imports.cells import (
    NOTHING,
    Row,
    RowError,
    read_flag,
    read_number,
    read_text,
    read_time,
    read_whole,
    require_text,
)
from nightboard.tasks.imports.errors import ImportFileError, LeftOut
from nightboard.tasks.imports.lm_eval_model import DEFAULT_BRANCH
from nightboard.tasks.imports.lm_eval_model import SOURCE as RESULTS_SOURCE
from nightboard.tasks.imports.table_files import TableFile, check_name, simplify
from nightboard.tasks.imports.table_source import Tables
from nightboard.tasks.store.declarations import declare_imported
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import has_file, next_time, read_table, write_file
from nightboard.warehouse.schema.lake_tables import IMPORTED_SCORES, IMPORTS

# The era of a suite that declares none.
AS_PUBLISHED = "as-published"

_MODEL_TYPES = {
    "🟢": "pretrained", "🟩": "continuously pretrained", "🔶": "fine-tuned", "💬": "chat", "🤝": "merge",
    "🌸": "multimodal",
}  # fmt: skip
_SHA = re.compile(r"[0-9a-f]{40}")
_REQUIRED = ("eval_name", "fullname", "model sha", "precision", "chat template", "average")


@dataclass(frozen=True)
class BoardImport:
    """The result of an import of a board. `is_new`: it was not in the store before; `revision`: its commit on the Hub.

    `n_withdrawn`: rows of the last import of this board and era that are no longer in the table, so no longer ranked.
    `unread_dates`: invalid dates of rows that are imported without them; `other_eras`: number of rows that are also in
    the store under another era, by model, commit and precision.
    """

    file: str
    revision: str | None
    source: str
    suite: str
    era: str
    is_new: bool
    n_without_sha: int
    n_withdrawn: int
    left_out: tuple[LeftOut, ...]
    unread_dates: tuple[LeftOut, ...]
    evaluation_ids: tuple[str, ...]
    other_eras: Mapping[str, int]

    @property
    def n_imported(self) -> int:
        return len(self.evaluation_ids)


def import_board(
    store: Store, board: Tables | Path, suite: Suite, era: str | None, name: str, now: datetime
) -> BoardImport:
    """Write the rows of a board's table to the lake, as source `import:<name>` in an era of the suite.

    Raises ImportFileError for a file of another layout, an era that the suite does not declare, and an invalid name.
    """
    tables = board if isinstance(board, Tables) else Tables.local(board)
    source, era = _name_source(name), _choose_era(suite, era)
    found: dict[str, tuple[Row, list[Row]]] = {}
    left_out, unread_dates = [], []
    for place, row in ((place, row) for file in tables.files for place, row in _read_rows(file, suite)):
        try:
            if isinstance(row, RowError):
                raise row
            evaluation, scores = _read_row(row, suite)
            key = [source, suite.suite, era, evaluation["row_name"], evaluation["revision"] or ""]
            evaluation_id = hash_json(key)[:32]
            if found.setdefault(evaluation_id, (evaluation, scores)) != (evaluation, scores):
                raise RowError(f"eval_name: {evaluation['row_name']} occurs in an earlier row with other values.")
            unread_dates += [LeftOut(place, reason) for reason in _find_unread_dates(row)]
        except RowError as error:
            left_out.append(LeftOut(place, str(error)))
    common = {"source": source, "suite": suite.suite, "era": era}
    if tables.revision is not None:  # rows of a local file are identified only by their content
        common["source_revision"] = tables.revision
    n_withdrawn = _count_withdrawn(store, source, suite, era, found)
    is_new = bool(found) and _write(store, found, common, suite, now)
    return BoardImport(
        file=tables.name,
        revision=tables.revision,
        source=source,
        suite=suite.suite,
        era=era,
        is_new=is_new,
        n_withdrawn=n_withdrawn if is_new else 0,
        n_without_sha=sum(evaluation["revision"] is None for evaluation, _ in found.values()),
        left_out=tuple(left_out),
        unread_dates=tuple(unread_dates),
        evaluation_ids=tuple(found),
        other_eras=_count_other_eras(store, [evaluation for evaluation, _ in found.values()], source, suite, era),
    )


def _name_source(name: str) -> str:
    source = f"import:{check_name(name)}"
    if source == RESULTS_SOURCE:
        raise ImportFileError(
            f"--name: is reserved for rows of `import results` (got {name!r}). Choose another name, such as the"
            " board's."
        )
    return source


def _choose_era(suite: Suite, era: str | None) -> str:
    names = [declared.name for declared in suite.eras] or [AS_PUBLISHED]
    if era is None and len(names) == 1:
        return names[0]
    if era is None:
        raise ImportFileError(
            f"--era: is required, because suite {suite.suite} has {len(names)} eras. Name the era of the file: "
            f"{', '.join(names)}."
        )
    if era not in names:
        raise ImportFileError(
            f"--era: is not an era of suite {suite.suite} (got {era!r}). {suggest(era, names, 'eras')}"
        )
    return era


def _count_other_eras(store: Store, found: Sequence[Row], source: str, suite: Suite, era: str) -> dict[str, int]:
    """Number of rows that the store also has under another era: one file under two eras is usually a mistake."""
    keys = ("model_id", "revision", "precision")
    mine = {tuple(row[key] for key in keys) for row in found}
    others = {
        (row["era"], tuple(row[key] for key in keys))
        for row in read_table(store, IMPORTS, ["source", "suite", "era", *keys]).to_pylist()
        if (row["source"], row["suite"]) == (source, suite.suite) and row["era"] != era
    }
    return dict(sorted(Counter(other for other, key in others if key in mine).items()))


def _count_withdrawn(store: Store, source: str, suite: Suite, era: str, found: Collection[str]) -> int:
    """Number of rows of the newest import of the same board and era that are not among the evaluations found now."""
    rows = read_table(store, IMPORTS, ["evaluation_id", "source", "suite", "era", "imported_at"]).to_pylist()
    same = [row for row in rows if (row["source"], row["suite"], row["era"]) == (source, suite.suite, era)]
    newest = max((row["imported_at"] for row in same), default=None)
    return len({row["evaluation_id"] for row in same if row["imported_at"] == newest} - {*found})


def _write(
    store: Store, found: Mapping[str, tuple[Row, list[Row]]], common: Mapping[str, str], suite: Suite, now: datetime
) -> bool:
    """Write both tables, the one that marks the import as complete last; False if this content was imported before."""
    evaluations, scores = [], []
    for evaluation_id, (evaluation, benchmarks) in sorted(found.items()):
        evaluations.append({"evaluation_id": evaluation_id, **common, **evaluation})
        scores += [{"evaluation_id": evaluation_id, **benchmark} for benchmark in benchmarks]
    name = hash_json([[_plain(row) for row in rows] for rows in (evaluations, scores)])[:32]
    if has_file(store, IMPORTS, name):
        return False
    imported_at = next_time(store, IMPORTS, "imported_at", now)
    declare_imported(store, suite, now)
    for table, rows in ((IMPORTED_SCORES, scores), (IMPORTS, evaluations)):
        nothing = dict.fromkeys(table.arrow.names)
        write_file(store, table, name, [nothing | row | {"imported_at": imported_at} for row in rows])
    return True


def _plain(row: Row) -> Row:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}


def _read_rows(file: TableFile, suite: Suite) -> list[tuple[str, Row | RowError]]:
    """All rows of a file. Raises ImportFileError for a file without rows, or without a required column."""
    rows = list(file.read())
    columns = {column for _, row in rows if isinstance(row, dict) for column in row}
    titles = [simplify(benchmark.title) for benchmark in suite.benchmarks.values()]
    wanted = [*_REQUIRED, *(column for title in titles for column in (f"{title} raw", title))]
    if missing := [column for column in wanted if column not in columns]:
        what = f"lacks the columns {', '.join(missing)}" if columns else "has no rows"
        raise ImportFileError(
            f"{file.name}: {what}. Import the Open LLM Leaderboard's dataset `contents`, with its raw scores."
        )
    return rows


# -------------------------------------------------------------------------------------------------------------- rows


def _read_row(row: Row, suite: Suite) -> tuple[Row, list[Row]]:
    """An evaluation and its scores, one per benchmark. Raises RowError."""
    titles = {name: simplify(benchmark.title) for name, benchmark in suite.benchmarks.items()}
    sha = read_text(row, "model sha") or ""
    kind = read_text(row, "t") or read_text(row, "type") or ""
    evaluation = {
        "row_name": require_text(row, "eval_name"),
        "model_id": require_text(row, "fullname"),
        "revision": sha if _SHA.fullmatch(sha) else None,
        "precision": require_text(row, "precision"),
        "chat_template": bool(read_flag(row, "chat template")),
        "finished_at": read_time(row.get("submission date")),
        "published_average": read_number(row, "average"),
        "params_b": _positive(read_number(row, "#params (b)")),
        "model_type": _MODEL_TYPES.get(kind[:1]),
        "weight_type": read_text(row, "weight type"),
        "architecture": read_text(row, "architecture"),
        "license": read_text(row, "hub license"),
        "base_model": read_text(row, "base model"),
        "generation": read_whole(row, "generation"),
        "is_merged": read_flag(row, "merged"),
        "is_moe": read_flag(row, "moe"),
        "is_flagged": read_flag(row, "flagged"),
        "is_official": read_flag(row, "official providers"),
        "is_available": read_flag(row, "available on the hub"),
        "likes": read_whole(row, "hub", "Hub ❤️"),
        "uploaded_at": read_time(row.get("upload to hub date")),
        "co2_kg": read_number(row, "co2 cost (kg)"),
    }
    if sha and evaluation["revision"] is None and sha.lower() not in (DEFAULT_BRANCH, *NOTHING):
        evaluation["revision_name"] = sha
    scores = [
        {"benchmark": name, "raw": _bounded(row, f"{title} raw", 1), "published": _bounded(row, title, 100)}
        for name, title in titles.items()
    ]
    return evaluation, scores


def _find_unread_dates(row: Row) -> Iterator[str]:
    for column in ("submission date", "upload to hub date"):
        text = read_text(row, column) or ""
        if text.lower() not in ("", *NOTHING) and read_time(row[column]) is None:
            yield f"{column}: is not an ISO date (got {text[:40]!r})."


def _bounded(row: Row, column: str, highest: float) -> float | None:
    number = read_number(row, column)
    if number is not None and not 0 <= number <= highest:
        raise RowError(f"{column}: must be between 0 and {highest:g} (got {number!r}).")
    return number


def _positive(number: float | None) -> float | None:
    """The number, or None: boards write 0 or -1 for an unknown size."""
    return number if number is not None and number > 0 else None
