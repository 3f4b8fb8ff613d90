"""Errors of imports, and the record of a row or file that was skipped."""

from __future__ import annotations

from dataclasses import dataclass

from nightboard.tasks.errors import TaskError


class ImportFileError(TaskError):
    """A file cannot be imported, and nothing of it was; the message names the file and the reason."""


class BoundError(Exception):
    """A file is too large or has unreadable values; the message continues after the file's name."""


@dataclass(frozen=True)
class LeftOut:
    """A skipped row or file: file and line (without lines, the row from 1), and the reason."""

    where: str
    reason: str
