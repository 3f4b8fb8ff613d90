"""Finds the SQL models, functions, macros and checks under sql/, and what they read.

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
from pathlib import Path

WAREHOUSE = Path(__file__).parents[1]
SQL_FOLDER = WAREHOUSE / "sql"
_REFERENCE = re.compile(r"\b(?:staging|derived|main)\.[a-z_]\w*")
_SCHEMAS = {"staging": "staging", "derived": "derived", "marts": "main", "functions": "main", "macros": "main"}
# Derived models work on samples that it lists.
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
    def key(self) -> str:
        """What other models read it as."""
        return f"{_SCHEMAS[self.folder]}.{self.name}"

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


def load_models() -> list[Model]:
    """All tables, functions and macros."""
    paths = [path for folder in _SCHEMAS for path in sorted((SQL_FOLDER / folder).glob("*.sql"))]
    return [Model(path.parent.name, path.stem, path.read_text()) for path in paths]


def load_checks() -> dict[str, str]:
    """SQL of every check by name; every returned row is a violation."""
    return {path.stem: path.read_text() for path in sorted((SQL_FOLDER / "checks").glob("*.sql"))}


def hash_recipe() -> str:
    """Hash over the SQL and the code of the builder: with the same hash, the same lake gives the same warehouse."""
    digest = hashlib.sha256()
    code = [path for room in ("schema", "lake", "builder") for path in (WAREHOUSE / room).glob("*.py")]
    for path in sorted([*SQL_FOLDER.glob("*/*.sql"), *code]):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
