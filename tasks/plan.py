"""Decides what to evaluate. Pure: everything it knows is an argument, and the same arguments give the same plan.

Touches no file, clock or network. What it returns is shown by a dry run and done by the nightly flow, unchanged.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nightboard.profiles.models import (
    ChatTemplate,
    Cluster,
    Ending,
    ModelSettings,
    Precision,
    Tier,
    WatchList,
)
from nightboard.profiles.resolve import hash_json, settings_for
from nightboard.tasks.estimate import Estimator
from nightboard.tasks.history import START_S, History, ScoreKey, ShardKey, Tries
from nightboard.tasks.records import Commit, Evaluation, Job, Part, Parts, Plan, ResolvedSuite, Shard, Skip
from nightboard.tasks.split import split

# Bytes a parameter takes in each format; two where nothing is known.
BYTES_PER_PARAM = {Precision.float32: 4.0, Precision.float16: 2.0, Precision.bfloat16: 2.0}
DEFAULT_BYTES_PER_PARAM = 2.0
# A cluster schedules jobs of a few lengths better than jobs of any length, and an array has one time limit.
SHORTEST_LIMIT_MIN = 15
# What a job needs beside evaluating: loading Python, the libraries and the weights from a busy file system.
STARTING_MIN = 5.0
# The batch to go on with where one that adapts itself ran out of memory.
BATCH_AFTER_AUTO = 8


@dataclass(frozen=True)
class PlanInputs:
    """All that a plan depends on. `commits`: one per watched model and ref, in the order of the watch list.

    `night_started_at` is given when a night plans again: what ended since then in a way that is tried again only in the
    next night is left out.
    """

    board: str
    watch: WatchList
    suites: Sequence[ResolvedSuite]
    cluster: Cluster
    commits: Sequence[Commit]
    history: History
    now: datetime
    night_started_at: datetime | None = None


@dataclass(frozen=True)
class _Piece:
    """A shard that is to run, and on what."""

    shard: Shard
    tier: Tier
    timeouts: int


@dataclass(frozen=True)
class _Candidate:
    """An evaluation that is to run."""

    evaluation: Evaluation
    parts: Parts
    pieces: tuple[_Piece, ...]


def make_plan(inputs: PlanInputs) -> Plan:
    """Sort every watched commit and suite into evaluations to run and skips with their reasons."""
    chosen: dict[str, _Candidate] = {}
    skipped: list[Skip] = []
    settings: dict[str, ModelSettings] = {}
    estimator = Estimator(inputs.history.costs, inputs.history.benchmark_costs)
    # Of equal fingerprints the oldest commit is the one that runs: a re-upload is younger than what it copies.
    oldest_first = sorted(
        inputs.commits, key=lambda commit: (commit.committed_at is None, commit.committed_at or inputs.now)
    )
    for commit in oldest_first:
        model_settings = settings.setdefault(commit.model_id, settings_for(inputs.watch, commit.model_id))
        for suite in _suites_of(inputs.suites, model_settings):
            found = _judge(commit, suite, model_settings, inputs, chosen, estimator)
            if isinstance(found, Skip):
                skipped.append(found)
            else:
                chosen[found.evaluation.evaluation_id] = found
    jobs = pack_jobs((piece for candidate in chosen.values() for piece in candidate.pieces), inputs.cluster)
    return Plan(
        board=inputs.board,
        created_at=inputs.now,
        evaluations=tuple(candidate.evaluation for candidate in chosen.values()),
        parts=tuple(candidate.parts for candidate in chosen.values()),
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
    estimator: Estimator,
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

    tier = choose_tier(inputs.cluster, commit, settings)
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
    is_split = evaluation.evaluation_id in history.parts
    if key in history.in_flight and not is_split:
        return skip("in_flight", "already running or submitted")
    parts = _parts_of(evaluation, suite, tier, history, estimator)
    pieces = []
    for part in parts:
        piece = _find_piece(evaluation, suite, part, tier, inputs, estimator)
        if isinstance(piece, tuple):
            return skip(*piece)
        pieces += [piece] if piece else []
    if not pieces:
        return skip("in_flight", "already running or submitted")
    return _Candidate(evaluation, Parts(evaluation_id=evaluation.evaluation_id, parts=parts), tuple(pieces))


def _parts_of(
    evaluation: Evaluation, suite: ResolvedSuite, tier: Tier, history: History, estimator: Estimator
) -> tuple[Part, ...]:
    """How the evaluation is split: as it was before, else by what it will take."""
    if fixed := history.parts.get(evaluation.evaluation_id):
        return fixed
    limit_s = None if tier.shard_above_min is None else tier.shard_above_min * 60
    return split(suite.suite, estimator.benchmarks(suite, evaluation.params_b, tier), START_S, limit_s)


def _find_piece(
    evaluation: Evaluation,
    suite: ResolvedSuite,
    part: Part,
    tier: Tier,
    inputs: PlanInputs,
    estimator: Estimator,
) -> _Piece | tuple[str, str] | None:
    """The shard to run; None when it is done or under way; kind and reason of a skip when it is not to run."""
    key: ShardKey = (evaluation.evaluation_id, part.name)
    history = inputs.history
    if key in history.finished:
        return None
    tries = history.tries.get(key)
    if reason := gave_up(tries, inputs.cluster, part):
        return "gave_up", reason
    if reason := _waits_for_next_night(tries, inputs):
        return "later", reason
    if key in history.shards_in_flight:
        return None
    states = tries.states if tries else {}
    resources = shrink(inputs.cluster, tier, states.get("out_of_memory", 0))
    if resources is None:
        return "gave_up", f"gave up: out of memory in the largest tier too{_tell_shard(part)}: {_last_reason(tries)}"
    tier, batch_size = resources
    shard = Shard(
        evaluation_id=evaluation.evaluation_id,
        part=part,
        attempt=1 + history.last_attempts.get(key, 0),
        batch_size=batch_size,
        estimate_s=estimator.part(suite, part, evaluation.params_b, tier),
    )
    return _Piece(shard, tier, states.get("timeout", 0))


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


def choose_tier(cluster: Cluster, commit: Commit, settings: ModelSettings) -> Tier | None:
    """The first tier that the weights fit; the largest for a model of unknown size."""
    if commit.params_b is None:
        return cluster.tiers[-1]
    weights_gb = commit.params_b * _bytes_per_param(commit, settings)
    return next((tier for tier in cluster.tiers if weights_gb <= tier.up_to_params_b * tier.bytes_per_param), None)


def _bytes_per_param(commit: Commit, settings: ModelSettings) -> float:
    """In the format that they are loaded in; of a format that is not known, as they are stored."""
    precision = _resolve_precision(settings, commit)
    if precision != "auto":
        return BYTES_PER_PARAM[Precision(precision)]
    if commit.size_gb and commit.params_b:
        return commit.size_gb / commit.params_b
    return DEFAULT_BYTES_PER_PARAM


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


def gave_up(tries: Tries | None, cluster: Cluster, part: Part) -> str | None:
    """Why a shard is not tried again, and so its evaluation is not; None when it may be."""
    for state, count in (tries.states if tries else {}).items():
        if state == "completed":
            continue
        ending: Ending = state  # type: ignore[assignment]
        if count < cluster.retry(ending).attempts:
            continue
        if ending == "cancelled":
            return f"{_last_reason(tries)}; raise retries.cancelled.attempts in the cluster profile to run it again"
        cause = ending.replace("_", " ")
        attempts = f"attempt{'s' if count > 1 else ''}"
        return f"gave up after {count} {cause} {attempts}{_tell_shard(part)}: {_last_reason(tries)}"
    return None


def _tell_shard(part: Part) -> str:
    return "" if part.name == "all" else f" at {part.name}"


def _last_reason(tries: Tries | None) -> str:
    return (tries and tries.last_reason) or "no reason is known"


def _waits_for_next_night(tries: Tries | None, inputs: PlanInputs) -> str | None:
    """Why a shard that may be tried again is not tried again tonight."""
    started = inputs.night_started_at
    if started is None or tries is None or tries.last_state in (None, "completed"):
        return None
    ending: Ending = tries.last_state  # type: ignore[assignment]
    if tries.last_ended_at is None or tries.last_ended_at < started or inputs.cluster.retry(ending).tonight:
        return None
    return f"{ending.replace('_', ' ')} tonight, tried again in the next run: {_last_reason(tries)}"


def shrink(cluster: Cluster, tier: Tier, times: int) -> tuple[Tier, int | Literal["auto"]] | None:
    """Tier and batch after so many out-of-memory endings: half the batch, then the next tier, and so on.

    None when there is no larger tier of the same back end.
    """
    batch: int | Literal["auto"] = tier.batch_size
    is_halved = False
    for _ in range(times):
        if not is_halved and batch != 1:
            batch, is_halved = BATCH_AFTER_AUTO if batch == "auto" else batch // 2, True
            continue
        larger = cluster.tiers[cluster.tiers.index(tier) + 1 :]
        following = next((each for each in larger if each.backend == tier.backend), None)
        if following is None:
            return None
        tier, batch, is_halved = following, following.batch_size, False
    return tier, batch


# -------------------------------------------------------------------------------------------------------------- jobs


def pack_jobs(pieces: Iterable[_Piece], cluster: Cluster) -> tuple[Job, ...]:
    """Turn shards into jobs, longest first; short ones of a tier share jobs, one after the other."""
    jobs: list[Job] = []
    by_tier: dict[str, list[_Piece]] = {}
    for piece in pieces:
        by_tier.setdefault(piece.tier.name, []).append(piece)
    for tier in cluster.tiers:
        members = sorted(by_tier.get(tier.name, ()), key=lambda p: (-p.shard.estimate_s, *_name(p)))
        limit_s = tier.share_job_below_min * 60
        short = [piece for piece in members if piece.shard.estimate_s < limit_s]
        groups = [[piece] for piece in members if piece.shard.estimate_s >= limit_s]
        groups += _share(short, tier, cluster.max_jobs)
        jobs += [_make_job(tier, group, cluster) for group in groups if group]
    return tuple(sorted(jobs, key=lambda job: (-job.estimate_s, job.shards[0].evaluation_id, job.shards[0].shard)))


def _name(piece: _Piece) -> ShardKey:
    return piece.shard.evaluation_id, piece.shard.shard


def _share(short: Sequence[_Piece], tier: Tier, max_jobs: int) -> list[list[_Piece]]:
    """Deal shards, longest first, to the job that has least so far; no job beyond half the tier's time."""
    total_s = sum(piece.shard.estimate_s for piece in short)
    count = min(len(short), max(max_jobs, math.ceil(total_s / (tier.time_min * 30))))
    groups: list[list[_Piece]] = [[] for _ in range(count)]
    loads = [(0.0, index) for index in range(count)]
    for piece in short:
        load, least = loads[0]
        groups[least].append(piece)
        heapq.heapreplace(loads, (load + piece.shard.estimate_s, least))
    return groups


def _make_job(tier: Tier, group: Sequence[_Piece], cluster: Cluster) -> Job:
    shards = tuple(piece.shard for piece in group)
    estimate_s = sum(shard.estimate_s for shard in shards)
    timeouts = max(piece.timeouts for piece in group)
    return Job(
        tier=tier.name,
        shards=shards,
        gpus=tier.gpus * tier.nodes,
        time_min=limit_minutes(estimate_s, timeouts, tier, cluster),
    )


def limit_minutes(estimate_s: float, timeouts: int, tier: Tier, cluster: Cluster) -> int:
    """A job's time limit: its estimate with head-room, in one of a few classes, up to the tier's.

    Doubled for each time that it was too short. Only SLURM plans by it; elsewhere a job may take the tier's time.
    """
    if cluster.executor != "slurm":
        return tier.time_min
    needed = (STARTING_MIN + estimate_s / 60 * cluster.time_headroom) * 2**timeouts
    doublings = max(0, math.ceil(math.log2(needed / SHORTEST_LIMIT_MIN)))
    return min(SHORTEST_LIMIT_MIN * 2**doublings, tier.time_min)


def group_arrays(jobs: Iterable[Job], max_array_size: int | None) -> list[tuple[Job, ...]]:
    """Jobs as arrays: one a tier and time limit, in chunks of what fits into one; longest first inside and across."""
    arrays: dict[tuple[str, int], list[Job]] = {}
    for job in jobs:
        arrays.setdefault((job.tier, job.time_min), []).append(job)
    chunks = []
    for members in arrays.values():
        size = max_array_size or len(members)
        longest_first = sorted(members, key=lambda job: -job.estimate_s)
        chunks += [tuple(longest_first[start : start + size]) for start in range(0, len(longest_first), size)]
    return sorted(chunks, key=lambda chunk: -chunk[0].estimate_s)
