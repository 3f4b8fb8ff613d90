"""Decides which evaluations a budget lets start, and what the others wait for.

Pure. A night is from noon to noon, a week the last seven nights with this one. What has begun is always continued, and
counts first. Then the classes (watched commits, submissions, backfills) take turns: next is the one that has used least
of its share of this night, so that none starves, and what one does not use goes to the others.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from nightboard.profiles.models.budget import Budget

RequestClass = Literal["watched", "submissions", "backfills"]
CLASSES: tuple[RequestClass, ...] = ("watched", "submissions", "backfills")
# By the kind of a request.
REQUEST_CLASSES: dict[str, RequestClass] = {"submission": "submissions", "backfill": "backfills"}

NIGHTS_OF_WEEK = 7
# The first new evaluation of a night may take more than is left while no more than this part is used: none is too large
# for ever.
FREE_FOR_LARGE = 0.5
NOTHING_ALLOWED = "waits for budget: the board's is 0 GPU-hours, and nothing is launched"
# Sums of hours in another order differ in their last digits.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Spending:
    """An attempt that ended, or is under way (`ended_at` None: with its estimate), and what it costs.

    `began_at`: when its evaluation was first launched.
    """

    organization: str
    request_class: RequestClass
    gpu_hours: float
    began_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Contender:
    """An evaluation that could be launched. `is_begun`: some of its shards are finished or under way."""

    evaluation_id: str
    organization: str
    gpu_hours: float
    is_begun: bool = False


@dataclass(frozen=True)
class Spent:
    """GPU-hours that are used up: of this night by class, of this week by organization and class.

    `night`: its number, from which follows which class begins. `has_begun`: an evaluation was begun this night.
    """

    night: int = 0
    of_night: Mapping[RequestClass, float] = field(default_factory=dict)
    of_week: Mapping[tuple[str, RequestClass], float] = field(default_factory=dict)
    has_begun: bool = False


@dataclass(frozen=True)
class Decision:
    """What waits, by evaluation and with the reason; and the GPU-hours of this night: used before, and launched now."""

    waiting: Mapping[str, str]
    spent: float
    launched: float


def count_devices(gpus: int) -> int:
    """What a job counts for: its GPUs, or one device without any."""
    return max(1, gpus)


def find_night(now: datetime, timezone: str) -> datetime:
    """When the night of `now` began: at noon in the time zone."""
    local = now.astimezone(ZoneInfo(timezone))
    noon = local.replace(hour=12, minute=0, second=0, microsecond=0)
    return noon if noon <= local else noon - timedelta(days=1)


def find_week(night: datetime) -> datetime:
    """When the week of a night began: the last seven nights with this one."""
    return night - timedelta(days=NIGHTS_OF_WEEK - 1)


def sum_spent(spending: Iterable[Spending], now: datetime, timezone: str) -> Spent:
    """What counts of attempts for this night and week: of ended ones the part since its beginning."""
    night = find_night(now, timezone)
    week = find_week(night)
    of_night: defaultdict[RequestClass, float] = defaultdict(float)
    of_week: defaultdict[tuple[str, RequestClass], float] = defaultdict(float)
    has_begun = False
    for each in spending:
        of_night[each.request_class] += each.gpu_hours * _part_since(each, night)
        of_week[each.organization, each.request_class] += each.gpu_hours * _part_since(each, week)
        has_begun |= each.began_at is not None and each.began_at >= night
    return Spent(night.toordinal(), of_night, of_week, has_begun)


def _part_since(spending: Spending, start: datetime) -> float:
    started_at, ended_at = spending.started_at, spending.ended_at
    if ended_at is None or (started_at is not None and started_at >= start):
        return 1.0
    if started_at is None or ended_at <= start:
        return 0.0
    return (ended_at - start) / (ended_at - started_at)


def choose(
    queues: Mapping[RequestClass, Sequence[Contender]], budget: Budget, spent: Spent, *, knows_all: bool = True
) -> Decision:
    """Decide what waits. `queues`: by class the contenders in their order; one may be in several.

    Without `knows_all` there are others that a later plan has: each class keeps to its share of the night.
    """
    contenders = {each.evaluation_id: each for queue in queues.values() for each in queue}
    before = sum(spent.of_night.values())
    if 0 in (budget.gpu_hours_per_night, budget.gpu_hours_per_organization_and_week):
        return Decision(dict.fromkeys(contenders, NOTHING_ALLOWED), before, 0.0)
    night, week = _Night(budget, spent, knows_all=knows_all), _Week(budget, spent, queues)
    launched: set[str] = set()
    held: dict[str, str] = {}

    def launch(contender: Contender, name: RequestClass) -> None:
        launched.add(contender.evaluation_id)
        night.used[name] += contender.gpu_hours
        week.used[contender.organization, name] += contender.gpu_hours

    for name, contender in ((name, each) for name, queue in queues.items() for each in queue if each.is_begun):
        if contender.evaluation_id not in launched:
            launch(contender, name)
    left = {name: deque(queues[name]) for name in CLASSES if queues.get(name)}
    while following := night.find_next(left):
        contender = left[following].popleft()
        if contender.evaluation_id in launched:
            continue
        if reason := week.hold(contender, following):
            held.setdefault(contender.evaluation_id, reason)
        elif night.fits(contender, following):
            launch(contender, following)
            night.has_begun = True
    waiting = {key: held.get(key) or night.tell(queues) for key in contenders if key not in launched}
    return Decision(waiting, before, night.all_used - before)


class _Night:
    """What is used of a night by class. `has_begun`: an evaluation was begun."""

    def __init__(self, budget: Budget, spent: Spent, *, knows_all: bool) -> None:
        self.limit, self.shares, self.knows_all = budget.gpu_hours_per_night, _list_shares(budget), knows_all
        self.number, self.has_begun = spent.night, spent.has_begun
        self.used = defaultdict[RequestClass, float](float, spent.of_night)

    @property
    def all_used(self) -> float:
        return sum(self.used.values())

    def find_next(self, left: Mapping[RequestClass, Collection[Contender]]) -> RequestClass | None:
        """The class that has used least of its share; each with a share begins every third night."""
        waiting = [name for name, contenders in left.items() if contenders]
        if not self.has_begun and (sharing := [name for name in waiting if self.shares[name]]):
            return sharing[self.number % len(sharing)]
        return min(waiting, key=self._use_share, default=None)

    def _use_share(self, name: RequestClass) -> float:
        return self.used[name] / self.shares[name] if self.shares[name] else math.inf

    def fits(self, contender: Contender, name: RequestClass) -> bool:
        if self.limit is None:
            return True
        if not self.knows_all and self.used[name] + contender.gpu_hours > self.shares[name] * self.limit + _ROUNDING:
            return False
        is_first = self.knows_all and not self.has_begun and self.all_used <= self.limit * FREE_FOR_LARGE
        return is_first or self.all_used + contender.gpu_hours <= self.limit + _ROUNDING

    def tell(self, queues: Mapping[RequestClass, Sequence[Contender]]) -> str:
        """Why what does not fit waits."""
        if self.knows_all:
            return f"waits for budget: {self.all_used:,.0f} of {self.limit:g} GPU-hours of this night are planned"
        names = [name for name in CLASSES if queues.get(name)]
        used, share = sum(self.used[name] for name in names), sum(self.shares[name] for name in names)
        return (
            f"waits for budget: {used:,.0f} of {share * (self.limit or 0):g} GPU-hours of this night for"
            f" {' and '.join(names)} are planned; a nightly run launches more when the others leave it"
        )


class _Week:
    """What is used of a week by organization and class."""

    def __init__(self, budget: Budget, spent: Spent, queues: Mapping[RequestClass, Sequence[Contender]]) -> None:
        self.limit, self.shares = budget.gpu_hours_per_organization_and_week, _list_shares(budget)
        self.used = defaultdict[tuple[str, RequestClass], float](float, spent.of_week)
        self.held: dict[tuple[str, RequestClass], str] = {}
        self.classes: dict[str, set[RequestClass]] = defaultdict(set)
        for name, queue in queues.items():
            for each in queue:
                self.classes[each.organization].add(name)

    def hold(self, contender: Contender, name: RequestClass) -> str | None:
        """Why a contender waits for its organization; none of its class then goes before it."""
        if self.limit is None:
            return None
        key = (contender.organization, name)
        if key not in self.held and (reason := self._find_reason(contender, name, self.limit)):
            self.held[key] = reason
        return self.held.get(key)

    def _find_reason(self, contender: Contender, name: RequestClass, limit: float) -> str | None:
        """An organization's classes share its week as they share a night: what one does not use goes to the others."""
        organization, hours = contender.organization, contender.gpu_hours
        used, all_used = self.used[organization, name], sum(self.used[organization, each] for each in CLASSES)
        shares = sum(self.shares[each] for each in self.classes[organization])
        part = limit * (self.shares[name] / shares if shares else 1.0)
        if hours > part > 0 and used <= _ROUNDING:
            return None  # larger than all that its class may use: it starts when nothing of it is used
        if all_used + hours > limit + _ROUNDING:
            return _tell_week(organization, all_used, f"{limit:g} GPU-hours")
        return _tell_week(organization, used, f"{part:.0f} GPU-hours for {name}") if used + hours > part else None


def _tell_week(organization: str, used: float, limit: str) -> str:
    return f"waits for budget: organization {organization} has used {used:,.0f} of {limit} this week"


def _list_shares(budget: Budget) -> dict[RequestClass, float]:
    return {"watched": budget.shares.watched, "submissions": budget.shares.submissions,
            "backfills": budget.shares.backfills}  # fmt: skip
