"""The warehouse at scale: conversion of samples, full rebuild, one more night.

Makes its own inputs: a samples file as lm-eval writes it for MMLU-Pro, and a lake of `leaderboard-v2` as it is after
compaction, 22,147 samples an evaluation. NIGHTBOARD_BENCH_EVALUATIONS says how many evaluations: 4576, as many as the
Open LLM Leaderboard had, are 97 million documents.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import duckdb

from nightboard.profiles.declared_rows import suite_rows
from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.lake.convert_samples import convert_samples
from nightboard.warehouse.schema.lake_tables import (
    COMMITS,
    EVALUATIONS,
    LAKE_TABLES,
    OUTCOMES,
    SAMPLES,
    SUITES,
    TASK_SCORES,
)

N_EVALUATIONS = int(os.environ.get("NIGHTBOARD_BENCH_EVALUATIONS", "400"))
N_LINES = int(os.environ.get("NIGHTBOARD_BENCH_LINES", "12032"))
N_NIGHT = 50
EVALUATIONS_PER_FILE = 180
START = datetime(2026, 1, 1, tzinfo=UTC)

Cells = tuple[str, str, str, str, float]
"""What, ours, against, theirs, ours / theirs."""


# ---------------------------------------------------------------------------------------------------------- conversion


def measure_convert() -> Iterator[Cells]:
    """A samples file to Parquet, against reading its bytes (from the disk, and from memory), pandas and `datasets`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = write_samples_file(folder / "samples.jsonl")
        size_mb = file.stat().st_size / 1e6
        convert = lambda: convert_samples({"task": file}, "mmlu_pro", "e", folder / "ours.parquet")  # noqa: E731
        read = lambda: _read(file)  # noqa: E731
        what = f"samples of MMLU-Pro, {size_mb:.0f} MB, to Parquet"
        # By turns: a disk is not equally fast all the time.
        cold = [(_time_cold(file, convert), _time_cold(file, read)) for _ in range(5)]
        yield _speeds(f"{what}, from disk", size_mb, min(c for c, _ in cold), "read the bytes", min(r for _, r in cold))
        ours_s = min(time_s(convert) for _ in range(3))
        yield _speeds(f"{what}, from memory", size_mb, ours_s, "read the bytes", min(time_s(read) for _ in range(3)))
        for peer, code in _PEERS.items():
            command = [sys.executable, "-c", code, str(file), str(folder / f"{peer}.parquet")]
            seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            yield _speeds(f"{what}, from memory", size_mb, ours_s, peer, seconds)


def _speeds(what: str, size_mb: float, ours_s: float, peer: str, theirs_s: float) -> Cells:
    return what, f"{size_mb / ours_s:.0f} MB/s", peer, f"{size_mb / theirs_s:.0f} MB/s", ours_s / theirs_s


def _time_cold(file: Path, work: Any) -> float:
    """Seconds of a call that finds nothing of the file in the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return time_s(work)


# In processes of their own: what they import, and where `datasets` keeps its cache, is not measured.
_PEERS = {
    "pandas": """
import sys, time
import pandas
start = time.perf_counter()
columns = ["doc_id", "doc_hash", "filter", "target", "filtered_resps", "acc"]
pandas.read_json(sys.argv[1], lines=True)[columns].astype({"filtered_resps": str}).to_parquet(sys.argv[2])
print(time.perf_counter() - start)
""",
    "datasets": """
import sys, tempfile, time
import datasets
datasets.disable_progress_bars()
start = time.perf_counter()
with tempfile.TemporaryDirectory() as cache:
    datasets.load_dataset("json", data_files=sys.argv[1], cache_dir=cache, split="train").to_parquet(sys.argv[2])
print(time.perf_counter() - start)
""",
}


def write_samples_file(path: Path) -> Path:
    """Lines of five-shot prompts with ten options each, about 50 kB a line, as lm-eval writes them."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(5000)]
    shots = " ".join(chance.choices(words, k=700))
    with path.open("w") as file:
        for doc_id in range(N_LINES):
            question, options = " ".join(chance.choices(words, k=60)), chance.sample(words, 10)
            prompt = f"{shots}\nQuestion: {question}\nAnswer:"
            resps = [[str(-chance.random() * 9), str(chance.random() < 0.1)] for _ in options]
            sample = {
                "doc_id": doc_id,
                "doc": {"question_id": doc_id, "question": question, "options": options, "answer": "A"},
                "target": "A",
                "arguments": {f"gen_args_{i}": {"arg_0": prompt, "arg_1": f" {chr(65 + i)}"} for i in range(10)},
                "resps": [[each] for each in resps],
                "filtered_resps": resps,
                "filter": "none",
                "metrics": ["acc"],
                "doc_hash": f"{chance.getrandbits(256):064x}",
                "prompt_hash": f"{chance.getrandbits(256):064x}",
                "target_hash": f"{chance.getrandbits(256):064x}",
                "acc": float(chance.random() < 0.4),
            }
            file.write(json.dumps(sample, ensure_ascii=False) + "\n")
    return path


def _read(file: Path) -> None:
    with file.open("rb", buffering=0) as opened:
        while opened.read(1 << 20):
            pass


def time_s(work: Any) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------------- rebuild


def measure_rebuild() -> Iterator[Cells]:
    """Full rebuilds at half the size and the whole, and one more night on top."""
    with tempfile.TemporaryDirectory() as name:
        half_s = build_lake(make_lake(Path(name) / "half", 0, N_EVALUATIONS // 2))
        lake = make_lake(Path(name) / "whole", 0, N_EVALUATIONS)
        samples_s = time_s(lambda: _aggregate(lake))
        full_s = build_lake(lake)
        make_lake(Path(name) / "whole", N_EVALUATIONS, N_EVALUATIONS + N_NIGHT, is_night=True)
        night_s = build_lake(lake)
    what = f"full rebuild, {N_EVALUATIONS:,} evaluations"
    yield what, f"{full_s:.1f} s", "mean by evaluation and task, nothing else", f"{samples_s:.1f} s", full_s / samples_s
    yield what, f"{full_s:.1f} s", "half as many", f"{half_s:.1f} s", full_s / half_s
    yield f"{N_NIGHT} evaluations more", f"{night_s:.1f} s", "full rebuild", f"{full_s:.1f} s", night_s / full_s


def build_lake(lake: Path) -> float:
    """Seconds of a build in a process of its own, so that no memory of the last one helps."""
    command = [sys.executable, "-c", _BUILD, str(lake)]
    # Without a script of its own, a process counts as interactive, and DuckDB may show its progress there.
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


_BUILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nightboard.warehouse.builder.build import build
lake = Path(sys.argv[1])
print(build(lake, lake.parent / "warehouse", datetime.now(UTC)).elapsed_s)
"""


def _aggregate(lake: Path) -> None:
    with duckdb.connect() as con:
        con.execute(
            "create table means as select evaluation_id, task, metric, avg(value) as value"
            f" from read_parquet('{lake}/samples/**/*.parquet') group by all"
        )


_TASKS = "select benchmark, task, unnest(metrics) as metric, filter, n_samples, n_shot from suites"
_SAMPLES = """
select
    evaluation_id, benchmark, task, doc_id, hash(task, doc_id)::varchar as doc_hash,
    case when benchmark = 'gpqa' then 'q' || doc_id end as question_hash, filter, metric,
    (hash(number, doc_id, task) % 1000 < 300 + hash(number, benchmark) % 400)::double as value,
    1.0::double as weight, chr((65 + doc_id % 4)::int) as target, (hash(number, doc_id) % 100000)::varchar as response
from evaluations, tasks, range(n_samples) as documents(doc_id)
"""
_SCORES = """
select
    *, 'd' as doc_set_hash, '1' as task_version, sqrt(value * (1 - value) / n_samples) as stderr
from (
    select evaluation_id, benchmark, task, metric, filter, avg(value) as value, count(*) as n_samples
    from samples group by all
) inner join (select distinct task, n_shot from tasks) using (task)
"""


def make_lake(root: Path, start: int, stop: int, *, is_night: bool = False) -> Path:
    """Add evaluations to a lake, as compacted files, or as one night leaves them: a file for each and table."""
    lake = root / "lake"
    if start == 0:
        write_parquet(lake / "suites" / "v.parquet", SUITES, suite_rows(load_suite("leaderboard-v2"), "v", START))
    with duckdb.connect() as con:
        con.execute(f"create table suites as from '{lake}/suites/v.parquet'")
        con.execute(f"create table tasks as {_TASKS}")
        for first in range(start, stop, 1 if is_night else EVALUATIONS_PER_FILE):
            last = min(stop, first + (1 if is_night else EVALUATIONS_PER_FILE))
            numbers = f"select i as number, md5('e' || i) as evaluation_id from range({first}, {last}) as numbers(i)"
            con.execute(f"create or replace table evaluations as {numbers}")
            con.execute(f"create or replace table samples as {_SAMPLES} order by evaluation_id, task, doc_id")
            _copy(con, lake, SAMPLES.name, "from samples", is_night)
            _copy(con, lake, TASK_SCORES.name, _SCORES, is_night)
        numbers = f"select i as number, md5('e' || i) as evaluation_id from range({start}, {stop}) as numbers(i)"
        con.execute(f"create or replace table evaluations as {numbers}")
        for table, sql in _RECORDS.items():
            _copy(con, lake, table, sql, is_night=False)
    return lake


_MODEL = (
    "'lab-' || number % 97 || '/m' || number as model_id, 'lab-' || number % 97 as organization, md5('r' || number)"
)
_RECORDS = {
    EVALUATIONS.name: f"""
        select {_MODEL} as revision, evaluation_id, 'leaderboard-v2' as suite, 'v' as suite_version,
            md5('f' || number) as fingerprint, 'bfloat16' as precision, false as chat_template,
            false as fewshot_as_multiturn, 'hf' as backend, 0 as replicate, '0.4.13' as harness_version,
            timestamptz '2026-01-01 00:00:00+00' + to_minutes(number) as planned_at
        from evaluations""",
    COMMITS.name: f"""
        select {_MODEL} as revision, 'main' as ref, 'ok' as state, md5('f' || number) as fingerprint,
            1.0 + number % 70 as params_b, timestamptz '2026-01-01 00:00:00+00' as discovered_at
        from evaluations""",
    OUTCOMES.name: """
        select evaluation_id, timestamptz '2026-01-02 00:00:00+00' + to_minutes(number) as finished_at,
            3600.0 as elapsed_s, 1.0 as gpu_hours, 'run' as source
        from evaluations""",
}


def _copy(con: duckdb.DuckDBPyConnection, lake: Path, table: str, sql: str, is_night: bool) -> None:
    """Write rows as a file of the lake, with the names that a compacted one has taken the place of."""
    ids = sorted(row[0] for row in con.execute("select evaluation_id from evaluations").fetchall())
    sources = json.dumps([f"{each}.parquet" for each in ids])
    path = lake / table / (f"{ids[0]}.parquet" if is_night else f"compacted/{ids[0]}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {column.name for column in LAKE_TABLES[table].columns}
    found = [column[0] for column in con.execute(f"select * from ({sql}) limit 0").description or []]
    columns = ", ".join(name for name in found if name in names)
    con.execute(
        f"copy (select {columns} from ({sql})) to '{path}'"
        f" (format parquet, compression zstd, kv_metadata {{nightboard_sources: '{'[]' if is_night else sources}'}})"
    )
