"""The SQL models: which files there are and in which order they run.

Reads the .sql files beside it. Every file holds one `select`; what it reads is written as staging.<name> or
main.<name>, and the order follows from that. A file of functions/ is a scalar function of SQL, one of macros/ a table
that takes parameters; both write these as $name, and both can be used in any model.
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
# The model that says what the rows of an evaluation are made of, and so whether they can be carried over.
INPUTS = "staging.evaluation_inputs"
# Made by the builder when all models are there.
_MADE_LAST = {"main.samples", "main.build_files", "main.build_info"}


class ModelError(Exception):
    """The SQL models cannot be run; the message names the model."""


@dataclass(frozen=True)
class Model:
    """One SELECT. Of staging/ and marts/: a table; of functions/ and macros/: something to call, in schema main."""

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
        """Whether its rows are carried over from build to build (see kept.py)."""
        return re.search(r"^-- Kept:", self.sql, re.MULTILINE) is not None

    @cached_property
    def reads_samples(self) -> bool:
        """Whether it works on samples, which are too many for all evaluations at once."""
        return "lake.samples" in self.code

    @cached_property
    def references(self) -> set[str]:
        """Names of the models it reads or calls."""
        found = {f"{schema}.{name}" for schema, name in _REFERENCE.findall(self.code)}
        return found | {INPUTS} if self.is_kept else found

    def replace_references(self, name_of: Callable[[str], str]) -> str:
        """The SQL with other names for the models that it reads or calls, given by their names here."""
        return _REFERENCE.sub(lambda found: name_of(found[0]), self.code)


def load_models(folder: Path = SQL_FOLDER) -> list[Model]:
    """All tables of `folder` and the functions and macros they call, each after those that it reads.

    Raises ModelError for a cycle or an unknown name.
    """
    return _load(folder)[0]


def load_macros(folder: Path = SQL_FOLDER) -> list[Model]:
    """The functions and macros that no table calls: they may also read what the builder makes last.

    Raises ModelError for a cycle or an unknown name.
    """
    return _load(folder)[1]


def _load(folder: Path) -> tuple[list[Model], list[Model]]:
    found = [
        Model(subfolder, path.stem, path.read_text())
        for subfolder in _SCHEMAS
        for path in sorted((folder / subfolder).glob("*.sql"))
    ]
    models = {model.key: model for model in found}
    if len(models) < len(found):
        twice = sorted(key for key, n in Counter(model.key for model in found).items() if n > 1)
        raise ModelError(f"{', '.join(twice)} is made by two files. Rename one.")
    needed = _find_needed(models)
    _check_references(models, needed)
    graph = {key: sorted(model.references) for key, model in models.items()}
    try:
        order = [models[key] for key in TopologicalSorter(graph).static_order() if key in models]
    except CycleError as error:
        raise ModelError(f"models read each other in a circle: {' -> '.join(error.args[1])}.") from None
    return [model for model in order if model.key in needed], [model for model in order if model.key not in needed]


def _check_references(models: Mapping[str, Model], needed: set[str]) -> None:
    inputs = models[INPUTS].references if INPUTS in models else set()
    for model in models.values():
        known = models.keys() if model.key in needed else models.keys() | _MADE_LAST
        if unknown := sorted(model.references - known):
            raise ModelError(f"model {model.key} reads {', '.join(unknown)}, which no model makes.")
        if model.is_macro and (passing := sorted(name for name in model.references if name.startswith("staging."))):
            raise ModelError(
                f"model {model.key} reads {', '.join(passing)}, which no reader has. Read a table of main."
            )
        if model.is_kept and (foreign := sorted(_tables(model, models) - inputs - {INPUTS})):
            raise ModelError(
                f"model {model.key} is kept, but reads {', '.join(foreign)}, which may change while its rows are"
                f" carried over. Read kept models and what {INPUTS} hashes."
            )


def _tables(model: Model, models: Mapping[str, Model]) -> set[str]:
    """The tables that a model reads and that are not kept."""
    return {name for name in model.references if name in models and not (models[name].is_macro or models[name].is_kept)}


def _find_needed(models: Mapping[str, Model]) -> set[str]:
    """Keys of all tables, and of the macros that these call, on whatever way."""
    needed: set[str] = set()
    new = {key for key, model in models.items() if not model.is_macro}
    while new:
        needed |= new
        new = {name for key in new if key in models for name in models[key].references} - needed
    return needed


def load_checks(folder: Path = SQL_FOLDER) -> dict[str, str]:
    """SQL of every check by name; a row that it returns is an violation."""
    return {path.stem: path.read_text() for path in sorted((folder / "checks").glob("*.sql"))}


def hash_recipe(folder: Path = SQL_FOLDER) -> str:
    """Hash over everything that decides what a build makes of the same lake: the SQL and the code of the builder."""
    digest = hashlib.sha256()
    code = [path for room in ("schema", "lake", "builder") for path in (WAREHOUSE / room).glob("*.py")]
    for path in sorted([*folder.glob("*/*.sql"), *code]):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
