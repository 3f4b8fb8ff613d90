"""What follows from one evaluation's inputs is carried over from build to build, and a build never shows it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from make_lake import Lake, Row, after, declare_task, read_build

from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.builder import compact as compaction
from nightboard.warehouse.builder import incremental as kept
from nightboard.warehouse.builder import sql_models as models
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.lake.files import read_sources
from nightboard.warehouse.schema.lake_tables import OUTCOMES, SAMPLES, TASK_SCORES

# One task of two metrics, two that share questions: both models that work on samples have rows.
SUITE = [
    declare_task("arc", "arc_easy", metrics=["acc", "acc_norm"]),
    declare_task("gpqa", "gpqa_a", benchmark_position=2, aggregate="pooled", independent_share=0.5),
    declare_task("gpqa", "gpqa_b", benchmark_position=2, aggregate="pooled", independent_share=0.5),
]


def sample_rows(evaluation_id: str, seed: int) -> list[Row]:
    return [
        {
            "evaluation_id": evaluation_id, "benchmark": task["benchmark"], "task": task["task"], "doc_id": doc,
            "doc_hash": f"{task['task']}{doc}", "question_hash": f"q{doc}", "filter": "none", "metric": metric,
            "value": float((seed >> doc) % 2), "weight": 1.0, "target": "A", "response": "B",
        }
        for task in SUITE for metric in task["metrics"] for doc in range(4)
    ]  # fmt: skip


def add_evaluation(lake: Lake, number: int, seed: int | None = None) -> None:
    lake.commit(f"org/m{number}", hours=number)
    lake.done(f"e{number}", f"org/m{number}", tasks=SUITE, hours=number)
    lake.add("samples", f"e{number}", sample_rows(f"e{number}", number + 1 if seed is None else seed))


class Site:
    """A store that is built again and again; `computed` says over how many evaluations the last build worked."""

    def __init__(self, root: Path, lake: Lake) -> None:
        self.root, self.lake, self.hours = root, lake, 0
        self.computed: dict[str, int] = {}

    def build(self, root: Path | None = None, *, is_full: bool = False) -> dict[str, list[Any]]:
        self.computed, self.hours = {}, self.hours + 1
        root = root or self.root
        done = build(root / "lake", root / "warehouse", after(self.hours), self.report, is_full=is_full)
        return read_build(done.path)

    def report(self, what: str, done: int, n_all: int) -> None:
        self.computed[what] = n_all

    def build_from_scratch(self) -> dict[str, list[Any]]:
        scratch = self.root / f"scratch {self.hours}"
        shutil.copytree(self.root / "lake", scratch / "lake")
        return self.build(scratch)


@pytest.fixture
def site(tmp_path: Path, lake: Lake) -> Site:
    lake.suite(SUITE)
    for number in range(4):
        add_evaluation(lake, number)
    lake.write(tmp_path / "lake")
    return Site(tmp_path, lake)


ALL = {"compute sample_variances": 4, "compute question_variances": 4}


def test_the_second_build_computes_nothing_and_is_the_same(site: Site) -> None:
    first = site.build()
    assert site.computed == ALL
    assert len(first["main.task_scores"]) == 4 * 4 and len(first["main.benchmark_scores"]) == 4 * 2
    assert site.build() == first
    assert site.computed == {}


def test_a_night_computes_what_is_new_and_gives_what_a_full_build_gives(site: Site) -> None:
    site.build()
    add_evaluation(site.lake, 4)
    add_evaluation(site.lake, 5)
    site.lake.write(site.root / "lake")
    night = site.build()
    assert site.computed == dict.fromkeys(ALL, 2)
    assert night == site.build_from_scratch()
    assert site.computed == dict.fromkeys(ALL, 6)


def test_a_suite_that_changes_is_scored_anew_for_everybody_and_one_that_only_looks_changed_for_nobody(
    site: Site,
) -> None:
    before = site.build()
    site.lake.suite([task | {"suite_title": "Another"} for task in SUITE], version="v2", hours=1)
    site.lake.write(site.root / "lake")
    site.build()
    assert site.computed == {}, "a new version that is scored and measured alike"
    site.lake.suite([task | {"task_lower_bound": 0.25} for task in SUITE], version="v3", hours=2)
    site.lake.write(site.root / "lake")
    changed = site.build()
    assert site.computed == ALL
    assert changed == site.build_from_scratch()
    assert changed["main.benchmark_scores"] != before["main.benchmark_scores"]


def test_an_evaluation_that_finished_earlier_but_came_later_has_its_place(site: Site) -> None:
    site.build()
    add_evaluation(site.lake, 4)
    for row in site.lake.files["outcomes", "e4"]:
        row["finished_at"] = after(1.5)
    site.lake.write(site.root / "lake")
    night = site.build()
    assert site.computed == dict.fromkeys(ALL, 1)
    assert [*dict.fromkeys(row[0] for row in night["main.task_scores"])] == ["e0", "e1", "e4", "e2", "e3"]
    assert night == site.build_from_scratch()
    assert site.build() == night


def test_rows_of_an_evaluation_that_is_taken_out_go(site: Site) -> None:
    site.build()
    for path in (site.root / "lake").glob("*/e1*.parquet"):
        path.unlink()
    without = site.build()
    assert site.computed == {}
    assert {row[0] for row in without["main.task_scores"]} == {"e0", "e2", "e3"}
    assert without == site.build_from_scratch()


def test_the_wide_table_of_a_suite_that_is_gone_goes(site: Site) -> None:
    site.lake.suite(SUITE, suite="other")
    site.lake.write(site.root / "lake")
    assert "main.other" in site.build()
    site.lake.files["suites", "v1"] = [row for row in site.lake.files["suites", "v1"] if row["suite"] != "other"]
    site.lake.write(site.root / "lake")
    after_all = site.build()
    assert "main.other" not in after_all
    assert after_all == site.build_from_scratch()


def test_a_file_that_was_mended_by_hand_counts_in_a_full_build(site: Site) -> None:
    first = site.build()
    path = site.root / "lake" / "task_scores" / "e1.parquet"
    write_parquet(path, TASK_SCORES, [row | {"value": 0.25} for row in site.lake.files["task_scores", "e1"]])
    assert site.build() == first
    mended = site.build(is_full=True)
    assert site.computed == ALL
    assert mended != first and mended == site.build_from_scratch()


def test_files_do_not_grow_from_build_to_build(site: Site) -> None:
    sizes = []
    for _ in range(6):
        site.build()
        sizes.append((site.root / "warehouse" / "current.duckdb").stat().st_size)
    assert max(sizes[2:]) <= sizes[1]


def test_a_kept_model_reads_nothing_that_may_change_while_its_rows_are_carried_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models.SQL_FOLDER, tmp_path / "sql", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(models, "SQL_FOLDER", tmp_path / "sql")
    file = tmp_path / "sql" / "marts" / "benchmark_scores.sql"
    file.write_text(file.read_text().replace("staging.evaluations", "main.evaluations"))
    with pytest.raises(models.ModelError, match=r"main\.benchmark_scores is kept, but reads main\.evaluations"):
        models.load_models(models.SQL_FOLDER)


def test_compaction_and_a_move_change_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.build()
    monkeypatch.setattr(compaction, "COMPACT_FROM", 2)
    assert site.build() == first
    assert not {*ALL} & site.computed.keys() and site.computed["compact samples"] == 4
    moved = site.root / "moved"
    for name in ("lake", "warehouse"):
        shutil.move(site.root / name, moved / name)
    assert site.build(moved) == first
    assert site.computed == {}
    shutil.rmtree(moved / "warehouse")
    assert site.build(moved) == first
    assert site.computed == ALL


@pytest.mark.parametrize("n_batch", [1, 3])
def test_batches_of_any_size_give_the_same(site: Site, monkeypatch: pytest.MonkeyPatch, n_batch: int) -> None:
    first = site.build()
    shutil.rmtree(site.root / "warehouse")
    monkeypatch.setattr(kept, "BATCH_EVALUATIONS", n_batch)
    assert site.build() == first


def test_another_declaration_or_recipe_computes_all_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.build()
    site.lake.suite([row | {"independent_share": None} for row in SUITE], hours=1)
    del site.lake.files["suites", "v1"][: len(SUITE)]
    site.lake.write(site.root / "lake")
    declared = site.build()
    assert site.computed == ALL
    assert declared["main.benchmark_scores"] != first["main.benchmark_scores"]
    assert declared == site.build_from_scratch()
    monkeypatch.setattr(models, "hash_recipe", lambda folder: "another")
    site.build()
    assert site.computed == ALL


def test_samples_that_come_later_to_a_done_evaluation_count(site: Site) -> None:
    site.build()
    more = [row | {"task": "other"} for row in sample_rows("e1", 9)]
    write_parquet(site.root / "lake" / "samples" / "e1-abc.parquet", SAMPLES, more)
    night = site.build()
    assert site.computed == dict.fromkeys(ALL, 1)
    assert night == site.build_from_scratch()


def test_samples_of_an_evaluation_that_is_not_done_are_not_kept(site: Site) -> None:
    path = site.root / "lake" / "samples" / "e9.parquet"
    site.lake.planned("e9", "org/m1")
    site.lake.write(site.root / "lake")
    write_parquet(path, SAMPLES, sample_rows("e9", 3))
    site.build()
    assert site.computed == ALL
    add_evaluation(site.lake, 9, seed=12)  # collected again, with other answers
    for table in (TASK_SCORES, OUTCOMES, SAMPLES):
        rows = site.lake.files[table.name, "e9"]
        write_parquet(site.root / "lake" / table.name / "e9.parquet", table, rows)
    night = site.build()
    assert site.computed == dict.fromkeys(ALL, 1)
    assert night == site.build_from_scratch()


def test_a_file_that_no_evaluation_gave_its_name_makes_everything_new(site: Site) -> None:
    site.build()
    path = site.root / "lake" / "samples"
    (path / "e1.parquet").rename(path / "by-hand.parquet")
    night = site.build()
    assert site.computed == ALL
    assert night == site.build_from_scratch()
    (path / "by-hand.parquet").rename(path / "e1.parquet")
    assert site.build() == night


def test_what_an_import_that_was_cut_off_has_left_computes_nothing_anew(site: Site) -> None:
    first = site.build()
    for table, suffix in ((TASK_SCORES, ""), (SAMPLES, "-" + 16 * "0")):
        rows = [row | {"evaluation_id": 32 * "a"} for row in site.lake.files[table.name, "e1"]]
        write_parquet(site.root / "lake" / table.name / f"{32 * 'a'}{suffix}.parquet", table, rows)
    assert site.build() == first
    assert site.computed == {}


def test_a_large_file_that_was_written_anew_by_hand_still_counts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.build()
    monkeypatch.setattr(compaction, "COMPACT_FROM", 2)
    site.build()
    monkeypatch.undo()
    for table in (TASK_SCORES, SAMPLES):
        for path in (site.root / "lake" / table.name).glob("*.parquet"):
            path.unlink()
        (large,) = (site.root / "lake" / table.name / "compacted").glob("*.parquet")
        pq.write_table(pq.read_table(large).replace_schema_metadata(None), large)
    read_sources.cache_clear()
    assert site.build() == first
    assert site.computed == ALL


def test_a_build_that_is_damaged_inside_is_made_from_nothing(site: Site) -> None:
    first = site.build()
    whole = (site.root / "warehouse" / "current.duckdb").resolve().read_bytes()
    n_anew = 0
    for offset in range(3 * 4096 + 1000, len(whole), 3 * 262_144):
        current = (site.root / "warehouse" / "current.duckdb").resolve()
        current.chmod(0o644)
        current.write_bytes(
            whole[:offset] + bytes(byte ^ 255 for byte in whole[offset : offset + 60]) + whole[offset + 60 :]
        )
        assert site.build() == first
        n_anew += bool(site.computed)
    assert n_anew


def test_what_does_not_fit_into_memory_goes_beside_the_build(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    con, is_copy = kept.open_build(tmp_path / "warehouse" / ".new.tmp", tmp_path / "warehouse", is_full=False)
    with con:
        assert not is_copy
        assert con.execute("select current_setting('temp_directory')").fetchall() == [
            (str(tmp_path / "warehouse" / ".new.tmp.tmp"),)
        ]


def test_a_build_that_cannot_be_read_is_not_carried_over(site: Site) -> None:
    site.build()
    current = (site.root / "warehouse" / "current.duckdb").resolve()
    current.write_bytes(b"of another version")
    site.build()
    assert site.computed == ALL
