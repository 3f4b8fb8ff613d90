"""The ranking of a whole board: `nightboard rank` as a table beside the same as CSV, and its query beside plain SQL.

Its store has one imported board, of as many models as the Open LLM Leaderboard had.
"""

from __future__ import annotations

import os
import pty
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.start import COMMAND, keep_byte_code, measure_cpu
from board_table import RAW, board_row, write_csv

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.board import import_board
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import Filters, rank
from warehouse import Cells

N_MODELS = 4576
N_ASKED = 20
ERA = "math-verify"
SIZES = (0.5, 1.5, 3.0, 7.6, 14.8, 32.8, 72.7)
LICENSES = ("apache-2.0", "mit", "llama3.1", "gemma", "cc-by-nc-4.0")
FILTERS = Filters(max_params_b=8, license="apache-2.0", with_merges=False)
SQL = "select * from leaderboard order by rank"


def measure_rank() -> Iterator[Cells]:
    """Processor time of the command, and the median one of the query."""
    with tempfile.TemporaryDirectory() as name:
        store, environment = make_store(Path(name)), keep_byte_code(Path(name))
        command = [COMMAND, "rank", "--store", str(store.root), "--era", ERA]
        csv_s = measure_cpu([*command, "--format", "csv"], environment)
        for what, seconds in {
            f"table of {N_MODELS:,} models": measure_cpu(command, environment),
            "the same on a terminal, first 100": measure_cpu(command, environment, run_on_terminal),
        }.items():
            yield what, f"{seconds:.2f} s", "--format csv, all rows", f"{csv_s:.2f} s", seconds / csv_s
        with connect(store.warehouse) as con:
            for what, limit, filters in (
                ("query, first 20", 20, Filters()),
                ("query, first 20 that pass filters", 20, FILTERS),
                ("query, all rows", None, Filters()),
            ):
                sql = f"{SQL} limit {limit}" if limit else SQL
                ask = partial(rank, con, None, ERA, limit, filters)
                # By turns: a machine is not equally fast all the time.
                pairs = [(cpu_s(ask), cpu_s(lambda sql=sql: con.execute(sql).fetchall())) for _ in range(N_ASKED)]
                ours, theirs = (1000 * statistics.median(seconds) for seconds in zip(*pairs, strict=True))
                yield what, f"{ours:.0f} ms", sql, f"{theirs:.0f} ms", ours / theirs


def make_store(folder: Path) -> Store:
    """A store with one imported board and its build."""
    chance, store, now = random.Random(1), Store(folder / "store"), datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        board_row(
            f"lab-{number % 700}/model-{number}-of-the-board",
            f"{number:040x}",
            **{f"{title} Raw": min(1, max(0, raw + chance.gauss(0, 0.1))) for title, raw in RAW.items()},
            **{"#Params (B)": chance.choice(SIZES), "Hub License": chance.choice(LICENSES)},
            Merged=chance.random() < 0.3,
        )
        for number in range(N_MODELS)
    ]
    import_board(store, write_csv(folder / "board.csv", rows), load_suite("leaderboard-v2"), ERA, "board", now)
    build(store.lake, store.warehouse, now)
    return store


def cpu_s(work: Callable[[], Any]) -> float:
    """Seconds of the processor that a call takes, over all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def run_on_terminal(command: list[str], environment: dict[str, str]) -> None:
    """Run a command on a terminal of its own, and drop what it prints."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment | {"COLUMNS": "120"}, stdout=theirs) as process:
        os.close(theirs)
        try:
            while os.read(ours, 1 << 16):
                pass
        except OSError:  # the other end is closed
            os.close(ours)
    assert process.returncode == 0
