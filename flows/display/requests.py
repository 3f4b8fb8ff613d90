"""How requests look: what came of request files, the answer to a submission, and the queue."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nightboard.flows.display.console import Terminal, count, make_console, shorten
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.store.layout import SHOWN_ID

if TYPE_CHECKING:
    from nightboard.profiles.models.budget import Budget
    from nightboard.tasks.requests.intake import Intake
    from nightboard.tasks.requests.submission import Answer
    from nightboard.tasks.store.records import Evaluation
    from nightboard.warehouse.reader.result import Result

# More rows are for a file, not for a terminal.
TERMINAL_ROWS = 100
# The first to be shown where a terminal is narrow.
TELLING = ("place", "request", "model", "state", "when", "waits for", "votes", "asked by", "asked")
# What a request waits for of which no plan has said anything.
_WAITS_FOR = {"pending": "its checks, in the next nightly run", "accepted": "the next nightly run"}
# Files that cannot be used are named, up to so many.
SHOWN_FILES = 5


def describe_intake(intake: Intake) -> str:
    """What came of new request files, in one sentence."""
    parts = [f"{number:,} {became}" for became, number in intake.became.items()]
    text = f"Requests: {count(intake.became.total(), 'new file')}{': ' if parts else ''}{', '.join(parts)}."
    left = [count(intake.n_left, "file")] if intake.n_left else []
    left += [count(intake.n_sets_left, "pull request")] if intake.n_sets_left else []
    return f"{text} {' and '.join(left)} left for the next run." if left else text


def list_unusable(intake: Intake) -> Iterator[str]:
    """The files that have mistakes, the first of them by name."""
    yield from intake.unusable[:SHOWN_FILES]
    if (more := len(intake.unusable) - SHOWN_FILES) > 0:
        yield f"{more:,} more files that cannot be used: see the table request_files."


def show_answer(ui: Terminal, answer: Answer, scored: Collection[str] = ()) -> None:
    """Say whether a submission is accepted, with all findings. `scored`: suites in which nothing is left to run."""
    request = answer.entry.request
    name = f"{request.model_id}@{request.revision[:7]}" if request.revision else f"{request.model_id}"
    said = "known" if answer.is_known else answer.entry.state
    ui.say(f"{said}  {request.request_id[:SHOWN_ID]}  {name}")
    if answer.is_known:
        when = f"{request.asked_at:%Y-%m-%d %H:%M} UTC"
        ui.say(f"{request.asked_by} asked for it at {when}; it is {answer.entry.state}.")
    elif not answer.findings:
        suites = [target.suite for target in answer.entry.targets if target.suite not in scored]
        if suites:
            ui.say(f"The next nightly run evaluates it in {', '.join(suites)}.")
    for finding in answer.findings:
        ui.say(f"- {finding}")


def show_scores(
    ui: Terminal, scored: Mapping[str, Evaluation], ranks: Mapping[str, Mapping[str, Any]], backfill: Sequence[str]
) -> None:
    """Say where a submitted model is already, by suite, and how it is evaluated again. `ranks`: by evaluation."""
    for suite, evaluation in scored.items():
        name = f"{evaluation.model_id}@{evaluation.revision[:7]}"
        row = ranks.get(evaluation.evaluation_id)
        place = "not ranked" if row is None else f"rank {row['rank']:,} of {row['n_ranked']:,} in era {row['era']}"
        average = "" if row is None else f", average {row['average']:.2f}"
        ui.say(f"{suite} has it already, as {name}: {place}{average}.")
    if scored:
        ui.say_path("To evaluate it again, beside that score: ", shlex.join(backfill))


def show_queue(queue: Result, n_open: int, budget: Budget) -> None:
    """Print the open requests in their order, and what decides it."""
    ui, console = Terminal(), make_console()
    if not n_open:
        ui.say("No requests are open. `nightboard submit` asks for an evaluation.")
        return
    titles = [
        "place",
        "request",
        "kind",
        "model",
        "state",
        "when",
        "waits for",
        "priority",
        "votes",
        "asked by",
        "asked",
    ]
    rows = [_describe(dict(zip(queue.columns, row, strict=True)), budget) for row in queue.rows]
    print_table(console, cells_table(titles, rows, right=["place", "priority", "votes"]), first=TELLING)
    if n_open > len(rows):
        ui.say(f"The first {len(rows):,} of {n_open:,}; --top N shows more, --format csv all.", "dim")
    ui.say(
        f"{count(n_open, 'open request')}: planned by priority, then votes, then age."
        " `nightboard vote REQUEST` moves one up."
    )


def estimate_when(row: dict[str, Any], budget: Budget) -> str:
    """Roughly when a request runs: by the hours of its kind before it, and the share of a night that its kind has."""
    if row["state"] in ("planned", "running"):
        return "now"
    hours = budget.gpu_hours_per_night
    if hours is None or row["gpu_hours_until"] is None:
        return "next run" if hours is None else ""
    share = budget.shares.submissions if row["kind"] == "submission" else budget.shares.backfills
    if not hours * share:
        return "in spare time" if hours else "never: the budget is 0"
    nights = max(1, math.ceil(row["gpu_hours_until"] / (hours * share)))
    return "next night" if nights == 1 else f"~{nights} nights"


def _describe(row: dict[str, Any], budget: Budget) -> tuple[str, ...]:
    asked_for = row["asked_for"] + (f"@{row['revision'][:7]}" if row["revision"] else "")
    # Requests for one model differ in these.
    asked_for += f" {row['precision']}" if row["precision"] else ""
    asked_for += f" chat template {row['chat_template']}" if row["chat_template"] else ""
    waits_for = shorten(row["waits_for"] or _WAITS_FOR.get(row["state"], ""))
    return (
        str(row["place"]), row["request_id"][:SHOWN_ID], row["kind"], asked_for, row["state"],
        estimate_when(row, budget), waits_for, str(row["priority"]), str(row["votes"]), row["asked_by"],
        f"{row['asked_at']:%Y-%m-%d %H:%M}",
    )  # fmt: skip
