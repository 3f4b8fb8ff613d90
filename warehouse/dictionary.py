"""The data dictionary docs/tables.md: every table, view, function and macro of schema `main`, as a build has them.

Reads names, types and comments from a build of an empty lake, so that nothing is forgotten; keys and parameters, which
DuckDB does not keep, from the schemas. Run by `make docs`.
"""

# ruff: noqa: S608 - what looks like SQL is shown, not run

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from nightboard.warehouse.builder.build import build
from nightboard.warehouse.builder.ddl import type_name
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.schema import marts as marts_schema
from nightboard.warehouse.schema.columns import Column
from nightboard.warehouse.schema.functions import FUNCTIONS
from nightboard.warehouse.schema.lake_tables import SAMPLES
from nightboard.warehouse.schema.macros import MACROS, Macro

_KEYS = {
    table.name: table.key
    for table in (*marts_schema.MODEL_TABLES.values(), SAMPLES, marts_schema.BUILD_FILES, marts_schema.BUILD_INFO)
}

_HEAD = """# The tables of the warehouse

Schema `main` of a build, in the order of the alphabet. Made by `make docs` from the comments that stand in every
build; not edited by hand. In SQL: `describe leaderboard`, or

```sql
select column_name, data_type, comment from duckdb_columns() where table_name = 'leaderboard';
select function_name, parameters, comment from duckdb_functions() where not internal;
```

Times are in UTC. A score named `raw` is a fraction 0..1; one named `normalized` or `average` is a number 0..100.
Numbers have full precision.
"""

_WIDE = """## leaderboard_v2, ... (one a suite)

One table for each declared suite, named like it with `_` for `-` and `.`: the rows and columns of
[leaderboard](#leaderboard) for that suite, and one column per benchmark, named like the benchmark's key.

| Column | Type | Meaning |
|---|---|---|
| *all of [leaderboard](#leaderboard)* | | |
| *key of a benchmark*, such as `ifeval` | DOUBLE | normalized score of the benchmark, 0..100, full precision |
"""


def describe_warehouse() -> str:
    """The whole dictionary as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "lake", Path(folder) / "warehouse", datetime.now(UTC))
        with connect(Path(folder) / "warehouse") as con:
            return "\n".join(_describe(con))


def _describe(con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    tables = con.execute(
        "select table_name, 'table', comment from duckdb_tables()"
        " where database_name = current_database() and schema_name = 'main'"
        " union all"
        " select view_name, 'view', comment from duckdb_views()"
        " where database_name = current_database() and schema_name = 'main' and not internal order by 1"
    ).fetchall()
    macros = con.execute(
        "select distinct function_name, function_type from duckdb_functions()"
        " where database_name = current_database() and schema_name = 'main' and not internal order by 1"
    ).fetchall()
    functions = [FUNCTIONS[name] for name, kind in macros if kind == "macro"]
    questions = [MACROS[name] for name, kind in macros if kind == "table_macro"]
    yield _HEAD
    yield f"Tables and views: {_link(name for name, _, _ in tables)}.\n"
    yield f"Macros, which give tables: {_link(macro.name for macro in questions)}.\n"
    yield f"Functions: {_link(macro.name for macro in functions)}.\n"
    for name, kind, comment in tables:
        yield f"## {name}\n"
        yield f"{_sentence(comment)} {kind.title()}; key: {_code(_KEYS[name])}.\n"
        yield _list_columns(con, name)
    yield _WIDE
    for macro in questions:
        yield f"## {macro.name}\n"
        yield f"{_sentence(macro.meaning)} Macro: `select * from {_call(macro)}`.\n"
        yield _list_parameters(macro) + _list_results(macro.columns)
    for macro in functions:
        yield f"## {macro.name}\n"
        yield f"{_sentence(macro.meaning)} Function: `select {_call(macro)}`.\n"
        yield _list_parameters(macro)


def _list_columns(con: duckdb.DuckDBPyConnection, table: str) -> str:
    rows = con.execute(
        "select column_name, data_type, comment from duckdb_columns()"
        " where database_name = current_database() and schema_name = 'main' and table_name = ? order by column_index",
        [table],
    ).fetchall()
    return _table(("Column", "Type", "Meaning"), [(f"`{name}`", kind, comment) for name, kind, comment in rows])


def _list_parameters(macro: Macro) -> str:
    rows = [
        (f"`{each.name}`", f"`{each.default}`" if each.default else "", each.description) for each in macro.parameters
    ]
    return _table(("Parameter", "Default", "Meaning"), rows) if rows else ""


def _list_results(columns: Iterable[Column]) -> str:
    rows = [(f"`{each.name}`", type_name(each), each.description) for each in columns]
    return "\n" + _table(("Column", "Type", "Meaning"), rows)


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _call(macro: Macro) -> str:
    needed = [each.name for each in macro.parameters if each.default is None]
    return f"{macro.name}({', '.join(needed)})"


def _link(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}](#{name})" for name in names)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def main(path: Path, is_check: bool) -> int:
    """Write the dictionary, or say whether the written one is what the schema says; 0 where it is."""
    text = describe_warehouse()
    if not is_check:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        print(f"{path}: is not what the schema says. Run `make docs`.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1]), is_check="--check" in sys.argv))
