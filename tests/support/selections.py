"""Selections of any kind, for Hypothesis."""

from __future__ import annotations

from datetime import date
from typing import Any, get_args

from hypothesis import strategies as st
from packaging.version import Version

from nightboard.profiles.models.endings import Ending
from nightboard.tasks.requests.selection import Both, Either, Selection, Term
from nightboard.tasks.requests.values import Comparison, Newest, Operator, Pattern, Since, Span, State

_TEXTS = st.text(min_size=1, max_size=8) | st.text(alphabet="ab*\"'\\|,()<>=! ", min_size=1, max_size=8)
_OPERATORS = st.sampled_from(get_args(Operator))
_NUMBERS = st.floats(min_value=-1e9, max_value=1e9).map(lambda number: round(number, 3)) | st.integers(0, 999).map(
    float
)
_VERSIONS = st.from_regex(r"(1!)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}(rc1|\.post2)?(\+a\.1)?", fullmatch=True).map(Version)


def _choose(words: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(words).map(Pattern)


def _order(ends: tuple[float | None, float | None]) -> Span:
    low, high = ends
    return Span(high, low) if low is not None and high is not None and low > high else Span(low, high)


_ENDS = st.tuples(st.none() | _NUMBERS, st.none() | _NUMBERS).filter(lambda ends: ends != (None, None))
_MEASURES = _ENDS.map(_order) | st.builds(Comparison, _OPERATORS, _NUMBERS)
_COMPARED = st.builds(Comparison, _OPERATORS, _VERSIONS)
_PATTERNS = _TEXTS.map(Pattern)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("model", "org", "suite", "benchmark", "era", "precision", "request", "selector"), _PATTERNS),
    **dict.fromkeys(("task-version", "harness"), _COMPARED),
    **dict.fromkeys(("params", "rank"), _MEASURES),
    "revision": st.from_regex("[0-9a-f]{4,40}", fullmatch=True).map(Pattern),
    "commits": st.builds(Newest, st.none() | st.integers(1, 99)),
    "since": st.dates(min_value=date(1000, 1, 1)).map(Since),
    "chat-template": _choose(("yes", "no")),
    "state": _choose(get_args(State)),
    "reason": _choose(get_args(Ending)),
    "score": _MEASURES | st.builds(Comparison, _OPERATORS, _NUMBERS, _TEXTS),
}
METHODS_WITH_VALUES = tuple(_VALUES)


def _terms(methods: tuple[str, ...]) -> st.SearchStrategy[Selection]:
    return st.sampled_from(methods).flatmap(
        lambda method: st.builds(Term, st.just(method), st.lists(_VALUES[method], min_size=1, max_size=3).map(tuple))
    )


def selections(methods: tuple[str, ...] = METHODS_WITH_VALUES) -> st.SearchStrategy[Selection]:
    """Selections of these methods."""
    return st.recursive(
        _terms(methods),
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3)
            .map(tuple)
            .flatmap(lambda parts: st.sampled_from([Both(parts), Either(parts)]))
        ),
        max_leaves=6,
    )
