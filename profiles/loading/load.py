"""From names and files to checked profiles: the only way a profile enters the program.

Owns what a loaded board is, and that every mistake over all its files is reported at once. What a person wrote never
leads to a traceback. Touches neither the network nor a store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nightboard.profiles.errors import KeyPath, Mistake, ProfileError, sort_mistakes, suggest
from nightboard.profiles.loading.checks import check_watched_suites
from nightboard.profiles.loading.reader import (
    BOARD,
    CLUSTER,
    KINDS,
    ORGANIZATIONS,
    SELECTORS,
    SHIPPED,
    SUITE,
    WATCHLIST,
    Kind,
    Loaded,
    Reader,
    list_names,
)
from nightboard.profiles.loading.store_path import StorePathError, find_root
from nightboard.profiles.loading.yaml_file import Document, read_document
from nightboard.profiles.models.base import Profile
from nightboard.profiles.models.board import Board, Organizations, Selectors
from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.models.watchlist import WatchList

_P = TypeVar("_P", bound=Profile)

SELECTORS_FILE = "selectors.yaml"


@dataclass(frozen=True)
class BoardBundle:
    """A board with everything it refers to. `path` is None for a shipped board; `store` and `page` are absolute.

    `watch_file`, `cluster_file`: where the watch list and the cluster were found.
    """

    board: Board
    path: Path | None
    watch: WatchList
    suites: Mapping[str, Suite]
    cluster: Cluster
    organizations: Organizations
    store: Path
    watch_file: Path
    cluster_file: Path
    page: Path | None = None


def find_line(file: Path, key: KeyPath) -> str:
    """`file:line` of a key in a profile; of the nearest enclosing key, if it is not there."""
    return f"{file}:{read_document(file).line(key)}"


def load_board(name_or_path: str | Path) -> BoardBundle:
    """Load a board and all it refers to, or raise ProfileError with every mistake in any of the files."""
    path = _find_file(BOARD, name_or_path)
    reader = Reader(_roots(path))
    bundle = _read_bundle(reader, path)
    if bundle is None or reader.mistakes:
        raise ProfileError(sort_mistakes(reader.mistakes))
    return bundle


def load_suite(name_or_path: str | Path) -> Suite:
    """Load one suite, `extends:` applied."""
    return _load(SUITE, name_or_path)


def load_cluster(name_or_path: str | Path) -> Cluster:
    """Load one cluster."""
    return _load(CLUSTER, name_or_path)


def load_watchlist(name_or_path: str | Path) -> WatchList:
    """Load one watch list."""
    return _load(WATCHLIST, name_or_path)


def load_organizations(name_or_path: str | Path = "organizations") -> Organizations:
    """Load one file of organizations."""
    return _load(ORGANIZATIONS, name_or_path)


def find_selectors(board: Path | None) -> Path | None:
    """The file of named selectors beside a board's file; None without one, as for a shipped board."""
    path = board.parent / SELECTORS_FILE if board else None
    return path if path is not None and path.exists() else None


def list_selectors(paths: Sequence[str | Path]) -> list[Path]:
    """The files of named selectors among files and beside boards that can be read, each once."""
    found: dict[Path, Path] = {}
    for path in (path for given in paths for path in _expand_known(given)):
        with contextlib.suppress(ProfileError):
            kind = KINDS.get(read_document(path).first_key)
            selectors = path if kind is SELECTORS else find_selectors(path) if kind is BOARD else None
            if selectors is not None:
                found.setdefault(selectors.resolve(), selectors)
    return list(found.values())


def _expand_known(given: str | Path) -> list[Path]:
    with contextlib.suppress(ProfileError):
        return _expand(given)
    return []


def load_selectors(path: Path) -> Loaded[Selectors]:
    """Load one file of named selectors."""
    reader = Reader()
    loaded = reader.read(SELECTORS, path)
    if loaded is None or reader.mistakes:
        raise ProfileError(sort_mistakes(reader.mistakes))
    return loaded


def list_profiles() -> dict[str, tuple[str, ...]]:
    """Names of the shipped profiles by kind: board, suite, cluster, watchlist, organizations."""
    return {kind.key: list_names(kind) for kind in KINDS.values()}


def validate_paths(paths: Sequence[str | Path]) -> list[str]:
    """Check files of any kind, folders of them, or names. One line a mistake; empty when there is none.

    A name is that of a file in the working folder, with or without .yaml, or in its folder of a kind (boards/,
    suites/ ...), or of a shipped profile.
    """
    mistakes: list[Mistake] = []
    for given in paths:
        try:
            for path in _expand(given):
                mistakes += _find_mistakes(path)
        except ProfileError as error:
            mistakes += error.mistakes
    return [str(mistake) for mistake in sort_mistakes(mistakes)]


@dataclass(frozen=True)
class FoundSuite:
    """A suite that declares its own tasks, in `document`; and the board that led to it, if one did."""

    suite: Suite
    document: Document
    board: BoardBundle | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is not a shipped one."""
        return not _is_shipped(self.document.path)


def find_suites(paths: Sequence[str | Path]) -> list[FoundSuite]:
    """The suites that files without mistakes declare, name or extend, each once."""
    found: dict[Path, FoundSuite] = {}
    for path in dict.fromkeys(path for given in paths for path in _expand(given)):
        kind = KINDS.get(read_document(path).first_key)
        reader = Reader(_roots(path))
        board = _read_bundle(reader, path) if kind is BOARD else None
        if board and (document := reader.open_board(path)):
            suites = [reader.find(SUITE, name) for name in document.data["suites"]]
        else:
            suites = [path] if kind is SUITE else []
        for file in filter(None, suites):
            root = _find_extended(file)
            if loaded := Reader(_roots(root)).read(SUITE, root):
                # A board's store may have the data of a suite that was named before it.
                before = found.get(root.resolve())
                found[root.resolve()] = FoundSuite(loaded.profile, loaded.document, (before and before.board) or board)
    return list(found.values())


def _find_extended(path: Path) -> Path:
    """The file that declares the tasks of a suite: the last one of its `extends:`."""
    while isinstance(name := read_document(path).data.get("extends"), str):
        following = Reader(_roots(path)).find(SUITE, name)
        if following is None:
            break
        path = following
    return path


def _load(kind: Kind[_P], name_or_path: str | Path) -> _P:
    path = _find_file(kind, name_or_path)
    reader = Reader(_roots(path))
    loaded = reader.read(kind, path)
    if loaded is None or reader.mistakes:
        raise ProfileError(sort_mistakes(reader.mistakes))
    return loaded.profile


def _read_bundle(reader: Reader, path: Path) -> BoardBundle | None:
    """Read a board and what it refers to; every mistake goes to the reader. None when a part cannot be used."""
    document = reader.open_board(path)
    if document is None:
        return None
    loaded, names = reader.read(BOARD, path), document.data
    watch = reader.read_named(WATCHLIST, names.get("watch"), document, ("watch",))
    suites = _read_suites(reader, document)
    cluster = reader.read_named(CLUSTER, names.get("cluster"), document, ("cluster",))
    file_name = names.get("organizations", Board.model_fields["organizations"].default)
    organizations = reader.read_named(ORGANIZATIONS, file_name, document, ("organizations",))
    if watch:
        reader.mistakes += check_watched_suites(watch.document, watch.profile, suites)
    store = _resolve_store(reader, loaded, path)
    page = _resolve_page(reader, loaded, path, store) if store else None
    if not loaded or not watch or not cluster or not organizations or not store:
        return None
    return BoardBundle(
        board=loaded.profile,
        path=None if _is_shipped(path) else path,
        watch=watch.profile,
        suites={name: suite.profile for name, suite in suites.items() if suite},
        cluster=cluster.profile,
        organizations=organizations.profile,
        store=store,
        watch_file=watch.document.path,
        cluster_file=cluster.document.path,
        page=page,
    )


def _read_suites(reader: Reader, board: Document) -> dict[str, Loaded[Suite] | None]:
    """The suites that a board names, each None where it cannot be used."""
    given = board.data.get("suites")
    names = [(index, name) for index, name in enumerate(given if isinstance(given, tuple) else ()) if name]
    return {
        name: reader.read_named(SUITE, name, board, ("suites", index)) for index, name in names if isinstance(name, str)
    }


def _resolve_store(reader: Reader, board: Loaded[Board] | None, path: Path) -> Path | None:
    if board is None:
        return None
    try:
        return find_root(board.profile.store, Path.cwd() if _is_shipped(path) else path.parent).resolve()
    except StorePathError as error:
        reader.mistakes.append(board.document.mistake(("store",), str(error)))
        return None


def _resolve_page(reader: Reader, board: Loaded[Board] | None, path: Path, store: Path) -> Path | None:
    """The folder of the page, where the board has one."""
    if board is None or board.profile.page is None:
        return None
    given = board.profile.page.out
    try:
        page = ((Path.cwd() if _is_shipped(path) else path.parent) / Path(given).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):
        reader.mistakes.append(
            board.document.mistake(
                ("page", "out"), f"is not the path of a folder (got {given!r}). Write the full path."
            )
        )
        return None
    if page.is_relative_to(store) or store.is_relative_to(page):
        text = f"must not be inside the store, nor the store in it (got {given!r}). Choose another folder."
        reader.mistakes.append(board.document.mistake(("page", "out"), text))
    return page


def _is_shipped(path: Path) -> bool:
    return path.resolve().is_relative_to(SHIPPED.resolve())


def _roots(path: Path) -> tuple[Path, ...]:
    """Where names in `path` are looked up before the shipped profiles: its folder, or the one that holds the kinds."""
    folders = {kind.folder for kind in KINDS.values()}
    roots = (path.parent, path.parent.parent) if path.parent.name in folders else (path.parent,)
    return tuple(root for root in roots if root.resolve() != SHIPPED.resolve())


def _is_path(given: str | Path) -> bool:
    text = str(given)
    return isinstance(given, Path) or "/" in text or text.endswith((".yaml", ".yml")) or text in (".", "..")


def explain_choice(name: str, kind: Kind[Any] | None = None) -> str | None:
    """What a name is taken for, where a file in the working folder and a shipped profile both have it.

    Without a kind: as `validate_paths` takes it.
    """
    if _is_path(name) or Path(name).exists():
        return None
    found = [Reader((Path(),)).find(kind, name)] if kind else _find_named(name)
    taken = next((path for path in found if path and not _is_shipped(path)), None)
    kinds = [kind] if kind else KINDS.values()
    shipped = [path for searched in kinds if (path := Reader().find(searched, name))]
    if taken is None or not shipped:
        return None
    return f"{name}: using the file {taken} in this folder, not the shipped {kind.title if kind else 'profile'}."


def _add_ending(given: str | Path) -> Path | None:
    path = Path(f"{given}.yaml")
    return path if path.is_file() else None


def _find_named(name: str) -> list[Path]:
    """The file of a name in the working folder; else one of each kind, here or shipped."""
    if with_ending := _add_ending(name):
        return [with_ending]
    return [file for kind in KINDS.values() if (file := Reader((Path(),)).find(kind, name))]


def _find_file(kind: Kind[Any], name_or_path: str | Path) -> Path:
    """The file that a person means by a name or a path."""
    if _is_path(name_or_path):
        path = Path(name_or_path)
        board_file = path / "board.yaml"
        return board_file if kind is BOARD and board_file.is_file() else _require(path)
    name = str(name_or_path)
    path_by_name = Reader((Path(),)).find(kind, name)
    if path_by_name is None:
        legal = suggest(name, Reader((Path(),)).names(kind), "names")
        where = f"no file {name}.yaml here or in {kind.folder}/"
        text = f"unknown {kind.title}: {where}, and no shipped {kind.title} of that name. {legal}"
        raise ProfileError([Mistake(name, 0, "", text)])
    return path_by_name


def _require(path: Path) -> Path:
    if not path.exists():
        boards = ", ".join(list_names(BOARD))
        text = f"file not found. Check the path, or use a shipped board: {boards}."
        raise ProfileError([Mistake(str(path), 0, "", text)])
    return path


def _expand(given: str | Path) -> list[Path]:
    """The files that one argument of `validate` means."""
    path = Path(given)
    if not path.exists() and (with_ending := _add_ending(given)):
        return [with_ending]
    if path.is_dir():
        files = sorted(path.rglob("*.yaml"))
        if not files:
            text = "has no .yaml file in it. Name a file or a folder of profiles."
            raise ProfileError([Mistake(str(path), 0, "", text)])
        return files
    if _is_path(given) or path.exists():
        return [_require(path)]
    return _find_named(str(given)) or [_explain_unknown(str(given))]


def _explain_unknown(name: str) -> Path:
    names = sorted({name for kind in KINDS.values() for name in Reader((Path(),)).names(kind)})
    legal = suggest(name, names, "names")
    where = f"no file {name} or {name}.yaml here or in boards/, suites/ ..."
    text = f"unknown profile: {where}, and no shipped one of that name. {legal}"
    raise ProfileError([Mistake(name, 0, "", text)])


def _find_mistakes(path: Path) -> Iterator[Mistake]:
    try:
        document = read_document(path)
    except ProfileError as error:
        yield from error.mistakes
        return
    kind = KINDS.get(document.first_key)
    if kind is None:
        legal = suggest(document.first_key, KINDS, "first keys")
        text = f"must start with a key that names the kind of profile (got {document.first_key!r}). {legal}"
        yield document.mistake((document.first_key,), text)
        return
    reader = Reader(_roots(path))
    if kind is BOARD:
        _read_bundle(reader, path)
    else:
        reader.read_file(kind, path)
    yield from reader.mistakes
