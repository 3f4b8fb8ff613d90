"""Shows a plan: what runs, and what does not and why."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from nightboard.flows.display.console import Terminal, count, duration, escape, titled_table
from nightboard.tasks.store.records import Job, Plan, Shard, Skip


def show_plan(ui: Terminal, plan: Plan) -> None:
    """The plan as a person reads it: what runs, what does not and why."""
    if plan.evaluations:
        ui.show(_evaluations_table(plan))
    if rows := [skip for skip in plan.skipped if skip.kind != "done"]:
        ui.show(_skips_table(rows))
    done = sum(skip.kind == "done" for skip in plan.skipped)
    ui.say(
        f"Plan: {count(len(plan.evaluations), 'evaluation')} in {count(len(plan.jobs), 'job')}, about "
        f"{duration(plan.estimate_s)} of computing ({plan.gpu_hours:.1f} GPU-hours); "
        f"{done} scored already, {len(rows)} skipped."
    )


def _evaluations_table(plan: Plan) -> Table:
    """One row an evaluation, in the order in which their first jobs start."""
    places: dict[str, list[tuple[int, Job, Shard]]] = {}
    for number, job in enumerate(plan.jobs, 1):
        for shard in job.shards:
            places.setdefault(shard.evaluation_id, []).append((number, job, shard))
    runs = {each.evaluation_id: [name for part in each.parts for name in part.benchmarks] for each in plan.parts}
    evaluations = {each.evaluation_id: each for each in plan.evaluations}
    partial = {each.evaluation_id for each in plan.parts if each.taken or evaluations[each.evaluation_id].left_out}
    table = titled_table(
        "To evaluate", "job", "model", "revision", "suite", *(["benchmarks"] if partial else []), "precision",
        "chat template", "tier", "shards", "estimate",
    )  # fmt: skip
    for evaluation_id, found in places.items():
        each = evaluations[evaluation_id]
        numbers = [number for number, _, _ in found]
        first, last = min(numbers), max(numbers)
        span = str(first) if first == last else f"{first}-{last}"
        chat = "yes" if each.chat_template else "no"
        tier = found[0][1].tier
        names = ", ".join(dict.fromkeys(runs[evaluation_id])) or "none"
        benchmarks = [names if evaluation_id in partial else "all"] if partial else []
        of_model = (span, each.model_id, each.revision[:7], each.suite)
        cells = (*of_model, *benchmarks, each.precision, chat, tier, str(len(found)))
        table.add_row(*map(escape, cells), duration(sum(shard.estimate_s for _, _, shard in found)))
    return table


def _skips_table(skips: Iterable[Skip]) -> Table:
    """One row a commit and reason, with all the suites that it holds for, or their benchmarks where not for all."""
    suites: dict[tuple[str, str, str], list[str]] = {}
    for skip in skips:
        name = f"{skip.suite} ({', '.join(skip.benchmarks)})" if skip.benchmarks else skip.suite
        suites.setdefault((skip.model_id, skip.revision[:7], skip.reason), []).append(name)
    table = titled_table("Skipped", "model", "revision", "suites", "why")
    for (model, revision, reason), names in suites.items():
        table.add_row(*map(escape, (model, revision, ", ".join(names), reason)))
    return table
