"""The types `Column` and `Table` that all schemas are declared with: type, description, unique key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# The types of columns, by their names in DuckDB.
BOOL, INT, DOUBLE, DATE, STRING, STRINGS = "BOOLEAN", "BIGINT", "DOUBLE", "DATE", "VARCHAR", "VARCHAR[]"
UTC_TIMESTAMP = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class Column:
    """One column: its type in DuckDB's words and its description (with the unit)."""

    name: str
    type: str
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

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Parquet schema of a file of this table."""
        import pyarrow as pa  # a quarter of a second that most commands do without

        types = {
            BOOL: pa.bool_(),
            INT: pa.int64(),
            DOUBLE: pa.float64(),
            DATE: pa.date32(),
            STRING: pa.string(),
            STRINGS: pa.list_(pa.string()),
            UTC_TIMESTAMP: pa.timestamp("us", tz="UTC"),
        }
        return pa.schema([pa.field(column.name, types[column.type]) for column in self.columns])


def take(table: Table, *names: str) -> tuple[Column, ...]:
    """Some columns of a table, for another table with the same columns."""
    columns = {column.name: column for column in table.columns}
    return tuple(columns[name] for name in names)
