"""The lease of an attempt: acquire, revoke, heartbeat. Its owner is the job that runs it, or a flow that revoked it.

Owners follow one another in owner.1.json, owner.2.json ...; the process that creates the next file first is the owner,
so an attempt has one owner. Owns these files and the heartbeat next to them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nightboard.tasks.cluster.processes import current_process, is_alive
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import HEARTBEAT_FILE, OUTCOME_FILE, owner_file
from nightboard.tasks.store.records import AttemptOwner, ProcessId, RecordError

HEARTBEAT_S = 10.0
# A run on another host without a heartbeat for this long is dead.
HEARTBEAT_LIMIT_S = 60.0
_LOOK_S = 1.0


def current_owner(folder: Path) -> AttemptOwner | None:
    """The present owner of the attempt; None if it has none. Raises RecordError for a file that cannot be read."""
    count = _count_owners(folder)
    return AttemptOwner.read(_owner_file(folder, count)) if count else None


def acquire(folder: Path, job_id: str | None) -> bool:
    """Acquire the attempt for this process, a job; False if another owner has it, or it has ended.

    A job that its cluster started again takes over from its own run that is dead. While that one lives it keeps the
    attempt: the first wins. It is given two minutes to die, though: its cluster may be about to kill it, and whether a
    run on another host lives takes a while to find out.
    """
    if (folder / OUTCOME_FILE).exists():
        return False
    count = _count_owners(folder)
    if count:
        owner = AttemptOwner.read(_owner_file(folder, count))
        is_own_run = owner.kind == "job" and job_id is not None and owner.job_id == job_id
        if not is_own_run or not _wait_for_death(folder, owner):
            return False
    mine = AttemptOwner(kind="job", process=current_process(), job_id=job_id, at=datetime.now(UTC))
    return claim_file(_owner_file(folder, count + 1), mine.to_bytes())


def revoke(folder: Path, now: datetime) -> AttemptOwner:
    """Take the attempt away for good from a job that is over or never began; returns who holds it now.

    A job that comes later all the same finds it taken and leaves it; one that is seen to run on this host, or takes it
    in this moment, keeps it.
    """
    count = _count_owners(folder)
    if count:
        owner = AttemptOwner.read(_owner_file(folder, count))
        if owner.kind == "abandoned" or is_alive(owner.process):
            return owner
    mine = AttemptOwner(kind="abandoned", process=current_process(), at=now)
    if claim_file(_owner_file(folder, count + 1), mine.to_bytes()):
        return mine
    return AttemptOwner.read(_owner_file(folder, count + 1))


# -------------------------------------------------------------------------------------------------------- heartbeat


@dataclass
class _Watched:
    """What was seen of a run's heartbeat, by this process's own clock: clocks of two hosts may differ."""

    beat: tuple[int, ...]
    since_s: float
    has_changed: bool = False


_watched: dict[tuple[Path, ProcessId], _Watched] = {}


def is_owner_alive(folder: Path, owner: AttemptOwner) -> bool | None:
    """Whether the run of an owner is alive; returns at once; None: not known yet, ask again.

    On another host its heartbeat tells: True once it has changed since it was first looked at here, False when it has
    stood still for a minute.
    """
    alive = is_alive(owner.process)
    if alive is not None:
        return alive
    now_s, beat = time.monotonic(), _read_beat(folder)
    seen = _watched.setdefault((folder, owner.process), _Watched(beat, now_s))
    if beat != seen.beat:
        seen.beat, seen.since_s, seen.has_changed = beat, now_s, True
    if now_s - seen.since_s >= HEARTBEAT_LIMIT_S:
        return False
    return True if seen.has_changed else None


def _wait_for_death(folder: Path, owner: AttemptOwner) -> bool:
    deadline_s = time.monotonic() + 2 * HEARTBEAT_LIMIT_S
    while time.monotonic() < deadline_s and not (folder / OUTCOME_FILE).exists():
        if is_owner_alive(folder, owner) is False:
            return True
        time.sleep(_LOOK_S)
    return False


@contextlib.contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """While open, the attempt shows that it lives to whoever cannot see this process.

    The process ends as soon as it sees that it has lost the attempt: cancelled, or taken for dead and given to another
    run, whose answers it would mix with its own.
    """
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, ended), name="heartbeat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()


def _beat(folder: Path, ended: threading.Event) -> None:
    while True:
        # A full disk stops no evaluation here; the worst is that another run takes over.
        with contextlib.suppress(OSError):
            (folder / HEARTBEAT_FILE).touch()
        if ended.wait(HEARTBEAT_S):
            return
        if loss := _find_loss(folder):
            print(f"{folder}: {loss}; this run stops", file=sys.stderr, flush=True)
            os._exit(1)


def _find_loss(folder: Path) -> str | None:
    """Why the attempt is no longer this process's; None while it is, or if it is unknown."""
    try:
        if (folder / OUTCOME_FILE).exists():
            return "the attempt was ended by another process"
        owner = current_owner(folder)
    except (OSError, RecordError):
        return None
    is_mine = owner is None or owner.process == current_process()
    return None if is_mine else "another run, or a flow that took this one for dead, has the attempt"


def _read_beat(folder: Path) -> tuple[int, ...]:
    """What changes with each beat; nothing before the first."""
    with contextlib.suppress(OSError):
        # Opening a file makes a network file system ask its server for the times.
        with (folder / HEARTBEAT_FILE).open() as file:
            return (os.fstat(file.fileno()).st_mtime_ns,)
    return ()


def _count_owners(folder: Path) -> int:
    count = 0
    while _owner_file(folder, count + 1).exists():
        count += 1
    return count


def _owner_file(folder: Path, number: int) -> Path:
    return folder / owner_file(number)
