"""The page pictures.html and the files in pictures/, of the pictures that are asked of no model in particular; and how
any page embeds a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def read_pictures(con: duckdb.DuckDBPyConnection, ask: Ask = ALL, *, has_queue: bool = True) -> list[PagePicture]:
    """What the pictures of the page show: of a whole store, or of a board. Without a queue, none shows it."""
    return [
        _read(con, ask, name, picture)
        for name, picture in PICTURES.items()
        if picture.is_of_page and (has_queue or not picture.is_of_queue)
    ]


def _read(con: duckdb.DuckDBPyConnection, ask: Ask, name: str, picture: Picture) -> PagePicture:
    try:
        return PagePicture(name, picture, picture.read(con, ask))
    except NothingToDrawError as error:
        reason = str(error)
        return PagePicture(name, picture, None, reason[0].upper() + reason[1:])


def write_pictures(pictures: list[PagePicture], folder: Path, values: Mapping[str, Any]) -> None:
    """Write pictures.html, whose marks lead to the pages of models, and each picture as a file."""
    (folder / "pictures").mkdir()
    shown = []
    for each in pictures:
        drawn = {}
        if not each.missing:
            alone = Look(WIDE[0], lambda model: f"../{_link(model)}", make_style("both"), WIDE[1])
            (folder / "pictures" / f"{each.name}.svg").write_text(each.picture.draw(each.data, alone), encoding="utf-8")
            drawn = embed(each.picture.draw, each.data, _link)
        shown.append({"name": each.name, "picture": each.picture, "missing": each.missing, **drawn})
    (folder / "pictures.html").write_text(render("pictures.html", {**values, "pictures": shown}), encoding="utf-8")


def embed(draw: Callable[[Any, Look], str], data: Any, link: Callable[[str], str]) -> dict[str, str]:
    """A picture as pages embed it, for wide and for narrow windows. `link`: where a model's mark leads to."""
    looks = {"wide": WIDE, "narrow": NARROW}
    return {kind: draw(data, Look(width, link, most_marks=most)) for kind, (width, most) in looks.items()}


def write_style(folder: Path) -> None:
    """Add the colors of the drawings to the style sheet of a page that embeds some."""
    with open(folder / "assets" / STYLE_FILE, "a", encoding="utf-8") as style:
        style.write(make_style("page"))


def _link(model_id: str) -> str:
    return f"models/{name_model_file(model_id)}"
