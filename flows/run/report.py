"""What a run did, as one record and as Markdown; and the rankings, as Prefect shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from nightboard.flows.display.console import count
from nightboard.flows.display.formats import to_score_text
from nightboard.flows.display.plan import group_waiting
from nightboard.profiles.loading.load import BoardBundle
from nightboard.tasks.board_ranking import narrow
from nightboard.tasks.planning.result import Plan, Skip
from nightboard.tasks.runs.collect import Collected
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Record
from nightboard.warehouse.builder.publish import NoBuildError
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import NO_FILTERS, rank


def rank_records(bundle: BoardBundle, store: Store, suite: str) -> list[dict[str, Any]]:
    """A board's ranking with scores rounded to 2 decimals, as a Prefect table artifact wants it; empty without one."""
    try:
        filters = narrow(NO_FILTERS, bundle, store.warehouse)
        with connect(store.warehouse) as connection:
            columns, rows = rank(connection, suite, filters=filters)
    except NoBuildError:
        return []
    return [
        dict(zip(columns, (to_score_text(*cell) for cell in zip(columns, row, strict=True)), strict=True))
        for row in rows
    ]


# More of them make a line hard to read.
MOST_NAMES = 5
_PATH = re.compile(r"(/[\w.@-]+){2,}")
_HASH = re.compile(r"\b[0-9a-f]*\d[0-9a-f]{6,}\b")
_NUMBER = re.compile(r"\d+(\.\d+)*")


class NewCommit(Record):
    """A commit that the run saw for the first time."""

    model_id: str
    revision: str
    state: str
    reason: str | None


class RunReport(Record):
    """What a run did. `in_flight` evaluations still run; those `not_started` are left to the next run."""

    board: str
    started_at: datetime
    ended_at: datetime
    new_commits: tuple[NewCommit, ...]
    plan: Plan
    collected: tuple[Collected, ...]
    in_flight: tuple[str, ...]
    not_started: tuple[str, ...]
    problems: tuple[str, ...]
    given_up: tuple[Skip, ...] = Field(default=(), description="what no run tries again until somebody asks for it")

    @property
    def evaluated(self) -> tuple[Collected, ...]:
        """Evaluations that were completed, by the attempt that completed each."""
        completed = {attempt.evaluation_id: attempt for attempt in self.collected if attempt.is_scored}
        return tuple(completed.values())

    @property
    def failed(self) -> tuple[Collected, ...]:
        """Evaluations that were neither completed nor continue, by the last attempt at each."""
        others = {attempt.evaluation_id for attempt in self.evaluated} | {*self.in_flight, *self.not_started}
        last = {attempt.evaluation_id: attempt for attempt in self.setbacks if attempt.evaluation_id not in others}
        return tuple(last.values())

    @property
    def setbacks(self) -> tuple[Collected, ...]:
        """All attempts that did not complete."""
        return tuple(attempt for attempt in self.collected if attempt.state != "completed")

    @property
    def retried(self) -> tuple[Collected, ...]:
        """Attempts that did not complete, and after which the evaluation continued."""
        failed = {id(attempt) for attempt in self.failed}
        return tuple(attempt for attempt in self.setbacks if id(attempt) not in failed)

    @property
    def has_failures(self) -> bool:
        """Whether an operator should look."""
        return bool(self.failed or self.problems)


def summarize_run(report: RunReport) -> str:
    """The run in one sentence."""
    parts = [f"{count(len(report.evaluated), 'evaluation')} completed", f"{len(report.failed)} failed"]
    parts += [f"{len(report.in_flight)} still running"] if report.in_flight else []
    parts += [count(len(report.problems), "problem")] if report.problems else []
    parts += [f"{count(count_models(report.given_up), 'model')} given up"] if report.given_up else []
    return ", ".join(parts)


def describe_run(report: RunReport) -> str:
    """The run as Markdown: new commits, evaluated, failed with reasons, skipped with reasons."""
    accepted = [commit for commit in report.new_commits if commit.state == "ok"]
    refused = [commit for commit in report.new_commits if commit.state != "ok"]
    skipped = [skip for skip in report.plan.skipped if skip.kind not in ("done", "budget")]
    sections = [
        f"# {report.board}: run of {report.started_at:%Y-%m-%d %H:%M} UTC",
        _section("New commits", (f"`{c.model_id}` @ `{c.revision[:7]}`" for c in accepted)),
        _section(
            "New commits that cannot be evaluated",
            (f"`{c.model_id}` @ `{c.revision[:7]}`: {c.reason}" for c in refused),
        ),
        _section("Evaluated", (f"`{e.model_id}` @ `{e.revision[:7]}` on {e.suite}" for e in report.evaluated)),
        _section("Failed", map(_describe_failures, group_setbacks(report.failed)), len(report.failed)),
        _section("Retried", map(_describe_failures, group_setbacks(report.retried)), len(report.retried)),
        _section("Given up", _describe_given_up(report), count_models(report.given_up)),
        _section("Skipped", map(_describe_skip, skipped)),
        _section(
            "Waiting for budget",
            (
                f"{reason}: {name_models(skip.model_id for skip in skips)}"
                for reason, skips in group_waiting(report.plan).items()
            ),
        ),
        _section("Still running", (f"evaluation {key}" for key in report.in_flight)),
        _section("Not started, left to the next run", (f"evaluation {key}" for key in report.not_started)),
        _section("Problems", report.problems),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_given_up(report: RunReport) -> list[str]:
    return [*list_given_up(report.given_up), advise_given_up(report.board)] if report.given_up else []


def _describe_skip(skip: Skip) -> str:
    benchmarks = f" ({', '.join(skip.benchmarks)})" if skip.benchmarks else ""
    return f"`{skip.model_id}` @ `{skip.revision[:7]}` on {skip.suite}{benchmarks}: {skip.reason}"


def name_cause(attempt: Collected) -> tuple[str, str]:
    """How an attempt ended and why, with what differs from one to the next replaced: the mart failure_causes in Python.

    Two attempts that have it in common went wrong in one way.
    """
    return attempt.state, generalize(attempt.reason or "", attempt.model_id, attempt.revision)


def generalize(reason: str, model_id: str = "", revision: str = "") -> str:
    """A reason with what differs from one model to the next replaced."""
    for value, name in ((model_id, "<model>"), (revision, "<revision>")):
        reason = reason.replace(value, name) if value else reason
    return _NUMBER.sub("N", _HASH.sub("<hash>", _PATH.sub("<path>", reason)))


def group_setbacks(collected: Iterable[Collected]) -> list[list[Collected]]:
    """Attempts that did not complete, those that went wrong in one way together."""
    groups: dict[tuple[str, str], list[Collected]] = {}
    for attempt in collected:
        if attempt.state != "completed":
            groups.setdefault(name_cause(attempt), []).append(attempt)
    return list(groups.values())


def count_models(given_up: Iterable[Skip]) -> int:
    """How many models are given up, in whichever suites and commits."""
    return len({skip.model_id for skip in given_up})


def group_given_up(given_up: Iterable[Skip]) -> dict[str, list[Skip]]:
    """What is given up, by cause: reasons that differ in names and numbers only are one."""
    groups: dict[str, list[Skip]] = {}
    for skip in given_up:
        groups.setdefault(generalize(skip.reason, skip.model_id, skip.revision), []).append(skip)
    return groups


def list_given_up(given_up: Iterable[Skip]) -> list[str]:
    """A line for each cause, with its models."""
    groups = group_given_up(given_up).values()
    return [f"{group[0].reason} ({name_models(skip.model_id for skip in group)})" for group in groups]


def advise_given_up(board: str) -> str:
    """What an operator can do about models that are given up."""
    retry = f"`nightboard retry --board {board} --all` lets the next run try again"
    return f"{retry}; `nightboard why MODEL` says what happened"


def name_models(model_ids: Iterable[str]) -> str:
    """`lab/a, lab/b, ...`: the first ones, each once."""
    names = list(dict.fromkeys(model_ids))
    return f"{', '.join(names[:MOST_NAMES])}{', ...' if len(names) > MOST_NAMES else ''}"


def word_others(others: Sequence[Collected]) -> str:
    """`7 others: lab/a, lab/b, ...`."""
    noun = "1 other" if len(others) == 1 else f"{len(others)} others"
    return f"{noun} ({name_models(attempt.model_id for attempt in others)})"


def _describe_failures(group: Sequence[Collected]) -> str:
    first, *others = group
    more = f"; and {word_others(others)} in the same way" if others else ""
    what = f"`{first.model_id}` @ `{first.revision[:7]}` on {first.suite}: {first.state}, {first.reason}"
    return f"{what} (log: `{first.log}`){more}"


def _section(title: str, lines: Iterable[str], number: int | None = None) -> str:
    items: Sequence[str] = list(lines)
    head = f"## {title} ({len(items) if number is None else number})\n\n"
    return head + "\n".join(f"- {item}" for item in items) if items else ""
