"""Parses the cells of an imported table by type: text, number, whole number, flag, time."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

Row = dict[str, Any]
_MOST_CHARACTERS = 10_000
_LARGEST = 2**53
# Texts that mean an empty cell, in lower case.
NOTHING = ("nan", "none", "null", "n/a", "-")


class RowError(Exception):
    """A row cannot be read; the message names the column."""


# ------------------------------------------------------------------------------------------------------------- cells


def read_text(row: Row, column: str) -> str | None:
    """A cell as text without surrounding blanks; None if it is empty. Raises RowError."""
    if row.get(column) is None:
        return None
    text = str(row[column]).strip()
    if len(text) > _MOST_CHARACTERS:
        raise RowError(f"{column}: is too long (got {len(text):,} characters).")
    if not text.isascii() and text != text.encode(errors="ignore").decode():
        raise RowError(f"{column}: is not valid Unicode.")  # a lone surrogate, which JSON allows
    return text or None


def require_text(row: Row, column: str) -> str:
    """A cell that must not be empty. Raises RowError."""
    text = read_text(row, column)
    if text is None:
        raise RowError(f"{column}: is empty.")
    return text


def read_number(row: Row, column: str, title: str | None = None) -> float | None:
    """A finite number; None for an empty cell. Raises RowError.

    `title`: the name of the column in messages, if its simplified name is ambiguous.
    """
    text = read_text(row, column)
    if text is None or text.lower() in NOTHING:
        return None
    try:
        number = float(text)
    except ValueError:
        raise RowError(f"{title or column}: is not a number (got {text[:40]!r}).") from None
    if not math.isfinite(number):
        raise RowError(f"{title or column}: is not finite (got {text[:40]!r}).")
    return number


def read_whole(row: Row, column: str, title: str | None = None) -> int | None:
    """A number without its fraction; `title` as in read_number. Raises RowError."""
    number = read_number(row, column, title)
    if number is not None and abs(number) > _LARGEST:
        raise RowError(f"{title or column}: is too large (got {number!r}).")
    return None if number is None else int(number)


def read_flag(row: Row, column: str) -> bool | None:
    """A boolean in the usual words; None for an empty cell. Raises RowError for other words."""
    text = (read_text(row, column) or "").lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no"):
        return False
    if text:
        raise RowError(f"{column}: must be true or false (got {text[:40]!r}).")
    return None


def read_time(value: Any) -> datetime | None:
    """An ISO date or time, in UTC if it has no zone; None for anything else."""
    try:
        parsed = value if isinstance(value, date) else datetime.fromisoformat(str(value or "").strip())
    except ValueError:
        return None
    moment = parsed if isinstance(parsed, datetime) else datetime(parsed.year, parsed.month, parsed.day)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        moment.astimezone(UTC)
    except OverflowError:  # in UTC, it is before the first or after the last year
        return None
    return moment
