"""The values of the selection language: what each method takes, how it is read, and how it is written.

The grammar is in selection.py, what a method asks of a unit in select.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias, cast, get_args

from packaging.version import InvalidVersion, Version

from nightboard.profiles.errors import describe_value, suggest
from nightboard.profiles.models.endings import Ending

State = Literal["missing", "failed", "stale", "incomplete", "done"]
Operator = Literal["<", "<=", ">", ">=", "=", "!="]

OPERATORS: tuple[str, ...] = get_args(Operator)
AVERAGE = "average"
# What a benchmark that an evaluation left out has instead of an ending.
LEFT_OUT = "left_out"

_NUMBER = r"-?\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?"
_SPAN = re.compile(rf"({_NUMBER})?\.\.({_NUMBER})?")
# What needs no quotes; an exclamation mark could be read as part of !=.
_PLAIN = re.compile(r"""[^\s,|"'()<>=!]+""")


@dataclass(frozen=True)
class Pattern:
    """A name, or a pattern as in a shell; of a revision, its first digits."""

    text: str

    def __str__(self) -> str:
        return quote(self.text)


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high`, both included; None: no limit on that side."""

    low: float | None
    high: float | None

    def __str__(self) -> str:
        return "..".join("" if end is None else _write_number(end) for end in (self.low, self.high))


@dataclass(frozen=True)
class Comparison:
    """A number or version compared with a bound; `subject`: the benchmark whose score it is, if one is named."""

    operator: Operator
    bound: float | Version
    subject: str | None = None

    def __str__(self) -> str:
        bound = str(self.bound) if isinstance(self.bound, Version) else _write_number(self.bound)
        if self.subject is None:
            return quote(bound) if self.operator == "=" else f"{self.operator}{quote(bound)}"
        return f"{quote(self.subject)}{self.operator}{quote(bound)}"


@dataclass(frozen=True)
class Newest:
    """The newest commits of each model and ref; None: all of them."""

    count: int | None

    def __str__(self) -> str:
        return "all" if self.count is None else "newest" if self.count == 1 else f"newest-{self.count}"


@dataclass(frozen=True)
class Since:
    """From the beginning of a day on, in UTC."""

    day: date

    def __str__(self) -> str:
        return self.day.isoformat()


Value: TypeAlias = Pattern | Span | Comparison | Newest | Since


@dataclass(frozen=True)
class Given:
    """A value as it is written: `bbh>60` is the name bbh, the operator > and the bound 60."""

    name: str | None
    operator: Operator | None = None
    bound: str = ""


class WrongValueError(Exception):
    """What is wrong with a value, and what to do."""


Reader = Callable[[Given], Value | None]


@dataclass(frozen=True)
class Method:
    """What a method takes, in words and as an example, and how its value is read; None: it is of another kind."""

    takes: str
    example: str
    read: Reader


def quote(text: str) -> str:
    """The text as a value, in quotes where it needs them."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unquote(written: str) -> str:
    """The text of a value, with or without quotes."""
    if written.startswith("'"):
        return written[1:-1]
    return re.sub(r"\\(.)", r"\1", written[1:-1], flags=re.DOTALL) if written.startswith('"') else str(written)


def _write_number(number: float) -> str:
    return repr(number).removesuffix(".0")


def _read_number(text: str) -> float | None:
    return float(text) if re.fullmatch(_NUMBER, text) else None


def _read_pattern(given: Given) -> Value | None:
    return Pattern(given.name) if given.name and given.operator is None else None


def _read_choice(legal: Collection[str], what: str) -> Reader:
    def read(given: Given) -> Value | None:
        value = _read_pattern(given)
        if isinstance(value, Pattern) and value.text not in legal:
            known = suggest(value.text, legal, f"{what}s")
            raise WrongValueError(f"unknown {what} {describe_value(value.text)}. {known}")
        return value

    return read


def _read_revision(given: Given) -> Value | None:
    value = _read_pattern(given)
    if isinstance(value, Pattern) and not re.fullmatch("[0-9a-f]{4,40}", value.text):
        got = describe_value(value.text)
        raise WrongValueError(f"{got} is no commit. Write its first 4 to 40 digits, in 0-9 and a-f.")
    return value


def _read_numbers(given: Given) -> Value | None:
    if given.operator is not None:
        return _compare_number(given) if given.name is None else None
    text = given.name or ""
    if (number := _read_number(text)) is not None:
        return Comparison("=", number)
    span = _SPAN.fullmatch(text)
    if span is None or text == "..":
        return None
    low, high = (None if end is None else float(end) for end in span.groups())
    if low is not None and high is not None and low > high:
        turned = Span(high, low)
        raise WrongValueError(f"a range goes from the lower to the higher number (got {text}). Write {turned}.")
    return Span(low, high)


def _compare_number(given: Given) -> Comparison | None:
    bound = _read_number(given.bound)
    return None if bound is None or given.operator is None else Comparison(given.operator, bound, given.name)


def _read_score(given: Given) -> Value | None:
    return _read_numbers(given) if given.name is None or given.operator is None else _compare_number(given)


def _read_version(given: Given) -> Value | None:
    is_compared = given.operator is not None
    if is_compared and given.name is not None:
        return None
    try:
        return Comparison(given.operator or "=", Version(given.bound if is_compared else given.name or ""))
    except InvalidVersion:
        return None


def _read_commits(given: Given) -> Value | None:
    match = re.fullmatch(r"(all)|newest(?:-([1-9]\d{0,5}))?", given.name or "") if given.operator is None else None
    if match is None:
        return None
    return Newest(None if match[1] else int(match[2] or 1))


def _read_day(given: Given) -> Value | None:
    if given.operator is not None or not re.fullmatch(r"\d{4}-\d\d-\d\d", given.name or ""):
        return None
    try:
        return Since(date.fromisoformat(cast(str, given.name)))
    except ValueError:
        raise WrongValueError(f"{given.name} is no day of the calendar. Write one as year-month-day.") from None


_NUMBERS = "a number, a range such as 7..14, ..3 or 70.., or a comparison such as <=8"
_VERSIONS = "a version or a comparison such as <3"
METHODS: dict[str, Method] = {
    "model": Method("a model id or pattern", "Qwen/*", _read_pattern),
    "org": Method("an organization or pattern", "allenai", _read_pattern),
    "revision": Method("the first digits of a commit", "1a2b3c", _read_revision),
    "commits": Method("newest, newest-N or all", "newest-3", _read_commits),
    "since": Method("a day as year-month-day", "2026-01-01", _read_day),
    "suite": Method("a suite or pattern", "leaderboard-v2", _read_pattern),
    "benchmark": Method("a benchmark or pattern", "bbh", _read_pattern),
    "era": Method("an era or pattern", "math-verify", _read_pattern),
    "task-version": Method(_VERSIONS, "<3", _read_version),
    "harness": Method(_VERSIONS, "<0.4.13", _read_version),
    "precision": Method("a number format or pattern", "bfloat16", _read_pattern),
    "chat-template": Method("yes or no", "no", _read_choice(("yes", "no"), "chat-template value")),
    "params": Method(f"billions of parameters as {_NUMBERS}", "7..14", _read_numbers),
    "state": Method("a state", "failed", _read_choice(get_args(State), "state")),
    "reason": Method("an ending", "out_of_memory", _read_choice((*get_args(Ending), LEFT_OUT), "reason")),
    "score": Method(f"{_NUMBERS} or bbh>60", "bbh>60", _read_score),
    "rank": Method(_NUMBERS, "<=100", _read_numbers),
    "request": Method("the first letters of a request's id, or a pattern", "4f1c2a", _read_pattern),
    "selector": Method("the name of a selector", "small-models", _read_pattern),
}
