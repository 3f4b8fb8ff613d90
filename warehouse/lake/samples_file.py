"""Reads lm-eval's samples files: each line as simdjson parsed it, which is faster than a disk reads.

Only what a caller asks a line for becomes objects. Counts and documents are validated elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any, TypeVar

import simdjson

_READ_BYTES = 1 << 20
# The kernel reads this much ahead while lines are parsed; smaller files are not worth a thread.
_FETCH_BYTES, _FETCH_FROM_BYTES = 1 << 28, 1 << 23
OBJECTS, LISTS = (simdjson.Object, dict), (simdjson.Array, list)
Made = TypeVar("Made")


class ConvertError(Exception):
    """A samples file cannot be read; the message names the file and the line."""


def read_lines(path: Path, make: Callable[[Any], Made]) -> Iterator[Made]:
    """What `make` gives for each line; it raises ValueError for a line that is not a sample."""
    parser = simdjson.Parser()
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            yield make(parser.parse(line))
        except (ValueError, RuntimeError):
            # Python's own parser also reads NaN; for invalid JSON, it gives the error message.
            if text := bytes(line).strip():
                try:
                    yield make(_parse_slowly(text))
                except ValueError as error:
                    message = f"{path}: line {number}: {error}. The file is damaged; run the evaluation again."
                    raise ConvertError(message) from error


def unbox(value: Any) -> Any:
    """A value parsed by simdjson as a Python object."""
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def to_text(value: object) -> str | None:
    """A text unchanged, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(unbox(value), ensure_ascii=False, separators=(",", ":"))


def _parse_slowly(line: bytes) -> Any:
    try:
        value = json.loads(line.decode())
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate, which only Python accepts
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from error
    return value


def _read_lines(path: Path) -> Iterator[memoryview]:
    """The lines of a file without line ends. A yielded line is valid only until the next one is requested."""
    buffer, n_held = bytearray(_READ_BYTES), 0
    try:
        with path.open("rb", buffering=0) as file, _fetching(file):
            while n_read := file.readinto(memoryview(buffer)[n_held:]):
                start, seen, end = 0, n_held, n_held + n_read
                while (stop := buffer.find(b"\n", max(start, seen), end)) >= 0:
                    yield memoryview(buffer)[start:stop]
                    start = stop + 1
                n_held = end - start
                buffer[:n_held] = buffer[start:end]
                if n_held == len(buffer):
                    buffer = buffer + bytes(len(buffer))  # a new buffer: a caller may still hold a line of the old one
    except FileNotFoundError as error:
        raise ConvertError(f"{path}: the file does not exist.") from error
    except OSError as error:
        raise ConvertError(f"{path}: cannot be read ({error.strerror}).") from error
    if n_held:
        yield memoryview(buffer)[:n_held]


@contextlib.contextmanager
def _fetching(file: IO[bytes]) -> Iterator[None]:
    """Make the kernel read the file ahead, so that the disk is busy while lines are parsed."""
    is_done = Event()
    thread = Thread(target=_fetch, args=(file.fileno(), is_done), daemon=True)
    if os.fstat(file.fileno()).st_size >= _FETCH_FROM_BYTES:
        thread.start()
    try:
        yield
    finally:
        is_done.set()
        if thread.is_alive():
            thread.join()


def _fetch(source: int, is_done: Event) -> None:
    """Discard the data; it is then in the kernel's cache."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        offset = 0
        while not is_done.is_set() and (n_sent := os.sendfile(nowhere.fileno(), source, offset, _FETCH_BYTES)):
            offset += n_sent
