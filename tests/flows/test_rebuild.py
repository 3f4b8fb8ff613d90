"""`nightboard rebuild` where a file of the store is damaged: it says which one, and readers keep the last build."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from make_lake import START, Lake
from warm import warm_command

from nightboard.warehouse.builder import compact as compaction
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.builder.publish import current_build
from nightboard.warehouse.lake.files import COMPACTED

MODELS = ("org/a", "org/b", "org/c", "org/d")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, with large files that compaction made."""
    folder = tmp_path_factory.mktemp("built")
    lake = Lake()
    lake.suite()
    for model in MODELS:
        lake.commit(model)
        lake.done(model.replace("/", "-"), model)
        lake.samples(model.replace("/", "-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "COMPACT_FROM", len(MODELS))
        build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(built, tmp_path / "store", symlinks=True)


def run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = warm_command(*arguments, "--store", str(store))
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("table", ["commits", "task_scores", "samples"])
def test_a_file_that_is_damaged_inside_is_named(store: Path, table: str) -> None:
    (file,) = (store / "lake" / table / COMPACTED).glob("*.parquet")
    content = bytearray(file.read_bytes())
    # The header of the first page.
    content[4:30] = b"\xff" * 26
    file.write_bytes(content)
    shutil.rmtree(store / "warehouse")
    done = run(store, "rebuild")
    assert done.returncode == 1
    assert f"{file}: is damaged and cannot be read completely. Restore it from a backup." in done.stderr


@pytest.mark.parametrize(("table", "left"), [("samples", 0.5), ("commits", 0.0), ("task_scores", 0.99)])
def test_a_damaged_large_file_is_named_and_the_last_build_stays(store: Path, table: str, left: float) -> None:
    (file,) = (store / "lake" / table / COMPACTED).glob("*.parquet")
    before = current_build(store / "warehouse")
    os.truncate(file, int(left * file.stat().st_size))
    done = run(store, "rebuild")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the previous build stays current: {file}: is damaged" in done.stderr
    assert "restore it from a backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert current_build(store / "warehouse") == before
    assert not list((store / "warehouse").glob("*.tmp*"))
    ranked = run(store, "sql", "--format", "csv", "select model_id from leaderboard order by rank")
    assert ranked.stdout.split() == ["model_id", *MODELS]
