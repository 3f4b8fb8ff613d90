"""Writes what the profiles declare into the lake as rows, so that the warehouse can be rebuilt from the store alone.

A declaration that is the newest already is not written again; one that changed is added, and the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from nightboard.profiles.declared_rows import era_rows, organization_rows, suite_rows
from nightboard.profiles.models.board import Organizations
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import ResolvedSuite
from nightboard.tasks.store.tables import next_time, read_table, write_file
from nightboard.warehouse.schema.columns import Table
from nightboard.warehouse.schema.lake_tables import ERAS, ORGANIZATIONS, SUITES


def declare(store: Store, suites: Iterable[ResolvedSuite], organizations: Organizations, now: datetime) -> None:
    """Record the suites, their eras and the organisations that a night works with."""
    for each in suites:
        _declare(store, SUITES, suite_rows(each.suite, each.version, now), each.suite.suite, now)
        _declare(store, ERAS, era_rows(each.suite, each.version, now), each.suite.suite, now)
    _declare(store, ORGANIZATIONS, organization_rows(organizations, now), None, now)


def declare_imported(store: Store, suite: Suite, now: datetime) -> None:
    """Record a suite that the store has not worked with yet, so that imported scores have its benchmarks and eras.

    Its data sets are not pinned; the version that a night declares takes its place.
    """
    if not _newest(store, SUITES, suite.suite):
        version = f"unpinned-{hash_json(_content(suite_rows(suite, '', now)))[:16]}"
        _declare(store, SUITES, suite_rows(suite, version, now), suite.suite, now)
        _declare(store, ERAS, era_rows(suite, version, now), suite.suite, now)


def _declare(store: Store, table: Table, rows: list[dict[str, Any]], suite: str | None, now: datetime) -> None:
    if rows and _content(rows) != _content(_newest(store, table, suite)):
        declared_at = next_time(store, table, "declared_at", now)
        name = hash_json([table.name, suite, _content(rows), declared_at.isoformat()])[:32]
        write_file(store, table, name, [row | {"declared_at": declared_at} for row in rows])


def _newest(store: Store, table: Table, suite: str | None) -> list[dict[str, Any]]:
    """The last declaration of a suite, whichever version it was of; of all organisations for None."""
    rows = [row for row in read_table(store, table).to_pylist() if row.get("suite") == suite]
    newest = max((row["declared_at"] for row in rows), default=None)
    return [row for row in rows if row["declared_at"] == newest]


def _content(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    content = [{key: value for key, value in row.items() if key != "declared_at"} for row in rows]
    return sorted(content, key=hash_json)
