"""Finds out what became of every launch, also of one whose flow died: collects ended attempts, ends dead ones.

An attempt is open until it has an outcome. A dead one gets its outcome here; a finished one is collected. The state is
only in the store and the cluster, so any flow on any host can do this. The cluster is queried once per call, whatever
the number of jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from nightboard.tasks.cluster.executor import Executor
from nightboard.tasks.evaluation.lease import revoke
from nightboard.tasks.runs.collect import Collected, collect_attempt
from nightboard.tasks.runs.dead_attempts import explain_end, is_attempt_running
from nightboard.tasks.runs.open_runs import (
    Closed,
    ClusterAnswer,
    OpenAttempt,
    OpenLaunch,
    OpenRuns,
    advise_on_launch,
    ask,
    belongs_to,
    list_claimed,
    read_open_launches,
)
from nightboard.tasks.store.files import claim_file, write_bytes
from nightboard.tasks.store.layout import CLOSED_FILE, OUTCOME_FILE, Store
from nightboard.tasks.store.records import Outcome, RecordError

# The cluster's last word on a job (energy, exit code) comes some seconds after its outcome.
LAST_WORD_LIMIT = timedelta(minutes=2)


@dataclass(frozen=True)
class Reconciled(OpenRuns):
    """What is still running, and what this call collected."""

    collected: tuple[Collected, ...] = ()


def reconcile(store: Store, executor: Executor, now: datetime) -> Reconciled:
    """Look at every open launch once: collect what ended, give dead attempts an outcome, list what still runs."""
    problems: list[str] = []
    launches = list(read_open_launches(store, executor, now, problems))
    cluster = ask(executor, launches, now)
    still_open: list[OpenAttempt] = []
    collected: list[Collected] = []
    for launch in launches:
        is_over = not launch.is_launching
        for attempt in list_claimed(store, launch, cluster):
            try:
                result = _reconcile_attempt(store, attempt, launch, cluster)
            except RecordError as error:
                problems.append(advise_on_launch(error, attempt.folder))
                result = attempt
            if isinstance(result, OpenAttempt):
                still_open.append(result)
                is_over = False
            elif result is not None:
                collected.append(result)
        if is_over:
            write_bytes(launch.folder / CLOSED_FILE, Closed(closed_at=now).to_bytes())
    return Reconciled(tuple(still_open), tuple(problems), cluster.reports is None, tuple(collected))


def _reconcile_attempt(
    store: Store, attempt: OpenAttempt, launch: OpenLaunch, cluster: ClusterAnswer
) -> Collected | OpenAttempt | None:
    """The collected attempt if it has ended, the open attempt while it runs, None if it is not this launch's."""
    if not belongs_to(attempt.folder, launch.launch):
        return None
    if _has_ended(store, attempt, launch, cluster):
        return collect_attempt(store, attempt.folder, cluster.now, attempt.report)
    return attempt


def _has_ended(store: Store, attempt: OpenAttempt, launch: OpenLaunch, cluster: ClusterAnswer) -> bool:
    """Whether the attempt has an outcome; gives it one when its job is gone."""
    # Life is asked for before the outcome: a job that ends in between has written its outcome by then.
    is_running = is_attempt_running(attempt, launch, cluster)
    outcome = attempt.folder / OUTCOME_FILE
    if outcome.exists():
        return not _awaits_last_word(attempt, launch, cluster)
    if is_running:
        return False
    owner = revoke(attempt.folder, cluster.now)
    claim_file(outcome, explain_end(store, attempt, owner, launch, cluster.now).to_bytes())
    return True


def _awaits_last_word(attempt: OpenAttempt, launch: OpenLaunch, cluster: ClusterAnswer) -> bool:
    """Whether the cluster will soon say more of a job whose outcome is there."""
    if launch.launch.executor != "slurm" or attempt.report is None or attempt.report.is_over:
        return False
    try:
        return cluster.now < Outcome.read(attempt.folder / OUTCOME_FILE).ended_at + LAST_WORD_LIMIT
    except RecordError:
        return False  # collecting says what is wrong with it
