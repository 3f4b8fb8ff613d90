"""Keeps a run off the nodes and tiers where nothing comes to an end, and says so once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from nightboard.flows.run.state import RunState
from nightboard.tasks.cluster.executor import ExecutorError
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.evaluation.attempt import read_node
from nightboard.tasks.planning.avoid import Avoided
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.store.layout import LAUNCH_FILE
from nightboard.tasks.store.records import Launch

# SLURM's word for a job that no node can ever run.
NO_NODE_FITS = "BadConstraints"


@dataclass
class AvoidedNodes:
    """What a run has learned about nodes and tiers; the next run looks at all of them again."""

    run: RunState
    _avoided: Avoided = field(default_factory=Avoided)
    # Tiers for which the cluster has no node but those that are avoided, and arrays that were submitted before.
    _without_nodes: set[str] = field(default_factory=set)
    _given_back: set[str] = field(default_factory=set)

    @property
    def names(self) -> Collection[str]:
        """Nodes that no job is to run on."""
        return self._avoided.nodes.keys()

    @property
    def tiers(self) -> set[str]:
        """Tiers in which nothing is launched."""
        return {*self._avoided.tiers, *self._without_nodes}

    @property
    def is_here(self) -> bool:
        """Whether this machine is one of them."""
        return bool({read_node(), current_process().host} & self._avoided.nodes.keys())

    def look(self, launcher: Launcher) -> None:
        """Find nodes and tiers to avoid by what has ended, and keep what waits in the cluster off new ones."""
        before, self._avoided = self._avoided, self.run.board.find_avoided(self.run.started_at)
        for reasons, known in ((self._avoided.nodes, before.nodes), (self._avoided.tiers, before.tiers)):
            self.run.report_problems(reasons[name] for name in reasons if name not in known)
        is_local = self.run.board.bundle.cluster.executor == "local"
        if not is_local and self._avoided.nodes.keys() - before.nodes.keys():
            self._exclude(launcher, {attempt.launch_id for attempt in self.run.open_runs.open}, self.names)

    def give_back(self, launcher: Launcher) -> None:
        """An array that waits for ever, since every node that it could have is avoided, may have all of them again."""
        if self._avoided.nodes:
            stuck = {
                attempt.launch_id
                for attempt in self.run.open_runs.open
                if attempt.report and attempt.report.waits_for == NO_NODE_FITS
            }
            self._exclude(launcher, stuck - self._given_back, ())
            self._given_back |= stuck

    def leave_tier(self, tier: str, error: ExecutorError) -> None:
        """The cluster gives a tier no node but those that are avoided."""
        nodes = ", ".join(sorted(self.names))
        text = f"Tier {tier}: nothing more is launched in it in this run, which excludes {nodes}: {error}"
        self.run.report_problems([text])
        self._without_nodes.add(tier)

    def _exclude(self, launcher: Launcher, launch_ids: Collection[str], nodes: Collection[str]) -> None:
        """Keep what waits of our own launches off these nodes."""
        cluster, opened = self.run.board.bundle.cluster, self.run.open_runs.open
        tiers = {tier.name for tier in cluster.tiers}
        for launch_id in launch_ids:
            waiting = [attempt for attempt in opened if attempt.launch_id == launch_id and attempt.job_id]
            launch = Launch.read(self.run.board.store.launch_dir(launch_id) / LAUNCH_FILE)
            is_ours = launch.cluster == cluster.cluster and launch.jobs[0].tier in tiers
            if not is_ours or not any(each.report and each.report.state == "PENDING" for each in waiting):
                continue
            excluded = launcher.excluded(launch.jobs[0].tier, nodes)
            try:
                self.run.board.executor.exclude_nodes([str(attempt.job_id) for attempt in waiting], excluded)
            except ExecutorError as error:
                self.run.report_problems([f"Waiting jobs of launch {launch_id} may still run there: {error}"])
