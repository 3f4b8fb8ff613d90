"""Nobody else's code runs as the operator: what is unpickled is checked first, and nothing is left open to others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from nightboard.profiles.models.cluster import SlurmOptions
from nightboard.tasks.cluster.executor import Call, Resources
from nightboard.tasks.cluster.local import LocalExecutor
from nightboard.tasks.store import files as store_module
from nightboard.tasks.store.files import claim_dir, write_bytes
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.trust import check_trust, close_to_others, limit_umask

NO_GPU = Resources(gpus=0, nodes=1, cpus=None, mem_gb=None, time_min=5, options=SlurmOptions())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)
    store_module.set_umask(is_of_group=False)
    os.umask(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with one job's call in it, as the local executor leaves it; the job would leave a mark."""
    root = tmp_path / "store"
    folder = root / "launches" / "l" / "submitit"
    folder.mkdir(parents=True)
    DelayedSubmission(print, "the call ran").dump(folder / "7_submitted.pkl")
    return root


def pickle_of(root: Path) -> Path:
    return root / "launches/l/submitit/7_submitted.pkl"


def run_job(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7", "SUBMITIT_LOCAL_NTASKS": "1",
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1", "SUBMITIT_LOCAL_NODEID": "0", "SUBMITIT_LOCAL_GLOBALID": "0",
        "SUBMITIT_LOCAL_LOCALID": "0",
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "nightboard.tasks.evaluation.job_process", str(pickle_of(root).parent)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_job_runs_a_call_of_its_own_user(root: Path) -> None:
    done = run_job(root)
    assert done.returncode == 0, done.stderr
    assert "the call ran" in done.stdout


def test_a_job_does_not_unpickle_what_others_may_have_written(root: Path) -> None:
    pickle_of(root).chmod(0o666)
    done = run_job(root)
    assert done.returncode == 1
    assert "the call ran" not in done.stdout
    assert done.stderr.startswith(f"nightboard: {pickle_of(root)}: is writable by others (mode 666), so it is not")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("place", ["", "launches", "launches/l", "launches/l/submitit"])
def test_a_folder_that_others_may_write_to_makes_its_files_untrusted(root: Path, place: str) -> None:
    (root / place).chmod(0o777)
    with pytest.raises(StoreError, match="is writable by others"):
        check_trust(pickle_of(root), root)


def test_in_a_groups_store_the_group_may_write_and_elsewhere_not(root: Path) -> None:
    pickle_of(root).chmod(0o664)
    with pytest.raises(StoreError, match="is writable by others"):
        check_trust(pickle_of(root), root)
    root.chmod(0o775)
    check_trust(pickle_of(root), root)


@as_root
def test_a_file_of_another_user_is_not_read_unless_the_store_is_of_a_group_that_he_is_in(root: Path) -> None:
    os.chown(pickle_of(root), 1, -1)
    with pytest.raises(StoreError, match="belongs to daemon, not to this user"):
        check_trust(pickle_of(root), root)
    root.chmod(0o2775)
    with pytest.raises(StoreError, match="belongs to daemon"):
        check_trust(pickle_of(root), root)
    os.chown(root, -1, 1)
    check_trust(pickle_of(root), root)


@as_root
def test_a_link_that_another_user_made_is_not_followed(root: Path) -> None:
    pickle_of(root).rename(root / "mine.pkl")
    pickle_of(root).symlink_to(root / "mine.pkl")
    check_trust(pickle_of(root), root)
    os.lchown(pickle_of(root), 1, -1)
    with pytest.raises(StoreError, match="belongs to daemon"):
        check_trust(pickle_of(root), root)


@pytest.mark.parametrize(
    ("users", "root_mode", "folder_mode", "file_mode"),
    [
        (0o000, 0o755, 0o755, 0o644), (0o002, 0o755, 0o755, 0o644), (0o077, 0o755, 0o700, 0o600),
        (0o000, 0o2775, 0o775, 0o664), (0o022, 0o2775, 0o775, 0o664), (0o007, 0o2775, 0o770, 0o660),
    ],
)  # fmt: skip
def test_what_is_made_is_closed_to_others_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: int, root_mode: int, folder_mode: int, file_mode: int
) -> None:
    monkeypatch.setattr(store_module, "_USERS_UMASK", users)
    os.umask(users)
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(root_mode)
    limit_umask(root)
    write_bytes(root / "new" / "file", b"x")
    claim_dir(root / "claimed", {"file": b"x"})
    (root / "plain").write_bytes(b"x")
    for path in (root / "new", root / "claimed"):
        assert path.stat().st_mode & 0o777 == folder_mode
    for path in (root / "new/file", root / "claimed/file", root / "plain"):
        assert path.stat().st_mode & 0o777 == file_mode


def test_folders_that_an_open_umask_left_open_are_closed(root: Path) -> None:
    for place in ("", "launches"):
        (root / place).chmod(0o777)
    close_to_others(root)
    assert [(root / place).stat().st_mode & 0o777 for place in ("", "launches")] == [0o775, 0o775]
    check_trust(pickle_of(root), root)


def test_a_module_in_the_folder_where_the_flow_starts_is_not_run_in_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("submitit", "cloudpickle", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'stolen')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # empty parts, as `PYTHONPATH=$PYTHONPATH:` makes them
    call = Call(subprocess.run, (["touch", str(tmp_path / "ran")],))
    LocalExecutor().submit(tmp_path / "store/launches/l/submitit", "l", [call], NO_GPU, None)
    deadline = time.monotonic() + 120
    while not (tmp_path / "ran").exists() and time.monotonic() < deadline:
        assert not (tmp_path / "stolen").exists()
        time.sleep(0.05)
    assert (tmp_path / "ran").exists()
    assert not (tmp_path / "stolen").exists()
    assert os.environ["PYTHONPATH"] == os.pathsep
