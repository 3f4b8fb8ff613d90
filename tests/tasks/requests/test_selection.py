"""The selection language: what is written is read as it was meant, and what is wrong is told at its character."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selections import selections

from nightboard.tasks.requests.selection import (
    MOST_CHARACTERS,
    MOST_LEVELS,
    Both,
    Either,
    Selection,
    SelectionError,
    Term,
    parse_selection,
    print_selection,
)
from nightboard.tasks.requests.values import METHODS, Comparison, Newest, Pattern, Span

PAGE = Path(__file__).parents[3] / "docs" / "selection.md"
METHOD_LIST = "Methods: model, org, revision,"


@settings(max_examples=150, deadline=None)
@example(Term("score", (Comparison("=", 3.0, "a!"),)))
@given(selections())
def test_what_is_printed_is_read_as_the_same(selection: object) -> None:
    text = print_selection(selection)  # type: ignore[arg-type]
    assert parse_selection(text) == selection, text


def test_a_comma_binds_closer_than_a_space_and_parentheses_closer_than_both() -> None:
    a, b, c = (Term("model", (Pattern(name),)) for name in "abc")
    assert parse_selection("model:a,model:b model:c") == Either((Both((a, b)), c))
    assert parse_selection(" model:a,(model:b\n  model:c ) ") == Both((a, Either((b, c))))
    assert parse_selection("((model:a))") == a


def test_values_are_of_the_kind_of_their_method() -> None:
    assert parse_selection("params:7..14|..3|70..|<=8|7.5").values == (  # type: ignore[union-attr]
        Span(7, 14), Span(None, 3), Span(70, None), Comparison("<=", 8), Comparison("=", 7.5),
    )  # fmt: skip
    assert parse_selection("score:bbh>60|<=5") == Term("score", (Comparison(">", 60, "bbh"), Comparison("<=", 5)))
    assert parse_selection("score:60..70") == Term("score", (Span(60, 70),))
    assert parse_selection("commits:newest|newest-3|all") == Term("commits", (Newest(1), Newest(3), Newest(None)))
    assert parse_selection("""model:"a \\" b, (c)"|'d|e'""") == Term("model", (Pattern('a " b, (c)'), Pattern("d|e")))


WRONG = {
    "": "is empty. Write terms such as",
    "^modle:a": "unknown method 'modle'. Did you mean model?",
    "model:a ^statte:failed": "unknown method 'statte'. Did you mean state?",
    "^Qwen/*,state:done": "'Qwen/*' has no method. Write model:Qwen/*. " + METHOD_LIST,
    "model:a ^not state:done": "'not' is no operator. What is not meant goes into --exclude.",
    "model:a ^AND state:done": "'AND' is no operator. A comma without spaces is and: a,b.",
    "model^": "model needs a colon and a value. For example model:Qwen/*.",
    "model:^": "a value is missing.",
    "model:a|^": "a value is missing.",
    "model:a|^,org:b": "a value is missing.",
    "model:a,^": "a comma joins two terms without spaces.",
    "model:a,^ org:b": "a comma joins two terms without spaces.",
    "model:a ^,org:b": "a comma joins two terms without spaces.",
    "^|": "a term must begin here (got '|').",
    "(^": "ends where a term must follow.",
    "(model:a^": "a parenthesis is not closed.",
    "model:a^)": "closes a parenthesis that is not open.",
    "model:a^(b": "'(' has no meaning here. Put the whole value in quotes",
    'model:^"a': 'a quote is not closed. Write a second ".',
    "model:^'a": "a quote is not closed. Write a second '.",
    "^'model':a": "quotes hold a whole value",
    "model:^''": "model takes a model id or pattern (got nothing).",
    "model:^>3": "model takes a model id or pattern (got >3).",
    "state:^faild": "unknown state 'faild'. Did you mean failed? Legal states: missing,",
    "state:failed|^non": "unknown state 'non'.",
    "reason:^out_of_memry": "unknown reason 'out_of_memry'. Did you mean out_of_memory?",
    "chat-template:^maybe": "unknown chat-template value 'maybe'.",
    "params:^big": "params takes billions of parameters as a number, a range such as 7..14,",
    "params:^..": "params takes billions",
    "params:^nan": "params takes billions",
    "params:^bbh>3": "params takes billions",
    "params:^14..7": "a range goes from the lower to the higher number (got 14..7). Write 7..14.",
    "rank:=^=3": "'=' is no operator here. Operators: < <= > >= = !=.",
    "score:^bbh": "score takes a number, a range such as 7..14, ..3 or 70.., or a comparison such as <=8 or bbh>60",
    "score:^bbh>high": "score takes a number",
    "harness:^<main": "harness takes a version or a comparison such as <3 (got <main).",
    "commits:^newest-0": "commits takes newest, newest-N or all (got newest-0).",
    "since:^2026-02-30": "2026-02-30 is no day of the calendar.",
    "since:^20260101": "since takes a day as year-month-day",
    "revision:^main": "'main' is no commit. Write its first 4 to 40 digits",
}


@pytest.mark.parametrize("marked", WRONG)
def test_a_mistake_is_told_at_its_character(marked: str) -> None:
    text = marked.replace("^", "", 1)
    with pytest.raises(SelectionError) as error:
        parse_selection(text, "--select")
    first, *shown = str(error.value).split("\n")
    assert first.startswith(f"--select: {WRONG[marked]}")
    assert shown == ([f"  {text}", f"  {' ' * marked.index('^')}^"] if text else [])


def test_of_a_long_text_the_part_around_the_mistake_is_shown() -> None:
    text = ",".join(f"model:m{number}" for number in range(100))
    with pytest.raises(SelectionError) as error:
        parse_selection(text.replace("model:m50,", "modle:m50,"))
    _, shown, caret = str(error.value).split("\n")
    assert len(shown) < 120 and shown.startswith("  ...") and shown.endswith("...")
    assert shown[caret.index("^") :].startswith("modle:m50")


def test_length_and_depth_are_limited() -> None:
    with pytest.raises(SelectionError, match="characters"):
        parse_selection("model:" + "a" * MOST_CHARACTERS)
    deep = MOST_LEVELS + 1
    with pytest.raises(SelectionError, match="nested too deeply"):
        parse_selection("(model:a," * deep + "model:b" + ")" * deep)
    quoted = ",".join(f"model:'{'(' * deep}'" for _ in range(3))
    assert isinstance(parse_selection(quoted), Both)
    longest = " ".join(["model:a"] * (MOST_CHARACTERS // 8))
    assert isinstance(parse_selection(longest), Either)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [*METHODS, *"()|,:<>=!\"'\\ \n", "..", "newest-", "all", "2026-01-01", "bbh>60", "1e99", "a*"]
            ),
            st.text(max_size=5),
        ),
        max_size=12,
    ).map("".join)
)
def test_no_text_is_answered_with_anything_but_a_selection_or_an_error_of_one_form(text: str) -> None:
    problem, selection = read(text)
    if selection is None:
        assert re.match(r"selection: .+\.(\n  .*\n *\^)?$", problem), problem
    else:
        assert parse_selection(print_selection(selection)) == selection


def read(text: str) -> tuple[str, Selection | None]:
    try:
        return "", parse_selection(text)
    except SelectionError as error:
        return str(error), None


def test_the_page_has_every_method_and_its_examples_are_selections() -> None:
    text = PAGE.read_text()
    assert re.findall(r"^\| `([\w-]+):` \|", text, flags=re.MULTILINE) == list(METHODS)
    examples = re.findall(r"--(?:select|exclude) '([^']+)'", text)
    assert len(examples) >= 20
    for written in [*examples, *(f"{name}:{method.example}" for name, method in METHODS.items())]:
        parse_selection(written)
