"""Shows why a model is where it is: a paragraph a suite for people, every field for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from nightboard.flows.display.console import Terminal, duration, make_console, shorten
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.rows import print_result
from nightboard.tasks.why import Why
from nightboard.warehouse.reader.result import Result

if TYPE_CHECKING:
    from nightboard.tasks.output_file import OutputFile

# The last lines of a log that a terminal shows; the file has all, --format json twenty.
SHOWN_LINES = 5
LONGEST_REASON = 200
# A line of the log whose end is in the reason says it again.
_TELLING = 20


def print_why(whys: Sequence[Why], form: Format, output: OutputFile | None) -> None:
    """Print what is known of a model; suites of which the same holds are told together."""
    if form is not Format.table or output is not None:
        names = [field.name for field in fields(Why)]
        rows = [tuple(_to_plain(getattr(why, name)) for name in names) for why in whys]
        print_result(Result(names, rows), form, output)
        return
    ui = Terminal(make_console())
    suites: dict[Why, list[str]] = {}
    for why in whys:
        suites.setdefault(replace(why, suite=""), []).append(why.suite)
    for why, names in suites.items():
        _print_one(ui, why, names)


def _is_told(line: str, reason: str) -> bool:
    """Whether a line of the log says the reason, which is shown above it."""
    end = line.strip()[-_TELLING:]
    return len(end) == _TELLING and end in reason


def _to_plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _print_one(ui: Terminal, why: Why, suites: Sequence[str]) -> None:
    revision = f" {why.model_id}@{why.revision[:7]}" if why.revision else f" {why.model_id}"
    benchmarks = f" ({', '.join(why.benchmarks)})" if why.benchmarks else ""
    ui.step(f"{', '.join(suites)}{benchmarks}: {why.state}{revision}")
    # Findings of a request are whole sentences, a line each. Of a failure the log has the rest.
    for line in why.reason.splitlines() if not why.log else [shorten(why.reason, LONGEST_REASON)]:
        ui.say(f"  {line}" if line.endswith((".", ".)", " ...")) else f"  {line}.")
    facts = [
        None if why.average is None else f"average {why.average:.2f}",
        why.evaluation_id and f"evaluation {why.evaluation_id[:8]}",
        why.at and f"{why.at:%Y-%m-%d %H:%M} UTC",
        None if why.left_s is None else f"about {duration(why.left_s)} left",
    ]
    if any(facts):
        ui.say(f"  {', '.join(fact for fact in facts if fact)}.", "dim")
    for line in [line for line in why.log_tail if not _is_told(line, why.reason)][-SHOWN_LINES:]:
        ui.say(f"  | {shorten(line)}", "dim")
    if why.log:
        ui.say_path("  log: ", why.log)
    if why.do:
        ui.say_path("  do: ", why.do)
