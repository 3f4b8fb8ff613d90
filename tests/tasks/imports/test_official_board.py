"""500 rows of the Open LLM Leaderboard's own table: what it computed is computed again, in exact fractions.

Skipped where the folder of data beside the checkout is not there. The table is read here by a script of its own.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.board import BoardImport, import_board
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import find_disagreements

DATA = Path(__file__).parents[4] / "shared" / "data" / "open_llm_leaderboard_contents_2025-02_sample.csv"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ERA = "math-parser-fix"
TOLERANCE = Fraction(1, 10**9)
# Guessing rates of the benchmarks that have one baseline; BBH and MuSR have one a task, which the table leaves out.
BOUNDS = {
    "ifeval": ("IFEval", Fraction(0)), "math_lvl_5": ("MATH Lvl 5", Fraction(0)), "gpqa": ("GPQA", Fraction(1, 4)),
    "mmlu_pro": ("MMLU-PRO", Fraction(1, 10)),
}  # fmt: skip
KEPT = {"bbh": "BBH", "musr": "MUSR"}

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no folder of data beside the checkout")

Row = dict[str, str]


def import_table(store: Store, file: Path) -> BoardImport:
    return import_board(store, file, load_suite("leaderboard-v2"), ERA, "board", NOW)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with DATA.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, BoardImport]:
    store = Store(tmp_path_factory.mktemp("board") / "store")
    done = import_table(store, DATA)
    build(store.lake, store.warehouse, NOW)
    return store, done


@pytest.fixture
def ask(imported: tuple[Store, BoardImport]) -> Callable[[str], list[tuple[Any, ...]]]:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        with connect(imported[0].warehouse) as con:
            return con.execute(sql).fetchall()

    return ask


Ask = Callable[[str], list[tuple[Any, ...]]]


def recompute(row: Row) -> dict[str, Fraction]:
    """What the recipe makes of a row's raw scores, exactly; BBH and MuSR as they are published."""
    scores = {name: Fraction(row[title]) for name, title in KEPT.items()}
    for name, (title, bound) in BOUNDS.items():
        scores[name] = max(Fraction(0), Fraction(row[f"{title} Raw"]) - bound) / (1 - bound) * 100
    return scores


def key(row: Row) -> tuple[str, str | None]:
    return row["eval_name"], row["Model sha"] or None


def test_every_row_is_imported_once(rows: list[Row], imported: tuple[Store, BoardImport], ask: Ask) -> None:
    _, done = imported
    assert (done.n_imported, done.left_out, done.is_new) == (len(rows), (), True)
    assert done.n_without_sha == sum(not row["Model sha"] for row in rows) == 3
    found = ask("select row_name, revision from imports order by all")
    assert sorted(found, key=str) == sorted(map(key, rows), key=str)


def test_every_score_is_what_its_raw_score_gives_within_1e_9(rows: list[Row], ask: Ask) -> None:
    found: dict[tuple[str, str | None], dict[str, tuple[float, float]]] = {}
    columns = "row_name, i.revision, benchmark, raw, normalized"
    sql = f"select {columns} from benchmark_scores join imports i using (evaluation_id)"
    for name, sha, benchmark, raw, normalized in ask(sql):
        found.setdefault((name, sha), {})[benchmark] = raw, normalized
    assert len(found) == len(rows)
    for row in rows:
        for benchmark, expected in recompute(row).items():
            raw, normalized = found[key(row)][benchmark]
            title = KEPT.get(benchmark) or BOUNDS[benchmark][0]
            assert raw == float(row[f"{title} Raw"])
            assert abs(Fraction(normalized) - expected) < TOLERANCE
            if benchmark in KEPT:
                assert normalized == float(row[title])


def test_every_average_is_the_mean_of_six_within_1e_9(rows: list[Row], ask: Ask) -> None:
    averages = {(row[0], row[1]): row[2] for row in ask(
        "select row_name, i.revision, average from leaderboard join imports i using (evaluation_id)"
    )}  # fmt: skip
    assert len(averages) > 400  # of a model's rows in one precision only the newest ranks
    for row in rows:
        if key(row) in averages:
            expected = sum(recompute(row).values(), Fraction(0)) / 6
            assert abs(Fraction(averages[key(row)]) - expected) < TOLERANCE


def test_the_report_has_exactly_the_rows_that_disagree(rows: list[Row], imported: tuple[Store, BoardImport]) -> None:
    """Of the real table none; of one with three scores changed, these."""
    with connect(imported[0].warehouse) as con:
        found = find_disagreements(con, "import:board", 1e-9).rows
    expected = [
        (key(row), benchmark)
        for row in rows
        for benchmark, (title, _) in BOUNDS.items()
        if abs(recompute(row)[benchmark] - Fraction(row[title])) > TOLERANCE
    ]
    assert len(found) == len(expected) == 0


def test_changed_scores_are_reported_and_the_computed_ones_rank(rows: list[Row], tmp_path: Path) -> None:
    changed = [dict(row) for row in rows[:20]]
    changed[3]["GPQA"] = "99.5"
    changed[7]["IFEval"] = str(Fraction(changed[7]["IFEval"]).__float__() + 2e-9)
    changed[9]["Average ⬆️"] = "0.0"
    file = tmp_path / "contents.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(changed)
    store = Store(tmp_path / "store")
    import_table(store, file)
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        result = find_disagreements(con, "import:board", 1e-9)
        scored = con.execute("select normalized from benchmark_scores where published = 99.5").fetchall()
    found = {(row[result.columns.index("row_name")], row[result.columns.index("benchmark")]) for row in result.rows}
    assert found == {
        (changed[3]["eval_name"], "gpqa"), (changed[7]["eval_name"], "ifeval"), (changed[9]["eval_name"], "average"),
    }  # fmt: skip
    assert abs(Fraction(scored[0][0]) - recompute(changed[3])["gpqa"]) < TOLERANCE


def test_the_table_as_parquet_gives_the_same(
    rows: list[Row], imported: tuple[Store, BoardImport], tmp_path: Path
) -> None:
    pq.write_table(pa_csv.read_csv(DATA), tmp_path / "contents.parquet")
    store = Store(tmp_path / "store")
    done = import_table(store, tmp_path / "contents.parquet")
    assert (done.n_imported, done.left_out) == (len(rows), ())
    build(store.lake, store.warehouse, NOW)
    sql = "select * from leaderboard order by evaluation_id, model_id"
    with connect(imported[0].warehouse) as ours, connect(store.warehouse) as theirs:
        assert ours.execute(sql).fetchall() == theirs.execute(sql).fetchall()


HOSTILE: list[tuple[str, Callable[[Row], Row], str | None]] = [
    ("NaN", lambda row: row | {"GPQA Raw": "NaN"}, None),
    ("infinite", lambda row: row | {"GPQA Raw": "inf"}, "gpqa raw"),
    ("above one", lambda row: row | {"BBH Raw": "1.01"}, "bbh raw"),
    ("below nothing", lambda row: row | {"MUSR": "-1"}, "musr"),
    ("a wrong sha", lambda row: row | {"Model sha": "'; drop table imports --"}, None),
    ("a huge number", lambda row: row | {"Generation": "1e400"}, "generation"),
    ("a huge whole number", lambda row: row | {"Hub ❤️": "9" * 400}, "Hub ❤️"),
    ("no name", lambda row: row | {"eval_name": " "}, "eval_name"),
    ("no model", lambda row: row | {"fullname": ""}, "fullname"),
    ("a long name", lambda row: row | {"fullname": "x" * 100_000}, "fullname"),
    ("a nul", lambda row: row | {"Hub License": "a\x00b"}, None),
    ("a strange day", lambda row: row | {"Submission Date": "99999-99-99"}, None),
    ("a doubled row with other values", lambda row: row | {"GPQA Raw": "0.9"}, "eval_name"),
]


@pytest.mark.parametrize(("what", "change", "column"), HOSTILE, ids=[each[0] for each in HOSTILE])
def test_a_hostile_row_is_left_out_or_harmless(
    rows: list[Row], tmp_path: Path, what: str, change: Callable[[Row], Row], column: str | None
) -> None:
    is_double = what.startswith("a doubled")
    table = [rows[0], change(rows[0] if is_double else rows[1]), rows[2]]
    file = tmp_path / "contents.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(table)
    store = Store(tmp_path / "store")
    done = import_table(store, file)
    assert [(each.where, each.reason.partition(":")[0]) for each in done.left_out] == (
        [(f"{file}:3", column)] if column else []
    )
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        assert con.execute("select count(*) from imports").fetchone() == (2 if column else 3,)
        with pytest.raises(duckdb.Error):
            con.execute("drop table imports")
