"""Named selectors: read beside a board, put in place of their names, and every mistake told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightboard.profiles.errors import ProfileError
from nightboard.profiles.loading.load import find_selectors, validate_paths
from nightboard.tasks.requests.selection import SelectionError, parse_selection
from nightboard.tasks.requests.selectors import MOST_TERMS, read_selection, read_selectors


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def write(board: Path, text: str) -> None:
    (board.parent / "selectors.yaml").write_text(text, encoding="utf-8")


def mistakes(board: Path) -> list[str]:
    with pytest.raises(ProfileError) as error:
        read_selectors(find_selectors(board))
    return [str(mistake).replace(f"{board.parent}/", "") for mistake in error.value.mistakes]


def test_names_are_replaced_by_what_they_stand_for(board: Path) -> None:
    write(
        board,
        "selectors:\n"
        "  tonight: selector:small|new,state:missing\n"
        "  small: params:..3\n"
        "  new: >\n    since:2026-01-01\n    state:failed\n",
    )
    selectors = read_selectors(find_selectors(board))
    assert set(selectors) == {"tonight", "small", "new"}
    written = read_selection("selector:tonight org:Qwen", selectors)
    assert written == parse_selection("((params:..3 (since:2026-01-01 state:failed)),state:missing) org:Qwen"), (
        "parentheses are kept as they are meant"
    )
    assert validate_paths([board.parent]) == []


def test_a_board_without_selectors_has_none(board: Path) -> None:
    assert find_selectors(board) is None is find_selectors(None)
    assert read_selectors(None) == {}
    with pytest.raises(SelectionError, match=r"unknown selector 'a'\. None are declared in selectors\.yaml\."):
        read_selection("selector:a", {})


def test_an_unknown_selector_is_told_at_its_term_with_the_nearest_one() -> None:
    selectors = {"small": parse_selection("params:..3")}
    with pytest.raises(SelectionError) as error:
        read_selection(" org:a,selector:smal", selectors, "--exclude")
    assert str(error.value) == (
        "--exclude: unknown selector 'smal'. Did you mean small? Legal selectors: small.\n"
        "  org:a,selector:smal\n"
        "        ^"
    )


def test_every_mistake_is_told_with_its_line(board: Path) -> None:
    write(
        board,
        "selectors:\n"
        "  uses-wrong: selector:wrong\n"
        "  wrong: stat:done\n"
        "  unknown: org:a,selector:wrnog\n"
        "  right: org:a\n",
    )
    wrong, unknown = mistakes(board)
    assert wrong.startswith("selectors.yaml:3: selectors.wrong: unknown method 'stat'. Did you mean state?")
    assert wrong.endswith("\n  stat:done\n  ^")
    assert unknown.startswith("selectors.yaml:4: selectors.unknown: unknown selector 'wrnog'.")
    assert unknown.endswith("\n  org:a,selector:wrnog\n        ^")


def test_a_circle_is_told_with_the_path_of_names(board: Path) -> None:
    write(board, "selectors:\n  c: selector:a\n  a: selector:b org:x\n  b: selector:c\n")
    path = "a -> b -> c -> a"
    assert mistakes(board) == [
        f"selectors.yaml:3: selectors.a: leads back to itself (got {path}). Remove one of these uses."
    ]
    write(board, "selectors:\n  a: selector:a\n")
    assert "(got a -> a)" in mistakes(board)[0]


def test_selectors_that_double_are_refused_before_they_are_written_out(board: Path) -> None:
    lines = [f"  s{number}: selector:s{number + 1} selector:s{number + 1}\n" for number in range(40)]
    write(board, "selectors:\n" + "".join(lines) + "  s40: org:a\n")
    told = mistakes(board)
    assert len(told) == 1, "those that use it are not told again"
    assert f"has {2**10:,} terms in 10 levels with its selectors written out ({MOST_TERMS:,} in" in told[0]


def test_a_long_chain_of_selectors_is_refused(board: Path) -> None:
    lines = [f"  s{number}: selector:s{number + 1},org:a\n" for number in range(3000)]
    write(board, "selectors:\n" + "".join(lines) + "  s3000: org:a\n")
    (told,) = mistakes(board)
    assert "has 102 terms in 101 levels" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("selectors: {}\n", "selectors.yaml:1: selectors: is empty (got an empty mapping)."),
        ("selectors:\n  a: 3\n", "selectors.yaml:2: selectors.a: "),
        ("selectors:\n  A b: org:a\n", "selectors.yaml:2: selectors.A b: "),
        ("selectors:\n  a: ''\n", "selectors.yaml:2: selectors.a: must not be empty (got ''). Write some text."),
        ("selectors:\n  a: org:a\n  a: org:b\n", "selectors.yaml:3: selectors.a: is a duplicate"),
        ("a: org:a\n", "selectors.yaml:1: a: must be a selectors file (got the first key 'a')."),
        ("selectors: [\n", "selectors.yaml:2: is not valid YAML"),
    ],
)
def test_a_file_of_another_form_is_told(board: Path, text: str, told: str) -> None:
    write(board, text)
    first, *others = mistakes(board)
    assert first.startswith(told) and not others
