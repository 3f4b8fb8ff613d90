"""What a store of version 0.1.0 holds and hashed is the same after every change of the code (see golden/README.md)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from builders import NOW, make_commit
from suite_nights import SUITE, Nights

from nightboard.profiles.loading.load import load_suite
from nightboard.profiles.suite_version import open_datasets, resolve_suite
from nightboard.tasks.runs.open_runs import list_open
from nightboard.tasks.store import records
from nightboard.tasks.store.layout import OUTCOME_FILE, Store
from nightboard.tasks.store.records import Record
from nightboard.warehouse.builder.build import build

GOLDEN = Path(__file__).parent / "golden"
IDENTIFIERS = json.loads((GOLDEN / "identifiers.json").read_text())
RECORDS: dict[str, type[Record]] = {
    "attempt_owner": records.AttemptOwner,
    "benchmark_manifest": records.BenchmarkManifest,
    "dataset_pin": records.DatasetPin,
    "fetched_dataset": records.FetchedDataset,
    "freed": records.Freed,
    "launch": records.Launch,
    "outcome": records.Outcome,
    "parallelism": records.Parallelism,
    "parts": records.EvaluationShards,
    "shard_spec": records.AttemptSpec,
    "submission": records.Submission,
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(shutil.copytree(GOLDEN / "store", tmp_path / "store"))


@pytest.mark.parametrize("name", IDENTIFIERS["suite_versions"])
def test_a_shipped_suite_keeps_its_version(name: str) -> None:
    suite = load_suite(name)
    pins = dict.fromkeys(open_datasets(suite), "a" * 40)
    assert resolve_suite(suite, pins)[1] == IDENTIFIERS["suite_versions"][name]


def test_evaluations_keep_their_ids(tmp_path: Path) -> None:
    names = IDENTIFIERS["evaluation_ids"]
    plan = Nights(tmp_path).plan(SUITE, make_commit("lab/one"), make_commit("lab/four", "4"))
    assert {each.suite_version for each in plan.evaluations} == {IDENTIFIERS["made_suite_version"]}
    assert {each.model_id: each.evaluation_id for each in plan.evaluations} == names


@pytest.mark.parametrize("name", sorted(path.stem for path in (GOLDEN / "records").iterdir()))
def test_a_record_is_read_and_written_as_it_was(name: str) -> None:
    path = GOLDEN / "records" / f"{name}.json"
    assert RECORDS[name].read(path).to_bytes() == path.read_bytes()


def test_every_row_of_the_warehouse_is_what_it_was(store: Store, tmp_path: Path) -> None:
    """Columns and tables may come; none may go or change."""
    build(store.lake, store.warehouse, NOW)
    found = {}
    with duckdb.connect(str(next(store.warehouse.glob("*.duckdb"))), read_only=True) as con:
        expected = json.loads((GOLDEN / "warehouse.json").read_text())
        for table, rows in expected.items():
            result = con.execute(f"select {', '.join(map(quote, rows[0]))} from {quote(table)}")
            columns = [column[0] for column in result.description]
            found[table] = as_text(dict(zip(columns, row, strict=True)) for row in result.fetchall())
    assert found == {table: as_text(rows) for table, rows in expected.items()}


def as_text(rows: object) -> list[str]:
    return sorted(json.dumps(row, default=str) for row in rows)  # type: ignore[attr-defined]


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_what_was_launched_is_still_open(store: Store) -> None:
    [shard] = list_open(store, None, NOW).open
    assert shard.folder == store.attempt_dir("5019fa19539d7e09f865d59dcaa39ac9", "all", 1)


@pytest.mark.real
def test_a_job_that_waited_in_the_queue_runs(store: Store) -> None:
    """By the command and the pickle of its day. Its model is not there, which its outcome says."""
    [launch] = [path.parent for path in store.launches.glob("20260101T05*/launch.json")]
    folder = launch / "submitit"
    folder.mkdir()
    shutil.copy(GOLDEN / "queued_job.pkl", folder / "7_submitted.pkl")
    job = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7", "SUBMITIT_LOCAL_GLOBALRANK": "0"}
    command = [sys.executable, "-P", "-u", "-m", "nightboard.tasks.job", str(folder)]
    done = subprocess.run(
        command, cwd=store.root.parent, env=os.environ | job, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = store.attempt_dir("5019fa19539d7e09f865d59dcaa39ac9", "all", 1) / OUTCOME_FILE
    assert records.Outcome.read(outcome).state == "cache_failed"
