"""Prints skipped rows of an import with reasons; rows with the same reason share a line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nightboard.flows.display.console import Terminal, count
from nightboard.tasks.imports.errors import LeftOut

# Most lines about skipped rows.
SHOWN_SKIPPED = 20
# The value in a reason.
_VALUE = re.compile(r" \(got .*\)", re.DOTALL)


def warn_skipped(ui: Terminal, left_out: Sequence[LeftOut]) -> None:
    """Warn about skipped rows; if there are many, rows with the same reason share a line."""
    groups: dict[str, list[LeftOut]] = {}
    for number, skipped in enumerate(left_out):
        reason = _VALUE.sub("", skipped.reason) if len(left_out) > SHOWN_SKIPPED else str(number)
        groups.setdefault(reason, []).append(skipped)
    for first, *others in list(groups.values())[:SHOWN_SKIPPED]:
        more = f" and {count(len(others), 'other row')}" if others else ""
        ui.warn(f"skipped: {first.where}{more}: {first.reason}")
    if hidden := list(groups.values())[SHOWN_SKIPPED:]:
        ui.warn(f"... and {sum(map(len, hidden)):,} more; --format json lists all.")
