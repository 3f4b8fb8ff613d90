"""Writes the declarations of profiles (suites, eras, organizations) to the lake, so that the store is self-contained.

A declaration equal to the newest one is not written again; a changed one is added, and the newest counts.
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
    """Record the suites, eras and organizations of a run."""
    for resolved in suites:
        _declare(store, SUITES, suite_rows(resolved.suite, resolved.version, now), resolved.suite.suite, now)
        _declare(store, ERAS, era_rows(resolved.suite, resolved.version, now), resolved.suite.suite, now)
    _declare(store, ORGANIZATIONS, organization_rows(organizations, now), None, now)


def declare_imported(store: Store, suite: Suite, now: datetime) -> None:
    """Record a suite that is new in the store, so that imported scores have its benchmarks and eras.

    Its datasets are not pinned; the version that a run declares replaces it.
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
    """The last declaration of a suite, of any version; of all organizations for None."""
    rows = [row for row in read_table(store, table).to_pylist() if row.get("suite") == suite]
    newest = max((row["declared_at"] for row in rows), default=None)
    return [row for row in rows if row["declared_at"] == newest]


def _content(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    content = [{key: value for key, value in row.items() if key != "declared_at"} for row in rows]
    return sorted(content, key=hash_json)
