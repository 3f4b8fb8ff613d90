"""The schedule of a board: checks a five-field cron and a time zone's name. Computes no time."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from nightboard.profiles.errors import suggest
from nightboard.profiles.models.base import Profile, refuse

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, lowest and highest value, names for the values (the first one for the lowest value).
_CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)

_CRON_ADVICE = "Write minute, hour, day, month and weekday, such as '0 2 * * *'"


def find_cron_problem(cron: str) -> str | None:
    """What is wrong with `cron` and what to do, or None."""
    fields = cron.split()
    if len(fields) != len(_CRON_FIELDS):
        return f"must have 5 fields, not {len(fields)}. {_CRON_ADVICE}"
    for text, (name, low, high, words) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_is_cron_part(part, low, high, words) for part in text.split(",")):
            return f"has an invalid {name} {text!r}. {_CRON_ADVICE}"
    return None


def _is_cron_part(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part)
    if match is None:
        return False
    if match[1] == "*":
        return True
    start = _read_cron_value(match[2], low, words)
    end = _read_cron_value(match[3], low, words) if match[3] else start
    return start is not None and end is not None and low <= start <= end <= high


def _read_cron_value(text: str, low: int, words: tuple[str, ...]) -> int | None:
    if text.lower() in words:
        return words.index(text.lower()) + low
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else None


def find_timezone_problem(name: str) -> str | None:
    """What is wrong with the time zone `name` and what to do, or None."""
    try:
        ZoneInfo(name or "empty")
    except (KeyError, ValueError, OSError):
        near = suggest(name, available_timezones(), "zones").partition("Legal zones")[0]
        return f"is not a known time zone. {near}Write a name such as Europe/Paris or UTC"
    return None


Cron = Annotated[str, refuse(find_cron_problem)]
TimeZone = Annotated[str, refuse(find_timezone_problem)]


class Schedule(Profile):
    """When the nightly flow runs."""

    cron: Cron = "0 2 * * *"
    timezone: TimeZone = "UTC"
