"""Compaction: many files become few, nothing that was known is forgotten, and whoever reads is not disturbed."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from make_lake import START, Lake, after, read_build
from warm import warm

from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import read_table, write_parquet
from nightboard.warehouse.builder import compact as compaction
from nightboard.warehouse.builder.build import BuildError, build, list_files
from nightboard.warehouse.builder.compact import compact, remove_replaced
from nightboard.warehouse.builder.publish import lock_builds
from nightboard.warehouse.lake.files import is_written, list_paths, list_written
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.schema.lake_tables import ATTEMPTS, LAKE_TABLES, OUTCOMES, SAMPLES

N_EVALUATIONS = 5
pytestmark = pytest.mark.usefixtures("builds_few_models")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few small files are many here, and a few rows a large file."""
    monkeypatch.setattr(compaction, "COMPACT_FROM", 4)
    monkeypatch.setattr(compaction, "ROWS_PER_FILE", 12)


@pytest.fixture
def store(tmp_path: Path, lake: Lake) -> Store:
    lake.suite()
    add_evaluations(lake, range(N_EVALUATIONS))
    lake.write(tmp_path / "lake")
    return Store(tmp_path)


def add_evaluations(lake: Lake, numbers: range) -> None:
    for number in numbers:
        lake.commit(f"org/m{number}", hours=number)
        lake.done(f"e{number}", f"org/m{number}", scores=0.3 + number / 100, hours=number)
        lake.attempt(f"e{number}", "failed")
        lake.attempt(f"e{number}", "completed", 2)
        lake.samples(f"e{number}")


def files_of(store: Store) -> dict[str, bytes]:
    return {str(path.relative_to(store.lake)): path.read_bytes() for path in store.lake.rglob("*") if path.is_file()}


def rows_of(store: Store) -> dict[str, list[str]]:
    """Every row of the lake, as the tasks read them."""
    return {
        name: sorted(map(str, read_table(store, table).to_pylist()))
        for name, table in LAKE_TABLES.items()
    }  # fmt: skip


def test_rows_and_names_are_what_they_were(store: Store) -> None:
    rows, written = rows_of(store), {name: list_written(store.lake, name) for name in LAKE_TABLES}
    compact(store.lake)
    assert len(list_paths(store.lake, ATTEMPTS.name)) == 1
    assert rows_of(store) == rows
    assert {name: list_written(store.lake, name) for name in LAKE_TABLES} == written
    remove_replaced(store.lake, store.warehouse)
    assert rows_of(store) == rows
    assert {name: list_written(store.lake, name) for name in LAKE_TABLES} == written
    assert is_written(store.lake, OUTCOMES.name, "e3") and not is_written(store.lake, OUTCOMES.name, "e9")
    assert not list((store.lake / OUTCOMES.name).glob("*.parquet")), "the small ones are gone"


def test_one_evaluation_is_read_from_large_files_and_small_ones(store: Store, lake: Lake) -> None:
    compact(store.lake)
    lake.attempt("e1", "failed", 3)
    path = store.lake / ATTEMPTS.name / "e1-all-3.parquet"
    write_parquet(path, ATTEMPTS, lake.files["attempts", "e1-all-3"])
    numbers = read_table(store, ATTEMPTS, ["attempt"], evaluation_id="e1")["attempt"].to_pylist()
    assert sorted(numbers) == [1, 2, 3]


def test_a_build_gives_the_same_tables_before_and_after(store: Store) -> None:
    before = read_build(build(store.lake, store.warehouse, START).path)
    with lock_builds(store.warehouse):
        compact(store.lake)
    assert read_build(build(store.lake, store.warehouse, after(1)).path) == before


def test_compacting_twice_changes_nothing(store: Store) -> None:
    compact(store.lake)
    files = files_of(store)
    compact(store.lake)
    assert files_of(store) == files


def test_a_damaged_file_is_named_and_all_others_stay_as_they_are(store: Store) -> None:
    damaged = store.lake / "attempts" / "e1-all-1.parquet"
    damaged.write_bytes(b"no parquet")
    with pytest.raises(BuildError, match=r"attempts/e1-all-1\.parquet: is damaged"):
        build(store.lake, store.warehouse, START)
    assert not (store.lake / "attempts" / "compacted").exists() and damaged.exists()


def test_few_files_are_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "COMPACT_FROM", 100)
    files = files_of(store)
    compact(store.lake)
    assert files_of(store) == files


def test_large_files_hold_whole_evaluations_in_order_and_those_that_are_full_are_never_written_again(
    store: Store, lake: Lake
) -> None:
    compact(store.lake)
    full = [path for path in list_paths(store.lake, SAMPLES.name) if pq.read_metadata(path).num_rows >= 12]
    content = {path: path.read_bytes() for path in full}
    add_evaluations(lake, range(N_EVALUATIONS, 2 * N_EVALUATIONS))
    lake.write(store.lake)
    compact(store.lake)
    paths = list_paths(store.lake, SAMPLES.name)
    assert full and set(full) <= set(paths) and content == {path: path.read_bytes() for path in full}
    found = [pq.read_table(path, columns=["evaluation_id"])["evaluation_id"].to_pylist() for path in paths]
    assert all(ids == sorted(ids) for ids in found)
    assert sorted(each for ids in found for each in set(ids)) == sorted(f"e{n}" for n in range(2 * N_EVALUATIONS))


def test_a_file_that_is_written_again_later_is_neither_read_twice_nor_kept(store: Store) -> None:
    rows = rows_of(store)
    again = store.lake / OUTCOMES.name / "e1.parquet"
    content = again.read_bytes()
    compact(store.lake)
    remove_replaced(store.lake, store.warehouse)
    again.write_bytes(content)
    assert rows_of(store) == rows
    remove_replaced(store.lake, store.warehouse)
    assert not again.exists()


@pytest.mark.parametrize("table", ["samples", "task_scores"])
def test_rows_that_nothing_vouches_for_may_still_be_written_again(store: Store, lake: Lake, table: str) -> None:
    unfinished = store.lake / table / "half.parquet"
    row = lake.files[table, "e1"][0] | {"evaluation_id": "half"}
    write_parquet(unfinished, LAKE_TABLES[table], [row])
    compact(store.lake)
    assert unfinished in list_paths(store.lake, table)


def test_samples_that_were_imported_task_by_task_are_joined(store: Store, lake: Lake) -> None:
    for number in range(4):
        rows = [row | {"evaluation_id": "i", "task": f"t{number}"} for row in lake.files["samples", "e1"]]
        write_parquet(store.lake / "samples" / f"i-{number}.parquet", SAMPLES, rows)
    write_parquet(store.lake / "imports" / "i.parquet", LAKE_TABLES["imports"], [
        dict.fromkeys(LAKE_TABLES["imports"].arrow.names) | {"evaluation_id": "i", "imported_at": START}
    ])  # fmt: skip
    compact(store.lake)
    assert not [path for path in list_paths(store.lake, "samples") if path.name.startswith("i-")]


def test_files_stay_until_no_kept_build_names_them(store: Store, lake: Lake) -> None:
    first = build(store.lake, store.warehouse, START)  # compacts before it lists, so it names a large file
    [large] = list_files(store.lake)["outcomes"]
    was_there = []
    for number in range(1, 4):
        add_evaluations(lake, range(N_EVALUATIONS * number, N_EVALUATIONS * (number + 1)))
        lake.write(store.lake)
        build(store.lake, store.warehouse, after(number))
        assert large not in list_files(store.lake)["outcomes"]
        was_there.append((first.path.exists(), (store.lake / large).exists()))
    assert was_there == [(True, True), (True, True), (False, False)]


READER = """
import sys
from pathlib import Path
from nightboard.warehouse.reader.connection import connect
con = connect(Path(sys.argv[1]))
for line in sys.stdin:
    print(con.execute("select count(*), sum(doc_id)::int from samples").fetchall(), flush=True)
"""


def test_who_still_reads_a_build_that_is_no_longer_kept_keeps_its_samples(
    store: Store, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "COMPACT_FROM", 100)
    first = build(store.lake, store.warehouse, START)  # names small files
    monkeypatch.setattr(compaction, "COMPACT_FROM", 4)
    command = [sys.executable, "-c", READER, str(store.warehouse)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin and reader.stdout
        answers = []
        for number in range(1, 5):
            print("ask", file=reader.stdin, flush=True)
            answers.append(reader.stdout.readline().strip())
            add_evaluations(lake, range(N_EVALUATIONS * number, N_EVALUATIONS * (number + 1)))
            lake.write(store.lake)
            build(store.lake, store.warehouse, after(number))
        reader.stdin.close()
        assert reader.wait(timeout=300) == 0
    assert answers == ["[(20, 30)]"] * 4
    assert len(list(store.warehouse.glob("nightboard-*.duckdb"))) == 4
    build(store.lake, store.warehouse, after(9))
    assert not first.path.exists() and not list((store.lake / "samples").glob("*.parquet"))
    with connect(store.warehouse) as con:
        assert con.execute("select count(*) from samples").fetchall() == [(100,)]


KILLED = """
import os, signal, sys
from pathlib import Path
from nightboard.warehouse.builder import compact
from nightboard.warehouse.lake import files as lake
compact.COMPACT_FROM, compact.ROWS_PER_FILE = 4, 12
left, files = int(sys.argv[2]), (compact.__file__, lake.__file__)
def trace(frame, event, argument):
    global left
    if frame.f_code.co_filename not in files:
        return None
    if event == "line":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
root = Path(sys.argv[1])
sys.settrace(trace)
compact.compact(root / "lake")
compact.remove_replaced(root / "lake", root / "warehouse")
sys.settrace(None)
print(int(sys.argv[2]) - left)
"""


def run_killed(root: Path, at_line: int) -> int:
    """Compact and remove in a process that is killed before its n-th line (never for 0); lines that it ran."""
    done = subprocess.run(warm(KILLED, str(root), str(at_line)), capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if at_line else 0), done.stderr
    return 0 if at_line else int(done.stdout)


def test_killed_at_any_line_it_leaves_all_rows_and_the_next_run_goes_on(store: Store, tmp_path: Path) -> None:
    rows, written = rows_of(store), {name: list_written(store.lake, name) for name in LAKE_TABLES}
    whole = Store(shutil.copytree(store.root, tmp_path / "whole"))
    n_lines = run_killed(whole.root, 0)
    chance = random.Random(4)
    for at_line in sorted(chance.sample(range(1, n_lines), 8)):
        killed = Store(shutil.copytree(store.root, tmp_path / f"killed at {at_line}"))
        run_killed(killed.root, at_line)
        assert rows_of(killed) == rows
        assert {name: list_written(killed.lake, name) for name in LAKE_TABLES} == written
        compact(killed.lake)
        remove_replaced(killed.lake, killed.warehouse)
        assert rows_of(killed) == rows
        names = files_of(killed).keys()
        assert not [*killed.lake.rglob("*.tmp")]
        small = [name for name in names if not name.startswith("suites/") and "/compacted/" not in name]
        assert len(small) < 4 <= len(set(names) - set(small)), "all but the few files that are no burden are compacted"


COMPACTOR = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nightboard.warehouse.builder import compact
from nightboard.warehouse.builder.build import build
compact.COMPACT_FROM, compact.ROWS_PER_FILE = 4, 12
build(Path(sys.argv[1]) / "lake", Path(sys.argv[1]) / "warehouse", datetime.now(UTC))
"""


def test_two_at_once_compact_once(store: Store) -> None:
    rows = rows_of(store)
    running = [subprocess.Popen(warm(COMPACTOR, str(store.root))) for _ in range(3)]
    while any(process.poll() is None for process in running):
        assert rows_of(store) == rows
    assert [process.returncode for process in running] == [0] * 3
    assert rows_of(store) == rows
    files = files_of(store)
    compact(store.lake)
    assert files_of(store) == files
