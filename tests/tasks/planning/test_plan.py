"""Planning: what runs, what does not and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from builders import NOW, make_commit, make_suite
from hypothesis import given, settings
from hypothesis import strategies as st

from nightboard.profiles.models.base import ChatTemplate
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.watchlist import WatchedModel, WatchList
from nightboard.tasks.planning.history import Done, History, ScoreKey, Tries
from nightboard.tasks.planning.plan import PlanInputs, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.records import Commit


def make_inputs(*commits: Commit, **changes: object) -> PlanInputs:
    inputs = PlanInputs(
        board="test",
        watch=WatchList(watchlist="all", organizations=("lab",)),
        suites=[make_suite()],
        cluster=Cluster(
            cluster="two",
            executor="local",
            max_jobs=2,
            tiers=(Tier(name="small", up_to_params_b=2, gpus=1), Tier(name="large", up_to_params_b=80, gpus=8)),
        ),
        commits=commits,
        history=History(),
        now=NOW,
    )
    return replace(inputs, **changes)  # type: ignore[arg-type]


def reasons(plan: Plan) -> list[tuple[str, str]]:
    return [(skip.kind, skip.reason) for skip in plan.skipped]


def pretend_done(plan: Plan, history: History) -> History:
    numbers = frozenset({("leaderboard_bbh_navigate", "acc_norm", "none")})
    done = {ScoreKey.of(each): [Done(each, numbers)] for each in plan.evaluations}
    return replace(history, done={**history.done, **done})


def test_plan_evaluates_a_new_commit_once_in_the_tier_that_fits() -> None:
    plan = make_plan(make_inputs(make_commit("lab/a"), make_commit("lab/b", params_b=70.0)))
    assert [each.model_id for each in plan.evaluations] == ["lab/a", "lab/b"]
    assert [(job.tier, job.gpus) for job in plan.jobs] == [("large", 8), ("small", 1)], "longest job first"
    assert plan.gpu_hours > 0
    assert not plan.skipped


def test_plan_skips_a_commit_that_changed_only_the_readme() -> None:
    first = make_inputs(make_commit("lab/a", "1", "same"))
    history = pretend_done(make_plan(first), History())
    plan = make_plan(make_inputs(make_commit("lab/a", "2", "same"), history=history))
    assert not plan.evaluations
    assert reasons(plan) == [("done", "scored already by lab/a@1111111 (same fingerprint)")]


def test_plan_evaluates_a_re_upload_once() -> None:
    plan = make_plan(make_inputs(make_commit("lab/a", "1", "same"), make_commit("copycat/a", "2", "same")))
    assert [each.model_id for each in plan.evaluations] == ["lab/a"]
    assert reasons(plan) == [("same_fingerprint", "same fingerprint as lab/a@1111111, evaluated once")]


def test_plan_leaves_out_what_runs_already() -> None:
    inputs = make_inputs(make_commit("lab/a"))
    running = frozenset(ScoreKey.of(each) for each in make_plan(inputs).evaluations)
    for suite in (make_suite(), make_suite(version="v2")):
        plan = make_plan(replace(inputs, suites=[suite], history=History(in_flight=running)))
        assert not plan.evaluations, "also at a newer version of the suite"
        assert plan.skipped[0].kind == "in_flight"


def test_plan_does_not_re_run_everything_for_a_new_suite_version() -> None:
    inputs = make_inputs(make_commit("lab/a"))
    history = pretend_done(make_plan(inputs), History())
    plan = make_plan(replace(inputs, suites=[make_suite(version="v2")], history=history))
    assert not plan.evaluations


def test_plan_refuses_with_a_reason_in_words() -> None:
    watch = WatchList(watchlist="all", organizations=("lab",), max_params_b=100)
    plan = make_plan(
        make_inputs(
            make_commit("lab/rejected", state="rejected", reason="no safetensors weights", fingerprint=None),
            make_commit("lab/huge", params_b=141.0),
            make_commit("lab/no-tier", params_b=90.0),
            make_commit("lab/code", needs_remote_code=True),
            watch=watch,
        )
    )
    assert not plan.evaluations
    assert [reason for _, reason in reasons(plan)] == [
        "no safetensors weights",
        "too large: 141B parameters, the watch list takes up to 100B",
        "too large: 90B parameters in bfloat16 take 180 GB, the cluster's largest tier takes 160 GB",
        "remote code refused: the model loads code from its repository (trust_remote_code is off)",
    ]


def test_plan_runs_remote_code_only_where_the_board_says_so_for_that_model() -> None:
    watch = WatchList(watchlist="all", models=({"id": "lab/code", "trust_remote_code": True}, "lab/other"))  # type: ignore[arg-type]
    commits = [make_commit(name, needs_remote_code=True) for name in ("lab/code", "lab/other")]
    plan = make_plan(make_inputs(*commits, watch=watch))
    assert [(each.model_id, each.trust_remote_code) for each in plan.evaluations] == [("lab/code", True)]


def test_chat_template_and_precision_are_part_of_the_evaluation_id() -> None:
    commit = make_commit("lab/a", has_chat_template=True)
    ids = set()
    for chat in ChatTemplate:
        for precision in ("auto", "float16"):
            model = WatchedModel.model_validate({"id": "lab/a", "chat_template": chat, "precision": precision})
            plan = make_plan(make_inputs(commit, watch=WatchList(watchlist="one", models=(model,))))
            ids.add(plan.evaluations[0].evaluation_id)
    assert len(ids) == 4, "auto resolves to always here, so there are two templates times two precisions"


def test_asking_for_a_chat_template_that_is_not_there_is_refused() -> None:
    watch = WatchList(watchlist="all", organizations=("lab",), chat_template=ChatTemplate.always)
    plan = make_plan(make_inputs(make_commit("lab/base"), watch=watch))
    assert "no chat template" in plan.skipped[0].reason


def test_plan_gives_up_by_cause_and_counts_the_next_attempt() -> None:
    inputs = make_inputs(make_commit("lab/a"))
    evaluation_id = make_plan(inputs).evaluations[0].evaluation_id

    def plan_after(last: int, **states: int) -> Plan:
        tries = Tries(states=states, last_reason="CUDA error")
        key = (evaluation_id, "all")
        history = History(tries={key: tries}, last_attempts={key: last})
        return make_plan(replace(inputs, history=history))

    assert plan_after(1, failed=1).jobs[0].attempts[0].number == 2
    assert plan_after(4, interrupted=4).jobs[0].attempts[0].number == 5
    assert plan_after(2, failed=1, invalid=1).jobs[0].attempts[0].number == 3, "each ending has its own count"
    assert reasons(plan_after(2, failed=2)) == [
        ("gave_up", "gave up after 2 failed attempts: CUDA error"),
    ]
    assert plan_after(99, interrupted=99).jobs[0].attempts[0].number == 100, "the model has no part in it"
    assert plan_after(3, fetch_failed=3).skipped[0].kind == "gave_up"


def test_short_evaluations_share_the_jobs_that_may_run_at_once() -> None:
    cluster = Cluster(
        cluster="shared",
        executor="local",
        max_jobs=2,
        tiers=(Tier(name="cpu", up_to_params_b=10, share_job_below_min=1000),),
    )
    commits = [make_commit(f"lab/m{index}", params_b=0.001 * (index + 1)) for index in range(5)]
    plan = make_plan(make_inputs(*commits, cluster=cluster))
    assert sorted(len(job.attempts) for job in plan.jobs) == [2, 3]
    estimates = [shard.estimate_s for job in plan.jobs for shard in job.attempts]
    assert all(list(e) == sorted(e, reverse=True) for e in ([s.estimate_s for s in j.attempts] for j in plan.jobs))
    assert len(estimates) == 5


def test_of_equal_fingerprints_the_oldest_commit_runs() -> None:
    young = make_commit("copycat/a", "1", "same", committed_at=NOW + timedelta(days=1))
    plan = make_plan(make_inputs(young, make_commit("lab/a", "2", "same")))
    assert [each.model_id for each in plan.evaluations] == ["lab/a"]


def test_everything_that_can_change_a_score_changes_the_evaluation_id() -> None:
    commit = make_commit("lab/a", has_chat_template=True)
    watch = WatchList(watchlist="all", organizations=("lab",))
    single = watch.model_copy(update={"fewshot_as_multiturn": False})
    inputs = make_inputs(commit, watch=watch)
    others = [
        inputs,
        replace(inputs, watch=single),
        replace(inputs, suites=[make_suite(version="v2")]),
        replace(inputs, suites=[make_suite("other")]),
        replace(inputs, commits=[make_commit("lab/a", fingerprint="else", has_chat_template=True)]),
    ]
    ids = [make_plan(each).evaluations[0].evaluation_id for each in others]
    assert len(set(ids)) == len(others)
    keys = {ScoreKey.of(make_plan(each).evaluations[0]) for each in others}
    assert len(keys) == len(others) - 1, "a new version of a suite asks for nothing"


commits_strategy = st.lists(
    st.builds(
        make_commit,
        st.sampled_from(["lab/a", "lab/b", "other/c", "other/d"]),
        st.sampled_from("123"),
        st.sampled_from(["x", "y", "z"]),
        params_b=st.sampled_from([None, 0.5, 7.0, 500.0]),
        needs_remote_code=st.booleans(),
        has_chat_template=st.booleans(),
    ),
    unique_by=lambda commit: (commit.model_id, commit.revision),
)


@settings(max_examples=150, deadline=None)
@given(commits_strategy)
def test_planning_is_idempotent(commits: list[Commit]) -> None:
    inputs = make_inputs(*commits, suites=[make_suite("one"), make_suite("two")])
    plan = make_plan(inputs)
    assert make_plan(inputs) == plan, "the same arguments give the same plan"
    planned = [shard.evaluation_id for job in plan.jobs for shard in job.attempts]
    assert sorted(planned) == sorted(each.evaluation_id for each in plan.evaluations)
    assert len(set(planned)) == len(planned)
    assert len(plan.evaluations) + len(plan.skipped) == 2 * len(commits), "everything watched is accounted for"
    again = make_plan(replace(inputs, history=pretend_done(plan, History())))
    assert not again.evaluations
    assert not again.jobs
    flying = frozenset(ScoreKey.of(each) for each in plan.evaluations)
    retried = make_plan(replace(inputs, history=History(in_flight=flying)))
    assert not retried.evaluations
