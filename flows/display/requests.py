"""How requests look: what came of request files, the answer to a submission, and the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nightboard.flows.display.console import Terminal, count

if TYPE_CHECKING:
    from nightboard.tasks.requests.intake import Intake
    from nightboard.tasks.requests.submission import Answer

# The first letters of a request's id, which commands take for it.
SHOWN_ID = 8
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


def show_answer(ui: Terminal, answer: Answer) -> None:
    """Say whether a submission is accepted, with all findings."""
    request = answer.entry.request
    name = f"{request.model_id}@{request.revision[:7]}" if request.revision else f"{request.model_id}"
    said = "known" if answer.is_known else answer.entry.state
    ui.say(f"{said}  {request.request_id[:SHOWN_ID]}  {name}")
    if answer.is_known:
        when = f"{request.asked_at:%Y-%m-%d %H:%M} UTC"
        ui.say(f"{request.asked_by} asked for it at {when}; it is {answer.entry.state}.")
    elif not answer.findings:
        suites = ", ".join(target.suite for target in answer.entry.targets)
        ui.say(f"The next nightly run evaluates it in {suites}.")
    for finding in answer.findings:
        ui.say(f"- {finding}")
