"""What samples decide is computed once per evaluation, kept in files of its own, and never shows in a build."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from make_lake import Lake, Row, after, declare_task, read_build

from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.builder import compact as compaction
from nightboard.warehouse.builder import derive
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.builder.ddl import open_new
from nightboard.warehouse.lake.files import read_sources
from nightboard.warehouse.schema.lake_tables import LAKE_TABLES, SAMPLES

pytestmark = pytest.mark.usefixtures("builds_few_models")

# One task of two metrics, two that share questions: both derived models have rows.
SUITE = [
    declare_task("arc", "arc_easy", metrics=["acc", "acc_norm"]),
    declare_task("gpqa", "gpqa_a", benchmark_position=2, aggregate="pooled", independent_share=0.5),
    declare_task("gpqa", "gpqa_b", benchmark_position=2, aggregate="pooled", independent_share=0.5),
]


def name(number: int) -> str:
    """The id of an evaluation, as nightboard gives them: its files are known by their names."""
    return hashlib.md5(str(number).encode()).hexdigest()


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
    lake.done(name(number), f"org/m{number}", tasks=SUITE, hours=number)
    lake.add("samples", name(number), sample_rows(name(number), number + 1 if seed is None else seed))


class Site:
    """A store that is built again and again; `computed` says over how many evaluations the last build worked."""

    def __init__(self, root: Path, lake: Lake) -> None:
        self.root, self.lake, self.hours = root, lake, 0
        self.computed: dict[str, int] = {}

    @property
    def derived(self) -> list[Path]:
        return sorted((self.root / "warehouse" / "derived").iterdir())

    def build(self, root: Path | None = None) -> dict[str, list[Any]]:
        self.computed, self.hours = {}, self.hours + 1
        root = root or self.root
        return read_build(build(root / "lake", root / "warehouse", after(self.hours), self.report).path)

    def write(self) -> None:
        """Write the files of the lake that are new; a file that is written again counts as changed."""
        for (table, file), rows in self.lake.files.items():
            path = self.root / "lake" / table / f"{file}.parquet"
            if not path.exists():
                write_parquet(path, LAKE_TABLES[table], rows)

    def report(self, what: str, done: int, n_all: int) -> None:
        self.computed[what] = n_all

    def build_from_nothing(self) -> dict[str, list[Any]]:
        """The tables of a build without derived files."""
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


def of_all(n_evaluations: int) -> dict[str, int]:
    models = ("sample_variances", "question_variances", "question_influences")
    return {f"compute {model}": n_evaluations for model in models}


def test_a_night_computes_what_is_new_and_every_build_is_one_from_nothing(site: Site) -> None:
    first = site.build()
    assert site.computed == of_all(4)
    assert len(first["main.task_scores"]) == 4 * 4 and len(first["main.benchmark_scores"]) == 4 * 2
    files = site.derived
    assert site.build() == first
    assert site.computed == {} and site.derived == files
    add_evaluation(site.lake, 4)
    add_evaluation(site.lake, 5)
    site.write()
    night = site.build()
    assert site.computed == of_all(2) and len(site.derived) == 3
    assert night == site.build_from_nothing()
    assert site.computed == of_all(6)
    shutil.rmtree(site.root / "warehouse" / "derived")
    assert site.build() == night
    assert site.computed == of_all(6)


def test_only_a_declaration_that_samples_meet_computes_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.build()
    site.lake.suite([task | {"benchmark_title": "Another"} for task in SUITE], version="v2", hours=1)
    site.write()
    titled = site.build()
    assert site.computed == {}
    assert titled["main.suites"] != before["main.suites"]
    assert titled == site.build_from_nothing()
    site.lake.suite([task | {"task_lower_bound": 0.25} for task in SUITE], version="v3", hours=2)
    site.write()
    assert site.build() == site.build_from_nothing()
    assert site.computed == of_all(4)
    site.lake.suite([task | {"independent_share": None} for task in SUITE], version="v4", hours=3)
    site.write()
    independent = site.build()
    assert site.computed == of_all(4)
    assert independent == site.build_from_nothing()
    monkeypatch.setattr(derive, "hash_recipe", lambda: "another")
    assert site.build() == independent
    assert site.computed == of_all(4) and len(site.derived) == 3


def test_rows_of_an_evaluation_that_is_gone_go(site: Site) -> None:
    site.build()
    for path in (site.root / "lake").glob(f"*/{name(1)}*.parquet"):
        path.unlink()
    without = site.build()
    assert site.computed == {}
    assert {row[0] for row in without["main.task_scores"]} == {name(0), name(2), name(3)}
    assert without == site.build_from_nothing()
    add_evaluation(site.lake, 4)
    site.write()
    for path in (site.root / "lake").glob(f"*/{name(1)}*.parquet"):
        path.unlink()
    site.build()
    for path in site.derived:
        assert sorted(pq.read_table(path)["evaluation_id"].to_pylist()) == sorted(map(name, (0, 2, 3, 4)))


@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda whole: whole[:60] + b"?" + whole[61:]])
def test_a_damaged_file_is_made_again(site: Site, damage: Any) -> None:
    first = site.build()
    files = site.derived
    for path in files:
        path.write_bytes(damage(path.read_bytes()))
    (site.root / "warehouse" / "derived" / ".sample_variances.tmp").write_bytes(b"of a killed build")
    assert site.build() == first
    assert site.computed == of_all(4) and len(site.derived) == 3
    assert site.build() == first
    assert site.computed == {}


def test_two_builds_at_once_make_the_same(site: Site) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda n: build(site.root / "lake", site.root / "warehouse", after(n)).path, (1, 2)))
    assert len(site.derived) == 3
    assert read_build(paths[0]) == read_build(paths[1])
    again = site.build()
    assert site.computed == {}
    assert again == site.build_from_nothing()


def test_compaction_and_a_move_change_no_table(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.build()
    monkeypatch.setattr(compaction, "COMPACT_FROM", 2)
    assert site.build() == first
    assert site.computed["compact samples"] == 4
    moved = site.root / "moved"
    for folder in ("lake", "warehouse"):
        shutil.move(site.root / folder, moved / folder)
    assert site.build(moved) == first
    assert site.computed == {}


def test_evaluations_of_many_batches_have_the_same_rows(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.build()
    monkeypatch.setattr(derive, "BATCH_EVALUATIONS", 3)
    assert site.build_from_nothing() == first


def test_samples_that_come_later_or_are_repaired_count(site: Site) -> None:
    site.build()
    more = [row | {"task": "other"} for row in sample_rows(name(1), 9)]
    write_parquet(site.root / "lake" / "samples" / f"{name(1)}-{16 * '0'}.parquet", SAMPLES, more)
    later = site.build()
    assert site.computed == of_all(1)
    assert later == site.build_from_nothing()
    write_parquet(site.root / "lake" / "samples" / f"{name(2)}.parquet", SAMPLES, sample_rows(name(2), 15))
    repaired = site.build()
    assert site.computed == of_all(1)
    assert repaired != later and repaired == site.build_from_nothing()


def test_samples_of_an_evaluation_that_is_not_done_do_not_count(site: Site) -> None:
    first = site.build()
    path = site.root / "lake" / "samples" / f"{name(9)}.parquet"
    write_parquet(path, SAMPLES, sample_rows(name(9), 3))
    assert site.build() == first
    assert site.computed == {}
    path.unlink()
    add_evaluation(site.lake, 9, seed=12)  # collected again, with other answers
    site.write()
    night = site.build()
    assert site.computed == of_all(1)
    assert night == site.build_from_nothing()


def test_a_file_whose_name_does_not_tell_its_evaluations_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.build()
    folder = site.root / "lake" / "samples"
    (folder / f"{name(1)}.parquet").rename(folder / "by-hand.parquet")
    assert site.build() == first
    assert site.computed == of_all(1)
    (folder / "by-hand.parquet").rename(folder / f"{name(1)}.parquet")
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "COMPACT_FROM", 2)
        assert site.build() == first
    for path in folder.glob("*.parquet"):
        path.unlink()
    (large,) = (folder / "compacted").glob("*.parquet")
    pq.write_table(pq.read_table(large).replace_schema_metadata(None), large)
    read_sources.cache_clear()
    assert site.build() == first
    assert site.computed == of_all(4)


def test_what_does_not_fit_into_memory_goes_beside_the_build_and_all_times_are_in_utc(tmp_path: Path) -> None:
    settings = "select current_setting('temp_directory'), current_setting('TimeZone')"
    with open_new(tmp_path / ".new.tmp") as con:
        assert con.cursor().execute(settings).fetchall() == [(f"{tmp_path}/.new.tmp.tmp", "UTC")]
