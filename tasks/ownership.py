"""Who holds an attempt: the job that runs it, or a flow that gave it up.

Owners follow one another in owner.1.json, owner.2.json ...; whoever creates the next file first has the attempt, so
nobody holds it twice. Owns these files and the heartbeat beside them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from nightboard.tasks.process import current_process, is_alive
from nightboard.tasks.records import AttemptOwner
from nightboard.tasks.store import claim_file

HEARTBEAT_FILE = "alive"
HEARTBEAT_S = 10.0
# A run on another host whose heartbeat stands still for so long is dead.
HEARTBEAT_LIMIT_S = 60.0


def current_owner(folder: Path) -> AttemptOwner | None:
    """The last to take the attempt; None when nobody has. Raises RecordError for a file that cannot be read."""
    count = _count_owners(folder)
    return AttemptOwner.read(_owner_file(folder, count)) if count else None


def take(folder: Path, job_id: str | None) -> bool:
    """Claim the attempt for this process, a job; False when it is somebody else's.

    A job that its cluster started again takes over from its own run that is dead. While that one lives it keeps the
    attempt: the first wins. Finding out whether a run on another host lives takes a minute.
    """
    count = _count_owners(folder)
    if (folder / "outcome.json").exists():
        return False
    if count:
        owner = AttemptOwner.read(_owner_file(folder, count))
        if owner.kind != "job" or job_id is None or owner.job_id != job_id or _is_run_alive(folder, owner):
            return False
    mine = AttemptOwner(kind="job", process=current_process(), job_id=job_id, at=datetime.now(UTC))
    return claim_file(_owner_file(folder, count + 1), mine.to_bytes())


def give_up(folder: Path, now: datetime) -> AttemptOwner:
    """Take the attempt away for good from a job that is over or never began; returns who holds it now.

    A job that comes later all the same finds it taken and leaves it. If one took it in this moment, it keeps it.
    """
    count = _count_owners(folder)
    mine = AttemptOwner(kind="abandoned", process=current_process(), at=now)
    if count and (owner := AttemptOwner.read(_owner_file(folder, count))).kind == "abandoned":
        return owner
    if claim_file(_owner_file(folder, count + 1), mine.to_bytes()):
        return mine
    return AttemptOwner.read(_owner_file(folder, count + 1))


@contextlib.contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """While open, the attempt shows that it lives to whoever cannot see this process."""
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder / HEARTBEAT_FILE, done), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()


def _beat(path: Path, done: threading.Event) -> None:
    while True:
        # A full disk stops no evaluation here; the worst is that a second run takes over.
        with contextlib.suppress(OSError):
            path.write_text(str(time.time_ns()))
        if done.wait(HEARTBEAT_S):
            return


def _is_run_alive(folder: Path, owner: AttemptOwner) -> bool:
    """Whether an earlier run of this job still runs; by its heartbeat where its host is another."""
    alive = is_alive(owner.process)
    if alive is not None:
        return alive
    # Compared with itself, so that clocks that differ between hosts do not matter.
    before = _read_beat(folder)
    deadline = time.monotonic() + HEARTBEAT_LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(1)
        if _read_beat(folder) != before:
            return True
    return False


def _read_beat(folder: Path) -> str:
    # Listing the folder makes a network file system look again.
    with contextlib.suppress(OSError):
        os.listdir(folder)
        return (folder / HEARTBEAT_FILE).read_text()
    return ""


def _count_owners(folder: Path) -> int:
    count = 0
    while _owner_file(folder, count + 1).exists():
        count += 1
    return count


def _owner_file(folder: Path, number: int) -> Path:
    return folder / f"owner.{number}.json"
