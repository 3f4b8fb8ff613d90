"""An opened board for some of its models alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import NOW
from served_hub import ServedHub, make_model, serve_hub
from suite_nights import CLUSTER, SUITE

from nightboard.profiles.models.board import Board
from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import WatchList
from nightboard.profiles.suite_version import resolve_suite
from nightboard.tasks.board import NotWatchedError, OpenBoard
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import ResolvedSuite


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
