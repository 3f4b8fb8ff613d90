"""Shows rows that were not imported, and why, those with one reason in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nightboard.flows.display.console import Terminal, count
from nightboard.tasks.imports.errors import LeftOut

# Rows that were skipped, or groups of them.
SHOWN_LEFT_OUT = 20
# The value that a reason names.
_VALUE = re.compile(r" \(got .*\)", re.DOTALL)


def warn_skipped(ui: Terminal, left_out: Sequence[LeftOut]) -> None:
    """Rows that were not imported, and why; when there are many, those with one reason are one line."""
    groups: dict[str, list[LeftOut]] = {}
    for number, row in enumerate(left_out):
        reason = _VALUE.sub("", row.reason) if len(left_out) > SHOWN_LEFT_OUT else str(number)
        groups.setdefault(reason, []).append(row)
    for first, *others in list(groups.values())[:SHOWN_LEFT_OUT]:
        more = f" and {count(len(others), 'other row')}" if others else ""
        ui.warn(f"skipped: {first.where}{more}: {first.reason}")
    if hidden := list(groups.values())[SHOWN_LEFT_OUT:]:
        ui.warn(f"... and {sum(map(len, hidden)):,} more; --format json has them all.")
