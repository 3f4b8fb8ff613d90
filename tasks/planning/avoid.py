"""Decides which nodes and tiers a run avoids after repeated faults of the environment.

Pure. Derived from the attempts that have ended since the run started, of all flows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from nightboard.profiles.models.endings import AT_FAULT
from nightboard.tasks.planning.history import State

# So many faults of the environment in a row are enough.
IN_A_ROW = 3


@dataclass(frozen=True)
class EndedAttempt:
    """An attempt with the place where it ran. `node`: None if it never started on one."""

    evaluation_id: str
    tier: str | None
    node: str | None
    state: State
    reason: str | None
    ended_at: datetime


@dataclass(frozen=True)
class Avoided:
    """Nodes and tiers to avoid, each with the reason."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    tiers: Mapping[str, str] = field(default_factory=dict)


def find_avoided(attempts: Iterable[EndedAttempt]) -> Avoided:
    """Nodes and tiers with three faults of the environment in a row.

    For a node, one model is enough: another node is tried. A tier is left alone where the faults are of several nodes
    and several evaluations, so that no single node or model can stop the others.
    """
    by_node: dict[str, list[EndedAttempt]] = defaultdict(list)
    by_tier: dict[str, list[EndedAttempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.ended_at):
        if attempt.node:
            by_node[attempt.node].append(attempt)
            by_tier[attempt.tier or ""].append(attempt)
    nodes = {name: _find_rows(ended) for name, ended in by_node.items()}
    tiers = {name: [row for row in _find_rows(ended) if _is_wide(row)] for name, ended in by_tier.items() if name}
    return Avoided(
        {name: _tell_node(name, rows[0]) for name, rows in nodes.items() if rows},
        {name: _tell_tier(name, rows[0]) for name, rows in tiers.items() if rows},
    )


def _find_rows(attempts: Sequence[EndedAttempt]) -> list[list[EndedAttempt]]:
    """Runs of enough faults of the environment, with nothing in between that shows that it works."""
    rows: list[list[EndedAttempt]] = [[]]
    for attempt in attempts:
        party = None if attempt.state == "completed" else AT_FAULT[attempt.state]
        if attempt.state == "environment":  # what the cache lacks, it lacks on every node
            rows[-1].append(attempt)
        elif party in (None, "model") and rows[-1]:
            rows.append([])
    return [row for row in rows if len(row) >= IN_A_ROW]


def _is_wide(row: Sequence[EndedAttempt]) -> bool:
    return len({attempt.node for attempt in row}) > 1 and len({attempt.evaluation_id for attempt in row}) > 1


def _tell_node(node: str, row: Sequence[EndedAttempt]) -> str:
    return (
        f"Node {node}: {IN_A_ROW} attempts in a row failed for their environment, and nothing more is launched there in"
        f" this run. Make it work: {row[IN_A_ROW - 1].reason or 'unknown reason'}"
    )


def _tell_tier(tier: str, row: Sequence[EndedAttempt]) -> str:
    nodes = ", ".join(sorted({str(attempt.node) for attempt in row}))
    return (
        f"Tier {tier}: {IN_A_ROW} attempts in a row failed for their environment ({nodes}), and nothing more is"
        f" launched in it in this run. Make it work, then start the run again: {row[-1].reason or 'unknown reason'}"
    )
