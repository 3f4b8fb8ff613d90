"""What has become of each benchmark of a commit, over nights on one store and by what is known of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import NOW, make_commit
from suite_nights import CLUSTER, SUITE, WATCH, Nights, change

from nightboard.profiles.model_settings import settings_for
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.suite_version import resolve_suite
from nightboard.tasks.planning.history import History, ScoreKey, State, Tries
from nightboard.tasks.planning.measured import Wanted
from nightboard.tasks.planning.plan import RequestedCommit, make_evaluation
from nightboard.tasks.requests.states import Facts, Progress, find_progress
from nightboard.tasks.requests.units import Target, read_units
from nightboard.tasks.runs.retry_stopped import find_stopped
from nightboard.tasks.store.records import (
    Evaluation,
    EvaluationShards,
    Request,
    RequestTarget,
    ResolvedSuite,
    Shard,
    TargetMode,
    as_row,
)
from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.schema.lake_tables import COMMITS

NEWER = SUITE.model_copy(update={"harness": SUITE.harness.model_copy(update={"version": "0.4.14"})})
OTHER_DATA = {"dataset": {"id": "own/data", "sha": "b" * 40}}


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def resolve(suite: Suite) -> ResolvedSuite:
    pinned, version = resolve_suite(suite, {})
    return ResolvedSuite(suite=pinned, version=version)


def ask(model: str, *benchmarks: str, mode: TargetMode = "missing") -> RequestedCommit:
    commit = make_commit(model)
    request = Request(request_id="r", board="board", kind="backfill", asked_by="ada", asked_at=NOW)
    target = RequestTarget(
        request_id="r", model_id=model, revision=commit.revision, suite=SUITE.suite, benchmarks=benchmarks, mode=mode
    )
    return RequestedCommit(request, target, commit)


def states(nights: Nights, suite: Suite) -> dict[str, str]:
    """The states of lab/a by benchmark, with the reason where there is one."""
    units = read_units(nights.store, [resolve(suite)], CLUSTER, WATCH)
    of_a = [unit for unit in units if unit.model_id == "lab/a"]
    return {unit.benchmark: f"{unit.state} {unit.reason or ''}".strip() for unit in of_a}


# --------------------------------------------------------------------------------------------------- over the nights


def test_what_is_scored_as_declared_is_done(nights: Nights) -> None:
    nights.night(SUITE, "b")
    nights.night(SUITE, make_commit("lab/a", state="rejected", fingerprint=None))
    assert states(nights, SUITE) == {}, "it cannot be evaluated"
    nights.night(SUITE, "a")
    assert states(nights, SUITE) == {"long": "done", "short": "done"}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (NEWER, {"long": "stale", "short": "stale"}),
        (change(short=OTHER_DATA), {"long": "done", "short": "stale"}),
        (change(short={"shots": 3}), {"long": "done", "short": "stale"}),
        (change(short={"metrics": ["exact"]}), {"long": "done", "short": "stale"}),
        (change(short={"title": "S", "lower_bound": 0.5}), {"long": "done", "short": "done"}),
        (SUITE.model_copy(update={"seed": 7}), {"long": "stale", "short": "stale"}),
        (change(short=None), {"long": "done"}),
    ],
    ids=["harness", "dataset", "shots", "metric", "score only", "seed", "removed"],
)
def test_what_was_measured_otherwise_is_stale(nights: Nights, after: Suite, expected: dict[str, str]) -> None:
    nights.night(SUITE, "a")
    assert states(nights, after) == expected


def test_what_is_measured_again_is_done_and_what_it_is_put_together_with_stays_stale(nights: Nights) -> None:
    nights.night(SUITE, "a")
    after = change(short=OTHER_DATA, long=OTHER_DATA)
    nights.night(after, "a", requested=[ask("lab/a", "short", mode="stale")])
    assert nights.ran[-1] == {"lab/a": ["short"]}
    assert states(nights, after) == {"long": "stale", "short": "done"}
    assert states(nights, SUITE) == {"long": "done", "short": "done"}, "the older score still counts for this version"


def test_a_benchmark_that_nobody_asked_for_is_missing_and_one_that_cannot_run_is_left_out(nights: Nights) -> None:
    nights.night(SUITE, requested=[ask("lab/a", "short")])
    assert states(nights, SUITE) == {"long": "missing", "short": "done"}
    nights.night(SUITE, "a", unavailable={"long": "gated"})
    assert states(nights, SUITE) == {"long": "missing", "short": "done"}, "there was nothing to run"
    other = make_commit("lab/a", "2")
    nights.night(SUITE, other, unavailable={"long": "gated"})
    assert states(nights, SUITE) == {"long": "incomplete left_out", "short": "done"}


def test_equal_files_share_their_scores(nights: Nights) -> None:
    nights.night(SUITE, "b")
    nights.night(SUITE, make_commit("lab/a", fingerprint="lab/b:1"))
    assert states(nights, SUITE) == {"long": "done", "short": "done"}


# --------------------------------------------------------------------------------------------------- what was asked


def submit(model: str, revision: str = "1", suite: str = SUITE.suite, **asked: str) -> Target:
    request = Request(
        request_id=f"of {model}",
        board="board",
        kind="submission",
        asked_by="ada",
        asked_at=NOW,
        model_id=model,
        **asked,
    )
    target = RequestTarget(request_id=request.request_id, model_id=model, revision=revision * 40, suite=suite)
    return request, target


def select_asked(nights: Nights, *targets: Target) -> dict[str, str]:
    """What may be selected, with state and requests."""
    units = read_units(nights.store, [resolve(SUITE)], CLUSTER, WATCH, targets)
    return {
        f"{unit.model_id}@{unit.revision[0]} {unit.precision} {unit.chat_template}": " ".join(
            (unit.state, *unit.request_ids)
        )
        for unit in units
        if unit.benchmark == "short"
    }


def test_what_was_submitted_is_selected_in_its_own_settings_beside_those_of_the_watch_list(nights: Nights) -> None:
    nights.night(SUITE, "a")
    with_template = make_commit("lab/a", has_chat_template=True)
    write_parquet(nights.store.lake / COMMITS.name / "lab--a.parquet", COMMITS, [as_row(with_template)])
    assert select_asked(nights, submit("lab/a", precision="float32", chat_template="never")) == {
        "lab/a@1 bfloat16 True": "missing",
        "lab/a@1 float32 False": "missing of lab/a",
    }
    assert select_asked(nights, submit("lab/a", chat_template="never")) == {
        "lab/a@1 bfloat16 True": "missing",
        "lab/a@1 bfloat16 False": "done of lab/a",
    }
    assert select_asked(nights, submit("lab/a", precision="auto")) == {"lab/a@1 bfloat16 True": "missing of lab/a"}


def test_a_model_that_is_only_submitted_has_the_settings_and_suites_of_its_submissions(nights: Nights) -> None:
    nights.night(SUITE, make_commit("guest/a"), make_commit("guest/a", "2"))
    write_parquet(nights.store.lake / COMMITS.name / "more.parquet", COMMITS, [as_row(make_commit("guest/a", "1"))])
    assert select_asked(nights, submit("guest/a", "2", precision="float32")) == {
        "guest/a@1 float32 False": "missing",
        "guest/a@2 float32 False": "missing of guest/a",
    }, "a learning curve is one of the submitted settings"
    assert select_asked(nights, submit("guest/a", "2", suite="other")) == {}


# ----------------------------------------------------------------------------------------------- what is not scored

ONE = resolve(SUITE)
OLDER = resolve(change(short={"shots": 3}))
PARTS = (Shard(name="long", benchmarks=("long",)), Shard(name="short", benchmarks=("short",)))


def launched(suite: ResolvedSuite = ONE, **left_out: str) -> Evaluation:
    tier = CLUSTER.tiers[0]
    return make_evaluation(make_commit("lab/a"), suite, settings_for(WATCH, "lab/a"), tier, left_out)


def progress(evaluation: Evaluation, *, split: bool = True, flying: str = "", finished: str = "", **ends: State) -> Any:
    """The states where these shards of a launched evaluation ended so, three times, or are `flying` or `finished`."""
    key = evaluation.evaluation_id
    tries = {(key, shard): Tries({state: 3}, "so it was", state) for shard, state in ends.items()}
    history = History(
        shards_in_flight=frozenset((key, shard) for shard in flying.split()),
        last_attempts=dict.fromkeys([*tries, *((key, shard) for shard in flying.split())], 3),
        tries=tries,
        finished=frozenset((key, shard) for shard in finished.split()),
        shards={key: EvaluationShards(evaluation_id=key, shards=PARTS)} if split else {},
    )
    stopped = find_stopped(history, [evaluation], [make_commit("lab/a")], CLUSTER)
    facts = Facts.of(history, [evaluation], {}, stopped)
    found = find_progress(ScoreKey.of(evaluation), ONE, Wanted(ONE), facts)
    return {name: f"{each.state} {each.reason or ''}".strip() for name, each in found.items()}


def test_what_gave_up_stops_all_that_is_not_finished() -> None:
    assert progress(launched(), long="failed") == {"long": "failed failed", "short": "failed failed"}
    assert progress(launched(), all="cancelled", split=False) == dict.fromkeys(("long", "short"), "failed cancelled")
    assert progress(launched(), long="failed", short="completed", finished="short") == {
        "long": "failed failed",
        "short": "incomplete",
    }


def test_what_is_begun_and_goes_on_is_incomplete() -> None:
    assert progress(launched(), flying="long") == {"long": "incomplete", "short": "missing"}
    assert progress(launched(), short="node_fail") == {"long": "missing", "short": "incomplete node_fail"}
    assert progress(launched(), flying="all", split=False) == {"long": "incomplete", "short": "incomplete"}


def test_what_was_begun_at_another_version_counts_only_while_it_runs() -> None:
    assert progress(launched(OLDER), long="failed") == {"long": "missing", "short": "missing"}
    assert progress(launched(OLDER), flying="short") == {"long": "missing", "short": "incomplete"}


def test_what_is_left_out_is_not_failed_with_the_rest() -> None:
    assert progress(launched(short="context too short"), split=False, all="failed") == {
        "long": "failed failed",
        "short": "incomplete left_out",
    }


def test_nothing_known_is_missing() -> None:
    facts = Facts.of(History(), [], {}, [])
    found = find_progress(ScoreKey.of(launched()), ONE, Wanted(ONE), facts)
    assert found == {"long": Progress("missing"), "short": Progress("missing")}
