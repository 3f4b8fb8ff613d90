"""A board's flows as Prefect deployments (`deploy`, `serve`), with the automation that fails runs which died silently.

A deployment names its flow by module and its files by absolute paths, so that it runs from any folder and from an
installed wheel. A run whose process died without a word is marked as crashed by an automation: Prefect's deployments
send heartbeats, and a server of one's own does nothing about those that stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from nightboard.flows.backfill import backfill
from nightboard.flows.collect import collect
from nightboard.flows.nightly import nightly
from nightboard.flows.prefect_server.server import ConfiguredServer, ServerError, is_server_configured, open_server
from nightboard.flows.rebuild import rebuild
from nightboard.flows.run.deployed import tag_board
from nightboard.flows.webhook import PATH, Listening, listen
from nightboard.profiles.loading.load import BoardBundle
from nightboard.profiles.models.notify import ENV, SECRET
from nightboard.tasks.store.layout import Store

COLLECT_EVERY = timedelta(minutes=10)
# The shortest time between two heartbeats that Prefect allows, and how long a run may be silent.
HEARTBEAT_S = 30
SILENT_FOR = timedelta(seconds=3 * HEARTBEAT_S)
CRASHED = "No heartbeat: its process has died."
# Filled in by the server.
TELL_CRASHED = f"{{{{ flow_run.name }}}}: {CRASHED} Submitted jobs keep running; the next nightly or collect goes on."
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}


@dataclass(frozen=True)
class Deployed:
    """What `deploy` did. `made_pool`: the work pool was not there and has been made; `warnings`: what does not work."""

    names: tuple[str, ...]
    made_pool: bool
    warnings: tuple[str, ...] = ()


def make_deployments(bundle: BoardBundle, wait_min: float | None) -> list[RunnerDeployment]:
    """The deployments of a board: nightly by its schedule, collect every few minutes, backfill and rebuild by hand."""
    board, schedule = bundle.board, bundle.board.schedule
    of_board: dict[str, Any] = {
        "board": str(bundle.path.resolve() if bundle.path else board.board),
        "store": str(bundle.store),
    }
    night = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    return [
        _make_deployment(nightly, bundle, of_board | {"wait_min": wait_min, "models": None}, night),
        _make_deployment(collect, bundle, of_board, IntervalSchedule(interval=COLLECT_EVERY)),
        _make_deployment(backfill, bundle, of_board | {"wait_min": wait_min}, None),
        _make_deployment(rebuild, bundle, of_board, None),
    ]


def _make_deployment(
    flow: Flow[..., Any],
    bundle: BoardBundle,
    parameters: dict[str, Any],
    schedule: CronSchedule | IntervalSchedule | None,
) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        bundle.board.board,
        schedules=[schedule] if schedule else [],
        parameters=parameters,
        tags=[tag_board(bundle)],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def deploy(bundle: BoardBundle, work_pool: str, wait_min: float | None) -> Deployed:
    """Create the board's deployments in a work pool, or update them. Makes the pool, of type process, if it is missing.

    Raises ServerError where no server is configured, or it does not take them.
    """
    if not is_server_configured():
        raise ServerError("no Prefect server is configured. Set PREFECT_API_URL, or use `nightboard serve`")
    deployments = make_deployments(bundle, wait_min)
    with _server_errors(), get_client(sync_client=True) as client:
        made_pool = _make_pool(client, work_pool)
        for deployment in deployments:
            deployment.job_variables = {"env": HEARTBEAT}
            deployment.apply(work_pool_name=work_pool)
        warnings = _crash_silent_runs(client, bundle)
    return Deployed(tuple(deployment.full_name for deployment in deployments), made_pool, tuple(warnings))


@contextlib.contextmanager
def _server_errors() -> Iterator[None]:
    """What a server that does not answer, or refuses, is to an operator."""
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ServerError(f"{ConfiguredServer().name} cannot be used ({reason})") from error


def _make_pool(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return True
    return False


def _crash_silent_runs(client: SyncPrefectClient, bundle: BoardBundle) -> list[str]:
    """Create the automation that marks the board's silent runs as crashed and tells of them, or update it.

    Returns a sentence for each place that cannot be told.
    """
    name = f"nightboard: crashed runs of {bundle.board.board}"
    tell, warnings = _tell_of_crashes(client, bundle)
    states = ("Completed", "Failed", "Cancelled", "Crashed")
    crash = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=CRASHED, force=False)
    automation = AutomationCore(
        name=name,
        description="A run that sends no heartbeat any more has lost its process.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag_board(bundle)}"}
            ),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in states)},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT_FOR,
        ),
        actions=[crash, *tell],
    )
    there = client.read_automations_by_name(name)
    if there:
        client.update_automation(there[0].id, automation)
    else:
        client.create_automation(automation)
    return warnings


def _tell_of_crashes(client: SyncPrefectClient, bundle: BoardBundle) -> tuple[list[SendNotification], list[str]]:
    """The server itself tells of a crash, which it can by notification blocks only; and which of them it lacks."""
    actions, warnings = [], []
    for place in bundle.board.notify:
        kind, _, name = place.partition("/")
        if kind in (ENV, SECRET):
            continue
        try:
            block = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            warnings.append(f"notify: {place}: the Prefect server has no such block. Create it, or correct the name.")
            continue
        subject = f"nightboard {bundle.board.board}: a run has crashed"
        actions.append(SendNotification(block_document_id=block.id, subject=subject, body=TELL_CRASHED))
    return actions, warnings


def serve(
    bundle: BoardBundle, wait_min: float | None, say: Callable[[str], None], webhook: Listening | None = None
) -> None:
    """Run the board's flows as processes of this one, by schedule and on request, until it is interrupted.

    `webhook`: where to listen for the Hub, which says that a model has changed.
    Raises ServerError where the server cannot be used, or nobody can listen there.
    """
    listening = listen(bundle, webhook) if webhook else contextlib.nullcontext()
    with open_server(Store(bundle.store).prefect) as address, _server_errors(), listening:
        # For the runs, which are processes of their own.
        os.environ.update(HEARTBEAT)
        with get_client(sync_client=True) as client:
            warnings = _crash_silent_runs(client, bundle)
        for warning in warnings:
            say(warning)
        runner = _Runner()
        # As asyncio itself takes Ctrl-C, Prefect's runner may wait for ever for the runs that it has to stop.
        signal.signal(signal.SIGINT, runner.handle_sigterm)
        signal.signal(signal.SIGTERM, runner.handle_sigterm)
        say(f"Serving board {bundle.board.board}: {describe_schedule(bundle)}.")
        if webhook:
            say(f"The Hub's webhook: http://{webhook.host}:{webhook.port}{PATH}, one run for each model that changes.")
        try:
            say(f"Runs in the browser: {address}. Ctrl-C ends this; submitted jobs keep running.")
            for deployment in make_deployments(bundle, wait_min):
                runner.add_deployment(deployment)
            asyncio.run(runner.start())
        except SystemExit:
            say("Ended. Submitted jobs keep running; `nightboard collect` gathers their results.")


class _Runner(Runner):
    """Ends alike by Ctrl-C and SIGTERM. Prefect's own handler warns of a coroutine that it does not await."""

    def handle_sigterm(self, *_: Any, **_options: Any) -> None:
        raise SystemExit(0)


def describe_schedule(bundle: BoardBundle) -> str:
    """When the flows run, in a sentence for people."""
    schedule = bundle.board.schedule
    every = int(COLLECT_EVERY.total_seconds() // 60)
    return (
        f"nightly at {schedule.cron!r} ({schedule.timezone}), collect every {every} min, backfill and rebuild by hand"
    )
