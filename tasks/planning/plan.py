"""Decides what is evaluated, in which shards and tiers, and what is skipped with the reason.

The watch list asks for evaluations, and so do requests; both are judged alike. The budget decides what of it waits
(budget.py).

Pure: no file, clock or network; the same arguments give the same plan. A dry run shows the same plan that the nightly
flow executes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from nightboard.profiles.model_settings import settings_for
from nightboard.profiles.models.base import ChatTemplate, Precision
from nightboard.profiles.models.budget import NO_BUDGET, Budget
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import ModelSettings, WatchList
from nightboard.profiles.suite_version import hash_json, keep_benchmarks
from nightboard.tasks.evaluation.sharding import split, whole
from nightboard.tasks.planning.budget import (
    REQUEST_CLASSES,
    Contender,
    Decision,
    RequestClass,
    choose,
    count_devices,
    sum_spent,
)
from nightboard.tasks.planning.estimate import BYTES_PER_PARAM, Estimator, Size, start_seconds
from nightboard.tasks.planning.history import History, ScoreKey
from nightboard.tasks.planning.measured import NOT_ASKED, NOTHING_ASKED, Asked, Wanted
from nightboard.tasks.planning.packing import Placement, pack_jobs
from nightboard.tasks.planning.result import NightBudget, Plan, Skip, TargetState, TargetStateName
from nightboard.tasks.planning.retry_policy import (
    AttemptResources,
    choose_resources,
    explain_end,
    explain_size,
    explain_wait,
)
from nightboard.tasks.store.records import (
    Commit,
    Evaluation,
    EvaluationShards,
    PlannedAttempt,
    Request,
    RequestTarget,
    ResolvedSuite,
    Shard,
    Taken,
)


@dataclass(frozen=True)
class RequestedCommit:
    """A target of a request, with its commit."""

    request: Request
    target: RequestTarget
    commit: Commit


@dataclass(frozen=True)
class PlanInputs:
    """The inputs of a plan. `commits`: one per watched model and ref, in the order of the watch list.

    `requested`: targets of open requests, the most urgent first.
    `run_started_at` is given when a run plans again: shards that are to be retried only in the next run are skipped.
    `is_partial`: the watch list and other requests are planned by another run, which keeps its shares of the budget.
    """

    board: str
    watch: WatchList
    suites: Sequence[ResolvedSuite]
    cluster: Cluster
    commits: Sequence[Commit]
    history: History
    now: datetime
    run_started_at: datetime | None = None
    requested: Sequence[RequestedCommit] = ()
    budget: Budget = NO_BUDGET
    timezone: str = "UTC"
    is_partial: bool = False


@dataclass(frozen=True)
class _Wish:
    """A commit that is to be evaluated in a suite: for the watch list, or for a request."""

    commit: Commit
    suite: ResolvedSuite
    settings: ModelSettings
    asked: Asked = NOTHING_ASKED
    target: RequestTarget | None = None
    request_class: RequestClass = "watched"


@dataclass(frozen=True)
class _Candidate:
    """An evaluation to run: how it is split, and its shards that are neither done nor running."""

    evaluation: Evaluation
    shards: EvaluationShards
    placements: tuple[Placement, ...]

    @property
    def gpu_hours(self) -> float:
        """What it takes of a budget."""
        seconds = ((each.planned.estimate_s, each.tier.gpus * each.tier.nodes) for each in self.placements)
        return sum(estimate_s * count_devices(gpus) for estimate_s, gpus in seconds) / 3600


@dataclass(frozen=True)
class _Twin:
    """An evaluation of this plan that serves for another commit or request as well."""

    first: _Candidate
    reason: str


@dataclass(frozen=True)
class _Knowledge:
    """What all judgements share. `wanted`: what each suite asks for, by its version.

    `context_lengths`: by fingerprint, as commits of it were examined at different times.
    """

    inputs: PlanInputs
    estimator: Estimator
    wanted: Mapping[str, Wanted]
    context_lengths: Mapping[str | None, int]


@dataclass(frozen=True)
class _Run:
    """An evaluation that may run: of which suite and how large a model, and the tier that its size asks for.

    `todo`: the suite with only those benchmarks that are to run; what is `taken` is measured.
    """

    evaluation: Evaluation
    score: ScoreKey
    suite: ResolvedSuite
    todo: Suite
    taken: tuple[Taken, ...]
    size: Size
    tier: Tier
    asked: Asked


@dataclass(frozen=True)
class _Refusal:
    """The reason why an evaluation, or some of its benchmarks, do not run: `kind`, `reason`, `benchmarks` of a Skip."""

    kind: str
    reason: str
    benchmarks: tuple[str, ...] = ()


_UNDER_WAY = _Refusal("in_flight", "already running or submitted")


_NOT_ASKED = _Refusal("not_asked", NOT_ASKED)


_Verdict = _Candidate | _Twin | _Refusal


@dataclass(frozen=True)
class _Judged:
    """What becomes of all wishes. `chosen`: what could run, by id; `queues`: in which order it is asked for."""

    verdicts: list[tuple[_Wish, list[_Verdict]]] = field(default_factory=list)
    chosen: dict[str, _Candidate] = field(default_factory=dict)
    queues: dict[RequestClass, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))


def make_plan(inputs: PlanInputs) -> Plan:
    """Sort every watched and requested commit and suite into evaluations to run and skips with their reasons."""
    judged = _judge_all(inputs)
    decision = _spend(inputs, judged)
    skipped: list[Skip] = []
    requests: dict[str, str] = {}
    targets: list[TargetState] = []
    for wish, verdicts in judged.verdicts:
        settled = [_settle(verdict, decision.waiting) for verdict in verdicts]
        skipped += [_skip(wish, verdict) for verdict in settled if isinstance(verdict, _Refusal)]
        if wish.target is not None:
            hours = sum(verdict.gpu_hours for verdict in verdicts if isinstance(verdict, _Candidate))
            targets.append(_describe_target(wish.target, settled).model_copy(update={"gpu_hours": hours}))
            for verdict in settled:
                if isinstance(verdict, _Candidate):
                    requests.setdefault(verdict.evaluation.evaluation_id, wish.target.request_id)
    targets += _list_unknown_suites(inputs)
    chosen = [each for key, each in judged.chosen.items() if key not in decision.waiting]
    jobs = pack_jobs((placement for candidate in chosen for placement in candidate.placements), inputs.cluster)
    return Plan(
        board=inputs.board,
        created_at=inputs.now,
        evaluations=tuple(candidate.evaluation for candidate in chosen),
        shards=tuple(candidate.shards for candidate in chosen),
        jobs=jobs,
        skipped=tuple(skipped),
        gpu_hours=sum(job.estimate_s * job.gpus for job in jobs) / 3600,
        estimate_s=sum(job.estimate_s for job in jobs),
        requests=requests,
        targets=tuple(targets),
        budget=_describe_budget(inputs.budget, judged, decision),
    )


def _judge_all(inputs: PlanInputs) -> _Judged:
    known = _Knowledge(
        inputs,
        Estimator(inputs.history),
        wanted={suite.version: Wanted(suite) for suite in inputs.suites},
        context_lengths={row.fingerprint: row.context_length for row in inputs.commits if row.context_length},
    )
    judged = _Judged()
    for wish in (*_list_watched(inputs), *_list_requested(inputs)):
        verdicts = _judge(wish, known, judged.chosen)
        judged.verdicts.append((wish, verdicts))
        for verdict in verdicts:
            if not isinstance(verdict, _Refusal):
                first = verdict.first if isinstance(verdict, _Twin) else verdict
                key = first.evaluation.evaluation_id
                judged.chosen.setdefault(key, first)
                judged.queues[wish.request_class].setdefault(key)
    return judged


# ----------------------------------------------------------------------------------------------------------- budget


def _spend(inputs: PlanInputs, judged: _Judged) -> Decision:
    """What the budget lets run, and what waits for it."""
    history = inputs.history
    if not inputs.budget.is_limited:
        return Decision({}, 0.0, 0.0)
    begun = {key for key, _ in (*history.shards_in_flight, *history.finished)}
    contenders = {
        key: Contender(key, _owner(each.evaluation), each.gpu_hours, is_begun=key in begun)
        for key, each in judged.chosen.items()
    }
    queues = {name: [contenders[key] for key in keys] for name, keys in judged.queues.items()}
    spent = sum_spent(history.spending, inputs.now, inputs.timezone)
    return choose(queues, inputs.budget, spent, knows_all=not inputs.is_partial)


def _owner(evaluation: Evaluation) -> str:
    return evaluation.model_id.partition("/")[0]


def _settle(verdict: _Verdict, waiting: Mapping[str, str]) -> _Candidate | _Refusal:
    """A verdict when it is known what waits for the budget."""
    if isinstance(verdict, _Refusal):
        return verdict
    first = verdict.first if isinstance(verdict, _Twin) else verdict
    if reason := waiting.get(first.evaluation.evaluation_id):
        return _Refusal("budget", reason)
    return verdict if isinstance(verdict, _Candidate) else _Refusal("same_fingerprint", verdict.reason)


def _describe_budget(budget: Budget, judged: _Judged, decision: Decision) -> NightBudget | None:
    if not budget.is_limited:
        return None
    return NightBudget(
        gpu_hours=budget.gpu_hours_per_night,
        spent=decision.spent,
        planned=decision.launched,
        waiting=sum(judged.chosen[key].gpu_hours for key in decision.waiting),
        n_waiting=len(decision.waiting),
    )


# ----------------------------------------------------------------------------------------------------------- wishes


def _list_watched(inputs: PlanInputs) -> Iterator[_Wish]:
    """What the watch list asks for."""
    settings: dict[str, ModelSettings] = {}
    # Of equal fingerprints, the oldest commit is evaluated: a re-upload is newer than its original.
    oldest_first = sorted(
        inputs.commits, key=lambda commit: (commit.committed_at is None, commit.committed_at or inputs.now)
    )
    for commit in oldest_first:
        model_settings = settings.setdefault(commit.model_id, settings_for(inputs.watch, commit.model_id))
        for suite in inputs.suites:
            if model_settings.suites is None or suite.suite.suite in model_settings.suites:
                yield _Wish(commit, suite, model_settings)


def _list_requested(inputs: PlanInputs) -> Iterator[_Wish]:
    """What requests ask for, in suites that the board has."""
    suites = {suite.suite.suite: suite for suite in inputs.suites}
    for each in inputs.requested:
        if suite := suites.get(each.target.suite):
            is_again = each.target.mode in ("stale", "replicate")
            asked = Asked(each.target.benchmarks, is_again, each.target.replicate)
            settings = find_settings(each.request, each.target, settings_for(inputs.watch, each.commit.model_id))
            yield _Wish(each.commit, suite, settings, asked, each.target, REQUEST_CLASSES[each.request.kind])


def find_settings(request: Request, target: RequestTarget | None, settings: ModelSettings) -> ModelSettings:
    """A model's settings with what a request asks for, of which a backfill's targets have their own.

    How large it may be is not the watch list's business.
    """
    changes: dict[str, object] = {}
    for asked in (request, target):
        if asked is not None and asked.precision is not None:
            changes["precision"] = Precision(asked.precision)
        if asked is not None and asked.chat_template is not None:
            changes["chat_template"] = ChatTemplate(asked.chat_template)
    return settings.model_copy(update=changes)


def _list_unknown_suites(inputs: PlanInputs) -> list[TargetState]:
    suites = {suite.suite.suite for suite in inputs.suites}
    return [
        _state_of(each.target, "failed", f"the board has no suite {each.target.suite} any more")
        for each in inputs.requested
        if each.target.suite not in suites
    ]


def _state_of(target: RequestTarget, state: TargetStateName, reason: str | None = None) -> TargetState:
    return TargetState(
        request_id=target.request_id,
        model_id=target.model_id,
        revision=target.revision,
        suite=target.suite,
        state=state,
        reason=reason,
    )


# How far a target is, by the kind of the first reason why it does not run.
_STATES: dict[str, TargetStateName] = {
    "done": "done",
    "in_flight": "running",
    "same_fingerprint": "planned",
    "rejected": "failed",
    "gave_up": "failed",
    "unavailable": "failed",
    "later": "waiting",
    "budget": "waiting",
}


def _describe_target(target: RequestTarget, verdicts: Sequence[_Candidate | _Refusal]) -> TargetState:
    """How far a target is: by what runs, else by why it does not."""
    for verdict in verdicts:
        if isinstance(verdict, _Candidate):
            return _state_of(target, "planned")
    first = next((verdict for verdict in verdicts if isinstance(verdict, _Refusal)), None)
    if first is None:
        return _state_of(target, "failed", f"suite {target.suite} has no benchmark {', '.join(target.benchmarks)}")
    state = _STATES[first.kind]
    return _state_of(target, state, None if state in ("done", "running", "planned") else first.reason)


def _skip(wish: _Wish, refusal: _Refusal) -> Skip:
    commit, target = wish.commit, wish.target
    named = {"model_id": commit.model_id, "revision": commit.revision, "suite": wish.suite.suite.suite}
    return Skip.model_validate(named | asdict(refusal) | {"request_id": target.request_id if target else None})


def _judge(wish: _Wish, known: _Knowledge, chosen: Mapping[str, _Candidate]) -> list[_Verdict]:
    """The evaluation of a suite for a commit, and the parts that do not run, with reasons."""
    inputs, commit, suite, settings, asked = known.inputs, wish.commit, wish.suite, wish.settings, wish.asked
    precision = _resolve_precision(settings, commit)
    weights_gb = weigh(commit, precision)
    tier = choose_tier(inputs.cluster, weights_gb)
    refusal = refuse(commit, settings, None if wish.target else inputs.watch)
    if refusal or tier is None:
        return [_Refusal("rejected", refusal or _tell_size(commit, precision, weights_gb, inputs.cluster))]
    evaluation = make_evaluation(commit, suite, settings, tier, replicate=asked.replicate)
    score = ScoreKey.of(evaluation)
    entries = inputs.history.done.get(score, ())
    sources = known.wanted[suite.version].choose_sources(entries, asked)
    left_out = _leave_out(wish, tier, sources, known)
    refusals = _group({name: refusal for name, refusal in left_out.items() if refusal is not _NOT_ASKED})
    if reasons := {name: refusal.reason for name, refusal in left_out.items()}:
        evaluation = make_evaluation(commit, suite, settings, tier, reasons, asked.replicate)
    todo = [name for name in suite.suite.benchmarks if name not in sources and name not in left_out]
    if asked.is_again and todo and evaluation.evaluation_id in {entry.evaluation.evaluation_id for entry in entries}:
        # It is there, and has reused what is asked for again.
        highest = max(entry.evaluation.replicate for entry in entries)
        evaluation = make_evaluation(commit, suite, settings, tier, reasons, 1 + highest)
    if scored := _find_scored(evaluation, sources, [entry.evaluation for entry in entries], has_todo=bool(todo)):
        same_commit = (scored.model_id, scored.revision) == (commit.model_id, commit.revision)
        source = "" if same_commit else f" by {scored.model_id}@{scored.revision[:7]} (same fingerprint)"
        return [_Refusal("done", f"scored already{source}"), *refusals]
    if first := _find_chosen(evaluation, todo, asked, chosen):
        if first.evaluation.model_id == commit.model_id and first.evaluation.revision == commit.revision:
            return [first, *refusals]
        other = f"{first.evaluation.model_id}@{first.evaluation.revision[:7]}"
        return [_Twin(first, f"same fingerprint as {other}, evaluated once"), *refusals]
    if left_out and not todo:
        return list(refusals)
    params_b = tier.up_to_params_b if commit.params_b is None else commit.params_b
    size = Size(params_b, tier.max_weights_gb if weights_gb is None else weights_gb)
    kept, taken = keep_benchmarks(suite.suite, todo), _list_taken(suite.suite, sources)
    run = _Run(evaluation, score, suite, kept, taken, size, tier, asked)
    return [_find_shards(run, known), *refusals]


def _find_chosen(
    evaluation: Evaluation, todo: Sequence[str], asked: Asked, chosen: Mapping[str, _Candidate]
) -> _Candidate | None:
    """The evaluation of this plan that serves: the same one, or one that runs at least these benchmarks as well."""
    if same := chosen.get(evaluation.evaluation_id):
        return same
    if not asked.benchmarks or asked.is_again:
        return None
    score = ScoreKey.of(evaluation)
    return next(
        (
            candidate
            for candidate in chosen.values()
            if ScoreKey.of(candidate.evaluation) == score
            and candidate.evaluation.suite_version == evaluation.suite_version
            and not set(todo) & candidate.evaluation.left_out.keys()
        ),
        None,
    )


# ------------------------------------------------------------------------------------------------------- benchmarks


def _leave_out(wish: _Wish, tier: Tier, sources: Mapping[str, Evaluation], known: _Knowledge) -> dict[str, _Refusal]:
    """Benchmarks that are not measured and not asked for, or known to fail before anything runs."""
    commit, suite, asked = wish.commit, wish.suite, wish.asked
    context = _find_context(tier, known.context_lengths.get(commit.fingerprint, commit.context_length))
    left_out = {}
    for name, benchmark in suite.suite.benchmarks.items():
        if name in sources:
            continue
        if asked.benchmarks and name not in asked.benchmarks:
            left_out[name] = _NOT_ASKED
        elif reason := suite.unavailable.get(name):
            left_out[name] = _Refusal("unavailable", reason)
        # lm-eval reserves space for the longest answer, and fails if none is left for the prompt.
        elif context is not None and benchmark.max_new_tokens is not None and benchmark.max_new_tokens >= context:
            reason = f"context too short: {context:,} tokens, and an answer may take {benchmark.max_new_tokens:,}"
            left_out[name] = _Refusal("rejected", reason)
    return left_out


def _find_context(tier: Tier, declared: int | None) -> int | None:
    """How many tokens the model is loaded for: what the tier says, under lm-eval's two names for it, comes first."""
    given = tier.model_args.get("max_length", tier.model_args.get("max_model_len"))
    return given if isinstance(given, int) and not isinstance(given, bool) else declared


def _group(left_out: Mapping[str, _Refusal]) -> tuple[_Refusal, ...]:
    """Refusals of benchmarks, grouped by reason."""
    return tuple(
        replace(refusal, benchmarks=tuple(name for name, other in left_out.items() if other == refusal))
        for refusal in dict.fromkeys(left_out.values())
    )


def _find_scored(
    evaluation: Evaluation, sources: Mapping[str, Evaluation], evaluations: Sequence[Evaluation], *, has_todo: bool
) -> Evaluation | None:
    """The evaluation that has all that can be had; None when one is to be made, by running or from several others."""
    # An evaluation that is done under this id never runs again, even if rows are missing.
    if same := next((earlier for earlier in evaluations if earlier.evaluation_id == evaluation.evaluation_id), None):
        return same
    distinct = {source.evaluation_id: source for source in sources.values()}
    # Of several that have it all together one is put together; what lacks a benchmark is not ranked in any case.
    is_enough = len(distinct) == 1 or bool(evaluation.left_out)
    return next(iter(distinct.values()), None) if is_enough and not has_todo else None


def _list_taken(suite: Suite, sources: Mapping[str, Evaluation]) -> tuple[Taken, ...]:
    return tuple(
        Taken(benchmark=name, tasks=tuple(suite.benchmarks[name].tasks), evaluation_id=source.evaluation_id)
        for name, source in sources.items()
    )


# ----------------------------------------------------------------------------------------------------------- shards


def _find_shards(run: _Run, known: _Knowledge) -> _Candidate | _Refusal:
    """The shards of an evaluation that are to run now; one that is not to run any more stops them all."""
    inputs, history, key = known.inputs, known.inputs.history, run.evaluation.evaluation_id
    shards = _shards_of(run, known)
    open_shards = [shard for shard in shards.shards if (key, shard.name) not in history.finished]
    # All are finished and there is no score: who runs one again finds it finished, and the scores are put together.
    open_shards = open_shards or [shards.shards[-1]]
    for shard in open_shards:
        if reason := explain_end(history.tries.get((key, shard.name)), inputs.cluster, shard.name):
            return _Refusal("gave_up", reason)
    waiting = [shard for shard in open_shards if (key, shard.name) not in history.shards_in_flight]
    if not waiting or _is_under_way_elsewhere(run, shards.shards, history):
        return _UNDER_WAY
    for shard in waiting:
        tries = history.tries.get((key, shard.name))
        if reason := explain_wait(tries, inputs.cluster, shard.name, inputs.run_started_at):
            return _Refusal("later", reason)
    placements = [_place(run, shard, known) for shard in waiting]
    refusals = [placement for placement in placements if isinstance(placement, _Refusal)]
    if refusals:
        return refusals[0]
    return _Candidate(
        run.evaluation, shards, tuple(placement for placement in placements if isinstance(placement, Placement))
    )


def _shards_of(run: _Run, known: _Knowledge) -> EvaluationShards:
    """How the evaluation is split: as it was before, else by what it will take."""
    history, key = known.inputs.history, run.evaluation.evaluation_id
    return history.shards.get(key) or EvaluationShards(evaluation_id=key, shards=_split(run, known), taken=run.taken)


def _split(run: _Run, known: _Knowledge) -> tuple[Shard, ...]:
    one_piece = whole(run.todo)
    is_begun = (run.evaluation.evaluation_id, one_piece.name) in known.inputs.history.last_attempts
    if run.tier.shard_above_min is None or is_begun:
        return (one_piece,)
    taken_s = known.estimator.benchmarks(run.suite, run.size, run.tier)
    seconds = {name: taken_s[name] for name in run.todo.benchmarks}
    return split(run.todo, seconds, start_seconds(run.size.weights_gb), run.tier.shard_above_min * 60)


def _is_under_way_elsewhere(run: _Run, shards: Sequence[Shard], history: History) -> bool:
    """Whether what runs is not this evaluation but one whose score will serve for it: at another suite version."""
    if run.score not in history.in_flight or run.asked.is_again:
        return False
    return not any((run.evaluation.evaluation_id, shard.name) in history.shards_in_flight for shard in shards)


def _place(run: _Run, shard: Shard, known: _Knowledge) -> Placement | _Refusal:
    """The next attempt at a shard, or the reason why there is none."""
    inputs, key = known.inputs, (run.evaluation.evaluation_id, shard.name)
    tries = inputs.history.tries.get(key)
    resources = choose_resources(tries, inputs.cluster, run.tier)
    if resources is None:
        return _Refusal("gave_up", explain_size(tries, shard.name))
    planned = PlannedAttempt(
        evaluation_id=run.evaluation.evaluation_id,
        shard=shard,
        number=1 + inputs.history.last_attempts.get(key, 0),
        batch_size=resources.batch_size,
        estimate_s=known.estimator.seconds(run.suite, shard, run.size, resources.tier),
    )
    is_alone = resources != AttemptResources(run.tier, run.tier.batch_size)
    return Placement(planned, resources.tier, resources.timeouts, is_alone)


# ------------------------------------------------------------------------------------------- models and their tiers


def refuse(commit: Commit, settings: ModelSettings, watch: WatchList | None) -> str | None:
    """Why a commit is not evaluated on this board; None if it is.

    Without a watch list it may be as large as the cluster takes.
    """
    if commit.state == "rejected":
        return commit.reason or "rejected"
    size = commit.params_b
    if watch is not None and watch.max_params_b is not None and size is not None and size > watch.max_params_b:
        return f"too large: {size:.3g}B parameters, the watch list takes up to {watch.max_params_b:g}B"
    if commit.needs_remote_code and not settings.trust_remote_code:
        return "remote code refused: the model loads code from its repository (trust_remote_code is off)"
    if settings.chat_template is ChatTemplate.always and not commit.has_chat_template:
        return "no chat template: the watch list asks for one, the tokenizer has none"
    return None


def weigh(commit: Commit, precision: str) -> float | None:
    """What the weights take in memory, in 10^9 bytes; None for a model of unknown size.

    In a format that is no plain number format, such as quantised weights, they take what their files do.
    """
    if precision == "auto" and commit.size_gb is not None:
        return commit.size_gb
    if commit.params_b is None:
        return None
    return commit.params_b * (4 if precision == Precision.float32 else BYTES_PER_PARAM)


def choose_tier(cluster: Cluster, weights_gb: float | None) -> Tier | None:
    """The first tier that the weights fit; the largest one for an unknown size."""
    if weights_gb is None:
        return cluster.tiers[-1]
    return next((tier for tier in cluster.tiers if weights_gb <= tier.max_weights_gb), None)


def _tell_size(commit: Commit, precision: str, weights_gb: float | None, cluster: Cluster) -> str:
    size = "" if commit.params_b is None else f"{commit.params_b:.3g}B parameters "
    stored = "" if precision == "auto" else f"in {precision} "
    largest = max(tier.max_weights_gb for tier in cluster.tiers)
    return f"too large: {size}{stored}take {weights_gb:.3g} GB, the cluster's largest tier takes {largest:g} GB"


def make_evaluation(
    commit: Commit,
    suite: ResolvedSuite,
    settings: ModelSettings,
    tier: Tier,
    left_out: Mapping[str, str] | None = None,
    replicate: int = 0,
) -> Evaluation:
    """Resolve the settings of a commit that can be evaluated. The id is a hash of exactly what can change the score.

    `left_out`: benchmarks that it cannot run, with the reasons; without them it is another evaluation.
    """
    chat = settings.chat_template is not ChatTemplate.never and commit.has_chat_template
    identity = {
        "fingerprint": commit.fingerprint,
        "precision": _resolve_precision(settings, commit),
        "chat_template": chat,
        "fewshot_as_multiturn": chat and bool(settings.fewshot_as_multiturn),
        "suite": suite.suite.suite,
        "suite_version": suite.version,
        "backend": tier.backend,
        "replicate": replicate,
        **({"without": sorted(left_out)} if left_out else {}),
    }
    return Evaluation.model_validate(
        {name: value for name, value in identity.items() if name != "without"}
        | {
            "evaluation_id": hash_json(identity)[:32],
            "left_out": dict(left_out or {}),
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
