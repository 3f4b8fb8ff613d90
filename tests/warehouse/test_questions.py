"""Questions that analysts ask: each with an answer that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from make_lake import Lake

Ask = Callable[..., list[tuple[Any, ...]]]


def test_score_by_commit_tells_how_one_model_went(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for hours, (revision, score) in enumerate([("b", 0.25), ("a", 0.75)]):
        lake.commit("org/m", revision, hours)
        lake.done(f"e{revision}", "org/m", revision, scores=score, hours=hours + 1)
    lake.commit("org/other")
    lake.done("other", "org/other")
    found = ask("select revision, benchmark, normalized, average from score_by_commit('org/m', 'small')")
    assert [row[:2] for row in found] == [("b", "arc"), ("b", "truth"), ("a", "arc"), ("a", "truth")]
    assert found[1][2] == 25 and found[3][2] == 75
    assert ask("from score_by_commit('org/m', 'else')") == []
