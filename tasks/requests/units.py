"""The units of selection: a benchmark of a suite for a commit of a model, with all that selections ask about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from nightboard.profiles.model_settings import is_watched, settings_for
from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.watchlist import ModelSettings, WatchList
from nightboard.tasks.planning.history import ScoreKey, read_commits, read_evaluations, read_history
from nightboard.tasks.planning.measured import Wanted
from nightboard.tasks.planning.plan import choose_tier, find_settings, make_evaluation, weigh
from nightboard.tasks.requests.states import Facts, Measured, Progress, find_progress
from nightboard.tasks.requests.values import State
from nightboard.tasks.runs.retry_stopped import find_stopped
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit, Evaluation, Request, RequestTarget, ResolvedSuite
from nightboard.tasks.store.tables import read_table
from nightboard.warehouse.builder.publish import NoBuildError, UnreadableBuildError
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import list_model_ranks, list_unit_scores
from nightboard.warehouse.schema.lake_tables import TASK_SCORES

Target = tuple[Request, RequestTarget]
"""A target of a request, with its request."""


@dataclass(frozen=True)
class Unit:
    """A benchmark of a suite for a commit, in the settings of the watch list or of a submission.

    `nth_newest`: 1 for the newest commit of its model and ref that can be evaluated. `reason`: the ending of the last
    attempt, or left_out; None: done, or never tried. Era and versions are those of the score, if there is one. `scores`
    has all benchmarks of the commit in this suite; `rank` is its model's, in the era of the score or the current one.
    """

    model_id: str
    organization: str
    revision: str
    ref: str
    committed_at: datetime | None
    discovered_at: datetime
    nth_newest: int
    params_b: float | None
    suite: str
    benchmark: str
    precision: str
    chat_template: bool
    state: State
    reason: str | None = None
    era: str | None = None
    task_versions: tuple[str, ...] = ()
    harness_version: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    average: float | None = None
    rank: int | None = None
    request_ids: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """The normalized score of the unit's own benchmark."""
        return self.scores.get(self.benchmark)

    @property
    def changed_at(self) -> datetime:
        return self.committed_at or self.discovered_at


@dataclass(frozen=True)
class _Published:
    """What the current build says: scores by evaluation and benchmark, averages and eras by evaluation, ranks."""

    scores: Mapping[tuple[str, str], float] = field(default_factory=dict)
    averages: Mapping[str, float] = field(default_factory=dict)
    eras: Mapping[str, str] = field(default_factory=dict)
    ranks: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    current_eras: Mapping[str, str] = field(default_factory=dict)


def read_units(
    store: Store,
    suites: Sequence[ResolvedSuite],
    cluster: Cluster,
    watch: WatchList,
    targets: Iterable[Target] = (),
) -> list[Unit]:
    """All units of a board: commits that can be evaluated, of watched models and of those in `targets`.

    `suites`: as now declared. `targets`: those of accepted requests. Sorted by model, then newest commits first.
    """
    asked = _group_targets(targets)
    stored = read_commits(store)
    commits = [
        commit
        for commit in stored.values()
        if commit.state == "ok" and (commit.model_id in asked or is_watched(watch, commit.model_id))
    ]
    history, evaluations = read_history(store, suites), read_evaluations(store)
    stopped = find_stopped(history, evaluations.values(), stored.values(), cluster)
    facts = Facts.of(history, evaluations.values(), _read_measured(store, evaluations), stopped)
    published, wanted = _read_published(store), {suite.version: Wanted(suite) for suite in suites}
    units: list[Unit] = []
    for commit, nth in _number(commits):
        for suite in suites:
            found: dict[ScoreKey, tuple[Evaluation, list[RequestTarget]]] = {}
            for settings, target in _list_settings(commit, suite.suite.suite, watch, asked.get(commit.model_id, ())):
                evaluation = _settle(commit, suite, settings, cluster)
                _, requests = found.setdefault(ScoreKey.of(evaluation), (evaluation, []))
                requests += [target] if target else []
            for score, (evaluation, requests) in found.items():
                progress = find_progress(score, suite, wanted[suite.version], facts)
                units += _make_units(commit, nth, evaluation, progress, facts, published, requests)
    return units


def _group_targets(targets: Iterable[Target]) -> dict[str, list[Target]]:
    """Targets by model."""
    grouped: dict[str, list[Target]] = defaultdict(list)
    for request, target in targets:
        grouped[target.model_id].append((request, target))
    return grouped


def _list_settings(
    commit: Commit, suite: str, watch: WatchList, asked: Sequence[Target]
) -> Iterator[tuple[ModelSettings, RequestTarget | None]]:
    """In which settings a commit is evaluated in a suite: of the watch list, and of requests for it.

    A commit that nobody asks for, of a model that is not watched, has the settings of its model's other commits.
    """
    settings, is_followed = settings_for(watch, commit.model_id), is_watched(watch, commit.model_id)
    if is_followed and (settings.suites is None or suite in settings.suites):
        yield settings, None
    is_asked_for = any(target.revision == commit.revision for _, target in asked)
    for request, target in asked:
        if target.suite == suite and target.revision == commit.revision:
            yield find_settings(request, target, settings), target
        elif target.suite == suite and not is_followed and not is_asked_for:
            yield find_settings(request, target, settings), None


def _number(commits: Iterable[Commit]) -> Iterator[tuple[Commit, int]]:
    """The commits with their places among those of the same model and ref, the newest first."""
    by_head: dict[tuple[str, str], list[Commit]] = defaultdict(list)
    for commit in commits:
        by_head[commit.model_id, commit.ref].append(commit)
    for _, of_head in sorted(by_head.items()):
        newest_first = sorted(of_head, key=lambda c: (c.committed_at or c.discovered_at, c.discovered_at), reverse=True)
        yield from ((commit, nth) for nth, commit in enumerate(newest_first, start=1))


def _settle(commit: Commit, suite: ResolvedSuite, settings: ModelSettings, cluster: Cluster) -> Evaluation:
    """The evaluation in some settings; in the largest tier, if the model fits none."""
    largest = cluster.tiers[-1]
    precision = make_evaluation(commit, suite, settings, largest).precision
    tier = choose_tier(cluster, weigh(commit, precision)) or largest
    return make_evaluation(commit, suite, settings, tier)


def _make_units(
    commit: Commit,
    nth: int,
    evaluation: Evaluation,
    progress: Mapping[str, Progress],
    facts: Facts,
    published: _Published,
    targets: Collection[RequestTarget],
) -> Iterator[Unit]:
    """The units of one commit in one suite."""
    sources = {name: each.source.evaluation_id for name, each in progress.items() if each.source}
    pairs = {name: (key, name) for name, key in sources.items()}
    scores = {name: published.scores[pair] for name, pair in pairs.items() if pair in published.scores}
    averages = [published.averages[key] for key in sources.values() if key in published.averages]
    for name, each in progress.items():
        key = sources.get(name, "")
        measured = facts.measured.get((key, name), Measured())
        era = published.eras.get(key)
        era_of_rank = era or published.current_eras.get(evaluation.suite, "")
        yield Unit(
            model_id=commit.model_id,
            organization=commit.organization,
            revision=commit.revision,
            ref=commit.ref,
            committed_at=commit.committed_at,
            discovered_at=commit.discovered_at,
            nth_newest=nth,
            params_b=commit.params_b,
            suite=evaluation.suite,
            benchmark=name,
            precision=evaluation.precision,
            chat_template=evaluation.chat_template,
            state=each.state,
            reason=each.reason,
            era=era,
            task_versions=tuple(sorted(measured.task_versions)),
            harness_version=next(iter(sorted(measured.harness_versions)), None),
            scores=scores,
            average=published.averages.get(key, averages[0] if averages else None),
            rank=published.ranks.get((evaluation.suite, era_of_rank, commit.model_id)),
            request_ids=tuple(t.request_id for t in targets if not t.benchmarks or name in t.benchmarks),
        )


def _read_measured(store: Store, evaluations: Mapping[str, Evaluation]) -> dict[tuple[str, str], Measured]:
    """What measured each benchmark of each evaluation; rows of old stores have the declared version of lm-eval."""
    columns = ["evaluation_id", "benchmark", "task_version", "harness_version", "dataset_sha"]
    rows: dict[tuple[str, str], list[dict[str, str | None]]] = defaultdict(list)
    for row in read_table(store, TASK_SCORES, columns).group_by(columns).aggregate([]).to_pylist():
        if evaluation := evaluations.get(row["evaluation_id"]):
            known = row | {"harness_version": row["harness_version"] or evaluation.harness_version}
            rows[row["evaluation_id"], row["benchmark"]].append(known)
    return {
        key: Measured(*(frozenset(filter(None, (row[column] for row in found))) for column in columns[2:]))
        for key, found in rows.items()
    }


def _read_published(store: Store) -> _Published:
    """What the current build says; nothing if there is none yet. Raises WarehouseError for one that cannot be read."""
    try:
        con = connect(store.warehouse)
    except UnreadableBuildError:
        raise
    except NoBuildError:
        return _Published()
    with con:
        scores, ranks = list_unit_scores(con).rows, list_model_ranks(con).rows
    return _Published(
        scores={(key, benchmark): normalized for key, benchmark, normalized, _, _ in scores},
        averages={key: average for key, _, _, average, _ in scores if average is not None},
        eras={key: era for key, _, _, _, era in scores if era is not None},
        ranks={(suite, era, model): rank for suite, era, _, model, rank in ranks},
        current_eras={suite: era for suite, era, is_current, _, _ in ranks if is_current},
    )
