"""Shows the state of a store on a terminal: what ran, what failed, what runs and waits, what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from nightboard.flows.display.console import Terminal, count, duration, shorten, word_hours
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.status import print_status
from nightboard.flows.display.tables import cells_table, show_table
from nightboard.tasks.overview import Cause, LastRuns, Overview, sum_up_jobs


def show_overview(ui: Terminal, seen: Overview, max_gpus: int | None) -> None:
    """Print what an operator asks in the morning; what there is nothing to say of is left out."""
    if seen.last:
        ui.say(f"Last 24 hours: {_word_last(seen.last)}.")
    if seen.causes:
        _show_causes(ui, seen.causes)
    if seen.open:
        print_status(seen.open, Format.table, None)
    for wait in seen.waits:
        ui.say(wait)
    for problem in seen.problems:
        ui.warn(problem)
    ui.say(_word_jobs(seen, max_gpus))
    if seen.next_run:
        wait_s = (seen.next_run - seen.at).total_seconds()
        ui.say(f"Next run: {seen.next_run:%Y-%m-%d %H:%M %Z}, in {duration(wait_s)}.")
    if seen.budget:
        left = max(0.0, seen.budget.gpu_hours - seen.budget.used)
        ui.say(f"Budget: {word_hours(left)} of {seen.budget.gpu_hours:g} GPU-hours of this night left.")
    if seen.estimates:
        number = count(seen.estimates.n_evaluations, "evaluation")
        ui.say(f"Estimates: off by {seen.estimates.median_error:.0%} in the median, over {number} of the last 30 days.")
    ui.say_path(f"Disk: {seen.disk.free_gb:,.0f} of {seen.disk.total_gb:,.0f} GB free at ", seen.store)


def _word_last(last: LastRuns) -> str:
    failed = f", {count(last.n_failed_attempts, 'failed attempt')}" if last.n_failed_attempts else ""
    hours = f", {word_hours(last.gpu_hours)} GPU-hours" if last.gpu_hours else ""
    return f"{count(last.n_done, 'evaluation')} completed{failed}{hours}"


def _show_causes(ui: Terminal, causes: Sequence[Cause]) -> None:
    rows = [
        (str(cause.n_evaluations), cause.ending, shorten(cause.reason), _name_models(cause), cause.next_step)
        for cause in causes
    ]
    titles = ["evaluations", "ending", "why", "models", "next step"]
    first = ("evaluations", "ending", "next step", "why")
    show_table(ui, cells_table(titles, rows, right=["evaluations"]), first, title="Not scored")


def _name_models(cause: Cause) -> str:
    others = cause.n_models - 1
    return f"{cause.model_id} and {others} more" if others > 0 else cause.model_id


def _word_jobs(seen: Overview, max_gpus: int | None) -> str:
    if not seen.open:
        return "No evaluations are running."
    running, gpus, waiting = sum_up_jobs(seen.open)
    n_evaluations = len({row.evaluation_id for row in seen.open})
    return (
        f"{count(n_evaluations, 'evaluation')} in {count(running + waiting, 'job')}: {running} running on "
        f"{count(gpus, 'GPU')}{f' of at most {max_gpus}' if max_gpus else ''}, {waiting} waiting."
    )


def as_json(seen: Overview) -> str:
    """The same for a machine, with every field."""
    import json

    def tell(value: Any) -> str:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    return json.dumps(asdict(seen), default=tell, indent=1, ensure_ascii=False)
