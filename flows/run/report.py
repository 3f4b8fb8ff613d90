"""What a night did, as one record and as Markdown. Pure: reads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from nightboard.flows.display.formats import to_score_text
from nightboard.tasks.planning.result import Plan, Skip
from nightboard.tasks.runs.collect import Collected
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Record
from nightboard.warehouse.builder.publish import NoBuildError
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import rank


def rank_records(store: Store, suite: str) -> list[dict[str, Any]]:
    """A suite's ranking with scores rounded to 2 decimals, as a Prefect table artifact wants it; empty without one."""
    try:
        with connect(store.warehouse) as connection:
            columns, rows = rank(connection, suite=suite)
    except NoBuildError:
        return []
    return [
        dict(zip(columns, (to_score_text(*cell) for cell in zip(columns, row, strict=True)), strict=True))
        for row in rows
    ]


# More of them in a line tell nobody anything.
MOST_NAMES = 5
_PATH = re.compile(r"(/[\w.@-]+){2,}")
_HASH = re.compile(r"\b[0-9a-f]*\d[0-9a-f]{6,}\b")
_NUMBER = re.compile(r"\d+(\.\d+)*")


class NewCommit(Record):
    """A commit that the night saw for the first time."""

    model_id: str
    revision: str
    state: str
    reason: str | None


class RunReport(Record):
    """What a night did. `unfinished`: evaluations that run on, or wait for the next run."""

    board: str
    started_at: datetime
    ended_at: datetime
    new_commits: tuple[NewCommit, ...]
    plan: Plan
    collected: tuple[Collected, ...]
    in_flight: tuple[str, ...]
    not_started: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def evaluated(self) -> tuple[Collected, ...]:
        """Evaluations that were done, by the attempt that completed each."""
        done = {each.evaluation_id: each for each in self.collected if each.is_scored}
        return tuple(done.values())

    @property
    def failed(self) -> tuple[Collected, ...]:
        """Evaluations that were not done and do not go on, by the last attempt at each that did not complete."""
        going_on = {each.evaluation_id for each in self.evaluated} | {*self.in_flight, *self.not_started}
        last = {each.evaluation_id: each for each in self.setbacks if each.evaluation_id not in going_on}
        return tuple(last.values())

    @property
    def setbacks(self) -> tuple[Collected, ...]:
        """All attempts that did not complete."""
        return tuple(each for each in self.collected if each.state != "completed")

    @property
    def retried(self) -> tuple[Collected, ...]:
        """Attempts that did not complete, and after which the evaluation went on."""
        failed = {id(each) for each in self.failed}
        return tuple(each for each in self.setbacks if id(each) not in failed)

    @property
    def has_failures(self) -> bool:
        """Whether an operator should look."""
        return bool(self.failed or self.problems)


def summarize_run(report: RunReport) -> str:
    """The night in one sentence."""
    parts = [f"{len(report.evaluated)} evaluations done", f"{len(report.failed)} failed"]
    parts += [f"{len(report.in_flight)} still running"] if report.in_flight else []
    parts += [f"{len(report.problems)} problems"] if report.problems else []
    return ", ".join(parts)


def describe_run(report: RunReport) -> str:
    """The night as Markdown: new commits, evaluated, failed with reasons, skipped with reasons."""
    accepted = [each for each in report.new_commits if each.state == "ok"]
    refused = [each for each in report.new_commits if each.state != "ok"]
    left_out = [each for each in report.plan.skipped if each.kind != "done"]
    sections = [
        f"# {report.board}: night of {report.started_at:%Y-%m-%d %H:%M} UTC",
        _section("New commits", (f"`{c.model_id}` @ `{c.revision[:7]}`" for c in accepted)),
        _section(
            "New commits that cannot be evaluated",
            (f"`{c.model_id}` @ `{c.revision[:7]}`: {c.reason}" for c in refused),
        ),
        _section("Evaluated", (f"`{e.model_id}` @ `{e.revision[:7]}` on {e.suite}" for e in report.evaluated)),
        _section("Failed", map(_describe_failures, group_setbacks(report.failed)), len(report.failed)),
        _section("Tried again", map(_describe_failures, group_setbacks(report.retried)), len(report.retried)),
        _section("Skipped", (_describe_skip(each) for each in left_out)),
        _section("Still running", (f"evaluation {each}" for each in report.in_flight)),
        _section("Left for the next run", (f"evaluation {each}" for each in report.not_started)),
        _section("Problems", report.problems),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_skip(each: Skip) -> str:
    benchmarks = f" ({', '.join(each.benchmarks)})" if each.benchmarks else ""
    return f"`{each.model_id}` @ `{each.revision[:7]}` on {each.suite}{benchmarks}: {each.reason}"


def name_cause(each: Collected) -> tuple[str, str]:
    """How an attempt ended and why, with what differs from one to the next replaced: the mart failure_causes in Python.

    Two attempts that have it in common went wrong in one way.
    """
    text = (each.reason or "").replace(each.model_id, "<model>").replace(each.revision, "<revision>")
    text = _PATH.sub("<path>", text)
    return each.state, _NUMBER.sub("N", _HASH.sub("<hash>", text))


def group_setbacks(collected: Iterable[Collected]) -> list[list[Collected]]:
    """Attempts that did not complete, those that went wrong in one way together."""
    groups: dict[tuple[str, str], list[Collected]] = {}
    for each in collected:
        if each.state != "completed":
            groups.setdefault(name_cause(each), []).append(each)
    return list(groups.values())


def word_others(others: Sequence[Collected]) -> str:
    """`7 others: lab/a, lab/b, ...`."""
    names = list(dict.fromkeys(each.model_id for each in others))
    noun = "1 other" if len(others) == 1 else f"{len(others)} others"
    return f"{noun} ({', '.join(names[:MOST_NAMES])}{', ...' if len(names) > MOST_NAMES else ''})"


def _describe_failures(group: Sequence[Collected]) -> str:
    each, *others = group
    more = f"; and {word_others(others)} in the same way" if others else ""
    text = f"`{each.model_id}` @ `{each.revision[:7]}` on {each.suite}: {each.state}, {each.reason} (log: `{each.log}`)"
    return text + more


def _section(title: str, lines: Iterable[str], number: int | None = None) -> str:
    items: Sequence[str] = list(lines)
    head = f"## {title} ({len(items) if number is None else number})\n\n"
    return head + "\n".join(f"- {item}" for item in items) if items else ""
