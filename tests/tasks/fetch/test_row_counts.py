"""How many rows a dataset has: what its cache wrote down, else its card on the Hub, else nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.profiles.models.suite import DatasetSpec
from nightboard.tasks.fetch.row_counts import RowCounts
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.http_retry import RetryPolicy
from nightboard.tasks.hub.responses import read_rows
from nightboard.tasks.store.layout import Store

CARD = """\
---
dataset_info:
- config_name: easy
  splits:
  - {name: test, num_examples: 7}
- config_name: hard
  splits:
  - {name: test, num_examples: 9}
---
"""
SHA = "a" * 40
NO_HUB = Hub("http://127.0.0.1:9", retry_policy=RetryPolicy(tries=1))


def test_the_cache_of_a_store_is_asked_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for config, number in {"easy": 7, "hard": 9}.items():
        folder = store.dataset_dir("lab/data", SHA) / "lab___data" / config / "0.0.0" / SHA
        folder.mkdir(parents=True)
        info = {"config_name": config, "splits": {"test": {"name": "test", "num_examples": number}}}
        (folder / "dataset_info.json").write_text(json.dumps(info))
    counts = RowCounts(store, NO_HUB)
    dataset = DatasetSpec(id="lab/data", sha=SHA)
    assert [counts.count(dataset, config, "test") for config in ("easy", "hard")] == [7, 9]
    assert not counts.is_away
    (folder / "dataset_info.json").write_text("{")
    assert counts.count(dataset, "hard", "test") is None
    assert counts.is_away


def test_a_card_on_the_hub_is_asked_once_and_a_hub_that_is_away_once() -> None:
    hub = LoopbackHub()
    hub.create_repo("lab/data", "dataset")
    sha = hub.commit("lab/data", {"README.md": CARD.encode()}, "Add", kind="dataset")
    hub.create_repo("lab/plain", "dataset")
    hub.commit("lab/plain", {"README.md": b"no card"}, "Add", kind="dataset")
    with serve(hub) as endpoint:
        counts = RowCounts(None, Hub(endpoint, retry_policy=RetryPolicy(tries=1)))
        dataset = DatasetSpec(id="lab/data", sha=sha)
        assert [counts.count(dataset, config, "test") for config in ("easy", "hard", "odd")] == [7, 9, None]
        assert counts.count(dataset, "easy", "train") is None
        for other in ("lab/plain", "lab/none"):
            assert counts.count(DatasetSpec(id=other), None, "test") is None
        assert not counts.is_away
    away = RowCounts(None, NO_HUB)
    assert away.count(DatasetSpec(id="lab/data"), None, "test") is None
    assert away.is_away


@pytest.mark.parametrize(
    "told",
    [None, 3, {}, [], [3, {}], {"splits": 3}, {"splits": [3, {"name": 3}, {"name": "x", "num_examples": "many"}]}],
)
def test_an_odd_card_has_no_rows(told: object) -> None:
    assert read_rows({"cardData": {"dataset_info": told}}) == {}
    assert read_rows({"cardData": told}) == {}
