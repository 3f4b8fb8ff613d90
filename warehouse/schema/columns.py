"""The types `Column` and `Table` that all schemas are declared with: Parquet type, description, unique key."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type and its description (with the unit)."""

    name: str
    type: pa.DataType
    description: str


@dataclass(frozen=True)
class Table:
    """One table. `grain` says what a row is; `key` names the columns that are unique together.

    A table of the warehouse is sorted by `order`, or by its key.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    order: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.Schema:
        """The Parquet schema of a file of this table."""
        return pa.schema([pa.field(c.name, c.type) for c in self.columns])


def take(table: Table, *names: str) -> tuple[Column, ...]:
    """Some columns of a table, for another table with the same columns."""
    columns = {column.name: column for column in table.columns}
    return tuple(columns[name] for name in names)
