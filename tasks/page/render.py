"""Renders the page's templates. Every text is escaped, and links lead to https addresses only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

FOLDER = Path(__file__).parent
# Control characters and halves of characters are shown, not obeyed: texts come from repositories and models.
_CODES = {*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
_VISIBLE = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CODES - {9, 10}}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: "" if value is None else show_codes(value) if isinstance(value, str) else value,
    )
    environment.filters |= {"hub_link": make_hub_link, "model_file": name_model_file}
    return environment


def render(template: str, values: Mapping[str, Any]) -> str:
    """A template of templates/ with values."""
    return _environment().get_template(template).render(values)


def show_codes(text: str) -> str:
    """A text without characters that turn the direction of writing, end it, or cannot be written."""
    return text.translate(_VISIBLE)


def make_hub_link(model_id: str) -> str:
    """Where a model is on the Hub."""
    return f"https://huggingface.co/{quote(show_codes(model_id))}"


def name_model_file(model_id: str) -> str:
    """The page of a model, in the folder of the models' pages: the same as a file's name and in an address."""
    name = show_codes(model_id).replace("/", "--")
    return re.sub(r"[^\w.-]", lambda found: f"~{ord(found[0]):x}", name, flags=re.ASCII) + ".html"


def as_script(name: str, data: object) -> str:
    """A classic script that assigns data to a name: pages opened from disk cannot fetch."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    # A script may be inlined one day; `</script>` and comments end it nowhere.
    return f"{name}={text.replace('<', chr(92) + 'u003c')};\n"
