"""What a flow run is for Prefect: its name, its tag, and its end in one sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from nightboard.flows.prefect_server.history import History, open_deployed_history
from nightboard.profiles.errors import ProfileError
from nightboard.profiles.loading.load import BoardBundle
from nightboard.tasks.errors import TaskError
from nightboard.warehouse.errors import WarehouseError


def name_run() -> str:
    """`nightly mine` for the flow nightly with a board mine or /path/to/mine.yaml."""
    return f"{flow_run.flow_name} {Path(flow_run.parameters['board']).stem}"


def tag_board(bundle: BoardBundle) -> str:
    """The tag of all runs on a board."""
    return f"board:{bundle.board.board}"


def run_deployed(run: Callable[[History], tuple[str, bool]]) -> State[None]:
    """The state in which a flow run ends. `run` returns a summary, and whether an operator should look."""
    with open_deployed_history() as history:
        try:
            summary, has_failures = run(history)
        except (ProfileError, TaskError, WarehouseError) as error:
            summary, has_failures = str(error), True
    return Failed(message=summary) if has_failures else Completed(message=summary)
