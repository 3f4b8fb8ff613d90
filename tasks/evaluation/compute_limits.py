"""Limits of CPU time and memory for computations that a repository causes, such as its chat template.

Owns the timer of CPU time and the limit of address space while they are held. Works in a process's main thread.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_AGAIN_S = 0.5


class LimitExceeded(Exception):
    """Something took more time or memory than it may; the message says which and how much."""


@contextlib.contextmanager
def limited(cpu_s: float, memory_gb: float) -> Iterator[None]:
    """While open, raise LimitExceeded after so much CPU time of this process, or so much memory more than now.

    CPU time, because a slow disk or a busy node is no fault of a model's.
    """
    with _limited_time(cpu_s), _limited_memory(memory_gb):
        try:
            yield
        except MemoryError as error:
            raise LimitExceeded(f"more than {memory_gb:g} GB of memory") from error


@contextlib.contextmanager
def _limited_time(cpu_s: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted; nothing here runs in another
        return
    is_held, is_over = True, False
    reason = f"more than {cpu_s:g} s of computing"

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_over
        if is_held:
            is_over = True
            raise LimitExceeded(reason)

    before = signal.signal(signal.SIGPROF, stop)
    # Again after it: what was raised inside a callback of a library is lost.
    signal.setitimer(signal.ITIMER_PROF, cpu_s, _AGAIN_S)
    try:
        yield
    except Exception as error:
        is_held = False
        if is_over:
            raise LimitExceeded(reason) from error  # whatever a library made of it
        raise
    finally:
        is_held = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if is_over:
        raise LimitExceeded(reason)


@contextlib.contextmanager
def _limited_memory(memory_gb: float) -> Iterator[None]:
    """Limit the address space, which on a GPU node is large from the start; where it cannot be read, limit nothing."""
    used = _read_address_space()
    if used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + int(memory_gb * 1e9)
    limits = [limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _read_address_space() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
