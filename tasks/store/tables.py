"""Appends rows to the lake's Parquet tables, and reads them; every append is a new file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightboard.profiles.suite_version import hash_json
from nightboard.tasks.store.files import replace_atomically
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.lake.files import LakeError, check_readable, is_large, is_written, list_paths
from nightboard.warehouse.schema.columns import Table

if TYPE_CHECKING:
    import pyarrow as pa


def next_time(store: Store, table: Table, column: str, now: datetime) -> datetime:
    """`now`, or just after the newest row if that is later (clocks differ): the last written row is the newest."""
    import pyarrow.compute as pc

    newest = pc.max(read_table(store, table, [column])[column]).as_py()
    return now if newest is None or newest <= now else newest + timedelta(microseconds=1)


def read_table(
    store: Store,
    table: Table,
    columns: list[str] | None = None,
    evaluation_id: str | None = None,
    tasks: Sequence[str] | None = None,
) -> pa.Table:
    """All rows of a lake table, or those of one evaluation and some tasks, in the order of the file names.

    Empty if nothing was ever written; a column that a file lacks is null. Raises LakeError for a damaged file.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds  # brings pandas with it: a second that most commands do without

    where = None if evaluation_id is None else ds.field("evaluation_id") == evaluation_id
    if where is not None and tasks is not None:
        where &= ds.field("task").isin(list(tasks))
    while True:
        files = list_paths(store.lake, table.name)
        if evaluation_id is not None:
            files = [file for file in files if is_large(file) or file.name.startswith(evaluation_id)]
        if not files:
            return table.arrow.empty_table().select(columns or table.arrow.names)
        try:
            data = ds.dataset([str(file) for file in files], schema=table.arrow, format="parquet")
            return data.to_table(columns, filter=where)
        except FileNotFoundError:  # compacted and removed since it was listed
            continue
        except (pa.ArrowInvalid, OSError) as error:
            check_readable(files)
            raise LakeError(f"{store.lake / table.name}: cannot be read ({error}).") from error


def has_file(store: Store, table: Table, name: str) -> bool:
    """Whether the lake's file `name` of a table was ever written; compaction may have moved its rows."""
    return is_written(store.lake, table.name, name)


def write_file(store: Store, table: Table, name: str, rows: list[dict[str, Any]] | pa.Table) -> None:
    """Write rows as the lake's file `name` of a table, atomically; replaces an existing one."""
    write_parquet(store.lake_file(table.name, name), table, rows)


def write_parquet(path: Path, table: Table, rows: list[dict[str, Any]] | pa.Table) -> None:
    """Write rows of a lake table to `path`, atomically. Column order and types come from the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=table.arrow)
    with replace_atomically(path) as file:
        pq.write_table(data.select(table.arrow.names).cast(table.arrow), file, compression="zstd")


def append_rows(store: Store, table: Table, rows: list[dict[str, Any]]) -> None:
    """Add rows as a file named by its content, so that the same rows are stored once."""
    if rows:
        name = hash_json([{key: str(value) for key, value in row.items()} for row in rows])[:32]
        write_file(store, table, name, rows)
