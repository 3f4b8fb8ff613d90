"""What `nightboard status` answers in the morning: what ran, failed, runs and waits, and the disk and budget left.

Reads the store, its current build and the cluster's report; changes nothing, and asks no Hub.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nightboard.profiles.models.schedule import Schedule
from nightboard.tasks.runs.open_runs import OpenRuns
from nightboard.tasks.runs.status import Status, describe_open, sum_up_waits
from nightboard.tasks.store.layout import Store

if TYPE_CHECKING:
    from nightboard.profiles.models.board import Board
    from nightboard.warehouse.reader.result import Result

SINCE = timedelta(hours=24)
# Estimates are judged by the evaluations of so many days.
ESTIMATED = timedelta(days=30)


@dataclass(frozen=True)
class LastRuns:
    """What ended since a time: evaluations that were scored, attempts that did not complete, and their cost."""

    since: datetime
    n_done: int
    n_failed_attempts: int
    gpu_hours: float


@dataclass(frozen=True)
class Cause:
    """Why evaluations are not scored: how they ended, why the last one did, how many; and what to do."""

    ending: str
    reason: str
    n_evaluations: int
    n_models: int
    model_id: str
    log: str | None
    next_step: str


@dataclass(frozen=True)
class Disk:
    """Space of the file system that the store is on, in 10^9 bytes."""

    free_gb: float
    total_gb: float


@dataclass(frozen=True)
class Estimates:
    """How far estimates were off, as the median of |taken / estimated - 1| of evaluations of the last 30 days."""

    median_error: float
    n_evaluations: int


@dataclass(frozen=True)
class NightUse:
    """GPU-hours of a board's budget that this night has used, with the estimates of what runs."""

    gpu_hours: float
    used: float


@dataclass(frozen=True)
class Overview:
    """The state of a store; `last` is None before the first build. `problems`: what could not be read.

    `estimates` is None without evaluations that tell, `budget` without one.
    """

    board: str | None
    store: str
    at: datetime
    last: LastRuns | None
    causes: tuple[Cause, ...]
    open: tuple[Status, ...]
    waits: tuple[str, ...]
    next_run: datetime | None
    disk: Disk
    problems: tuple[str, ...]
    estimates: Estimates | None = None
    budget: NightUse | None = None


def look(
    store: Store, under_way: OpenRuns, now: datetime, board: str | None = None, declared: Board | None = None
) -> Overview:
    """The state of a store. `board`: as a user names it, for the commands that are advised."""
    rows, problems = describe_open(under_way.open, now)
    last, causes, estimates = _ask_build(store, now, board)
    return Overview(
        board=board,
        store=str(store.root),
        at=now,
        last=last,
        causes=causes,
        open=tuple(rows),
        waits=tuple(sum_up_waits(rows)),
        next_run=find_next_run(declared.schedule, now) if declared else None,
        disk=_measure_disk(store),
        problems=(*under_way.problems, *problems),
        estimates=estimates,
        budget=_sum_night(store, declared, now) if declared else None,
    )


def _sum_night(store: Store, declared: Board, now: datetime) -> NightUse | None:
    """What this night has used of a board's budget; nothing is imported for a board without one."""
    limit = declared.budget.gpu_hours_per_night
    if limit is None:
        return None
    from nightboard.tasks.planning.budget import sum_spent
    from nightboard.tasks.planning.history import SpendingOf, read_spending

    spent = sum_spent(read_spending(store, SpendingOf.week(declared, now)), now, declared.schedule.timezone)
    return NightUse(limit, sum(spent.of_night.values()))


def find_next_run(schedule: Schedule, now: datetime) -> datetime:
    """When the schedule next starts a run."""
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    return next(CronSim(schedule.cron, now.astimezone(ZoneInfo(schedule.timezone))))


def _measure_disk(store: Store) -> Disk:
    existing = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    usage = shutil.disk_usage(existing)
    return Disk(usage.free / 1e9, usage.total / 1e9)


def _ask_build(
    store: Store, now: datetime, board: str | None
) -> tuple[LastRuns | None, tuple[Cause, ...], Estimates | None]:
    """What the current build says; nothing where there is none, without importing what reads it."""
    if not any(store.warehouse.glob("*.duckdb")):
        return None, (), None
    from nightboard.warehouse.reader.connection import connect
    from nightboard.warehouse.reader.questions import find_estimate_error, list_failure_causes, sum_up_last_runs

    since = now - SINCE
    with connect(store.warehouse) as con:
        (n_done, n_failed, gpu_hours), causes = sum_up_last_runs(con, since), list_failure_causes(con)
        error = find_estimate_error(con, now - ESTIMATED)
    estimates = Estimates(error.median_error, error.n_evaluations) if error.median_error is not None else None
    return LastRuns(since, n_done, n_failed, gpu_hours), _advise(causes, store, board), estimates


def _advise(causes: Result, store: Store, board: str | None) -> tuple[Cause, ...]:
    found = []
    for row in causes.rows:
        cell = dict(zip(causes.columns, row, strict=True))
        found.append(
            Cause(
                ending=cell["attempt_state"],
                reason=cell["reason"] or "unknown reason",
                n_evaluations=cell["n_evaluations"],
                n_models=cell["n_models"],
                model_id=cell["model_id"],
                log=str(store.root / cell["log"]) if cell["log"] else None,
                next_step=_find_next_step(cell, board),
            )
        )
    return tuple(found)


# What to do, by who is at fault.
_STEPS = {
    "environment": "Look at the node, its disk and GPUs. The next run tries again.",
    "cluster": "The next run tries again.",
    "hub": "The next run tries again.",
    "harness": "Look at the log: lm-eval or the suite is at fault. The next run tries again.",
}


def _find_next_step(cell: dict[str, Any], board: str | None) -> str:
    ending, name = cell["attempt_state"], f"--board {board or 'BOARD'}"
    if cell["at_fault"] in _STEPS:
        return _STEPS[cell["at_fault"]]
    if cell["n_open"] == cell["n_evaluations"]:
        return "The next run tries again."
    again = f"nightboard retry {name} --all --state {ending}"
    if ending == "out_of_memory":
        return f"Add a larger tier to the cluster; with the same tiers: {again}"
    if ending == "cancelled":
        return f"To run it again: {again}"
    # A build does not know how many attempts the cluster profile gives.
    return f"Read the log: nightboard why {name} {cell['model_id']}. What is given up runs again after: {again}"


def sum_up_jobs(rows: Sequence[Status]) -> tuple[int, int, int]:
    """Jobs that run, their GPUs, and jobs that wait."""
    jobs: dict[str, Status] = {}
    for row in rows:
        jobs.setdefault(row.job_id or row.evaluation_id, row)
    running = [row for row in jobs.values() if row.state in ("RUNNING", "COMPLETING", "SUSPENDED")]
    return len(running), sum(row.gpus for row in running), len(jobs) - len(running)
