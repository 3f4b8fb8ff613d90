"""External rankings beside ours: names find our models, and the correlations are scipy's, ties included."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from make_lake import Lake, after

Ask = Callable[..., list[tuple[Any, ...]]]
Entry = tuple[str, int | None, float | None]


def add_ranking(
    lake: Lake, *entries: Entry, name: str = "arena", date: float | None = 0, hours: float = 1, ascending: bool = False
) -> None:
    """`date` and `hours`: when the ranking is from, and when it came in."""
    rows = [
        {"ranking": name, "published_at": None if date is None else after(date), "model_name": model, "rank": rank,
         "score": score, "is_ascending": ascending, "imported_at": after(hours)}
        for model, rank, score in entries
    ]  # fmt: skip
    lake.add("rankings", f"{name}-{date}-{hours}", rows)


def add_models(lake: Lake, scores: Iterable[tuple[str, float]]) -> None:
    lake.suite()
    lake.era("now")
    for model, score in scores:
        lake.commit(model)
        lake.done(model.replace("/", "-"), model, scores=float(score))


MATCHES = "select model_name, model_id, match from rankings order by rank, model_name"


def test_a_name_is_matched_by_id_then_without_capitals_then_by_the_only_last_part(lake: Lake, ask: Ask) -> None:
    for model in ("lab/One", "lab/one", "lab/Two", "lab/three", "lab/four", "fork/four", "five"):
        lake.commit(model)
    names = ["lab/One", "LAB/TWO", "Three", "four", "other/three", "FIVE", "gpt-4o"]
    add_ranking(lake, *((name, place, None) for place, name in enumerate(names, start=1)))
    assert ask(MATCHES) == [
        ("lab/One", "lab/One", "id"),
        ("LAB/TWO", "lab/Two", "case"),
        ("Three", "lab/three", "last_part"),
        ("four", None, "ambiguous"),
        ("other/three", None, "none"),
        ("FIVE", "five", "case"),
        ("gpt-4o", None, "none"),
    ]
    assert ask("select candidates from rankings where candidates is not null") == [(["fork/four", "lab/four"],)]


def test_two_names_of_one_model_count_once_and_the_nearer_one_does(lake: Lake, ask: Ask) -> None:
    lake.commit("lab/one")
    add_ranking(lake, ("one", 1, None), ("lab/one", 2, None))
    assert ask(MATCHES) == [("one", None, "taken"), ("lab/one", "lab/one", "id")]


def test_ranks_come_from_scores_where_there_are_none_and_equal_scores_share_one(lake: Lake, ask: Ask) -> None:
    add_ranking(lake, ("a", None, 1200.0), ("b", None, 1300.0), ("c", None, 1200.0), ("d", None, 1000.0))
    add_ranking(lake, ("a", None, 3.5), ("b", None, 2.5), name="perplexity", ascending=True)
    sql = "select ranking, model_name, rank from rankings order by ranking, rank, model_name"
    assert ask(sql) == [
        ("arena", "b", 1), ("arena", "a", 2), ("arena", "c", 2), ("arena", "d", 4),
        ("perplexity", "b", 1), ("perplexity", "a", 2),
    ]  # fmt: skip


def test_the_newest_date_counts_and_older_ones_stay_as_history(lake: Lake, ask: Ask) -> None:
    add_models(lake, [("lab/a", 0.9), ("lab/b", 0.1)])
    add_ranking(lake, ("lab/a", 1, None), ("lab/b", 2, None), date=48, hours=50)
    add_ranking(lake, ("lab/b", 1, None), ("lab/a", 2, None), date=24, hours=60)
    sql = "select model_name, rank, is_newest from rankings order by published_at, rank"
    assert ask(sql) == [("lab/b", 1, False), ("lab/a", 2, False), ("lab/a", 1, True), ("lab/b", 2, True)]
    assert ask("select spearman_rho from ranking_correlations") == [(1.0,)]
    # The same day imported again, corrected: the newer import of a date replaces the older one.
    add_ranking(lake, ("lab/b", 1, None), ("lab/a", 2, None), date=48, hours=70)
    assert ask("select count(*) from rankings") == [(4,)]
    assert ask("select spearman_rho from ranking_correlations") == [(-1.0,)]


def test_a_ranking_without_a_date_is_from_when_it_came_in(lake: Lake, ask: Ask) -> None:
    add_ranking(lake, ("a", 1, None), date=24)
    add_ranking(lake, ("b", 1, None), date=None, hours=48)
    assert ask("select model_name, published_at from rankings where is_newest") == [("b", after(48))]


def test_places_are_those_among_the_models_in_common(lake: Lake, ask: Ask) -> None:
    add_models(lake, [("lab/a", 0.9), ("lab/b", 0.5), ("lab/c", 0.5), ("lab/d", 0.2), ("lab/ours", 0.99)])
    add_ranking(lake, *((name, 10 + place, 1.0) for place, name in enumerate(["x", "d", "c", "y", "b", "a"])))
    sql = """
        select model_id, their_rank, our_rank, their_place, our_place, shift
        from ranking_comparisons order by their_place
    """
    assert ask(sql) == [
        ("lab/d", 11, 5, 1, 4, -3),
        ("lab/c", 12, 4, 2, 2, 0),
        ("lab/b", 14, 3, 3, 2, 1),
        ("lab/a", 15, 2, 4, 1, 3),
    ]
    sql = "select n_theirs, n_matched, n_ours, n_common from ranking_correlations"
    assert ask(sql) == [(6, 4, 5, 4)]


def test_of_a_model_with_several_rows_the_best_one_counts(lake: Lake, ask: Ask) -> None:
    add_models(lake, [("lab/a", 0.5)])
    lake.done("quantised", "lab/a", precision="4bit", scores=0.8)
    add_ranking(lake, ("lab/a", 1, None))
    assert ask("select our_rank, evaluation_id from ranking_comparisons") == [(1, "quantised")]


def test_every_era_is_compared_apart_and_one_without_common_models_says_so(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("old", {"task": "truth", "task_version": "1.0"}, is_current=False)
    lake.era("new", {"task": "truth", "task_version": "2.0"}, position=2)
    for model, version, score in (("lab/a", "1.0", 0.9), ("lab/b", "1.0", 0.1), ("lab/z", "2.0", 0.5)):
        lake.commit(model)
        lake.done(model, model, versions={"truth": version}, scores=score)
    add_ranking(lake, ("lab/b", 1, None), ("lab/a", 2, None))
    sql = "select era, is_current_era, n_common, spearman_rho, kendall_tau_b from ranking_correlations order by era"
    assert ask(sql) == [("new", True, 0, None, None), ("old", False, 2, -1.0, -1.0)]


@pytest.mark.parametrize("levels", [3, 8, 1000])
def test_correlations_are_those_of_scipy_with_ties_on_both_sides(lake: Lake, ask: Ask, levels: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    chance = random.Random(levels)
    truth = [(f"lab/m{i}", i / 40, chance.randrange(levels) + i * levels / 80) for i in range(40)]
    ours = [round(score * min(levels, 20)) / min(levels, 20) for _, score, _ in truth]
    theirs = [float(int(score)) for _, _, score in truth]
    add_models(lake, [(model, score) for (model, *_), score in zip(truth, ours, strict=True)])
    add_ranking(lake, *((model, None, score) for (model, *_), score in zip(truth, theirs, strict=True)))
    assert len(set(ours)) < 40
    sql = """
        select n_common, spearman_rho, spearman_low, spearman_high, kendall_tau_b, kendall_low, kendall_high
        from ranking_correlations
    """
    ((n, rho, low, high, tau, tau_low, tau_high),) = ask(sql)
    assert ask(sql, seed=1) == ask(sql)
    assert n == 40
    assert rho == pytest.approx(stats.spearmanr(ours, theirs).statistic, abs=1e-12)
    assert tau == pytest.approx(stats.kendalltau(ours, theirs, variant="b").statistic, abs=1e-12)
    assert -1 < low < rho < high < 1 and -1 < tau_low < tau < tau_high < 1


def test_correlations_by_hand_and_none_where_an_order_says_nothing(lake: Lake, ask: Ask) -> None:
    # Ours: a > b = c > d. Theirs: a > c > b = d. Pairs: 4 concordant, 0 discordant, each side with one tie of its own.
    add_models(lake, [("a", 0.9), ("b", 0.5), ("c", 0.5), ("d", 0.1), ("e", 0.1)])
    add_ranking(lake, ("a", 1, None), ("c", 2, None), ("b", 3, None), ("d", 3, None))
    add_ranking(lake, ("d", 1, None), ("e", 2, None), name="flat")
    sql = "select ranking, n_common, spearman_rho, kendall_tau_b from ranking_correlations order by ranking"
    arena, flat = ask(sql)
    # Mean ranks 1, 2.5, 2.5, 4 and 1, 3.5, 2, 3.5: covariance 3.75 / 4, variances 4.5 / 4 each.
    assert arena == ("arena", 4, pytest.approx(3.75 / 4.5), pytest.approx(4 / 5))
    assert flat == ("flat", 2, None, None)
