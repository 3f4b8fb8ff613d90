"""Which units a selection selects, and why it selects none. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from fnmatch import fnmatchcase
from typing import Any

from packaging.version import InvalidVersion, Version

from nightboard.tasks.requests.selection import Both, Either, Selection, Term, list_terms, print_selection
from nightboard.tasks.requests.units import Unit
from nightboard.tasks.requests.values import AVERAGE, Comparison, Newest, Operator, Pattern, Since, Span, Value
from nightboard.warehouse.reader.sql_errors import sort_by_nearness

_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
# Models are thousands.
_SHOWN_NAMES = 20
# Methods that say themselves which commits they mean; without one of them, the newest ones are meant.
_NAMES_COMMITS = ("commits", "revision", "request")


def select(selection: Selection, exclusion: Selection | None, units: Iterable[Unit]) -> list[Unit]:
    """The units that a selection selects and an exclusion does not, in their order.

    Of commits that are not the newest of their model and ref, only what a term for commits selects. An exclusion
    excludes what it matches of any commit.
    """
    return [
        unit
        for unit in units
        if _is_selected(selection, unit) and not (exclusion is not None and matches(exclusion, unit))
    ]


def _is_selected(selection: Selection, unit: Unit) -> bool:
    anyhow, by_commit = _judge(selection, unit)
    return by_commit or (anyhow and unit.nth_newest == 1)


def matches(selection: Selection, unit: Unit) -> bool:
    """Whether a unit matches, whichever of its model's commits it is of."""
    return any(_judge(selection, unit))


def _judge(selection: Selection, unit: Unit) -> tuple[bool, bool]:
    """Whether a unit matches by terms that say nothing about commits, and with one that does.

    As if the selection were written as alternatives without parentheses.
    """
    if isinstance(selection, Term):
        matches = any(_ASKS[selection.method](value, unit) for value in selection.values)
        is_named = selection.method in _NAMES_COMMITS
        return matches and not is_named, matches and is_named
    verdicts = [_judge(part, unit) for part in selection.parts]
    if isinstance(selection, Either):
        return any(anyhow for anyhow, _ in verdicts), any(by_commit for _, by_commit in verdicts)
    with_commit = all(map(any, verdicts)) and any(by_commit for _, by_commit in verdicts)
    return all(anyhow for anyhow, _ in verdicts), with_commit


# ---------------------------------------------------------------------------------------------------------- methods

_Ask = Callable[[Value, Unit], bool]


def _ask_names(names: Callable[[Unit], Iterable[str | None]]) -> _Ask:
    def ask(value: Value, unit: Unit) -> bool:
        assert isinstance(value, Pattern)
        return any(name is not None and fnmatchcase(name, value.text) for name in names(unit))

    return ask


def _ask_number(number: Callable[[Unit], float | None]) -> _Ask:
    return lambda value, unit: _is_within(value, number(unit))


def _is_within(value: Value, number: float | None) -> bool:
    """Whether a number is in the range or compares; one that is not known never does."""
    if number is None:
        return False
    if isinstance(value, Span):
        return (value.low is None or number >= value.low) and (value.high is None or number <= value.high)
    assert isinstance(value, Comparison)
    return _COMPARE[value.operator](number, value.bound)


def _ask_versions(versions: Callable[[Unit], Iterable[str | None]]) -> _Ask:
    def ask(value: Value, unit: Unit) -> bool:
        assert isinstance(value, Comparison)
        known = (_read_version(version) for version in versions(unit) if version is not None)
        return any(version is not None and _COMPARE[value.operator](version, value.bound) for version in known)

    return ask


def _read_version(text: str) -> Version | None:
    """A version of PEP 440; what is none, such as a commit of lm-eval, compares with nothing."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _ask_score(value: Value, unit: Unit) -> bool:
    return _is_within(value, _find_number("score", value)(unit))


def _find_number(method: str, value: Value) -> Callable[[Unit], float | None]:
    if method != "score":
        return _NUMBERS[method]
    subject = value.subject if isinstance(value, Comparison) else None
    return lambda unit: unit.average if subject == AVERAGE else unit.scores.get(subject or unit.benchmark)


def _ask_request(value: Value, unit: Unit) -> bool:
    """By a pattern, or by the first letters, which are what tables and messages show of an id."""
    return _ask_names(_NAMES["request"])(value, unit) or any(each.startswith(str(value)) for each in unit.request_ids)


def _ask_revision(value: Value, unit: Unit) -> bool:
    return isinstance(value, Pattern) and unit.revision.startswith(value.text)


def _ask_commits(value: Value, unit: Unit) -> bool:
    return isinstance(value, Newest) and (value.count is None or unit.nth_newest <= value.count)


def _ask_day(value: Value, unit: Unit) -> bool:
    return isinstance(value, Since) and unit.changed_at >= datetime.combine(value.day, time(), UTC)


def _ask_selector(value: Value, unit: Unit) -> bool:
    raise AssertionError("selectors are written out before anything is selected")


def _word_chat_template(unit: Unit) -> str:
    return "yes" if unit.chat_template else "no"


# The names that a unit has for a method; also those that are suggested.
_NAMES: dict[str, Callable[[Unit], Iterable[str | None]]] = {
    "model": lambda unit: (unit.model_id,),
    "org": lambda unit: (unit.organization,),
    "suite": lambda unit: (unit.suite,),
    "benchmark": lambda unit: (unit.benchmark,),
    "era": lambda unit: (unit.era,),
    "precision": lambda unit: (unit.precision,),
    "chat-template": lambda unit: (_word_chat_template(unit),),
    "state": lambda unit: (unit.state,),
    "reason": lambda unit: (unit.reason,),
    "request": lambda unit: unit.request_ids,
}
_VERSIONS: dict[str, Callable[[Unit], Iterable[str | None]]] = {
    "task-version": lambda unit: unit.task_versions,
    "harness": lambda unit: (unit.harness_version,),
}
_NUMBERS: dict[str, Callable[[Unit], float | None]] = {
    "params": lambda unit: unit.params_b,
    "rank": lambda unit: unit.rank,
}
_ASKS: dict[str, _Ask] = {
    **{method: _ask_names(names) for method, names in _NAMES.items()},
    **{method: _ask_versions(versions) for method, versions in _VERSIONS.items()},
    **{method: _ask_number(number) for method, number in _NUMBERS.items()},
    "score": _ask_score,
    "request": _ask_request,
    "revision": _ask_revision,
    "commits": _ask_commits,
    "since": _ask_day,
    "selector": _ask_selector,
}


# ---------------------------------------------------------------------------------------------- nothing is selected


def explain_nothing(selection: Selection, units: Sequence[Unit], exclusion: Selection | None = None) -> str:
    """Why nothing is selected, in a few lines: a term that nothing matches, terms that match only apart ..."""
    if not units:
        return "There is nothing to select from: the board knows no commits. `nightboard nightly` finds some."
    selected = sum(_is_selected(selection, unit) for unit in units)
    if selected:
        return f"The exclusion excludes all of the {_count(selected, 'selected benchmark')}."
    terms = dict.fromkeys(list_terms(selection))
    if lines := [_explain_term(term, units) for term in terms if not any(matches(term, unit) for unit in units)]:
        return "\n".join(lines)
    if older := sum(matches(selection, unit) for unit in units):
        matched = _count(older, "benchmark")
        return f"Only commits that are not the newest of their model match ({matched}). Add commits:all to select them."
    return _explain_apart(selection, units)


def _explain_apart(selection: Selection, units: Sequence[Unit]) -> str:
    """The innermost parts that match something each, and nothing together."""
    if isinstance(selection, Either):
        return "\n".join(dict.fromkeys(_explain_apart(part, units) for part in selection.parts))
    assert isinstance(selection, Both), "a term that matches is no reason"
    counts = [(part, sum(matches(part, unit) for unit in units)) for part in selection.parts]
    if inner := [part for part, count in counts if not count]:
        return "\n".join(dict.fromkeys(_explain_apart(part, units) for part in inner))
    each = ", ".join(f"{print_selection(part)} ({_count(count, 'benchmark')})" for part, count in counts)
    return f"Each of these matches something, but nothing matches all of them: {each}."


def _explain_term(term: Term, units: Sequence[Unit]) -> str:
    return f"{print_selection(term)} matches nothing. {_list_known(term, units)}"


def _list_known(term: Term, units: Sequence[Unit]) -> str:
    """What the units have for a term's method: names, the nearest first, or from where to where numbers go."""
    value = term.values[0]
    if names := (_NAMES | _VERSIONS).get(term.method):
        return _list_names(value.text if isinstance(value, Pattern) else "", units, names)
    if term.method == "revision":
        return "No commit that can be evaluated begins with it."
    if term.method == "since":
        return f"The newest commit is of {max(unit.changed_at for unit in units):%Y-%m-%d}."
    if isinstance(value, Comparison) and value.subject not in (None, AVERAGE):
        benchmarks = {unit.benchmark for unit in units}
        if value.subject not in benchmarks:
            return _list_names(str(value.subject), units, _NAMES["benchmark"])
    return _list_range(_find_number(term.method, value), units)


def _list_names(name: str, units: Sequence[Unit], names: Callable[[Unit], Iterable[str | None]]) -> str:
    known = {each for unit in units for each in names(unit) if each is not None}
    nearest = sort_by_nearness(name, known)
    more = f" and {len(nearest) - _SHOWN_NAMES:,} more" if len(nearest) > _SHOWN_NAMES else ""
    if not nearest:
        return "Nothing has any."
    return f"Known, the nearest first: {', '.join(nearest[:_SHOWN_NAMES])}{more}."


def _list_range(number: Callable[[Unit], float | None], units: Sequence[Unit]) -> str:
    known = [found for unit in units if (found := number(unit)) is not None]
    return f"Known values go from {min(known):g} to {max(known):g}." if known else "None is known."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
