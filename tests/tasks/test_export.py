"""Tables as files: what is read back is what the warehouse holds, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from make_lake import START, Lake, declare_task

from nightboard.tasks.export import export_all, export_table
from nightboard.tasks.output_file import OutputFileError
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import QueryError, connect
from nightboard.warehouse.reader.file_format import FileFormat

READERS = {
    FileFormat.parquet: "read_parquet('{}')",
    FileFormat.csv: "read_csv('{}', header = true, all_varchar = true, allow_quoted_nulls = false)",
    FileFormat.tsv: "read_csv('{}', header = true, delim = '\\t', all_varchar = true, allow_quoted_nulls = false)",
    FileFormat.json: "read_json('{}', format = 'array', columns = {{{}}})",
    FileFormat.jsonl: "read_json('{}', format = 'newline_delimited', columns = {{{}}})",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    lake, folder = Lake(), tmp_path_factory.mktemp("it's a store")
    lake.suite()
    lake.planned("broken", "org/bad")
    lake.attempt("broken", "failed", log_tail=['first, "quoted"', "", "last"], reason='a,b\n"c"')
    for model, score in {"org/good": 2 / 3, "org/fair": 0.1 + 0.2}.items():
        lake.commit(model, license=None if model == "org/fair" else "")
        lake.done(f"e {model}", model, scores=score)
        lake.samples(f"e {model}")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return Store(folder)


def ignore(table: str, done: float) -> None:
    pass


def rows_of(con: duckdb.DuckDBPyConnection, table: str) -> tuple[list[tuple[str, str]], list[tuple[Any, ...]]]:
    """Names and types of the columns, and all rows in one order."""
    relation = con.sql(f"select * from main.{table}")
    described = [(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]
    return described, sorted(relation.fetchall(), key=repr)


@pytest.mark.parametrize("form", list(FileFormat))
def test_every_table_is_read_back_as_it_was(store: Store, tmp_path: Path, form: FileFormat) -> None:
    exported = list(export_all(store, tmp_path / "it's here", form, False, ignore))
    assert {"leaderboard", "small", "samples", "attempts", "build_info"} <= {each.table for each in exported}
    assert {path.name for path in (tmp_path / "it's here").iterdir()} == {f"{each.table}.{form}" for each in exported}
    with connect(store.warehouse) as warehouse, duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        for each in exported:
            columns, rows = rows_of(warehouse, each.table)
            assert each.n_rows == len(rows)
            path = str(each.path).replace("'", "''")
            source = READERS[form].format(path, ", ".join(f"'{name}': '{kind}'" for name, kind in columns))
            typed = ", ".join(f'cast("{name}" as {kind}) as "{name}"' for name, kind in columns)
            assert sorted(con.execute(f"select {typed} from {source}").fetchall(), key=repr) == rows, each.table


def test_json_has_no_numbers_that_json_lacks(store: Store, tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.done("e", "org/m")
    lake.samples("e")
    lake.files["samples", "e"][0]["value"] = float("nan")
    lake.files["samples", "e"][1]["value"] = float("inf")
    odd = Store(tmp_path / "odd")
    build(lake.write(odd.lake), odd.warehouse, START)
    export_table(odd, "samples", tmp_path / "samples.json", FileFormat.json, False, ignore)
    values = [row["value"] for row in json.loads((tmp_path / "samples.json").read_text(), parse_constant=pytest.fail)]
    assert values.count(None) == 2


def test_texts_that_may_not_be_published_stay_in_the_store(tmp_path: Path) -> None:
    lake, odd = Lake(), Store(tmp_path / "odd")
    lake.suite([declare_task("open", "open", publish_documents=True), declare_task("kept", "kept")])
    texts = {"question": "?", "choices": ["(A) x"], "target": "(A) x", "category": "c"}
    names = {"doc_hash": "d", "doc_set_hash": "s", "is_imported": False}
    lake.add("documents", "d", [{"task": task, **names, **texts} for task in ("open", "kept")])
    build(lake.write(odd.lake), odd.warehouse, START)
    columns = f"task, doc_hash, {', '.join(texts)}"
    for form in (FileFormat.parquet, FileFormat.jsonl):
        export_table(odd, "documents", tmp_path / f"out.{form}", form, False, ignore)
        found = duckdb.sql(f"select {columns} from '{tmp_path / f'out.{form}'}' order by task desc").fetchall()
        assert found == [("open", "d", *texts.values()), ("kept", "d", None, None, None, None)], form


def test_an_existing_file_stays_unless_it_is_forced(store: Store, tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("mine")
    for export in (
        lambda: export_table(store, "samples", tmp_path / "samples.csv", FileFormat.csv, False, ignore),
        lambda: list(export_all(store, tmp_path, FileFormat.csv, False, ignore)),
    ):
        with pytest.raises(OutputFileError, match=r"samples\.csv: exists\. .*--force"):
            export()
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"samples.csv": "mine"}
    export_table(store, "samples", tmp_path / "samples.csv", FileFormat.csv, True, ignore)
    assert (tmp_path / "samples.csv").read_text().startswith("evaluation_id,")


@pytest.mark.parametrize("place", ["lake/samples/new.parquet", "warehouse/current.duckdb", "new.parquet"])
def test_nothing_of_the_store_is_written(store: Store, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(store.root)
    files = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    for root in (store.root, tmp_path / "link"):
        with pytest.raises(OutputFileError, match="is inside the store"):
            export_table(store, "models", root / place, FileFormat.parquet, True, ignore)
    with pytest.raises(OutputFileError, match="is inside the store"):
        list(export_all(store, store.lake, FileFormat.parquet, True, ignore))
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == files


def test_a_folder_is_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(OutputFileError, match="is a folder"):
        export_table(store, "models", tmp_path, FileFormat.csv, True, ignore)


def test_an_unknown_table_is_answered_with_those_that_there_are(store: Store, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"no table is called model\. Did you mean models\? Tables: attempts, "):
        export_table(store, "model", tmp_path / "x.csv", FileFormat.csv, False, ignore)
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_midway_leaves_no_file_and_says_what_to_do(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path / "store")
    lake.done("e", "org/m")
    lake.samples("e")
    build(lake.write(store.lake), store.warehouse, START)
    (store.lake / "samples").rename(tmp_path / "moved")
    (tmp_path / "out").mkdir()
    with pytest.raises(QueryError, match=r"samples: .*(?s:.)*`nightboard rebuild` finds them"):
        export_table(store, "samples", tmp_path / "out" / "samples.csv", FileFormat.csv, False, ignore)
    assert list((tmp_path / "out").iterdir()) == []
