"""Budgets: what starts, what waits and why, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from nightboard.profiles.models.budget import Budget, Shares
from nightboard.tasks.planning.budget import (
    CLASSES,
    NOTHING_ALLOWED,
    Contender,
    Decision,
    RequestClass,
    Spending,
    Spent,
    choose,
    find_night,
    find_week,
    sum_spent,
)

FORTY = Budget(gpu_hours_per_night=40)
Queues = dict[RequestClass, list[Contender]]


def many(name: RequestClass, count: int, hours: float = 4, organization: str | None = None) -> list[Contender]:
    return [Contender(f"{name}{index}", organization or f"{name}-{index}", hours) for index in range(count)]


def launched(queues: Queues, decision: Decision) -> dict[RequestClass, int]:
    return {
        name: sum(each.evaluation_id not in decision.waiting for each in queues.get(name, ()))
        for name in CLASSES
        if name in queues
    }


def test_classes_have_their_shares_of_a_night() -> None:
    queues: Queues = {name: many(name, 20, hours=1) for name in CLASSES}
    decision = choose(queues, FORTY, Spent())
    assert launched(queues, decision) == {"watched": 20, "submissions": 12, "backfills": 8}
    more: Queues = {name: many(name, 30, hours=1) for name in CLASSES}
    assert launched(more, choose(more, FORTY, Spent())) == {"watched": 20, "submissions": 12, "backfills": 8}
    assert set(choose(more, FORTY, Spent()).waiting.values()) == {
        "waits for budget: 40 of 40 GPU-hours of this night are planned"
    }
    assert decision.launched == pytest.approx(40)


def test_what_a_class_does_not_use_goes_to_the_others() -> None:
    alone: Queues = {"backfills": many("backfills", 20)}
    assert launched(alone, choose(alone, FORTY, Spent())) == {"backfills": 10}
    queues: Queues = {"submissions": many("submissions", 1), "backfills": many("backfills", 20)}
    assert launched(queues, choose(queues, FORTY, Spent())) == {"submissions": 1, "backfills": 9}


def test_a_class_without_a_share_runs_in_spare_time_only() -> None:
    budget = Budget(gpu_hours_per_night=40, shares=Shares(watched=0.7, submissions=0.3, backfills=0))
    for night in range(3):
        queues: Queues = {"watched": many("watched", 9), "backfills": many("backfills", 5)}
        assert launched(queues, choose(queues, budget, Spent(night=night))) == {"watched": 9, "backfills": 1}


def test_within_a_class_the_order_of_the_queue_counts_and_small_ones_fill_the_rest() -> None:
    queues: Queues = {"watched": [Contender(str(hours), "lab", hours) for hours in (30.0, 20.0, 9.0, 2.0, 1.0)]}
    assert set(choose(queues, FORTY, Spent()).waiting) == {"20.0", "2.0"}


def test_a_budget_of_nothing_launches_nothing() -> None:
    queues: Queues = {"watched": [Contender("a", "lab", 0.1), Contender("b", "lab", 1, is_begun=True)]}
    for budget in (Budget(gpu_hours_per_night=0), Budget(gpu_hours_per_organization_and_week=0)):
        assert choose(queues, budget, Spent()).waiting == dict.fromkeys("ab", NOTHING_ALLOWED)


def test_what_has_begun_is_continued_and_counts_first() -> None:
    spent = Spent(of_night={"watched": 35.0}, has_begun=True)
    queues: Queues = {"watched": [Contender("new", "lab", 3), Contender("old", "lab", 4, is_begun=True)]}
    decision = choose(queues, FORTY, spent)
    assert dict(decision.waiting) == {"new": "waits for budget: 39 of 40 GPU-hours of this night are planned"}
    assert (decision.spent, decision.launched) == (35, 4)
    full = Spent(of_night={"watched": 60.0}, has_begun=True)
    assert set(choose(queues, FORTY, full).waiting) == {"new"}


def test_an_evaluation_larger_than_a_night_starts_as_the_first_of_one() -> None:
    queues: Queues = {
        "watched": [*many("watched", 1), Contender("large", "lab", 100)],
        "backfills": many("backfills", 3),
    }
    assert "large" in choose(queues, FORTY, Spent(night=0)).waiting, "another one is first"
    queues["watched"].reverse()
    assert set(choose(queues, FORTY, Spent(night=0)).waiting) == {"watched0", "backfills0", "backfills1", "backfills2"}
    assert "large" in choose(queues, FORTY, Spent(night=0, has_begun=True)).waiting
    assert "large" in choose(queues, FORTY, Spent(night=0, of_night={"watched": 21.0})).waiting, "half is used"
    queues = {"watched": many("watched", 9), "backfills": [Contender("large", "lab", 100)]}
    assert ["large" in choose(queues, FORTY, Spent(night=night)).waiting for night in range(4)] == [True, False] * 2


def test_what_two_classes_ask_for_is_launched_once_by_the_first_that_can() -> None:
    both = Contender("both", "lab", 4)
    queues: Queues = {"watched": [*many("watched", 20), both], "submissions": [both]}
    decision = choose(queues, FORTY, Spent(night=0))
    assert "both" not in decision.waiting
    assert decision.launched == pytest.approx(40)


def test_a_run_that_plans_one_request_leaves_the_other_classes_their_shares() -> None:
    queues: Queues = {"backfills": many("backfills", 5)}
    decision = choose(queues, FORTY, Spent(), knows_all=False)
    assert launched(queues, decision) == {"backfills": 2}
    reason = "waits for budget: 8 of 8 GPU-hours of this night for backfills are planned; a nightly run launches more"
    assert {each.partition(" when")[0] for each in decision.waiting.values()} == {reason}
    used = Spent(of_night={"watched": 38.0}, has_begun=True)
    assert launched(queues, choose(queues, FORTY, used, knows_all=False)) == {"backfills": 0}


# ---------------------------------------------------------------------------------------------------- organizations


def test_an_organization_has_its_hours_of_a_week() -> None:
    budget = Budget(gpu_hours_per_organization_and_week=100)
    spent = Spent(of_week={("Qwen", "watched"): 98.0, ("allenai", "watched"): 10.0})
    queues: Queues = {
        "watched": [Contender("q", "Qwen", 4), Contender("small", "Qwen", 1), Contender("o", "allenai", 4)]
    }
    reason = "waits for budget: organization Qwen has used 98 of 100 GPU-hours this week"
    assert choose(queues, budget, spent).waiting == {"q": reason, "small": reason}, "a small one does not overtake"


def test_classes_share_the_week_of_an_organization() -> None:
    """Or new commits of an organization would leave submissions of its models nothing, week after week."""
    budget = Budget(gpu_hours_per_organization_and_week=80)
    spent = Spent(of_week={("Qwen", "watched"): 50.0})
    queues: Queues = {"watched": many("watched", 9, organization="Qwen")}
    assert launched(queues, choose(queues, budget, spent)) == {"watched": 7}
    queues["submissions"] = many("submissions", 9, organization="Qwen")
    decision = choose(queues, budget, spent)
    assert launched(queues, decision) == {"watched": 0, "submissions": 7}
    assert decision.waiting["watched0"] == (
        "waits for budget: organization Qwen has used 50 of 50 GPU-hours for watched this week"
    )


def test_what_is_larger_than_an_organizations_week_starts_when_nothing_of_it_is_used() -> None:
    budget = Budget(gpu_hours_per_organization_and_week=50)
    queues: Queues = {"watched": [Contender("large", "Qwen", 60), Contender("next", "Qwen", 1)]}
    assert set(choose(queues, budget, Spent(of_week={("Qwen", "watched"): 1.0})).waiting) == {"large", "next"}
    assert set(choose(queues, budget, Spent()).waiting) == {"next"}


# ------------------------------------------------------------------------------------------------------------ spent


def test_a_night_is_from_noon_to_noon_where_the_board_is() -> None:
    def at(hour: int, zone: str = "UTC") -> str:
        return find_night(datetime(2026, 3, 29, hour, 30, tzinfo=UTC), zone).isoformat()

    assert at(11) == "2026-03-28T12:00:00+00:00"
    assert at(12) == "2026-03-29T12:00:00+00:00"
    assert at(9, "Europe/Paris") == "2026-03-28T12:00:00+01:00", "the clock went forward in that night"
    assert at(10, "Europe/Paris") == "2026-03-29T12:00:00+02:00"
    assert find_week(find_night(NOW, "UTC")) == datetime(2025, 12, 25, 12, tzinfo=UTC)


def spend(hours: float, start: float | None, end: float | None, began: float = -99) -> Spending:
    """In hours since midnight of the first of January, in a night that began twelve hours before."""
    started, ended = (None if each is None else NOW + timedelta(hours=each) for each in (start, end))
    return Spending("lab", "watched", hours, NOW + timedelta(hours=began), started, ended)


def test_what_ended_in_a_night_counts_by_its_part_and_what_runs_by_its_estimate() -> None:
    def sums(*spending: Spending) -> tuple[float, float, bool]:
        spent = sum_spent(spending, NOW, "UTC")
        return spent.of_night.get("watched", 0), spent.of_week.get(("lab", "watched"), 0), spent.has_begun

    assert sums(spend(8, -1, 1)) == (8, 8, False)
    assert sums(spend(8, -16, -8)) == (4, 8, False), "half of it in the night before"
    assert sums(spend(8, -40, -32)) == (0, 8, False)
    assert sums(spend(8, -24 * 6 - 16, -24 * 6 - 8)) == (0, 4, False), "at the beginning of the week"
    assert sums(spend(8, -24 * 8, -24 * 7)) == (0, 0, False)
    assert sums(spend(8, -100, None)) == (8, 8, False), "under way"
    assert sums(spend(0, None, -1)) == (0, 0, False), "it never started"
    assert sums(spend(8, -1, 1, began=-11)) == (8, 8, True)


# ------------------------------------------------------------------------------------------------------- properties

SHARES = st.sampled_from(
    [Shares(), Shares(watched=1, submissions=0, backfills=0), Shares(watched=0.1, submissions=0.1, backfills=0.1)]
)
HOURS = st.floats(0, 60)
ORGANIZATIONS = st.sampled_from(["a", "b", "c"])


@st.composite
def situations(draw: st.DrawFn) -> tuple[Queues, Budget, Spent]:
    pool = [
        Contender(f"e{index}", draw(ORGANIZATIONS), draw(HOURS), draw(st.integers(0, 9)) == 0)
        for index in range(draw(st.integers(0, 12)))
    ]
    queues: Queues = {name: draw(st.lists(st.sampled_from(pool), unique=True)) if pool else [] for name in CLASSES}
    limits = st.one_of(st.none(), st.floats(0, 100))
    budget = Budget(
        gpu_hours_per_night=draw(limits), gpu_hours_per_organization_and_week=draw(limits), shares=draw(SHARES)
    )
    of_night = {name: draw(st.floats(0, 50)) for name in CLASSES if draw(st.booleans())}
    of_week = {(draw(ORGANIZATIONS), name): hours + 5 for name, hours in of_night.items()}
    return queues, budget, Spent(draw(st.integers(0, 9)), of_night, of_week, draw(st.booleans()))


@given(situations(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_budget_is_kept_and_nothing_is_lost(situation: tuple[Queues, Budget, Spent], knows_all: bool) -> None:
    queues, budget, spent = situation
    contenders = {each.evaluation_id: each for queue in queues.values() for each in queue}
    decision = choose(queues, budget, spent, knows_all=knows_all)
    assert set(decision.waiting) <= contenders.keys()
    runs = [each for key, each in contenders.items() if key not in decision.waiting]
    assert decision.launched == pytest.approx(sum(each.gpu_hours for each in runs))
    new = [each for each in runs if not each.is_begun]
    night, week = budget.gpu_hours_per_night, budget.gpu_hours_per_organization_and_week
    if 0 in (night, week):
        assert not runs
        return
    assert not any(contenders[key].is_begun for key in decision.waiting)
    if night is not None and new:
        used, largest = decision.spent + decision.launched, max(each.gpu_hours for each in new)
        is_large_first = knows_all and not spent.has_begun and used - largest <= night / 2
        assert used <= night + 1e-6 or is_large_first
    for organization in ("a", "b", "c"):
        ours = [each for each in runs if each.organization == organization]
        large = [each for each in ours if not each.is_begun and is_large(each, queues, budget)]
        used = sum(spent.of_week.get((organization, name), 0) for name in CLASSES)
        used += sum(each.gpu_hours for each in ours if each not in large)
        assert week is None or used <= week + 1e-6 or all(each.is_begun or each in large for each in ours)


def is_large(contender: Contender, queues: Queues, budget: Budget) -> bool:
    """Whether it is more than a class that asks for it may use of its organization's week."""
    waiting = [
        name for name, queue in queues.items() if contender.organization in {each.organization for each in queue}
    ]
    shares = {name: getattr(budget.shares, name) for name in waiting}
    limit, total = budget.gpu_hours_per_organization_and_week or 0, sum(shares.values())
    return any(
        contender.gpu_hours > limit * (shares[name] / total if total else 1)
        for name in waiting
        if contender in queues[name]
    )


LARGE = st.lists(st.floats(0.1, 120), min_size=1, max_size=6)


@given(LARGE, LARGE, LARGE)
@settings(max_examples=100, deadline=None)
def test_no_class_starves_however_large_its_evaluations_are(
    watched: list[float], submissions: list[float], backfills: list[float]
) -> None:
    """Every class has a queue that never ends; the first of each is launched within three nights."""
    waits = dict.fromkeys(CLASSES, 0)
    queues: Queues = {
        name: [Contender(f"{name}{index}", f"{name}{index}", each) for index, each in enumerate(hours)]
        for name, hours in zip(CLASSES, (watched, submissions, backfills), strict=True)
    }
    for night in range(12):
        waiting = choose(queues, FORTY, Spent(night=night)).waiting
        for name, queue in queues.items():
            waits[name] = waits[name] + 1 if queue[0].evaluation_id in waiting else 0
            again = [replace(each, evaluation_id=f"{each.evaluation_id}+") for each in queue]
            queues[name] = [each for each in queue if each.evaluation_id in waiting]
            queues[name] += [new for each, new in zip(queue, again, strict=True) if each.evaluation_id not in waiting]
        assert max(waits.values()) < len(CLASSES), waits
