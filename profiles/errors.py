"""A mistake in a profile and how it is put into words.

Owns the one form of a message: `file:line: key.path: what is wrong (got ...). what to do`. Knows no profile.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Legal words that still fit into a message.
_MANY = 30

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """One mistake. `line` 0 and an empty `key` mean the file as a whole."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.text) if part)


class ProfileError(Exception):
    """Profiles cannot be used. Holds every mistake that was found over all files; its text is one line a mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def sort_mistakes(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Each mistake once, file by file as they were read, each file from top to bottom."""
    unique = list(dict.fromkeys(mistakes))
    files = {mistake.file: position for position, mistake in reversed(list(enumerate(unique)))}
    return sorted(unique, key=lambda mistake: (files[mistake.file], mistake.line))


def join_key(key: KeyPath) -> str:
    """Write a key path as an operator would point at it: `benchmarks.bbh.tasks`, `models[2].id`."""
    text = ""
    for step in key:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def describe_value(value: Any) -> str:
    """Say what stands in the file, short enough for one line."""
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


def suggest(word: str, legal: Iterable[str], what: str) -> str:
    """Name the nearest legal word, if one is near, and then all of them, or the nearest ten of very many.

    `what` names the words in the plural, such as `keys`.
    """
    words = list(legal)
    lower = {name.lower(): name for name in words}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    hint = f"Did you mean {lower[near[0]]}? " if near else ""
    if len(words) > _MANY:
        nearest = difflib.get_close_matches(word.lower(), lower, n=10, cutoff=0)
        return f"{hint}Legal {what}: {', '.join(lower[name] for name in nearest)} and {len(words) - 10} more."
    return f"{hint}Legal {what}: {', '.join(words) if words else 'none'}."
