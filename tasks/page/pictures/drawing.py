"""Draws SVG: shapes, texts and links in colors that have names, so that one picture suits light, dark and print.

Colors come from a style sheet (`PALETTE`); nothing in a picture needs a script. Texts are escaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from html import escape
from typing import Literal

from nightboard.tasks.page.render import show_codes

# Each color on a light and on a dark page. The series are those of Okabe and Ito, which color-blind people can tell
# apart, darker or lighter where a page makes them pale.
PALETTE = {
    "back": ("#ffffff", "#14171b"),
    "text": ("#1b1f24", "#e6e9ed"),
    "quiet": ("#5b6470", "#9aa4b1"),
    "grid": ("#e3e6ea", "#2b3038"),
    "others": ("#9aa4b1", "#626c79"),
    "s1": ("#0072b2", "#56b4e9"),
    "s2": ("#d55e00", "#f28e4b"),
    "s3": ("#009e73", "#35c79b"),
    "s4": ("#b0578d", "#e29bc3"),
    "s5": ("#a67c00", "#e8c547"),
    "s6": ("#5f55a4", "#aba3ee"),
}
SERIES = ("s1", "s2", "s3", "s4", "s5", "s6")
TEXT_SIZE = 12
# A bold text is as wide as a larger one.
BOLD_SIZE = TEXT_SIZE * 1.22
# Longer texts are cut where they are drawn; what appears on hover is cut much later.
_LONGEST_TITLE = 160
_NO_XML = re.compile("[\ufffe\uffff]")
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[]/ -"), frozenset("mwMW@%")

Anchor = Literal["start", "middle", "end"]
Shape = Literal["circle", "square", "diamond", "triangle"]
# The usual ones by name: what draws a PNG knows no other family of the kind sans-serif than Arial.
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', 'Noto Sans', sans-serif"
SHAPES: tuple[Shape, ...] = ("circle", "square", "diamond", "triangle")


def make_style(themes: Literal["light", "both", "page"]) -> str:
    """The style sheet of pictures: of the light theme, of the reader's, or of that which the page is in."""
    if themes == "page":
        return _list_rules(f"light-dark({light}, {dark})" for light, dark in PALETTE.values())
    light = _list_rules(light for light, _ in PALETTE.values())
    dark = _list_rules(dark for _, dark in PALETTE.values())
    return light if themes == "light" else f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _list_rules(colors: Iterable[str]) -> str:
    named = dict(zip(PALETTE, colors, strict=True))
    rules = [f".p-{name} {{ color: {color} }}" for name, color in named.items()]
    # A label on lines and marks can be read.
    rules.append(
        f".p-label {{ stroke: {named['back']}; stroke-width: 3px; stroke-linejoin: round; paint-order: stroke }}"
    )
    return "\n".join([*rules, ""])


def clean(text: str, longest: int = _LONGEST_TITLE) -> str:
    """A text as it may stand in a picture: cut, escaped, without characters that XML or the reader cannot take."""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return escape(_NO_XML.sub("\ufffd", show_codes(cut)))


def measure(text: str, size: float = TEXT_SIZE) -> float:
    """About how wide a text is; rather too wide, as fonts differ."""
    return size * sum(map(_measure_letter, text))


def _measure_letter(letter: str) -> float:
    if letter in _NARROW:
        return 0.37
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    return 0.95 if letter in _WIDE else 0.7 if letter.isupper() else 0.58


def fit(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """The text, cut where it is wider than this."""
    text = show_codes(text)
    if measure(text, size) <= width:
        return text
    while text and measure(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is seen by nobody."""
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """A picture that is being drawn, in pixels from the top left. The color clear is seen by the pointer only."""

    def __init__(self, width: float, height: float, name: str) -> None:
        self.width, self.height, self.name = width, height, name
        self._parts: list[str] = []

    def line(self, start: tuple[float, float], end: tuple[float, float], color: str, width: float = 1) -> None:
        self.path([start, end], color, width)

    def path(self, points: Iterable[tuple[float, float]], color: str, width: float = 2, dashes: str = "") -> None:
        """A line through points."""
        ends = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<path class="p-{color}" d="M{ends}" fill="none" stroke="currentColor" stroke-width="{width}"{dashed}/>'
        )

    def bar(self, left: float, top: float, width: float, height: float, color: str, title: str = "") -> None:
        place = f'x="{number(left)}" y="{number(top)}" width="{number(width)}" height="{number(height)}"'
        place += ' fill-opacity="0"' if color == "clear" else ""
        self._parts.append(f'<rect class="p-{color}" {place}>{_title(title)}</rect>')

    def dot(
        self,
        place: tuple[float, float],
        color: str,
        radius: float = 3,
        shape: Shape = "circle",
        title: str = "",
        link: str = "",
        *,
        hollow: bool = False,
    ) -> None:
        """A mark, whose title appears on hover and whose link a click follows."""
        paint = ' fill="none" stroke="currentColor" stroke-width="1.5" pointer-events="all"' if hollow else ""
        if hollow:
            self.dot(place, "back", radius, shape)
        tag, form = _outline(place, radius, shape)
        mark = f'<{tag} class="p-{color}" {form}{paint}>{_title(title)}</{tag}>'
        # Thousands of marks are no way to walk by keyboard; the same models are links in the table.
        opening = f'<a href="{escape(link)}" tabindex="-1" aria-hidden="true">'
        self._parts.append(f"{opening}{mark}</a>" if link else mark)

    def text(
        self,
        place: tuple[float, float],
        text: str,
        color: str = "text",
        anchor: Anchor = "start",
        size: float = TEXT_SIZE,
        link: str = "",
        *,
        bold: bool = False,
        is_label: bool = False,
    ) -> None:
        """A text on a base line; a label stands on other things."""
        given = f' text-anchor="{anchor}"' if anchor != "start" else ""
        given += f' font-size="{number(size)}"' if size != TEXT_SIZE else ""
        given += ' font-weight="600"' if bold else ""
        x, y = map(number, place)
        classes = f"p-{color} p-label" if is_label else f"p-{color}"
        written = f'<text class="{classes}" x="{x}" y="{y}"{given}>{clean(text)}</text>'
        self._parts.append(f'<a href="{escape(link)}">{written}</a>' if link else written)

    def finish(self, style: str = "") -> str:
        """The SVG, with a style sheet of its own where it stands alone."""
        width, height = number(self.width), number(self.height)
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {width} {height}" width="{width}"'
            f' height="{height}" role="group" aria-label="{clean(self.name)}" fill="currentColor"'
            f' font-family="{_FONTS}"'
            f' font-size="{TEXT_SIZE}">'
        )
        sheet = f"<style>\n{style}</style>" if style else ""
        back = f'<rect class="p-back" width="{width}" height="{height}"/>'
        return "\n".join([opening + sheet + back, *self._parts, "</svg>", ""])


def _title(text: str) -> str:
    return f"<title>{clean(text)}</title>" if text else ""


def _outline(place: tuple[float, float], radius: float, shape: Shape) -> tuple[str, str]:
    """The element of a mark, and its form."""
    x, y = place
    if shape == "circle":
        return "circle", f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    }[shape]
    points = " ".join(f"{number(x + radius * dx)},{number(y + radius * dy)}" for dx, dy in corners)
    return "polygon", f'points="{points}"'
