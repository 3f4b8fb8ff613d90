"""Texts of a page are data: escaped, cut with a mark, without codes that steer; a file has the name of one model."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightboard.tasks.page import render
from nightboard.tasks.page.render import as_script, cut, make_hub_link, name_model_file, show_codes

# Signs that names are written with, and those that could make two of them one.
IDS = st.text(st.sampled_from("aB-/.~_\u00fc\u202e\x00\ud8002dfcA"), max_size=12) | st.text(max_size=300)


@given(IDS, IDS)
def test_two_models_never_have_one_file(one: str, other: str) -> None:
    assert (name_model_file(one) == name_model_file(other)) == (one == other)


@given(IDS)
def test_a_file_of_a_model_is_a_plain_short_name(model_id: str) -> None:
    name = name_model_file(model_id)
    assert len(name.encode()) <= 255
    assert name.isascii()
    assert Path(name).name == unquote(name) == name
    assert not name.startswith(".")
    parts = urlsplit(f"models/{name}")
    assert (parts.path, parts.scheme, parts.query, parts.fragment) == (f"models/{name}", "", "", "")


def test_usual_names_are_readable() -> None:
    assert name_model_file("Qwen/Qwen2.5-0.5B_x") == "Qwen--Qwen2.5-0.5B_x.html"
    assert name_model_file("a/b--c") == "a--b-~2d~c.html"
    assert name_model_file("../x") == "~2e~.--x.html"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a\\x00b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("abc\u202edef", "abc\\u202edef"),
        ("\u200f\u061c\ufeff", "\\u200f\\u061c\\ufeff"),
        ("half \ud800", "half \\ud800"),
        (
            "tab\tand\nline, \u05e9\u05dc\u05d5\u05dd, \U0001f600",
            "tab\tand\nline, \u05e9\u05dc\u05d5\u05dd, \U0001f600",
        ),
    ],
)
def test_codes_that_steer_are_shown(text: str, shown: str) -> None:
    assert show_codes(text) == shown
    show_codes(text).encode()


def test_a_text_is_escaped_cut_and_cleaned_wherever_a_template_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t.html").write_text(
        '{% macro twice(text) %}{{ text }}{{ text }}{% endmacro %}<p title="{{ text }}">{{ twice(text) }}</p>'
    )
    monkeypatch.setattr(render, "FOLDER", tmp_path)
    render._environment.cache_clear()
    text = "\"><script>alert('x')</script>\x00" + "y" * 2**20
    try:
        html = render.render("t.html", {"text": text})
    finally:
        render._environment.cache_clear()
    assert "<script" not in html
    assert '"&' not in html.removeprefix('<p title="&')
    assert html.count("\\x00") == 3
    assert html.count("more characters]") == 3
    assert len(html) < 4 * render.MOST_CHARACTERS
    assert "&amp;lt;" not in html, "what a macro has made is not escaped again"


def test_the_mark_of_a_cut_tells_how_much_is_missing() -> None:
    assert cut("x" * 10, 10) == "x" * 10
    assert cut("x" * 1010, 10) == "xxxxxxxxxx [... 1,000 more characters]"


def test_a_link_leads_to_the_hub_and_nowhere_else() -> None:
    for model_id in ("javascript:alert(1)", "//evil.example/x", "a/../../x?y#z", "\ud800\x00", "x" * 10**6):
        parts = urlsplit(make_hub_link(model_id))
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "huggingface.co", "", "")
        assert len(parts.path) < 2000


def test_data_in_a_script_cannot_end_it() -> None:
    script = as_script("window.x", ["</script><!--", "\u2028\ud800"])
    assert "<" not in script
    assert script.isascii()
