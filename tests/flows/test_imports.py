"""The commands `import ...` as a user meets them: what they print, and how they end."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from board_table import board_row, write_csv
from served_hub import serve_hub

COMMAND = str(Path(sys.executable).with_name("nightboard"))


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "400"} | environment
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_a_board_comes_straight_from_the_hub_by_its_id(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([board_row("lab/a")]), buffer)
    with serve_hub() as hub:
        hub.loopback.create_repo("lab/contents", "dataset")
        sha = hub.loopback.commit("lab/contents", {"a.parquet": buffer.getvalue()}, "add", kind="dataset")
        options = ("--store", str(tmp_path / "store"), "--era", "math-parser-fix")
        done = run("import", "board", "lab/contents", *options, "--format", "json", HF_ENDPOINT=hub.url)
        missing = run("import", "board", "lab/content", *options, HF_ENDPOINT=hub.url)
        pinned = run("import", "board", "lab/contents", *options, "--revision", sha, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["revision"] == sha
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "lab/content: there is no such file here, and no such data set" in missing.stderr
    assert pinned.returncode == 0
    assert f"lab/contents@{sha}: 1 row as import:open-llm-leaderboard" in pinned.stdout
    assert "all of them were here before" in pinned.stdout


def test_a_board_with_a_bad_row_ends_with_3_and_says_which(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "contents.csv", [board_row("lab/a"), board_row("lab/b", **{"GPQA Raw": "much"})])
    done = run("import", "board", str(file), "--store", str(tmp_path / "store"), "--era", "math-parser-fix")
    assert done.returncode == 3
    assert f"left out: {file}:3: gpqa raw: is no number (got 'much')." in done.stderr + done.stdout
