"""The commands that let a board's flows run by its schedule: deploy them to a Prefect work pool, or serve them here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nightboard.flows.cli.options import BoardOption, example
from nightboard.flows.cli.runs import parse_minutes

if TYPE_CHECKING:
    from nightboard.profiles.loading.load import BoardBundle

app = typer.Typer()

NightWaitOption = Annotated[
    str, typer.Option("--wait", help="How long a nightly run waits for jobs (30m, 8h); collect takes in the rest.")
]


@app.command(epilog=example("nightboard deploy --board mine --work-pool nightboard"))
def deploy(
    board: BoardOption,
    work_pool: Annotated[str, typer.Option(help="Work pool; if it is missing, one of type process is made.")] = (
        "nightboard"
    ),
    wait: NightWaitOption = "8h",
) -> None:
    """Deploy a board's flows to a Prefect work pool.

    nightly by the board's schedule, collect every few minutes, backfill and rebuild by hand; again: updates them. A
    run whose process died is marked as crashed. Needs a Prefect server (PREFECT_API_URL), and a worker.
    """
    wait_min, bundle = parse_minutes(wait), open_board(board)
    from nightboard.flows import deployments
    from nightboard.flows.display.console import Terminal

    deployed, ui = deployments.deploy(bundle, work_pool, wait_min), Terminal()
    if deployed.made_pool:
        ui.say(f"Work pool {work_pool}: made, of type process.")
    for name in deployed.names:
        ui.say(f"deployed  {name}")
    for warning in deployed.warnings:
        ui.warn(warning)
    ui.say(f"Schedule: {deployments.describe_schedule(bundle)}.")
    ui.say(f"Runs need a worker: prefect worker start --pool {work_pool}")


@app.command(epilog=example("nightboard serve --board mine"))
def serve(
    board: BoardOption,
    wait: NightWaitOption = "8h",
    webhook_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Listen here for the Hub's webhook (POST /webhook).")
    ] = None,
    webhook_host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Run a board's flows by its schedule, in this process.

    For a login node with tmux: no work pool, no worker. Uses the Prefect server of PREFECT_API_URL, else one of its
    own. Ctrl-C ends it; submitted jobs keep running. With --webhook-port, a model that changes on the Hub gets a run of
    its own at once; the webhook's secret is taken from NIGHTBOARD_WEBHOOK_SECRET.
    """
    wait_min, bundle = parse_minutes(wait), open_board(board)
    from nightboard.flows import deployments
    from nightboard.flows.display.console import Terminal

    webhook = None
    if webhook_port is not None:
        from nightboard.flows.webhook import Listening, read_secret

        webhook = Listening(webhook_host, webhook_port, read_secret())
    deployments.serve(bundle, wait_min, Terminal().say, webhook)


def open_board(board: str) -> BoardBundle:
    """The board; from here on Prefect is quiet, which has to be settled before it is imported."""
    from nightboard.flows.prefect_server.server import keep_prefect_quiet
    from nightboard.profiles.loading.load import load_board
    from nightboard.tasks.store.layout import Store
    from nightboard.tasks.store.trust import limit_umask

    bundle = load_board(board)
    limit_umask(bundle.store)
    keep_prefect_quiet(Store(bundle.store).prefect)
    return bundle
