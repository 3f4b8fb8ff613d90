"""Makes a text that a stranger wrote one that every file, table and terminal can hold.

Owns what such a text may not contain and how long it may be. Identifiers (ids, hashes) are not meant to be changed: who
reads them refuses the odd ones.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

MOST_CHARACTERS = 500
# Half a character (JSON lets it through, UTF-8 does not), and codes that steer a terminal, end a line or turn it round.
_CODES = {
    code: "\N{REPLACEMENT CHARACTER}"
    for span in ((0, 32), (127, 160), (0x2028, 0x202F), (0x2066, 0x206A), (0xD800, 0xE000))
    for code in range(*span)
} | dict.fromkeys((9, 10, 13), " ")


def clean_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text on one line, without codes and half characters, cut where it is long. A clean text stays as it is."""
    cut = text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return cut.translate(_CODES)


def is_clean(text: str, most: int = MOST_CHARACTERS) -> bool:
    """Whether the text can be kept as it is."""
    return clean_text(text, most) == text


def _clean_words(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value


Words = Annotated[str, BeforeValidator(_clean_words)]
"""A field of a record that holds words from outside: they are cleaned on the way in."""
