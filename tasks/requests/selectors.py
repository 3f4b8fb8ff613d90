"""Named selectors: read from the file beside a board, and put into a selection in place of their names."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from nightboard.profiles.errors import Mistake, ProfileError, suggest
from nightboard.profiles.loading.load import SELECTORS_FILE, load_selectors
from nightboard.profiles.loading.yaml_file import Document
from nightboard.tasks.requests.selection import (
    Both,
    Either,
    Selection,
    SelectionError,
    Term,
    list_terms,
    parse_selection,
    point_at,
)

# Limits of a selection whose selectors are written out: a chain of them may double at each step.
MOST_TERMS = 1_000
MOST_LEVELS_WRITTEN_OUT = 100


def read_selection(text: str, selectors: Mapping[str, Selection], place: str = "selection") -> Selection:
    """Read an expression and write out its selectors. Raises SelectionError, which begins with `place`."""
    selection = parse_selection(text, place)
    for term, name in _list_uses(selection):
        if name not in selectors:
            known = suggest(name, selectors, "selectors") if selectors else f"None are declared in {SELECTORS_FILE}."
            raise SelectionError(f"unknown selector {name!r}. {known}", text.strip(), term.at, place)
    written = _write_out(selection, selectors)
    terms, levels = _measure(written)
    if terms > MOST_TERMS or levels > MOST_LEVELS_WRITTEN_OUT:
        size = f"{terms:,} terms in {levels} levels"
        allowed = f"{MOST_TERMS:,} in {MOST_LEVELS_WRITTEN_OUT} are allowed"
        problem = f"has {size} with its selectors written out ({allowed}). Use fewer selectors of selectors."
        raise SelectionError(problem, text.strip(), 0, place)
    return written


def read_selectors(path: Path | None) -> dict[str, Selection]:
    """The selectors of a file (None: there is none), written out. Raises ProfileError with every mistake in them."""
    if path is None:
        return {}
    loaded = load_selectors(path)
    texts, mistakes = loaded.profile.selectors, list[Mistake]()
    uses: dict[str, set[str]] = {}
    for name, text in texts.items():
        try:
            uses[name] = {used for _, used in _list_uses(parse_selection(text))}
        except SelectionError as error:
            mistakes.append(_tell(loaded.document, name, error))
    try:
        order = [name for name in TopologicalSorter(uses).static_order() if name in uses]
    except CycleError as error:
        raise ProfileError([*mistakes, _tell_circle(loaded.document, error)]) from None
    written: dict[str, Selection] = {}
    for name in order:
        if not all(used in written for used in uses[name] & texts.keys()):
            continue  # the mistake is in what it uses
        try:
            written[name] = read_selection(texts[name], written)
        except SelectionError as error:
            mistakes.append(_tell(loaded.document, name, error))
    if mistakes:
        raise ProfileError(mistakes)
    return written


def _tell(document: Document, name: str, error: SelectionError) -> Mistake:
    return document.mistake(("selectors", name), f"{error.problem}\n{point_at(error.text, error.at)}")


def _tell_circle(document: Document, error: CycleError) -> Mistake:
    circle: list[str] = error.args[1][:0:-1]  # from what uses to what is used, each once
    first = circle.index(min(circle))
    path = " -> ".join([*circle[first:], *circle[:first], min(circle)])
    return document.mistake(("selectors", min(circle)), f"leads back to itself (got {path}). Remove one of these uses.")


def _list_uses(selection: Selection) -> list[tuple[Term, str]]:
    """The names of selectors in a selection, with the terms that have them."""
    terms = [term for term in list_terms(selection) if term.method == "selector"]
    return [(term, name) for term in terms for name in _list_names(term)]


def _list_names(term: Term) -> list[str]:
    return [getattr(value, "text", "") for value in term.values]


def _write_out(selection: Selection, selectors: Mapping[str, Selection]) -> Selection:
    if isinstance(selection, Term):
        if selection.method != "selector":
            return selection
        parts = tuple(selectors[name] for name in _list_names(selection))
        return parts[0] if len(parts) == 1 else Either(parts)
    parts = tuple(_write_out(part, selectors) for part in selection.parts)
    return Both(parts) if isinstance(selection, Both) else Either(parts)


def _measure(selection: Selection) -> tuple[int, int]:
    """How many terms a selection has, and how deep it goes."""
    if isinstance(selection, Term):
        return 1, 0
    sizes = [_measure(part) for part in selection.parts]
    return sum(terms for terms, _ in sizes), 1 + max(levels for _, levels in sizes)
