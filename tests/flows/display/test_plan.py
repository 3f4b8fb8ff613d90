"""How a plan tells its budget and what waits for it."""

from __future__ import annotations

from builders import NOW
from screen import show_on_screen

from nightboard.flows.display.console import Terminal
from nightboard.flows.display.plan import show_plan
from nightboard.flows.run.report import RunReport, describe_run
from nightboard.tasks.planning.result import NightBudget, Plan, Skip

NIGHT = "waits for budget: 38 of 40 GPU-hours of this night are planned"
QWEN = "waits for budget: organization Qwen has used 98 of 100 GPU-hours this week"
WAITING = "7 evaluations (61.2 GPU-hours) waiting."


def wait(model_id: str, reason: str = NIGHT, suite: str = "small", **changes: object) -> Skip:
    named = {"model_id": model_id, "revision": "1" * 40, "suite": suite, "kind": "budget", "reason": reason}
    return Skip.model_validate(named | changes)


SKIPS = (
    *(wait(f"lab/m{index}") for index in range(5)),
    wait("lab/m0", suite="large"),
    wait("lab/m0", request_id="asked too"),
    wait("Qwen/Q", QWEN),
)


def make_plan(gpu_hours: float | None = 40.0) -> Plan:
    budget = NightBudget(gpu_hours=gpu_hours, spent=30.5, planned=8.0, waiting=61.25, n_waiting=7)
    return Plan(
        board="b", created_at=NOW, evaluations=(), jobs=(), skipped=SKIPS, gpu_hours=8.0, estimate_s=0.0, budget=budget
    )


def show(plan: Plan) -> list[str]:
    return [" ".join(line.split()) for line in show_on_screen(140, lambda: show_plan(Terminal(), plan)).splitlines()]


def test_what_waits_for_budget_is_one_line_a_reason_and_not_skipped() -> None:
    assert show(make_plan()) == [
        "Waiting for budget",
        "evaluations why models",
        "6 38 of 40 GPU-hours of this night are planned lab/m0, lab/m1, lab/m2, 2 more",
        "1 organization Qwen has used 98 of 100 GPU-hours this week Qwen/Q",
        "Plan: 0 evaluations in 0 jobs, about 0 s of computing (8.0 GPU-hours); 0 already scored, 0 skipped.",
        f"Budget: 38.5 of 40 GPU-hours of this night (30.5 spent or running, 8.0 planned); {WAITING}",
    ]


def test_without_a_limit_of_the_night_the_hours_of_organizations_are_told() -> None:
    last = show(make_plan(gpu_hours=None))[-1]
    assert last == f"Budget of organizations: 8.0 GPU-hours planned; {WAITING}"
    assert "Budget" not in show(make_plan().model_copy(update={"budget": None}))[-1]


def test_the_report_of_a_run_groups_what_waits() -> None:
    report = RunReport(
        board="b", started_at=NOW, ended_at=NOW, new_commits=(), plan=make_plan(), collected=(), in_flight=(),
        not_started=(), problems=(),
    )  # fmt: skip
    text = describe_run(report)
    assert (
        "## Waiting for budget (2)\n\n- 38 of 40 GPU-hours of this night are planned: lab/m0, lab/m1, lab/m2, lab/m3,"
        in text
    )
    assert "Skipped" not in text
