"""Planning in shards: what is split stays so, what is done is not run again, and retries differ by ending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, make_commit
from hypothesis import given, settings
from hypothesis import strategies as st

from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.watchlist import WatchedModel, WatchList
from nightboard.tasks.planning.history import Cost, CostKey, History, ScoreKey, Tries
from nightboard.tasks.planning.plan import PlanInputs, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.records import Commit, PlannedAttempt, ResolvedSuite, Shard

V2 = ResolvedSuite(suite=load_suite("leaderboard-v2"), version="v2")
SMALL = Tier(name="small", up_to_params_b=15, gpus=1, batch_size="auto", time_min=3000, shard_above_min=90)
LARGE = Tier(name="large", up_to_params_b=80, gpus=4, batch_size=8, time_min=1000, shard_above_min=90)


def make_inputs(*commits: Commit, history: History | None = None, **changes: Any) -> PlanInputs:
    inputs = PlanInputs(
        board="test",
        watch=WatchList(watchlist="all", organizations=("lab",)),
        suites=[V2],
        cluster=Cluster(cluster="c", executor="slurm", max_jobs=100, tiers=(SMALL, LARGE)),
        commits=commits or (make_commit("lab/a", params_b=7.0),),
        history=history or History(),
        now=NOW,
    )
    return replace(inputs, **changes)


def shards_of(plan: Plan) -> list[PlannedAttempt]:
    return [shard for job in plan.jobs for shard in job.attempts]


def names_of(plan: Plan) -> set[str]:
    return {shard.shard.name for shard in shards_of(plan)}


FIRST = make_plan(make_inputs())
KEY = FIRST.evaluations[0].evaluation_id
SCORE = ScoreKey.of(FIRST.evaluations[0])
PARTS = FIRST.shards[0].shards
ALL = {part.name for part in PARTS}


def plan_after(history: History, **changes: Any) -> Plan:
    return make_plan(make_inputs(history=replace(history, shards={KEY: FIRST.shards[0]}), **changes))


def tries(state: Any, count: int = 1, minutes: int = 0) -> Tries:
    return Tries({state: count}, "CUDA error", state, NOW + timedelta(minutes=minutes))


def only_reason(plan: Plan) -> tuple[str, str]:
    assert not plan.jobs
    (skip,) = plan.skipped
    return skip.kind, skip.reason


def test_a_long_evaluation_is_planned_in_shards_that_the_plan_names() -> None:
    assert FIRST.shards[0].evaluation_id == KEY
    assert names_of(FIRST) == ALL == {"ifeval", "bbh", "math_lvl_5", "gpqa", "musr", "mmlu_pro"}
    assert {shard.number for shard in shards_of(FIRST)} == {1}
    assert {shard.batch_size for shard in shards_of(FIRST)} == {"auto"}
    large = make_plan(make_inputs(make_commit("lab/b", params_b=70.0)))
    assert {"mmlu_pro.0-2048", "math_lvl_5.1280-1324", "ifeval", "gpqa", "musr"} <= names_of(large)


def test_a_short_evaluation_and_one_without_a_limit_are_in_one_piece() -> None:
    unlimited = Cluster(cluster="c", executor="slurm", tiers=(SMALL.model_copy(update={"shard_above_min": None}),))
    assert names_of(make_plan(make_inputs(cluster=unlimited))) == {"all"}
    quick = {CostKey("leaderboard-v2", None, "hf", has_gpus=True): [Cost(7.0, 21606, 60.0, 1)]}
    assert names_of(make_plan(make_inputs(history=History(costs=quick)))) == {"all"}


costs_strategy = st.one_of(st.none(), st.floats(1.0, 1e6))
limits_strategy = st.one_of(st.none(), st.floats(1, 10_000))


@settings(max_examples=60, deadline=None)
@given(costs_strategy, limits_strategy, st.sampled_from([1.0, 7.0, 70.0]))
def test_retries_keep_the_split_whatever_is_known_by_then(
    seconds: float | None, limit: float | None, params_b: float
) -> None:
    commit = make_commit("lab/a", params_b=params_b)
    first = make_plan(make_inputs(commit))
    key, parts = first.shards[0].evaluation_id, first.shards[0]
    costs = {CostKey("leaderboard-v2", None, "hf", has_gpus=True): [Cost(params_b, 100, seconds, 1)]} if seconds else {}
    tiers = [tier.model_copy(update={"shard_above_min": limit}) for tier in (SMALL, LARGE)]
    cluster = Cluster(cluster="c", executor="slurm", tiers=tuple(tiers))
    again = make_plan(make_inputs(commit, history=History(shards={key: parts}, costs=costs), cluster=cluster))
    assert again.shards == first.shards
    assert names_of(again) == {part.name for part in parts.shards}


def test_only_shards_that_are_neither_done_nor_under_way_are_run() -> None:
    history = History(
        finished=frozenset({(KEY, "bbh"), (KEY, "gpqa")}),
        in_flight=frozenset({SCORE}),
        shards_in_flight=frozenset({(KEY, "ifeval")}),
        last_attempts={(KEY, "bbh"): 1, (KEY, "musr"): 3},
    )
    plan = plan_after(history)
    assert names_of(plan) == ALL - {"bbh", "gpqa", "ifeval"}
    assert {shard.shard.name: shard.number for shard in shards_of(plan)}["musr"] == 4
    assert plan.shards[0].shards == PARTS, "the split names all shards, done or not"
    rest = frozenset((KEY, name) for name in ALL - {"bbh", "gpqa"})
    busy = plan_after(replace(history, shards_in_flight=rest))
    assert only_reason(busy) == ("in_flight", "already running or submitted")


def test_an_evaluation_at_another_suite_version_that_runs_is_waited_for() -> None:
    """Its score will serve; also where an attempt at this version has left its split behind."""
    other = History(in_flight=frozenset({SCORE}), shards_in_flight=frozenset({("other", "all")}))
    assert only_reason(make_plan(make_inputs(history=other)))[0] == "in_flight"
    assert only_reason(plan_after(other))[0] == "in_flight"


def test_an_evaluation_of_a_store_without_splits_stays_in_one_piece() -> None:
    plan = make_plan(make_inputs(history=History(last_attempts={(KEY, "all"): 2})))
    assert [(shard.shard.name, shard.number) for shard in shards_of(plan)] == [("all", 3)]


def test_scores_that_are_not_there_though_all_shards_are_finished_are_put_together() -> None:
    history = History(finished=frozenset((KEY, name) for name in ALL), last_attempts={(KEY, PARTS[-1].name): 1})
    assert [(shard.shard.name, shard.number) for shard in shards_of(plan_after(history))] == [(PARTS[-1].name, 2)]


# ----------------------------------------------------------------------------------------------------------- retries


def test_one_shard_that_gave_up_stops_its_evaluation() -> None:
    history = History(tries={(KEY, "gpqa"): tries("failed", 2), (KEY, "bbh"): tries("timeout", 4)})
    assert only_reason(plan_after(history)) == ("gave_up", "gave up after 2 failed attempts in gpqa: CUDA error")
    running = replace(history, in_flight=frozenset({SCORE}), shards_in_flight=frozenset({(KEY, "gpqa")}))
    assert names_of(plan_after(running)) == set(), "also while another attempt at it runs out"
    finished = replace(history, finished=frozenset({(KEY, "gpqa")}))
    assert names_of(plan_after(finished)) == ALL - {"gpqa"}, "an operator may have put it right"


def test_tries_are_counted_by_shard() -> None:
    history = History(tries={(KEY, name): tries("failed", 1) for name in ("bbh", "gpqa", "musr")})
    assert names_of(plan_after(history)) == ALL


def test_what_failed_in_this_run_waits_for_the_next_run() -> None:
    history = History(tries={(KEY, "gpqa"): tries("failed", 1, minutes=30)})
    tonight = plan_after(history, run_started_at=NOW)
    assert only_reason(tonight) == ("later", "failed in this run; the next run tries again")
    for started in (None, NOW + timedelta(hours=1)):
        assert names_of(plan_after(history, run_started_at=started)) == ALL
    timeouts = History(tries={(KEY, "gpqa"): tries("timeout", 1, minutes=30)})
    assert names_of(plan_after(timeouts, run_started_at=NOW)) == ALL, "a timeout is resumed in the same night"


@pytest.mark.parametrize(
    ("count", "resources"), [(0, ("small", "auto")), (1, ("small", 8)), (2, ("large", 8)), (3, ("large", 4))]
)
def test_a_shard_that_ran_out_of_memory_gets_half_the_batch_then_the_next_tier(
    count: int, resources: tuple[str, object]
) -> None:
    plan = plan_after(History(tries={(KEY, "bbh"): tries("out_of_memory", count)}))
    (job,) = [job for job in plan.jobs if job.attempts[0].shard.name == "bbh"]
    assert (job.tier, job.attempts[0].batch_size) == resources
    assert {job.tier for job in plan.jobs if job.attempts[0].shard.name != "bbh"} == {"small"}


def test_a_shard_that_no_tier_has_the_memory_for_is_given_up() -> None:
    cluster = Cluster(cluster="c", executor="slurm", tiers=(SMALL,), retries={"out_of_memory": {"attempts": 9}})  # type: ignore[dict-item]
    plan = plan_after(History(tries={(KEY, "bbh"): tries("out_of_memory", 2)}), cluster=cluster)
    assert only_reason(plan) == ("gave_up", "gave up: the largest tier has too little memory in bbh: CUDA error")


def test_the_time_limit_doubles_with_each_timeout_up_to_the_tiers() -> None:
    limits = []
    for count in range(5):
        plan = plan_after(History(tries={(KEY, "bbh"): tries("timeout", count)}))
        (limit,) = [job.time_min for job in plan.jobs if job.attempts[0].shard.name == "bbh"]
        limits.append(limit)
    assert limits == [120, 240, 480, 960, 1920]
    (most,) = [
        job.time_min
        for job in plan_after(History(tries={(KEY, "bbh"): tries("timeout", 4)}), cluster=_with_time(500)).jobs
        if job.attempts[0].shard.name == "bbh"
    ]
    assert most == 500


def _with_time(minutes: int) -> Cluster:
    return Cluster(cluster="c", executor="slurm", tiers=(SMALL.model_copy(update={"time_min": minutes}),))


# ------------------------------------------------------------------------------------------------------------- tiers


def tier_of(commit: Commit, precision: str = "auto", tiers: Sequence[Tier] = (SMALL, LARGE)) -> str | None:
    model = WatchedModel.model_validate({"id": commit.model_id, "precision": precision})
    cluster = Cluster(cluster="c", executor="slurm", tiers=tuple(tiers))
    plan = make_plan(make_inputs(commit, watch=WatchList(watchlist="one", models=(model,)), cluster=cluster))
    return plan.jobs[0].tier if plan.jobs else plan.skipped[0].reason


def test_weights_count_in_the_format_that_they_are_loaded_in() -> None:
    ten = make_commit("lab/a", params_b=10.0)
    assert tier_of(ten) == tier_of(ten, "float16") == "small", "20 GB of 30"
    assert tier_of(ten, "float32") == "large", "40 GB of 30"
    assert tier_of(make_commit("lab/a", params_b=10.0, stored_precision="float32")) == "large"
    assert tier_of(make_commit("lab/a", params_b=50.0), "float32") == (
        "too large: 50B parameters in float32 take 200 GB, the cluster's largest tier takes 160 GB"
    )


def test_quantised_weights_count_as_their_files() -> None:
    quantised = {"stored_precision": "int4", "params_b": 70.0}
    assert tier_of(make_commit("lab/a", size_gb=28.0, **quantised)) == "small"
    assert tier_of(make_commit("lab/a", size_gb=40.0, **quantised)) == "large"
    assert tier_of(make_commit("lab/a", **quantised)) == "large", "two bytes a parameter where nothing is known"
    assert tier_of(make_commit("lab/a", size_gb=170.0, **quantised)) == (
        "too large: 70B parameters take 170 GB, the cluster's largest tier takes 160 GB"
    )


def test_a_tier_may_count_on_other_bytes_a_parameter() -> None:
    tiers = (SMALL.model_copy(update={"bytes_per_param": 4}), LARGE)
    assert tier_of(make_commit("lab/a", params_b=30.0), tiers=tiers) == "small"


def test_a_model_of_unknown_size_gets_the_largest_tier() -> None:
    assert tier_of(make_commit("lab/a", params_b=None)) == "large"


# ------------------------------------------------------------------------------------------------------ all together

states_strategy = st.dictionaries(
    st.sampled_from(["timeout", "preempted", "out_of_memory", "failed", "cancelled", "completed"]), st.integers(1, 3)
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(ALL)), states_strategy),
    st.sets(st.sampled_from(sorted(ALL))),
    st.sets(st.sampled_from(sorted(ALL))),
)
def test_a_plan_of_shards_is_idempotent_and_runs_nothing_twice(
    states: dict[str, dict[str, int]], finished: set[str], flying: set[str]
) -> None:
    history = History(
        tries={(KEY, name): Tries(each, "why") for name, each in states.items()},  # type: ignore[arg-type]
        finished=frozenset((KEY, name) for name in finished),
        in_flight=frozenset({SCORE}) if flying else frozenset(),
        shards_in_flight=frozenset((KEY, name) for name in flying),
    )
    plan = plan_after(history)
    assert plan == plan_after(history)
    shards = shards_of(plan)
    assert len({(shard.evaluation_id, shard.shard.name) for shard in shards}) == len(shards)
    assert bool(plan.skipped) != bool(shards)
    assert not names_of(plan) & flying
    if finished != ALL:
        assert not names_of(plan) & finished
    launched = frozenset((shard.evaluation_id, shard.shard.name) for shard in shards)
    after = replace(history, in_flight=frozenset({SCORE}), shards_in_flight=history.shards_in_flight | launched)
    assert not plan_after(after).jobs


def test_a_part_is_the_same_record_whether_planned_or_read_again() -> None:
    assert tuple(Shard.model_validate_json(part.to_bytes()) for part in PARTS) == PARTS
