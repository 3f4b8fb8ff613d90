"""The simulated month as a whole: its table, its picture docs/month.svg, and what must hold of it.

Everything is in virtual time and drawn from one seed (tests/support/simulated_month.py). NIGHTBOARD_BENCH_NIGHTS sets
the number of nights. Tests live through a few small ones.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median

from simulated_month import BUDGET, ORGANIZATIONS, Month, Night, median_error

from nightboard.flows.display.console import make_console
from nightboard.flows.display.tables import cells_table, print_table
from nightboard.tasks.planning.budget import CLASSES, RequestClass
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.requests.book import read_book
from warehouse import Cells

N_NIGHTS = int(os.environ.get("NIGHTBOARD_BENCH_NIGHTS", "30"))
PICTURE = Path(__file__).parents[2] / "docs/month.svg"
LIMIT = BUDGET.gpu_hours_per_night or 0.0
WEEK_LIMIT = BUDGET.gpu_hours_per_organization_and_week or 0.0
# What a night may really take above its budget, once estimates have learned.
SLACK = 1.15


def measure_month() -> Iterator[Cells]:
    """Rows of hours, waiting times and estimates. Prints the table, draws the picture."""
    with tempfile.TemporaryDirectory() as name:
        month = Month(Path(name))
        last = month.run(N_NIGHTS)
        used = [month.sum_used(night) for night in month.nights]
        _print(month, used)
        _check(month, last, used)
    PICTURE.write_text(draw(month.nights, used))
    spent, budget = sum(sum(each.values()) for each in used), LIMIT * N_NIGHTS
    yield f"GPU-hours of {N_NIGHTS} nights", f"{spent:,.0f}", "the budget", f"{budget:,.0f}", spent / budget
    most = max(month.sum_week(name, night.number) for name in ORGANIZATIONS for night in month.nights)
    yield (
        "GPU-hours of an organization and week, the most",
        f"{most:,.0f}",
        "the budget",
        f"{WEEK_LIMIT:,.0f}",
        most / WEEK_LIMIT,
    )
    for name in CLASSES:
        waits = month.list_waits(name)
        yield (
            f"{name}: days until launch, the longest", f"{max(waits):.1f}", "median", f"{median(waits):.1f}",
            max(waits) / median(waits),
        )  # fmt: skip
    first, later = median_error(month.nights[:1]) or 1, median_error(month.nights[-7:]) or 0
    yield "estimates: median error, last week", f"{later:.0%}", "first night", f"{first:.0%}", later / first


def _print(month: Month, used: Sequence[Counter[RequestClass]]) -> None:
    titles = ["night", "planned", "done", "failed", "waiting", *CLASSES, "of budget", "days waited", "estimates' error"]
    rows = []
    for night, hours in zip(month.nights, used, strict=True):
        waits = [days for name in CLASSES for days in night.waits[name]]
        rows.append((
            str(night.number), str(night.launched.total()), str(night.done), str(night.failed),
            str(night.waiting.total()), *(f"{hours[name]:.0f}" for name in CLASSES),
            f"{sum(hours.values()) / LIMIT:.0%}", f"{median(waits):.1f}" if waits else "",
            f"{night.error:.0%}" if night.error is not None else "",
        ))  # fmt: skip
    print_table(make_console(), cells_table(titles, rows, right=titles), elsewhere="")


def _check(month: Month, last: Plan, used: Sequence[Counter[RequestClass]]) -> None:
    """Nothing lost, nothing twice, budgets kept, nobody starves, estimates learn. Each plan's budget was checked."""
    told = {(skip.model_id, skip.revision) for skip in last.skipped if skip.reason and not skip.request_id}
    told |= {(evaluation.model_id, evaluation.revision) for evaluation in last.evaluations}
    assert {(commit.model_id, commit.revision) for commit in month.watched} <= told
    for entry in read_book(month.store).values():
        assert entry.state in ("done", "planned", "running") or entry.event.reason, entry
    completed = [attempt.key for attempt in month.attempts if attempt.state == "completed"]
    assert len(completed) == len(set(completed))
    assert all(sum(hours.values()) <= SLACK * LIMIT for hours in used[1:]), "a night took too much"
    assert all(month.sum_week(name, N_NIGHTS) <= SLACK * WEEK_LIMIT for name in ORGANIZATIONS)
    assert all(max(month.list_unserved(name)) <= len(CLASSES) for name in CLASSES), "a class starves"
    weeks = [median_error(month.nights[start : start + 7]) or 0 for start in range(0, N_NIGHTS - 6, 7)]
    assert all(week < (median_error(month.nights[:1]) or 1) / 2 for week in weeks[1:]), weeks


# --------------------------------------------------------------------------------------------------------- the picture

LEFT, PLOT, RIGHT, PANEL, GAP, TOP = 60, 520, 150, 130, 46, 44
COLORS: dict[RequestClass, str] = {"watched": "#369", "submissions": "#d80", "backfills": "#7a9"}


@dataclass(frozen=True)
class _Panel:
    """A drawing area with its own scale, from 0 to `most`."""

    top: float
    most: float
    n_nights: int

    def x(self, number: float) -> float:
        return LEFT + PLOT * number / self.n_nights

    def y(self, value: float) -> float:
        return self.top + PANEL * (1 - min(value, self.most) / self.most)

    def frame(self, title: str, ticks: Sequence[float], word: Callable[[float], str]) -> list[str]:
        parts = [f'<text x="{LEFT}" y="{self.top - 10}">{escape(title)}</text>']
        for tick in ticks:
            y = self.y(tick)
            parts.append(f'<line x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{word(tick)}</text>')
        return parts

    def line(self, values: Sequence[tuple[int, float]], color: str, label: str) -> list[str]:
        points = " ".join(f"{self.x(number - 0.5):.1f},{self.y(value):.1f}" for number, value in values)
        _, value = values[-1]
        return [
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>',
            f'<text x="{LEFT + PLOT + 12}" y="{self.y(value) + 4:.1f}" fill="{color}">{escape(label)}</text>',
        ]


def draw(nights: Sequence[Night], used: Sequence[Counter[RequestClass]]) -> str:
    """Three panels over the nights: GPU-hours by class, what waits, how far the estimates are off."""
    height = TOP + 3 * PANEL + 2 * GAP + 50
    size = f'width="{LEFT + PLOT + RIGHT}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        *_draw_hours(used),
        *_draw_waiting(nights),
        *_draw_errors(nights),
    ]
    scale = _Panel(0, 1, len(nights))
    for night in nights:
        if night.number % 5 == 0 or night.number == 1:
            x = scale.x(night.number - 0.5)
            parts.append(f'<text x="{x:.1f}" y="{height - 32}" text-anchor="middle">{night.number}</text>')
    parts.append(f'<text x="{LEFT + PLOT / 2}" y="{height - 12}" text-anchor="middle">night</text>')
    return "\n".join([*parts, "</svg>", ""])


def _draw_hours(used: Sequence[Counter[RequestClass]]) -> list[str]:
    panel = _Panel(TOP, LIMIT * 1.2, len(used))
    parts = panel.frame("GPU-hours that a night took", [0, LIMIT / 2, LIMIT], lambda tick: f"{tick:.0f}")
    width = PLOT / len(used) - 3
    for number, hours in enumerate(used):
        base = 0.0
        for name in CLASSES:
            top, bottom = panel.y(base + hours[name]), panel.y(base)
            parts.append(
                f'<rect x="{panel.x(number) + 1.5:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"'
                f' fill="{COLORS[name]}"/>'
            )
            base += hours[name]
    y = panel.y(LIMIT)
    parts.append(
        f'<line x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#c33" stroke-dasharray="4 3"/>'
    )
    parts.append(f'<text x="{LEFT + PLOT + 12}" y="{y + 4:.1f}" fill="#c33">budget of a night</text>')
    for place, name in enumerate(reversed(CLASSES)):
        y = TOP + PANEL - 52 + 22 * place
        parts.append(f'<rect x="{LEFT + PLOT + 12}" y="{y}" width="12" height="12" fill="{COLORS[name]}"/>')
        parts.append(f'<text x="{LEFT + PLOT + 30}" y="{y + 10}">{name}</text>')
    return parts


def _draw_waiting(nights: Sequence[Night]) -> list[str]:
    most = max(10, *(night.waiting[name] for night in nights for name in CLASSES))
    panel = _Panel(TOP + PANEL + GAP, most * 1.1, len(nights))
    ticks = [0, most // 2, most]
    parts = panel.frame("Evaluations that wait for budget when a night begins", ticks, lambda tick: f"{tick:.0f}")
    for name in CLASSES:
        values = [(night.number, float(night.waiting[name])) for night in nights]
        parts += panel.line(values, COLORS[name], name)[:1]
    return parts


def _draw_errors(nights: Sequence[Night]) -> list[str]:
    known = [(night.number, night.error) for night in nights if night.error is not None]
    most = max(error for _, error in known)
    panel = _Panel(TOP + 2 * (PANEL + GAP), most * 1.1, len(nights))
    parts = panel.frame("Median error of estimates", [0, 0.1, most / 2, most], lambda tick: f"{tick:.0%}")
    return [*parts, *panel.line(known, "#369", f"{known[-1][1]:.0%} in the last night")]
