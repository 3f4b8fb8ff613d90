"""Where jobs can run from this machine: SLURM's partitions, the GPUs of this machine, or its CPU; for a new board.

Reads what sinfo and nvidia-smi say; decides no more than which place comes first.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from nightboard.tasks.cluster.executor import ExecutorError
from nightboard.tasks.cluster.slurm_commands import read_duration, run

_SINFO = ("sinfo", "-h", "-e", "-o", "%P|%a|%l|%D|%c|%m|%G|%T")
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_NVIDIA_SMI_LIMIT_S = 60.0
# States of nodes that start no jobs, by how they begin; sinfo marks one that does not answer with a star.
_UNUSABLE = (
    "down",
    "drain",
    "fail",
    "error",
    "unk",
    "future",
    "maint",
    "power_down",
    "powered_down",
    "reboot",
    "perfctrs",
)
# Memory by a part of the name, in GB, longer names first; the smaller one where two are sold under a name. SLURM does
# not know it.
_GPU_MEMORY_GB = {
    "gb200": 186, "gh200": 96, "b300": 288, "b200": 180, "h200": 141, "h100": 80, "h800": 80, "h20": 96, "a6000": 48,
    "a5000": 24, "a4000": 16, "a100": 40, "a800": 80, "a40": 48, "a30": 24, "a16": 16, "a10": 24, "l40": 48, "l4": 24,
    "v100": 16, "p100": 16, "t4": 16, "5090": 32, "4090": 24, "3090": 24, "mi355": 288, "mi325": 256, "mi300": 128,
    "mi250": 64, "mi210": 64, "mi100": 32,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where jobs can run. `gpus`: of one node; `cpus` and `mem_gb`: for each of its GPUs, or of a node without any.

    `nodes`: those that start jobs. `gpu_memory_gb` None: not known. `time_min` None: without limit.
    """

    executor: Literal["slurm", "local"]
    partition: str | None = None
    is_default: bool = False
    nodes: int = 1
    gpus: int = 0
    gpu_type: str | None = None
    gpu_memory_gb: float | None = None
    cpus: int = 1
    mem_gb: float = 1
    time_min: int | None = None
    total_gpus: int = 0

    @property
    def key(self) -> str:
        """How a user names it."""
        if self.executor == "slurm":
            return f"slurm:{self.partition}"
        return "gpus" if self.gpus else "cpu"


@dataclass(frozen=True)
class _Nodes:
    """A line of sinfo: nodes of a partition that are alike."""

    number: int
    cpus: int
    mem_gb: float
    gpus: int
    gpu_type: str | None
    is_usable: bool


def find_places() -> tuple[list[Place], list[str]]:
    """Where jobs can run, the place to propose first; and what could not be read."""
    problems: list[str] = []
    partitions: list[Place] = []
    try:
        partitions, left_out = read_partitions(run(*_SINFO))
        problems += left_out
    except ExecutorError as error:
        if "not on this machine" not in str(error):
            problems.append(f"SLURM is left out: {error}")
    local = read_gpus(_ask_nvidia_smi())
    places = [*partitions, *([local] if local else []), read_cpu()]
    return sorted(places, key=_by_use), problems


def _by_use(place: Place) -> tuple[bool, bool, bool, int]:
    return (not place.gpus, place.executor != "slurm", not place.is_default, -place.total_gpus)


# --------------------------------------------------------------------------------------------------------- partitions


def read_partitions(text: str) -> tuple[list[Place], list[str]]:
    """Partitions from sinfo's lines, and a sentence for each that starts no jobs; skips other lines."""
    partitions: dict[str, list[_Nodes]] = defaultdict(list)
    limits: dict[str, int | None] = {}
    closed: dict[str, str] = {}
    for name, available, limit, *cells in _read_cells(text):
        limits[name] = _read_limit(limit)
        if available != "up":
            closed[name] = available
        if alike := _read_nodes(cells):
            partitions[name].append(alike)
    places, problems = [], []
    for name, nodes in partitions.items():
        plain = name.rstrip("*")
        usable = [each for each in nodes if each.is_usable]
        if name in closed:
            problems.append(f"Partition {plain} is left out: it is {closed[name]}.")
        elif not usable:
            problems.append(f"Partition {plain} is left out: none of its nodes is up.")
        else:
            places.append(_make_place(plain, name.endswith("*"), usable, limits[name]))
    return places, problems


def _read_cells(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 8:
            yield cells


def _read_nodes(cells: Sequence[str]) -> _Nodes | None:
    number, cpus, memory, gres, state = cells
    counts = [re.match(r"\d+", text) for text in (number, cpus, memory)]
    if not all(counts):
        return None
    n_nodes, n_cpus, mem_mb = (int(found[0]) for found in counts if found)
    gpus, gpu_type = read_gres(gres)
    is_usable = n_nodes > 0 and "*" not in state and not state.lower().startswith(_UNUSABLE)
    return _Nodes(n_nodes, n_cpus, mem_mb / 1000, gpus, gpu_type, is_usable)


def read_gres(text: str) -> tuple[int, str | None]:
    """How many GPUs a node has, and their type where it is one: `gpu:h100:8(S:0-1),shard:16`, `gpu:2`, `(null)`."""
    number, types = 0, set()
    for gres in re.sub(r"\([^)]*\)", "", text).split(","):
        kind, *parts = gres.strip().split(":")
        if kind != "gpu":
            continue
        has_count = bool(parts) and parts[-1].isdigit()
        number += int(parts[-1]) if has_count else 1
        names = parts[:-1] if has_count else parts
        types |= {names[0]} if names else set()
    return number, next(iter(types)) if len(types) == 1 else None


def _read_limit(text: str) -> int | None:
    """Minutes of a time limit; None for infinite, and for what cannot be read."""
    seconds = read_duration(text)
    return max(1, int(seconds / 60)) if seconds else None


def _make_place(name: str, is_default: bool, nodes: Sequence[_Nodes], time_min: int | None) -> Place:
    """A partition as one shape: what every node with GPUs has for each of them, or every node where none has any."""
    with_gpus = [each for each in nodes if each.gpus]
    of_shape = with_gpus or nodes
    types = {each.gpu_type for each in with_gpus}
    memories = [guess_memory_gb(each.gpu_type) for each in with_gpus]
    known = [memory for memory in memories if memory is not None]
    return Place(
        "slurm",
        name,
        is_default,
        nodes=sum(each.number for each in of_shape),
        gpus=max(each.gpus for each in of_shape),
        gpu_type=next(iter(types)) if len(types) == 1 else None,
        gpu_memory_gb=min(known) if known and len(known) == len(memories) else None,
        cpus=min(max(1, each.cpus // max(1, each.gpus)) for each in of_shape),
        mem_gb=min(each.mem_gb / max(1, each.gpus) for each in of_shape),
        time_min=time_min,
        total_gpus=sum(each.number * each.gpus for each in with_gpus),
    )


def guess_memory_gb(gpu_type: str | None) -> float | None:
    """Memory of a GPU by its name: `h100`, `nvidia_a100-sxm4-80gb`, `1g.10gb`; None if nothing tells."""
    name = (gpu_type or "").lower()
    if sizes := re.findall(r"(\d+)gb", name):
        return float(sizes[-1])
    return next((float(memory) for part, memory in _GPU_MEMORY_GB.items() if part in name), None)


# ------------------------------------------------------------------------------------------------------ this machine


def _ask_nvidia_smi() -> str:
    try:
        answer = subprocess.run(
            _NVIDIA_SMI, capture_output=True, text=True, errors="replace", timeout=_NVIDIA_SMI_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout


def read_gpus(text: str) -> Place | None:
    """The GPUs that nvidia-smi lists; None without any."""
    cells = [line.rpartition(",") for line in text.splitlines()]
    found = [(name.strip(), int(memory)) for name, _, memory in cells if memory.strip().isdigit()]
    if not found:
        return None
    names = {name for name, _ in found}
    cpu = read_cpu()
    return Place(
        "local",
        gpus=len(found),
        gpu_type=next(iter(names)) if len(names) == 1 else None,
        # MiB, of which the driver keeps some: 81,559 are sold as 80 GB.
        gpu_memory_gb=float(min(memory for _, memory in found) // 1000),
        cpus=max(1, cpu.cpus // len(found)),
        mem_gb=cpu.mem_gb / len(found),
        total_gpus=len(found),
    )


def read_cpu() -> Place:
    """This machine without its GPUs."""
    mem_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Place("local", cpus=os.cpu_count() or 1, mem_gb=mem_gb)
