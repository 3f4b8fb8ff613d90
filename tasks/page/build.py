"""Builds the page from the current build of a store: reads the data, renders the files, publishes them as a whole.

The same build gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nightboard.profiles.loading.load import BoardBundle
from nightboard.tasks.board_ranking import narrow
from nightboard.tasks.page.columns import list_columns, write_rows
from nightboard.tasks.page.data import PageData, SuiteData, read_page_data
from nightboard.tasks.page.models import read_models, write_models
from nightboard.tasks.page.pack import pack_suite
from nightboard.tasks.page.picture_page import read_pictures, write_pictures, write_style
from nightboard.tasks.page.pictures.asked import Ask
from nightboard.tasks.page.publish import publish
from nightboard.tasks.page.queue_page import read_queue
from nightboard.tasks.page.render import as_script, copy_assets, write_html
from nightboard.tasks.page.sql_page import write_sql_page
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.publish import Report
from nightboard.warehouse.reader.board_tables import read_board_tables
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import NO_FILTERS, Filters, list_suites

# So many rows are real HTML, which shows without scripts.
FIRST_ROWS = 100


@dataclass(frozen=True)
class Page:
    """What was published: the file to open, the number of files, of bytes and of models."""

    index: Path
    n_files: int
    n_bytes: int
    n_models: int


@dataclass(frozen=True)
class Shown:
    """What of a store the page shows: all of it, or the models and imports of a board, suite by suite.

    `filters`: of these, `models` and `sources` count.
    """

    title: str
    filters: Filters = NO_FILTERS
    suites: Sequence[str] | None = None
    board: str | None = None
    has_queue: bool = True
    has_sql: bool = False


def show_board(bundle: BoardBundle, store: Store, title: str | None = None) -> Shown:
    """The page of a board: its suites, and what its rankings show. Raises NoBuildError without a warehouse."""
    page = bundle.board.page
    return Shown(
        title or (page.title if page else None) or bundle.board.title,
        narrow(NO_FILTERS, bundle, store.warehouse),
        [*bundle.suites],
        bundle.board.board,
        page.is_queue_shown if page else True,
        page.is_sql_shown if page else False,
    )


def build_page(store: Store, out: Path, shown: Shown, report: Report = lambda *_: None) -> Page:
    """Write the page of a store's current build into the folder `out`, in place of the one that is there.

    Raises NoBuildError where there is no build, PageError where the folder cannot be written.
    """
    with connect(store.warehouse) as con:
        data = read_page_data(con, shown.filters, shown.suites)
        models, queue = read_models(con, shown.filters), read_queue(con, shown.filters, shown.board)
        suites = {suite: title for suite, title, *_ in list_suites(con).rows}
        of_board = Ask(filters=shown.filters, suites=None if shown.suites is None else tuple(shown.suites))
        pictures = read_pictures(con, replace(of_board, board=shown.board), has_queue=shown.has_queue)
        tables = read_board_tables(con, shown.filters, shown.suites) if shown.has_sql else []
    values = {"board_title": shown.title, "page": data, "has_queue": shown.has_queue, "has_sql": shown.has_sql}
    with publish(out) as folder:
        write_page(data, folder, shown.title, has_queue=shown.has_queue, has_pictures=True, has_sql=shown.has_sql)
        write_style(folder)
        write_pictures(pictures, folder, values | {"root": "", "title": f"Pictures - {shown.title}"})
        if shown.has_queue:
            write_html(
                folder / "queue.html", "queue.html", values | queue | {"root": "", "title": f"Queue - {shown.title}"}
            )
        if shown.has_sql:
            write_sql_page(tables, folder, values)
        for number in write_models(models, values, folder / "models", _order(suites, shown.suites)):
            report("Pages of models", number, len(models.models))
        (folder / "README.md").write_text(describe_space(shown.title), encoding="utf-8")
        files = [path for path in folder.rglob("*") if path.is_file()]
        n_bytes = sum(path.stat().st_size for path in files)
    return Page(out.absolute() / "index.html", len(files), n_bytes, len(models.models))


def describe_space(title: str) -> str:
    """The card that makes the folder a static Space on the Hub, as it is."""
    return f"---\ntitle: {json.dumps(title)}\nsdk: static\napp_file: index.html\n---\n"


def _order(titles: Mapping[str, str], suites: Sequence[str] | None) -> dict[str, str]:
    """Titles of the suites that are shown, in their order."""
    return {suite: titles[suite] for suite in (titles if suites is None else suites) if suite in titles}


def write_page(
    data: PageData,
    folder: Path,
    title: str,
    *,
    has_queue: bool = False,
    has_pictures: bool = False,
    has_sql: bool = False,
) -> None:
    """Write the front page with its data into an empty folder."""
    copy_assets(folder)
    data_files = _write_data(data, folder / "data")
    suite = data.suites[0] if data.suites else SuiteData("", "", (), (), {"model_id": []})
    era = suite.eras[0] if suite.eras else ""
    ranked = suite.list_rows(era) if era else []
    columns = [column for column in list_columns(suite) if column.is_shown]
    values = {
        "title": title,
        "root": "",
        "page": data,
        "suite": suite,
        "era": era,
        "columns": columns,
        "rows": write_rows(suite, columns, ranked[:FIRST_ROWS], len(ranked)),
        "n_ranked": len(ranked),
        "data_files": data_files,
        "has_queue": has_queue,
        "has_pictures": has_pictures,
        "has_sql": has_sql,
    }
    write_html(folder / "index.html", "index.html", values)


def _write_data(data: PageData, folder: Path) -> dict[str, str]:
    """The rows of each suite as a script. Its name tells its content: an old tab never reads the rows of a new page."""
    folder.mkdir()
    return {suite.suite: _write_suite(suite, folder) for suite in data.suites}


def _write_suite(suite: SuiteData, folder: Path) -> str:
    script = as_script(f"(window.nightboard??={{}})[{json.dumps(suite.suite)}]", pack_suite(suite))
    name = f"rows-{hashlib.sha256(script.encode()).hexdigest()[:12]}.js"
    (folder / name).write_text(script)
    return name
