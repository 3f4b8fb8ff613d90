"""How often intervals hold the truth and tests raise false alarms, for docs/statistics.md, whose pictures it draws.

Everything is drawn with a known truth (tests/support/simulations.py). NIGHTBOARD_BENCH_DRAWS sets the number of models
of a setting; of pairs and commits, which take longer, there are half as many. Tests run the same simulations small.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from simulations import (
    BETTER,
    EQUALS,
    SCENES,
    count_alarms,
    simulate_boards,
    simulate_commits,
    simulate_comparisons,
    simulate_places,
    simulate_scores,
)

from warehouse import Cells

N_DRAWS = int(os.environ.get("NIGHTBOARD_BENCH_DRAWS", "300"))
N_PAIRS = N_DRAWS // 2
PICTURES = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Rate:
    """How often something happened in `n` draws."""

    setting: str
    share: float
    n: int


def measure_coverage() -> Iterator[Cells]:
    """One row per setting: the share that was found, and the one that is promised. Draws the pictures."""
    intervals = [*_cover_scores(), *_cover_places()]
    yield from _report("interval", intervals, 0.95)
    _draw(PICTURES / "coverage.svg", "Share of 95% intervals that hold the truth", intervals, 0.95, (0.88, 1))
    alarms, holm, held = _count_alarms()
    yield from _report("compare: interval", held, 0.95)
    yield from _report("compare: false alarm of p", alarms, 0.05)
    yield from _report("compare: any false alarm", holm, 0.05)
    title = "compare: share of 95% intervals that hold the true difference"
    _draw(PICTURES / "compare-coverage.svg", title, held, 0.95, (0.88, 1))
    title = "compare: false alarms between models of equal scores"
    _draw(PICTURES / "compare-alarms.svg", title, alarms + holm, 0.05, (0, 0.4))
    yield from _count_commits()


def _report(what: str, rates: Sequence[Rate], promised: float) -> Iterator[Cells]:
    for rate in rates:
        yield f"{what}, {rate.setting}", f"{rate.share:.1%}", "promised", f"{promised:.0%}", rate.share / promised


def _cover_scores() -> Iterator[Rate]:
    """Of all six benchmarks together, and of those whose score is normalized by task, which is harder."""
    with tempfile.TemporaryDirectory() as name:
        simulated = simulate_scores(Path(name), N_DRAWS)
        for scene in SCENES:
            raw, normalized = (simulated.cover(kind, [scene]) for kind in ("raw", "normalized"))
            yield Rate(f"{scene}: raw, six benchmarks", float(np.mean([*raw.values()])), 6 * N_DRAWS)
            for benchmark in ("bbh", "musr"):
                yield Rate(f"{scene}: normalized, {benchmark}", normalized[benchmark], N_DRAWS)
            yield Rate(f"{scene}: average", simulated.cover("average", [scene])["average"], N_DRAWS)
    with tempfile.TemporaryDirectory() as name:
        for what, share in simulate_boards(Path(name), N_DRAWS).items():
            yield Rate(f"guessing, imported board: {what}", share, N_DRAWS)


def _cover_places() -> Iterator[Rate]:
    with tempfile.TemporaryDirectory() as name:
        n_repeats = max(1, N_DRAWS // 20)
        yield Rate("places of 50 nearly tied models", simulate_places(Path(name), n_repeats), 50 * n_repeats)


def _count_alarms() -> tuple[list[Rate], list[Rate], list[Rate]]:
    """Of pairs of equal scores: false alarms of one test, of any of the benchmarks, and how often intervals hold."""
    alarms, holm, held = [], [], []
    for setting, pairs in EQUALS.items():
        with tempfile.TemporaryDirectory() as name:
            rates = count_alarms(simulate_comparisons(Path(name), pairs, N_PAIRS))
        n_benchmarks = len({task["benchmark"] for task in pairs.tasks})
        alarms += [
            Rate(f"{setting}: p", rates["p_value"], n_benchmarks * N_PAIRS),
            Rate(f"{setting}: McNemar's p", rates["mcnemar_p"], n_benchmarks * N_PAIRS),
            Rate(f"{setting}: p of the average", rates["average"], N_PAIRS),
        ]
        if n_benchmarks > 1:
            holm += [
                Rate(f"{setting}: any p of {n_benchmarks}", rates["any p_value"], N_PAIRS),
                Rate(f"{setting}: any Holm p of {n_benchmarks}", rates["any holm_p"], N_PAIRS),
            ]
        held.append(Rate(setting, rates["interval"], (n_benchmarks + 1) * N_PAIRS))
    with tempfile.TemporaryDirectory() as name:
        rows = simulate_comparisons(Path(name), BETTER, N_PAIRS)
    held.append(
        Rate("better by 4 points", float(np.mean([r["low"] <= r["truth"] <= r["high"] for r in rows])), len(rows))
    )
    return alarms, holm, held


def _count_commits() -> Iterator[Cells]:
    """Commits that lose a point of the average, and others: how many of each regressions lists."""
    with tempfile.TemporaryDirectory() as name:
        commits = simulate_commits(Path(name), N_PAIRS, N_PAIRS // 4)
    yield from _report("regressions", [Rate("false alarms, commits as good", commits.false_alarms, N_PAIRS)], 0.05)
    found = commits.found, commits.found_unpaired
    yield (
        "regressions, commits a point worse: found", f"{found[0]:.0%}", "unpaired, 1.96 standard errors",
        f"{found[1]:.0%}", found[0] / max(found[1], 1e-9),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- pictures

LABELS, PLOT, RIGHT, ROW, TOP = 330, 300, 70, 20, 44


def _draw(path: Path, title: str, rates: Sequence[Rate], promised: float, limits: tuple[float, float]) -> None:
    """Dots with their simulation error (95%) beside a line at what is promised, and the number at the right."""
    low, high = limits

    def place(share: float) -> float:
        return LABELS + PLOT * (min(max(share, low), high) - low) / (high - low)

    height = TOP + ROW * len(rates) + 30
    bottom = height - 26
    size = f'width="{LABELS + PLOT + RIGHT}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for tick in np.linspace(low, high, 5):
        x = place(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:.0%}</text>')
    x = place(promised)
    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#c33" stroke-dasharray="4 3"/>')
    for number, rate in enumerate(rates):
        y = TOP + ROW * number + 6
        error = 1.96 * (max(rate.share * (1 - rate.share), 1e-9) / rate.n) ** 0.5
        ends = f'x1="{place(rate.share - error):.1f}" x2="{place(rate.share + error):.1f}"'
        parts += [
            f'<text x="10" y="{y + 4}">{escape(rate.setting)}</text>',
            f'<line {ends} y1="{y}" y2="{y}" stroke="#369" stroke-width="2"/>',
            f'<circle cx="{place(rate.share):.1f}" cy="{y}" r="4" fill="#369"/>',
            f'<text x="{LABELS + PLOT + 12}" y="{y + 4}">{rate.share:.1%}</text>',
        ]
    path.write_text("\n".join([*parts, "</svg>", ""]))
