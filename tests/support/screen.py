"""A terminal of a given width, without a process of its own: what is printed to it, without styles."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable
from unittest import mock

from nightboard.flows.cli.main import app


class Screen(io.TextIOWrapper):
    """A standard output that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return True

    def read_all(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return re.sub("\x1b\\[[0-9;]*m", "", self.buffer.getvalue().decode())


def show_on_screen(width: int, show: Callable[[], object]) -> str:
    """What `show` prints on a terminal of `width` columns."""
    out = Screen()
    with mock.patch.dict(os.environ, {"COLUMNS": str(width), "TERM": "xterm"}), contextlib.redirect_stdout(out):
        show()
    return out.read_all()


def run_on_screen(width: int, *arguments: str) -> list[str]:
    """The lines that a command of `nightboard` prints on a terminal of `width` columns."""
    return show_on_screen(width, lambda: app(arguments, standalone_mode=False)).splitlines()
