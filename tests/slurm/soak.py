"""Minutes of chaos on a real SLURM: flows, jobs, nodes and daemons are killed at random while models are evaluated.

Then calm: one last night, and the store must be as if nothing had happened. `make soak` (needs `make slurm-up`);
SOAK_MIN=10 minutes, SOAK_SEED=N for the same blows again (what they hit depends on the machine).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slurm.cluster import Cluster, ClusterError
from slurm.counted import NODE_CODE
from world import World, make_models, open_world

N_MODELS = 8
# A pause between two blows, drawn anew each time.
PAUSE_S = (2.0, 12.0)
# A node is away for so long: longer than SLURM takes to notice, and shorter.
AWAY_S = (1.0, 30.0)
CLUSTER = """
cluster: quick
executor: slurm
max_jobs: 6
max_gpus: 6
poll_interval_s: 1
slurm:
  setup: ["export PYTHONPATH={code} COUNTED={folder}"]
  signal_delay_s: 5
tiers:
  - {{{{name: cpu, up_to_params_b: 1, gpus: 1, cpus: 1, mem_gb: 2, time_min: 10, device: cpu, batch_size: 8}}}}
retries:
  interrupted: {{{{attempts: 100}}}}
  node_fail: {{{{attempts: 100}}}}
  not_started: {{{{attempts: 100}}}}
  timeout: {{{{attempts: 100}}}}
  preempted: {{{{attempts: 100}}}}
"""
COMPLETED = (
    "select model_id, count(*) from attempts join evaluations using (evaluation_id) where attempts.state = 'completed' "
    "group by all order by all"
)
SCORES = (
    "select model_id, task, metric, filter, value from task_scores join evaluations using (evaluation_id) order by all"
)


@dataclass
class Soak:
    """A world on the cluster, and what is done to it. `blows` counts each kind."""

    world: World
    cluster: Cluster
    folder: Path
    chance: random.Random
    blows: Counter[str] = field(default_factory=Counter)
    flows: list[subprocess.Popen[str]] = field(default_factory=list)
    _back_at: dict[str, float] = field(default_factory=dict)

    def torment(self, minutes: float) -> None:
        """Blow after blow until the time is up; flows that end or die are started again, two at most."""
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            self._keep_flows()
            self._bring_back(time.monotonic())
            name = choose_blow(self.chance)
            with contextlib.suppress(ClusterError, ProcessLookupError):
                if BLOWS[name](self):
                    self.blows[name] += 1
                    print(f"{end - time.monotonic():5.0f} s left: {name}", flush=True)
            time.sleep(min(self.chance.uniform(*PAUSE_S), max(0.0, end - time.monotonic())))

    def calm(self) -> Any:
        """Put everything right, and have one night finish what is left."""
        for flow in self.flows:
            flow.kill()
            flow.communicate()
        self._bring_back(float("inf"))
        self.cluster.repair()
        (self.folder / "slow").unlink(missing_ok=True)
        # What was put back into the queue waits two minutes, as SLURM has it.
        return self.world.night()

    def _keep_flows(self) -> None:
        self.flows = [flow for flow in self.flows if flow.poll() is None or flow.communicate() is None]
        while len(self.flows) < self.chance.choice((1, 2)):
            self.flows.append(self.world.start_night())

    def _bring_back(self, now: float) -> None:
        for name in [name for name, at in self._back_at.items() if at <= now]:
            del self._back_at[name]
            (self.cluster.node_up if name.startswith("gpu") else self.cluster.start)(name)

    def away(self, name: str) -> None:
        """A daemon or node is gone, and comes back after a while."""
        self._back_at[name] = time.monotonic() + self.chance.uniform(*AWAY_S)

    def kill_flow(self) -> bool:
        running = [flow for flow in self.flows if flow.poll() is None]
        if running:
            self.chance.choice(running).send_signal(signal.SIGKILL)
        return bool(running)

    def kill_job(self) -> bool:
        """kill -9 of the process that called a model last."""
        calls = self.folder / "calls"
        if not calls.exists():
            return False
        os.kill(int(calls.read_text().splitlines()[-1]), signal.SIGKILL)
        return True

    def crash_node(self) -> bool:
        node = self.chance.choice(self.cluster.node_names)
        if node in self._back_at or len(self._back_at) > 1:
            return False
        self.cluster.crash(node)
        self.away(node)
        return True

    def stop_daemon(self, name: str) -> bool:
        if self._back_at:
            return False
        self.cluster.stop(name)
        self.away(name)
        return True


BLOWS: dict[str, Callable[[Soak], bool]] = {
    "kill -9 of a flow": Soak.kill_flow,
    "kill -9 of a job": Soak.kill_job,
    "power cut of a node": Soak.crash_node,
    "slurmctld away": lambda soak: soak.stop_daemon("slurmctld"),
    "slurmdbd away": lambda soak: soak.stop_daemon("slurmdbd"),
}


def choose_blow(chance: random.Random) -> str:
    """Jobs are hit more often than the rest, which takes its time to come back."""
    return chance.choices(list(BLOWS), weights=(2, 4, 2, 1, 1))[0]


def find_damage(soak: Soak, report: Any, expected: list[tuple[object, ...]], calm_calls: int) -> list[str]:
    """What is not as it would be without the chaos, in words; nothing when all is well."""
    world, problems = soak.world, [f"failed: {each.model_id}: {each.reason}" for each in report.failed]
    done = world.query(COMPLETED)
    if done != [(name, 1) for name in names()]:
        problems.append(f"not every evaluation was completed exactly once: {done}")
    if world.query(SCORES) != expected:
        problems.append("scores differ from those of a calm run")
    outcomes = len(list((world.store.lake / "outcomes").iterdir()))
    if outcomes != N_MODELS:
        problems.append(f"{outcomes} outcomes in the lake for {N_MODELS} evaluations")
    if left := [str(path) for path in world.store.lake.rglob("*.tmp")]:
        problems.append(f"half-written files in the lake: {left}")
    if report.in_flight or report.not_started:
        problems.append("the last night left work")
    if world.night().plan.evaluations:
        problems.append("a further night finds something to evaluate")
    redone, hits = count_calls(soak.folder) - calm_calls, soak.blows["kill -9 of a job"]
    hits += soak.blows["power cut of a node"] * soak.cluster.shape.gpus
    if redone > hits:
        problems.append(f"{redone} batches were done again after {hits} kills")
    return problems


def names() -> list[str]:
    return [f"lab/m{number}" for number in range(N_MODELS)]


def count_calls(folder: Path) -> int:
    path = folder / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


@contextlib.contextmanager
def open_soak(folder: Path, cluster: Cluster, models: Path, chance: random.Random) -> Iterator[Soak]:
    """A fresh world with the models; its nodes count the calls of the models and take half a second for each."""
    (folder / "code").mkdir(parents=True)
    shutil.copy(NODE_CODE, folder / "code" / "sitecustomize.py")
    text = CLUSTER.format(code=folder / "code", folder=folder)
    with open_world(folder, models, cluster=text, names=()) as world:
        for number, name in enumerate(names()):
            # Each its own content, or they would share an evaluation.
            config = (models / "lab/strong/config.json").read_bytes().rstrip()
            world.add_model(name, source="lab/strong", **{"config.json": config + b"\n" * (number + 1)})
        yield Soak(world, cluster, folder, chance)


def run_soak(minutes: float, seed: int) -> int:
    """Calm run, chaos, calm; prints what happened and returns the exit code."""
    cluster = Cluster.find()
    if cluster is None or not cluster.is_up():
        raise SystemExit("no SLURM of the tests answers; `make slurm-up` starts one")
    os.environ["SLURM_CONF"] = str(cluster.conf)
    print(f"soak: {minutes:g} minutes on {len(cluster.node_names)} nodes, seed {seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="nightboard-soak-") as name,
        (cluster.state / "tests.lock").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(name)
        models = make_models(folder / "models")
        with open_soak(folder / "calm", cluster, models, random.Random(seed)) as calm:
            assert len(calm.world.night().evaluated) == N_MODELS
            expected, calm_calls = calm.world.query(SCORES), count_calls(calm.folder)
        with open_soak(folder / "chaos", cluster, models, random.Random(seed)) as soak:
            (soak.folder / "slow").write_text("0.5")
            try:
                soak.torment(minutes)
            finally:
                report = soak.calm()
            problems = find_damage(soak, report, expected, calm_calls)
            attempts = soak.world.query("select state, count(*) from attempts group by all order by all")
            redone = count_calls(soak.folder) - calm_calls
    print(f"blows: {', '.join(f'{number} x {what}' for what, number in sorted(soak.blows.items()))}")
    print(f"attempts: {', '.join(f'{number} {state}' for state, number in attempts)}; {redone} batches done again")
    for problem in problems:
        print(f"! {problem}")
    verdict = "every evaluation done once, scores equal to a calm run's, store consistent"
    print(f"soak with seed {seed}: {f'{len(problems)} problems' if problems else verdict}.")
    return int(bool(problems))


def main() -> None:
    seed = int(os.environ.get("SOAK_SEED") or secrets.randbelow(10**6))
    sys.exit(run_soak(float(os.environ.get("SOAK_MIN") or 10), seed))


if __name__ == "__main__":
    main()
