"""Imports an external ranking: finds its columns of model, rank, score and date, and writes their rows to the lake.

Recognizes the columns of the file, and checks that it is a ranking: every model once, in one order. Names are matched
to our models, and rankings compared, in the warehouse.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.imports.cells import Row, RowError, read_number, read_text, read_time, read_whole, require_text
from nightboard.tasks.imports.errors import ImportFileError, LeftOut
from nightboard.tasks.imports.table_files import TableFile, check_name, simplify
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import has_file, next_time, write_file
from nightboard.warehouse.schema.lake_tables import RANKINGS

# Usual titles of these columns, the most likely first; case, blanks, dashes and underscores are ignored.
_TITLES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model id", "model name", "fullname", "name"),
    "rank": ("rank", "ranking", "position", "place", "#"),
    "score": ("score", "rating", "elo", "elo rating", "arena score", "average", "average score"),
    "date": ("date", "day", "published", "published at", "publish date", "leaderboard publish date", "last updated"),
}
COLUMNS = tuple(_TITLES)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")

_Placed = tuple[str, Row | RowError]


@dataclass(frozen=True)
class RankingImport:
    """The result of an import of a ranking. `is_new`: it was not in the store before; `dates`: empty if it has none."""

    file: str
    ranking: str
    is_new: bool
    n_imported: int
    dates: tuple[datetime, ...]
    columns: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class _Entry:
    """One row of a ranking, with its place in the file."""

    place: str
    model: str
    rank: int | None
    score: float | None
    date: datetime | None


def import_ranking(
    store: Store,
    file: TableFile,
    name: str,
    now: datetime,
    *,
    date: datetime | None = None,
    is_ascending: bool = False,
    columns: Mapping[str, str] | None = None,
) -> RankingImport:
    """Write the rows of an external ranking to the lake, under a name.

    `date` is for rows without a date; `columns` names the columns of the file (model, rank, score, date) that are not
    recognized. Raises ImportFileError for a file that is not a ranking, and an invalid name.
    """
    check_name(name)
    rows = list(file.read())
    titles = _match_columns(file, rows, columns or {})
    left_out: list[LeftOut] = []
    rows = _join_thousands(rows, [titles[what] for what in ("rank", "score") if what in titles])
    entries = list(_read_entries(rows, titles, date, left_out))
    kept = [pair for ranking in _split_by_date(entries, left_out) for pair in _choose_entries(ranking, left_out)]
    content = sorted(
        [
            {"published_at": date, "model_name": entry.model, "rank": entry.rank, "score": entry.score}
            for date, entry in kept
        ],
        key=str,
    )
    return RankingImport(
        file=file.name,
        ranking=name,
        is_new=bool(content) and _write(store, name, is_ascending, content, now),
        n_imported=len(content),
        dates=tuple(sorted({date for date, _ in kept if date is not None})),
        columns=titles,
        left_out=tuple(left_out),
    )


def _write(store: Store, name: str, is_ascending: bool, content: list[Row], now: datetime) -> bool:
    """Write the rows; False if this content was imported before."""
    plain = [[str(row["published_at"] or ""), row["model_name"], row["rank"], row["score"]] for row in content]
    file = hash_json([name, is_ascending, plain])[:32]
    if has_file(store, RANKINGS, file):
        return False
    imported_at = next_time(store, RANKINGS, "imported_at", now)
    common = {"ranking": name, "is_ascending": is_ascending, "imported_at": imported_at}
    write_file(store, RANKINGS, file, [common | row for row in content])
    return True


# ------------------------------------------------------------------------------------------------------------ columns


def _match_columns(file: TableFile, rows: list[_Placed], named: Mapping[str, str]) -> dict[str, str]:
    """The file's columns for model, rank, score and date. Raises ImportFileError without model, or rank and score."""
    columns = list(dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row))
    if not columns:
        raise ImportFileError(f"{file.name}: has no rows. Give a file with columns such as model, rank, score, date.")
    legal = f"Columns: {', '.join(columns)}."
    by_words = {re.sub(r"[ _-]+", " ", column).strip(): column for column in reversed(columns)}
    titles: dict[str, str] = {}
    for what, known in _TITLES.items():
        if what not in named:
            matches = [by_words[title] for title in known if title in by_words]
            titles |= {what: matches[0]} if matches else {}
        elif simplify(named[what]) in columns:
            titles[what] = simplify(named[what])
        else:
            raise ImportFileError(f"--column: {file.name} has no column {named[what]!r}. {legal}")
    if "model" not in titles:
        raise ImportFileError(
            f"{file.name}: has no recognized column of models. Name it with --column model=NAME. {legal}"
        )
    if "rank" not in titles and "score" not in titles:
        raise ImportFileError(
            f"{file.name}: has no recognized column of ranks or scores. Name one with --column score=NAME. {legal}"
        )
    return titles


# --------------------------------------------------------------------------------------------------------------- rows


def _read_entries(
    rows: list[_Placed], titles: Mapping[str, str], date: datetime | None, left_out: list[LeftOut]
) -> Iterator[_Entry]:
    for place, row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            yield _read_entry(place, row, titles, date)
        except RowError as error:
            left_out.append(LeftOut(place, str(error)))


def _join_thousands(rows: list[_Placed], columns: Sequence[str]) -> list[_Placed]:
    """1,400 as 1400, if every comma in the column is at such a place; with a 1,4 or 0,400 it may be a decimal comma."""
    for column in columns:
        cells = [(row, str(row[column]).strip()) for _, row in rows if isinstance(row, dict) and column in row]
        parted = [(row, text) for row, text in cells if "," in text]
        if all(_THOUSANDS.fullmatch(text) for _, text in parted):
            for row, text in parted:
                row[column] = text.replace(",", "")
    return rows


def _read_entry(place: str, row: Row, titles: Mapping[str, str], date: datetime | None) -> _Entry:
    rank = read_whole(row, titles["rank"]) if "rank" in titles else None
    if rank is not None and (rank < 1 or rank != read_number(row, titles["rank"])):
        raise RowError(f"{titles['rank']}: must be a whole number from 1 (got {row[titles['rank']]!r}).")
    score = read_number(row, titles["score"]) if "score" in titles else None
    if rank is None and score is None:
        raise RowError("has neither a rank nor a score.")
    return _Entry(place, require_text(row, titles["model"]), rank, score, _read_day(row, titles.get("date")) or date)


def _read_day(row: Row, column: str | None) -> datetime | None:
    text = read_text(row, column) if column else None
    if column is None or text is None:
        return None
    try:
        moment = read_time(row[column])
        day = moment.astimezone(UTC) if moment else None
    except OverflowError:
        day = None
    if day is None:
        raise RowError(f"{column}: is not a date such as 2025-03-01 (got {text[:40]!r}).")
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# ----------------------------------------------------------------------------------------------------------- rankings

_Dated = tuple[datetime | None, list[_Entry]]


def _split_by_date(entries: list[_Entry], left_out: list[LeftOut]) -> list[_Dated]:
    """The rankings in a file: one per date if any model has several dates, otherwise one, with the newest date."""
    dates_of: dict[str, set[datetime | None]] = {}
    for entry in entries:
        dates_of.setdefault(entry.model, set()).add(entry.date)
    dates = {entry.date for entry in entries if entry.date is not None}
    if all(len(model_dates) == 1 for model_dates in dates_of.values()):
        return [(max(dates, default=None), entries)]
    left_out += [
        LeftOut(entry.place, "has no date, and the file has several dates. Set a date for such rows with --date.")
        for entry in entries
        if entry.date is None
    ]
    return [(date, [entry for entry in entries if entry.date == date]) for date in sorted(dates)]


def _choose_entries(ranking: _Dated, left_out: list[LeftOut]) -> Iterator[tuple[datetime | None, _Entry]]:
    """Each model once, all in the same order: by rank, unless more rows have a score."""
    date, entries = ranking
    by_model: dict[str, list[_Entry]] = {}
    for entry in entries:
        by_model.setdefault(entry.model, []).append(entry)
    n_without = Counter(what for entry in entries for what in ("rank", "score") if getattr(entry, what) is None)
    order = "rank" if n_without["rank"] <= n_without["score"] else "score"
    for model, same in by_model.items():
        problem = None
        if len({(entry.rank, entry.score) for entry in same}) > 1:
            problem = f"{model} occurs {len(same)} times with different values. Keep one of these rows in the file."
        elif getattr(same[0], order) is None:
            problem = f"has no {order}, which orders the other rows."
        if problem is None:
            yield date, same[0]
        else:
            left_out += [LeftOut(entry.place, problem) for entry in same]
