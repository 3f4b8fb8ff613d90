"""Launches a wave: jobs as arrays, within the places and GPUs that are free, while no other flow launches."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from nightboard.flows.display.console import count
from nightboard.flows.run.avoided_nodes import AvoidedNodes
from nightboard.flows.run.job_queue import JobQueue
from nightboard.flows.run.state import RunState
from nightboard.tasks.cluster.executor import ClusterAway, ExecutorError
from nightboard.tasks.cluster.local_gpus import fit_jobs, list_gpus
from nightboard.tasks.planning.packing import group_arrays
from nightboard.tasks.runs.gpu_throttle import Throttle
from nightboard.tasks.runs.launch import launching
from nightboard.tasks.runs.open_runs import OpenAttempt
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import Job, utc_now


@dataclass
class WaveLauncher:
    """Takes jobs out of the queue and submits them. `can_launch`: nothing has happened that stops launching."""

    run: RunState
    queue: JobQueue
    nodes: AvoidedNodes
    can_launch: bool = True

    def __post_init__(self) -> None:
        board = self.run.board
        self.cluster = board.bundle.cluster
        self.throttle = Throttle(board.store, board.executor, self.cluster.max_gpus)

    def stop(self, error: Exception) -> None:
        """Nothing more can be launched in this run: the rest stays in the queue, what runs is still waited for."""
        self.can_launch = False
        self.run.report_problems([f"Stopped launching jobs for this run: {error}"])

    def has_throttled(self) -> bool:
        """Whether an array could use more GPUs than it has."""
        return self.throttle.has_waiting(self.run.open_runs.open)

    def launch(self, jobs: Sequence[Job]) -> bool:
        """Launch jobs as far as there is room; says whether any left the queue. Without jobs GPUs are shared again."""
        before = len(self.queue.jobs)
        try:
            with launching(self.run.board.store):
                self._launch_fitting(jobs)
        except StoreError as error:  # somebody else must make the store safe, or room in it
            self.stop(error)
        self.run.report_problems(self.throttle.problems)
        return len(self.queue.jobs) < before

    def _launch_fitting(self, jobs: Sequence[Job]) -> None:
        opened = self._list_open()
        # Another flow may have launched meanwhile.
        free = max(0, self.cluster.max_jobs - len({(each.launch_id, each.job_index) for each in opened}))
        try:
            self._launch_arrays(self._fit_gpus(jobs[:free], opened), opened)
        except ClusterAway:
            self.run.tell_cluster(is_away=True)
        except (StoreError, ExecutorError) as error:
            self.stop(error)
        self.run.see_open(self._list_open() if jobs else opened)

    def _list_open(self) -> list[OpenAttempt]:
        """What is open by the store, and what the cluster said of it last."""
        known = {attempt.folder: attempt for attempt in self.run.open_runs.open}
        opened = self.run.board.list_open(utc_now(), asks_cluster=False).open
        return [*known.values(), *(attempt for attempt in opened if attempt.folder not in known)]

    def _fit_gpus(self, jobs: Sequence[Job], opened: Sequence[OpenAttempt]) -> Sequence[Job]:
        """Local jobs for which GPUs of this machine are free; SLURM has its own word on that."""
        if self.cluster.executor != "local":
            return jobs
        here = (None, socket.gethostname())
        running = {(attempt.launch_id, attempt.job_index): attempt for attempt in opened}.values()
        in_use = sum(each.gpus for each in running if (each.report.node if each.report else None) in here)
        return fit_jobs(jobs, list_gpus(self.cluster.gpus, os.environ), in_use)

    def _launch_arrays(self, jobs: Sequence[Job], opened: Sequence[OpenAttempt]) -> None:
        """Submit jobs as arrays within the GPUs that may be used; what has to wait stays in the queue."""
        sizes = (self.cluster.max_array_size, self.run.board.executor.max_array_size() if jobs else None)
        arrays = group_arrays(jobs, min((size for size in sizes if size), default=None))
        for array, allowed in zip(arrays, self.throttle.share(opened, arrays), strict=True):
            if allowed != 0:
                self._launch_array(array, allowed)

    def _launch_array(self, array: Sequence[Job], parallelism: int | None) -> None:
        """Submit one array. Raises ClusterAway, and ExecutorError unless its tier alone has no node left."""
        try:
            launch = self.queue.launcher.launch(array, utc_now(), parallelism, self.nodes.names)
        except ClusterAway:
            # What became of the array is found out by its name, once the cluster answers.
            self.queue.remove_jobs(array)
            raise
        except ExecutorError as error:
            if not self.nodes.names:
                raise
            self.nodes.leave_tier(array[0].tier, error)
            return
        self.run.tell_cluster(is_away=False)
        self.queue.remove_jobs(array)
        if launch:
            self.run.ui.say(f"Launch: {count(len(array), 'job')} on tier {array[0].tier} ({launch.launch_id}).")
