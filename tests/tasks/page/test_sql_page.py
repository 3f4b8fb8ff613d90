"""The SQL page in a browser: queries, mistakes, files; from disk and from a web host, without another host."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_lake import EVIL, share_store
from watched_tab import WatchedTab

from nightboard.tasks.page.build import Shown, build_page
from nightboard.warehouse.reader.board_tables import EXAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.real


class Asked(WatchedTab):
    """The SQL page in its tab."""

    def __init__(self, page: Page, address: str) -> None:
        super().__init__(page)
        self.address = address
        page.goto(address)

    def ask(self, query: str) -> str:
        """What the page says of a query: its number of rows, or its mistake."""
        self.page.fill("#query", query)
        self.page.press("#query", "Control+Enter")
        return self.wait()

    def wait(self) -> str:
        self.page.wait_for_selector("#run:enabled")
        return self.page.inner_text("#status").partition(" in ")[0] + self.page.inner_text("#problem")

    def rows(self) -> list[list[str]]:
        cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        return list(self.page.locator("#result tbody tr").evaluate_all(cells))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked") / "page"
    build_page(share_store(tmp_path_factory), folder, Shown("Board", has_sql=True))
    return folder


@pytest.fixture(scope="module")
def asked(browser: Browser, folder: Path) -> Iterator[Asked]:
    """A page that has loaded DuckDB, once for all tests of this file."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(120_000)
    asked = Asked(context.new_page(), (folder / "sql.html").as_uri())
    assert not [url for url in asked.requests if "duckdb.js" in url or "/data/" in url], "before it is asked for"
    assert asked.ask("select 1") == "1 row"
    yield asked
    assert asked.errors == []
    assert [url for url in asked.requests if not url.startswith(("file:", "blob:"))] == []
    context.close()


def test_every_question_has_an_answer(asked: Asked) -> None:
    buttons = asked.page.locator("#examples button")
    assert buttons.all_inner_texts() == [*EXAMPLES]
    for number, question in enumerate(EXAMPLES):
        buttons.nth(number).click()
        asked.page.keyboard.press("Enter")
        assert (question, asked.wait().removesuffix("s").removesuffix(" row").isdigit()) == (question, True)
        assert asked.rows(), question


def test_html_in_a_value_is_text(asked: Asked) -> None:
    assert asked.ask(f"select model_id, null::varchar, 2.50 from leaderboard where model_id = '{EVIL}'") == "1 row"
    assert asked.rows() == [[EVIL, "", "2.50"]]
    assert asked.page.locator("#result td.number").all_inner_texts() == ["2.50"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select *\nfrom leaderbord", 'Did you mean "leaderboard"?\n\nLINE 2: from leaderbord\n             ^'),
        ("drop table leaderboard", "Only one query that returns rows can run: select, from"),
        ("select json('1')", "exists in the json extension. This page has no extensions."),
        ("from read_csv('https://example.com/a.csv')", 'Cannot access file "https://example.com/a.csv"'),
        ("from duckdb_settings(); set autoload_known_extensions = true", "multiple statements"),
    ],
)
def test_a_mistake_is_told_once_and_harms_nothing(asked: Asked, query: str, said: str) -> None:
    told = asked.ask(query)
    assert told.count(said) == 1, told
    assert asked.rows() == []
    assert asked.ask("select count(*) from leaderboard -- and a comment") == "1 row"


def test_many_rows_are_counted_and_all_are_in_the_file(asked: Asked) -> None:
    assert asked.ask("select range, '=1' as text from range(1200);") == "1,200 rows, the first 500 are shown,"
    assert len(asked.rows()) == 500
    with asked.page.expect_download() as download:
        asked.page.click("#csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (1201, "range,text", "1199,'=1")


def test_the_address_keeps_the_query_and_runs_nothing(asked: Asked, browser: Browser) -> None:
    query = "select 'ü & #' as text\nlimit 1"
    assert asked.ask(query) == "1 row"
    context = browser.new_context()
    other = Asked(context.new_page(), asked.page.url)
    assert other.page.input_value("#query") == query
    assert not [url for url in other.requests if "duckdb.js" in url]
    context.close()
    asked.page.go_back()
    assert asked.page.input_value("#query") != query


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_axe_finds_no_violation_beside_a_result(asked: Asked, frontend: Path, scheme: Any, width: int) -> None:
    asked.page.emulate_media(color_scheme=scheme)
    asked.page.set_viewport_size({"width": width, "height": 800})
    asked.ask("from leaderboard")
    assert asked.page.evaluate("document.documentElement.scrollWidth") <= width
    asked.page.evaluate((frontend / "node_modules/axe-core/axe.min.js").read_text() + ";0")
    found = asked.page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found["violations"]] == []


def test_after_a_query_that_was_stopped_or_crashed_the_next_one_runs(asked: Asked) -> None:
    asked.page.fill("#query", "select count(*) from range(1000000) a, range(1000000) b where a.range + b.range = 7")
    asked.page.click("#run")
    asked.page.click("#stop")
    assert asked.wait() == "Stopped."
    assert asked.ask("select repeat('x', 3000000000)").startswith("DuckDB crashed: ")
    assert asked.ask("select 1") == "1 row"


def test_an_old_tab_is_told_that_the_page_was_replaced(browser: Browser, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "page", ignore=shutil.ignore_patterns("duckdb.js", "tables-*.js"))
    context = browser.new_context()
    told = Asked(context.new_page(), (copy / "sql.html").as_uri()).ask("select 1")
    assert re.fullmatch(r"data/tables-\w+\.js cannot be loaded\. Reload the page\.", told)
    context.close()


def test_it_works_from_a_web_host(browser: Browser, folder: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}/"
        context = browser.new_context()
        context.set_default_timeout(120_000)
        hosted = Asked(context.new_page(), f"{host}sql.html")
        assert hosted.ask("from leaderboard").endswith(" rows")
        assert hosted.errors == []
        assert [url for url in hosted.requests if not url.startswith((host, f"blob:{host}"))] == []
        context.close()
        server.shutdown()
