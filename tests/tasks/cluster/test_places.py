"""Where jobs can run: what sinfo and nvidia-smi say, in all shapes, becomes places; the first one is proposed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_slurm import FakeSlurm

from nightboard.tasks.cluster import places
from nightboard.tasks.cluster.places import (
    Place,
    find_places,
    guess_memory_gb,
    read_cpu,
    read_gpus,
    read_gres,
    read_partitions,
)

PLAIN = "gpu*|up|1-00:00:00|38|64|1030000|gpu:h100:8(S:0-1)|idle\n"


def read_one(text: str) -> Place:
    ((place,), problems) = read_partitions(text)
    assert problems == []
    return place


def test_a_partition_is_told_with_what_there_is_for_each_gpu() -> None:
    assert read_one(PLAIN) == Place(
        "slurm", "gpu", True, nodes=38, gpus=8, gpu_type="h100", gpu_memory_gb=80, cpus=8, mem_gb=128.75,
        time_min=1440, total_gpus=304,
    )  # fmt: skip
    assert read_one(PLAIN).key == "slurm:gpu"


def test_nodes_that_differ_give_what_each_of_them_has_for_a_gpu_and_the_most_gpus() -> None:
    mixed = PLAIN + (
        "gpu*|up|1-00:00:00|2|32|250000|gpu:a100:4|mixed\n"
        "gpu*|up|1-00:00:00|9|128|2000000|(null)|idle\n"
        "gpu*|up|1-00:00:00|4|8|16000|gpu:k20:1|down*\n"
    )
    place = read_one(mixed)
    assert (place.nodes, place.gpus, place.total_gpus, place.gpu_type) == (40, 8, 312, None)
    assert (place.cpus, place.mem_gb, place.gpu_memory_gb) == (8, 62.5, 40)


def test_a_partition_without_gpus_has_the_cores_of_its_smallest_node() -> None:
    place = read_one("cpu|up|infinite|4|64|256000|(null)|idle\ncpu|up|infinite|1|16|64000|(null)|allocated\n")
    assert (place.gpus, place.nodes, place.cpus, place.mem_gb, place.time_min) == (0, 5, 16, 64, None)


@pytest.mark.parametrize(
    "state", ["down", "down*", "drained", "draining", "idle*", "unknown*", "maint", "future", "fail"]
)
def test_a_partition_whose_nodes_start_no_jobs_is_left_out(state: str) -> None:
    found, problems = read_partitions(PLAIN.replace("idle", state))
    assert found == []
    assert problems == ["Partition gpu is left out: none of its nodes is up."]


def test_a_closed_partition_is_left_out() -> None:
    assert read_partitions(PLAIN.replace("|up|", "|drain|")) == ([], ["Partition gpu is left out: it is drain."])


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", None), ("n/a", None), ("30:00", 30), ("2:00:00", 120), ("7-12:00:00", 10800), ("0:30", 1)],
)
def test_time_limits_are_minutes_or_none(limit: str, minutes: int | None) -> None:
    assert read_one(PLAIN.replace("1-00:00:00", limit)).time_min == minutes


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("(null)", (0, None)), ("", (0, None)), ("gpu:2", (2, None)), ("gpu", (1, None)), ("gpu:h100", (1, "h100")),
        ("gpu:h100:8(S:0-1),shard:h100:16(S:0,1)", (8, "h100")), ("gpu:a100:4,gpu:v100:2", (6, None)),
        ("gpu:a100:no_consume:4", (4, "a100")), ("craynetwork:4,gpu:1(IDX:0)", (1, None)),
        ("gpu:nvidia_h100_80gb_hbm3_1g.10gb:7", (7, "nvidia_h100_80gb_hbm3_1g.10gb")),
    ],
)  # fmt: skip
def test_gpus_are_counted_with_and_without_type(gres: str, found: tuple[int, str | None]) -> None:
    assert read_gres(gres) == found


@pytest.mark.parametrize(
    ("name", "memory_gb"),
    [
        ("h100", 80), ("NVIDIA H200", 141), ("nvidia_a100-sxm4-80gb", 80), ("a100", 40), ("rtx_a6000", 48),
        ("gh200", 96), ("l4", 24), ("L40S", 48), ("nvidia_h100_80gb_hbm3_1g.10gb", 10), ("tesla", None), (None, None),
    ],
)  # fmt: skip
def test_memory_is_known_by_a_gpus_name_or_not_at_all(name: str | None, memory_gb: float | None) -> None:
    assert guess_memory_gb(name) == memory_gb


@pytest.mark.parametrize(
    "line", ["", "x|y", "gpu|up|1:00|many|64|1000|gpu:1|idle", "gpu|up|1:00|0|64|1000|gpu:1|n/a", "\x1b"]
)
def test_odd_lines_are_no_places(line: str) -> None:
    assert read_partitions(line + "\n")[0] == []


def test_gpus_of_this_machine_share_its_cores() -> None:
    place = read_gpus("NVIDIA H100 80GB HBM3, 81559\nNVIDIA H100 80GB HBM3, 81559\n")
    assert place and (place.key, place.gpus, place.gpu_memory_gb) == ("gpus", 2, 81)
    assert place.gpu_type == "NVIDIA H100 80GB HBM3"
    assert place.cpus == max(1, read_cpu().cpus // 2)
    for nothing in ("", "No devices were found\n", "H100, [N/A]\n"):
        assert read_gpus(nothing) is None


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", fake.path)
    monkeypatch.setattr(places, "_NVIDIA_SMI", (str(tmp_path / "nvidia-smi"),))
    return fake


def test_the_place_with_most_gpus_comes_first_and_the_cpu_last(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, big = "cpu*|up|infinite|4|64|256000|(null)|idle\n", PLAIN.replace("gpu*", "big").replace("|38|", "|99|")
    slurm.answer("sinfo", cpu + PLAIN + big)
    monkeypatch.setenv("SINFO_PARTITION", "none")
    found, problems = find_places()
    assert [place.key for place in found] == ["slurm:gpu", "slurm:big", "slurm:cpu", "cpu"]
    assert problems == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA A10, 23028\n")
    smi.chmod(0o755)
    slurm.answer("sinfo", cpu)
    assert [place.key for place in find_places()[0]] == ["gpus", "slurm:cpu", "cpu"]
    smi.write_text("#!/bin/sh\necho no driver; exit 9\n")
    assert [place.key for place in find_places()[0]] == ["slurm:cpu", "cpu"]


def test_a_slurm_that_does_not_answer_is_said_and_one_that_is_not_there_is_not(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slurm.answer("sinfo", err="slurm_load_partitions: Unable to contact slurm controller", code=1)
    found, problems = find_places()
    assert [place.key for place in found] == ["cpu"]
    (problem,) = problems
    assert problem.startswith("SLURM is left out: sinfo: slurm_load_partitions: Unable to contact slurm controller")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_places()[1] == []
