"""Requests in a plan: what is asked for runs once, beside the watch list, and the plan says how far each request is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import NOW, make_commit
from suite_nights import SUITE, Nights, change

from nightboard.tasks.planning.plan import RequestedCommit
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.records import Commit, Request, RequestTarget, TargetMode

NEWER = change(SUITE.model_copy(update={"harness": SUITE.harness.model_copy(update={"version": "0.4.14"})}))


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def ask(
    commit: Commit | str,
    *benchmarks: str,
    mode: TargetMode = "missing",
    replicate: int = 0,
    name: str = "request",
    **changes: object,
) -> RequestedCommit:
    commit = make_commit(commit) if isinstance(commit, str) else commit
    request = Request.model_validate(
        {"request_id": name, "board": "board", "kind": "backfill", "asked_by": "ada", "asked_at": NOW} | changes
    )
    target = RequestTarget(
        request_id=name, model_id=commit.model_id, revision=commit.revision, suite=SUITE.suite, benchmarks=benchmarks,
        mode=mode, replicate=replicate,
    )  # fmt: skip
    return RequestedCommit(request, target, commit)


def states(plan: Plan) -> list[tuple[str, str | None]]:
    return [(target.state, target.reason) for target in plan.targets]


def runs(plan: Plan) -> list[tuple[str, ...]]:
    return [shard.shard.benchmarks for job in plan.jobs for shard in job.attempts]


def test_a_requested_model_runs_although_nobody_watches_it(nights: Nights) -> None:
    plan = nights.night(SUITE, requested=[ask("other/m")])
    assert runs(plan) == [("long", "short")]
    assert states(plan) == [("planned", None)]
    assert plan.targets[0].gpu_hours == plan.device_hours > 0
    (evaluation,) = plan.evaluations
    assert plan.requests == {evaluation.evaluation_id: "request"}
    assert nights.ask("select model_id, request_id from evaluations") == [("other/m", "request")]
    assert nights.ask("select model_id, request_id from leaderboard") == [("other/m", "request")]
    again = nights.plan(SUITE, requested=[ask("other/m")])
    assert (again.evaluations, states(again)) == ((), [("done", None)])


def test_a_target_runs_in_its_own_settings(nights: Nights) -> None:
    commit = make_commit("lab/a", has_chat_template=True)
    asked = ask(commit)
    float32 = asked.target.model_copy(update={"precision": "float32", "chat_template": "never"})
    plan = nights.plan(SUITE, commit, requested=[asked, replace(asked, target=float32)])
    assert [(each.precision, each.chat_template) for each in plan.evaluations] == [
        ("bfloat16", True),
        ("float32", False),
    ]
    assert states(plan) == [("planned", None), ("planned", None)]


def test_what_the_watch_list_and_two_requests_ask_for_runs_once(nights: Nights) -> None:
    asked = [ask("lab/a", name="first"), ask("lab/a", "short", name="second")]
    plan = nights.plan(SUITE, make_commit("lab/a"), requested=asked)
    assert runs(plan) == [("long", "short")]
    assert states(plan) == [("planned", None), ("planned", None)]
    assert list(plan.requests.values()) == ["first"]


def test_only_the_benchmarks_that_are_asked_for_run(nights: Nights) -> None:
    plan = nights.night(SUITE, requested=[ask("lab/a", "short")])
    assert nights.ran[-1] == {"lab/a": ["short"]}
    assert plan.evaluations[0].left_out == {"long": "not asked for"}
    assert not plan.skipped, "what nobody asked for is not skipped"
    assert states(nights.plan(SUITE, requested=[ask("lab/a", "short")])) == [("done", None)]
    assert not nights.ranking(), "half a suite does not rank"
    nights.night(SUITE, "a")
    assert nights.ran[-1] == {"lab/a": ["long"]}, "and is completed later, not run again"


def test_a_newer_harness_runs_again_where_that_is_asked_for_and_keeps_the_rest(nights: Nights) -> None:
    nights.night(SUITE, "a")
    assert not nights.plan(NEWER, make_commit("lab/a")).evaluations
    plan = nights.night(NEWER, "a", requested=[ask("lab/a", "short", mode="stale")])
    assert nights.ran[-1] == {"lab/a": ["short"]}
    assert [taken.benchmark for taken in plan.shards[0].taken] == ["long"]
    (new,) = plan.evaluations
    measured = nights.ask(
        f"select distinct benchmark, measured_by is null from task_scores where evaluation_id = '{new.evaluation_id}'"
        " order by 1"
    )
    assert measured == [("long", False), ("short", True)], "the merged evaluation says what made which benchmark"
    again = nights.plan(NEWER, make_commit("lab/a"), requested=[ask("lab/a", "short", mode="stale")])
    assert (again.evaluations, states(again)) == ((), [("done", None)])


def test_what_a_newer_evaluation_has_reused_can_be_asked_for_again(nights: Nights) -> None:
    nights.night(SUITE, "a")
    nights.night(NEWER, "a", requested=[ask("lab/a", "short", mode="stale")])
    asked = [ask("lab/a", "long", mode="stale")]
    (new,) = nights.night(NEWER, "a", requested=asked).evaluations
    assert nights.ran[-1] == {"lab/a": ["long"]}
    assert new.replicate == 1, "beside the one that has reused it"
    for again in (asked, [ask("lab/a", mode="stale")]):
        plan = nights.plan(NEWER, make_commit("lab/a"), requested=again)
        assert (plan.evaluations, states(plan)) == ((), [("done", None)])


def test_a_replicate_stands_beside_the_old_score_and_the_newer_one_ranks(nights: Nights) -> None:
    (old,) = nights.night(SUITE, "a").evaluations
    asked = [ask("lab/a", mode="replicate", replicate=1)]
    (new,) = nights.night(SUITE, "a", requested=asked).evaluations
    assert nights.ran[-1] == {"lab/a": ["long", "short"]}
    assert (new.replicate, new.evaluation_id != old.evaluation_id) == (1, True)
    assert nights.ask("select evaluation_id from leaderboard") == [(new.evaluation_id,)]
    assert sorted(nights.ask("select replicate from evaluations")) == [(0,), (1,)]
    both = f"compare('{old.evaluation_id}', '{new.evaluation_id}')"
    assert nights.ask(f"select distinct difference from {both}") == [(0.0,)], "made answers have no noise"
    assert not nights.plan(SUITE, make_commit("lab/a"), requested=asked).evaluations


def test_a_replicate_of_one_benchmark_takes_the_rest_from_the_old_score(nights: Nights) -> None:
    nights.night(SUITE, "a")
    plan = nights.night(SUITE, "a", requested=[ask("lab/a", "short", mode="replicate", replicate=1)])
    assert nights.ran[-1] == {"lab/a": ["short"]}
    assert [taken.benchmark for taken in plan.shards[0].taken] == ["long"]


def test_a_submission_has_settings_of_its_own(nights: Nights) -> None:
    nights.night(SUITE, "a")
    asked = ask("lab/a", precision="float32", kind="submission")
    (new,) = nights.plan(SUITE, make_commit("lab/a"), requested=[asked]).evaluations
    assert new.precision == "float32"


def test_what_cannot_run_says_why(nights: Nights) -> None:
    huge, remote = make_commit("lab/huge", params_b=1000.0), make_commit("lab/code", "2", needs_remote_code=True)
    gone = ask("lab/a", name="gone")
    gone = RequestedCommit(gone.request, gone.target.model_copy(update={"suite": "removed"}), gone.commit)
    plan = nights.plan(SUITE, requested=[ask(huge), ask(remote), ask("lab/a", "typo"), gone])
    assert states(plan) == [
        ("failed", "too large: 1e+03B parameters in bfloat16 take 2e+03 GB, the cluster's largest tier takes 20 GB"),
        ("failed", "remote code refused: the model loads code from its repository (trust_remote_code is off)"),
        ("failed", "suite s has no benchmark typo"),
        ("failed", "the board has no suite removed any more"),
    ]
    assert {skip.request_id for skip in plan.skipped} == {"request"}


def test_a_benchmark_whose_data_is_away_fails_the_request(nights: Nights) -> None:
    plan = nights.plan(SUITE, requested=[ask("lab/a")], unavailable={"long": "gone", "short": "gone"})
    assert states(plan) == [("failed", "gone")]
