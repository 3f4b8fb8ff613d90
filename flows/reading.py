"""The commands that analysts read the warehouse with: SQL, and DuckDB's own shell."""

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
from nightboard.warehouse.shell import open_shell
from nightboard.warehouse.statements import run_sql

SQL_EXAMPLE = example('nightboard sql --store nightboard-store "select * from leaderboard"')


def sql(
    query: Annotated[str | None, typer.Argument(help="SQL; left out: read from the standard input.")] = None,
    board: DataBoardOption = None,
    store: StoreOption = None,
    form: OutputFormatOption = None,
    output: OutputOption = None,
    shell: Annotated[bool, typer.Option("--shell", help="Open DuckDB's own shell on the current build.")] = False,
) -> None:
    """Run SQL on the warehouse, read-only. Several statements print several tables."""
    root = find_store(board, store)
    if shell:
        if query is not None or form is not None or output is not None:
            raise typer.BadParameter("the shell has its own: type SQL, .mode csv and so on", param_hint="--shell")
        raise typer.Exit(1 if open_shell(root.warehouse) else 0)
    form, text = find_format(form, output), read_query(query)
    with connect(root.warehouse) as connection, usage_of_format():
        print_answers(run_sql(connection, text), form, output)


def read_query(query: str | None) -> str:
    """The SQL that was given, or that is piped in."""
    if query is not None:
        return query
    if sys.stdin.isatty():
        raise typer.BadParameter(
            'write SQL, such as "from leaderboard", pipe it in, or open --shell', param_hint="QUERY"
        )
    return sys.stdin.read()
