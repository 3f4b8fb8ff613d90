"""What a table is made of: columns with a Parquet type and a description, and a unique key."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type and what it means (unit included)."""

    name: str
    type: pa.DataType
    description: str


@dataclass(frozen=True)
class Table:
    """One table of the lake. `grain` says what a row is; `key` names the columns that are unique together.

    A table of the warehouse has its rows in the order of `order`, or of its key; one that is carried over from build to
    build (see kept.py) first in the order in which evaluations finished.
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
    """Some columns of a table, for another one that has them too."""
    columns = {column.name: column for column in table.columns}
    return tuple(columns[name] for name in names)
