"""The SQL models: which files there are and in which order they run.

Reads the .sql files beside it. Every file holds one `select`; what it reads is written as staging.<name> or
main.<name>, and the order follows from that.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SQL_FOLDER = Path(__file__).parent
_REFERENCE = re.compile(r"\b(staging|main)\.([a-z_]\w*)")
_SCHEMAS = {"staging": "staging", "marts": "main"}


class ModelError(Exception):
    """The SQL models cannot be run; the message names the model."""


@dataclass(frozen=True)
class Model:
    """One SELECT that becomes a table: `staging.<name>` while a build is made, or `main.<name>` for good."""

    schema: str
    name: str
    sql: str

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def references(self) -> set[str]:
        """Names of the models it reads."""
        code = re.sub(r"--.*", "", self.sql)
        return {f"{schema}.{name}" for schema, name in _REFERENCE.findall(code)}


def load_models(folder: Path = SQL_FOLDER) -> list[Model]:
    """Read all models of `folder`, each after those that it reads. Raises ModelError for a cycle or an unknown name."""
    models = {
        model.key: model
        for subfolder, schema in _SCHEMAS.items()
        for path in sorted((folder / subfolder).glob("*.sql"))
        for model in [Model(schema, path.stem, path.read_text())]
    }
    for model in models.values():
        if unknown := sorted(model.references - models.keys()):
            raise ModelError(f"model {model.key} reads {', '.join(unknown)}, which no model makes.")
    try:
        order = TopologicalSorter({key: sorted(model.references) for key, model in models.items()}).static_order()
        return [models[key] for key in order]
    except CycleError as error:
        raise ModelError(f"models read each other in a circle: {' -> '.join(error.args[1])}.") from None


def load_checks(folder: Path = SQL_FOLDER) -> dict[str, str]:
    """SQL of every check by name; a row that it returns is an offence."""
    return {path.stem: path.read_text() for path in sorted((folder / "checks").glob("*.sql"))}


def hash_recipe(folder: Path = SQL_FOLDER) -> str:
    """Hash over everything that decides what a build makes of the same lake: the SQL and the code beside it."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.sql"), *SQL_FOLDER.glob("*.py")]):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
