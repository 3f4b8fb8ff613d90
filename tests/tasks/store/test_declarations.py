"""Declarations in the lake: written once, and the newest counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOW, make_suite

from nightboard.profiles.models.board import Organization, Organizations
from nightboard.profiles.models.suite import Era
from nightboard.tasks.store.declarations import declare
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import ResolvedSuite
from nightboard.tasks.store.tables import read_table
from nightboard.warehouse.schema.lake_tables import ERAS, ORGANIZATIONS, SUITES

NOBODY = Organizations(organizations={})


def with_era(name: str) -> ResolvedSuite:
    resolved = make_suite()
    era = Era(name=name, is_current=True)
    return resolved.model_copy(update={"suite": resolved.suite.model_copy(update={"eras": (era,)})})


def newest(store: Store, table: object, column: str) -> str:
    rows = read_table(store, table).sort_by("declared_at").to_pylist()  # type: ignore[arg-type]
    return str(rows[-1][column])


def test_the_same_declaration_is_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    organizations = Organizations(organizations={"lab": Organization(display_name="Lab", country="NO")})
    declare(store, [with_era("a")], organizations, NOW)
    before = sorted(store.lake.rglob("*.parquet"))
    declare(store, [with_era("a")], organizations, NOW + timedelta(days=1))
    assert sorted(store.lake.rglob("*.parquet")) == before
    assert read_table(store, ORGANIZATIONS).to_pylist()[0]["country"] == "NO"


@pytest.mark.parametrize("step", [1, -1], ids=["a clock that goes on", "one that is set back"])
def test_going_back_to_an_older_declaration_makes_it_the_newest(tmp_path: Path, step: int) -> None:
    store = Store(tmp_path)
    for day, (name, version) in enumerate([("a", "v1"), ("b", "v1"), ("a", "v2"), ("a", "v1")]):
        suite = with_era(name).model_copy(update={"version": version})
        declare(store, [suite], NOBODY, NOW + timedelta(days=step * day))
        assert newest(store, ERAS, "era") == name
        assert newest(store, SUITES, "suite_version") == version
