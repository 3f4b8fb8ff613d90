"""The page of the queue: open requests in the order of planning, what was launched, what failed and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_lake import SMALL_SUITE, Lake, after
from page_lake import share_store

from nightboard.tasks.page import queue_page
from nightboard.tasks.page.build import Shown, build_page
from nightboard.tasks.page.queue_page import read_queue
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import Filters


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return share_store(tmp_path_factory)


def test_a_board_has_its_own_requests_models_and_failures(store: Store) -> None:
    with connect(store.warehouse) as con:
        everything = read_queue(con)
        mine = read_queue(con, Filters(models=["lab/broken-1"], sources=[]), "mine")
    assert [row["asked_for"] for row in everything["requests"]] == ["org:lab-1", "org:lab-0"], "by priority"
    assert [row["asked_for"] for row in everything["closed"]] == ["org:lab-2"]
    assert [row["model_id"] for row in everything["waiting"]] == ["lab/waits"]
    assert {row["model_id"] for row in everything["failures"]} == {"lab/broken-1", "lab/broken-2"}
    assert [(row["attempt_state"], row["n_evaluations"]) for row in everything["causes"]] == [("out_of_memory", 2)]
    assert [row["asked_for"] for row in mine["requests"]] == ["org:lab-1"]
    assert mine["waiting"] == []
    assert [row["model_id"] for row in mine["failures"]] == ["lab/broken-1"]


def test_the_page_tells_its_time_and_no_names_of_people(store: Store, tmp_path: Path) -> None:
    build_page(store, tmp_path / "page", Shown("The board"))
    page = (tmp_path / "page/queue.html").read_text(encoding="utf-8")
    assert "as of 2026-01-05 04:00 UTC" in page
    assert "pending: needs a second vote" in page
    assert "&lt;b&gt;noise&lt;/b&gt;" in page
    assert 'href="models/lab--broken-2.html"' in page
    assert "no memory for &lt;lab/broken-2&gt;" in page
    assert "someone@here" not in page


def test_what_has_no_rank_is_listed_by_reason_and_its_scores_are_on_the_page_of_the_model(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path / "store")
    lake.suite()
    lake.commit("lab/part")
    for precision in ("float16", "bfloat16"):
        lake.done(f"e{precision}", "lab/part", tasks=SMALL_SUITE[:1], precision=precision)
    lake.done("other", "lab/part", tasks=SMALL_SUITE[:1], suite=None, suite_version=None)
    build(lake.write(store.lake), store.warehouse, after(9))
    with connect(store.warehouse) as con:
        rows = read_queue(con)["unranked"]
    assert [(row["model_id"], row["suite"], row["n"]) for row in rows] == [
        ("lab/part", "small", 2),
        ("lab/part", None, 1),
    ]
    assert rows[0]["reason"] == "arc_hard: no value for acc, and 1 more"
    assert rows[1]["reason"] == "its tasks are not those of a suite"
    build_page(store, tmp_path / "page", Shown("The board"))
    assert 'is in the <a href="queue.html">queue</a>' in (tmp_path / "page/index.html").read_text()
    assert '<a href="models/lab--part.html">' in (tmp_path / "page/queue.html").read_text()
    page = (tmp_path / "page/models/lab--part.html").read_text()
    assert page.count("1 score of tasks") == 3
    assert page.count("<td>0.5000</td>") == 3


def test_long_lists_are_cut_and_say_so(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_page, "MOST_ROWS", 1)
    build_page(store, tmp_path / "page", Shown("The board"))
    assert (tmp_path / "page/queue.html").read_text().count("The first 1 of 2.") == 2


def test_a_page_without_a_queue_has_no_link_to_it(store: Store, tmp_path: Path) -> None:
    build_page(store, tmp_path / "page", Shown("The board", has_queue=False))
    assert not (tmp_path / "page/queue.html").exists()
    assert not [path for path in (tmp_path / "page").rglob("*.html") if "queue.html" in path.read_text()]
