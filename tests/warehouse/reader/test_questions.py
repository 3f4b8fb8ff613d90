"""Questions: the ranking with its benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from make_lake import START, Lake, after

from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import QueryError, connect
from nightboard.warehouse.reader.questions import (
    EstimateError,
    compare,
    complete_name,
    find_estimate_error,
    list_eras,
    list_suites,
    name_compared,
    rank,
)
from nightboard.warehouse.reader.sql_errors import sort_by_nearness

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
        "rank", "model_id", "average", "params_b", "license", "arc", "truth", "precision", "chat_template",
        "settings", "identical_to", "revision", "rank_low", "rank_high", "average_low", "average_high", "era",
        "source", "is_approximate", "cut_prompts", "selected_rank",
    ]  # fmt: skip
    arc = (75 + (0.75 - 0.25) / 0.75 * 100) / 2
    average = (arc + 75) / 2
    assert rows[0][:12] == (
        1, "org/good", pytest.approx(average, abs=1e-12), 1.0, "apache-2.0", pytest.approx(arc, abs=1e-12), 75.0,
        "bfloat16", False, "", None, REVISION,
    )  # fmt: skip
    low, high, average_low, average_high, era, *others = rows[0][12:]
    assert (low, high, era, others) == (1, 3, "now", ["run", True, None, 1])
    assert average_low < average < average_high
    assert [row[1] for row in rows] == ["org/good", "org/fair", "it's/odd"]


def test_rank_takes_a_limit_an_era_and_the_fullest_suite_when_none_is_named(con: duckdb.DuckDBPyConnection) -> None:
    assert [row[1] for row in rank(con, limit=2).rows] == ["org/good", "org/fair"]
    assert [row[1] for row in rank(con, suite="small", era="old").rows] == ["org/fair"]
    assert [row[1] for row in rank(con, suite="other").rows] == ["org/good"]
    assert [row[0] for row in list_suites(con).rows] == ["small", "other"]


def test_a_suite_without_rows_in_its_current_era_comes_before_one_without_any(tmp_path: Path) -> None:
    lake = Lake()
    for suite in ("a", "b", "c"):
        lake.suite(suite=suite, version=f"{suite}1")
    lake.era("old", {"task": "truth", "task_version": "0"}, suite="b", version="b1", is_current=False)
    lake.era("now", {"task": "truth", "task_version": "1"}, suite="b", version="b1", position=2)
    lake.done("e", "org/m", suite="b", suite_version="b1", versions={"truth": "0"})
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        assert [(row[0], row[3]) for row in list_suites(con).rows] == [("b", 0), ("a", 0), ("c", 0)]
        assert (rank(con).rows, list_eras(con, "b").rows) == ([], [("old", False, 1)])


@pytest.mark.parametrize(
    ("suite", "era", "message"),
    [
        ("smal", None, r"no suite is called smal\. Did you mean small\? Known: other, small\."),
        ("small", "ol", r"no era of suite small is called ol\. Did you mean old\? Known: now, old\."),
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
    with connect(tmp_path / "warehouse") as con, pytest.raises(QueryError, match="nothing to rank yet"):
        rank(con)


def test_the_error_of_estimates_is_the_median_of_those_that_ended_since_a_time(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    for hours, estimate_s in ((1, 1e9), (5, 1200.0), (6, 2400.0), (7, 3600.0)):
        lake.done(f"e{hours}", f"org/{hours}", hours=hours)
        lake.attempt(f"e{hours}", "completed", estimate_s=estimate_s)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        assert find_estimate_error(con, after(5)) == EstimateError(0.5, 3)
        assert find_estimate_error(con, after(8)) == EstimateError(None, 0)


def test_compare_says_what_is_missing(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match=r"called org/god\. Did you mean org/good\?"):
        compare(con, "org/god", "org/fair")
    rows = compare(con, "org/good", "org/fair").rows
    assert {row[2] for row in rows} == {"arc", "average"}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("org/good", "org/good"),
        ("good", "org/good"),
        ("ORG/Good", "org/good"),
        ("GOOD", "org/good"),
        ("air", "org/fair"),
    ],
)
def test_a_model_is_named_by_a_unique_ending_in_any_case(con: duckdb.DuckDBPyConnection, name: str, model: str) -> None:
    assert complete_name(con, name) == model
    assert complete_name(con, f"{name}@{REVISION[:3]}") == f"{model}@{REVISION}"


def test_an_ending_that_several_models_have_is_answered_with_them(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match=re.escape("d matches 2 models. Name one: it's/odd, org/good.")):
        complete_name(con, "d")
    with pytest.raises(QueryError, match="no ranked model, model@revision or evaluation is called @a"):
        complete_name(con, "@a")


def test_names_that_contain_a_text_come_first_then_those_that_are_called_like_it() -> None:
    known = ["demo-lab/medium", "demo-lab/strong", "lab/SmolLM2-135M-Instruct", "smart/other"]
    assert sort_by_nearness("smol", known)[0] == "lab/SmolLM2-135M-Instruct"
    assert sort_by_nearness("strng", known)[0] == "demo-lab/strong", "whatever their owners are called"
    assert sort_by_nearness("demo-lab/mdium", known)[:2] == ["demo-lab/medium", "demo-lab/strong"]


def test_compare_of_models_without_shared_documents_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(QueryError, match="share no documents"):
        compare(con, "o", "org/fair")


def test_compare_takes_the_first_letters_of_one_revision_only(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    for number, revision in enumerate(("abc1", "abd2")):
        lake.commit("org/m", revision, hours=number)
        lake.done(revision, "org/m", revision, scores=0.25 + number / 2)
        lake.samples(revision)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        for name, says in {
            "org/m@": "names no revision. Write the first letters of one: abc1, abd2.",
            "org/m@ab": "matches 2 revisions. Write the first letters of one: abc1, abd2.",
            "org/m@b": "names no revision",
            "org/": "is called org/. Did you mean org/m?",
        }.items():
            with pytest.raises(QueryError, match=re.escape(says)):
                compare(con, "org/m", name)
        result = compare(con, "org/m@abd", "org/m@abc")
        assert name_compared(con, result, "org/m@abd", "org/m@abc") == {"small": ("org/m@abd2", "org/m@abc1")}
        result = compare(con, "org/m", "abc1")
        assert name_compared(con, result, "org/m", "abc1") == {"small": ("org/m@abd2", "org/m@abc1")}


def test_an_evaluation_is_named_by_the_first_letters_that_are_shown(tmp_path: Path) -> None:
    lake, ids = Lake(), ("a1b2c3d4" * 4, "a1b2c3d4e" + "0" * 23)
    lake.suite()
    for number, evaluation_id in enumerate(ids):
        lake.commit("org/m", f"abc{number}", hours=number)
        lake.done(evaluation_id, "org/m", f"abc{number}", scores=0.25)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        assert [complete_name(con, each[:9]) for each in ids] == [*ids]
        with pytest.raises(QueryError, match=r"^a1b2c3d4 begins 2 ids\. .* of one: a1b2c3d4a1, a1b2c3d4e0\.$"):
            complete_name(con, "a1b2c3d4")
        with pytest.raises(QueryError, match="no ranked model, model@revision or evaluation is called"):
            complete_name(con, "ffffffff")
