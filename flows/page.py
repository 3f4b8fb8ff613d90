"""The step that writes the page of a board, after its leaderboard was rebuilt."""

from __future__ import annotations

from prefect import task

from nightboard.flows.display.console import count
from nightboard.flows.run.state import RunState
from nightboard.tasks.page.build import build_page, show_board


@task(name="page", tags=["warehouse"])
def write_page(run: RunState) -> None:
    """Write the page where the board has one. A page that cannot be written is a problem, and never a lost night."""
    out = run.board.bundle.page
    if out is None:
        return
    try:
        with run.ui.show_work() as show:
            page = build_page(run.board.store, out, show_board(run.board.bundle, run.board.store), show)
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        run.report_problems([f"The page is as it was: {reason}"])
        return
    run.ui.step(f"Page: {count(page.n_models, 'model')} in {page.index}")
