"""The commands that analysts read the warehouse with: `sql`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nightboard.flows.options import (
    DataBoardOption,
    OutputFormatOption,
    OutputOption,
    StoreOption,
    example,
    find_format,
    find_store,
    usage_of_format,
)
from nightboard.flows.show import print_answers
from nightboard.warehouse.query import connect
from nightboard.warehouse.statements import run_sql

SQL_EXAMPLE = example('nightboard sql --store nightboard-store "select * from leaderboard"')


def sql(
    query: Annotated[str | None, typer.Argument(help="SQL; left out: read from the standard input.")] = None,
    board: DataBoardOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
) -> None:
    """Run SQL on the warehouse, read-only. Several statements print several tables."""
    root, form = find_store(board, store), find_format(form, output)
    text = read_query(query)
    with connect(root.warehouse) as connection, usage_of_format():
        print_answers(run_sql(connection, text), form, output)


def read_query(query: str | None) -> str:
    """The SQL that was given, or that is piped in."""
    if query is not None:
        return query
    if sys.stdin.isatty():
        raise typer.BadParameter('write SQL, such as "from leaderboard", or pipe it in', param_hint="QUERY")
    return sys.stdin.read()
