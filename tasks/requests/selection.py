"""The selection language of requests: text to a tree of terms and back, with an error that points at the character.

A space is or, a comma is and, parentheses group. What the methods take is in values.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from nightboard.profiles.errors import describe_value, suggest
from nightboard.tasks.errors import TaskError
from nightboard.tasks.requests.values import METHODS, OPERATORS, Given, Value, WrongValueError, unquote

if TYPE_CHECKING:
    from lark import Lark, Token, Tree
    from lark.exceptions import UnexpectedInput

MOST_CHARACTERS = 10_000
MOST_LEVELS = 20
# How much of a long expression an error shows.
_SHOWN = 100


@dataclass(frozen=True)
class Term:
    """A method with its values, of which one must hold. `at`: where it begins in its text."""

    method: str
    values: tuple[Value, ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Both:
    """What all parts select, two or more (a comma)."""

    parts: tuple[Selection, ...]


@dataclass(frozen=True)
class Either:
    """What any part selects, of two or more (a space)."""

    parts: tuple[Selection, ...]


Selection: TypeAlias = Term | Both | Either


def list_terms(selection: Selection) -> Iterator[Term]:
    """All terms, from left to right."""
    if isinstance(selection, Term):
        yield selection
    else:
        for part in selection.parts:
            yield from list_terms(part)


def print_selection(selection: Selection) -> str:
    """The selection as text, which is read as the same selection again."""
    if isinstance(selection, Term):
        return f"{selection.method}:{'|'.join(map(str, selection.values))}"
    if isinstance(selection, Both):
        return ",".join(_print_part(part) for part in selection.parts)
    return " ".join(
        _print_part(part) if isinstance(part, Either) else print_selection(part) for part in selection.parts
    )


def _print_part(part: Selection) -> str:
    return print_selection(part) if isinstance(part, Term) else f"({print_selection(part)})"


class SelectionError(TaskError):
    """A selection cannot be used. `problem` says why and what to do, `at` is the character of `text` that it is about.

    The message begins with `place`, and shows the text with a caret.
    """

    def __init__(self, problem: str, text: str, at: int, place: str = "selection") -> None:
        self.problem, self.text, self.at = problem, text, at
        super().__init__(f"{place}: {problem}" + (f"\n{point_at(text, at)}" if text else ""))


def point_at(text: str, at: int) -> str:
    """The text, or what of it is around a character, with a caret below that character."""
    start = max(0, min(at - _SHOWN // 2, len(text) - _SHOWN))
    shown = "".join(letter if letter.isprintable() else " " for letter in text[start : start + _SHOWN])
    before, after = "..." if start else "", "..." if start + _SHOWN < len(text) else ""
    return f"  {before}{shown}{after}\n  {' ' * (len(before) + at - start)}^"


# ---------------------------------------------------------------------------------------------------------- reading

_GRAMMAR = r"""
?start: either
?either: both (_SPACE both)*
?both: part (_COMMA part)*
?part: term | _OPEN either _CLOSE
term: METHOD _COLON value (_BAR value)*
value: _text -> named
    | _text? OPERATOR _text -> compared
_text: WORD | QUOTED

METHOD: /[^\s,|"'():<>=!]+/
WORD: /([^\s,|"'()<>=!]|!(?!=))+/
QUOTED: /"([^"\\]|\\["\\])*"|'[^']*'/
OPERATOR: /<=|>=|!=|[<>=]/
_COLON: ":"
_COMMA: ","
_BAR: "|"
_SPACE: /\s+/
_OPEN: /\(\s*/
_CLOSE.2: /\s*\)/
"""
_QUOTED_OR_PARENTHESIS = re.compile(r""""(?:[^"\\]|\\["\\])*"|'[^']*'|[()]""")
_LAST_WORD = re.compile(r"""[^\s,|"'():<>=!]+$""")
# What other languages write in words.
_WORDS = {
    "not": "What is not meant goes into --exclude.",
    "and": "A comma without spaces is and: a,b.",
    "or": "A space is or: a b.",
}
_LONE_COMMA = "a comma joins two terms without spaces. Write a,b for what both select, a b for what either selects."


@cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", lexer="contextual")


def parse_selection(text: str, place: str = "selection") -> Selection:
    """Read an expression. Raises SelectionError, which begins with `place`, for everything that is none."""
    from lark.exceptions import UnexpectedInput

    text = text.strip()
    if not text:
        raise SelectionError("is empty. Write terms such as model:Qwen/*,state:failed.", text, 0, place)
    if len(text) > MOST_CHARACTERS:
        problem = f"has {len(text):,} characters ({MOST_CHARACTERS:,} are allowed). Use named selectors."
        raise SelectionError(problem, text, MOST_CHARACTERS, place)
    _check_levels(text, place)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        problem, at = _explain(text, error)
        raise SelectionError(problem, text, at, place) from None
    return _Builder(text, place).build(tree)


def _check_levels(text: str, place: str) -> None:
    level = 0
    for match in _QUOTED_OR_PARENTHESIS.finditer(text):
        level += {"(": 1, ")": -1}.get(match[0], 0)
        if level > MOST_LEVELS:
            problem = f"is nested too deeply ({MOST_LEVELS} levels are allowed). Use named selectors."
            raise SelectionError(problem, text, match.start(), place)


@dataclass(frozen=True)
class _Builder:
    """Makes the selection of a parser's tree."""

    text: str
    place: str

    def build(self, tree: Tree[Token]) -> Selection:
        if tree.data == "term":
            return self._build_term(tree)
        parts = tuple(self.build(child) for child in tree.children if not isinstance(child, str))
        return Both(parts) if tree.data == "both" else Either(parts)

    def _build_term(self, tree: Tree[Token]) -> Term:
        name, *values = tree.children
        at = _find_start(tree)
        if name not in METHODS:
            raise self._refuse(
                f"unknown method {describe_value(str(name))}. {suggest(str(name), METHODS, 'methods')}", at
            )
        return Term(str(name), tuple(self._build_value(str(name), value) for value in values), at)

    def _build_value(self, name: str, tree: Any) -> Value:
        method, given, at = METHODS[name], _read_given(tree), _find_start(tree)
        try:
            value = method.read(given)
        except WrongValueError as error:
            raise self._refuse(str(error), at) from None
        if value is None:
            written = f"{given.name or ''}{given.operator or ''}{given.bound}"
            got = f"(got {written[:_SHOWN] or 'nothing'})"
            raise self._refuse(f"{name} takes {method.takes} {got}. For example {name}:{method.example}.", at)
        return value

    def _refuse(self, problem: str, at: int) -> SelectionError:
        return SelectionError(problem, self.text, at, self.place)


def _read_given(tree: Any) -> Given:
    *name, operator, bound = tree.children if tree.data == "compared" else (*tree.children, None, None)
    return Given(unquote(name[0]) if name else None, operator and operator.value, unquote(bound) if bound else "")


def _find_start(tree: Any) -> int:
    start: int = tree.children[0].start_pos
    return start


# ------------------------------------------------------------------------------------------------ errors of grammar


def _explain(text: str, error: UnexpectedInput) -> tuple[str, int]:
    """What is wrong at the first character that the grammar has no use for, and where to point."""
    token, expected = getattr(error, "token", None), _list_expected(error)
    is_end = token is not None and token.type == "$END"
    at = len(text) if is_end else min(error.pos_in_stream or 0, len(text))
    letter = text[at : at + 1]
    if letter and letter in "'\"":
        return _explain_quote(text, at, letter)
    if "_COLON" in expected:
        return _explain_method(text, at)
    if "METHOD" in expected:
        return _explain_term(text, at, letter)
    if "WORD" in expected:
        return _explain_value(at, letter)
    if letter and text[at:].lstrip()[0] == ")":
        return "closes a parenthesis that is not open. Remove it.", at
    if not letter:
        return "a parenthesis is not closed. Write a closing one.", at
    return f"{letter!r} has no meaning here. Put the whole value in quotes if it is a part of it.", at


def _list_expected(error: UnexpectedInput) -> Collection[str]:
    return getattr(error, "expected", None) or getattr(error, "allowed", None) or ()


def _explain_quote(text: str, at: int, letter: str) -> tuple[str, int]:
    if letter not in text[at + 1 :]:
        return f"a quote is not closed. Write a second {letter}.", at
    return "quotes hold a whole value, and none of \\ and \" without a \\ before it. Write method:'value'.", at


def _explain_method(text: str, at: int) -> tuple[str, int]:
    word = _LAST_WORD.search(text, 0, at)
    assert word, "a colon is expected only after a method"
    name = word[0]
    if name in METHODS:
        return f"{name} needs a colon and a value. For example {name}:{METHODS[name].example}.", at
    if name.lower() in _WORDS:
        return f"{describe_value(name)} is no operator. {_WORDS[name.lower()]}", word.start()
    example = f"model:{name}" if "/" in name or "*" in name else f"method:{name}"
    problem = f"{describe_value(name)} has no method. Write {example[:_SHOWN]}. Methods: {', '.join(METHODS)}."
    return problem, word.start()


def _explain_term(text: str, at: int, letter: str) -> tuple[str, int]:
    if letter == "," or (text[:at].endswith(",") and (not letter or letter.isspace())):
        return _LONE_COMMA, at
    if not letter:
        return "ends where a term must follow. Write method:value, such as model:Qwen/*.", at
    return f"a term must begin here (got {letter!r}). Write method:value, such as model:Qwen/*.", at


def _explain_value(at: int, letter: str) -> tuple[str, int]:
    if letter and letter in "<>=!":
        return f"{letter!r} is no operator here. Operators: {' '.join(OPERATORS)}.", at
    return "a value is missing. Write method:value, such as model:Qwen/* or params:<=8.", at
