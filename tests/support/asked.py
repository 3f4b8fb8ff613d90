"""Answers queries over a lake as its warehouse would, and makes only the tables that they read.

A whole build takes a second, most of it for tables that a test does not look at. Of what is made here the same holds as
of a build: tables have the columns of their descriptions, their keys are unique, and the checks that read them pass.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from make_lake import START

from nightboard.warehouse.builder.build import attach_lake, build, list_files, make_models
from nightboard.warehouse.builder.data_checks import find_violations, list_checks
from nightboard.warehouse.builder.derive import Deriver
from nightboard.warehouse.builder.sql_models import Model, find_references, load_models
from nightboard.warehouse.builder.sql_text import OFFLINE
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.schema.lake_tables import SAMPLES
from nightboard.warehouse.schema.marts import MODEL_TABLES

# What only a whole build knows: itself, and all that it holds.
_WHOLE = re.compile(r"build_info|build_files|information_schema|duckdb_|^\s*(describe|show|summarize)\b", re.IGNORECASE)

State = tuple[tuple[str, int, int], ...]


@functools.cache
def _models() -> dict[str, Model]:
    return {model.key: model for model in load_models()}


def find_sources(models: Mapping[str, Model], names: Iterable[str]) -> set[str]:
    """Names of these models, and of all that they read."""
    found, waiting = set[str](), [*names]
    while waiting:
        if (key := waiting.pop()) in models and key not in found:
            found.add(key)
            waiting += models[key].references
    return found


@dataclass
class _Tables:
    """Tables of one state of a lake, each made when a query first needs it."""

    state: State
    lake: Path
    warehouse: Path
    made: set[str] = field(default_factory=set)
    is_built: bool = False

    def __post_init__(self) -> None:
        self.files = list_files(self.lake)
        self.con = duckdb.connect(config=OFFLINE)
        self.con.execute("attach ':memory:' as build; use build; set global TimeZone = 'UTC'")
        attach_lake(self.con, self.lake, self.files)

    def make(self, names: Iterable[str]) -> None:
        """Make these models and all that they read, and check what is new."""
        needed = find_sources(_models(), names) - self.made
        derive = Deriver(self.lake, self.warehouse / "derived")
        make_models(self.con, [_models()[key] for key in needed], derive, self.files)
        self.made |= needed
        marts = [MODEL_TABLES[_models()[key].name] for key in needed if _models()[key].folder == "marts"]
        checks = list_checks(table for table in marts if table is not SAMPLES)
        reads = {name: find_references(re.sub("--.*", "", sql)) for name, sql in checks.items()}
        violations = find_violations(
            self.con, {name: checks[name] for name in checks if reads[name] & needed and reads[name] <= self.made}
        )
        assert violations == [], "\n".join(violations)

    def ask_build(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query that a whole build answers."""
        if not self.is_built:
            build(self.lake, self.warehouse, START)
            self.is_built = True
        with connect(self.warehouse) as con:
            return con.execute(sql).fetchall()


_last: dict[Path, _Tables] = {}


def ask_lake(lake: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query over the lake as it is now."""
    tables = _open(lake)
    if not _WHOLE.search(sql):
        tables.make(f"main.{word}" for word in re.findall(r"\w+", sql))
        with contextlib.suppress(duckdb.CatalogException):  # the wide table of a suite, or a mistake
            return tables.con.execute(sql).fetchall()
    return tables.ask_build(sql)


def _open(lake: Path) -> _Tables:
    files = sorted(path for path in lake.rglob("*") if path.is_file())
    state = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    if lake not in _last or _last[lake].state != state:
        for tables in _last.values():
            tables.con.close()
        _last.clear()
        warehouse = lake.parent / "asked"
        warehouse.mkdir(exist_ok=True)
        _last[lake] = _Tables(state, lake.resolve(), warehouse)
    return _last[lake]
