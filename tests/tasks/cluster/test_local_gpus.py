"""Local jobs have GPUs to themselves: two fake GPUs, real processes, real locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightboard.profiles.models.cluster import SlurmOptions
from nightboard.tasks.cluster import local_gpus as module
from nightboard.tasks.cluster.executor import Call, ExecutorError, Resources
from nightboard.tasks.cluster.local import LocalExecutor
from nightboard.tasks.cluster.local_gpus import Gpu, claim_gpus, describe_choice, fit_jobs, list_gpus
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import Job

UUIDS = ["GPU-aaaa", "GPU-bbbb"]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with two GPUs, by its nvidia-smi, and locks of its own."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{index}, {uuid}'\n" for index, uuid in enumerate(UUIDS)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "LOCKS", tmp_path)
    yield tmp_path
    for lock in module._held:
        os.close(lock)
    module._held.clear()


def names(gpus: list[Gpu] | None) -> list[tuple[str, str]] | None:
    return None if gpus is None else [(gpu.value, gpu.name) for gpu in gpus]


@pytest.mark.parametrize(
    ("declared", "visible", "expected"),
    [
        (None, None, [("GPU-aaaa", "GPU-aaaa"), ("GPU-bbbb", "GPU-bbbb")]),
        (None, "1", [("1", "GPU-bbbb")]),
        (None, "GPU-bbbb,GPU-aaaa", [("GPU-bbbb", "GPU-bbbb"), ("GPU-aaaa", "GPU-aaaa")]),
        (None, "1,-1,0", [("1", "GPU-bbbb")]),
        (None, "", []),
        (2, None, [("0", "GPU-aaaa"), ("1", "GPU-bbbb")]),
        ((1,), None, [("1", "GPU-bbbb")]),
        ((0, 1, 7), "1", [("1", "GPU-bbbb")]),
        ((7,), None, [("7", "7")]),
    ],
)
def test_gpus_are_those_declared_or_found_that_the_flow_itself_may_see(
    declared: int | tuple[int, ...] | None, visible: str | None, expected: list[tuple[str, str]]
) -> None:
    environment = {"PATH": os.environ["PATH"]} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert names(list_gpus(declared, environment)) == expected


def test_without_nvidia_smi_nothing_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert list_gpus(None, {"PATH": "/nowhere"}) is None


def test_only_jobs_whose_gpus_are_free_are_launched_and_one_that_wants_too_many_is_left_to_be_refused() -> None:
    def job(gpus: int) -> Job:
        return Job(tier="t", attempts=(), gpus=gpus, time_min=1)

    two = [Gpu("0", "0"), Gpu("1", "1")]
    for wanted, in_use, expected in [
        ([1, 1, 1], 0, [1, 1]), ([1, 1], 1, [1]), ([2, 1, 0], 1, [1, 0]), ([1], 2, []), ([0], 2, [0]), ([4], 0, [4]),
    ]:  # fmt: skip
        assert [each.gpus for each in fit_jobs([job(each) for each in wanted], two, in_use)] == expected
    assert len(fit_jobs([job(1), job(1)], None, 0)) == 1, "where nothing tells, one at a time"


CLAIM = """
import os, sys, time
from pathlib import Path
from nightboard.tasks.cluster import local_gpus as gpus
gpus.LOCKS = Path(sys.argv[1])
print(gpus.claim_gpus(os.environ), flush=True)
time.sleep(600)
"""


def start_claim(folder: Path, wanted: int) -> subprocess.Popen[str]:
    choice = describe_choice([Gpu(uuid, uuid) for uuid in UUIDS], wanted)
    command = [sys.executable, "-c", CLAIM, str(folder)]
    return subprocess.Popen(command, env=os.environ | choice, stdout=subprocess.PIPE, text=True)


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_jobs_never_share_a_gpu_and_a_killed_one_gives_its_own_back(machine: Path) -> None:
    first, second = start_claim(machine, 1), start_claim(machine, 1)
    taken = [read(first), read(second)]
    assert sorted(taken) == UUIDS
    both = start_claim(machine, 2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    third = start_claim(machine, 1)
    os.kill(second.pid, signal.SIGKILL)
    second.communicate()
    # Whoever of the two was faster, the other waits for it, and nobody for ever.
    winners = [third, both] if read_any(third, both) is third else [both, third]
    winners[0].kill()
    winners[0].communicate()
    assert read(winners[1])
    winners[1].kill()
    winners[1].communicate()


def read_any(*processes: subprocess.Popen[str]) -> subprocess.Popen[str]:
    import selectors

    with selectors.DefaultSelector() as selector:
        for each in processes:
            assert each.stdout
            selector.register(each.stdout, selectors.EVENT_READ, each)
        (key, _), *_ = selector.select(240)
        found: subprocess.Popen[str] = key.data
        assert read(found)
        return found


def test_a_folder_of_locks_that_others_can_write_to_is_refused(machine: Path) -> None:
    folder = machine / f"nightboard-gpus-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StoreError, match="must be a folder that only this user can write"):
        claim_gpus(describe_choice([Gpu("0", "0")], 1))


# --------------------------------------------------------------------------------------- through the local executor


def show_gpus(path: Path, end: Path) -> Call:
    """A job that writes down what it sees, and goes on until `end` is there."""
    script = (
        f'echo "<$CUDA_VISIBLE_DEVICES>" > {path}.new; mv {path}.new {path}; until [ -e {end} ]; do sleep 0.1; done'
    )
    return Call(subprocess.run, (["sh", "-c", script],))


def make_resources(gpus: int) -> Resources:
    return Resources(gpus=gpus, nodes=1, cpus=None, mem_gb=None, time_min=5, options=SlurmOptions())


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_jobs_of_two_flows_on_two_stores_have_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, end = [tmp_path / f"shown{number}" for number in range(3)], tmp_path / "end"
    for number, (path, gpus) in enumerate(zip(shown, (1, 1, 0), strict=True)):
        folder = tmp_path / f"store{number}" / "launches" / "l" / "submitit"
        LocalExecutor().submit(folder, "l", [show_gpus(path, end)], make_resources(gpus), None)
    wait_for(lambda: all(path.exists() for path in shown))
    end.touch()
    *taken, none = (path.read_text().strip() for path in shown)
    assert sorted(taken) == [f"<{uuid}>" for uuid in UUIDS]
    assert none == "<>", "a job without GPUs sees none"


def test_a_job_that_wants_more_than_the_machine_has_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="a job needs 3 GPUs, but this machine has only 2 available"):
        LocalExecutor().submit(tmp_path / "s/launches/l/submitit", "l", [], make_resources(3), None)
    assert json.loads(LocalExecutor(5)._choose_gpus(3)["NIGHTBOARD_GPUS"])[4] == ["4", "4"]
