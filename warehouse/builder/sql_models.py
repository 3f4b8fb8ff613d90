"""Finds the SQL models, functions, macros and checks under sql/, and their order from what they read.

Every file holds one `select`; it reads other models as staging.<name> or main.<name>, and the order follows from that.
A file of functions/ is a scalar function, one of macros/ a table with parameters; both write parameters as $name, and
both can be used in any model.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

WAREHOUSE = Path(__file__).parents[1]
SQL_FOLDER = WAREHOUSE / "sql"
_REFERENCE = re.compile(r"\b(staging|main)\.([a-z_]\w*)")
_SCHEMAS = {"staging": "staging", "marts": "main", "functions": "main", "macros": "main"}
_MACRO_FOLDERS = ("functions", "macros")
# The model that hashes the inputs of an evaluation's rows, and so decides whether the rows can be reused.
INPUTS = "staging.evaluation_inputs"
# Made by the builder after all models.
_MADE_LAST = {"main.samples", "main.build_files", "main.build_info"}


class ModelError(Exception):
    """The SQL models cannot be run; the message names the model."""


@dataclass(frozen=True)
class Model:
    """One SELECT: a table (staging/, marts/), or a function or macro in schema main (functions/, macros/)."""

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
    def is_kept(self) -> bool:
        """Whether its rows are reused from build to build (see incremental.py)."""
        return re.search(r"^-- Kept:", self.sql, re.MULTILINE) is not None

    @cached_property
    def reads_samples(self) -> bool:
        """Whether it reads samples, of which there are too many for all evaluations at once."""
        return "lake.samples" in self.code

    @cached_property
    def references(self) -> set[str]:
        """Names of the models that it reads or calls."""
        keys = {f"{schema}.{name}" for schema, name in _REFERENCE.findall(self.code)}
        return keys | {INPUTS} if self.is_kept else keys

    def replace_references(self, name_of: Callable[[str], str]) -> str:
        """The SQL with other names for the models that it reads or calls; `name_of` maps each name."""
        return _REFERENCE.sub(lambda reference: name_of(reference[0]), self.code)


def load_models(folder: Path = SQL_FOLDER) -> list[Model]:
    """All tables of `folder` and the functions and macros that they call, each after those that it reads.

    Raises ModelError for a cycle or an unknown name.
    """
    return _load(folder)[0]


def load_macros(folder: Path = SQL_FOLDER) -> list[Model]:
    """The functions and macros that no table calls; they may also read the tables that the builder makes last.

    Raises ModelError for a cycle or an unknown name.
    """
    return _load(folder)[1]


def _load(folder: Path) -> tuple[list[Model], list[Model]]:
    all_models = [
        Model(subfolder, path.stem, path.read_text())
        for subfolder in _SCHEMAS
        for path in sorted((folder / subfolder).glob("*.sql"))
    ]
    models = {model.key: model for model in all_models}
    if len(models) < len(all_models):
        twice = sorted(key for key, n in Counter(model.key for model in all_models).items() if n > 1)
        raise ModelError(f"{', '.join(twice)} is made by two files. Rename one.")
    needed = _find_needed(models)
    _check_references(models, needed)
    graph = {key: sorted(model.references) for key, model in models.items()}
    try:
        order = [models[key] for key in TopologicalSorter(graph).static_order() if key in models]
    except CycleError as error:
        raise ModelError(
            f"models read each other in a cycle: {' -> '.join(error.args[1])}. Remove one reference."
        ) from None
    return [model for model in order if model.key in needed], [model for model in order if model.key not in needed]


def _check_references(models: Mapping[str, Model], needed: set[str]) -> None:
    inputs = models[INPUTS].references if INPUTS in models else set()
    for model in models.values():
        known = models.keys() if model.key in needed else models.keys() | _MADE_LAST
        if unknown := sorted(model.references - known):
            raise ModelError(f"model {model.key} reads {', '.join(unknown)}, which no model makes. Check the name.")
        if model.is_macro and (passing := sorted(name for name in model.references if name.startswith("staging."))):
            raise ModelError(
                f"model {model.key} reads {', '.join(passing)}, which is not stored. Read a table of main."
            )
        if model.is_kept and (foreign := sorted(_tables(model, models) - inputs - {INPUTS})):
            raise ModelError(
                f"model {model.key} is kept, but reads {', '.join(foreign)}, which may change while its rows are"
                f" reused. Read only kept models and the inputs that {INPUTS} hashes."
            )


def _tables(model: Model, models: Mapping[str, Model]) -> set[str]:
    """The tables that a model reads and that are not kept."""
    return {name for name in model.references if name in models and not (models[name].is_macro or models[name].is_kept)}


def _find_needed(models: Mapping[str, Model]) -> set[str]:
    """Keys of all tables, and of the macros that they call, directly or not."""
    needed: set[str] = set()
    new = {key for key, model in models.items() if not model.is_macro}
    while new:
        needed |= new
        new = {name for key in new if key in models for name in models[key].references} - needed
    return needed


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
