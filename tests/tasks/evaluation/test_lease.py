"""An attempt has one holder at a time, whoever starts, restarts, dies or gives up in between."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import NOW
from warm import cold

from nightboard.tasks.cluster.processes import current_process, process_of
from nightboard.tasks.evaluation import lease as ownership
from nightboard.tasks.evaluation.lease import acquire, current_owner, heartbeat, is_owner_alive, revoke
from nightboard.tasks.store.files import claim_file
from nightboard.tasks.store.records import AttemptOwner, Outcome, ProcessId
from tests.support.forks import Fork


@pytest.fixture
def living() -> Iterator[ProcessId]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = process_of(child.pid)
    assert process
    yield process
    child.kill()
    child.wait()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is a second."""
    monkeypatch.setattr(ownership, "HEARTBEAT_LIMIT_S", 1.0)
    monkeypatch.setattr(ownership, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(ownership, "_LOOK_S", 0.02)


def dead() -> ProcessId:
    return current_process().model_copy(update={"started_ticks": 1})


def elsewhere(process: ProcessId | None = None) -> ProcessId:
    return (process or current_process()).model_copy(update={"host": "elsewhere"})


def own(folder: Path, number: int, process: ProcessId, job_id: str | None = "7_0", kind: str = "job") -> AttemptOwner:
    owner = AttemptOwner.model_validate({"kind": kind, "process": process, "job_id": job_id, "at": NOW})
    assert claim_file(folder / f"owner.{number}.json", owner.to_bytes())
    return owner


def owners(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("owner.*"))


# ----------------------------------------------------------------------------------------------------------- taking


def test_the_first_job_has_the_attempt(tmp_path: Path) -> None:
    assert current_owner(tmp_path) is None
    assert acquire(tmp_path, "7_0")
    owner = current_owner(tmp_path)
    assert owner is not None
    assert (owner.kind, owner.job_id, owner.process) == ("job", "7_0", current_process())


def test_a_restarted_job_takes_over_from_its_own_dead_run(tmp_path: Path) -> None:
    own(tmp_path, 1, dead())
    own(tmp_path, 2, dead())
    assert acquire(tmp_path, "7_0")
    assert owners(tmp_path) == ["owner.1.json", "owner.2.json", "owner.3.json"]
    owner = current_owner(tmp_path)
    assert owner is not None
    assert owner.process == current_process()


@pytest.mark.usefixtures("quick")
def test_a_job_that_starts_twice_leaves_the_attempt_to_the_run_that_lives(tmp_path: Path, living: ProcessId) -> None:
    own(tmp_path, 1, living)
    assert not acquire(tmp_path, "7_0")
    assert owners(tmp_path) == ["owner.1.json"]


def test_a_run_that_its_cluster_is_about_to_kill_is_waited_for(tmp_path: Path) -> None:
    dying = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = process_of(dying.pid)
    assert process
    own(tmp_path, 1, process)
    threading.Timer(1.5, dying.kill).start()
    assert acquire(tmp_path, "7_0")
    assert dying.wait() == -9


def test_a_first_run_that_ends_while_it_is_waited_for_has_won(
    tmp_path: Path, living: ProcessId, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, 1, living)
    outcome = Outcome(state="completed", ended_at=NOW).to_bytes()
    threading.Timer(0.5, claim_file, [tmp_path / "outcome.json", outcome]).start()
    monkeypatch.setattr(ownership, "HEARTBEAT_LIMIT_S", 3600.0)
    assert not acquire(tmp_path, "7_0")


@pytest.mark.parametrize("job_id", ["7_1", None])
def test_another_job_takes_over_from_nobody(tmp_path: Path, job_id: str | None) -> None:
    own(tmp_path, 1, dead())
    assert not acquire(tmp_path, job_id)


def test_outside_of_a_job_nobody_takes_over(tmp_path: Path) -> None:
    own(tmp_path, 1, dead(), job_id=None)
    assert not acquire(tmp_path, None)


def test_nobody_takes_over_from_a_flow_that_gave_up(tmp_path: Path) -> None:
    own(tmp_path, 1, dead())
    own(tmp_path, 2, dead(), kind="abandoned")
    assert not acquire(tmp_path, "7_0")


def test_an_attempt_that_has_ended_is_not_taken(tmp_path: Path) -> None:
    claim_file(tmp_path / "outcome.json", Outcome(state="failed", ended_at=NOW).to_bytes())
    assert not acquire(tmp_path, "7_0")
    own(tmp_path, 1, dead())
    assert not acquire(tmp_path, "7_0")


def take_at_once(folder: str, barrier: object, taken: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    if acquire(Path(folder), "7_0"):
        with taken.get_lock():  # type: ignore[attr-defined]
            taken.value += 1  # type: ignore[attr-defined]
    barrier.wait()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("has_dead_run", [False, True])
def test_of_many_runs_that_start_in_the_same_moment_one_has_it(tmp_path: Path, has_dead_run: bool) -> None:
    if has_dead_run:
        own(tmp_path, 1, dead())
    context = multiprocessing.get_context("fork")
    barrier, taken = context.Barrier(8), context.Value("i", 0)
    runs = [Fork(target=take_at_once, args=(str(tmp_path), barrier, taken)) for _ in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(30)
    assert taken.value == 1
    assert len(owners(tmp_path)) == 1 + has_dead_run


# -------------------------------------------------------------------------------------------------------- giving up


def test_a_flow_gives_up_what_nobody_began_and_a_later_job_leaves_it(tmp_path: Path) -> None:
    assert revoke(tmp_path, NOW).kind == "abandoned"
    assert not acquire(tmp_path, "7_0")


def test_a_flow_gives_up_after_a_dead_run_once(tmp_path: Path) -> None:
    own(tmp_path, 1, dead())
    first = revoke(tmp_path, NOW)
    assert (first.kind, revoke(tmp_path, NOW)) == ("abandoned", first)
    assert owners(tmp_path) == ["owner.1.json", "owner.2.json"]


def test_what_another_flow_gave_up_stays_so(tmp_path: Path) -> None:
    owner = own(tmp_path, 1, dead(), kind="abandoned")
    assert revoke(tmp_path, NOW) == owner
    assert owners(tmp_path) == ["owner.1.json"]


def test_a_run_on_another_host_is_given_up_on_the_clusters_word(tmp_path: Path) -> None:
    own(tmp_path, 1, elsewhere())
    assert revoke(tmp_path, NOW).kind == "abandoned"


def test_a_run_that_is_seen_to_live_keeps_its_attempt(tmp_path: Path, living: ProcessId) -> None:
    owner = own(tmp_path, 1, living)
    assert revoke(tmp_path, NOW) == owner
    assert owners(tmp_path) == ["owner.1.json"]


def test_a_job_that_takes_the_attempt_in_the_moment_of_giving_up_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_count_owners", lambda _: 0)
    owner = own(tmp_path, 1, elsewhere())
    assert revoke(tmp_path, NOW) == owner


# -------------------------------------------------------------------------------------------------------- heartbeat


@pytest.mark.usefixtures("quick")
def test_a_run_on_another_host_is_dead_when_its_heartbeat_stands_still(tmp_path: Path) -> None:
    own(tmp_path, 1, elsewhere())
    (tmp_path / "alive").touch()
    begun = time.monotonic()
    assert acquire(tmp_path, "7_0")
    assert time.monotonic() - begun >= 1.0


@pytest.mark.usefixtures("quick")
def test_a_run_on_another_host_that_never_had_a_heartbeat_is_dead(tmp_path: Path) -> None:
    own(tmp_path, 1, elsewhere())
    assert acquire(tmp_path, "7_0")


@pytest.mark.usefixtures("quick")
def test_a_run_on_another_host_lives_while_its_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = own(tmp_path, 1, elsewhere())

    def beat_meanwhile(seconds: float) -> None:
        time.sleep(seconds)
        (tmp_path / "alive").touch()

    monkeypatch.setattr(ownership, "time", SimpleNamespace(monotonic=time.monotonic, sleep=beat_meanwhile))
    assert not acquire(tmp_path, "7_0")
    assert is_owner_alive(tmp_path, owner) is True
    deadline = time.monotonic() + 120
    while is_owner_alive(tmp_path, owner):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert is_owner_alive(tmp_path, owner) is False


@pytest.mark.usefixtures("quick")
def test_whoever_asks_after_a_run_on_another_host_is_answered_at_once(tmp_path: Path) -> None:
    owner = own(tmp_path, 1, elsewhere())
    assert is_owner_alive(tmp_path, owner) is None
    (tmp_path / "alive").touch()
    assert is_owner_alive(tmp_path, owner) is True


def test_a_run_on_this_host_is_looked_at_itself(tmp_path: Path, living: ProcessId) -> None:
    assert is_owner_alive(tmp_path, own(tmp_path, 1, living)) is True
    assert is_owner_alive(tmp_path, own(tmp_path, 2, dead())) is False


@pytest.mark.usefixtures("quick")
def test_the_heart_beats_while_an_attempt_runs_and_not_after(tmp_path: Path) -> None:
    assert acquire(tmp_path, "7_0")
    with heartbeat(tmp_path):
        beats: set[int] = set()
        deadline = time.monotonic() + 120
        while len(beats) < 3:
            assert time.monotonic() < deadline
            beats |= {path.stat().st_mtime_ns for path in tmp_path.glob("alive")}
    last = (tmp_path / "alive").stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / "alive").stat().st_mtime_ns == last


RUN = """
import sys, time
from pathlib import Path
from nightboard.tasks.evaluation import lease as ownership
ownership.HEARTBEAT_S = 0.1
folder = Path(sys.argv[1])
assert ownership.acquire(folder, "7_0")
with ownership.heartbeat(folder):
    (folder / "begun").touch()
    time.sleep(600)
"""


@pytest.mark.parametrize("loss", ["abandoned", "another run", "outcome"])
def test_a_run_that_has_lost_its_attempt_stops(tmp_path: Path, loss: str) -> None:
    run = subprocess.Popen(cold(RUN, str(tmp_path)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (tmp_path / "begun").exists():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    assert run.poll() is None, "as long as it has its attempt it goes on"
    if loss == "outcome":
        claim_file(tmp_path / "outcome.json", Outcome(state="cancelled", ended_at=NOW).to_bytes())
    else:
        own(tmp_path, 2, elsewhere(), kind="abandoned" if loss == "abandoned" else "job")
    _, said = run.communicate(timeout=240)
    assert run.returncode == 1
    assert "this run stops" in said
