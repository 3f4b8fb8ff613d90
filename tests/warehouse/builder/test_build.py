"""Builds: whole or not at all, never in a reader's way, described to the last column."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from graphlib import CycleError
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_lake import START, Lake, after, declare_task

from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.builder import sql_models
from nightboard.warehouse.builder.build import BuildError, build, is_current
from nightboard.warehouse.builder.publish import NoBuildError, current_build, publish_build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.schema.lake_tables import LAKE_TABLES
from nightboard.warehouse.schema.marts import BUILD_FILES, MODEL_TABLES


@pytest.fixture
def store(tmp_path: Path, lake: Lake) -> Path:
    """A store whose lake has one ranked model."""
    lake.suite()
    lake.commit("org/m")
    lake.done("e", "org/m")
    lake.samples("e")
    lake.write(tmp_path / "lake")
    return tmp_path


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the SQL folders that a test may break."""
    folder = tmp_path / "sql"
    for name in ("staging", "derived", "marts", "checks", "functions", "macros"):
        if (sql_models.SQL_FOLDER / name).is_dir():
            shutil.copytree(sql_models.SQL_FOLDER / name, folder / name)
    monkeypatch.setattr(sql_models, "SQL_FOLDER", folder)
    return folder


def ranked(store: Path) -> list[tuple[str, ...]]:
    with connect(store / "warehouse") as con:
        return con.execute("select model_id from leaderboard order by model_id").fetchall()


def test_an_empty_lake_builds_tables_with_the_described_columns_and_types(tmp_path: Path) -> None:
    result = build(tmp_path / "lake", tmp_path / "warehouse", START)
    with duckdb.connect(str(result.path), read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        for table in [*MODEL_TABLES.values(), BUILD_FILES]:
            found = con.sql(f"from {table.name}").to_arrow_table()
            assert found.schema.remove_metadata() == pa.schema(table.arrow), table.name
            assert found.num_rows == 0, table.name


def test_a_lake_without_samples_has_an_empty_view_of_them(store: Path) -> None:
    shutil.rmtree(store / "lake" / "samples")
    build(store / "lake", store / "warehouse", START)
    with connect(store / "warehouse") as con:
        counts = con.execute("select (select count(*) from leaderboard), (select count(*) from samples)").fetchall()
    assert counts == [(1, 0)]


def test_a_build_says_what_it_read_and_made(store: Path) -> None:
    result = build(store / "lake", store / "warehouse", START)
    assert result.path == current_build(store / "warehouse")
    assert os.readlink(store / "warehouse" / "current.duckdb") == result.path.name
    with connect(store / "warehouse") as con:
        info = con.execute("select build_id, built_at, lake, duckdb_version from build_info").fetchall()
        build_id = result.path.stem.removeprefix("nightboard-")
        assert info == [(build_id, START, str((store / "lake").resolve()), duckdb.__version__)]
        files = con.execute("select * from build_files where lake_table in ('evaluations', 'samples')").fetchall()
        assert sorted(files) == [("evaluations", "evaluations/e.parquet"), ("samples", "samples/e.parquet")]
        assert con.execute("select count(*) from benchmark_scores").fetchall() == [(2,)]
        assert con.execute("select count(*), sum(value) from samples").fetchall() == [(4, 2.0)]


# What lakes were written without before evaluations were run in shards on SLURM.
NEW_COLUMNS = {
    "attempts": ["tier", "batch_size", "cluster_state", "exit_code", "energy_kwh", "log_tail"],
    "outcomes": ["energy_kwh"],
    "task_scores": ["benchmark_s"],
    "samples": ["question_hash"],
}


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_lake_from_before_a_column_still_builds(store: Path, lake: Lake, is_mixed: bool) -> None:
    lake.planned("broken", "org/m")
    lake.attempt("broken", "failed")
    lake.attempt("e", "completed")
    lake.write(store / "lake")
    for table, columns in NEW_COLUMNS.items():
        for path in (store / "lake" / table).glob("*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(columns), path)
    if is_mixed:
        lake.done("new", "org/m", "r2", energy_kwh=1.5)
        lake.attempt("new", "completed", tier="big", log_tail=["end"], energy_kwh=1.5)
        lake.samples("new")
        lake.files["samples", "new"][0]["question_hash"] = "known"
        for (table, name), rows in lake.files.items():
            if name.startswith("new"):
                write_parquet(store / "lake" / table / f"{name}.parquet", LAKE_TABLES[table], rows)
    build(store / "lake", store / "warehouse", START)
    with connect(store / "warehouse") as con:
        found = con.execute("select evaluation_id, tier, log_tail from attempts order by 1").fetchall()
        assert found == [("broken", None, None), ("e", None, None)] + [("new", "big", ["end"])] * is_mixed
        energy = con.execute("select evaluation_id, energy_kwh from evaluations order by 1").fetchall()
        assert energy == [("broken", None), ("e", None)] + [("new", 1.5)] * is_mixed
        assert con.execute("select log_tail, reason from failures").fetchall() == [(None, "failed 1")]
        assert con.execute("select distinct benchmark_s from task_scores").fetchall() == [(None,)]
        assert con.execute("select count(*), count(question_hash) from samples").fetchall() == [
            (4 + 4 * is_mixed, 1 * is_mixed)
        ]


@pytest.mark.usefixtures("builds_few_models")
def test_a_build_cannot_be_opened_for_writing_by_mistake(store: Path) -> None:
    result = build(store / "lake", store / "warehouse", START)
    assert result.path.stat().st_mode & 0o222 == 0


@pytest.mark.usefixtures("builds_few_models")
def test_only_the_build_the_pointer_and_the_derived_files_are_left(store: Path) -> None:
    result = build(store / "lake", store / "warehouse", START)
    names = {path.name for path in (store / "warehouse").iterdir()}
    assert names == {result.path.name, "current.duckdb", ".build.lock", "derived"}


def test_every_table_and_column_of_main_has_a_comment(store: Path) -> None:
    result = build(store / "lake", store / "warehouse", START)
    with duckdb.connect(str(result.path), read_only=True) as con:
        tables = con.execute(
            "select table_name, comment from duckdb_tables() where schema_name = 'main' union all"
            " select view_name, comment from duckdb_views() where not internal"
        ).fetchall()
        columns = con.execute(
            "select table_name, column_name, comment from duckdb_columns() where schema_name = 'main' and not internal"
        ).fetchall()
    assert {name for name, _ in tables} == {*MODEL_TABLES, "samples", "small", "build_files", "build_info"}
    assert [row for row in [*tables, *columns] if not row[-1]] == []


def test_a_column_without_a_comment_fails_the_build(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = MODEL_TABLES["costs"].columns
    undescribed = replace(MODEL_TABLES["costs"], columns=(replace(first, description=""), *others))
    monkeypatch.setitem(MODEL_TABLES, "costs", undescribed)
    with pytest.raises(
        BuildError, match=r"every_column_has_a_comment .*\n +table_name=costs, column_name=evaluation_id"
    ):
        build(store / "lake", store / "warehouse", START)


def test_a_failing_check_names_its_rows_and_leaves_the_last_good_build(store: Path, lake: Lake, sql: Path) -> None:
    good = build(store / "lake", store / "warehouse", START)
    (sql / "checks" / "nobody_is_ranked.sql").write_text("select model_id, rank from main.leaderboard")
    lake.commit("org/new")
    lake.done("new", "org/new")
    lake.write(store / "lake")
    with pytest.raises(BuildError, match=r"nobody_is_ranked failed .*\n +model_id=org/m, rank=1"):
        build(store / "lake", store / "warehouse", after(1))
    assert current_build(store / "warehouse") == good.path
    assert ranked(store) == [("org/m",)]
    assert not list((store / "warehouse").glob("*.tmp*")) + list((store / "warehouse").glob(".*.tmp*"))


def test_a_spoiled_lake_is_told_with_every_check_what_it_means_and_its_first_rows(
    store: Path, lake: Lake, sql: Path
) -> None:
    good = build(store / "lake", store / "warehouse", START)
    contradictory = [
        declare_task(f"b{number}", f"t{number}_{aggregate}", aggregate=aggregate)
        for number in range(7)
        for aggregate in ("mean", "pooled")
    ]
    lake.suite(contradictory, suite="odd", version="o")
    lake.write(store / "lake")
    (sql / "checks" / "nobody_is_ranked.sql").write_text(
        "-- Rows\n-- that rank.\nselect model_id from main.leaderboard"
    )
    with pytest.raises(BuildError) as caught:
        build(store / "lake", store / "warehouse", after(1))
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        "the new build failed its checks; the previous build stays current.",
        (
            "check benchmarks_are_declared_once failed for 7 rows."
            " Benchmarks whose tasks declare different ways to compute the benchmark's score."
        ),
    ]
    assert all(line.startswith("  suite=odd, suite_version=o, benchmark=b") for line in lines[2:7])
    assert lines[7:] == [
        "  ... and 2 more",
        "check nobody_is_ranked failed for 1 row. Rows that rank.",
        "  model_id=org/m",
        "Find the files of these rows in the lake, repair or remove them, and run `nightboard rebuild`.",
    ]
    assert current_build(store / "warehouse") == good.path


def test_rows_with_the_same_key_fail_the_build(store: Path, sql: Path) -> None:
    for name in ("history", "suites"):
        model = sql / "marts" / f"{name}.sql"
        model.write_text(f"select * from ({model.read_text()}) union all select * from ({model.read_text()})")
    with pytest.raises(BuildError) as caught:
        build(store / "lake", store / "warehouse", START)
    lines = str(caught.value).splitlines()
    assert [line for line in lines if line.startswith("check ")] == [
        "check history_key_is_unique failed for 2 rows. Duplicate keys of history.",
        "check suites_key_is_unique failed for 3 rows. Duplicate keys of suites.",
    ]
    assert all(line.endswith("n_rows=2") for line in lines if line.startswith("  "))


def test_a_broken_model_or_file_leaves_the_last_good_build(store: Path, sql: Path) -> None:
    good = build(store / "lake", store / "warehouse", START)
    broken = store / "lake" / "commits" / "broken.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(BuildError, match=r"commits/broken\.parquet"):
        build(store / "lake", store / "warehouse", after(1))
    broken.unlink()
    (sql / "marts" / "costs.sql").write_text("select nothing from main.evaluations")
    with pytest.raises(BuildError, match=r"main\.costs: .*nothing"):
        build(store / "lake", store / "warehouse", after(1))
    (sql / "marts" / "costs.sql").write_text(
        "select *, 1.5 as params_b, 1e0 as estimated_kwh, 1e0 as estimated_co2_kg from main.evaluations"
    )
    with pytest.raises(BuildError, match=r"main\.costs differs from its description: params_b"):
        build(store / "lake", store / "warehouse", after(1))
    assert current_build(store / "warehouse") == good.path


def test_a_model_without_a_description_fails_the_build(store: Path, sql: Path) -> None:
    (sql / "marts" / "extra.sql").write_text("select 1 as one")
    with pytest.raises(KeyError, match="extra"):
        build(store / "lake", store / "warehouse", START)


def test_models_that_read_each_other_or_nothing_known_are_refused(store: Path, sql: Path) -> None:
    (sql / "marts" / "costs.sql").write_text("-- reads main.zzz\nselect * from main.nothing")
    with pytest.raises(BuildError, match=r"main\.costs: .*nothing does not exist"):
        build(store / "lake", store / "warehouse", START)
    (sql / "marts" / "costs.sql").write_text("select * from main.costs")
    with pytest.raises(CycleError, match=r"cycle.*main\.costs"):
        build(store / "lake", store / "warehouse", START)


@pytest.mark.usefixtures("builds_few_models")
def test_a_full_disk_leaves_the_last_good_build(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = build(store / "lake", store / "warehouse", START)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nightboard.warehouse.builder.publish.os.fsync", full)
    with pytest.raises(BuildError, match="No space left on device"):
        build(store / "lake", store / "warehouse", after(1))
    assert current_build(store / "warehouse") == good.path


def test_a_build_is_current_until_a_file_comes_or_the_recipe_changes(store: Path, lake: Lake, sql: Path) -> None:
    assert not is_current(store / "lake", store / "warehouse")
    build(store / "lake", store / "warehouse", START)
    assert is_current(store / "lake", store / "warehouse")
    lake.commit("org/new")
    lake.write(store / "lake")
    assert not is_current(store / "lake", store / "warehouse")
    build(store / "lake", store / "warehouse", START)
    assert is_current(store / "lake", store / "warehouse")
    (sql / "marts" / "costs.sql").write_text((sql / "marts" / "costs.sql").read_text() + "\n-- changed\n")
    assert not is_current(store / "lake", store / "warehouse")


@pytest.mark.usefixtures("builds_few_models")
def test_a_moved_store_is_not_current_and_can_be_rebuilt(store: Path, tmp_path: Path) -> None:
    build(store / "lake", store / "warehouse", START)
    moved = tmp_path / "moved * [1]"
    moved.mkdir()
    for name in ("lake", "warehouse"):
        shutil.move(store / name, moved / name)
    assert not is_current(moved / "lake", moved / "warehouse")
    build(moved / "lake", moved / "warehouse", after(1))
    with connect(moved / "warehouse") as con:
        assert con.execute("select count(*) from samples").fetchall() == [(4,)]


@pytest.mark.usefixtures("builds_few_models")
def test_three_builds_are_kept_and_leftovers_of_killed_ones_go(store: Path) -> None:
    warehouse = store / "warehouse"
    warehouse.mkdir()
    (warehouse / ".nightboard-killed.tmp").write_bytes(b"half")
    (warehouse / ".nightboard-killed.tmp.wal").write_bytes(b"half")
    paths = [build(store / "lake", warehouse, START).path for _ in range(5)]
    assert sorted(warehouse.glob("nightboard-*.duckdb")) == sorted(paths[-3:])
    assert not list(warehouse.glob(".nightboard*"))


def test_builds_that_nobody_may_write_are_removed_by_their_owner_too() -> None:
    with tempfile.TemporaryDirectory() as name:
        warehouse = Path(name)
        os.chown(warehouse, owner := os.geteuid() or 65534, -1)
        before = os.geteuid()
        os.seteuid(owner)  # root may write everything
        try:
            for number in range(5):
                (temporary := warehouse / f".nightboard-{number}.tmp").write_bytes(b"a build")
                publish_build(temporary, warehouse, str(number))
            kept = sorted(path.name for path in warehouse.glob("nightboard-*.duckdb"))
        finally:
            os.seteuid(before)
    assert kept == [f"nightboard-{number}.duckdb" for number in (2, 3, 4)]


def test_no_build_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NoBuildError, match="nightboard rebuild"):
        connect(tmp_path)


READER = """
import sys
from pathlib import Path
from nightboard.warehouse.reader.connection import connect
con = connect(Path(sys.argv[1]))
for line in sys.stdin:
    print(con.execute("select count(*), (select count(*) from samples) from leaderboard").fetchall(), flush=True)
"""


@pytest.mark.usefixtures("builds_few_models")
def test_a_reader_is_not_blocked_and_keeps_what_it_opened(store: Path, lake: Lake) -> None:
    build(store / "lake", store / "warehouse", START)
    lake.commit("org/new")
    lake.done("new", "org/new")
    lake.write(store / "lake")
    command = [sys.executable, "-c", READER, str(store / "warehouse")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin and reader.stdout
        answers = []
        for number in range(5):  # more than are kept: its file is gone in the end
            print("ask", file=reader.stdin, flush=True)
            answers.append(reader.stdout.readline().strip())
            build(store / "lake", store / "warehouse", after(number))
            assert ranked(store) == [("org/m",), ("org/new",)]
        reader.stdin.close()
        assert reader.wait(timeout=300) == 0
    assert answers == ["[(1, 4)]"] * 5


BUILDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from nightboard.warehouse.builder.build import build
print(build(Path(sys.argv[1]) / "lake", Path(sys.argv[1]) / "warehouse", datetime.now(UTC)).path.name)
"""


def test_builds_at_once_do_not_break_each_other(store: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(store)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    names = [builder.communicate(timeout=300)[0].strip() for builder in builders]
    assert [builder.returncode for builder in builders] == [0] * 4
    assert len(set(names)) == 4
    assert current_build(store / "warehouse").name in names
    assert ranked(store) == [("org/m",)]
    assert len(list((store / "warehouse").glob("nightboard-*.duckdb"))) == 3
