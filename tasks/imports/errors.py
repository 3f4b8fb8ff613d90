"""What can be wrong with a file that is imported, and what was left out of it."""

from __future__ import annotations

from dataclasses import dataclass

from nightboard.tasks.errors import TaskError


class ImportFileError(TaskError):
    """A file cannot be imported, and nothing of it was; the message names it and says why."""


class BoundError(Exception):
    """A file holds more, or other values, than can be read; the message goes on from its name."""


@dataclass(frozen=True)
class LeftOut:
    """What was not imported: file and line (of a file without lines the row, from 1), and why."""

    where: str
    reason: str
