"""Takes a ranking that others made into the lake: models by name, with ranks, scores and dates, as its file gives them.

Owns how the columns of such a file are recognised, and what makes a ranking: every model once, and one order. Which of
our models a name means, and how far two rankings agree, is worked out in the warehouse.
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

# What rankings call these columns, the likeliest first; capitals, blanks, dashes and underscores do not matter.
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
    """What became of a ranking's file. `is_new`: it was not in the store before; `dates`: none where it names none."""

    file: str
    ranking: str
    is_new: bool
    n_imported: int
    dates: tuple[datetime, ...]
    columns: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class _Entry:
    """One row of a ranking, and its place in the file."""

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
    """Write the rows of an external ranking into the lake, under a name.

    `date` is that of rows without one; `columns` names the columns of the file (model, rank, score, date) where they
    are not recognised. Raises ImportFileError for a file that is no ranking, and a bad name.
    """
    check_name(name)
    rows = list(file.read())
    titles = _match_columns(file, rows, columns or {})
    left_out: list[LeftOut] = []
    rows = _join_thousands(rows, [titles[what] for what in ("rank", "score") if what in titles])
    entries = list(_read_entries(rows, titles, date, left_out))
    kept = [each for ranking in _split_by_date(entries, left_out) for each in _choose_entries(ranking, left_out)]
    content = sorted(
        [
            {"published_at": date, "model_name": each.model, "rank": each.rank, "score": each.score}
            for date, each in kept
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
    """False when this content was imported before."""
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
    """The file's column for each of model, rank, score and date. Raises ImportFileError without model, or an order."""
    columns = list(dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row))
    if not columns:
        raise ImportFileError(f"{file.name}: has no rows. Wanted are columns such as model, rank, score, date.")
    there_are = f"There are: {', '.join(columns)}."
    by_words = {re.sub(r"[ _-]+", " ", column).strip(): column for column in reversed(columns)}
    titles: dict[str, str] = {}
    for what, known in _TITLES.items():
        if what not in named:
            found = [by_words[title] for title in known if title in by_words]
            titles |= {what: found[0]} if found else {}
        elif simplify(named[what]) in columns:
            titles[what] = simplify(named[what])
        else:
            raise ImportFileError(f"--column: {file.name} has no column {named[what]!r}. {there_are}")
    if "model" not in titles:
        raise ImportFileError(
            f"{file.name}: no column is that of the models. Name it: --column model=NAME. {there_are}"
        )
    if "rank" not in titles and "score" not in titles:
        raise ImportFileError(
            f"{file.name}: there is neither a column of ranks nor one of scores. Name one: --column score=NAME."
            f" {there_are}"
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
    """1,400 as 1400 in columns where every comma stands so; beside a 1,4 or a 0,400 it may be a decimal one."""
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
        found = moment.astimezone(UTC) if moment else None
    except OverflowError:
        found = None
    if found is None:
        raise RowError(f"{column}: is no day such as 2025-03-01 (got {text[:40]!r}).")
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


# ----------------------------------------------------------------------------------------------------------- rankings

_Dated = tuple[datetime | None, list[_Entry]]


def _split_by_date(entries: list[_Entry], left_out: list[LeftOut]) -> list[_Dated]:
    """The rankings that a file holds: one a date where any model has several, else one, of the newest date."""
    dates_of: dict[str, set[datetime | None]] = {}
    for each in entries:
        dates_of.setdefault(each.model, set()).add(each.date)
    dates = {each.date for each in entries if each.date is not None}
    if all(len(found) == 1 for found in dates_of.values()):
        return [(max(dates, default=None), entries)]
    left_out += [
        LeftOut(each.place, "has no date in a file of several; give those without one a date by --date.")
        for each in entries
        if each.date is None
    ]
    return [(date, [each for each in entries if each.date == date]) for date in sorted(dates)]


def _choose_entries(ranking: _Dated, left_out: list[LeftOut]) -> Iterator[tuple[datetime | None, _Entry]]:
    """Each model once, all of them in one order: by rank, unless more rows have a score."""
    date, entries = ranking
    by_model: dict[str, list[_Entry]] = {}
    for each in entries:
        by_model.setdefault(each.model, []).append(each)
    n_without = Counter(what for each in entries for what in ("rank", "score") if getattr(each, what) is None)
    order = "rank" if n_without["rank"] <= n_without["score"] else "score"
    for model, same in by_model.items():
        problem = None
        if len({(each.rank, each.score) for each in same}) > 1:
            problem = f"{model} is there {len(same)} times, with other values. Leave one of them in the file."
        elif getattr(same[0], order) is None:
            problem = f"has no {order}, by which the other rows are ordered."
        if problem is None:
            yield date, same[0]
        else:
            left_out += [LeftOut(each.place, problem) for each in same]
