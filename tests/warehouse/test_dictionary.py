"""The data dictionary in docs/ says what every build holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from make_lake import START, Lake

from nightboard.warehouse.builder.build import build
from nightboard.warehouse.dictionary import describe_warehouse, main
from nightboard.warehouse.reader.connection import connect

DOCUMENT = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_dictionary_is_what_the_schema_says() -> None:
    assert DOCUMENT.read_text() == describe_warehouse(), "run `make docs`"


def test_every_table_column_and_macro_of_a_build_is_in_it(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.done("e", "org/m")
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    sections = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    texts = {section.partition("\n")[0]: section for section in sections}
    with connect(tmp_path / "warehouse") as con:
        columns = con.execute(
            "select table_name, column_name, data_type, comment from duckdb_columns()"
            " where schema_name = 'main' and not internal and table_name <> 'small'"
        ).fetchall()
        macros = con.execute("select function_name from duckdb_functions() where not internal").fetchall()
    missing = [row for row in columns if f"| `{row[1]}` | {row[2]} | {row[3]} |" not in texts[row[0]]]
    assert missing == []
    assert {name for (name,) in macros} <= set(texts)
    assert "leaderboard_v2, ... (one per suite)" in texts


def test_a_stale_dictionary_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tables.md"
    assert main(path, is_check=True) == 1
    assert main(path, is_check=False) == 0
    assert main(path, is_check=True) == 0
    path.write_text(path.read_text().replace("## attempts", "## attempt"))
    assert main(path, is_check=True) == 1
    assert "Run `make docs`" in capsys.readouterr().out
