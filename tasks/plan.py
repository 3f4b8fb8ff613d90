"""Decides what to evaluate. Pure: everything it knows is an argument, and the same arguments give the same plan.

Touches no file, clock or network. What it returns is shown by a dry run and done by the nightly flow, unchanged.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from nightboard.profiles.models import ChatTemplate, Cluster, ModelSettings, Precision, Retries, Tier, WatchList
from nightboard.profiles.resolve import hash_json, settings_for
from nightboard.tasks.history import START_S, History, ScoreKey, Tries
from nightboard.tasks.records import Commit, Evaluation, Job, Plan, ResolvedSuite, Shard, Skip

# Before anything was measured. A 7B model takes about three GPU-hours for the 21,606 documents of leaderboard-v2.
GPU_S_PER_DOCUMENT_AND_B = 0.07
CPU_S_PER_DOCUMENT_AND_B = 10.0
# A measured cost serves for models up to so many times smaller or larger.
SIMILAR_SIZE = 4.0


@dataclass(frozen=True)
class PlanInputs:
    """All that a plan depends on. `commits`: one per watched model and ref, in the order of the watch list."""

    board: str
    watch: WatchList
    suites: Sequence[ResolvedSuite]
    cluster: Cluster
    commits: Sequence[Commit]
    history: History
    now: datetime


@dataclass(frozen=True)
class _Candidate:
    """A commit in a suite: what would run, or why not."""

    evaluation: Evaluation
    tier: Tier
    estimate_s: float = 0.0


def make_plan(inputs: PlanInputs) -> Plan:
    """Sort every watched commit and suite into evaluations to run and skips with their reasons."""
    chosen: dict[str, _Candidate] = {}
    skipped: list[Skip] = []
    settings: dict[str, ModelSettings] = {}
    documents = {suite.version: count_documents(suite) for suite in inputs.suites}
    # Of equal fingerprints the oldest commit is the one that runs: a re-upload is younger than what it copies.
    oldest_first = sorted(
        inputs.commits, key=lambda commit: (commit.committed_at is None, commit.committed_at or inputs.now)
    )
    for commit in oldest_first:
        model_settings = settings.setdefault(commit.model_id, settings_for(inputs.watch, commit.model_id))
        for suite in _suites_of(inputs.suites, model_settings):
            found = _judge(commit, suite, model_settings, inputs, chosen)
            if isinstance(found, Skip):
                skipped.append(found)
            else:
                estimate_s = estimate_seconds(found.evaluation, documents[suite.version], found.tier, inputs.history)
                chosen[found.evaluation.evaluation_id] = replace(found, estimate_s=estimate_s)
    jobs = pack_jobs(chosen.values(), inputs)
    return Plan(
        board=inputs.board,
        created_at=inputs.now,
        evaluations=tuple(candidate.evaluation for candidate in chosen.values()),
        jobs=jobs,
        skipped=tuple(skipped),
        gpu_hours=sum(job.estimate_s * job.gpus for job in jobs) / 3600,
        estimate_s=sum(job.estimate_s for job in jobs),
    )


def _suites_of(suites: Sequence[ResolvedSuite], settings: ModelSettings) -> list[ResolvedSuite]:
    return [suite for suite in suites if settings.suites is None or suite.suite.suite in settings.suites]


def _judge(
    commit: Commit,
    suite: ResolvedSuite,
    settings: ModelSettings,
    inputs: PlanInputs,
    chosen: Mapping[str, _Candidate],
) -> _Candidate | Skip:
    def skip(kind: str, reason: str) -> Skip:
        return Skip.model_validate(
            {
                "model_id": commit.model_id,
                "revision": commit.revision,
                "suite": suite.suite.suite,
                "kind": kind,
                "reason": reason,
            }
        )

    tier = choose_tier(inputs.cluster, commit.params_b)
    refusal = refuse(commit, settings, inputs.watch, tier)
    if refusal or tier is None:
        return skip("rejected", refusal or "no tier")
    evaluation = make_evaluation(commit, suite, settings, tier)
    history = inputs.history
    key = ScoreKey.of(evaluation)
    if scored := history.scored.get(key):
        same_commit = (scored.model_id, scored.revision) == (commit.model_id, commit.revision)
        source = "" if same_commit else f" by {scored.model_id}@{scored.revision[:7]} (same fingerprint)"
        return skip("done", f"scored already{source}")
    if evaluation.evaluation_id in chosen:
        first = chosen[evaluation.evaluation_id].evaluation
        return skip("same_fingerprint", f"same fingerprint as {first.model_id}@{first.revision[:7]}, evaluated once")
    if key in history.in_flight:
        return skip("in_flight", "already running or submitted")
    if reason := gave_up(history.tries.get(evaluation.evaluation_id), inputs.cluster.retries):
        return skip("gave_up", reason)
    return _Candidate(evaluation, tier)


def refuse(commit: Commit, settings: ModelSettings, watch: WatchList, tier: Tier | None) -> str | None:
    """Why a commit may not be evaluated on this board, in words; None when it may."""
    if commit.state == "rejected":
        return commit.reason or "rejected"
    size = commit.params_b
    if watch.max_params_b is not None and size is not None and size > watch.max_params_b:
        return f"too large: {size:.3g}B parameters, the watch list takes up to {watch.max_params_b:g}B"
    if tier is None:
        return f"too large: {size:.3g}B parameters fit no tier of the cluster"
    if commit.needs_remote_code and not settings.trust_remote_code:
        return "remote code refused: the model loads code from its repository (trust_remote_code is off)"
    if settings.chat_template is ChatTemplate.always and not commit.has_chat_template:
        return "no chat template: the watch list asks for one, the tokenizer has none"
    return None


def choose_tier(cluster: Cluster, params_b: float | None) -> Tier | None:
    """The first tier that a model fits; the largest for a model of unknown size."""
    if params_b is None:
        return cluster.tiers[-1]
    return next((tier for tier in cluster.tiers if params_b <= tier.up_to_params_b), None)


def make_evaluation(commit: Commit, suite: ResolvedSuite, settings: ModelSettings, tier: Tier) -> Evaluation:
    """Resolve the settings of a commit that can be evaluated. The id is a hash of exactly what can change the score."""
    chat = settings.chat_template is not ChatTemplate.never and commit.has_chat_template
    identity = {
        "fingerprint": commit.fingerprint,
        "precision": _resolve_precision(settings, commit),
        "chat_template": chat,
        "fewshot_as_multiturn": chat and bool(settings.fewshot_as_multiturn),
        "suite": suite.suite.suite,
        "suite_version": suite.version,
        "backend": tier.backend,
        "replicate": 0,
    }
    return Evaluation.model_validate(
        identity
        | {
            "evaluation_id": hash_json(identity)[:32],
            "model_id": commit.model_id,
            "revision": commit.revision,
            "trust_remote_code": bool(settings.trust_remote_code) and commit.needs_remote_code,
            "harness_version": suite.suite.harness.version,
            "params_b": commit.params_b,
        }
    )


def _resolve_precision(settings: ModelSettings, commit: Commit) -> str:
    """`auto` is the stored format; formats that are no plain dtype (quantised weights) are loaded as they are."""
    asked = settings.precision or Precision.auto
    if asked is not Precision.auto:
        return asked.value
    return commit.stored_precision if commit.stored_precision in set(Precision) else "auto"


def gave_up(tries: Tries | None, retries: Retries) -> str | None:
    """Why an evaluation is not tried again; None when it may be."""
    if tries is None:
        return None
    counts = {
        "failed": tries.states.get("failed", 0) + tries.states.get("invalid", 0),
        "interrupted": tries.states.get("interrupted", 0),
        "fetch": tries.states.get("fetch_failed", 0),
    }
    for cause, count in counts.items():
        if count >= getattr(retries, cause):
            return f"gave up after {count} {cause} attempt{'s' if count > 1 else ''}: {tries.last_reason}"
    return None


def count_documents(suite: ResolvedSuite) -> int:
    """Documents that a complete evaluation in the suite scores."""
    benchmarks = suite.suite.benchmarks.values()
    return sum(suite.suite.expected_samples(task) for each in benchmarks for task in each.tasks.values())


def estimate_seconds(evaluation: Evaluation, documents: int, tier: Tier, history: History) -> float:
    """Computing time: documents times size times what models of similar size have taken, or a first guess."""
    size = tier.up_to_params_b if evaluation.params_b is None else evaluation.params_b
    measured = [
        cost.rate
        for cost in history.costs.get(evaluation.suite, ())
        if size / SIMILAR_SIZE <= cost.params_b <= size * SIMILAR_SIZE
    ]
    guess = GPU_S_PER_DOCUMENT_AND_B if tier.gpus else CPU_S_PER_DOCUMENT_AND_B
    return START_S + documents * size * (median(measured) if measured else guess) / max(1, tier.gpus)


def pack_jobs(candidates: Iterable[_Candidate], inputs: PlanInputs) -> tuple[Job, ...]:
    """Turn evaluations into jobs, longest first; short ones of a tier share jobs, one after the other."""
    benchmarks = {suite.version: tuple(suite.suite.benchmarks) for suite in inputs.suites}
    jobs: list[Job] = []
    by_tier: dict[str, list[_Candidate]] = {}
    for candidate in candidates:
        by_tier.setdefault(candidate.tier.name, []).append(candidate)
    for tier in inputs.cluster.tiers:
        members = sorted(by_tier.get(tier.name, ()), key=lambda c: (-c.estimate_s, c.evaluation.evaluation_id))
        limit_s = tier.share_job_below_min * 60
        short = [candidate for candidate in members if candidate.estimate_s < limit_s]
        groups = [[candidate] for candidate in members if candidate.estimate_s >= limit_s]
        groups += _share(short, tier, inputs.cluster.max_jobs)
        jobs += [_make_job(tier, group, benchmarks, inputs.history) for group in groups if group]
    return tuple(sorted(jobs, key=lambda job: (-job.estimate_s, job.shards[0].evaluation_id)))


def _share(short: Sequence[_Candidate], tier: Tier, max_jobs: int) -> list[list[_Candidate]]:
    """Deal evaluations, longest first, to the job that has least so far; no job beyond half the tier's time."""
    total_s = sum(candidate.estimate_s for candidate in short)
    count = min(len(short), max(max_jobs, math.ceil(total_s / (tier.time_min * 30))))
    groups: list[list[_Candidate]] = [[] for _ in range(count)]
    loads = [(0.0, index) for index in range(count)]
    for candidate in short:
        load, least = loads[0]
        groups[least].append(candidate)
        heapq.heapreplace(loads, (load + candidate.estimate_s, least))
    return groups


def _make_job(
    tier: Tier, group: Sequence[_Candidate], benchmarks: Mapping[str, tuple[str, ...]], history: History
) -> Job:
    shards = tuple(
        Shard(
            evaluation_id=candidate.evaluation.evaluation_id,
            attempt=1 + history.last_attempts.get(candidate.evaluation.evaluation_id, 0),
            benchmarks=benchmarks[candidate.evaluation.suite_version],
            estimate_s=candidate.estimate_s,
        )
        for candidate in group
    )
    return Job(tier=tier.name, shards=shards, gpus=tier.gpus * tier.nodes, time_min=tier.time_min)
