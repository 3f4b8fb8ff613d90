"""The queue of 10,000 requests: what `nightboard queue` takes beyond its start, beside a plain read of its rows."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.rank import run_on_terminal
from bench.start import COMMAND, keep_byte_code, measure_cpu, run_quietly

from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.requests.book import add_requests
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Request, RequestEvent, as_row
from nightboard.tasks.store.tables import append_rows
from nightboard.warehouse.builder.compact import compact
from nightboard.warehouse.schema.request_tables import REQUEST_EVENTS, VOTES
from warehouse import Cells

N_REQUESTS, N_FILES = 10_000, 125
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = "import sys, duckdb; duckdb.sql(f\"select * from '{sys.argv[1]}/lake/requests/**/*.parquet'\").fetchall()"


def measure_queue() -> Iterator[Cells]:
    """Processor time of the command, less that of the same command with one request."""
    with tempfile.TemporaryDirectory() as name:
        environment, folder = keep_byte_code(Path(name)), Path(name)
        full, single = make_store(folder / "full", N_REQUESTS), make_store(folder / "single", 1)
        plain = [sys.executable, "-c", PLAIN]
        theirs = measure_cpu([*plain, str(full)], environment) - measure_cpu([*plain, str(single)], environment)
        for what, options, run in (
            ("as CSV", ["--format", "csv"], run_quietly),
            ("on a terminal, first 100", [], run_on_terminal),
        ):
            command = [COMMAND, "queue", *options, "--store"]
            ours = measure_cpu([*command, str(full)], environment, run)
            ours -= measure_cpu([*command, str(single)], environment, run)
            told = f"queue of {N_REQUESTS:,} requests {what}, beyond its start"
            yield told, f"{ours:.2f} s", "DuckDB reads its rows", f"{theirs:.2f} s", ours / theirs


def make_store(root: Path, number: int) -> Path:
    """A store with open requests, in one compacted file of each table."""
    store = Store(root)
    requests = [
        Request(
            request_id=hash_json(index)[:32], board="mine", kind="submission", asked_by=f"user{index % 97}",
            asked_at=NOW + timedelta(seconds=index), model_id=f"lab-{index % 700}/model-{index}",
            revision=hash_json(index)[:40], precision="bfloat16", weight_type="Original",
        )
        for index in range(number)
    ]  # fmt: skip
    for start in range(N_FILES):
        part = requests[start::N_FILES]
        add_requests(store, part)
        events = [
            RequestEvent(request_id=each.request_id, changed_at=NOW, state="accepted", changed_by="ada")
            for each in part
        ]
        append_rows(store, REQUEST_EVENTS, [as_row(event) for event in events])
        votes = [{"request_id": each.request_id, "voter": "bob", "voted_at": NOW} for each in part[::3]]
        append_rows(store, VOTES, votes)
    compact(store.lake)
    return root
