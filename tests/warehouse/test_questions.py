"""Questions that analysts ask: each with an answer that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from make_lake import Lake, after

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


def stood(ask: Ask, hours: float) -> list[tuple[Any, ...]]:
    time = f"timestamptz '{after(hours)}'"
    return ask(f"select rank, model_id, revision, evaluation_id, identical_to from leaderboard_as_of('small', {time})")


def test_leaderboard_as_of_shows_what_was_finished_and_known_by_then(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.commit("org/m", "r1", 0)
    lake.done("first", "org/m", "r1", hours=2, scores=0.5)
    lake.commit("org/m", "r2", 3, fingerprint="two")
    lake.done("second", "org/m", "r2", hours=5, scores=0.4, fingerprint="two")
    lake.commit("org/m", "r3", 7, fingerprint="two")  # only the README changed
    lake.commit("copy/m", "c1", 8, fingerprint="two")
    lake.done("again", "org/m", "r3", hours=10, scores=0.9, fingerprint="two", replicate=1)
    assert stood(ask, 1.9) == []
    assert stood(ask, 2) == stood(ask, 4) == [(1, "org/m", "r1", "first", None)]
    assert stood(ask, 5) == [(1, "org/m", "r2", "second", None)]
    assert stood(ask, 7) == [(1, "org/m", "r3", "second", None)]
    assert stood(ask, 8) == [(1, "org/m", "r3", "second", None), (2, "copy/m", "c1", "second", "org/m")]
    assert stood(ask, 10) == [(1, "org/m", "r3", "again", None), (2, "copy/m", "c1", "again", "org/m")]
    assert ask("from leaderboard_as_of('other', null)") == []


def test_leaderboard_as_of_now_is_the_leaderboard(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for number in range(5):
        lake.commit(f"org/{number}", hours=number)
        lake.done(f"e{number}", f"org/{number}", scores=number / 5, hours=number + 1)
    for as_of in ("null", "'2026-03-01'"):
        intervals = "rank_low, rank_high, average_stderr, average_low, average_high, is_approximate"
        expected = ask(f"select * exclude ({intervals}) from leaderboard order by rank")
        assert ask(f"select * from leaderboard_as_of('small', {as_of})") == expected
        assert len(expected) == 5


def test_an_imported_model_is_known_from_its_submission_on_even_if_it_is_discovered_later(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.board_row("dated", "org/m", hours=5)
    lake.commit("org/m", "r1", hours=500)
    lake.board_row("undated", "org/n", hours=None)
    assert stood(ask, 4) == []
    assert stood(ask, 5) == [(1, "org/m", "r1", "dated", None)]
    assert ask("select model_id from leaderboard order by rank") == [("org/m",), ("org/n",)]
