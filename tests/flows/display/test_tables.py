"""What a table shows on a terminal that is too narrow for it, and that a file or a pipe is never cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from screen import show_on_screen

from nightboard.flows.display.console import make_console
from nightboard.flows.display.formats import Format
from nightboard.flows.display.rows import print_result
from nightboard.flows.display.tables import ID_PARTS, WORDS, cells_table, fold, print_records, print_table
from nightboard.warehouse.reader.result import Result

TITLES = ["job", "name", "why", "revision", "node", "log"]
ROWS = [
    ("1", "lab/a-model-of-35-letters-in-all-8B-it", "out of memory after two tries", "0123456", "n1", "/s/" + "x" * 90),
    ("22", "lab/b", "", "abcdef0", "n2", ""),
]


def show(width: int, *first: str, elsewhere: str = "--format csv") -> list[str]:
    table = cells_table(TITLES, ROWS, right=["job"])
    return show_on_screen(width, lambda: print_table(make_console(), table, first, elsewhere)).splitlines()


def test_the_last_columns_are_hidden_and_named_where_there_is_no_room() -> None:
    lines = show(65)
    assert lines[0].split() == ["job", "name", "why"]
    assert " ".join(lines[-2:]) == "3 columns hidden: revision, node, log; a wider terminal or --format csv shows them."
    assert max(map(len, lines)) <= 65


def test_the_least_telling_columns_are_hidden_first_and_the_others_keep_their_order() -> None:
    lines = show(50, "node", "name", elsewhere="")
    assert lines[0].split() == ["job", "name", "node"]
    assert " ".join(lines).endswith("3 columns hidden: why, revision, log; a wider terminal shows them.")


def test_a_column_that_is_too_wide_does_not_hide_the_narrow_ones_after_it() -> None:
    lines = show(100, "log")
    assert lines[0].split() == ["job", "log"]
    assert show(99, "name", "log")[0].split() == ["job", "name", "why", "revision", "node"]


@pytest.mark.parametrize("width", [8, 20, 40, 79, 80, 120, 400])
def test_nothing_is_wider_than_the_terminal_but_a_single_word(width: int) -> None:
    shown = [line for line in show(width) if "hidden" not in line]
    assert max(map(len, shown)) <= max(width, len("job  name"))
    assert all(word in " ".join(shown).split() for cell in ROWS[0][:1] for word in cell.split())


def test_a_path_is_whole_however_narrow_the_terminal_is() -> None:
    table = cells_table(["log"], [(ROWS[0][-1],)])
    assert ROWS[0][-1] in show_on_screen(40, lambda: print_table(make_console(), table)).splitlines()
    pair = cells_table(["model", "log"], [("lab/a", ROWS[0][-1])])
    lines = show_on_screen(40, lambda: print_records(make_console(), pair)).splitlines()
    assert [line.split() for line in lines] == [["model", "lab/a"], ["log", ROWS[0][-1]]]


def test_one_long_id_does_not_push_all_other_columns_out() -> None:
    name = "organization/" + "-".join(["a-very-long-name"] * 8)
    table = cells_table(["model", "n", "log"], [(name, "1", ""), ("lab/b", "2", "/p/" + "x" * 90)], right=["n"])
    lines = show_on_screen(80, lambda: print_table(make_console(), table)).splitlines()
    assert lines[0].split() == ["model", "n"]
    assert "".join(line.split()[0] for line in lines[1:-2]) == name
    assert lines[-2].split() == ["lab/b", "2"]


@pytest.mark.parametrize("colors", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_every_column(colors: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in colors.items():
        monkeypatch.setenv(name, value)
    out = io.StringIO()
    print_table(Console(file=out, width=40, color_system=None), cells_table(TITLES, ROWS))
    header, first, *_ = out.getvalue().splitlines()
    assert header.split() == TITLES
    assert first.split()[-1] == ROWS[0][-1]
    assert "hidden" not in out.getvalue()


def test_a_wide_terminal_hides_nothing_and_names_nothing() -> None:
    lines = show(400)
    assert lines[0].split() == TITLES
    assert len(lines) == 3


def test_cells_are_folded_between_words_and_ids_after_their_signs() -> None:
    assert fold("two words  more", 9, WORDS) == ["two words", "more"]
    assert fold("first\nsecond line", 6, WORDS) == ["first", "second", "line"]
    assert fold("organization/Some-Model_8B", 14, ID_PARTS) == ["organization/", "Some-Model_8B"]
    assert fold("/a/long/path/that/stays", 5, WORDS) == ["/a/long/path/that/stays"]


def test_wide_letters_count_as_two() -> None:
    lines = show_on_screen(
        80, lambda: print_table(make_console(), cells_table(["a", "b"], [("\u8a9e\u8a9e", "x"), ("y", "z")]))
    )
    assert lines.splitlines()[1:] == ["\u8a9e\u8a9e  x", "y     z"]


def test_a_cell_is_shown_as_it_is_without_markup_and_codes() -> None:
    text = show_on_screen(80, lambda: print_table(make_console(), cells_table(["[b]a[/b]"], [("[red]:bug:\x9b2J",)])))
    assert text.splitlines() == ["[b]a[/b]", "[red]:bug:\N{REPLACEMENT CHARACTER}2J"]


def test_a_result_without_room_names_what_it_hides_on_a_terminal() -> None:
    result = Result(["revision", "model_id", *"abcdefghij"], [("f" * 40, "lab/a", *range(10))])
    text = show_on_screen(30, lambda: print_result(result, Format.table))
    assert "model_id" in text.splitlines()[0]
    assert "hidden: " in text
