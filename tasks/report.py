"""What a night did, as one record and as Markdown. Pure: reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from nightboard.tasks.collect import Collected
from nightboard.tasks.records import Plan, Record, Skip


class NewCommit(Record):
    """A commit that the night saw for the first time."""

    model_id: str
    revision: str
    state: str
    reason: str | None


class NightReport(Record):
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


def summarize_night(report: NightReport) -> str:
    """The night in one sentence."""
    parts = [f"{len(report.evaluated)} evaluations done", f"{len(report.failed)} failed"]
    parts += [f"{len(report.in_flight)} still running"] if report.in_flight else []
    parts += [f"{len(report.problems)} problems"] if report.problems else []
    return ", ".join(parts)


def describe_night(report: NightReport) -> str:
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
        _section("Failed", (_describe_failure(e) for e in report.failed)),
        _section("Tried again", (_describe_failure(e) for e in report.retried)),
        _section("Skipped", (_describe_skip(each) for each in left_out)),
        _section("Still running", (f"evaluation {each}" for each in report.in_flight)),
        _section("Left for the next run", (f"evaluation {each}" for each in report.not_started)),
        _section("Problems", report.problems),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_skip(each: Skip) -> str:
    benchmarks = f" ({', '.join(each.benchmarks)})" if each.benchmarks else ""
    return f"`{each.model_id}` @ `{each.revision[:7]}` on {each.suite}{benchmarks}: {each.reason}"


def _describe_failure(each: Collected) -> str:
    return f"`{each.model_id}` @ `{each.revision[:7]}` on {each.suite}: {each.state}, {each.reason} (log: `{each.log}`)"


def _section(title: str, lines: Iterable[str]) -> str:
    items: Sequence[str] = list(lines)
    return f"## {title} ({len(items)})\n\n" + "\n".join(f"- {item}" for item in items) if items else ""
