"""The flow `rebuild` builds the warehouse of a store; also the last step of other flows: rebuild it if it is stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from prefect.client.schemas.objects import State

from nightboard.flows.display.console import Terminal, duration
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.run.deployed import name_run, run_deployed
from nightboard.flows.run.steps import Run, run_step
from nightboard.profiles.loading.load import load_board
from nightboard.profiles.loading.store_path import find_root
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import utc_now
from nightboard.tasks.store.trust import limit_umask
from nightboard.warehouse.builder.build import BuildResult, build, rebuild_if_stale


@dataclass
class Rebuild:
    """A run that only rebuilds."""

    ui: Terminal
    history: History


@flow(name="rebuild", flow_run_name=name_run, validate_parameters=False)
def rebuild(board: str, store: str | None = None) -> State[None]:
    """Build the warehouse from the files in a board's store; readers keep the previous build until it is ready."""

    def run(history: History) -> tuple[str, bool]:
        root = find_root(store, Path.cwd()) if store is not None else load_board(board).store
        limit_umask(root)
        return describe_build(run_rebuild(Store(root), history)), False

    return run_deployed(run)


def run_rebuild(store: Store, history: History = NO_HISTORY, *, is_quiet: bool = False) -> BuildResult:
    """Build a store's warehouse. Raises BuildError when the new build is no good; the previous one stays current."""
    run = Rebuild(Terminal(is_quiet=is_quiet, log=history.log), history)
    with history.flow_run("rebuild", f"store:{store.root}", {"store": str(store.root)}) as ending:
        result = run_step(run, build_warehouse, store)
        ending.summary = describe_build(result)
    return result


@task(name="build warehouse", tags=["warehouse"])
def build_warehouse(run: Run, store: Store) -> BuildResult:
    """Build the warehouse from the lake, whether it has grown or not."""
    with run.ui.show_work() as show:
        result = build(store.lake, store.warehouse, utc_now(), show)
    run.ui.step(f"Rebuild: {describe_build(result)}.")
    return result


@task(name="rebuild", tags=["warehouse"])
def rebuild_stale(run: Run, store: Store) -> None:
    """Build the warehouse where the lake has grown since the current build."""
    with run.ui.show_work() as show:
        result = rebuild_if_stale(store.lake, store.warehouse, utc_now(), show)
    run.ui.step(f"Rebuild: {describe_build(result)}." if result else "Rebuild: nothing new since the current build.")


def describe_build(result: BuildResult) -> str:
    """Which build it is, and how long it took."""
    return f"{result.path.name} in {duration(result.elapsed_s)}"
