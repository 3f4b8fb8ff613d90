"""Tells people of a run's failures, each cause once: by the board's Prefect blocks, or to the address of a webhook.

A notification that cannot be sent is a warning of the run, never its failure. No warning contains an address.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from nightboard.flows.display.console import count
from nightboard.flows.prefect_server.server import is_server_configured
from nightboard.flows.run.report import (
    RunReport,
    generalize,
    group_given_up,
    group_setbacks,
    list_given_up,
    name_cause,
    word_others,
)
from nightboard.flows.run.state import RunState
from nightboard.profiles.models.notify import ENV
from nightboard.tasks.runs.collect import Collected
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.notified import read_notified, remember, write_notified
from nightboard.tasks.store.records import Notified, RecordError, utc_now

# Longer messages are cut by those who show them.
MOST_CAUSES = 20
SEND_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Cause:
    """One way in which something went wrong. `key` is the same for all that went wrong in this way."""

    key: str
    text: str


class NotSentError(Exception):
    """A notification could not be sent; the message says why."""


# ------------------------------------------------------------------------------------------------------------ causes


def list_causes(report: RunReport) -> list[Cause]:
    """What a nightly run has to tell: failures, models that are given up, problems."""
    causes = [*_list_failures(report.failed)]
    lines = zip(group_given_up(report.given_up), list_given_up(report.given_up), strict=True)
    causes += [Cause(f"given up: {key}", f"given up: {line}") for key, line in lines]
    return [*causes, *_list_problems(report.problems)]


def list_collected_causes(run: RunState) -> list[Cause]:
    """What a run that only collects has to tell. What a run tries again by itself is left to that run."""
    failed = [attempt for attempt in run.collected if attempt.state != "completed" and not run.is_retried(attempt)]
    return [*_list_failures(failed), *_list_problems(run.problems)]


def _list_failures(failed: Iterable[Collected]) -> Iterator[Cause]:
    for first, *others in group_setbacks(failed):
        more = f", and {word_others(others)}" if others else ""
        what = f"{first.state}: {first.model_id}@{first.revision[:7]} on {first.suite}{more}: {first.reason}"
        yield Cause(": ".join(name_cause(first)), what)


def _list_problems(problems: Iterable[str]) -> Iterator[Cause]:
    by_key = {generalize(problem): problem for problem in reversed(list(problems))}
    return (Cause(f"problem: {key}", text) for key, text in reversed(by_key.items()))


# ------------------------------------------------------------------------------------------------------------- telling


def notify(run: RunState, causes: Sequence[Cause], *, is_night: bool) -> None:
    """Tell what is new among the causes, and remember it. `is_night`: whether the run saw the whole board."""
    board = run.board.bundle.board
    if not board.notify:
        return
    try:
        before = read_notified(run.board.store, board.board)
    except RecordError as error:
        run.ui.warn(f"{error} All causes are told again.")
        before = Notified()
    news = [cause for cause in causes if cause.key not in before.causes]
    subject = f"nightboard {board.board}: {count(len(news), 'new cause')} of failures"
    is_told = not news or _send_to_all(run, board.notify, subject, _word(run, news))
    seen = (cause.key for cause in causes if is_told or cause.key in before.causes)
    after = remember(before, seen, utc_now(), run.started_at if is_night else None)
    try:
        write_notified(run.board.store, board.board, after)
    except (StoreError, OSError) as error:
        run.ui.warn(f"What was notified could not be written down: {error}")


@contextlib.contextmanager
def notify_of_error(run: RunState) -> Iterator[None]:
    """Tell of an error that ends the run."""
    try:
        yield
    except Exception as error:
        text = str(error) or type(error).__name__
        notify(run, [Cause(f"stopped: {generalize(text)}", f"The run stopped: {text}")], is_night=False)
        raise


def _word(run: RunState, causes: Sequence[Cause]) -> str:
    lines = [f"- {cause.text}" for cause in causes[:MOST_CAUSES]]
    if len(causes) > MOST_CAUSES:
        lines.append(f"- and {len(causes) - MOST_CAUSES} more")
    board = run.board.bundle.path or run.board.bundle.board.board
    return "\n".join([*lines, f'Reasons and logs: nightboard sql --board {board} "from failures"'])


def _send_to_all(run: RunState, places: Iterable[str], subject: str, body: str) -> bool:
    """Send it to each place; says whether any has taken it."""
    n_sent = 0
    for place in places:
        try:
            send(place, subject, body)
            n_sent += 1
        except NotSentError as error:
            run.ui.warn(f"notify: {place}: {error}")
    return n_sent > 0


# ------------------------------------------------------------------------------------------------------------- sending


def send(place: str, subject: str, body: str) -> None:
    """Send a notification to `kind/name`. Raises NotSentError."""
    kind, _, name = place.partition("/")
    if kind == ENV:
        if not (address := os.environ.get(name)):
            raise NotSentError("the environment variable is not set. Set it to the address of a webhook")
        _post(address, subject, body)
    elif not is_server_configured():
        raise NotSentError("no Prefect server is configured that has the block. Set PREFECT_API_URL, or use env/NAME")
    else:
        _send_by_block(place, subject, body)


def _send_by_block(slug: str, subject: str, body: str) -> None:
    # Importing them tells Prefect of its own kinds of blocks.
    import prefect.blocks.notifications  # noqa: F401
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block
    from prefect.blocks.system import Secret
    from prefect.utilities.asyncutils import run_coro_as_sync

    try:
        block: object = Block.load(slug)
        if isinstance(block, NotificationBlock):
            with block.raise_on_failure():
                # Only some kinds have a notify for callers like this one.
                sent: object = block.notify(body, subject)
                if isinstance(sent, Coroutine):
                    run_coro_as_sync(sent)
            return
    except Exception as error:  # whatever the block does, and it may have the address in its message
        raise NotSentError(_explain(error)) from error
    if not isinstance(block, Secret):
        raise NotSentError("is neither a notification block nor a secret. Name another one")
    _post(str(block.get()), subject, body)


def _post(address: str, subject: str, body: str) -> None:
    """The text in the form that Slack, Mattermost and others take."""
    try:
        httpx.post(address, json={"text": f"{subject}\n{body}"}, timeout=SEND_TIMEOUT_S).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise NotSentError(_explain(error)) from error


def _explain(error: Exception) -> str:
    """Why, without the address of a webhook, which errors like to quote."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"the webhook answered {error.response.status_code}. Check its address"
    if isinstance(error, ValueError) and str(error).startswith("Unable to find block document"):
        return "the Prefect server has no such block. Create it, or correct the name"
    return f"it could not be sent ({type(error).__name__}). Check its address, and that it can be reached from here"
