"""Which nodes and tiers a run leaves alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from builders import NOW

from nightboard.tasks.planning.avoid import EndedAttempt, find_avoided
from nightboard.tasks.planning.history import State

SHORT: dict[str, State] = {
    "E": "environment", "C": "completed", "F": "failed", "P": "preempted", "N": "not_started", "H": "harness",
    "X": "cache_failed",
}  # fmt: skip


def attempts(text: str, tier: str = "one") -> list[EndedAttempt]:
    """`E1a C2b`: what happened, on which node, to which evaluation; in this order."""
    return [
        EndedAttempt(word[2], tier, f"gpu{word[1]}" if word[1] != "-" else None, SHORT[word[0]], word, NOW + at)
        for at, word in ((timedelta(minutes=number), word) for number, word in enumerate(text.split()))
    ]


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("E1a E1b", []),
        ("E1a E1b E1c", ["gpu1"]),
        ("E1a E1a E1a", ["gpu1"]),
        ("E1a C1b E1c E1d", []),
        ("E1a F1b E1c E1d", []),
        ("E1a P1b N1b H1x E1c E1d", ["gpu1"]),
        ("E1a E2b E1c C2b E1d", ["gpu1"]),
        ("E1a E1b E1c C1d", ["gpu1"]),
        ("E-a E-b E-c", []),
        ("X1a X1b X1c", []),
        ("E1a X1b E1c E1d", ["gpu1"]),
    ],
)
def test_three_faults_of_the_environment_in_a_row_are_enough_for_a_node(text: str, nodes: list[str]) -> None:
    assert list(find_avoided(attempts(text)).nodes) == nodes
    assert list(find_avoided(reversed(attempts(text))).nodes) == nodes, "time decides, not the order"


@pytest.mark.parametrize(
    ("text", "is_avoided"),
    [
        ("E1a E1b E1c E1d", False),
        ("E1a E2a E3a", False),
        ("E1a E2b E1a", True),
        ("E1a C3x E2b E1a", False),
        ("E1a E-b E-c E-d", False),
    ],
)
def test_a_tier_is_left_alone_by_what_several_nodes_and_evaluations_show(text: str, is_avoided: bool) -> None:
    assert bool(find_avoided(attempts(text)).tiers) == is_avoided


def test_tiers_are_told_apart_and_the_words_say_where_and_what() -> None:
    found = find_avoided([*attempts("E1a E2b E1c"), *attempts("C1a C2b C1c", tier="two")])
    assert list(found.tiers) == ["one"]
    assert found.tiers["one"] == (
        "Tier one: 3 attempts in a row failed for their environment (gpu1, gpu2), and nothing more is launched in it in"
        " this run. Make it work, then start the run again: E1c"
    )
