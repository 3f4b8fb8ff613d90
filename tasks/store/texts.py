"""Cleans texts from outside (model cards, errors): no control characters, valid UTF-8, limited length.

Not for identifiers (ids, hashes): a reader rejects invalid ones.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

MOST_CHARACTERS = 500
# Lone surrogates (allowed in JSON, not in UTF-8), and codes that control a terminal, end a line or change direction.
_CODES = {
    code: "\N{REPLACEMENT CHARACTER}"
    for span in ((0, 32), (127, 160), (0x2028, 0x202F), (0x2066, 0x206A), (0xD800, 0xE000))
    for code in range(*span)
} | dict.fromkeys((9, 10, 13), " ")


def clean_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text on one line, without control codes and lone surrogates, truncated. A clean text is unchanged."""
    cut = text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return cut.translate(_CODES)


def is_clean(text: str, most: int = MOST_CHARACTERS) -> bool:
    """Whether the text needs no cleaning."""
    return clean_text(text, most) == text


def _clean_words(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value


Words = Annotated[str, BeforeValidator(_clean_words)]
"""A field of a record with a text from outside, which is cleaned by validation."""
