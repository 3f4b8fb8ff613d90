"""The error messages about profiles: their one form, and suggestions for misspelled names.

A message reads `file:line: key.path: what is wrong (got ...). what to do`. Nothing here depends on a kind of profile.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# The most legal words that a message lists.
_MANY = 30

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """One mistake. `line` 0 and an empty `key` refer to the whole file."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.text) if part)


class ProfileError(Exception):
    """Profiles cannot be used. Holds every mistake found in all files; its text has one line per mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def sort_mistakes(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Each mistake once, in the order in which the files were read, each file from top to bottom."""
    unique = list(dict.fromkeys(mistakes))
    files = {mistake.file: position for position, mistake in reversed(list(enumerate(unique)))}
    return sorted(unique, key=lambda mistake: (files[mistake.file], mistake.line))


def join_key(key: KeyPath) -> str:
    """Write a key path as text: `benchmarks.bbh.tasks`, `models[2].id`."""
    text = ""
    for step in key:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def describe_value(value: Any) -> str:
    """A value of a file as text, short enough for one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(word: str, legal: Iterable[str]) -> list[str]:
    """Up to three legal words that contain it or are near, the nearest first."""
    lower = {name.lower(): name for name in legal}
    inside = sorted(name for name in lower if word and word.lower() in name)
    near = difflib.get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
    return [lower[name] for name in dict.fromkeys([*inside, *near])][:3]


def suggest(word: str, legal: Iterable[str], what: str) -> str:
    """Suggest the nearest legal word, if one is near, and list all of them, or the nearest ten if there are too many.

    `what` says what the words are, in the plural, such as `keys`.
    """
    words = list(legal)
    lower = {name.lower(): name for name in words}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    hint = f"Did you mean {lower[near[0]]}? " if near else ""
    if len(words) > _MANY:
        nearest = difflib.get_close_matches(word.lower(), lower, n=10, cutoff=0)
        return f"{hint}Legal {what}: {', '.join(lower[name] for name in nearest)} and {len(words) - 10} more."
    return f"{hint}Legal {what}: {', '.join(words) if words else 'none'}."
