"""Makes SQL functions and macros of the files in functions/ and macros/, with the comments that explain them.

DuckDB takes every bare word of a macro that is called like a parameter for the parameter, even where a column was
meant. So a file writes $name for the parameter, and a bare `name` is refused.
"""

# ruff: noqa: S608 - DuckDB binds no names

from __future__ import annotations

import re

import duckdb

from nightboard.warehouse.builder.sql_models import Model, ModelError
from nightboard.warehouse.builder.sql_text import literal, quote
from nightboard.warehouse.schema.macros import Macro

_PARAMETER = re.compile(r"\$([a-z_]\w*)")


def create_macro(con: duckdb.DuckDBPyConnection, model: Model, described: Macro) -> None:
    """Make main.<name> of a file and comment on it. Raises ModelError when file and description do not agree."""
    _check_parameters(model, described)
    code = _PARAMETER.sub(r"\1", model.code)
    is_table = model.folder == "macros"
    columns = ", ".join(f"answer.{quote(column.name)}" for column in described.columns)
    body = f"table select {columns} from ({code}) as answer" if is_table else f"({re.sub(r'^select', '', code)})"
    parameters = ", ".join(p.name if p.default is None else f"{p.name} := {p.default}" for p in described.parameters)
    con.execute(f"create macro main.{quote(model.name)}({parameters}) as {body}")
    kind = "macro table" if is_table else "macro"
    con.execute(f"comment on {kind} main.{quote(model.name)} is {literal(described.comment)}")


def _check_parameters(model: Model, described: Macro) -> None:
    names = [parameter.name for parameter in described.parameters]
    if difference := set(names) ^ set(_PARAMETER.findall(model.code)):
        written = ", ".join(f"${name}" for name in sorted(difference))
        raise ModelError(f"{model.folder}/{model.name}.sql: {written} is used or described, but not both.")
    for name in names:
        # Behind a point it is a column, behind `as` a column's new name, before := another macro's parameter.
        if re.search(rf"(?<![.$\w])(?<!as ){name}\b(?! *:=)", model.code):
            raise ModelError(
                f"{model.folder}/{model.name}.sql: {name} without a $ or a table before it would be taken for the"
                f" parameter. Write ${name}, or the column with its table."
            )
