"""Renders the page's templates. Every text is escaped, and links lead to https addresses only."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).parent
_SQL_ASSETS = ("sql.js", "sql.css", "duckdb.js")
# No text of a page is longer: models can answer without end.
MOST_CHARACTERS = 20_000
# Control characters, marks that turn the direction of writing, and halves of characters are shown, not obeyed: texts
# come from repositories and models.
_CODES = {
    *range(32), *range(127, 160), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF,
    *range(0xD800, 0xE000),
}  # fmt: skip
_VISIBLE = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CODES - {9, 10}}
_ODD = re.compile(f"[{''.join(map(re.escape, map(chr, sorted(_VISIBLE))))}]")
# The longest name of a model's page; file systems allow 255 bytes.
_LONGEST_NAME = 200
# What a name is written with in hexadecimal: odd signs, and what would make two names one, as - beside / and twice.
_WRITTEN_OUT = re.compile(r"[^\w./-]|(?<=-)-|(?:(?<=/)|^)[-.]|-(?=/|$)", re.ASCII)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
    )
    environment.filters |= {"hub_link": make_hub_link, "model_file": name_model_file, "cut": cut}
    return environment


def render(template: str, values: Mapping[str, Any]) -> str:
    """A template of templates/ with values."""
    return _environment().get_template(template).render(values)


def copy_assets(folder: Path) -> None:
    """Put scripts and styles into the folder of a page, but not those of the SQL page, which are large."""
    shutil.copytree(
        FOLDER / "assets", folder / "assets", ignore=shutil.ignore_patterns(*_SQL_ASSETS), dirs_exist_ok=True
    )


def copy_sql_assets(folder: Path) -> None:
    """Put what the SQL page alone needs beside them."""
    for name in _SQL_ASSETS:
        shutil.copy(FOLDER / "assets" / name, folder / "assets")


def write_html(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Write a template with values to a file."""
    path.write_text(render(template, values), encoding="utf-8")


def _finalize(value: object) -> object:
    if value is None:
        return ""
    # What a macro has made is Markup, and its texts have been here before.
    return show_codes(cut(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """The beginning of a text, with a mark that tells how much is left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]} [... {len(text) - most:,} more characters]"


def show_codes(text: str) -> str:
    """A text without characters that turn the direction of writing, end it, or cannot be written."""
    return text.translate(_VISIBLE) if _ODD.search(text) else text


def make_hub_link(model_id: str) -> str:
    """Where a model is on the Hub."""
    return f"https://huggingface.co/{quote(show_codes(model_id[:_LONGEST_NAME]))}"


def name_model_file(model_id: str) -> str:
    """The page of a model, in the folder of the models' pages: the same as a file's name and in an address.

    No two models have the same, and none leads elsewhere.
    """
    name = _WRITTEN_OUT.sub(lambda found: f"~{ord(found[0]):x}~", model_id).replace("/", "--")
    if not name or len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(model_id.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[: _LONGEST_NAME // 2]}~~~{digest[:32]}"
    return f"{name}.html"


def as_script(name: str, data: object) -> str:
    """A classic script that assigns data to a name: pages opened from disk cannot fetch."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    # A script may be inlined one day; `</script>` and comments end it nowhere.
    return f"{name}={text.replace('<', chr(92) + 'u003c')};\n"
