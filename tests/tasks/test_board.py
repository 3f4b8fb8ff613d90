"""An opened board: for some of its models alone, and what a backfill frees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import NOW, make_commit
from served_hub import ServedHub, make_model, serve_hub
from suite_nights import CLUSTER, SUITE

from nightboard.profiles.model_settings import settings_for
from nightboard.profiles.models.base import Precision
from nightboard.profiles.models.board import Board
from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import WatchList
from nightboard.profiles.suite_version import resolve_suite
from nightboard.tasks.board import NotWatchedError, OpenBoard
from nightboard.tasks.planning.plan import make_evaluation
from nightboard.tasks.requests.backfill import Backfill
from nightboard.tasks.requests.book import Entry
from nightboard.tasks.runs.retry_stopped import Stopped
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Request, RequestEvent, RequestTarget, ResolvedSuite, as_row
from nightboard.tasks.store.tables import append_rows
from nightboard.warehouse.schema.lake_tables import COMMITS


@pytest.fixture
def hub() -> Iterator[ServedHub]:
    with serve_hub() as served:
        for number, name in enumerate(("lab/a", "lab/b", "lab/b-GGUF", "other/c"), 1):
            served.add(name, make_model(number))
        yield served


@dataclass(frozen=True)
class Bundle:
    watch: WatchList
    board: Board
    suites: dict[str, Suite]
    cluster: Cluster = CLUSTER


@pytest.fixture
def board(hub: ServedHub, tmp_path: Path) -> OpenBoard:
    watch = WatchList(watchlist="few", organizations=("lab", "other"), exclude=("*-GGUF",))
    named = Board(board="mine", title="Mine", watch="few", suites=("s",), cluster="c", store="store")
    return OpenBoard(Bundle(watch, named, {"s": SUITE}), Store(tmp_path), hub.client(), None)  # type: ignore[arg-type]


def test_a_narrowed_board_discovers_and_plans_its_model_alone(board: OpenBoard, hub: ServedHub) -> None:
    alone = board.narrow(["lab/b", "lab/b"])
    discovery = alone.discover(NOW)
    assert [head.model_id for head in discovery.heads] == ["lab/b"]
    assert not discovery.problems
    assert not hub.requests("author=other")
    suites = [ResolvedSuite(suite=SUITE, version=resolve_suite(SUITE, {})[1])]
    plan = alone.plan(discovery, suites, NOW)
    assert [each.model_id for each in plan.evaluations] == ["lab/b"]
    everything = board.plan(board.discover(NOW), suites, NOW)
    assert {each.evaluation_id for each in plan.evaluations} < {each.evaluation_id for each in everything.evaluations}


@pytest.mark.parametrize("model_id", ["lab/b-GGUF", "else/a", "../a"])
def test_only_a_watched_model_can_be_asked_for(board: OpenBoard, model_id: str) -> None:
    with pytest.raises(NotWatchedError) as error:
        board.narrow(["lab/a", model_id])
    assert str(error.value) == (
        f"{model_id}: is not watched by board mine. Check the name, or add it to the watch list few."
    )


def test_a_backfill_frees_what_stopped_in_its_settings_alone(board: OpenBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, suite = make_commit("lab/a"), ResolvedSuite(suite=SUITE, version=resolve_suite(SUITE, {})[1])
    append_rows(board.store, COMMITS, [as_row(commit)])
    settings = settings_for(board.bundle.watch, "lab/a")
    ours, other = (
        make_evaluation(commit, suite, settings.model_copy(update={"precision": precision}), CLUSTER.tiers[0])
        for precision in (Precision.float32, Precision.auto)
    )
    stopped = [Stopped(each, "all", "failed", "so it was", 2) for each in (ours, other)]
    monkeypatch.setattr(OpenBoard, "find_stopped", lambda _: (stopped, []))
    target = RequestTarget(
        request_id="r", model_id="lab/a", revision=commit.revision, suite=SUITE.suite, mode="failed",
        precision="float32", chat_template="never",
    )  # fmt: skip
    request = Request(request_id="r", board="mine", kind="backfill", asked_by="ada", asked_at=NOW)
    event = RequestEvent(request_id="r", changed_at=NOW, state="accepted", changed_by="ada")
    board.accept_backfill(Backfill(Entry(request, (target,), event), 0))
    freed = [each for each in (ours, other) if board.store.freed_file(each.evaluation_id).exists()]
    assert freed == [ours]
    assert board.read_requests()[0].targets == (target,)
