"""What people were told of: which causes of failures are news, and for how long a cause is not told again.

A cause that was told is told again only after a nightly run in which it did not occur. Two runs that end at once may
both tell it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nightboard.tasks.store.files import write_bytes
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Notified


def read_notified(store: Store, board: str) -> Notified:
    """What was told so far. Raises RecordError for a damaged file."""
    path = store.notified_file(board)
    return Notified.read(path) if path.exists() else Notified()


def write_notified(store: Store, board: str, notified: Notified) -> None:
    """Write down what was told, where that changes something."""
    if notified != Notified() or store.notified_file(board).exists():
        write_bytes(store.notified_file(board), notified.to_bytes())


def remember(before: Notified, seen: Iterable[str], now: datetime, night_from: datetime | None = None) -> Notified:
    """What is known after a run that saw these causes.

    A nightly run, which started at `night_from`, forgets the causes that no run has seen since then.
    """
    causes = before.causes | dict.fromkeys(seen, now)
    return Notified(causes={cause: at for cause, at in causes.items() if night_from is None or at >= night_from})
