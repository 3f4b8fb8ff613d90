"""The step of a run that writes the page: only where the board has one, and never at the cost of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from page_lake import share_store
from rich.console import Console

from nightboard.flows import page as module
from nightboard.flows.display.console import Terminal
from nightboard.flows.page import publish_page
from nightboard.flows.run.state import RunState
from nightboard.profiles.loading.load import load_board
from nightboard.tasks.store.layout import Store

BOARD = "board: mine\ntitle: Our board\nwatch: quickstart\nsuites: [small]\ncluster: local\nstore: {store}\n"
Open = Callable[[str], RunState]


@pytest.fixture
def open_run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Open:
    store = share_store(tmp_path_factory)
    (tmp_path / "small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nlimit: 1\n")

    def open_it(more: str) -> RunState:
        (tmp_path / "mine.yaml").write_text(BOARD.format(store=store.root) + more)
        bundle = load_board(tmp_path / "mine.yaml")
        board = SimpleNamespace(bundle=bundle, store=Store(bundle.store))
        return RunState(board, Terminal(Console(record=True, width=200)))  # type: ignore[arg-type]

    return open_it


def test_a_board_with_a_page_gets_it_at_the_end_of_a_run(open_run: Open, tmp_path: Path) -> None:
    run = open_run("page: {out: www}\n")
    publish_page(run)
    assert run.problems == []
    assert f"Page: 0 models, in {tmp_path}/www/index.html" in run.ui.console.export_text()
    assert (tmp_path / "www/index.html").exists()


def test_a_board_without_a_page_has_no_such_step(open_run: Open, tmp_path: Path) -> None:
    run = open_run("")
    publish_page(run)
    assert (run.problems, run.ui.console.export_text()) == ([], "")


def test_a_page_that_cannot_be_written_is_a_problem_of_the_run(open_run: Open, tmp_path: Path) -> None:
    (tmp_path / "www").write_text("a file of mine")
    run = open_run("page: {out: www}\n")
    publish_page(run)
    (problem,) = run.problems
    assert problem.startswith(f"Page: not written. {tmp_path}/www: holds files that are no page of nightboard's.")


@pytest.mark.parametrize("error", [ValueError("a mistake\nin two lines"), KeyError()])
def test_a_mistake_of_ours_costs_the_page_and_not_the_night(
    open_run: Open, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, "build_page", fail)
    run = open_run("page: {out: www}\n")
    publish_page(run)
    assert run.problems == [f"Page: not written. {'a mistake in two lines' if error.args else 'KeyError'}"]
