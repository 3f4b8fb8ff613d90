"""How far one benchmark of a commit is: missing, begun, failed, scored as declared before or now. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nightboard.tasks.planning.history import Done, History, ScoreKey
from nightboard.tasks.planning.measured import NOT_ASKED, Wanted
from nightboard.tasks.requests.values import LEFT_OUT, State
from nightboard.tasks.runs.retry_stopped import Stopped
from nightboard.tasks.store.records import Evaluation, ResolvedSuite


@dataclass(frozen=True)
class Measured:
    """What measured a benchmark of an evaluation; empty: unknown. Usually one of each, but tasks have versions."""

    task_versions: frozenset[str] = frozenset()
    harness_versions: frozenset[str] = frozenset()
    datasets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Progress:
    """The state of a benchmark, why it is not done in one word, and the evaluation that has its score, if any."""

    state: State
    reason: str | None = None
    source: Evaluation | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of evaluations. `measured`: by evaluation and benchmark, where there are scores."""

    history: History
    measured: Mapping[tuple[str, str], Measured]
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    unscored: Mapping[ScoreKey, Sequence[Evaluation]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        history: History,
        evaluations: Iterable[Evaluation],
        measured: Mapping[tuple[str, str], Measured],
        stopped: Iterable[Stopped],
    ) -> Facts:
        scored = {entry.evaluation.evaluation_id for entries in history.done.values() for entry in entries}
        unscored: dict[ScoreKey, list[Evaluation]] = defaultdict(list)
        for evaluation in evaluations:
            if evaluation.evaluation_id not in scored:
                unscored[ScoreKey.of(evaluation)].append(evaluation)
        return cls(history, measured, {each.evaluation.evaluation_id: each for each in stopped}, unscored)


def find_progress(score: ScoreKey, suite: ResolvedSuite, wanted: Wanted, facts: Facts) -> dict[str, Progress]:
    """The progress of every benchmark of a suite. `wanted`: what the suite requires."""
    newest_first = facts.history.done.get(score, ())[::-1]
    entries = [(entry, wanted.choose_sources([entry])) for entry in newest_first]
    return {
        name: _find_scored(name, entries, suite, facts, is_current=True)
        or _find_unscored(name, score, suite, facts)
        or _find_scored(name, entries, suite, facts, is_current=False)
        or Progress("missing")
        for name in suite.suite.benchmarks
    }


def _find_scored(
    name: str,
    entries: Iterable[tuple[Done, Mapping[str, Evaluation]]],
    suite: ResolvedSuite,
    facts: Facts,
    *,
    is_current: bool,
) -> Progress | None:
    """The newest score of a benchmark, as the suite is declared now or of any kind."""
    for entry, serves in entries:
        measured = facts.measured.get((entry.evaluation.evaluation_id, name))
        if measured is not None and (not is_current or (name in serves and _is_as_declared(measured, name, suite))):
            return Progress("done" if is_current else "stale", source=entry.evaluation)
    return None


def _is_as_declared(measured: Measured, name: str, suite: ResolvedSuite) -> bool:
    """Whether lm-eval's version and the dataset's commit are the declared ones; what is not known is."""
    dataset = suite.suite.benchmarks[name].dataset.sha
    return measured.harness_versions <= {suite.suite.harness.version} and (
        dataset is None or measured.datasets <= {dataset}
    )


def _find_unscored(name: str, score: ScoreKey, suite: ResolvedSuite, facts: Facts) -> Progress | None:
    """What became of the evaluations that are to score a benchmark as it is declared now, or that run now."""
    launched = facts.unscored.get(score, ())
    now = [each for each in launched if each.suite_version == suite.version]
    shards = {each.evaluation_id: _list_shards(name, each, facts.history) for each in launched}
    for evaluation in now:
        stopped, keys = facts.stopped.get(evaluation.evaluation_id), shards[evaluation.evaluation_id]
        if stopped and keys - facts.history.finished:
            return Progress("failed", stopped.ending)
    begun = facts.history.last_attempts.keys() | facts.history.tries.keys()
    for evaluation in now:
        if keys := shards[evaluation.evaluation_id] & begun:
            return Progress("incomplete", _find_last_ending(keys, facts.history))
    if any(keys & facts.history.shards_in_flight for keys in shards.values()):
        return Progress("incomplete")
    at_version = [entry.evaluation for entry in facts.history.done.get(score, ())]
    is_left_out = any(_leaves_out(each, name) for each in (*at_version, *now) if each.suite_version == suite.version)
    return Progress("incomplete", LEFT_OUT) if is_left_out else None


def _list_shards(name: str, evaluation: Evaluation, history: History) -> frozenset[tuple[str, str]]:
    """The shards of an evaluation that run a benchmark; of one that was never split, the whole."""
    split = history.shards.get(evaluation.evaluation_id)
    if name in evaluation.left_out:
        return frozenset()
    names = [shard.name for shard in split.shards if name in shard.benchmarks] if split else ["all"]
    return frozenset((evaluation.evaluation_id, shard) for shard in names)


def _find_last_ending(keys: Iterable[tuple[str, str]], history: History) -> str | None:
    ended = [tries for key in sorted(keys) if (tries := history.tries.get(key))]
    endings = [str(tries.last_state) for tries in ended if tries.last_state != "completed"]
    return endings[-1] if endings else None


def _leaves_out(evaluation: Evaluation, name: str) -> bool:
    return evaluation.left_out.get(name, NOT_ASKED) != NOT_ASKED
