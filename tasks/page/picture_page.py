"""The page pictures.html and the files in pictures/: the pictures that are asked of no model in particular."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightboard.tasks.page.pictures.asked import Ask, Look, NothingToDrawError
from nightboard.tasks.page.pictures.catalog import PICTURES, Picture
from nightboard.tasks.page.pictures.drawing import make_style
from nightboard.tasks.page.render import name_model_file, render

if TYPE_CHECKING:
    import duckdb

# Each picture is there for wide windows and for narrow ones, in so many pixels and with so many marks at most; the
# style sheet shows one.
WIDE, NARROW = (960, 1000), (420, 300)
ALL = Ask()
STYLE_FILE = "pictures.css"


@dataclass(frozen=True)
class PagePicture:
    """A picture of the page: what was read for it, or why there is nothing to draw."""

    name: str
    picture: Picture
    data: Any
    missing: str = ""


def read_pictures(con: duckdb.DuckDBPyConnection, ask: Ask = ALL) -> list[PagePicture]:
    """What the pictures of the page show: of a whole store, or of a board."""
    return [_read(con, ask, name, picture) for name, picture in PICTURES.items() if picture.is_of_page]


def _read(con: duckdb.DuckDBPyConnection, ask: Ask, name: str, picture: Picture) -> PagePicture:
    try:
        return PagePicture(name, picture, picture.read(con, ask))
    except NothingToDrawError as error:
        reason = str(error)
        return PagePicture(name, picture, None, reason[0].upper() + reason[1:])


def write_pictures(pictures: list[PagePicture], folder: Path, values: Mapping[str, Any]) -> None:
    """Write pictures.html, whose marks lead to the pages of models, and each picture as a file."""
    (folder / "pictures").mkdir()
    with open(folder / "assets" / STYLE_FILE, "a", encoding="utf-8") as style:
        style.write(make_style("page"))
    shown = []
    for each in pictures:
        drawn = {}
        if not each.missing:
            alone = Look(WIDE[0], lambda model: f"../{_link(model)}", make_style("both"), WIDE[1])
            (folder / "pictures" / f"{each.name}.svg").write_text(each.picture.draw(each.data, alone), encoding="utf-8")
            drawn = {
                kind: each.picture.draw(each.data, Look(width, _link, most_marks=most))
                for kind, (width, most) in (("wide", WIDE), ("narrow", NARROW))
            }
        shown.append({"name": each.name, "picture": each.picture, "missing": each.missing, **drawn})
    (folder / "pictures.html").write_text(render("pictures.html", {**values, "pictures": shown}), encoding="utf-8")


def _link(model_id: str) -> str:
    return f"models/{name_model_file(model_id)}"
