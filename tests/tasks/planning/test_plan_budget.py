"""A plan keeps the board's budget: what waits for it says so, and what a request asks for waits as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from builders import NOW, make_commit, make_suite

from nightboard.profiles.models.budget import Budget
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.planning.budget import NOTHING_ALLOWED, Spending
from nightboard.tasks.planning.history import History
from nightboard.tasks.planning.plan import PlanInputs, RequestedCommit, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.records import Commit, Request, RequestTarget

TIERS = (Tier(name="one", up_to_params_b=10, gpus=1), Tier(name="four", up_to_params_b=80, gpus=4))
COMMITS = [make_commit(f"lab/m{index}", committed_at=NOW + timedelta(minutes=index)) for index in range(4)]


def make_inputs(*commits: Commit, hours: float | None = None, **changes: object) -> PlanInputs:
    inputs = PlanInputs(
        board="test",
        watch=WatchList(watchlist="all", organizations=("lab",)),
        suites=[make_suite()],
        cluster=Cluster(cluster="c", executor="local", tiers=TIERS),
        commits=commits or COMMITS,
        history=History(),
        now=NOW,
        budget=Budget(gpu_hours_per_night=hours),
    )
    return replace(inputs, **changes)  # type: ignore[arg-type]


# What one of the models takes, in GPU-hours.
ONE = make_plan(make_inputs(COMMITS[0])).gpu_hours


def ask(commit: Commit, kind: str = "submission") -> RequestedCommit:
    request = Request.model_validate(
        {"request_id": kind, "board": "test", "kind": kind, "asked_by": "ada", "asked_at": NOW}
    )
    target = RequestTarget(request_id=kind, model_id=commit.model_id, revision=commit.revision, suite="small")
    return RequestedCommit(request, target, commit)


def models(plan: Plan) -> list[str]:
    return [evaluation.model_id for evaluation in plan.evaluations]


def waiting(plan: Plan) -> list[str]:
    return [skip.model_id for skip in plan.skipped if skip.kind == "budget"]


def test_the_oldest_commits_run_and_the_others_wait_for_the_budget() -> None:
    plan = make_plan(make_inputs(hours=2.5 * ONE))
    assert (models(plan), waiting(plan)) == (["lab/m0", "lab/m1"], ["lab/m2", "lab/m3"])
    assert len(plan.jobs) == len(plan.shards) == 2
    assert {skip.reason.partition(":")[0] for skip in plan.skipped} == {"waits for budget"}
    budget = plan.budget
    assert budget is not None
    assert (budget.gpu_hours, budget.spent, budget.n_waiting) == (2.5 * ONE, 0, 2)
    assert (budget.planned, budget.waiting) == (plan.gpu_hours, 2 * ONE)


def test_a_board_without_a_budget_has_no_limit_and_none_is_shown() -> None:
    plan = make_plan(make_inputs())
    assert (len(plan.evaluations), plan.budget) == (4, None)


def test_a_budget_of_nothing_launches_nothing_and_says_so() -> None:
    plan = make_plan(make_inputs(hours=0, requested=[ask(COMMITS[0])]))
    assert (plan.evaluations, plan.jobs, plan.gpu_hours) == ((), (), 0)
    assert {skip.reason for skip in plan.skipped} == {NOTHING_ALLOWED}
    assert [(target.state, target.reason) for target in plan.targets] == [("waiting", NOTHING_ALLOWED)]


def test_a_plan_of_one_request_keeps_to_the_share_of_its_class() -> None:
    asked = [ask(commit, "backfill") for commit in COMMITS]
    inputs = replace(make_inputs(hours=10 * ONE, requested=asked), commits=())
    assert len(make_plan(inputs).evaluations) == 4
    assert len(make_plan(replace(inputs, is_partial=True)).evaluations) == 2


def test_what_was_spent_this_night_counts() -> None:
    spent = Spending("lab", "watched", 2 * ONE, NOW, NOW, None)
    for spending, n_planned in (([spent], 0), ([replace(spent, gpu_hours=ONE)], 1), ([], 2)):
        plan = make_plan(make_inputs(hours=2.5 * ONE, history=History(spending=spending)))
        assert len(plan.evaluations) == n_planned
    old = replace(spent, started_at=NOW - timedelta(days=2), ended_at=NOW - timedelta(days=1))
    plan = make_plan(make_inputs(hours=2.5 * ONE, history=History(spending=[old])))
    assert len(plan.evaluations) == 2, "another night"


def test_a_night_begins_at_noon_in_the_boards_time_zone() -> None:
    """It is eight in the morning in Tokyo, and an attempt ended at one in the afternoon of the day before."""
    ended = Spending("lab", "watched", 9.0, NOW, NOW - timedelta(hours=20, minutes=30), NOW - timedelta(hours=19))
    inputs = make_inputs(hours=5.0, history=History(spending=[ended]), now=NOW - timedelta(hours=1))
    assert not make_plan(replace(inputs, timezone="Asia/Tokyo")).evaluations
    assert make_plan(inputs).evaluations


def test_a_request_that_waits_for_budget_says_so() -> None:
    asked = [ask(make_commit("other/a")), ask(make_commit("other/b"))]
    plan = make_plan(make_inputs(hours=2.2 * ONE, requested=asked))
    assert plan.budget is not None
    used = f"{plan.budget.planned:.2g} of {plan.budget.gpu_hours:g}"
    assert [(target.state, target.reason) for target in plan.targets] == [
        ("planned", None),
        ("waiting", f"waits for budget: {used} GPU-hours of this night are planned"),
    ]
    assert plan.requests == {plan.evaluations[1].evaluation_id: "submission"}, "only of what runs"
    assert models(plan) == ["lab/m0", "other/a"]


def test_a_copy_of_what_waits_waits_with_it_and_a_submission_may_bring_it_forward() -> None:
    copy = make_commit("copycat/m3", fingerprint=COMMITS[3].fingerprint)
    plan = make_plan(make_inputs(hours=1.2 * ONE, requested=[ask(copy)]))
    assert models(plan) == ["lab/m0"]
    assert [target.state for target in plan.targets] == ["waiting"]
    plan = make_plan(make_inputs(hours=2.2 * ONE, requested=[ask(copy)]))
    assert models(plan) == ["lab/m0", "lab/m3"]
    assert [target.state for target in plan.targets] == ["planned"]


def test_a_job_without_gpus_counts_as_one_and_a_large_one_by_its_gpus() -> None:
    for commit, gpus in ((COMMITS[0], 0), (make_commit("lab/large", params_b=40.0), 4)):
        tiers = (Tier(name="cpu", up_to_params_b=80, gpus=gpus),)
        plan = make_plan(make_inputs(commit, hours=1e6, cluster=Cluster(cluster="c", executor="local", tiers=tiers)))
        assert plan.budget is not None
        assert plan.budget.planned == plan.estimate_s * max(1, gpus) / 3600


def test_the_runs_own_launches_count_when_it_plans_again() -> None:
    """The first plan fills the night; after its two have failed or run, a new plan launches nothing above."""
    first = make_plan(make_inputs(hours=2.5 * ONE))
    running = [Spending("lab", "watched", ONE, NOW, NOW, None) for _ in first.evaluations]
    again = make_plan(make_inputs(*COMMITS[2:], hours=2.5 * ONE, history=History(spending=running), run_started_at=NOW))
    assert not again.evaluations
    assert waiting(again) == ["lab/m2", "lab/m3"]


def test_an_evaluation_with_finished_shards_is_continued() -> None:
    inputs = make_inputs(hours=ONE / 2)
    (key,) = (each.evaluation_id for each in make_plan(replace(inputs, budget=Budget())).evaluations[3:])
    full = [Spending("lab", "watched", 9 * ONE, NOW, NOW, None)]
    begun = History(finished=frozenset({(key, "all")}), spending=full)
    assert models(make_plan(replace(inputs, history=begun))) == ["lab/m3"]
