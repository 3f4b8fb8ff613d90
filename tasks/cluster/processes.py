"""Identifies processes by host, boot, pid and start time, and checks whether they still run.

Owns reading /proc (Linux). Starts no process, and ends only given ones.

What it cannot see: a process on another host (the answer is None, ask the cluster), and a process in another pid
namespace that shares the host name and the kernel: that one counts as gone. A flow and its local jobs must
therefore run in one container, or outside of any.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from nightboard.tasks.store.records import ProcessId

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Fields of /proc/<pid>/stat count from 1; what follows the name in parentheses begins with field 3.
_STATE, _START_TIME = 3 - 3, 22 - 3


def current_process() -> ProcessId:
    """The identity of this process, for other processes."""
    process = process_of(os.getpid())
    assert process is not None, "this process is not in /proc"
    return process


def process_of(pid: int) -> ProcessId | None:
    """The living process with this pid on this host; None when there is none."""
    started = _read_start_ticks(pid)
    if started is None:
        return None
    return ProcessId(host=socket.gethostname(), boot_id=_read_boot_id(), pid=pid, started_ticks=started)


def is_alive(process: ProcessId) -> bool | None:
    """Whether the process still runs; None if it is on another host, which cannot be checked."""
    if process.host != socket.gethostname():
        return None
    return process.boot_id == _read_boot_id() and process.started_ticks == _read_start_ticks(process.pid)


def list_descendants(pid: int) -> list[int]:
    """All processes below one on this host, children before grandchildren."""
    descendants: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                descendants += [child, *list_descendants(child)]
    return descendants


def find_processes(environment: Mapping[str, str], containing: Mapping[str, str]) -> list[int]:
    """Processes on this host that were started with these variables; of `containing` the text is a part."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            pairs = (part.partition("=") for part in path.read_bytes().decode(errors="replace").split("\0"))
            started_with = {name: value for name, _, value in pairs}
            if environment.items() <= started_with.items() and all(
                text in started_with.get(name, "") for name, text in containing.items()
            ):
                pids.append(int(path.parent.name))
    return pids


def kill_process(pid: int) -> None:
    """End a process at once; one that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _read_boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _read_start_ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot; None for a process that is gone, or dead and not yet waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may itself hold spaces and parentheses, so the last one counts.
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else int(fields[_START_TIME])


def may_be_alive(process: ProcessId, deadline: datetime, now: datetime) -> bool:
    """A process on another host cannot be looked at: it is given until the deadline."""
    alive = is_alive(process)
    return now < deadline if alive is None else alive
