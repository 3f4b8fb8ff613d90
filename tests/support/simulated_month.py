"""A month of nights in virtual time: commits, submissions and backfills within a budget, on a cluster that is made up.

What is decided is the real thing: make_plan on a real History, the book of requests in a store, and how far requests
are. Only jobs and their results are made up: they take what a hidden truth says, and one in ten attempts fails.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TypeVar

from builders import make_commit

from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.models.budget import Budget
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.evaluation.sharding import count_documents, whole
from nightboard.tasks.planning.budget import (
    CLASSES,
    REQUEST_CLASSES,
    RequestClass,
    Spending,
    count_devices,
    find_night,
    find_week,
)
from nightboard.tasks.planning.estimate import Estimator, Size, start_seconds
from nightboard.tasks.planning.history import Cost, CostKey, Done, History, ScoreKey, ShardKey, State, Tries
from nightboard.tasks.planning.plan import PlanInputs, RequestedCommit, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.requests.book import OPEN, add_events, add_requests, add_vote, read_book
from nightboard.tasks.requests.progress import find_changes
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import (
    Commit,
    Evaluation,
    EvaluationShards,
    PlannedAttempt,
    Request,
    RequestEvent,
    RequestTarget,
    ResolvedSuite,
)

T = TypeVar("T")

BOARD = "month"
# The flow starts at two in the night and waits for ten hours.
FIRST = datetime(2026, 3, 2, 2, tzinfo=UTC)
NIGHT = timedelta(hours=10)
DAY = timedelta(days=1)
QUEUED = timedelta(minutes=5)
# The flow plans again after something went wrong, but not more often than this.
REPLAN = timedelta(hours=1)

SUITE = ResolvedSuite(suite=load_suite("leaderboard-v2"), version="v2")
TIERS = (
    Tier(name="one", up_to_params_b=16, gpus=1, batch_size=8, shard_above_min=240),
    Tier(name="two", up_to_params_b=34, gpus=2, batch_size=8, shard_above_min=240),
    Tier(name="four", up_to_params_b=80, gpus=4, batch_size=8, shard_above_min=240),
)
CLUSTER = Cluster(cluster="made", executor="slurm", max_jobs=1000, tiers=TIERS)
BUDGET = Budget(gpu_hours_per_night=440, gpu_hours_per_organization_and_week=1100)
# Parameters in billions, and how many of a hundred models have so many.
SIZES = {0.5: 25, 1.5: 20, 3.0: 20, 7.0: 24, 14.0: 6, 32.0: 4, 72.0: 1}
ORGANIZATIONS = {"Qwen": 40, "allenai": 20, "mistralai": 15, "google": 15, "HuggingFaceTB": 10}
N_COMMITS = 50
FAILURES = 0.1
BROKEN_MODELS = 0.02
ENDINGS: dict[State, int] = {"node_fail": 5, "timeout": 1, "out_of_memory": 1, "failed": 3}


@dataclass(frozen=True)
class Attempt:
    """An attempt that was launched, and what will become of it."""

    evaluation: Evaluation
    planned: PlannedAttempt
    request_class: RequestClass
    gpus: int
    launched_at: datetime
    started_at: datetime
    ends_at: datetime
    state: State
    seconds: Mapping[str, float]

    @property
    def key(self) -> ShardKey:
        return self.evaluation.evaluation_id, self.planned.shard.name

    @property
    def organization(self) -> str:
        return self.evaluation.model_id.partition("/")[0]

    def hours_in(self, start: datetime, end: datetime) -> float:
        """GPU-hours between two times."""
        seconds = (min(self.ends_at, end) - max(self.started_at, start)).total_seconds()
        return max(0.0, seconds) * count_devices(self.gpus) / 3600


@dataclass(frozen=True)
class Truth:
    """What benchmarks really take on the made cluster: other than the first guess, and different for each model."""

    factors: Mapping[str, float]
    exponents: Mapping[str, float]
    guess: Estimator = field(default_factory=lambda: Estimator(History()))

    def seconds(self, planned: PlannedAttempt, commit: Commit, tier: Tier) -> dict[str, float]:
        params_b = commit.params_b or 1.0
        guess = self.guess.benchmarks(SUITE, Size(params_b, 2 * params_b), tier)
        own = math.exp(random.Random(commit.fingerprint).gauss(0, 0.15))

        def take(name: str) -> float:
            by_size = self.factors[name] * (params_b / 3) ** self.exponents[name]
            return guess[name] * by_size * own * _part(planned, name)

        return {name: take(name) for name in planned.shard.benchmarks}


def _part(planned: PlannedAttempt, name: str) -> float:
    suite = SUITE.suite
    return count_documents(suite, planned.shard, name) / count_documents(suite, whole(suite), name)


@dataclass
class Night:
    """What one night did. `used`: GPU-hours by class, from noon to noon. `errors`: |ratio - 1| of estimates."""

    number: int
    launched: Counter[RequestClass] = field(default_factory=Counter)
    done: int = 0
    failed: int = 0
    waiting: Counter[RequestClass] = field(default_factory=Counter)
    used: Counter[RequestClass] = field(default_factory=Counter)
    waits: dict[RequestClass, list[float]] = field(default_factory=lambda: {name: [] for name in CLASSES})
    errors: list[float] = field(default_factory=list)

    @property
    def error(self) -> float | None:
        return median(self.errors) if self.errors else None


@dataclass
class Month:
    """The nights, with all that a store would remember. `seed` decides everything that is drawn."""

    folder: Path
    n_commits: int = N_COMMITS
    budget: Budget = BUDGET
    seed: int = 1
    nights: list[Night] = field(default_factory=list)
    commits: dict[tuple[str, str], Commit] = field(default_factory=dict)
    watched: list[Commit] = field(default_factory=list)
    arrived: dict[tuple[str, str], datetime] = field(default_factory=dict)
    began: dict[str, datetime] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    open: list[tuple[datetime, int, Attempt]] = field(default_factory=list)
    done: dict[ScoreKey, list[Done]] = field(default_factory=dict)
    done_ids: set[str] = field(default_factory=set)
    last: dict[ShardKey, int] = field(default_factory=dict)
    ended: dict[ShardKey, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    tries: dict[ShardKey, Tries] = field(default_factory=dict)
    finished: set[ShardKey] = field(default_factory=set)
    shards: dict[str, EvaluationShards] = field(default_factory=dict)
    costs: dict[CostKey, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.store = Store(self.folder / "store")
        names = SUITE.suite.benchmarks
        self.truth = Truth(
            {name: self.random.uniform(0.8, 3.0) for name in names},
            {name: self.random.uniform(-0.8, 0.2) for name in names},
        )

    def run(self, n_nights: int) -> Plan:
        """Live through the nights; returns the plan of the morning after."""
        for number in range(1, n_nights + 1):
            self.nights.append(Night(number))
            self._live(FIRST + DAY * (number - 1))
        return self.plan(FIRST + DAY * n_nights)

    # ------------------------------------------------------------------------------------------------- what people do

    def _add_commits(self, now: datetime) -> None:
        """A day's commits, each of a model of its own; one in twenty is a re-upload."""
        for _ in range(self.n_commits):
            self.watched.append(self._make_commit(_draw(self.random, ORGANIZATIONS), now))

    def _make_commit(self, organization: str, now: datetime) -> Commit:
        number, at = len(self.commits), now - timedelta(hours=self.random.uniform(0, 23))
        fingerprint = f"f{number}"
        if self.watched and self.random.random() < 0.05:
            fingerprint = str(self.random.choice(self.watched).fingerprint)
        params_b = _draw(self.random, SIZES)
        if known := next((each for each in self.watched if each.fingerprint == fingerprint), None):
            params_b = known.params_b or params_b
        commit = make_commit(
            f"{organization}/m{number}", fingerprint=fingerprint, params_b=params_b, committed_at=at, discovered_at=now
        )
        self.commits[commit.model_id, commit.revision] = commit
        self.arrived[commit.model_id, commit.revision] = at
        return commit

    def _ask(self, number: int, now: datetime) -> None:
        """Submissions with votes on two of three nights, a backfill on every fifth: replicates, or two benchmarks."""
        for index in range(self.random.randint(2, 6) if number % 3 else 0):
            commit = self._make_commit(f"user{self.random.randint(1, 9)}", now)
            self._add_request(f"s{number}-{index}", "submission", now, [commit])
        if number % 5 == 3:
            scored = [each for each in self.watched if self.arrived[each.model_id, each.revision] < now - DAY]
            chosen = self.random.sample(scored, min(len(scored), self.n_commits // 2))
            self._add_request(f"b{number}", "backfill", now, chosen, replicate=1)
        book = read_book(self.store, BOARD)
        for key, entry in book.items():
            if entry.state in OPEN and self.random.random() < 0.3:
                add_vote(self.store, key, f"voter{self.random.randint(1, 50)}", now)

    def _add_request(self, name: str, kind: str, now: datetime, commits: Sequence[Commit], replicate: int = 0) -> None:
        request = Request.model_validate(
            {
                "request_id": name,
                "board": BOARD,
                "kind": kind,
                "asked_by": "somebody",
                "asked_at": now - DAY * self.random.random(),
            }
        )
        targets = [
            RequestTarget(
                request_id=name, model_id=each.model_id, revision=each.revision, suite=SUITE.suite.suite,
                mode="replicate" if replicate else "missing", replicate=replicate,
            )
            for each in commits
        ]  # fmt: skip
        add_requests(self.store, [request], targets)
        add_events(self.store, [RequestEvent(request_id=name, changed_at=now, state="accepted", changed_by="checks")])

    # --------------------------------------------------------------------------------------------------------- a night

    def _live(self, now: datetime) -> None:
        self._collect(now)
        self._add_commits(now)
        self._ask(self.nights[-1].number, now)
        self.requested = self._read_requested()
        plan = self.plan(now)
        self._record(plan, now)
        self.nights[-1].waiting = self._count_waiting(plan)
        self._launch(plan, now)
        end, may_replan, has_setback = now + NIGHT, now, False
        while self.open and self.open[0][0] <= end:
            at = self.open[0][0]
            has_setback |= any(attempt.state != "completed" for attempt in self._collect(at))
            if has_setback and at >= may_replan:
                self._launch(self.plan(at, started_at=now), at)
                may_replan, has_setback = at + REPLAN, False
        self._record(self.plan(end), end)

    def plan(self, now: datetime, started_at: datetime | None = None) -> Plan:
        """The real plan, of what a real store would tell."""
        inputs = PlanInputs(
            board=BOARD,
            watch=WatchList(watchlist="all", organizations=tuple(ORGANIZATIONS)),
            suites=[SUITE],
            cluster=CLUSTER,
            commits=self.watched,
            history=self._history(now),
            now=now,
            run_started_at=started_at,
            requested=self.requested,
            budget=self.budget,
        )
        plan = make_plan(inputs)
        self._check_budget(plan, inputs.history)
        return plan

    def _read_requested(self) -> list[RequestedCommit]:
        book = read_book(self.store, BOARD)
        self.kinds = {key: REQUEST_CLASSES[entry.request.kind] for key, entry in book.items()}
        self.asked_at = {key: entry.request.asked_at for key, entry in book.items()}
        return [
            RequestedCommit(entry.request, target, self.commits[target.model_id, target.revision])
            for entry in book.values()
            if entry.state in OPEN
            for target in entry.targets
        ]

    def _record(self, plan: Plan, now: datetime) -> None:
        add_events(self.store, find_changes(read_book(self.store, BOARD), plan.targets, "nightly", now))

    def _count_waiting(self, plan: Plan) -> Counter[RequestClass]:
        skips = (skip for skip in plan.skipped if skip.kind == "budget")
        return Counter(self.kinds.get(skip.request_id or "", "watched") for skip in skips)

    def _history(self, now: datetime) -> History:
        running = [attempt for _, _, attempt in self.open]
        week = find_week(find_night(now, "UTC"))
        # Attempts end in about the order in which they were launched, and none takes a week.
        recent = [each for each in self.attempts[-4000:] if each.ends_at >= week]
        return History(
            done=self.done,
            in_flight=frozenset(ScoreKey.of(each.evaluation) for each in running),
            shards_in_flight=frozenset(each.key for each in running),
            last_attempts=self.last,
            tries=self.tries,
            finished=frozenset(self.finished),
            shards=self.shards,
            costs=self.costs,
            spending=[self._spend(each, {id(other) for other in running}) for each in recent],
        )

    def _spend(self, attempt: Attempt, running: set[int]) -> Spending:
        is_open = id(attempt) in running
        seconds = attempt.planned.estimate_s if is_open else (attempt.ends_at - attempt.started_at).total_seconds()
        return Spending(
            attempt.organization,
            attempt.request_class,
            seconds * count_devices(attempt.gpus) / 3600,
            self.began[attempt.evaluation.evaluation_id],
            attempt.launched_at if is_open else attempt.started_at,
            None if is_open else attempt.ends_at,
        )

    # ----------------------------------------------------------------------------------------------------- the cluster

    def _launch(self, plan: Plan, now: datetime) -> None:
        """Start what the plan says: nothing that was started before, runs, or is finished."""
        evaluations = {each.evaluation_id: each for each in plan.evaluations}
        running = {attempt.key for _, _, attempt in self.open}
        for split in plan.shards:
            assert self.shards.setdefault(split.evaluation_id, split) == split
        for evaluation in plan.evaluations:
            self._note_begin(evaluation, plan, now)
        for job in plan.jobs:
            start = now + QUEUED
            for planned in job.attempts:
                evaluation = evaluations[planned.evaluation_id]
                attempt = self._make_attempt(
                    evaluation, planned, job.tier, self._class_of(evaluation, plan), now, start
                )
                assert attempt.key not in running | self.finished, "twice"
                assert planned.evaluation_id not in self.done_ids, "twice"
                assert planned.number == self.last.get(attempt.key, 0) + 1, "twice"
                self.last[attempt.key] = planned.number
                self.attempts.append(attempt)
                heapq.heappush(self.open, (attempt.ends_at, len(self.attempts), attempt))
                running.add(attempt.key)
                start = attempt.ends_at

    def _note_begin(self, evaluation: Evaluation, plan: Plan, now: datetime) -> None:
        if evaluation.evaluation_id in self.began:
            return
        self.began[evaluation.evaluation_id] = now
        name, request = self._class_of(evaluation, plan), plan.requests.get(evaluation.evaluation_id, "")
        asked_at = self.asked_at.get(request, self.arrived[evaluation.model_id, evaluation.revision])
        self.nights[-1].launched[name] += 1
        self.nights[-1].waits[name].append((now - asked_at) / DAY)

    def _class_of(self, evaluation: Evaluation, plan: Plan) -> RequestClass:
        return self.kinds.get(plan.requests.get(evaluation.evaluation_id, ""), "watched")

    def _make_attempt(
        self, evaluation: Evaluation, planned: PlannedAttempt, tier_name: str, name: RequestClass, now: datetime,
        start: datetime,
    ) -> Attempt:  # fmt: skip
        tier = next(tier for tier in TIERS if tier.name == tier_name)
        commit = self.commits[evaluation.model_id, evaluation.revision]
        seconds = self.truth.seconds(planned, commit, tier)
        total_s = start_seconds(2 * (commit.params_b or 1.0)) + sum(seconds.values())
        state = self._draw_state(commit)
        if state != "completed":
            total_s *= self.random.random()
        end = start + timedelta(seconds=total_s)
        return Attempt(evaluation, planned, name, tier.gpus * tier.nodes, now, start, end, state, seconds)

    def _draw_state(self, commit: Commit) -> State:
        if random.Random(f"broken {commit.fingerprint}").random() < BROKEN_MODELS:
            return "failed"
        return _draw(self.random, ENDINGS) if self.random.random() < FAILURES else "completed"

    def _collect(self, now: datetime) -> list[Attempt]:
        """What has ended by now; an evaluation is done when its last shard is."""
        collected = []
        while self.open and self.open[0][0] <= now:
            attempt = heapq.heappop(self.open)[2]
            collected.append(attempt)
            self.ended[attempt.key].append(attempt)
            self.tries[attempt.key] = _sum_up(self.ended[attempt.key])
            if attempt.state == "completed":
                self.finished.add(attempt.key)
                self._finish(attempt.evaluation)
            elif self.nights:
                self.nights[-1].failed += 1
        return collected

    def _finish(self, evaluation: Evaluation) -> None:
        key = evaluation.evaluation_id
        keys = [(key, shard.name) for shard in self.shards[key].shards]
        if not self.finished.issuperset(keys):
            return
        self.done.setdefault(ScoreKey.of(evaluation), []).append(Done(evaluation))
        self.done_ids.add(key)
        self.nights[-1].done += 1
        self.finished.difference_update(keys)
        del self.shards[key]
        last = [self.ended[each][-1] for each in keys]
        for name in SUITE.suite.benchmarks:
            taken_s = sum(attempt.seconds.get(name, 0) for attempt in last)
            documents, gpus = count_documents(SUITE.suite, whole(SUITE.suite), name), last[0].gpus
            cost = Cost(evaluation.params_b or 1.0, documents, taken_s, gpus)
            self.costs[CostKey(evaluation.suite, name, evaluation.backend, has_gpus=True)].append(cost)
        if all(len(self.ended[each]) == 1 for each in keys):
            estimated_s = sum(attempt.planned.estimate_s for attempt in last)
            taken_s = sum((attempt.ends_at - attempt.started_at).total_seconds() for attempt in last)
            self.nights[-1].errors.append(abs(taken_s / estimated_s - 1))

    # ----------------------------------------------------------------------------------------------------- what holds

    def _check_budget(self, plan: Plan, history: History) -> None:
        """Nothing new is launched beyond the night's budget, but for one evaluation as the first of the night."""
        budget = plan.budget
        assert budget is not None and budget.gpu_hours is not None
        begun = {key for key, _ in (*history.shards_in_flight, *history.finished)}
        new = [each for each in plan.evaluations if each.evaluation_id not in begun]
        if not new or budget.spent + budget.planned <= budget.gpu_hours + 1e-6:
            return
        assert len(new) == 1, "above the budget"
        night = find_night(plan.created_at, "UTC")
        assert not any(at >= night for at in self.began.values()), "not the first of the night"

    def sum_used(self, night: Night) -> Counter[RequestClass]:
        """GPU-hours that a night really took, by class: reckoned from the attempts alone."""
        start = find_night(FIRST + DAY * (night.number - 1), "UTC")
        used: Counter[RequestClass] = Counter()
        for attempt in self.attempts:
            if attempt.ends_at > start and attempt.started_at < start + DAY:
                used[attempt.request_class] += attempt.hours_in(start, start + DAY)
        return used

    def sum_week(self, organization: str, number: int) -> float:
        """GPU-hours that an organization really took in the week that ends with a night."""
        end = find_night(FIRST + DAY * number, "UTC")
        ours = (attempt for attempt in self.attempts if attempt.organization == organization)
        return sum(attempt.hours_in(end - 7 * DAY, end) for attempt in ours)

    def list_waits(self, name: RequestClass) -> list[float]:
        """How many days each launched evaluation of a class had waited."""
        return [days for night in self.nights for days in night.waits[name]]

    def list_unserved(self, name: RequestClass) -> Iterator[int]:
        """For each night in which something of a class waited: how many nights in a row nothing of it was launched."""
        row = 0
        for night in self.nights:
            row = row + 1 if night.waiting[name] and not night.launched[name] else 0
            yield row


def _sum_up(attempts: Sequence[Attempt]) -> Tries:
    last = attempts[-1]
    return Tries(
        dict(Counter(each.state for each in attempts)),
        None if last.state == "completed" else f"made up: {last.state}",
        last.state,
        last.ends_at,
        tuple((each.state, each.ends_at) for each in attempts),
    )


def _draw(source: random.Random, weights: Mapping[T, int]) -> T:
    return source.choices(list(weights), list(weights.values()))[0]


def median_error(nights: Iterable[Night]) -> float | None:
    """Of all evaluations of some nights."""
    errors = [error for night in nights for error in night.errors]
    return median(errors) if errors else None
