"""What the bars say while evaluations run."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fake_cluster import make_evaluation, make_job
from rich.console import Console

from nightboard.flows.display.console import Terminal
from nightboard.flows.run.progress import ProgressDisplay
from nightboard.flows.run.state import RunState
from nightboard.tasks.cluster.executor import JobReport
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.open_runs import OpenAttempt, OpenRuns
from nightboard.tasks.store.records import Progress

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(board="b", created_at=NOW, evaluations=(), jobs=(), skipped=(), gpu_hours=0, estimate_s=0)


def draw(folder: Path, state: str, estimate_s: float) -> str:
    """The bars of a run with one job in this state and two that wait, all of this length."""
    ui = Terminal(Console(file=io.StringIO(), force_terminal=True, width=160))
    board: Any = None
    run = RunState(board, ui)
    run.planned = {name: make_evaluation(name) for name in "abc"}
    jobs = [make_job(name) for name in "abc"]
    attempts = [job.attempts[0].model_copy(update={"estimate_s": estimate_s}) for job in jobs]
    queue = [job.model_copy(update={"attempts": (attempt,)}) for job, attempt in zip(jobs, attempts, strict=True)]
    report = JobReport(state, is_over=False)
    run.open_runs = OpenRuns((OpenAttempt("launch", 0, attempts[0], folder, report=report),), ())
    with ProgressDisplay(PLAN, ui) as display:
        display.update(run, queue[1:])
        output = Console(file=io.StringIO(), width=160)
        output.print(display._bars.get_renderable())
    return " ".join(output.file.getvalue().split())  # type: ignore[attr-defined]


def test_the_bar_says_how_long_all_jobs_still_take(tmp_path: Path) -> None:
    assert "evaluations (1 running, 2 to launch)" in draw(tmp_path, "RUNNING", 600)
    assert "~30 min left" in draw(tmp_path, "RUNNING", 600)


def test_the_bar_makes_no_estimate_while_all_jobs_wait(tmp_path: Path) -> None:
    assert "left" not in draw(tmp_path, "PENDING", 600)


def test_an_evaluation_has_a_bar_once_its_model_is_loaded(tmp_path: Path) -> None:
    assert "lab/a" not in draw(tmp_path, "RUNNING", 600)
    progress = Progress(benchmark="bbh", finished=(), total=1, at=NOW)
    (tmp_path / "progress.json").write_bytes(progress.to_bytes())
    assert "lab/a small: bbh" in draw(tmp_path, "RUNNING", 600)
