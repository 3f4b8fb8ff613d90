"""Makes a picture by its name, as SVG or PNG."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nightboard.tasks.errors import TaskError
from nightboard.tasks.page.pictures.asked import Ask, Look
from nightboard.tasks.page.pictures.catalog import PICTURES
from nightboard.tasks.page.pictures.drawing import PALETTE, Drawing, make_style
from nightboard.tasks.page.render import make_hub_link

if TYPE_CHECKING:
    import duckdb

# Widths that a picture of its own may have, in pixels.
NARROWEST, WIDEST = 300, 8000
# A PNG has so many pixels for each of the drawing, so that texts are sharp.
_SHARP = 2


class PictureError(TaskError):
    """A picture cannot be made; the message says what to do."""


def make_svg(con: duckdb.DuckDBPyConnection, name: str, ask: Ask, width: int) -> str:
    """A picture that stands alone: in light or dark, as its reader has it; marks lead to the models on the Hub.

    Raises NothingToDrawError and QueryError where there is nothing to draw.
    """
    return _draw(con, name, ask, width, make_style("both"))


def make_png(con: duckdb.DuckDBPyConnection, name: str, ask: Ask, width: int) -> bytes:
    """A picture of so many pixels, on white. Raises PictureError without the package that draws them, or a font."""
    try:
        from resvg_py import svg_to_bytes
    except ModuleNotFoundError as error:
        raise PictureError(
            f"a PNG needs the package resvg-py, which is not installed. Run `{sys.executable} -m pip install resvg-py`,"
            " or write a file that ends with .svg."
        ) from error
    svg = _draw(con, name, ask, max(width // _SHARP, NARROWEST), make_style("light"))
    if svg_to_bytes(svg_string=_write_sample("x")) == svg_to_bytes(svg_string=_write_sample("")):
        raise PictureError(
            "a PNG needs a font, and none that it could take is installed. Install one, such as Debian's"
            " fonts-dejavu-core, or write a file that ends with .svg."
        )
    return bytes(svg_to_bytes(svg_string=svg, width=width, background=PALETTE["back"][0]))


def _write_sample(text: str) -> str:
    drawing = Drawing(20, 20, "")
    drawing.text((2, 15), text)
    return drawing.finish(make_style("light"))


def _draw(con: duckdb.DuckDBPyConnection, name: str, ask: Ask, width: int, style: str) -> str:
    picture = PICTURES[name]
    return picture.draw(picture.read(con, ask), Look(width, make_hub_link, style))
