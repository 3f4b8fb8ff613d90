"""Questions that analysts ask: each with an answer that is known beforehand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import correlation
from typing import Any

import duckdb
import pytest
from make_lake import START, Lake, after, declare_task
from scipy.stats import false_discovery_control, norm
from simulations import simulate_commits

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
    expected = ask("select * from leaderboard order by rank")
    assert ask("from leaderboard_as_of('small', null)") == expected
    assert len(expected) == 5
    intervals = ["rank_low", "rank_high", "average_stderr", "average_low", "average_high", "is_approximate"]
    without = ", ".join(f"null as {column}" for column in intervals)
    expected = ask(f"select * replace ({without}) from leaderboard order by rank")
    assert ask("from leaderboard_as_of('small', '2026-03-01')") == expected


@pytest.mark.parametrize(
    ("as_of", "read", "not_read"),
    [("null", "leaderboard", "candidates"), ("'2026-03-01'", "candidates", "leaderboard")],
)
def test_ranks_are_computed_again_for_a_time_only(lake: Lake, ask: Ask, as_of: str, read: str, not_read: str) -> None:
    lake.suite()
    lake.commit("org/m")
    lake.done("e", "org/m")
    ((_, plan),) = ask(f"explain select * from top_models('small', as_of := {as_of})")
    assert f"main.{read}" in plan and f"main.{not_read}" not in plan


def test_an_imported_model_is_known_from_its_submission_on_even_if_it_is_discovered_later(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.board_row("dated", "org/m", hours=5)
    lake.commit("org/m", "r1", hours=500)
    lake.board_row("undated", "org/n", hours=None)
    assert stood(ask, 4) == []
    assert stood(ask, 5) == [(1, "org/m", "r1", "dated", None)]
    assert stood(ask, 999) == [(1, "org/m", "r1", "dated", None)]
    assert [row[3] for row in stood(ask, 1000)] == ["dated", "undated"]
    assert ask("select model_id from leaderboard order by rank") == [("org/m",), ("org/n",)]


@pytest.fixture
def zoo(lake: Lake) -> Lake:
    """Models of all kinds; their scores are their order: a first."""
    lake.suite()
    lake.add("organizations", "o", [
        {"organization": "fr", "display_name": "Fr", "country": "FR", "declared_at": START},
        {"organization": "cn", "display_name": "Cn", "country": "CN", "declared_at": START},
    ])  # fmt: skip
    models: dict[str, dict[str, Any]] = {
        "fr/a": {"params_b": 70.0, "model_type": "chat"},
        "cn/b": {"params_b": 7.0, "model_type": "merge", "license": "mit"},
        "cn/c": {"params_b": 7.0, "model_type": "pretrained", "license": "MIT"},
        "xx/d": {"params_b": 3.0, "model_type": None, "license": None},
        "xx/e": {"params_b": None, "model_type": "chat"},
        "fr/f": {"params_b": 8.0},
        "fr/g": {"params_b": 0.5},
    }
    for number, (model, known) in enumerate(models.items()):
        lake.commit(model, hours=number, **known)
        precision = "float16" if model == "xx/d" else "bfloat16"
        lake.done(f"e{model[3:]}", model, scores=0.95 - number / 10, hours=number + 1, precision=precision)
    lake.commit("copy/a", params_b=70.0, fingerprint="fr/a@r1", hours=20)
    for model, state in {"fr/f": "deleted", "xx/e": "gated"}.items():
        lake.add("models", model.replace("/", "-"), [
            {"model_id": model, "organization": model[:2], "state": state, "observed_at": START},
        ])  # fmt: skip
    return lake


# The last letters of the models that each lets through.
FILTERS = {
    "": "a a b c d e f g",
    "n := 3": "a a b",
    "n := null": "a a b c d e f g",
    "min_params_b := 3, max_params_b := 8": "b c f",
    "max_params_b := 3": "d g",
    "model_type := 'chat'": "a e",
    "precision := 'float16'": "d",
    "license := 'mit'": "b c",
    "organization := 'cn'": "b c",
    "country := 'FR', n := 2": "a f",
    "with_merges := false": "a a c d e f g",
    "with_unavailable := false": "a a b c d e g",
    "with_gated := false": "a a b c d f g",
    "with_copies := false": "a b c d e f g",
    "as_of := timestamptz '2026-01-01 03:00+00'": "a b c",
    "as_of := '2025-01-01'": "",
    "era := 'other'": "",
    "with_merges := false, min_params_b := 1, max_params_b := 10, n := 1": "c",
}


def test_top_models_filters(zoo: Lake, ask: Ask) -> None:
    for filters, expected in FILTERS.items():
        found = ask(f"select model_id, selected_rank from top_models('small'{', ' * bool(filters)}{filters})")
        assert [model[-1] for model, _ in found] == expected.split(), filters
        assert [rank for _, rank in found] == list(range(1, len(found) + 1))


def test_top_models_keeps_the_rank_among_all_and_knows_flagged_models(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for number, flags in enumerate([{"is_flagged": True}, {"is_merged": True}, {"is_available": False}, {}]):
        lake.board_row(f"e{number}", f"org/{number}", 0.9 - number / 10, **flags)
    select = "select model_id, rank, selected_rank from top_models('small', "
    assert ask(select + "with_flagged := false)")[0] == ("org/1", 2, 1)
    assert [row[0] for row in ask(select + "with_merges := false)")] == ["org/0", "org/2", "org/3"]
    assert [row[0] for row in ask(select + "with_unavailable := false)")] == ["org/0", "org/1", "org/3"]


def test_top_models_has_runs_of_given_models_and_all_of_given_sources(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("main")
    for number, name in enumerate("abc"):
        lake.commit(f"org/{name}")
        lake.done(f"e{name}", f"org/{name}", scores=0.9 - number / 10)
    lake.board_row("imported", "org/d", 0.3)
    select = "select model_id[-1], rank, selected_rank from top_models('small', models := "
    assert ask(select + "['org/b', 'org/d'])") == [("b", 2, 1)]
    assert ask(select + "['org/b'], sources := ['import:board'])") == [("b", 2, 1), ("d", 4, 2)]
    assert ask(select + "[], sources := ['import:other'])") == []
    assert len(ask(select + "null, sources := ['import:board'])")) == 4


def test_best_by_size_has_one_model_a_bracket_and_none_of_unknown_size(zoo: Lake, ask: Ask) -> None:
    select = "select above_b, up_to_b, model_id, n_models from best_by_size('small'"
    assert ask(select + ")") == [
        (0, 1, "fr/g", 1), (2, 4, "xx/d", 1), (4, 9, "cn/b", 3), (40, 80, "fr/a", 2),
    ]  # fmt: skip
    assert ask(select + ", bounds := [8, 3])") == [(0, 3, "xx/d", 2), (3, 8, "cn/b", 3), (8, None, "fr/a", 2)]
    assert ask(select + ", as_of := timestamptz '2026-01-01 02:00+00')") == [(4, 9, "cn/b", 1), (40, 80, "fr/a", 1)]


def test_size_front_has_no_model_that_another_one_beats_at_its_size(zoo: Lake, ask: Ask) -> None:
    assert ask("select model_id from size_front('small')") == [("fr/g",), ("xx/d",), ("cn/b",), ("fr/a",)]
    zoo.commit("xx/twin", params_b=7.0)
    zoo.done("twin", "xx/twin", scores=0.85)  # as good as cn/b and of its size: one stands for both
    assert ask("select model_id from size_front('small')") == [("fr/g",), ("xx/d",), ("cn/b",), ("fr/a",)]


def test_top_shares_tell_who_held_the_top_of_each_month_as_it_stood_then(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.add("organizations", "o", [
        {"organization": "cn", "display_name": "Cn", "country": "CN", "declared_at": START}
    ])  # fmt: skip
    month = 31 * 24
    for model, score, hours in [("us/a", 0.5, 1), ("cn/a", 0.4, 2), ("cn/b", 0.6, month), ("cn/c", 0.7, 2 * month)]:
        lake.commit(model, hours=hours - 1)
        lake.done(model[:2] + model[3:], model, scores=score, hours=hours)
    lake.commit("us/copy", fingerprint="cn/c@r1", hours=2 * month)  # a re-upload gives its owner nothing
    lake.done("other precision", "us/a", scores=0.45, hours=3, precision="float16")  # nor does a second row
    shares = ask("select month::varchar, name, n_models, share from top_shares('small', n := 2)")
    assert shares == [
        ("2026-01-01", "cn", 1, 0.5), ("2026-01-01", "us", 1, 0.5),
        ("2026-02-01", "cn", 1, 0.5), ("2026-02-01", "us", 1, 0.5),
        ("2026-03-01", "cn", 2, 1.0),
    ]  # fmt: skip
    of_models = "select distinct n_models from top_shares('small', n := 2, models := ['none'], sources := [])"
    assert ask(of_models) == []
    countries = ask("select name, n_models from top_shares('small', 2, holder := 'country') where month < '2026-02-01'")
    assert countries == [("CN", 1), (None, 1)]
    with pytest.raises(duckdb.Error, match="neither organization nor country"):
        ask("from top_shares('small', holder := 'planet')")


def answer(lake: Lake, evaluation_id: str, values: Iterable[float], **changes: Any) -> None:
    lake.add("samples", evaluation_id, [
        {"evaluation_id": evaluation_id, "benchmark": "truth", "task": "truth", "doc_id": i, "doc_hash": str(i),
         "question_hash": str(i), "filter": "none", "metric": "acc", "value": float(value), "weight": 1.0,
         "target": "A", "response": "B"} | changes
        for i, value in enumerate(values)
    ])  # fmt: skip


def test_regressions_are_drops_beyond_noise_from_one_complete_commit_to_the_next(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("truth", "truth", n_samples=100)]
    lake.suite(tasks)
    right = {"r1": 50, "r2": 80, "r3": 60, "r4": 58}  # 20 answers lost and none won; then 2 lost
    for hours, (revision, n_right) in enumerate(right.items()):
        lake.commit("org/m", revision, hours)
        lake.done(revision, "org/m", revision, scores=n_right / 100, hours=hours + 9, tasks=tasks)
        answer(lake, revision, [i < n_right for i in range(100)])
    lake.commit("org/m", "readme", 9, fingerprint="org/m@r4")
    lake.done("partial", "org/m", "r3", scores=0.0, hours=20, tasks=tasks, replicate=1).pop()
    columns = "benchmark, revision_before, revision, score_before, score, change, change_stderr"
    columns += ", is_paired, is_approximate"
    noise = 100 * (0.2 * 0.8 / 99) ** 0.5
    step = ("r2", "r3", 80, pytest.approx(60), pytest.approx(-20), pytest.approx(noise), True, False)
    assert ask(f"select {columns} from regressions order by benchmark") == [("average", *step), ("truth", *step)]


def add_commits(lake: Lake, model_id: str, *answers: list[int], hours: float = 9) -> None:
    """One commit of a model after the other, an hour apart, with these answers to the documents of task truth."""
    for number, values in enumerate(answers):
        name = f"{model_id.replace('/', ' ')} {number}"
        lake.commit(model_id, f"r{number}", number)
        tasks = [declare_task("truth", "truth", n_samples=len(values))]
        score = sum(values) / len(values)
        lake.done(name, model_id, f"r{number}", scores=score, hours=hours + number, tasks=tasks)
        answer(lake, name, values)


def test_regressions_without_samples_are_marked_approximate(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("truth", "truth", n_samples=100)]
    lake.suite(tasks)
    for hours, score in enumerate([0.9, 0.5]):
        lake.commit("org/m", f"r{hours}", hours)
        lake.done(f"e{hours}", "org/m", f"r{hours}", scores=score, hours=hours + 9, tasks=tasks)
    columns = "benchmark, revision, change, change_stderr, p_value, is_paired, is_approximate"
    noise = 100 * (0.9 * 0.1 / 100 + 0.5 * 0.5 / 100) ** 0.5
    step = ("r1", -40, pytest.approx(noise), pytest.approx(2 * norm.sf(40 / noise), rel=1e-5), False, True)
    assert ask(f"select {columns} from regressions order by benchmark") == [("average", *step), ("truth", *step)]


def test_a_small_drop_is_found_where_two_commits_answered_the_same_documents(lake: Lake, ask: Ask) -> None:
    """Eleven answers lost and one won of 200: one standard error if the commits were independent, three by document."""
    lake.suite([declare_task("truth", "truth", n_samples=200)])
    before = [1] * 100 + [0] * 100
    later = [0] * 11 + [1] * 89 + [1] + [0] * 99
    add_commits(lake, "org/m", before, later)
    add_commits(lake, "org/other", before, later)
    for row in lake.files["samples", "org other 1"]:
        row["doc_hash"] += " of another version"
    columns = "model_id, benchmark, is_paired, p_value, holm_p, threshold"
    p_value = 2 * norm.sf(10 / (11 + 1 + 2) ** 0.5)
    row = (True, pytest.approx(p_value, rel=1e-4), pytest.approx(2 * p_value, rel=1e-4), 0.025)
    assert ask(f"select {columns} from regressions order by benchmark") == [
        ("org/m", "average", *row), ("org/m", "truth", *row)
    ]  # fmt: skip
    compared = ask("select p_value, stderr from compare('org/m@r1', 'org/m@r0')")
    found = ask("select p_value, change_stderr from regressions order by benchmark desc")
    assert compared == [tuple(pytest.approx(value, rel=1e-4) for value in row) for row in found], (
        "compare tells the same"
    )


def test_regressions_of_a_night_are_corrected_for_its_number_of_commits(lake: Lake, ask: Ask) -> None:
    """Benjamini-Hochberg as scipy has it, over the commits of a night, whichever of them got better."""
    lake.suite([declare_task("truth", "truth", n_samples=60)])
    lost = [4, 7, 8, 8, 9, 12, -12, 0]
    for number, n_lost in enumerate(lost):
        add_commits(lake, f"org/{number}", [1] * 30 + [0] * 30, [1] * (30 - n_lost) + [0] * (30 + n_lost))
    add_commits(lake, "org/alone", [1] * 30 + [0] * 30, [1] * 23 + [0] * 37, hours=40)
    of_commits = [min(1, 2 * 2 * norm.sf(n / (n + 2) ** 0.5)) if n > 0 else 1 for n in lost]
    expected = {f"org/{number}" for number, p in enumerate(false_discovery_control(of_commits)) if p <= 0.05}
    assert len(expected) == 4, "seven lost answers are none in a night with seven other commits"
    found = dict(ask("select model_id, threshold from regressions where benchmark = 'truth'"))
    assert found == pytest.approx(dict.fromkeys(expected, 0.05 * 4 / 8) | {"org/alone": 0.05})


@pytest.mark.real
def test_a_drop_of_one_point_is_found_among_commits_that_are_as_good_as_before(tmp_path: Path) -> None:
    listed = simulate_commits(tmp_path, n_equal=40, n_worse=20)
    assert listed.found >= 0.25 and listed.found_unpaired <= 0.1, listed
    assert listed.false_alarms <= 0.1, listed


def test_rank_shifts_place_again_the_models_that_both_suites_have(lake: Lake, ask: Ask) -> None:
    for suite in ("leaderboard-v1", "leaderboard-v2"):
        lake.suite(suite=suite, version=suite)
    scores = {"a": (0.9, 0.2), "b": (0.8, 0.7), "c": (0.7, 0.6), "only-v1": (0.85, None), "only-v2": (None, 0.65)}
    for model, of_suites in scores.items():
        lake.commit(f"org/{model}")
        for suite, score in zip(("leaderboard-v1", "leaderboard-v2"), of_suites, strict=True):
            if score is not None:
                known = {"suite": suite, "suite_version": suite}
                lake.done(f"{model} {suite}", f"org/{model}", scores=score, **known)
    lake.done("worse", "org/b", scores=0.1, precision="float16", suite="leaderboard-v2", suite_version="leaderboard-v2")
    lake.commit("copy/a", fingerprint="org/a@r1", hours=1)
    shifts = [("org/a", 1, 3, 2), ("org/b", 2, 1, -1), ("org/c", 3, 2, -1)]
    assert ask("select model_id, rank_a, rank_b, shift from rank_shifts order by shift desc, model_id") == shifts
    turned = ask("select model_id, shift from shifts_between('leaderboard-v2', 'leaderboard-v1')")
    assert turned == [("org/b", 1), ("org/c", 1), ("org/a", -2)]


def test_identical_weights_tell_who_had_them_first(lake: Lake, ask: Ask) -> None:
    lake.commit("org/m", "r1", 0, weights_hash="w", fingerprint="one")
    lake.commit("org/m", "r2", 9, weights_hash="w", fingerprint="two")
    lake.commit("copy/m", "c1", 5, weights_hash="w", fingerprint="one")
    lake.commit("copy/renamed", "c1", 6, weights_hash="w", fingerprint="three")
    lake.commit("late/m", "l1", 7, weights_hash="w", fingerprint="two", state="rejected")
    lake.commit("org/other", weights_hash="v")
    lake.commit("org/unknown", weights_hash=None)
    columns = "model_id, revision, is_first, first_model_id, has_same_files, n_models"
    assert ask(f"select {columns} from identical_weights order by 1") == [
        ("copy/m", "c1", False, "org/m", True, 3),
        ("copy/renamed", "c1", False, "org/m", False, 3),
        ("org/m", "r2", True, "org/m", True, 3),
    ]  # fmt: skip


def test_costs_keep_what_is_metered_apart_from_what_is_estimated(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.done("metered", "org/m")
    lake.attempt("metered", "completed", energy_kwh=2.0)
    lake.done("estimated", "org/m", "r2")
    lake.attempt("estimated", "completed")  # half an hour on 2 GPUs
    lake.done("both", "org/n")
    lake.attempt("both", "timeout", 1, energy_kwh=1.0)
    lake.attempt("both", "completed", 2, gpus=4)
    lake.done("cpu", "org/n", "r2")
    lake.attempt("cpu", "completed", gpus=0)
    lake.board_row("board", "org/old", co2_kg=3.5)
    costs = ask("select evaluation_id, energy_kwh, estimated_kwh, co2_kg, estimated_co2_kg from costs order by 1")
    expected = [
        ("board", None, None, 3.5, None), ("both", 1.0, 1.4, 0.2698, 1.4 * 0.2698), ("cpu", None, None, None, None),
        ("estimated", None, 0.7, None, 0.7 * 0.2698), ("metered", 2.0, None, 2 * 0.2698, None),
    ]  # fmt: skip
    assert [row[0] for row in costs] == [row[0] for row in expected]
    for found, wanted in zip(costs, expected, strict=True):
        assert found[1:] == pytest.approx(wanted[1:])
    models = ask("select model_id, evaluations, attempts, energy_kwh, estimated_kwh from model_costs order by 1")
    assert [row[:3] for row in models] == [("org/m", 2, 2), ("org/n", 2, 3), ("org/old", 1, 0)]
    assert models[0][3:] == pytest.approx((2.0, 0.7)) and models[1][3:] == pytest.approx((1.0, 1.4))


def test_benchmark_costs_share_out_time_and_gpus(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for evaluation, gpus in (("one", 2), ("two", 4)):
        for row in lake.done(evaluation, f"org/{evaluation}"):
            row["benchmark_s"] = 900.0 if row["benchmark"] == "arc" else 2700.0
        lake.attempt(evaluation, "failed", 1, gpus=8)
        lake.attempt(evaluation, "completed", 2, gpus=gpus)
    lake.done("untimed", "org/untimed")
    columns = "benchmark, n_evaluations, mean_elapsed_s, elapsed_s, share, mean_gpu_hours, gpu_hours, estimated_kwh"
    assert ask(f"select {columns} from benchmark_costs order by 1") == [
        ("arc", 2, 900.0, 1800.0, 0.25, 0.75, 1.5, pytest.approx(1.05)),
        ("truth", 2, 2700.0, 5400.0, 0.75, 2.25, 4.5, pytest.approx(3.15)),
    ]


def test_estimates_stand_beside_what_evaluations_took_that_ran_whole(lake: Lake, ask: Ask) -> None:
    """Two shards at their first attempt; not what was tried again, put together, cut, unfinished, imported or old."""
    lake.suite()
    names = ("whole", "again", "composed", "cut", "cpu", "old")
    for name in names:
        left_out = '{"arc": "gated"}' if name == "cut" else None
        rows = lake.done(name, f"org/{name}", left_out=left_out)
        if name == "composed":
            rows[0]["measured_by"] = "whole"
        lake.commit(f"org/{name}", params_b=7.0)
    lake.attempt("whole", "completed", shard="arc", tier="gpu", estimate_s=900.0)
    lake.attempt("whole", "completed", shard="truth", tier="gpu", estimate_s=600.0, elapsed_s=1200.0)
    lake.attempt("cpu", "completed", estimate_s=3600.0, gpus=0)
    lake.attempt("again", "failed", estimate_s=900.0)
    lake.attempt("again", "completed", 2, estimate_s=900.0)
    for name in ("composed", "cut"):
        lake.attempt(name, "completed", estimate_s=900.0)
    lake.attempt("old", "completed", estimate_s=None)
    lake.planned("open", "org/whole")
    lake.attempt("open", "completed", shard="arc", estimate_s=900.0)
    columns = (
        "evaluation_id, suite, model_id, revision, params_b, tier, estimated_s, taken_s, estimated_gpu_hours,"
        " taken_gpu_hours, ratio, finished_at"
    )
    assert ask(f"select {columns} from estimates order by 1") == [
        ("cpu", "small", "org/cpu", "r1", 7.0, None, 3600.0, 1800.0, 1.0, 0.5, 0.5, after(1)),
        (
            "whole",
            "small",
            "org/whole",
            "r1",
            7.0,
            "gpu",
            1500.0,
            3000.0,
            pytest.approx(5 / 6),
            pytest.approx(5 / 3),
            2.0,
            after(1),
        ),
    ]


def test_failure_causes_group_reasons_that_differ_in_names_and_numbers(lake: Lake, ask: Ask) -> None:
    lake.suite()
    reasons = {
        "a": "org/a: tried to allocate 2.50 GiB of 80 at /scratch/job.1/x",
        "b": "org/b: tried to allocate 12 GiB of 40 at /srv/x/y",
        "c": "no tokenizer",
        "d": None,
    }
    for number, (name, reason) in enumerate(reasons.items(), 1):
        lake.planned(name, f"org/{name}")
        lake.attempt(name, "failed" if name != "d" else "timeout", reason=reason, ended_at=after(number))
    columns = "attempt_state, cause, n_evaluations, n_models, n_open, evaluation_id, log"
    assert ask(f"select {columns} from failure_causes order by n_evaluations desc, cause") == [
        ("failed", "<model>: tried to allocate N GiB of N at <path>", 2, 2, 0, "b", "runs/b/all/1/log.txt"),
        ("failed", "no tokenizer", 1, 1, 0, "c", "runs/c/all/1/log.txt"),
        ("timeout", "unknown reason", 1, 1, 1, "d", "runs/d/all/1/log.txt"),
    ]


def test_document_difficulty_finds_hard_and_discriminating_documents(lake: Lake, ask: Ask) -> None:
    tasks = [declare_task("truth", "truth"), declare_task("two", "two", metrics=["a", "b"], n_samples=2)]
    lake.suite(tasks)
    right = {"worst": [0, 1, 0, 0], "middle": [0, 1, 1, 0], "best": [0, 1, 1, 1]}  # by document
    for model, values in right.items():
        lake.commit(f"org/{model}")
        score = sum(values) / 4
        lake.done(model, f"org/{model}", scores={"truth": score, "two": score}, tasks=tasks)
        answer(lake, model, values)
        answer(lake, model, [0.25] * 4, metric="acc_norm")  # not declared
        answer(lake, model, [0.25] * 4, filter="strict")
        for metric, share in (("a", 0.0), ("b", score)):
            answer(lake, model, [share, 1.0], benchmark="two", task="two", metric=metric)
    lake.commit("copy/best", fingerprint="org/best@r1", hours=3)
    lake.commit("org/worst", "r0", hours=-5)
    for name, older in (("older commit", {"revision": "r0"}), ("older precision", {"precision": "float16"})):
        lake.done(name, "org/worst", hours=0, scores=0.0, tasks=tasks, **older)
        answer(lake, name, [1, 1, 1, 1])
    # Without its own 12.5 points: a document is a quarter of one of two benchmarks.
    rest = {3: [25, 50, 62.5], 2: [25, 37.5, 62.5]}
    columns = "task, doc_id, n_models, share_right, discrimination"
    assert ask(f"select {columns} from document_difficulty('small', benchmark := 'truth')") == [
        ("truth", 0, 3, 0, None),
        ("truth", 3, 3, pytest.approx(1 / 3), pytest.approx(correlation([0, 0, 1], rest[3]))),
        ("truth", 2, 3, pytest.approx(2 / 3), pytest.approx(correlation([0, 1, 1], rest[2]))),
        ("truth", 1, 3, 1, None),
    ]
    assert ask(f"select {columns} from document_difficulty('small') where benchmark = 'two'") == [
        ("two", 0, 3, pytest.approx(0.25), pytest.approx(1)),  # the mean of its two metrics
        ("two", 1, 3, 1, None),
    ]
    assert ask("from document_difficulty('small', era := 'other')") == []


def test_a_document_of_chance_does_not_discriminate_by_being_in_the_average(lake: Lake, ask: Ask) -> None:
    """All answers are drawn with the same chance: a document says nothing of the others."""
    tasks = [declare_task("truth", "truth", n_samples=6), declare_task("one", "one", n_samples=1)]
    lake.suite(tasks)
    chance = random.Random(5)
    for number in range(150):
        values = [chance.randrange(2) for _ in range(6)]
        lake.commit(f"org/m{number}")
        lake.done(f"m{number}", f"org/m{number}", scores={"truth": sum(values) / 6, "one": 1.0}, tasks=tasks)
        answer(lake, f"m{number}", values)
        answer(lake, f"m{number}", [1.0], benchmark="one", task="one")
    found = ask("select discrimination from document_difficulty('small', benchmark := 'truth')")
    assert len(found) == 6 and all(abs(value) < 0.25 for (value,) in found)  # with itself in the average, 0.41
    assert abs(sum(value for (value,) in found) / 6) < 0.1
