"""SQL that a reader wrote: it can read and nothing else, and mistakes are answered with the names that there are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from make_lake import START, Lake

from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import QueryError, connect
from nightboard.warehouse.reader.questions import compare
from nightboard.warehouse.reader.user_sql import _EXPLAIN, run_sql

Rows = list[tuple[object, ...]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, folder = Lake(), tmp_path_factory.mktemp("it's a store")
    lake.suite()
    for model, score in {"org/good": 0.75, "org/fair": 0.5, "it's/odd": 0.25}.items():
        lake.commit(model)
        lake.done(f"e {model}", model, scores=score)
        lake.samples(f"e {model}")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


@pytest.fixture
def con(store: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(store / "warehouse") as connection:
        yield connection


def ask(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[list[str], Rows]]:
    """Columns and rows of every statement."""
    answers = (answer.run() for answer in run_sql(con, sql))
    return [(columns, [row for batch in batches for row in batch]) for columns, batches in answers]


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
    assert all(columns and rows for columns, rows in ask(con, sql))
    assert all(answer.run_arrow().read_all().num_rows for answer in run_sql(con, sql))


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
        "select * from read_parquet('{lake}/../lake/evaluations/e.parquet')",
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
        ask(con, statement)
    assert "Traceback" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == files


def test_python_variables_are_no_tables(con: duckdb.DuckDBPyConnection) -> None:
    secret = con.sql("select 1 as a").to_arrow_table()
    with pytest.raises(duckdb.CatalogException, match="secret does not exist"):
        con.execute("select * from secret")
    assert secret.num_rows == 1


@pytest.mark.parametrize(
    ("sql", "lines"),
    [
        (
            "select *\nfrom leaderbord",
            [
                "no table is called leaderbord. Did you mean leaderboard?",
                "LINE 2: from leaderbord",
                "             ^^^^^^^^^^",
                "Tables: attempts, ",
            ],
        ),
        ("from other.Suits", ["no table is called other.Suits. Did you mean suites?", "LINE 1", "  ", "Tables: "]),
        ("describe xyz", ["no table is called xyz.", "Tables: "]),
        (
            "select model from models join organizations using (organization)",
            [
                "no column is called model. Did you mean model_id?",
                "LINE 1: select model from",
                "               ^^^^^",
                "Columns of models: model_id, organization, ",
                "Columns of organizations: organization, display_name, country.",
            ],
        ),
        (
            "select average_low from candidates where model_id in (select model_id from history)",
            [
                "no column is called average_low here. Tables with such a column: history, ",
                "LINE 1",
                "   ",
                "Columns of candidates: ",
                "Columns of history: ",
            ],
        ),
        (
            "select o.land from models m join organizations as o using (organization)",
            ["no column is called land.", "LINE 1", "   ", "Columns of organizations: "],
        ),
        (
            "select * exclude (modelid) from models",
            ["no column is called modelid. Did you mean model_id?", "Columns of models: "],
        ),
        (
            'from models where model_id = "org/good"',
            [
                "no column is called org/good. Use single quotes for string literals.",
                "LINE 1",
                "   ",
                "Columns of models: ",
            ],
        ),
        (
            "with a as (select 1 as x) select y from a",
            ['Binder Error: Referenced column "y"', "Candidate", "LINE", " "],
        ),
        (
            "select avgg(average) from leaderboard",
            ["no function is called avgg. Did you mean avg?", "LINE 1", "  ", "Functions of the warehouse: "],
        ),
        ("from zzzzzzzzzz(1)", ["no function is called zzzzzzzzzz.", "LINE 1", "  ", "Functions of the warehouse: "]),
        (
            "from scores_by_commits('org/good', 'small')",
            [
                "no function is called scores_by_commits. Did you mean score_by_commit?",
                "LINE 1",
                "  ",
                "Functions of the warehouse: ",
            ],
        ),
        (
            "select 1 as a\nfrom from models",
            ['Parser Error: syntax error at or near "from"', "LINE 2: from from models", "             ^^^^"],
        ),
        ("selec 1", ['Parser Error: syntax error at or near "selec"', "LINE 1: selec 1", "        ^^^^^"]),
        ("select round('a', 'b', 'c')", ["Binder Error: No function matches", *["\t"] * 8, "LINE 1", "   "]),
        ("select cast('x' as integer)", ["Conversion Error: Could not convert", "LINE 1: select cast", "   "]),
        ("", ["there is no statement to run."]),
        (" ; ", ["there is no statement to run."]),
        ("-- only a comment", ["there is no statement to run."]),
    ],
)
def test_a_mistake_is_shown_with_its_place_and_the_names_that_there_are(
    con: duckdb.DuckDBPyConnection, sql: str, lines: list[str]
) -> None:
    with pytest.raises(QueryError) as caught:
        ask(con, sql)
    found = str(caught.value).splitlines()
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_of_several_statements_each_gives_its_rows_and_a_mistake_names_the_one(con: duckdb.DuckDBPyConnection) -> None:
    answers = run_sql(con, "select 1 as a; select 'b;c' as b; -- the last one\nselect modl from models")
    assert [list(answer.run()[1]) for answer in answers[:2]] == [[[(1,)]], [[("b;c",)]]]
    with pytest.raises(
        QueryError, match=r"^statement 3 of 3: no column is called modl\. Did you mean model_id\?\nLINE 1"
    ):
        answers[2].run()
    with pytest.raises(QueryError, match="syntax error"):
        run_sql(con, "select 1; selec 2")


def test_rows_come_before_all_of_them_are_computed(con: duckdb.DuckDBPyConnection) -> None:
    columns, batches = run_sql(con, "select range as n from range(100_000_000_000)")[0].run()
    assert columns == ["n"]
    assert next(batches)[:2] == [(0,), (1,)]
    reader = run_sql(con, "select range as n from range(100_000_000_000)")[0].run_arrow()
    assert reader.schema == pa.schema([("n", pa.int64())])
    assert reader.read_next_batch().num_rows < 100_000
    reader.close()


def test_intervals_are_duckdbs_own_text(con: duckdb.DuckDBPyConnection) -> None:
    sql = "select interval 1 year as v, 2 as n, interval '9999999 years' as w -- all of it;"
    assert ask(con, sql) == [(["v", "n", "w"], [("1 year", 2, "9999999 years")])]


def test_a_value_that_python_cannot_hold_is_one_message(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match=r"a value is too large for Python .* Select it as text"):
        ask(con, "select [interval '9999999 years'] as v")


def test_a_mistake_in_a_later_row_is_told_like_any_other(con: duckdb.DuckDBPyConnection) -> None:
    sql = "select case when n < 500_000 then n else error('odd') end from range(1_000_000) t(n)"
    with pytest.raises(QueryError, match="odd"):
        ask(con, sql)


def test_samples_whose_files_are_gone_say_what_to_do(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.commit("org/m")
    lake.done("e", "org/m")
    lake.samples("e")
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    (tmp_path / "lake" / "samples").rename(tmp_path / "moved")
    with connect(tmp_path / "warehouse") as con, pytest.raises(QueryError, match="`nightboard rebuild` finds them"):
        ask(con, "select * from samples")
    with connect(tmp_path / "warehouse") as con, pytest.raises(QueryError, match="`nightboard rebuild` finds them"):
        compare(con, "org/m", "org/m")


def test_two_connections_of_one_process_are_both_locked_and_show_utc(store: Path) -> None:
    with connect(store / "warehouse") as one, connect(store / "warehouse") as two:
        for con in (one, two):
            assert ask(con, "select count(*) as n from samples") == [(["n"], [(12,)])]
            assert ask(con, "select current_setting('TimeZone') as zone") == [(["zone"], [("UTC",)])]
            with pytest.raises(QueryError):
                ask(con, "select * from read_text('/etc/hostname')")


def spend(pattern: re.Pattern[str], text: str) -> float:
    """Seconds of computing that a search takes."""
    started = time.process_time()
    assert pattern.search(text) is None
    return time.process_time() - started


def test_blanks_after_a_statement_are_read_once() -> None:
    statement = "select 1" + " " * 20_000
    once = min(spend(re.compile("no such word"), statement) for _ in range(3))
    assert min(spend(_EXPLAIN, statement) for _ in range(3)) < 1000 * once
