"""Creates the SQL functions and macros from the files in sql/functions and sql/macros, with their comments.

In a macro, DuckDB replaces every bare name that is also a parameter's, even if a column is meant. So a file writes
$name for the parameter, and a bare `name` is rejected.
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
    """Create main.<name> from a file, with its comment. Raises ModelError if file and description do not agree."""
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
        raise ModelError(
            f"{model.folder}/{model.name}.sql: {written} must be both used and described. Add or remove it."
        )
    for name in names:
        # After a dot it is a column, after `as` a column's new name, before := another macro's parameter.
        if re.search(rf"(?<![.$\w])(?<!as ){name}\b(?! *:=)", model.code):
            raise ModelError(
                f"{model.folder}/{model.name}.sql: {name} without $ or a table's name is read as the parameter."
                f" Write ${name}, or the column with its table."
            )
