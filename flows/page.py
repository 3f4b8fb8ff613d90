"""The step that writes the page of a board, after its leaderboard was rebuilt."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from nightboard.flows.display.console import count
from nightboard.flows.run.state import RunState
from nightboard.flows.run.steps import run_step
from nightboard.tasks.page.build import build_page, show_board


def publish_page(run: RunState) -> None:
    """Write the page, where the board has one."""
    if run.board.bundle.page is not None:
        run_step(run, write_page, run.board.bundle.page)


@task(name="page", tags=["warehouse"])
def write_page(run: RunState, out: Path) -> None:
    """Write the page of what the board shows. One that cannot be written is a problem, and never a lost night."""
    store = run.board.store
    try:
        with run.ui.show_work() as show:
            page = build_page(store, out, show_board(run.board.bundle, store), show)
    except Exception as error:  # whatever it is, the night's results are in the store
        run.report_problems([f"Page: not written. {' '.join(str(error).split()) or type(error).__name__}"])
        return
    run.ui.step(f"Page: {count(page.n_models, 'model')}, in {page.index}")
