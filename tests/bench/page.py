"""The pages of a whole board in Chromium: the front page beside Tabulator with the same rows and a plain HTML table of
all rows, and the SQL page.

All are opened from disk, one after the other, several times. Tabulator comes from the npm registry.
"""

from __future__ import annotations

import gzip
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rank import N_MODELS, make_store

from nightboard.tasks.page.build import write_page
from nightboard.tasks.page.columns import list_columns, write_rows
from nightboard.tasks.page.data import read_page_data
from nightboard.tasks.page.sql_page import write_sql_page
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.board_tables import read_board_tables
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import NO_FILTERS, rank
from warehouse import Cells

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TABULATOR = "tabulator-tables@6.5.3"
N_TRIES = 5
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# When the first row was there to be drawn, in milliseconds since the page was asked for.
WATCH = """
const look = () => document.querySelector('ROW')
    ? requestAnimationFrame(() => { window.firstRow = performance.now() }) : requestAnimationFrame(look);
look();
"""
# Milliseconds until what an action changes is laid out.
TIME = """async ([before, action]) => {
    const run = text => eval(text);
    run(before);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)));
    const start = performance.now();
    run(action);
    document.body.offsetHeight;
    return performance.now() - start;
}"""
# Milliseconds between two frames while one scrolls by 60 pixels a frame.
SCROLL = """async selector => {
    const scroller = document.querySelector(selector), start = performance.now();
    for (let frame = 0; frame < 60; frame++) {
        scroller.scrollTop += 60;
        await new Promise(requestAnimationFrame);
    }
    return (performance.now() - start) / 60;
}"""


@dataclass(frozen=True)
class Site:
    """A page to be measured: its folder, the selector of a row and of what scrolls, and how it sorts and filters."""

    folder: Path
    row: str
    scroller: str
    sort: tuple[str, str]
    search: tuple[str, str]


@dataclass(frozen=True)
class Times:
    """Medians, in milliseconds."""

    first_row: float
    sort: float
    search: float
    frame: float


def measure_page() -> Iterator[Cells]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        root = Path(name)
        store = make_store(root)
        sites = {"ours": make_ours(store, root / "ours"), "Tabulator": make_tabulator(store, root / "tabulator"),
                 "all rows as HTML": make_plain(store, root / "plain")}  # fmt: skip
        with connect(store.warehouse) as con:
            query_s = clock(lambda: rank(con, None, None, None))
        build_s = clock(lambda: write_front(store, root / "again"))
        yield (
            f"front page of {N_MODELS:,} models",
            f"{build_s:.2f} s",
            "query of its ranking",
            f"{query_s:.2f} s",
            build_s / query_s,
        )
        sizes = {what: count_bytes(site.folder) for what, site in sites.items()}
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        times = {what: measure_site(browser, site) for what, site in sites.items()}
        load_s, ask_s = measure_sql_page(browser, store, root / "sql")
        browser.close()
    for peer in ("Tabulator", "all rows as HTML"):
        yield (
            "bytes, compressed",
            f"{sizes['ours'] / 1000:.0f} kB",
            peer,
            f"{sizes[peer] / 1000:.0f} kB",
            sizes["ours"] / sizes[peer],
        )
        for what, field in {
            "first row": "first_row",
            "sort": "sort",
            "search": "search",
            "a frame of scrolling": "frame",
        }.items():
            ours, theirs = getattr(times["ours"], field), getattr(times[peer], field)
            yield what, f"{ours:.0f} ms", peer, f"{theirs:.0f} ms", ours / theirs
    first_s = times["ours"].first_row / 1000
    yield "SQL page, its first answer", f"{load_s:.2f} s", "first row", f"{first_s:.2f} s", load_s / first_s
    yield "SQL page, the first 20", f"{ask_s:.3f} s", "query of its ranking", f"{query_s:.3f} s", ask_s / query_s


def measure_sql_page(browser: Browser, store: Store, folder: Path) -> tuple[float, float]:
    """Seconds until the SQL page answers for the first time, which loads DuckDB and the tables, and for a later one."""
    write_front(store, folder)
    with connect(store.warehouse) as con:
        values = {"board_title": "Bench", "page": read_page_data(con), "has_queue": False, "has_sql": True}
        write_sql_page(read_board_tables(con, NO_FILTERS, None), folder, values)
    page = browser.new_page()
    page.goto((folder / "sql.html").as_uri())

    def ask() -> None:
        page.press("#query", "Control+Enter")
        page.wait_for_selector("#run:enabled")

    first = clock(ask)
    return first, statistics.median(clock(ask) for _ in range(N_TRIES))


def clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def count_bytes(folder: Path) -> int:
    return sum(len(gzip.compress(path.read_bytes())) for path in folder.rglob("*") if path.is_file())


def measure_site(browser: Browser, site: Site) -> Times:
    tries = []
    for _ in range(N_TRIES):
        # The script of the page may not evaluate texts, the measurement must.
        context = browser.new_context(viewport={"width": 1280, "height": 800}, bypass_csp=True)
        context.add_init_script(WATCH.replace("ROW", site.row))
        page = context.new_page()
        page.goto((site.folder / "index.html").as_uri())
        page.wait_for_function(
            "window.firstRow && (!document.getElementById('controls') || document.documentElement.dataset.ready)"
        )
        tries.append(Times(
            page.evaluate("window.firstRow"), page.evaluate(TIME, site.sort), page.evaluate(TIME, site.search),
            page.evaluate(SCROLL, site.scroller),
        ))  # fmt: skip
        context.close()
    return Times(*(statistics.median(getattr(one, field) for one in tries) for field in Times.__dataclass_fields__))


def make_ours(store: Store, folder: Path) -> Site:
    write_front(store, folder)
    search = (
        "{ const box = document.getElementById('search'); box.value = 'TEXT'; box.dispatchEvent(new Event('input')) }"
    )
    return Site(
        folder, "#board tbody tr", "#scroller",
        ("0", "document.querySelector('#board th[data-key=\"score:bbh\"] button').click()"),
        (search.replace("TEXT", ""), search.replace("TEXT", "model-77")),
    )  # fmt: skip


def write_front(store: Store, folder: Path) -> None:
    """The front page of the store's build, without the pages of its models."""
    folder.mkdir()
    with connect(store.warehouse) as con:
        write_page(read_page_data(con), folder, "Bench")


def list_all_cells(store: Store) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Key and title of the shown columns, and the texts of all rows."""
    with connect(store.warehouse) as con:
        (suite,) = read_page_data(con).suites
    columns = [column for column in list_columns(suite) if column.is_shown and column.kind != "band"]
    rows = suite.list_rows(suite.eras[0])
    cells = [[cell.text for cell in row] for row in write_rows(suite, columns, rows, len(rows))]
    return [(column.key.replace(":", "_"), column.title) for column in columns], cells


def make_tabulator(store: Store, folder: Path) -> Site:
    """Tabulator with its virtual rows, and the same columns; numbers are numbers."""
    columns, rows = list_all_cells(store)
    folder.mkdir()
    packed = subprocess.run(
        ["npm", "pack", "--silent", TABULATOR], cwd=folder, capture_output=True, text=True, check=True
    )
    archive = folder / packed.stdout.strip()
    subprocess.run(["tar", "-xf", archive.name], cwd=folder, check=True)
    for file in ("js/tabulator.min.js", "css/tabulator.min.css"):
        shutil.move(folder / "package/dist" / file, folder)
    shutil.rmtree(folder / "package")
    archive.unlink()
    data = [{key: as_value(text) for (key, _), text in zip(columns, row, strict=True)} for row in rows]
    titles = [{"title": title, "field": key} for key, title in columns]
    options = json.dumps({"height": 700, "index": "rank", "data": data, "columns": titles})
    (folder / "data.js").write_text(f"const table = new Tabulator('#board', {options})")
    (folder / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=stylesheet href=tabulator.min.css><div id=board></div>"
        "<script src=tabulator.min.js></script><script src=data.js></script>"
    )
    return Site(
        folder, ".tabulator-row", ".tabulator-tableholder",
        ("0", "table.setSort('score_bbh', 'desc')"),
        ("table.clearFilter()", "table.setFilter('model_id', 'like', 'model-77')"),
    )  # fmt: skip


def as_value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def make_plain(store: Store, folder: Path) -> Site:
    """A table of all rows; sorted by moving its rows, filtered by hiding them."""
    columns, rows = list_all_cells(store)
    folder.mkdir()
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}" for text in row) for row in rows)
    head = "".join(f"<th>{title}" for _, title in columns)
    (folder / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><style>#all { height: 700px; overflow: auto }</style>"
        f"<div id=all><table><thead><tr>{head}</thead><tbody id=rows>{body}</tbody></table></div>"
    )
    place, name = ([key for key, _ in columns].index(key) for key in ("score_bbh", "model_id"))
    value = f"Number(ROW.cells[{place}].textContent)".replace
    sort = f"rows.append(...[...rows.rows].sort((a, b) => {value('ROW', 'b')} - {value('ROW', 'a')}))"
    search = f"for (const row of rows.rows) row.hidden = !row.cells[{name}].textContent.includes('TEXT')"
    return Site(
        folder, "#rows tr", "#all", ("0", sort), (search.replace("TEXT", ""), search.replace("TEXT", "model-77"))
    )
