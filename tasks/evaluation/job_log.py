"""The log of an attempt: redirects all output, of Python and of C, to a file, and reads its last lines."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TextIO

_TAIL_BYTES, _TAIL_LINES = 64_000, 20
_COPY_INTERVAL_S = 1.0


# ------------------------------------------------------------------------------------------------------------ the log


def read_log_tail(path: Path, lines: int = _TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log, each as a terminal would show it once a progress bar has overwritten itself."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return tuple(TOKEN_PATTERN.sub("hf_***", line) for line in shown if line)[-lines:]


@contextlib.contextmanager
def record_log(path: Path) -> Iterator[None]:
    """Send all that this process prints to `path`, and copy it to where it went before.

    The file has everything up to a kill -9. The copy follows a second behind: it is for whoever watches the job.
    """
    with path.open("ab", buffering=0) as file, _copied(path, file.tell()), _output_turned_to(file.fileno()):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


@contextlib.contextmanager
def _output_turned_to(target: int) -> Iterator[None]:
    """Turn the file descriptors of stdout and stderr, so that libraries in C and child processes are heard too."""
    sys.stdout.flush()
    sys.stderr.flush()
    streams, saved = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    os.dup2(target, 1)
    os.dup2(target, 2)
    stream = _open_stderr()
    sys.stdout = sys.stderr = stream
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        with contextlib.suppress(OSError):  # a full disk: what could not be written is lost, its reason is not
            stream.flush()
        for descriptor, before in enumerate(saved, start=1):
            os.dup2(before, descriptor)
            os.close(before)


@cache
def _open_stderr() -> TextIO:
    """A stream to wherever descriptor 2 leads, the same for the life of the process.

    Libraries keep the stderr that they find when they are imported, in log handlers and progress bars: what one shard
    of a job has imported must speak in the log of the next one.
    """
    return open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


@contextlib.contextmanager
def _copied(path: Path, start: int) -> Iterator[None]:
    """While open, what is added to the file after `start` also goes to where stdout goes now."""
    target, ended = os.dup(1), threading.Event()
    copier = threading.Thread(target=_copy_until, args=(path, start, target, ended), daemon=True)
    copier.start()
    try:
        yield
    finally:
        ended.set()
        copier.join()
        os.close(target)


def _copy_until(path: Path, start: int, target: int, ended: threading.Event) -> None:
    with path.open("rb") as log:
        log.seek(start)
        is_last = False
        while not is_last:
            is_last = ended.wait(_COPY_INTERVAL_S)
            for block in iter(lambda: log.read(65536), b""):
                # A job whose own output cannot be written any more still has its log.
                with contextlib.suppress(OSError):
                    os.write(target, block)


# Nothing on a node needs a token, so none should ever appear; this is the second lock on that door.
TOKEN_PATTERN = re.compile(r"hf_[A-Za-z0-9]{16,}")
