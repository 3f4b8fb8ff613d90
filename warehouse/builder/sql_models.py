"""Finds the SQL models, functions, macros and checks under sql/, and their order from what they read.

Every file holds one `select`; it reads other models as staging.<name>, derived.<name> or main.<name>, and the order
follows from that. One of derived/ works on the samples of some evaluations (see derive.py). A file of functions/ is a
scalar function, one of macros/ a table with parameters; both write parameters as $name, and both can be used in any
model.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

WAREHOUSE = Path(__file__).parents[1]
SQL_FOLDER = WAREHOUSE / "sql"
_REFERENCE = re.compile(r"\b(?:staging|derived|main)\.[a-z_]\w*")
_SCHEMAS = {"staging": "staging", "derived": "derived", "marts": "main", "functions": "main", "macros": "main"}
_MACRO_FOLDERS = ("functions", "macros")
# Made by the builder before all models, and what derived models read of it.
_MADE_BEFORE = {"main.build_files", "main.build_info"}
_DERIVED_FROM = "staging.sample_inputs"


class ModelError(Exception):
    """The SQL models cannot be run; the message names the model."""


@dataclass(frozen=True)
class Model:
    """One SELECT: a table (staging/, derived/, marts/), or a function or macro in schema main (functions/, macros/)."""

    folder: str
    name: str
    sql: str

    @property
    def schema(self) -> str:
        return _SCHEMAS[self.folder]

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def is_macro(self) -> bool:
        return self.folder in _MACRO_FOLDERS

    @cached_property
    def code(self) -> str:
        """The SQL without its comments."""
        return re.sub(r"--.*", "", self.sql).strip()

    @cached_property
    def references(self) -> set[str]:
        """Names of the models that it reads or calls."""
        return find_references(self.code) | ({_DERIVED_FROM} if self.folder == "derived" else set())


def find_references(code: str) -> set[str]:
    """Names of the models that SQL without comments reads or calls."""
    return {*_REFERENCE.findall(code)}


def load_models(folder: Path = SQL_FOLDER) -> list[Model]:
    """All tables, functions and macros of `folder`, each after those that it reads or calls.

    Raises ModelError for a cycle or an unknown name.
    """
    models: dict[str, Model] = {}
    for subfolder in _SCHEMAS:
        for path in sorted((folder / subfolder).glob("*.sql")):
            model = Model(subfolder, path.stem, path.read_text())
            if model.key in models:
                raise ModelError(f"{model.key} is made by two files. Rename one.")
            models[model.key] = model
    for model in models.values():
        if unknown := sorted(model.references - models.keys() - _MADE_BEFORE):
            raise ModelError(f"model {model.key} reads {', '.join(unknown)}, which no model makes. Check the name.")
        if model.is_macro and (passing := sorted(name for name in model.references if not name.startswith("main."))):
            raise ModelError(
                f"model {model.key} reads {', '.join(passing)}, which is not stored. Read a table of main."
            )
    try:
        order = [*TopologicalSorter({key: sorted(model.references) for key, model in models.items()}).static_order()]
    except CycleError as error:
        raise ModelError(
            f"models read each other in a cycle: {' -> '.join(error.args[1])}. Remove one reference."
        ) from None
    return [models[key] for key in order if key in models]


def load_checks(folder: Path = SQL_FOLDER) -> dict[str, str]:
    """SQL of every check by name; every returned row is a violation."""
    return {path.stem: path.read_text() for path in sorted((folder / "checks").glob("*.sql"))}


def hash_recipe(folder: Path = SQL_FOLDER) -> str:
    """Hash over the SQL and the code of the builder: with the same hash, the same lake gives the same warehouse."""
    digest = hashlib.sha256()
    code = [path for room in ("schema", "lake", "builder") for path in (WAREHOUSE / room).glob("*.py")]
    for path in sorted([*folder.glob("*/*.sql"), *code]):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
