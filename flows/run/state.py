"""What a run has seen so far, and how each evaluation that ended is shown.

Owns no order: the flow and dispatcher.py do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from nightboard.flows.display.console import Terminal
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.run.report import group_setbacks, name_cause, word_others
from nightboard.profiles.models.endings import Ending
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.hub.discover import Discovery
from nightboard.tasks.planning.result import Plan, Skip
from nightboard.tasks.runs.collect import Collected, collect_attempt
from nightboard.tasks.runs.open_runs import OpenAttempt, OpenRuns
from nightboard.tasks.runs.reconcile import Reconciled
from nightboard.tasks.runs.status import word_wait
from nightboard.tasks.store.layout import OUTCOME_FILE
from nightboard.tasks.store.records import Evaluation, EvaluationShards, ResolvedSuite, utc_now

# After so long the operator hears of jobs that wait for what does not end by itself.
STUCK_LIMIT = timedelta(minutes=2)


@dataclass
class Stuck:
    """Since when jobs wait for a reason that does not end by itself."""

    since: datetime
    is_reported: bool = False


@dataclass
class RunState:
    """What a run of the flow has seen so far."""

    board: OpenBoard
    ui: Terminal
    history: History = NO_HISTORY
    started_at: datetime = field(default_factory=utc_now)
    open_runs: OpenRuns = field(default_factory=lambda: OpenRuns((), ()))
    collected: list[Collected] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_cluster_away: bool = False
    # Jobs that wait for what does not end by itself, by reason and advice.
    stuck: dict[tuple[str, str], Stuck] = field(default_factory=dict)
    causes: set[tuple[str, str]] = field(default_factory=set)
    # What no run tries again, by the last plan.
    given_up: tuple[Skip, ...] = ()
    planned: dict[str, Evaluation] = field(default_factory=dict)
    shards: dict[str, EvaluationShards] = field(default_factory=dict)
    first_attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    fetched: set[tuple[str, str]] = field(default_factory=set)
    # The requests that this run plans; None: all open ones.
    only_requests: frozenset[str] | None = None

    def plan(
        self, discovery: Discovery, suites: Sequence[ResolvedSuite], run_started_at: datetime | None = None
    ) -> Plan:
        """What to do now; in the midst of the run, what is left to do in it."""
        chosen = self.only_requests
        requests = (
            None
            if chosen is None
            else [entry for entry in self.board.read_requests() if entry.request.request_id in chosen]
        )
        return self.board.plan(discovery, suites, utc_now(), run_started_at, requests)

    def report_problems(self, problems: Iterable[str]) -> None:
        """Keep and show what an operator should look at, each thing once."""
        for problem in problems:
            if problem not in self.problems:
                self.problems.append(problem)
                self.ui.warn(problem)

    def collect(self, open_runs: Reconciled) -> None:
        """Take over what a look at the store has found; each evaluation that ended is a task run of its own."""
        # Where nothing was asked, nothing is known.
        if open_runs.is_cluster_away or any(attempt.report for attempt in open_runs.open):
            self.tell_cluster(is_away=open_runs.is_cluster_away)
        self.open_runs = open_runs
        self.tell_stuck(utc_now())
        self.report_problems(open_runs.problems)
        self.collected += open_runs.collected
        for attempt in open_runs.collected:
            if attempt.state == "completed":
                show_outcome(attempt, self)
        for group in group_setbacks(open_runs.collected):
            self._show_setbacks(group)

    def _show_setbacks(self, group: Sequence[Collected]) -> None:
        """What went wrong in one way: shown once with a count; the log once a run, and not of what is retried."""
        first, *others = group
        cause = name_cause(first)
        is_known = cause in self.causes
        self.causes.add(cause)
        show_outcome(first, self, is_brief=is_known or self.is_retried(first), is_shown=not is_known)
        if is_known:
            self.ui.warn(f"{first.state} {first.model_id}@{first.revision[:7]} {first.suite}: as before")
        for attempt in others:
            show_outcome(attempt, self, is_brief=True, is_shown=False)
        if others:
            self.ui.warn(f"  and {word_others(others)} in the same way")

    def tell_stuck(self, now: datetime) -> None:
        """Say once for each reason that jobs have waited long for what does not end by itself."""
        jobs: dict[tuple[str, str], dict[str, None]] = {}
        for attempt in self.open_runs.open:
            report = attempt.report
            if report and report.advice and report.reason:
                jobs.setdefault((report.reason, report.advice), {})[str(attempt.job_id)] = None
        self.stuck = {key: self.stuck.get(key, Stuck(now)) for key in jobs}
        for key, stuck in self.stuck.items():
            if not stuck.is_reported and now - stuck.since >= STUCK_LIMIT:
                stuck.is_reported = True
                self.ui.warn(word_wait(list(jobs[key]), *key))

    def is_retried(self, attempt: Collected) -> bool:
        """Whether a run that waits tries again what ended so, by itself."""
        ending: Ending = attempt.state  # type: ignore[assignment]
        return self.board.bundle.cluster.retry(ending).same_run

    def see_open(self, opened: Sequence[OpenAttempt]) -> None:
        """Take over what is open after something was launched."""
        self.open_runs = replace(self.open_runs, open=tuple(opened))

    def tell_cluster(self, *, is_away: bool) -> None:
        """Say once that the cluster does not answer, and once that it answers again."""
        if is_away and not self.is_cluster_away:
            self.ui.warn("The cluster does not answer. Running jobs continue; waiting for it ...")
        if self.is_cluster_away and not is_away:
            self.ui.say("The cluster answers again.")
        self.is_cluster_away = is_away

    def add_plan(self, plan: Plan) -> None:
        """Remember what this run means to do; it may plan more than once."""
        self.planned |= {each.evaluation_id: each for each in plan.evaluations}
        self.shards |= {each.evaluation_id: each for each in plan.shards}
        self.given_up = tuple(skip for skip in plan.skipped if skip.kind == "gave_up")
        for planned in (planned for job in plan.jobs for planned in job.attempts):
            self.first_attempts.setdefault((planned.evaluation_id, planned.shard.name), planned.number)

    def collect_elsewhere(self, not_started: set[str]) -> None:
        """Take over attempts at our plan's shards that another flow launched or collected first."""
        seen = {(known.evaluation_id, known.shard, known.attempt) for known in self.collected}
        unfinished = self.open_runs.in_flight | not_started
        for (evaluation_id, shard), first in self.first_attempts.items():
            for attempt in itertools.count(first) if evaluation_id not in unfinished else ():
                folder = self.board.store.attempt_dir(evaluation_id, shard, attempt)
                if not (folder / OUTCOME_FILE).exists():
                    break
                if (evaluation_id, shard, attempt) not in seen:
                    self.collected.append(collect_attempt(self.board.store, folder, utc_now()))
                    show_outcome(self.collected[-1], self)


def show_outcome(attempt: Collected, run: RunState, *, is_brief: bool = False, is_shown: bool = True) -> None:
    """A task run for an evaluation that is scored and for an attempt that is not completed, and lines for the operator.

    A shard of an unfinished evaluation is not worth a line: its bar shows it. `is_brief`: it is retried, so its log is
    not shown; `is_shown`: False where there are many, and one line stands for all.
    """
    if attempt.state == "completed" and not attempt.is_scored:
        return
    name = f"{attempt.model_id}@{attempt.revision[:7]} {attempt.suite}"
    name += "" if attempt.shard == "all" or attempt.is_scored else f" {attempt.shard}"
    run.history.add_outcome(name, None if attempt.is_scored else f"{attempt.state}: {attempt.reason}")
    ui = run.ui
    if attempt.is_scored:
        ui.say(f"  completed  {name}", style="green")
    elif is_shown or not is_brief:
        ui.warn(f"{attempt.state} {name}: {attempt.reason}")
    if attempt.state == "completed" or is_brief:
        return
    if attempt.has_started or attempt.log_tail:
        ui.say_path("  log: ", attempt.log)
    for line in attempt.log_tail:
        ui.say(f"    | {line}", style="dim")
