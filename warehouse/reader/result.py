"""The answer to a question, without what is needed to ask it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Result(NamedTuple):
    """The answer to a question: column names, and rows in order."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
