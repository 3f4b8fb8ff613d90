"""Profile files by kind: where they are, how one is read, and how one file refers to another.

Owns the kinds, the search order and the collecting of mistakes: a reader continues after a mistake, so that all of them
are reported at once. What a loaded board is: load.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from nightboard.profiles.errors import KeyPath, Mistake, ProfileError, suggest
from nightboard.profiles.loading.checks import (
    check_board,
    check_organizations,
    check_selectors,
    check_suite,
    check_watchlist,
)
from nightboard.profiles.loading.cluster_checks import check_cluster
from nightboard.profiles.loading.extends import SmallerSuite, check_extension, extend_suite
from nightboard.profiles.loading.type_errors import explain
from nightboard.profiles.loading.yaml_file import Document, read_document
from nightboard.profiles.models.base import NAME_PATTERN, Profile
from nightboard.profiles.models.board import Board, Organizations, Selectors
from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import WatchList

_P = TypeVar("_P", bound=Profile)

SHIPPED = Path(__file__).parents[1]


@dataclass(frozen=True)
class Kind(Generic[_P]):
    """A kind of profile. `key` is the first key of its files, `folder` has the shipped ones."""

    key: str
    folder: str
    title: str
    model: type[_P]
    check: Callable[[Document, _P], Iterator[Mistake]]


SUITE = Kind("suite", "suites", "suite", Suite, check_suite)
CLUSTER = Kind("cluster", "clusters", "cluster", Cluster, check_cluster)
WATCHLIST = Kind("watchlist", "watchlists", "watch list", WatchList, check_watchlist)
ORGANIZATIONS = Kind("organizations", "organizations", "organizations file", Organizations, check_organizations)
SELECTORS = Kind("selectors", "selectors", "selectors file", Selectors, check_selectors)
BOARD = Kind("board", "boards", "board", Board, check_board)
KINDS: dict[str, Kind[Any]] = {kind.key: kind for kind in (BOARD, SUITE, CLUSTER, WATCHLIST, ORGANIZATIONS, SELECTORS)}


@dataclass(frozen=True)
class Loaded(Generic[_P]):
    """A profile and the file it came from."""

    document: Document
    profile: _P


def list_names(kind: Kind[Any], roots: tuple[Path, ...] = (SHIPPED,)) -> tuple[str, ...]:
    """Names of the profiles of a kind that can be referred to, sorted."""
    folders = [root / kind.folder for root in roots]
    names = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    if kind is BOARD:
        names |= {path.parent.name for folder in folders for path in folder.glob("*/board.yaml")}
    return tuple(sorted(names))


@dataclass
class Reader:
    """Reads profiles that refer to each other. `roots` are searched before the shipped profiles."""

    roots: tuple[Path, ...] = ()
    mistakes: list[Mistake] = field(default_factory=list)
    _documents: dict[Path, Document | None] = field(default_factory=dict)

    def read(self, kind: Kind[_P], path: Path, trail: tuple[Path, ...] = ()) -> Loaded[_P] | None:
        """Read one file as `kind`; None when it cannot be used, with the reasons among the mistakes.

        `trail` holds the suites that led here by `extends:`.
        """
        document = self._open(path)
        if document is None or not self._is_of_kind(document, kind):
            return None
        if kind.key == SUITE.key and "extends" in document.data:
            return cast("Loaded[_P] | None", self._read_smaller_suite(document, (*trail, path.resolve())))
        profile = self._parse(document, kind.model)
        if profile is None:
            return None
        self.mistakes += kind.check(document, profile)
        return Loaded(document, profile)

    def open_board(self, path: Path) -> Document | None:
        """The file of a board, whether its keys are right or not: what it refers to is read in both cases."""
        document = self._open(path)
        return document if document and self._is_of_kind(document, BOARD) else None

    def read_named(self, kind: Kind[_P], name: Any, source: Document, key: KeyPath) -> Loaded[_P] | None:
        """Read the profile that `source` names at `key`. None without a mistake for what is no name at all."""
        if not isinstance(name, str):
            return None
        path = self._follow(kind, name, source, key)
        loaded = self.read(kind, path) if path else None
        return self._check_name(kind, name, loaded)

    def find(self, kind: Kind[Any], name: str) -> Path | None:
        """The file of a name: beside the referring file, in its folder of that kind, then among the shipped."""
        if not re.fullmatch(NAME_PATTERN, name):
            return None
        for root in self.roots:
            if self._is_beside(root / f"{name}.yaml", kind):
                return root / f"{name}.yaml"
        files = (f"{name}.yaml", f"{name}/board.yaml") if kind is BOARD else (f"{name}.yaml",)
        places = [root / kind.folder / file for root in (*self.roots, SHIPPED) for file in files]
        return next((path for path in places if path.is_file()), None)

    def names(self, kind: Kind[Any]) -> tuple[str, ...]:
        """Names that a reference to `kind` may have here."""
        beside = (path for root in self.roots for path in root.glob("*.yaml"))
        own = {path.stem for path in beside if self._is_beside(path, kind)}
        return tuple(sorted(own | set(list_names(kind, (*self.roots, SHIPPED)))))

    def _is_beside(self, path: Path, kind: Kind[Any]) -> bool:
        # A file beside the board may be of another kind with the same name: the board itself, for one.
        try:
            return path.is_file() and read_document(path).first_key == kind.key
        except ProfileError:
            # Unreadable files are taken, so that their mistakes are reported to a person who names them.
            return True

    def _follow(self, kind: Kind[Any], name: str, source: Document, key: KeyPath) -> Path | None:
        path = self.find(kind, name)
        if path is None and re.fullmatch(NAME_PATTERN, name):
            # What is not even a name has been reported as a mistake of type.
            legal = suggest(name, self.names(kind), "names")
            self.mistakes.append(source.mistake(key, f"unknown {kind.title} {name!r}. {legal}"))
        return path

    def read_file(self, kind: Kind[_P], path: Path) -> Loaded[_P] | None:
        """Read a file that others refer to by its name, which it must bear itself."""
        return self._check_name(kind, path.stem, self.read(kind, path))

    def _check_name(self, kind: Kind[_P], name: str, loaded: Loaded[_P] | None) -> Loaded[_P] | None:
        declared = getattr(loaded.profile, kind.key) if loaded else name
        if loaded and kind not in (ORGANIZATIONS, SELECTORS) and declared != name:
            text = f"must be the name of its file (got {declared!r}). Write {kind.key}: {name}, or rename the file."
            self.mistakes.append(loaded.document.mistake((kind.key,), text))
        return loaded

    def _open(self, path: Path) -> Document | None:
        if path not in self._documents:
            try:
                self._documents[path] = read_document(path)
            except ProfileError as error:
                self._documents[path] = None
                self.mistakes += error.mistakes
        return self._documents[path]

    def _is_of_kind(self, document: Document, kind: Kind[Any]) -> bool:
        if document.first_key == kind.key:
            return True
        actual = KINDS.get(document.first_key)
        given = f"a {actual.title}" if actual else f"the first key {document.first_key!r}"
        text = f"must be a {kind.title} (got {given}). Its first key must be {kind.key}."
        self.mistakes.append(document.mistake((document.first_key,), text))
        return False

    def _parse(self, document: Document, model: type[_P]) -> _P | None:
        try:
            # Strict: `gpus: true` and `samples: "3"` are mistakes, not numbers.
            return model.model_validate(document.data, strict=True)
        except ValidationError as error:
            self.mistakes += explain(document, model, error)
            return None

    def _read_smaller_suite(self, document: Document, trail: tuple[Path, ...]) -> Loaded[Suite] | None:
        child = self._parse(document, SmallerSuite)
        name = document.data["extends"]
        path = self._follow(SUITE, name, document, ("extends",)) if isinstance(name, str) else None
        if path is None:
            return None
        if path.resolve() in trail:
            text = f"leads back to this suite (got {name!r}). Extend a suite that does not extend this one."
            self.mistakes.append(document.mistake(("extends",), text))
            return None
        parent = self.read(SUITE, path, trail)
        if parent is None:
            return None
        wrong = list(check_extension(document, parent.profile))
        self.mistakes += wrong
        return None if wrong or child is None else Loaded(document, extend_suite(child, parent.profile))
