"""Quotes names and texts for SQL, and DuckDB's settings: shared by building and reading.

Knows no table, so that reading a build needs neither the schema nor pyarrow.
"""

from __future__ import annotations

# Only built-in extensions, and no Python variables in place of unknown tables.
OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}

# The variable that tells readers where the lake lies; unset, it is where it was when the build was made.
LAKE = "nightboard_lake"


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
