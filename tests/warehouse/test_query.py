"""Questions: the ranking with its benchmarks, and SQL that can read and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from make_lake import START, Lake

from nightboard.warehouse.build import build
from nightboard.warehouse.query import QueryError, connect, list_suites, rank, run_sql

REVISION = "0123456789" * 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, folder = Lake(), tmp_path_factory.mktemp("it's a store")
    lake.suite()
    lake.suite(suite="other", version="o1")
    lake.era("old", {"task": "truth", "task_version": "0"}, is_current=False)
    lake.era("now", {"task": "truth", "task_version": "1.0"}, position=2)
    for model, score in {"org/good": 0.75, "org/fair": 0.5, "it's/odd": 0.25}.items():
        lake.commit(model, REVISION)
        lake.done(f"e {model}", model, REVISION, scores=score)
        lake.samples(f"e {model}")
    lake.done("old", "org/fair", "r0", versions={"truth": "0"})
    lake.done("o", "org/good", REVISION, suite="other", suite_version="o1")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


@pytest.fixture
def con(store: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(store / "warehouse") as connection:
        yield connection


def test_rank_shows_the_current_era_of_a_suite_with_its_benchmarks(con: duckdb.DuckDBPyConnection) -> None:
    columns, rows = rank(con, suite="small")
    assert columns == [
        "rank", "model_id", "revision", "precision", "chat_template", "average", "arc", "truth", "params_b", "license",
        "identical_to", "era",
    ]  # fmt: skip
    arc = (75 + (0.75 - 0.25) / 0.75 * 100) / 2
    average = (arc + 75) / 2
    assert rows[0] == (
        1, "org/good", REVISION, "bfloat16", False, pytest.approx(average, abs=1e-12), pytest.approx(arc, abs=1e-12),
        75.0, 1.0, "apache-2.0", None, "now",
    )  # fmt: skip
    assert [row[1] for row in rows] == ["org/good", "org/fair", "it's/odd"]


def test_rank_takes_a_limit_an_era_and_the_fullest_suite_when_none_is_named(con: duckdb.DuckDBPyConnection) -> None:
    assert [row[1] for row in rank(con, limit=2).rows] == ["org/good", "org/fair"]
    assert [row[1] for row in rank(con, suite="small", era="old").rows] == ["org/fair"]
    assert [row[1] for row in rank(con, suite="other").rows] == ["org/good"]
    assert [row[0] for row in list_suites(con).rows] == ["small", "other"]


@pytest.mark.parametrize(
    ("suite", "era", "message"),
    [
        ("smal", None, r"no suite is called smal\. Did you mean small\? There is: other, small\."),
        ("small", "ol", r"no era of suite small is called ol\. Did you mean old\? There is: now, old\."),
        ("x' or 1=1 --", None, "no suite is called"),
    ],
)
def test_rank_answers_an_unknown_name_with_the_known_ones(
    con: duckdb.DuckDBPyConnection, suite: str, era: str | None, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        rank(con, suite=suite, era=era)


def test_a_warehouse_without_suites_says_so(tmp_path: Path) -> None:
    build(tmp_path / "lake", tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con, pytest.raises(QueryError, match="no suite yet"):
        rank(con)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 as one",
        "from leaderboard",
        "with a as (select 1 as x) select * from a",
        "select count(*) from samples where value = 1",
        "describe leaderboard",
        "summarize benchmark_scores",
        "show tables",
        "values (1)",
        "explain select * from samples",
        "EXPLAIN ANALYZE select * from samples",
        "pivot benchmark_scores on benchmark in ('arc', 'truth') using max(normalized) group by model_id",
        "select 1; -- and\nselect 2;",
    ],
)
def test_statements_that_read_are_run(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    columns, rows = run_sql(con, sql)
    assert columns and rows


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1 as a) to '{sample}' (use_tmp_file false)",
        "copy (select 1 as a) to '{build}' (use_tmp_file false, format csv)",
        "copy (select 1 as a) to '{out}'",
        "explain analyze copy (select 1 as a) to '{sample}' (use_tmp_file false)",
        "-- a\nexplain analyze copy (select 1 as a) to '{sample}' (use_tmp_file false)",
        "/* a */ explain (analyze) copy (select 1 as a) to '{sample}' (use_tmp_file false)",
        "copy (pivot benchmark_scores on benchmark) to '{sample}' (use_tmp_file false)",
        "select 1; copy (select 1 as a) to '{sample}' (use_tmp_file false)",
        "prepare p as copy (select 1 as a) to '{sample}' (use_tmp_file false); execute p",
        "create table t as select 1",
        "create temp table t as select 1",
        "insert into leaderboard select * from leaderboard",
        "delete from leaderboard",
        "drop table leaderboard",
        "update leaderboard set rank = 1",
        "attach '{out}' as other",
        "export database '{out}'",
        "import database '{out}'",
        "set enable_external_access = true",
        "reset lock_configuration",
        "install httpfs",
        "load httpfs",
        "checkpoint",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "select * from '{lake}/commits/*.parquet'",
        "select * from glob('/*')",
        "select * from read_parquet('{lake}/../lake/evaluations/old.parquet')",
        "select * from read_csv('https://example.org/a.csv')",
        "select * from sniff_csv('/etc/passwd')",
    ],
)
def test_nothing_is_written_and_no_other_file_is_read(
    con: duckdb.DuckDBPyConnection, store: Path, tmp_path: Path, sql: str
) -> None:
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    (build_file,) = (store / "warehouse").glob("nightboard-*.duckdb")
    places = {
        "sample": store / "lake" / "samples" / "e org--good.parquet",
        "build": build_file,
        "out": tmp_path / "out",
        "lake": store / "lake",
    }
    places["sample"] = next((store / "lake" / "samples").rglob("*.parquet"))
    statement = sql.format(**{name: str(path).replace("'", "''") for name, path in places.items()})
    with pytest.raises(QueryError) as caught:
        run_sql(con, statement)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == files


def test_python_variables_are_no_tables(con: duckdb.DuckDBPyConnection) -> None:
    secret = con.sql("select 1 as a").to_arrow_table()
    with pytest.raises(duckdb.CatalogException, match="secret does not exist"):
        con.execute("select * from secret")
    assert secret.num_rows == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from leaderbord", r'Did you mean "leaderboard".*Tables: attempts, benchmark_scores,'),
        ("select modelid from leaderboard", r'Candidate bindings: .*"model_id"'),
        ("selec 1", r'syntax error at or near "selec"'),
        ("select 1/", "syntax error"),
        ("", "no statement"),
        (" ; ", "no statement"),
        ("-- only a comment", "no statement"),
        ("select cast('x' as integer)", "Could not convert"),
    ],
)
def test_bad_sql_is_one_line_with_a_hint(con: duckdb.DuckDBPyConnection, sql: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        run_sql(con, sql)
    assert "\n" not in str(caught.value)


def test_two_connections_of_one_process_are_both_locked(store: Path) -> None:
    with connect(store / "warehouse") as one, connect(store / "warehouse") as two:
        for con in (one, two):
            assert run_sql(con, "select count(*) from samples").rows == [(12,)]
            with pytest.raises(QueryError):
                run_sql(con, "select * from read_text('/etc/hostname')")
