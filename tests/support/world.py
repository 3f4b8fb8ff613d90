"""A small world for whole nights: a served Hub with made models, a board over it, and ways to run its nights."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from warm import warm

from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.flows.demo.make_models import Recipe, make_model
from nightboard.flows.demo.questions import make_datasets
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.run.report import RunReport
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import rank

RECIPES = {"lab/strong": Recipe(skill=0.95, seed=1), "lab/weak": Recipe(skill=0.3, seed=3)}
BENCHMARKS = ("musr", "mmlu_pro")

BOARD = """
board: world
title: World
watch: world
suites: [small]
cluster: quick
store: store
hub: {endpoint}
"""
SUITE = """
suite: small
title: Small
extends: demo
only: [musr, mmlu_pro]
limit: 4
"""
WATCHLIST = """
watchlist: world
organizations: [lab]
precision: float32
"""
CLUSTER = """
cluster: quick
executor: local
max_jobs: {max_jobs}
poll_interval_s: 0.2
tiers:
  - {{name: cpu, up_to_params_b: 1, time_min: 10, device: cpu, batch_size: 8, share_job_below_min: 10}}
"""

# Runs a night in a process of its own. At the place named by argv[3] it kills itself the hard way: after a step of the
# flow, or where the steps of launching and collecting leave something half-done.
DRIVER = """
import os, signal, sys
from nightboard.flows import nightly as module

run_step, stop_after = module.run_step, sys.argv[3]

def run_and_die(run, step, *arguments):
    result = run_step(run, step, *arguments)
    if step.name == stop_after:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

module.run_step = run_and_die
def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

if stop_after == "launch":
    from nightboard.tasks.runs.launch import Launcher
    launch = Launcher.launch
    Launcher.launch = lambda *args: (launch(*args), die())
if stop_after == "claim":
    from nightboard.tasks.runs import launch
    launch.make_call = die
if stop_after == "sbatch":
    from submitit.core.utils import JobPaths
    JobPaths.move_temporary_file = die
if stop_after == "merge":
    from nightboard.tasks.runs import collect
    merge = collect.merge_shards
    collect.merge_shards = lambda *args: (merge(*args), die())
print(module.run_nightly(sys.argv[1], None, float(sys.argv[2]) if sys.argv[2] else None).model_dump_json())
"""


@dataclass
class World:
    """The Hub holds lab/strong and lab/weak; the board asks them two benchmarks of a few documents."""

    hub: LoopbackHub
    folder: Path
    models: Path

    @property
    def board(self) -> str:
        return str(self.folder / "world.yaml")

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def add_model(self, repo_id: str, source: str | None = None, **changes: bytes) -> str:
        self.hub.create_repo(repo_id)
        files: dict[str, bytes | Path] = {p.name: p for p in sorted((self.models / (source or repo_id)).iterdir())}
        card = f"---\nlicense: apache-2.0\n---\n# {repo_id}\n".encode()
        return self.hub.commit(repo_id, files | {"README.md": card} | changes, "Add the model")

    def night(self, wait_min: float | None = None, history: History = NO_HISTORY) -> RunReport:
        from nightboard.flows.nightly import run_nightly

        return run_nightly(self.board, None, wait_min, history)

    def start_night(self, stop_after: str = "", wait_min: str = "", umask: int = -1) -> subprocess.Popen[str]:
        return subprocess.Popen(
            warm(DRIVER, self.board, wait_min, stop_after),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ.copy(),
            umask=umask,
        )

    def ranking(self) -> list[tuple[str, int]]:
        with connect(self.store.warehouse) as connection:
            result = rank(connection, suite="small")
        at = {name: index for index, name in enumerate(result.columns)}
        return [(row[at["model_id"]], row[at["rank"]]) for row in result.rows]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with connect(self.store.warehouse) as connection:
            return connection.execute(sql).fetchall()

    def share_datasets(self, folder: Path) -> None:
        """Keep downloaded datasets in a folder that worlds share; they have the same ones, of the same commits."""
        mine = self.store.dataset_dir("any/dataset", "any commit").parents[1]
        mine.parent.mkdir(parents=True)
        mine.symlink_to(folder)

    def forget_datasets(self) -> None:
        """Download all of them, to a store that is not there yet."""
        shutil.rmtree(self.store.root)

    def wait_for_outcomes(self, count: int, timeout_s: float = 600) -> list[Path]:
        deadline = time.monotonic() + timeout_s
        while True:
            found = sorted(self.store.runs.glob("*/*/*/outcome.json"))
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the store with its content, but for Prefect's."""
        return {str(p): p.read_bytes() for p in sorted(self.store.root.rglob("*")) if p.is_file()}


def make_models(folder: Path) -> Path:
    for repo_id, recipe in RECIPES.items():
        make_model(recipe, folder / repo_id)
    return folder


@contextlib.contextmanager
def open_world(
    folder: Path, models: Path, max_jobs: int = 1, cluster: str = CLUSTER, names: Sequence[str] = tuple(RECIPES)
) -> Iterator[World]:
    """A served world whose board uses `cluster`, a profile named quick with room for max_jobs."""
    hub = LoopbackHub()
    for repo_id, files in make_datasets().items():
        hub.create_repo(repo_id, "dataset")
        hub.commit(repo_id, files, "Add the questions", kind="dataset")
    world = World(hub, folder, models)
    for repo_id in names:
        world.add_model(repo_id)
    with serve(hub) as endpoint:
        for kind, text in {
            "world": BOARD.format(endpoint=endpoint),
            "suites/small": SUITE,
            "watchlists/world": WATCHLIST,
            "clusters/quick": cluster.format(max_jobs=max_jobs),
        }.items():
            path = folder / f"{kind}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        yield world
