"""The page sql.html: readers ask the board's tables with SQL, in their browser.

DuckDB-WASM reads Parquet only with an extension that it fetches from the internet, so the tables are streams of Arrow.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nightboard.tasks.page.data import PageData
from nightboard.tasks.page.render import FOLDER, as_script, copy_sql_assets, write_html
from nightboard.warehouse.reader.board_tables import EXAMPLES, BoardTable, write_example


def write_sql_page(tables: Sequence[BoardTable], folder: Path, values: Mapping[str, Any]) -> None:
    """Write sql.html with its scripts."""
    copy_sql_assets(folder)
    script = as_script("window.boardTables", {table.name: _pack(table) for table in tables})
    name = f"tables-{hashlib.sha256(script.encode()).hexdigest()[:12]}.js"
    (folder / "data" / name).write_text(script)
    n_bytes = len(script) + (FOLDER / "assets" / "duckdb.js").stat().st_size
    write_html(folder / "sql.html", "sql.html", {
        **values, "root": "", "title": f"SQL - {values['board_title']}", "tables": tables, "tables_file": name,
        "size": f"{n_bytes / 1e6:,.0f} MB", "examples": _list_examples(tables, values["page"]),
    })  # fmt: skip


def _list_examples(tables: Sequence[BoardTable], data: PageData) -> list[tuple[str, str]]:
    """Questions with their SQL, of what the front page shows first."""
    shown = next((suite for suite in data.suites if suite.eras), None)
    wide = next((table for table in tables if shown and table.suite == shown.suite), None)
    if shown is None or wide is None:
        return []
    return [(question, write_example(sql, wide, shown.eras[0])) for question, sql in EXAMPLES.items()]


def _pack(table: BoardTable) -> str:
    return base64.b64encode(gzip.compress(table.write_stream(), mtime=0)).decode()
