"""Runs one attempt on the node: acquires it, writes its log and progress, and its outcome.

Owns log.txt, progress.json and outcome.json of an attempt's folder. A repository can put any words into an error, so
the node is blamed only for errors that words cannot fake: a system error number, a type of error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from nightboard.tasks.evaluation.failure_reasons import State, find_ending
from nightboard.tasks.evaluation.job_log import read_log_tail, record_log
from nightboard.tasks.evaluation.lease import acquire, heartbeat
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.layout import LOG_FILE, OUTCOME_FILE, StoreError
from nightboard.tasks.store.records import Outcome

_log = logging.getLogger(__name__)


def run_attempt(folder: Path, run_shard: Callable[[], None]) -> str:
    """Run the shard if this process acquires the attempt; returns the outcome's state, or `left` if another run has it.

    Raises StoreError or OSError only when no outcome could be written. A SystemExit goes through and leaves none: that
    is how submitit ends a preempted job that it has put back into the queue, to go on later with the same attempt.
    """
    if not folder.is_dir():
        raise StoreError("the attempt's folder does not exist. Was the store moved?")
    if _read_rank():
        return "left"  # a job of several nodes starts this on each
    if not acquire(folder, read_job_id()):
        print(f"{folder}: skipped: another run holds this attempt, it has ended, or a flow revoked it", flush=True)
        return "left"
    started_at = datetime.now(UTC)
    with record_log(folder / LOG_FILE), heartbeat(folder):
        state, reason = try_run(run_shard, folder / LOG_FILE)
    outcome = Outcome(
        state=state,
        reason=reason,
        job_id=read_job_id(),
        node=read_node(),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        log_tail=() if state == "completed" else read_log_tail(folder / LOG_FILE),
    )
    if not claim_file(folder / OUTCOME_FILE, outcome.to_bytes()):
        print(f"{folder}: another process has already written an outcome; that one counts", flush=True)
    return state


def read_node() -> str:
    """The node as the cluster calls it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _is_local() -> bool:
    """A local job may have been started by a flow that is itself a job of SLURM."""
    return "SUBMITIT_LOCAL_JOB_ID" in os.environ


def _read_rank() -> int:
    return 0 if _is_local() else int(os.environ.get("SLURM_PROCID", "0"))


def read_job_id() -> str | None:
    """The cluster's name for this job, as the launch recorded it; None outside of a job."""
    env = os.environ
    if _is_local():
        return env["SUBMITIT_LOCAL_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '0')}"
    return env.get("SLURM_JOB_ID")


def try_run(run: Callable[[], None], log: Path) -> tuple[State, str | None]:
    """Run a shard, or a benchmark of it: how it ended and, unless it completed, why, in words and in one line."""
    with _stops_noted() as stops:
        try:
            run()
        except (SystemExit, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # libraries in Rust end in errors that are no Exception
            return find_ending(error, stops, log)
    return "completed", None


@contextlib.contextmanager
def _stops_noted() -> Iterator[list[BaseException]]:
    """What submitit's answer to a signal raises while this is open.

    It raises wherever the program is. A library that tries an import, or whatever else, swallows it and says later that
    something is missing.
    """
    stops: list[BaseException] = []
    before = signal.getsignal(signal.SIGUSR2)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield stops
        return

    def answer(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except BaseException as stop:
            stops.append(stop)
            raise

    signal.signal(signal.SIGUSR2, answer)
    try:
        yield stops
    finally:
        signal.signal(signal.SIGUSR2, before)
