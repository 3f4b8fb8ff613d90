"""One model by commit: its average and the score of each benchmark, with 95% intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nightboard.tasks.page.pictures.asked import Ask, Look, NothingToDrawError, Ranking, Row, as_rows, require
from nightboard.tasks.page.pictures.axes import Entry, Frame, draw_legend, make_scale
from nightboard.tasks.page.pictures.drawing import BOLD_SIZE, SERIES, SHAPES, Drawing, fit
from nightboard.warehouse.reader.questions import choose_ranking, complete_name, list_history

if TYPE_CHECKING:
    import duckdb

_PANEL = 190
_SETTING = ("precision", "chat_template", "settings", "ranked_as")


class History(NamedTuple):
    """The scores of a model's commits: of the average, then of each benchmark."""

    model_id: str
    ranking: Ranking
    rows: list[Row]


def read(con: duckdb.DuckDBPyConnection, ask: Ask) -> History:
    """The commits of the model that is named."""
    model_id = complete_name(con, ask.names[0]).partition("@")[0]
    suite, title, _ = choose_ranking(con, ask.usual_suite, ask.era)
    rows = as_rows(list_history(con, model_id, suite, ask.era))
    if not rows:
        raise NothingToDrawError(f"{model_id} has no complete commit in suite {suite}. Name another one with --suite.")
    return History(model_id, Ranking(suite, title, rows[0]["era"]), rows)


def draw(data: History, look: Look) -> str:
    """The picture: the average above, a small panel for each benchmark below."""
    dated = [row for row in data.rows if row["happened_at"] is not None]
    rows = require(dated, f"no commit of {data.model_id} has a date.")
    panels = list(dict.fromkeys(row["title"] for row in rows))
    all_settings = list(dict.fromkeys(_name_setting(row) for row in rows))
    settings = all_settings[: len(SERIES)]
    columns = 1 if look.is_narrow else 2 if look.width < 880 else 3
    drawing = Drawing(look.width, 0, f"{data.model_id} by commit, {data.ranking}")
    title = f"{data.model_id}: score by commit, {data.ranking}"
    drawing.text((4, 18), fit(title, look.width - 8, BOLD_SIZE), bold=True)
    top = 26.0
    if len(settings) > 1:
        entries = [Entry(name, SERIES[place], SHAPES[place % 4]) for place, name in enumerate(settings)]
        if n_more := len(all_settings) - len(settings):
            entries.append(Entry(f"{n_more} more settings left out", "others", "bar"))
        top += draw_legend(drawing, top, entries)
    times = [row["happened_at"].timestamp() for row in rows]
    first_height = 250
    _draw_panel(drawing, look, rows, panels[0], settings, (46, top + 34, look.width - 14, top + first_height), times)
    top += first_height + 34
    width = look.width / columns
    for place, title in enumerate(panels[1:]):
        left, start = width * (place % columns), top + (_PANEL + 34) * (place // columns)
        area = (left + 46, start + 34, left + width - 14, start + _PANEL)
        _draw_panel(drawing, look, rows, title, settings, area, times)
    drawing.height = top + (_PANEL + 34) * -(-(len(panels) - 1) // columns)
    return drawing.finish(look.style)


def _name_setting(row: Row) -> str:
    chat = "chat template" if row["chat_template"] else "no chat template"
    source = "" if row["ranked_as"] == "run" else row["ranked_as"]
    return ", ".join(part for part in (row["precision"], chat, row["settings"], source) if part)


def _draw_panel(
    drawing: Drawing,
    look: Look,
    rows: list[Row],
    title: str,
    settings: list[str],
    area: tuple[float, float, float, float],
    times: list[float],
) -> None:
    left, top, right, bottom = area
    of_panel = [row for row in rows if row["title"] == title]
    ends = [row[end] for row in of_panel for end in ("low", "score", "high") if row[end] is not None]
    x = make_scale(times, left, right, "time")
    frame = Frame(x, make_scale(ends, bottom, top, limits=(0, 100)))
    frame.draw(drawing, "", title)
    for place, setting in enumerate(settings):
        of_setting = [row for row in of_panel if _name_setting(row) == setting]
        color = SERIES[place]
        _draw_series(drawing, look, frame, of_setting, color, place)


def _draw_series(drawing: Drawing, look: Look, frame: Frame, rows: list[Row], color: str, number: int) -> None:
    places = [frame.place(row["happened_at"].timestamp(), row["score"]) for row in rows]
    if len(places) > 1:
        drawing.path(places, color, 1.2)
    for (x, y), row in zip(places, rows, strict=True):
        interval = ""
        if row["low"] is not None:
            low, high = frame.y.place(row["low"]), frame.y.place(row["high"])
            drawing.line((x, low), (x, high), color, 1.5)
            for end in (low, high):
                drawing.line((x - 3, end), (x + 3, end), color, 1.5)
            interval = f" ({row['low']:.1f} to {row['high']:.1f})"
        title = f"{row['revision'] or 'unknown commit'}\n{row['happened_at']:%Y-%m-%d %H:%M} UTC"
        drawing.dot((x, y), color, 4, SHAPES[number % 4], f"{title}\n{row['title']}: {row['score']:.2f}{interval}")
