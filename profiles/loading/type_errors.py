"""pydantic's findings about a profile, in plain words and with their lines.

Owns the wording of every type mistake. Does not look at the disk and does not know one profile from another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nightboard.profiles.errors import KeyPath, Mistake, describe_value, suggest
from nightboard.profiles.loading.yaml_file import Document
from nightboard.profiles.models import base, cluster

_PATTERNS = {
    base.NAME_PATTERN: ("a name of a-z, 0-9, dot, dash and underscore", "Write it in lower case without spaces."),
    base.MODEL_ID_PATTERN: ("a repository id on the Hub", "Write it as organization/name."),
    r"^[0-9a-f]{40}$": ("a full commit sha of 40 hex digits", "Copy it from the repository's history, in quotes."),
    r"^[A-Z]{2}$": (
        "a country code of two capital letters (ISO 3166-1)",
        "Write for example FR, or leave the key out.",
    ),
    r"^https?://": ("an address that starts with http:// or https://", "Write for example https://huggingface.co."),
}


@dataclass(frozen=True)
class _Finding:
    """One pydantic error with its place in the file."""

    key: KeyPath
    around: Any
    kind: str
    value: Any
    context: dict[str, Any]
    message: str


def explain(document: Document, model: type[BaseModel], error: ValidationError) -> list[Mistake]:
    """Every mistake that pydantic found in `document`, one per key, in the order of the file."""
    found: dict[KeyPath, list[_Finding]] = {}
    for details in error.errors(include_url=False):
        finding = _locate(model, details)
        if finding.kind == "too_short" and len(finding.value) >= finding.context["min_length"]:
            # Entries are missing only because they have mistakes of their own, which are reported.
            continue
        found.setdefault(finding.key, []).append(finding)
    mistakes = [_to_mistake(document, key, findings) for key, findings in found.items()]
    return sorted(mistakes, key=lambda mistake: mistake.line)


def _locate(model: type[BaseModel], details: ErrorDetails) -> _Finding:
    """Cut pydantic's own marks (union branches, `[key]`) off the place of an error."""
    key: list[str | int] = []
    inside: Any = model
    around: Any = model
    kind = details["type"]
    for step in details["loc"]:
        if step == "[key]" and kind == "literal_error":
            kind = "unknown_name"
        entered = _enter(inside, step)
        if entered is None and details["type"] != "extra_forbidden":
            break
        key.append(step)
        around, inside = inside, entered
    value = details["input"]
    return _Finding(tuple(key), around, kind, value, details.get("ctx", {}), details["msg"])


def _enter(annotation: Any, step: str | int) -> Any:
    """The type of what lies under `step` in a value of type `annotation`; None when nothing can."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if step in option.model_fields:
                return option.model_fields[str(step)].annotation
        elif get_origin(option) is dict and isinstance(step, str) and step != "[key]":
            return get_args(option)[1]
        elif get_origin(option) is tuple and isinstance(step, int):
            return get_args(option)[0]
    return None


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _fields(annotation: Any) -> dict[str, Any]:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return dict(option.model_fields)
    return {}


def _to_mistake(document: Document, key: KeyPath, findings: list[_Finding]) -> Mistake:
    first = findings[0]
    if first.kind == "value_error" and not key:
        name, _, text = first.message.removeprefix("Value error, ").partition(": ")
        return document.mistake((name,), text)
    if first.kind == "unknown_name":
        findings = [first]  # what is under such a key does not matter
    wrongs, advices = zip(*(_word(finding) for finding in findings), strict=True)
    wrong = " or ".join(dict.fromkeys((wrongs[0], *(text.removeprefix("must be ") for text in wrongs[1:]))))
    return document.mistake(key, f"{wrong} (got {_describe_got(first)}). {advices[0]}")


def _describe_got(finding: _Finding) -> str:
    return "nothing" if finding.kind == "missing" else describe_value(finding.value)


def _word(finding: _Finding) -> tuple[str, str]:
    """What is wrong and what to do, by the kind of the error."""
    for start, word in _WORDS.items():
        if finding.kind.startswith(start):
            return word(finding)
    return "has a value that is not allowed here", "Correct the value."


def _word_missing(finding: _Finding) -> tuple[str, str]:
    name = str(finding.key[-1])
    description = _fields(finding.around)[name].description
    return "is missing", f"Add the key {name}{f' ({description})' if description else ''}."


def _word_unknown(finding: _Finding) -> tuple[str, str]:
    name = str(finding.key[-1])
    if cluster.SlurmOptions in _options(finding.around) and (advice := find_elsewhere(name)):
        return "is not allowed here", advice
    return "is not a known key", suggest(name, _fields(finding.around), "keys")


def _word_unknown_name(finding: _Finding) -> tuple[str, str]:
    """A key of a mapping whose keys are listed in its type."""
    return "is not a known key", suggest(str(finding.key[-1]), _list_literals(finding), "keys")


def find_elsewhere(option: str) -> str | None:
    """What to do about an option of sbatch, in any spelling, that belongs elsewhere than in SlurmOptions."""
    return cluster.SLURM_ELSEWHERE.get(option.lower().lstrip("-").replace("-", "_"))


def _word_choice(finding: _Finding) -> tuple[str, str]:
    """Legal values are in the message of a literal, and in the type of an enumeration."""
    kinds = [kind for kind in _options(_enter_all(finding)) if isinstance(kind, type) and issubclass(kind, Enum)]
    legal = [str(member.value) for kind in kinds for member in kind]
    legal = legal or _list_literals(finding)
    word = finding.value if isinstance(finding.value, str) else ""
    return f"must be {' or '.join(legal)}", suggest(word, legal, "values")


def _list_literals(finding: _Finding) -> list[str]:
    return re.findall(r"'([^']*)'", finding.context.get("expected", ""))


def _word_pattern(finding: _Finding) -> tuple[str, str]:
    pattern = finding.context["pattern"]
    what, advice = _PATTERNS.get(pattern, (f"text that matches {pattern}", "Correct it."))
    return f"must be {what}", advice


def _word_limit(words: str, name: str) -> Callable[[_Finding], tuple[str, str]]:
    return lambda finding: (f"must be {words} {finding.context[name]:g}", "Change the number.")


def _word_text(finding: _Finding) -> tuple[str, str]:
    value = finding.value
    if isinstance(value, int | float):
        return "must be text", f"Put it in quotes: '{describe_value(value)}'."
    return "must be text", "Write one word or a quoted text."


def _word_too_short(finding: _Finding) -> tuple[str, str]:
    return f"must have at least {finding.context['min_length']} entry", "Add an entry."


def _word_mapping(finding: _Finding) -> tuple[str, str]:
    legal = ", ".join(_fields(_enter_all(finding)))
    return (
        "must be a mapping of keys to values",
        f"Write `key: value` lines under it{f'; legal keys: {legal}' if legal else ''}.",
    )


def _word_own(finding: _Finding) -> tuple[str, str]:
    """A validator of nightboard's own: `what is wrong. what to do`."""
    wrong, _, advice = finding.message.removeprefix("Value error, ").partition(". ")
    return wrong, f"{advice or 'Correct the value'}."


def _enter_all(finding: _Finding) -> Any:
    return _enter(finding.around, finding.key[-1]) if finding.key else finding.around


def _always(what: str, advice: str) -> Callable[[_Finding], tuple[str, str]]:
    return lambda finding: (what, advice)


_NUMBER_ADVICE = "Write digits without quotes, or leave the key out where that is allowed."

# By the start of pydantic's error type; the first that fits is taken.
_WORDS: dict[str, Callable[[_Finding], tuple[str, str]]] = {
    "missing": _word_missing,
    "extra_forbidden": _word_unknown,
    "unknown_name": _word_unknown_name,
    "literal_error": _word_choice,
    "enum": _word_choice,
    "is_instance_of": _word_choice,
    "string_pattern_mismatch": _word_pattern,
    "string_too_long": lambda finding: (
        f"must have at most {finding.context['max_length']} characters",
        "Write it shorter.",
    ),
    "string_too_short": _always("must not be empty", "Write some text."),
    "string": _word_text,
    "int": _always("must be a whole number", _NUMBER_ADVICE),
    "float": _always("must be a number", _NUMBER_ADVICE),
    "finite_number": _always("must be a finite number", _NUMBER_ADVICE),
    "bool": _always("must be true or false", "Write true or false without quotes."),
    "greater_than_equal": _word_limit("at least", "ge"),
    "greater_than": _word_limit("more than", "gt"),
    "less_than_equal": _word_limit("at most", "le"),
    "less_than": _word_limit("less than", "lt"),
    "too_short": _word_too_short,
    "model": _word_mapping,
    "dict": _word_mapping,
    "tuple": _always("must be a list", "Write it as [a, b], or one `- a` a line."),
    "list": _always("must be a list", "Write it as [a, b], or one `- a` a line."),
    "value_error": _word_own,
}
