"""Assigns the GPUs of this machine to local jobs: lists them, and locks those that a job uses.

A job holds a lock for each of its GPUs: one job only can take it, whichever flow or store that job is of, and the
kernel gives it back however the job ends. Locks lie outside of any store, a folder for each user of the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import Job

# Not by TMPDIR: two flows must find the same folder.
LOCKS = Path("/tmp")  # noqa: S108 - the folder below it is checked before it is used
VISIBLE = "CUDA_VISIBLE_DEVICES"
# How a flow tells its jobs what to choose from, and how many.
CHOICE, WANTED = "NIGHTBOARD_GPUS", "NIGHTBOARD_GPUS_WANTED"
_ASK = ("nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")
_ASK_LIMIT_S = 60.0
_LOOK_S = 0.5
# Locks of this process: kept until it ends.
_held: list[int] = []


@dataclass(frozen=True)
class Gpu:
    """A GPU: the word for CUDA_VISIBLE_DEVICES, and the name that it has whoever asks."""

    value: str
    name: str


def list_gpus(declared: int | Sequence[int] | None, environment: Mapping[str, str]) -> list[Gpu] | None:
    """The GPUs that jobs of this flow may have; None when nothing tells.

    What the profile declares, else what nvidia-smi finds; of these only what the flow's own CUDA_VISIBLE_DEVICES names.
    """
    reported = _ask_nvidia_smi(environment.get("PATH"))
    names = dict(reported or ()) | {uuid: uuid for _, uuid in reported or ()}
    visible = _read_visible(environment.get(VISIBLE))
    if declared is not None:
        indexes = range(declared) if isinstance(declared, int) else declared
        values = [str(index) for index in indexes if visible is None or str(index) in visible]
    elif visible is not None:
        values = visible
    elif reported is not None:
        # Not by index: CUDA counts in another order than nvidia-smi where GPUs differ.
        values = [uuid for _, uuid in reported]
    else:
        return None
    return [Gpu(value, names.get(value, value)) for value in dict.fromkeys(values)]


def fit_jobs(jobs: Sequence[Job], gpus: Sequence[Gpu] | None, in_use: int) -> list[Job]:
    """Those of `jobs` that find their GPUs free. Others would wait while their time runs.

    A job that wants more than the machine has is left in, to be refused.
    """
    number = max((job.gpus for job in jobs), default=0) if gpus is None else len(gpus)
    fitting = []
    for job in jobs:
        if job.gpus <= max(0, number - in_use) or job.gpus > number:
            fitting.append(job)
            in_use += job.gpus
    return fitting


def describe_choice(gpus: Sequence[Gpu], wanted: int) -> dict[str, str]:
    """Variables that let a job take `wanted` of these GPUs."""
    return {CHOICE: json.dumps([[gpu.value, gpu.name] for gpu in gpus]), WANTED: str(wanted)}


def claim_gpus(environment: Mapping[str, str]) -> str:
    """Wait until as many GPUs are free as the job wants, and keep them; returns what CUDA_VISIBLE_DEVICES is to be."""
    choice, wanted = [Gpu(*fields) for fields in json.loads(environment[CHOICE])], int(environment[WANTED])
    if wanted > len(choice):
        raise ValueError(f"the job wants {wanted} GPUs of {len(choice)}")
    folder = _open_folder(LOCKS / f"nightboard-gpus-{os.geteuid()}")
    while True:
        # One job at a time chooses, or two that want two each would hold one each for ever.
        with _locked(folder / "choosing"):
            taken = _take_free(folder, choice, wanted)
        if len(taken) == wanted:
            return ",".join(taken)
        time.sleep(_LOOK_S)


def _take_free(folder: Path, choice: Sequence[Gpu], wanted: int) -> list[str]:
    """Lock as many as wanted, or none."""
    taken: dict[str, int] = {}
    for gpu in choice if wanted else ():
        lock = os.open(folder / re.sub(r"[^\w-]", "_", gpu.name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        taken[gpu.value] = lock
        if len(taken) == wanted:
            _held.extend(taken.values())
            return list(taken)
    for lock in taken.values():
        os.close(lock)
    return []


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_folder(path: Path) -> Path:
    """The folder of this user's locks; another user may have made it before, to have files written elsewhere."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    info = path.lstat()
    if path.is_symlink() or not path.is_dir() or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise StoreError(f"{path}: must be a folder that only this user can write. Remove it; it is created again.")
    return path


@functools.lru_cache(maxsize=4)
def _ask_nvidia_smi(path: str | None) -> tuple[tuple[str, str], ...] | None:
    """Index and uuid of each GPU; None where nvidia-smi is not there or does not answer. Asked once a process."""
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    try:
        answer = run(_ASK, capture_output=True, text=True, timeout=_ASK_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = [tuple(cell.strip() for cell in line.split(",")) for line in answer.stdout.splitlines() if "," in line]
    return tuple((pair[0], pair[1]) for pair in pairs)


def _read_visible(text: str | None) -> list[str] | None:
    """The flow's own CUDA_VISIBLE_DEVICES as CUDA reads it: what comes after a number below zero does not count."""
    if text is None:
        return None
    values: list[str] = []
    for value in map(str.strip, text.split(",")):
        if not value or value.startswith("-"):
            break
        values.append(value)
    return values
