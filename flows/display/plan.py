"""Shows a plan: what runs, and what does not and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nightboard.flows.display.console import Terminal, count, duration
from nightboard.flows.display.tables import TextColumn, cells_table, show_table
from nightboard.tasks.planning.result import NightBudget, Plan, Skip
from nightboard.tasks.store.layout import SHOWN_ID
from nightboard.tasks.store.records import Job, PlannedAttempt

# Models of a reason to wait, at most.
SHOWN_MODELS = 3
# The first to be shown where a terminal is narrow.
TELLING = ("model", "suite", "estimate", "benchmarks", "request", "job", "tier", "shards", "precision")


def show_plan(ui: Terminal, plan: Plan) -> None:
    """Print what runs, and what does not and why."""
    if plan.evaluations:
        show_table(ui, _evaluations_table(plan), TELLING, title="To evaluate")
    skips = [skip for skip in plan.skipped if skip.kind not in ("done", "budget")]
    if skips:
        first = ("model", "why", "suites")
        show_table(ui, _skips_table(skips), first, title="Skipped")
    if waiting := group_waiting(plan):
        show_table(ui, _waiting_table(waiting), ("why", "evaluations", "models"), title="Waiting for budget")
    n_done = sum(skip.kind == "done" for skip in plan.skipped)
    ui.say(
        f"Plan: {count(len(plan.evaluations), 'evaluation')} in {count(len(plan.jobs), 'job')}, about "
        f"{duration(plan.estimate_s)} of computing ({plan.gpu_hours:.1f} GPU-hours); "
        f"{n_done} already scored, {len(skips)} skipped."
    )
    if plan.budget:
        ui.say(_tell_budget(plan.budget))


def _tell_budget(budget: NightBudget) -> str:
    waiting = f"{count(budget.n_waiting, 'evaluation')} ({budget.waiting:.1f} GPU-hours) waiting."
    if budget.gpu_hours is None:
        return f"Budget of organizations: {budget.planned:.1f} GPU-hours planned; {waiting}"
    used = budget.spent + budget.planned
    return (
        f"Budget: {used:.1f} of {budget.gpu_hours:g} GPU-hours of this night ({budget.spent:.1f} spent or running, "
        f"{budget.planned:.1f} planned); {waiting}"
    )


def group_waiting(plan: Plan) -> dict[str, list[Skip]]:
    """What waits for the budget, by its reason; each model, commit and suite once."""
    groups: dict[str, dict[tuple[str, str, str], Skip]] = {}
    for skip in plan.skipped:
        if skip.kind == "budget":
            reason = skip.reason.removeprefix("waits for budget: ")
            groups.setdefault(reason, {}).setdefault((skip.model_id, skip.revision, skip.suite), skip)
    return {reason: list(skips.values()) for reason, skips in groups.items()}


def _name_models(skips: Sequence[Skip]) -> str:
    """The first models, and how many more there are."""
    names = list(dict.fromkeys(skip.model_id for skip in skips))
    return ", ".join([*names[:SHOWN_MODELS], *([f"{len(names) - SHOWN_MODELS} more"] if names[SHOWN_MODELS:] else [])])


def _waiting_table(groups: Mapping[str, Sequence[Skip]]) -> list[TextColumn]:
    """One row a reason."""
    rows = [(str(len(skips)), reason, _name_models(skips)) for reason, skips in groups.items()]
    return cells_table(["evaluations", "why", "models"], rows, right=["evaluations"])


def _evaluations_table(plan: Plan) -> list[TextColumn]:
    """One row an evaluation, in the order in which their first jobs start."""
    places: dict[str, list[tuple[int, Job, PlannedAttempt]]] = {}
    for number, job in enumerate(plan.jobs, 1):
        for planned in job.attempts:
            places.setdefault(planned.evaluation_id, []).append((number, job, planned))
    runs = {split.evaluation_id: [name for shard in split.shards for name in shard.benchmarks] for split in plan.shards}
    evaluations = {evaluation.evaluation_id: evaluation for evaluation in plan.evaluations}
    partial = {split.evaluation_id for split in plan.shards if split.taken or evaluations[split.evaluation_id].left_out}
    titles = [
        "job", "model", "suite", *(["benchmarks"] if partial else []), "estimate", "tier", "shards", "precision",
        "chat template", "revision", *(["request"] if plan.requests else []),
    ]  # fmt: skip
    rows = []
    for evaluation_id, attempts in places.items():
        evaluation = evaluations[evaluation_id]
        numbers = [number for number, _, _ in attempts]
        first, last = min(numbers), max(numbers)
        names = ", ".join(dict.fromkeys(runs[evaluation_id])) or "none"
        rows.append((
            str(first) if first == last else f"{first}-{last}", evaluation.model_id, evaluation.suite,
            *([names if evaluation_id in partial else "all"] if partial else []),
            duration(sum(planned.estimate_s for _, _, planned in attempts)), attempts[0][1].tier, str(len(attempts)),
            evaluation.precision, "yes" if evaluation.chat_template else "no", evaluation.revision[:7],
            *([plan.requests.get(evaluation_id, "")[:SHOWN_ID]] if plan.requests else []),
        ))  # fmt: skip
    return cells_table(titles, rows)


def _skips_table(skips: Iterable[Skip]) -> list[TextColumn]:
    """One row a commit and reason, with all the suites that it holds for, or their benchmarks where not for all."""
    skips = list(skips)
    suites: dict[tuple[str, str, str, str], list[str]] = {}
    for skip in skips:
        name = f"{skip.suite} ({', '.join(skip.benchmarks)})" if skip.benchmarks else skip.suite
        request = (skip.request_id or "")[:SHOWN_ID]
        suites.setdefault((skip.model_id, skip.revision[:7], skip.reason, request), []).append(name)
    has_requests = any(skip.request_id for skip in skips)
    rows = [
        (model, revision, ", ".join(names), reason, *([request] if has_requests else []))
        for (model, revision, reason, request), names in suites.items()
    ]
    return cells_table(["model", "revision", "suites", "why", *(["request"] if has_requests else [])], rows)
