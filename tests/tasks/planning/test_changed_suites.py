"""A suite that changes: one ranking has scores made in one way, and nothing is run again that is measured already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import NOW, make_commit
from made_shards import made_node
from suite_nights import SUITE, Nights, change, with_bounds

from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.collect import collect_attempt
from nightboard.tasks.runs.merge_shards import MergeError, merge_shards
from nightboard.tasks.store.records import EvaluationShards, Shard, Taken

ALL = ["long", "short"]


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def told(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(skip.kind, skip.reason, skip.benchmarks) for skip in plan.skipped]


def equal_scores(nights: Nights, *names: str) -> float:
    """The one average of these models, which all rank in one era."""
    rows = nights.ranking()
    assert [model for model, _, _ in rows] == [f"lab/{name}" for name in names]
    assert len({era for _, era, _ in rows}) == 1
    (average,) = {average for _, _, average in rows}
    return average


# -------------------------------------------------------------------------------------- how raw values become scores


CHANGES = {
    "no bound": SUITE,
    "another metric": change(with_bounds(0.25), short={"metrics": ["credit"]}),
    "another filter": change(with_bounds(0.25), short={"filter": "flexible"}),
    "another aggregate": change(with_bounds(0.25), long={"aggregate": "pooled", "normalize": "benchmark"}),
}


def test_all_models_are_scored_again_as_the_suite_is_declared_now_and_none_is_run(nights: Nights) -> None:
    before = with_bounds(0.25)
    nights.night(before, "a")
    first = equal_scores(nights, "a")
    changed = nights.night(CHANGES["no bound"], "a", "copy")
    assert nights.ran[-1] == {"lab/copy": ALL}
    assert told(changed) == [("done", "scored already", ())]
    for name, after in CHANGES.items():
        assert not nights.night(after, "a", "copy").evaluations, name
        assert equal_scores(nights, "a", "copy") != first, name
    assert not nights.night(before, "a", "copy").evaluations, "and back again"
    assert equal_scores(nights, "a", "copy") == first


def test_a_metric_that_was_not_stored_is_measured_for_its_benchmark_alone(nights: Nights) -> None:
    nights.night(SUITE, "a")
    plan = nights.plan(change(short={"metrics": ["exact"]}), make_commit("lab/a"))
    assert [shard.shard.benchmarks for job in plan.jobs for shard in job.attempts] == [("short",)]
    assert [(each.benchmark, each.tasks) for each in plan.shards[0].taken] == [("long", ("one", "two"))]


@pytest.mark.parametrize(
    "changes",
    [{"max_new_tokens": 9}, {"group": "other"}, {"shots": 3}, {"dataset": {"id": "a/b", "sha": "c" * 40}}],
    ids=["max_new_tokens", "group", "shots", "dataset"],
)
def test_a_benchmark_is_measured_again_where_it_is_to_be_measured_in_another_way(
    nights: Nights, changes: dict[str, Any]
) -> None:
    nights.night(SUITE, "a")
    plan = nights.plan(change(short=changes), make_commit("lab/a"))
    assert [shard.shard.benchmarks for job in plan.jobs for shard in job.attempts] == [("short",)]


def test_another_seed_or_number_of_documents_measures_everything_again(nights: Nights) -> None:
    nights.night(SUITE, "a")
    for changes in ({"seed": 7}, {"limit": 2}):
        plan = nights.plan(SUITE.model_copy(update=changes), make_commit("lab/a"))
        assert [shard.shard.benchmarks for job in plan.jobs for shard in job.attempts] == [("long", "short")]
        assert not plan.shards[0].taken


def test_what_was_measured_in_another_way_does_not_rank_until_it_is_measured_again(nights: Nights) -> None:
    nights.night(SUITE, "a")
    after = change(short={"max_new_tokens": 9})
    nights.night(after, "new")
    assert equal_scores(nights, "new")
    [(benchmark, reason)] = nights.ask("select benchmark, problem from coverage where not is_complete")
    assert benchmark == "short"
    assert reason.startswith('three: measured with {"dataset": "own/data", "group": "group", "seed": 1234} instead of')
    nights.night(after, "a", "new")
    assert nights.ran[-1] == {"lab/a": ["short"]}
    assert equal_scores(nights, "a", "new")
    assert not nights.night(SUITE, "a").evaluations, "the first way is measured, too"
    assert [model for model, _, _ in nights.ranking()] == ["lab/a"]


def test_a_new_version_of_lm_eval_or_commit_of_a_dataset_asks_for_nothing(nights: Nights) -> None:
    nights.night(SUITE, "a")
    dataset = {"id": "own/data", "sha": "b" * 40}
    newer = change(SUITE.model_copy(update={"harness": SUITE.harness.model_copy(update={"version": "0.4.14"})}))
    for after in (newer, change(short={"dataset": dataset}, long={"dataset": dataset})):
        assert told(nights.night(after, "a")) == [("done", "scored already", ())]


def test_two_boards_with_one_suite_run_nothing_twice_and_the_one_declared_last_scores(nights: Nights) -> None:
    ours, theirs = SUITE, change(with_bounds(0.25), short={"max_new_tokens": 9})
    for suite, ran in ((ours, ALL), (theirs, ["short"]), (ours, None), (theirs, None)):
        plan = nights.night(suite, "a")
        assert nights.ran[-1].get("lab/a") == ran
        assert bool(plan.evaluations) == bool(ran)
    versions = "select evaluations.suite_version, suites.is_newest from leaderboard inner join evaluations using"
    versions += " (evaluation_id) inner join suites on evaluations.suite_version = suites.suite_version group by all"
    assert [is_newest for _, is_newest in nights.ask(versions)] == [True]


# ------------------------------------------------------------------------------------- benchmarks that come and go


def test_a_benchmark_that_is_added_runs_alone_and_one_that_is_removed_costs_nothing(nights: Nights) -> None:
    few = change(short=None)
    nights.night(few, "a")
    of_few = equal_scores(nights, "a")
    added = nights.night(SUITE, "a", "new")
    assert nights.ran[-1] == {"lab/a": ["short"], "lab/new": ALL}
    of_all = equal_scores(nights, "a", "new")
    assert nights.ask("select model_id, evaluation_id from leaderboard order by model_id") == sorted(
        (each.model_id, each.evaluation_id) for each in added.evaluations
    )
    for suite, average in ((few, of_few), (SUITE, of_all)):
        assert not nights.night(suite, "a", "new").evaluations
        assert equal_scores(nights, "a", "new") == average


def test_an_evaluation_that_took_a_benchmark_over_has_all_its_rows_and_the_cost_of_what_it_ran(nights: Nights) -> None:
    first = nights.night(change(short=None), "a").evaluations[0].evaluation_id
    second = nights.night(SUITE, "a").evaluations[0].evaluation_id
    scores = "select {} from task_scores where evaluation_id = '{}' and task in ('one', 'two') order by all"
    columns = "task, metric, filter, value, stderr, n_samples, doc_set_hash, node"
    assert nights.ask(scores.format(columns, second)) == nights.ask(scores.format(columns, first))
    who = "select distinct benchmark, measured_by, benchmark_s is null from task_scores where evaluation_id = '{}'"
    assert sorted(nights.ask(who.format(second))) == [("long", first, True), ("short", None, False)]
    n_samples = dict(nights.ask("select evaluation_id, count(*) from samples group by all"))
    assert (n_samples[first], n_samples[second]) == (12 * 4, 15 * 4)
    assert nights.ask("select elapsed_s from costs") == [(60.0,), (60.0,)]
    assert nights.ask("select benchmark, n_evaluations from benchmark_costs order by 1") == [("long", 1), ("short", 1)]


def test_what_was_taken_over_names_who_measured_it_however_often_it_is_passed_on(nights: Nights) -> None:
    first = nights.night(change(short=None), "a").evaluations[0].evaluation_id
    nights.night(SUITE, "a")
    nights.night(change(short={"max_new_tokens": 9}), "a")
    assert nights.ran[-1] == {"lab/a": ["short"]}
    found = nights.ask(
        "select distinct measured_by from task_scores where benchmark = 'long' and measured_by is not null"
    )
    assert found == [(first,)]


def test_collecting_again_changes_nothing(nights: Nights) -> None:
    nights.night(change(short=None), "a")
    evaluation = nights.night(SUITE, "a").evaluations[0].evaluation_id
    lake = {path: path.read_bytes() for path in sorted(nights.store.lake.rglob("*.parquet"))}
    # As a flow leaves it that was killed between the rows and the outcome.
    for table in ("outcomes", "attempts"):
        for path in (nights.store.lake / table).glob(f"{evaluation}*"):
            path.unlink()
    assert collect_attempt(nights.store, nights.folders[-1], NOW).is_scored
    assert {path: path.read_bytes() for path in sorted(nights.store.lake.rglob("*.parquet"))} == lake


def test_rows_that_are_gone_are_told_and_nothing_is_half_written(nights: Nights) -> None:
    taken = Taken(benchmark="long", tasks=("one",), evaluation_id="gone")
    with pytest.raises(MergeError, match="long: evaluation gone has no scores of one"):
        merge_shards(nights.store, "e", (), [taken])
    assert not list(nights.store.lake.rglob("*.parquet"))


def test_what_several_evaluations_have_together_is_put_together_and_no_benchmark_is_run(nights: Nights) -> None:
    nights.night(change(short=None), "a")
    nights.night(change(long=None), "a")
    plan = nights.night(SUITE, "a")
    assert [part.benchmarks for each in plan.shards for part in each.shards] == [()]
    assert nights.ran[-1] == {"lab/a": []}
    assert equal_scores(nights, "a")
    assert not nights.night(SUITE, "a").evaluations


@pytest.mark.real
def test_a_job_without_benchmarks_completes_and_loads_no_model(tmp_path: Path) -> None:
    node = made_node(tmp_path, SUITE)
    node.finish(node.prepare(shard=Shard(benchmarks=())))
    assert not node.store.cache.exists()


# ---------------------------------------------------------------------------------------------- what cannot be run


GATED = {"short": "The dataset own/data is gated."}


def test_a_benchmark_whose_data_cannot_be_had_is_left_out_and_runs_alone_once_it_can(nights: Nights) -> None:
    plan = nights.night(SUITE, "a", unavailable=GATED)
    assert nights.ran[-1] == {"lab/a": ["long"]}
    assert told(plan) == [("unavailable", GATED["short"], ("short",))]
    assert nights.ranking() == [], "half a suite is no rank"
    [(problem,)] = nights.ask("select problem from coverage where not is_complete")
    assert problem == f"not run: {GATED['short']}"
    again = nights.night(SUITE, "a", unavailable=GATED)
    assert told(again) == [("done", "scored already", ()), ("unavailable", GATED["short"], ("short",))]
    assert not again.evaluations
    nights.night(SUITE, "a", "new")
    assert nights.ran[-1] == {"lab/a": ["short"], "lab/new": ALL}
    equal_scores(nights, "a", "new")
    assert not nights.night(SUITE, "a", unavailable=GATED).evaluations, "what is measured is not held against anybody"


def test_nothing_runs_where_no_benchmark_can(nights: Nights) -> None:
    reason = "The dataset own/data is gated."
    plan = nights.night(SUITE, "a", unavailable=dict.fromkeys(ALL, reason))
    assert not plan.evaluations
    assert told(plan) == [("unavailable", reason, ("long", "short"))]


@pytest.mark.parametrize("tokens", [8, 9])
def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused_for_its_benchmark(nights: Nights, tokens: int) -> None:
    plan = nights.night(change(short={"max_new_tokens": 9}), make_commit("lab/a", context_length=tokens))
    assert nights.ran[-1] == {"lab/a": ["long"]}
    assert told(plan) == [("rejected", f"context too short: {tokens} tokens, and an answer may take 9", ("short",))]


@pytest.mark.parametrize("tokens", [10, None])
def test_a_context_that_is_long_enough_or_not_known_is_no_reason(nights: Nights, tokens: int | None) -> None:
    nights.night(change(short={"max_new_tokens": 9}), make_commit("lab/a", context_length=tokens))
    assert nights.ran[-1] == {"lab/a": ALL}


def test_commits_of_one_fingerprint_are_judged_alike_whenever_they_were_examined(nights: Nights) -> None:
    commits = [make_commit(f"lab/{name}", fingerprint="same", context_length=tokens) for name, tokens in
               (("old", None), ("new", 8))]  # fmt: skip
    plan = nights.plan(change(short={"max_new_tokens": 9}), *commits)
    assert len(plan.evaluations) == 1
    assert plan.evaluations[0].left_out.keys() == {"short"}


def test_a_split_without_anything_taken_reads_as_before() -> None:
    old = EvaluationShards.model_validate_json(
        '{"record_version": 1, "evaluation_id": "a", "parts": [{"benchmarks": ["x"]}]}'
    )
    assert old.taken == ()
