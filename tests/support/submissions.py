"""A board over a served Hub that takes submissions, with a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from builders import NOW, make_suite
from served_hub import Files, ServedHub, make_model

from nightboard.profiles.loading.load import BoardBundle
from nightboard.profiles.models.board import Board, Organizations
from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.submissions import Submissions
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.planning.history import read_commits, read_history
from nightboard.tasks.requests.book import Entry, read_book
from nightboard.tasks.requests.checks import CheckInputs, Form
from nightboard.tasks.requests.submission import Answer, Asker, answer, record
from nightboard.tasks.store.layout import Store

CARD = "license: apache-2.0"
ABOUT = "It is made for tests. " * 20
CLUSTER = Cluster(cluster="c", executor="local", tiers=(Tier(name="cpu", up_to_params_b=1),))
SUITES = (make_suite("small"), make_suite("large", "v2"))


def good_model(fill: int = 1, card: str = CARD, about: str = ABOUT, **config: object) -> Files:
    """A model that every check lets through."""
    return make_model(fill, **config) | {"README.md": f"---\n{card}\n---\n# A model\n{about}\n".encode()}


@dataclass
class Desk:
    """Takes submissions. `rules`: what the board declares below `submissions`."""

    hub: ServedHub
    root: Path
    rules: dict[str, Any] = field(default_factory=dict)
    now: datetime = NOW

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    def bundle(self) -> BoardBundle:
        board = Board(
            board="board", title="Board", watch="w", suites=("small", "large"), cluster="c", store="store",
            hub=self.hub.url, submissions=Submissions.model_validate(self.rules),
        )  # fmt: skip
        watch = WatchList(watchlist="w", organizations=("watched",))
        suites = {suite.suite.suite: suite.suite for suite in SUITES}
        return BoardBundle(
            board=board, path=self.root / "board.yaml", watch=watch, watch_file=self.root, suites=suites,
            cluster=CLUSTER, cluster_file=self.root, organizations=Organizations(organizations={}),
            store=self.store.root,
        )  # fmt: skip

    def inputs(self) -> CheckInputs:
        return CheckInputs(
            self.hub.client(), self.bundle(), SUITES, read_history(self.store, SUITES), read_commits(self.store),
            self.book(), self.now,
        )  # fmt: skip

    def book(self) -> dict[str, Entry]:
        return read_book(self.store, "board")

    def submit(self, model_id: str, by: str = "ada", **form: Any) -> Answer:
        """Submit a model, a minute after the last submission."""
        self.now += timedelta(minutes=1)
        given = answer(Form(model_id, **form), Asker(by), self.inputs())
        record(self.store, [given])
        return given
