"""The front page in a browser: search, filters, sorting, columns, pins, address, keyboard, colors, narrow screens."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from make_lake import Lake, after
from page_data import BENCHMARKS, N_MODELS, SCRIPT, make_page_data, make_row, make_small_suite, make_suite
from page_lake import share_store
from watched_tab import WatchedTab

from nightboard.tasks.page.build import Shown, build_page, write_page
from nightboard.tasks.page.data import Benchmark, SuiteData
from nightboard.tasks.page.pair import build_pair
from nightboard.tasks.page.render import FOLDER, name_model_file
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = pytest.mark.real

WIDE = {"width": 1280, "height": 800}
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
PHONE = {"width": 400, "height": 800}
# The rows that are drawn, without the pinned ones.
ROWS = "#board tbody:not(.pins) tr:not(.spacer)"
LAST_ROW = "#board tr[aria-rowindex='131']"
# The texts of a column in these rows.
READ_COLUMN = """([rows, key]) => {
    const headers = [...document.querySelectorAll('#board thead th')];
    const place = headers.findIndex(header => header.dataset.key === key);
    return [...document.querySelectorAll(rows)].map(row => row.cells[place].textContent);
}"""
# The model whose row has the focus, or what else has it.
READ_FOCUS = "document.activeElement.closest('tr')?.querySelector('th')?.title ?? document.activeElement.id"
READ_BANDS = "bars => bars.map(({style}) => [parseFloat(style.left), parseFloat(style.width)])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_page(make_page_data(make_suite(), make_small_suite()), folder, "Models <of> ours")
    return folder


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=WIDE, color_scheme="light", accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(20_000)
    yield context
    context.close()


class Front(WatchedTab):
    """The front page in its tab."""

    def __init__(self, page: Page, folder: Path) -> None:
        super().__init__(page)
        self.address = (folder / "index.html").as_uri()

    def open(self, view: str = "") -> Front:
        """Show a view by its address; without a new load of the page where it is open already."""
        self.page.goto(f"{self.address}#{view}")
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_function(
            "view => new URLSearchParams(view).get('q') === null ? document.getElementById('search').value === ''"
            " : document.getElementById('search').value === new URLSearchParams(view).get('q')", arg=view,
        )  # fmt: skip
        return self

    def models(self) -> list[str]:
        """Models that are drawn, from the top."""
        return list(self.page.locator(f"{ROWS} th").evaluate_all("cells => cells.map(c => c.title)"))

    def ranks(self) -> list[int]:
        return [int(re.sub(r"\D", "", text)) for text in self.column("rank")]

    def column(self, key: str) -> list[str]:
        """The texts of a column in the rows that are drawn."""
        return list(self.page.evaluate(READ_COLUMN, [ROWS, key]))

    def status(self) -> str:
        return self.page.locator("#status").inner_text()

    def message(self) -> str:
        return self.page.locator("#message").inner_text()

    def hash(self) -> str:
        return str(self.page.evaluate("location.hash"))

    def header(self, key: str) -> Locator:
        return self.page.locator(f'#board th[data-key="{key}"]')

    def panel(self, name: str) -> None:
        """Open a panel if it is not."""
        if not self.page.locator(f"#{name}").is_visible():
            self.page.locator(f"#open-{name}").click()

    def active(self) -> str:
        return str(self.page.evaluate(READ_FOCUS))


@pytest.fixture(scope="module")
def tab(context: BrowserContext, folder: Path) -> Front:
    return Front(context.new_page(), folder)


@pytest.fixture
def front(tab: Front, folder: Path) -> Iterator[Front]:
    """The whole board. Whatever a test does, nothing is asked of another host, and the console stays empty."""
    tab.open()
    for button in tab.page.locator("#controls [aria-expanded=true]").all():
        button.click()
    tab.page.wait_for_function("() => document.getElementById('status').textContent.startsWith('130 models')")
    yield tab
    assert tab.errors == []
    assert {url for url in tab.requests if not url.startswith((folder.as_uri(), "data:,", "blob:"))} == set()


def ranks_where(test: Any) -> list[int]:
    return [rank for rank in range(1, N_MODELS + 1) if test(rank)]


def assert_shows(front: Front, ranks: list[int]) -> None:
    """These ranks, in this order: all of them are counted, the first ones are drawn."""
    front.page.wait_for_function("n => Number(document.getElementById('board').ariaRowCount) === n + 1", arg=len(ranks))
    drawn = front.ranks()
    assert drawn == ranks[: len(drawn)] and len(drawn) >= min(len(ranks), 20)


def test_first_hundred_rows_are_there_without_scripts(browser: Browser, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=WIDE)
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    rows = page.locator("#board tbody tr")
    assert rows.count() == 100
    assert [text.strip() for text in rows.nth(0).locator("td, th").all_inner_texts()] == [
        "1", "1–5", "", "org1/model-1", "90.00", "88.00–92.00", "95.00", "85.00", "0.1", "mit",
    ]  # fmt: skip
    assert rows.nth(1).locator(".c-interval").inner_text() == "~87.50–91.50", "an approximate one has the sign of rank"
    assert "~: approximate" in (page.locator("#board thead .c-interval").get_attribute("title") or "")
    assert not page.locator("#controls").is_visible()
    assert page.title() == "Models <of> ours"
    context.close()


def test_script_draws_the_first_rows_as_the_page_came(browser: Browser, front: Front) -> None:
    """The template and the script write the same cells."""
    context = browser.new_context(java_script_enabled=False, viewport=WIDE)
    page = context.new_page()
    page.goto(front.address)
    read = (
        "rows => rows.slice(0, 30).map(tr => [...tr.cells].map(td => td.textContent.replace('≈', '')"
        " + (td.className.match(/ s\\d/) ?? '') + (td.querySelector('a')?.href ?? '')))"
    )
    static = page.locator("#board tbody tr").evaluate_all(read)
    context.close()
    drawn = front.page.locator("#board tbody tr:not(.spacer)").evaluate_all(read)
    assert drawn == static


def test_only_rows_in_sight_are_drawn_and_all_are_counted(front: Front) -> None:
    board = front.page.locator("#board")
    assert board.get_attribute("aria-rowcount") == "131"
    assert len(front.models()) < 60
    front.page.evaluate("document.getElementById('scroller').scrollTop = 1e6")
    front.page.wait_for_selector(LAST_ROW)
    last = front.page.locator(LAST_ROW)
    assert last.locator("th").get_attribute("title") == "org4/model-130"
    assert last.bounding_box()["y"] < WIDE["height"] - 20  # type: ignore[index]
    assert front.header("rank").bounding_box()["y"] < 200  # type: ignore[index]  # the header stays in sight


@pytest.mark.parametrize(
    ("query", "test"),
    [
        ("MODEL-1 org1", lambda rank: rank % 7 == 1 and str(rank).startswith("1")),
        ('"org3/model-3"', lambda rank: rank in (3, 31, 38)),
        ("/model-[12]?7$/", lambda rank: rank in (7, 17, 27)),
        ("@license:apache", lambda rank: rank % 3 == 0),
        ('@license:""', lambda rank: rank % 3 == 2),
        ("-@license:/apache|mit/", lambda rank: rank % 3 == 2),
        ("@size:<1.05", lambda rank: rank <= 10),
        ("@params:2..3", lambda rank: 20 <= rank <= 30),
        ("@alpha:>=90", lambda rank: rank <= 11),
        ("@merge:yes @official:no", lambda rank: rank % 5 == 0 and rank % 3 != 0),
        ("@type:chat -@precision:bfloat16", lambda rank: rank % 3 == 0 and rank % 2 == 1),
        ("@licen", lambda rank: True),
    ],
)  # fmt: skip
def test_search(front: Front, query: str, test: Any) -> None:
    front.page.fill("#search", query)
    assert_shows(front, ranks_where(test))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("/(/", "/(/: not a regular expression."),
        ("@nothing:1", "@nothing: no column is called so."),
        ("@size:big", "@size:big: a number is needed"),
    ],
)
def test_wrong_search_says_what_is_wrong_and_hides_nothing(front: Front, query: str, message: str) -> None:
    front.page.fill("#search", query)
    assert front.message().startswith(message)
    assert front.page.locator("#search").get_attribute("aria-invalid") == "true"
    assert_shows(front, ranks_where(lambda rank: True))


@pytest.mark.parametrize(
    ("name", "value", "test"),
    [
        ("template", "yes", lambda rank: rank % 4 == 0),
        ("merges", "no", lambda rank: rank % 5 != 0),
        ("flagged", "only", lambda rank: rank % 10 == 3),
        ("unavailable", "no", lambda rank: rank % 9 != 4),
        ("official", "yes", lambda rank: rank % 3 == 0),
        ("source", "run", lambda rank: rank % 2 == 1),
        ("source", "import", lambda rank: rank % 2 == 0),
    ],
)
def test_choices_filter(front: Front, name: str, value: str, test: Any) -> None:
    front.panel("filters")
    front.page.select_option(f"#choice-{name}", value)
    assert_shows(front, ranks_where(test))
    assert front.hash() == f"#{name}={value}"


@pytest.mark.parametrize(
    ("name", "values", "test"),
    [
        ("type", ["chat", "pretrained"], lambda rank: rank % 3 != 2),
        ("precision", ["float16"], lambda rank: rank % 2 == 1),
        ("license", ["mit", ""], lambda rank: rank % 3 != 0),
        ("country", ["France"], lambda rank: rank % 3 == 0),
    ],
)
def test_lists_filter_by_any_of_their_values(front: Front, name: str, values: list[str], test: Any) -> None:
    front.panel("filters")
    for value in values:
        front.page.check(f'#list-{name} input[value="{value}"]')
    assert_shows(front, ranks_where(test))
    assert front.page.locator("#n-filters").inner_text() == " (1)"
    counts = front.page.locator(f"#list-{name} label:has(:checked) small").all_inner_texts()
    assert sum(map(int, counts)) == len(ranks_where(test))


def test_size_and_organization_filter(front: Front) -> None:
    front.panel("filters")
    for field, value in (("size-from", "2"), ("size-to", "5"), ("organization", "ORG3")):
        front.page.fill(f"#{field}", value)
        front.page.locator(f"#{field}").blur()
    assert_shows(front, ranks_where(lambda rank: 20 <= rank <= 50 and rank % 7 == 3))
    front.page.click("#reset")
    assert_shows(front, ranks_where(lambda rank: True))
    assert front.hash() in ("", "#suite=big")


def test_nothing_found_says_what_to_do(front: Front) -> None:
    front.page.fill("#search", "no such model")
    assert front.status().startswith("0 of 130 models")
    assert front.message() == "No model matches. Change the search or the filters."


@pytest.mark.parametrize(
    ("key", "direction", "first", "then_first"),
    [
        ("average", "descending", 1, 130),
        ("score:beta", "descending", 1, 130),
        ("params_b", "descending", 129, 1),
        ("model_id", "ascending", 11, 12),
        ("license", "ascending", 3, 1),
        ("places", "ascending", 1, 130),
    ],
)
def test_sorting(front: Front, key: str, direction: str, first: int, then_first: int) -> None:
    """A number's largest value comes first, a text's first one; once more: the other way round."""
    firsts = []
    for _ in range(2):
        front.header(key).locator("button").click()
        firsts.append((front.header(key).get_attribute("aria-sort"), front.ranks()[0]))
    other = {"ascending": "descending", "descending": "ascending"}[direction]
    assert firsts == [(direction, first), (other, then_first)]
    assert front.page.locator("#board th[aria-sort]").count() == 1


def test_unknown_values_are_last_in_both_directions(front: Front) -> None:
    for sort in ("params_b", "-params_b"):
        front.open(f"sort={sort}")
        front.page.evaluate("document.getElementById('scroller').scrollTop = 1e6")
        front.page.wait_for_selector(LAST_ROW)
        assert front.ranks()[-1] == 130


def test_raw_scores_ranks_and_averages_of_what_is_shown(front: Front) -> None:
    front.panel("options")
    front.page.select_option("#scores", "raw")
    assert front.column("score:alpha")[0] == "47.50"
    front.page.fill("#search", "@license:apache")
    front.page.select_option("#ranks", "shown")
    assert front.models()[0] == "org3/model-3"
    assert front.ranks()[:3] == [1, 2, 3]
    assert set(front.column("places")) == {""}, "they are those of all models"
    assert not front.page.locator("#board .bar:visible").count()
    assert front.status().endswith("ranks among those shown · without places, which are among all models of today")
    front.page.select_option("#averages", "shown")
    front.panel("columns")
    front.page.uncheck('#column-list input[value="score:beta"]')
    assert front.column("average")[0] == "94.00"
    assert front.column("interval")[0] == "92.00–96.00"
    assert front.column("places")[0] == ""


def test_ties_with_the_best_in_view_are_counted_and_marked(front: Front) -> None:
    """As one of 129, a difference of up to 1.81 * sqrt(2² + 2²) = 5.1 is not separable: ten models of steps of 0.5."""
    assert front.status() == "130 models · ≈ not separable from the first: 10 models"
    marked = "rows => rows.filter(tr => tr.querySelector('.tie')).length"
    rows = front.page.locator("#board tbody tr:not(.spacer)")
    assert rows.evaluate_all(marked) == 10
    front.page.fill("#search", "@merge:yes")
    assert front.status().endswith("from the first: 1 model"), "as one of 25, up to 1.58 * 2.8 = 4.5"
    assert rows.nth(1).locator(".tie").get_attribute("aria-label") == "not separable from the first"


def test_pointer_on_a_score_shows_its_interval(front: Front) -> None:
    front.page.locator(f"{ROWS} td.c-score").first.hover()
    title = front.page.locator(f"{ROWS} td.c-score").first.get_attribute("title")
    assert title == "Alpha: 95.00, 93.00–97.00 at 95%, raw 0.4750"


def test_places_are_drawn_as_a_band(front: Front) -> None:
    bars = front.page.locator("#board .bar").evaluate_all(READ_BANDS)
    assert bars[0][0] == 0
    assert bars[19] == pytest.approx([16 / 130 * 100, 8 / 130 * 100], abs=0.01)
    assert front.column("places")[19] == "17–24"


def test_board_as_of_a_day_has_the_commits_known_then(front: Front) -> None:
    front.panel("options")
    front.page.fill("#date", "2025-02-01")
    front.page.locator("#date").blur()
    assert_shows(front, list(range(1, 11)))
    assert front.models()[0] == "org3/model-10"
    assert front.column("average")[:2] == ["50.00", "49.00"]
    assert front.column("interval")[0] == "48.00–52.00"
    assert front.column("places")[0] == ""
    assert front.status().endswith("as of 2025-02-01 · without places, which are among all models of today")
    front.page.fill("#date", "2025-06-01")
    front.page.locator("#date").blur()
    assert_shows(front, ranks_where(lambda rank: True))
    front.page.fill("#date", "2024-12-31")
    front.page.locator("#date").blur()
    assert_shows(front, list(range(1, 6)))
    assert set(front.column("average")) == {"30.00"}


def test_columns_are_chosen(front: Front) -> None:
    front.panel("columns")
    front.page.check('#column-list input[value="known_at"]')
    front.page.uncheck('#column-list input[value="license"]')
    assert front.column("known_at")[0] == "2025-06-01"
    assert front.header("license").count() == 0
    front.page.evaluate("document.getElementById('scroller').scrollTop = 900")
    front.page.check('#column-list input[value="precision"]')
    assert front.page.evaluate("document.getElementById('scroller').scrollTop") == 900
    assert "known_at" in front.hash()
    front.page.click("#reset-columns")
    assert front.header("license").count() == 1


def test_pinned_models_stay_on_top_whatever_the_filters(front: Front) -> None:
    front.page.get_by_role("button", name="Pin org5/model-5").click()
    front.page.fill("#search", "org1")
    pins = front.page.locator("#board .pins tr")
    assert pins.count() == 1
    assert pins.locator("th").get_attribute("title") == "org5/model-5"
    front.page.evaluate("document.getElementById('scroller').scrollTop = 300")
    assert pins.bounding_box()["y"] < 250  # type: ignore[index]
    n_shown = len(ranks_where(lambda rank: rank % 7 == 1))
    assert front.page.locator("#board").get_attribute("aria-rowcount") == str(1 + 1 + n_shown)
    pins.get_by_role("button").click()
    assert pins.count() == 0


def test_address_says_the_whole_view(front: Front, context: BrowserContext) -> None:
    """Whoever is sent the address sees the same."""
    front.panel("filters")
    front.page.check('#list-type input[value="chat"]')
    front.page.select_option("#choice-merges", "no")
    front.page.fill("#size-to", "9")
    front.panel("options")
    front.page.select_option("#scores", "raw")
    front.page.select_option("#ranks", "shown")
    front.page.uncheck("#shades")
    front.panel("columns")
    front.page.check('#column-list input[value="precision"]')
    front.page.get_by_role("button", name="Pin org6/model-6", exact=True).click()
    front.page.fill("#search", 'org6 @size:>1 -"model-9 & more"')
    front.header("params_b").locator("button").click()
    page = context.new_page()
    page.goto(front.page.url)
    page.wait_for_selector("html[data-ready]")
    read = (
        "[document.getElementById('status').textContent, document.getElementById('board').className]"
        ".concat([...document.querySelectorAll('#board tr')].map(row => [row.ariaRowIndex]"
        ".concat([...row.cells].map(cell => [cell.className, cell.textContent, cell.title]))))"
    )
    assert page.evaluate(read) == front.page.evaluate(read)
    assert page.locator("#choice-merges").input_value() == "no"
    assert page.url == front.page.url
    page.close()


def test_back_button_goes_to_the_view_before(front: Front) -> None:
    front.page.locator("#search").press_sequentially("org1")
    front.header("params_b").locator("button").click()
    front.page.go_back()
    assert front.header("rank").get_attribute("aria-sort") == "ascending"
    assert front.page.locator("#search").input_value() == "org1"
    front.page.go_back()
    assert front.page.locator("#search").input_value() == ""
    front.page.go_forward()
    assert front.page.locator("#search").input_value() == "org1"


def test_address_with_nonsense_shows_the_whole_board(front: Front) -> None:
    front.open("suite=none&sort=-nothing&columns=a,b&date=soon&from=x&merges=perhaps&license=&pin=%00&era=?")
    assert front.status().startswith("0 of 130 models") is False
    assert front.page.locator("#board thead th").all_inner_texts() == ["Model"]


def test_suites_and_eras_are_chosen_and_loaded_when_asked_for(front: Front) -> None:
    n_files = len([url for url in front.requests if "/rows-" in url])
    front.page.select_option("#suite", "small")
    front.page.wait_for_selector("html[data-ready=small]")
    assert front.models() == ["lab/small-1", "lab/small-2", "lab/small-3"]
    assert len([url for url in front.requests if "/rows-" in url]) == n_files + 1
    front.page.select_option("#era", "old")
    assert front.models() == ["lab/old"]
    assert front.page.locator("#about").inner_text() == "Small suite, era old · "
    front.page.go_back()
    assert front.models()[0] == "lab/small-1"


def test_all_shown_rows_are_saved_as_csv(front: Front) -> None:
    front.page.fill("#search", "-@type:chat")
    with front.page.expect_download() as download:
        front.page.click("#csv")
    assert download.value.suggested_filename == "big.csv"
    text = Path(download.value.path()).read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["rank"]) for row in rows] == ranks_where(lambda rank: rank % 3 != 0)
    assert rows[0] == {
        "rank": "1", "rank_low": "1", "rank_high": "5", "model_id": "org1/model-1",
        "average": "90.00", "average_low": "88.00", "average_high": "92.00",
        "alpha": "95.00", "beta": "85.00", "params_b": "0.1", "license": "mit",
    }  # fmt: skip
    assert SCRIPT in {row["model_id"] for row in rows}


def test_no_text_of_a_file_is_a_formula(front: Front) -> None:
    front.open("columns=base_model&q=org2")
    with front.page.expect_download() as download:
        front.page.click("#csv")
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_bytes().decode())))
    assert rows[:2] == [["model_id", "base_model"], ["org2/model-2", '\'=HYPERLINK("x")']]


def test_pinned_models_are_saved_first_and_once(front: Front) -> None:
    front.open("pin=org5%2Fmodel-5&pin=org1%2Fmodel-1&q=org1")
    with front.page.expect_download() as download:
        front.page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_bytes().decode())))
    assert [int(row["rank"]) for row in rows] == [1, 5, *ranks_where(lambda rank: rank % 7 == 1 and rank > 1)]


def test_table_and_address_are_copied(front: Front) -> None:
    front.page.fill("#search", '"org3/model-3"')
    front.page.click("#copy")
    front.page.wait_for_function("() => document.getElementById('message').textContent === 'The table is copied.'")
    lines = str(front.page.evaluate("navigator.clipboard.readText()")).splitlines()
    assert [line.split("\t")[3] for line in lines] == ["model_id", "org3/model-3", "org3/model-31", "org3/model-38"]
    front.page.click("#link")
    front.page.wait_for_function("() => document.getElementById('message').textContent === 'The address is copied.'")
    assert front.page.evaluate("navigator.clipboard.readText()") == front.page.url


def test_keyboard_walk(front: Front) -> None:
    """Slash searches; one row is in the order of tabs; arrows go through all rows, drawn or not; P pins."""
    keyboard = front.page.keyboard
    front.page.locator("#scroller").focus()
    keyboard.press("/")
    assert front.active() == "search"
    keyboard.press("Tab")
    assert front.active() == "open-filters"
    keyboard.press("Enter")
    assert front.page.locator("#open-filters").get_attribute("aria-expanded") == "true"
    front.page.locator("#organization").focus()
    keyboard.press("Escape")
    assert front.active() == "open-filters"
    assert not front.page.locator("#filters").is_visible()
    front.header("license").locator("button").focus()
    keyboard.press("Tab")
    keyboard.press("Tab")
    assert front.active() == "org1/model-1"
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    assert front.active() == "org3/model-3"
    keyboard.press("End")
    assert front.active() == "org4/model-130"
    keyboard.press("PageUp")
    assert front.page.evaluate("document.activeElement.getBoundingClientRect().top") > 100
    keyboard.press("Home")
    assert front.active() == "org1/model-1"
    keyboard.press("ArrowDown")
    keyboard.press("p")
    pins = front.page.locator("#board .pins tr")
    assert pins.count() == 1
    assert front.active() == "org2/model-2"
    keyboard.press("ArrowDown")
    assert front.active() == "org3/model-3"
    keyboard.press("Home")
    assert pins.locator("a").evaluate("link => link === document.activeElement")
    keyboard.press("p")
    assert pins.count() == 0
    assert front.active() == "scroller"
    front.page.locator("#board a[tabindex='0']").focus()
    keyboard.press("Tab")
    assert front.page.evaluate("document.getElementById('board').contains(document.activeElement)") is False


def test_focus_is_not_lost_when_its_row_leaves_sight(front: Front) -> None:
    front.page.get_by_role("link", name="org2/model-2", exact=True).focus()
    front.page.evaluate("document.getElementById('scroller').scrollTop = 2000")
    front.page.wait_for_selector("#board tr[aria-rowindex='80']")
    assert front.active() == "scroller"
    front.page.evaluate("document.getElementById('scroller').scrollTop = 1000")
    front.page.wait_for_selector("#board tr[aria-rowindex='40']")
    tabs = front.page.locator("#board tbody a[tabindex='0']")
    front.page.locator("#search").focus()
    front.page.evaluate("document.getElementById('scroller').scrollTop = 3000")
    front.page.wait_for_selector("#board tr[aria-rowindex='120']")
    assert tabs.count() == 1


def test_inline_scripts_do_not_run(browser: Browser, folder: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto((folder / "index.html").as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 2'}))")
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran ?? null") is None
    context.close()


def test_texts_from_repositories_are_data(front: Front) -> None:
    front.page.fill("#search", "evil")
    assert front.models() == [SCRIPT]
    assert front.page.locator("#board img").count() == 0
    front.page.fill("#search", "turned")
    assert front.models() == ["turned/abc\\u202edef\\x00ghi\\ud800"]


def test_dark_colors_follow_the_system_and_the_switch(front: Front) -> None:
    def back() -> str:
        return str(front.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = back()
    front.page.emulate_media(color_scheme="dark")
    dark = back()
    assert dark != light
    theme = front.page.locator("#theme")
    assert theme.get_attribute("aria-label") == "Colors: system. Change"
    theme.click()
    assert back() == light
    front.page.emulate_media(color_scheme="light")
    theme.click()
    assert back() == dark
    front.page.reload()
    assert back() == dark
    theme.click()
    assert back() == light
    front.page.wait_for_selector("html[data-ready]")


def test_narrow_screen_keeps_the_model_in_sight(front: Front) -> None:
    front.page.set_viewport_size(PHONE)
    front.page.wait_for_function("() => document.querySelector('#board th[data-key=places]') === null")
    assert front.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    front.page.evaluate("document.getElementById('scroller').scrollLeft = 300")
    box = front.page.locator(f"{ROWS} th").first.bounding_box()
    assert box and box["x"] == 0 and box["width"] < 220
    assert set(front.page.locator(ROWS).evaluate_all("rows => rows.map(row => row.offsetHeight)")) == {42}
    front.page.set_viewport_size(WIDE)
    front.page.wait_for_selector("#board th[data-key=places]")


@pytest.mark.parametrize("width", [320, 360, 390])
def test_on_a_phone_the_hint_of_the_search_is_whole_and_no_button_stands_alone(front: Front, width: int) -> None:
    front.page.set_viewport_size({"width": width, "height": 800})
    tops = front.page.locator("#controls .bar button:visible").evaluate_all(
        "buttons => buttons.map(button => button.offsetTop)"
    )
    assert min(tops.count(top) for top in tops) > 1
    is_whole = """input => {
        const style = getComputedStyle(input), context = document.createElement('canvas').getContext('2d');
        context.font = style.font;
        const room = input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        return context.measureText(input.placeholder).width <= room;
    }"""
    assert front.page.locator("#search").evaluate(is_whole)
    front.page.set_viewport_size(WIDE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280, 2560])
def test_nothing_is_cut_on_any_screen(front: Front, width: int, scheme: Any) -> None:
    """The page does not scroll sideways, the table does. Screenshots are kept for people to look at."""
    front.page.emulate_media(color_scheme=scheme)
    front.page.set_viewport_size({"width": width, "height": 800})
    front.open("pin=org5%2Fmodel-5&sort=-score:alpha&merges=no")
    front.page.wait_for_selector(f"#board th[data-key={'known_at' if width == 2560 else 'license'}]")
    for panel in ("filters", "columns", "options"):
        front.panel(panel)
        front.page.screenshot(path=SCREENSHOTS / f"front-{width}-{scheme}-{panel}.png")
        assert front.page.evaluate("document.documentElement.scrollWidth") <= width
    cut = (
        "buttons => buttons.filter(button => button.scrollWidth > button.clientWidth).map(button => button.textContent)"
    )
    assert front.page.locator("#board thead button").evaluate_all(cut) == []
    assert front.page.locator("#controls button:visible").evaluate_all(cut) == []
    front.page.emulate_media(color_scheme="light")
    front.page.set_viewport_size(WIDE)


def test_page_of_an_older_build_says_that_it_was_replaced(browser: Browser, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "page")
    for file in (copy / "data").iterdir():
        file.unlink()
    context = browser.new_context()
    page = context.new_page()
    page.goto((copy / "index.html").as_uri())
    page.wait_for_selector("#replaced:visible")
    assert page.locator("#replaced").inner_text().startswith("This page was replaced by a newer one. Reload it.")
    assert page.locator("#board tbody tr").count() == 100
    context.close()


def test_reader_who_has_scrolled_stays_there_when_all_rows_come(browser: Browser, folder: Path, tmp_path: Path) -> None:
    """The rows come from a host that is slow."""
    copy = shutil.copytree(folder, tmp_path / "page")
    hidden = {file: file.rename(tmp_path / file.name) for file in (copy / "data").iterdir()}
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto((copy / "index.html").as_uri())
    page.wait_for_selector("#replaced:visible")
    page.evaluate("document.getElementById('scroller').scrollTop = 700")
    for file, moved in hidden.items():
        moved.rename(file)
    page.evaluate("document.getElementById('search').dispatchEvent(new Event('input'))")
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("document.getElementById('scroller').scrollTop") == 700
    context.close()


@pytest.mark.parametrize(("n_benchmarks", "n_models"), [(1, 1), (50, 3)])
def test_suites_of_one_and_of_fifty_benchmarks(
    browser: Browser, tmp_path: Path, n_benchmarks: int, n_models: int
) -> None:
    """The last model has no score in the first benchmark, no size, license and organization."""
    names = [Benchmark(f"b{number}", f"Benchmark {number}") for number in range(n_benchmarks)]
    rows = [
        make_row(rank, f"m{rank}", 50.0 - rank, organization=None, license=None, params_b=None)
        | {key: [None if rank == n_models else value] + [value] * (n_benchmarks - 1)
           for key, value in (("raw", 0.5), ("normalized", 50.0), ("low", 49.0), ("high", 51.0))}
        for rank in range(1, n_models + 1)
    ]  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_page(make_page_data(SuiteData("odd", "Odd", tuple(names), ("now",), columns)), tmp_path, "Odd")
    context = browser.new_context(viewport=WIDE)
    odd = Front(context.new_page(), tmp_path)
    odd.open("average=shown&sort=-score:b0&date=2026-01-01")
    odd.open("sort=params_b")
    assert odd.models() == [f"m{rank}" for rank in range(1, n_models + 1)]
    assert odd.column("score:b0") == ["50.00"] * (n_models - 1) + [""]
    assert odd.page.locator("#board thead th").count() == 8 + n_benchmarks
    assert odd.errors == []
    context.close()


def test_empty_warehouse_is_a_page_that_says_so(browser: Browser, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    build(Lake().write(store.lake), store.warehouse, after(0))
    build_page(store, tmp_path / "page", Shown("Nothing"))
    context = browser.new_context()
    empty = Front(context.new_page(), tmp_path / "page")
    empty.page.goto(empty.address)
    empty.page.wait_for_timeout(100)
    assert empty.message() == "No models are ranked yet. What waits, has failed or has no rank is in the queue."
    assert not empty.page.locator("#controls").is_visible()
    empty.page.click("#message a")
    assert empty.page.locator(".empty").all_inner_texts() == [
        "No request is open.", "Nothing waits or runs.", "Nothing has failed.",
    ]  # fmt: skip
    empty.page.click("text=Pictures")
    assert empty.page.locator(".missing").count() == 7
    assert empty.errors == []
    context.close()


def show_suite(browser: Browser, folder: Path, rows: list[dict[str, Any]]) -> Front:
    """The page of a suite with these rows, in a window of its own."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_page(make_page_data(SuiteData("odd", "Odd", BENCHMARKS, ("now",), columns)), folder, "Odd")
    return Front(browser.new_page(viewport=WIDE), folder).open()


def test_texts_of_any_kind_and_length_are_shown_and_lead_to_their_pages(browser: Browser, tmp_path: Path) -> None:
    """A megabyte, HTML, turned and half characters, in each column of texts."""
    texts = [
        "y" * 2**20,
        "<img src=x onerror=alert(1)>",
        "\u202e\u2066turned\u200f",
        "\x00\ud800",
        "'\"`&amp;",
        "漢字 שלום",
    ]
    names = ("license", "model_type", "base_model", "architecture", "organization", "country", "precision", "settings")
    rows = [
        make_row(rank, f"odd/{text}", 50.0 - rank, **dict.fromkeys(names, text)) for rank, text in enumerate(texts, 1)
    ]
    odd = show_suite(browser, tmp_path, rows)
    shown = odd.models()
    assert shown[0] == "odd/" + "y" * 296 + "…"
    assert shown[1:] == ["odd/<img src=x onerror=alert(1)>", "odd/\\u202e\\u2066turned\\u200f", "odd/\\x00\\ud800",
                         "odd/'\"`&amp;", "odd/漢字 שלום"]  # fmt: skip
    links = odd.page.locator(f"{ROWS} th a").evaluate_all("links => links.map(link => link.href.split('/').pop())")
    assert links == [name_model_file(f"odd/{text}") for text in texts]
    for panel in ("filters", "columns", "options"):
        odd.panel(panel)
        assert odd.page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
    odd.open(f"columns={','.join(names)}&sort=-license")
    assert odd.column("license")[-1] == "'\"`&amp;"
    assert odd.page.locator("#board img").count() == 0
    assert odd.errors == []
    odd.page.close()


def test_twenty_thousand_models_are_searched_sorted_and_walked_through(browser: Browser, tmp_path: Path) -> None:
    n = 20_000
    many = show_suite(
        browser, tmp_path, [make_row(rank, f"org/m{rank}", 90.0 - rank / 250) for rank in range(1, n + 1)]
    )
    assert many.status().startswith("20,000 models")
    many.open("sort=-rank")
    assert many.models()[:2] == ["org/m20000", "org/m19999"]
    many.open("q=m1999")
    assert many.status().startswith("11 of 20,000 models")
    many.open()
    many.page.locator("#board a[tabindex='0']").focus()
    many.page.keyboard.press("End")
    assert many.active() == "org/m20000"
    assert many.page.locator(ROWS).count() < 60
    assert many.errors == []
    many.page.close()


@pytest.fixture(scope="module")
def other_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store, folder = share_store(tmp_path_factory), tmp_path_factory.mktemp("pages")
    build_page(store, folder / "page", Shown("Board", has_sql=True))
    build_pair(store, folder / "pair", "lab/strong", "lab/weak")
    return folder


def test_committed_bundle_is_built_from_the_sources(frontend: Path) -> None:
    """Else: make page-assets."""
    built = {path.name: path.read_bytes() for path in (frontend.parent / "assets").iterdir()}
    assert built.keys() == {"page.css", "page.js", "theme.js", "sql.js", "duckdb.js"}, "others are written by hand"
    assert [name for name in built if built[name] != (FOLDER / "assets" / name).read_bytes()] == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_axe_finds_no_violation(front: Front, frontend: Path, scheme: Any, width: int) -> None:
    front.page.emulate_media(color_scheme=scheme)
    front.page.set_viewport_size({"width": width, "height": 500})
    front.open("pin=org5%2Fmodel-5&type=chat")
    front.page.evaluate((frontend / "node_modules/axe-core/axe.min.js").read_text() + ";0")
    for panel, part in (("filters", "document"), ("columns", "'#controls'"), ("options", "'#controls'")):
        front.panel(panel)
        found = front.page.evaluate(f"axe.run({part}, {{resultTypes: ['violations'], preload: false}})")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found["violations"]] == []
    front.page.emulate_media(color_scheme="light")
    front.page.set_viewport_size(WIDE)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_pages_of_models_pairs_and_queue_are_clean_in_a_browser(
    browser: Browser, frontend: Path, other_pages: Path, scheme: Any, width: int
) -> None:
    """No violation, no error, no request to another host, and nothing wider than the screen, with all parts open."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, problems = context.new_page(), list[object]()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(error))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    for file in sorted({*other_pages.rglob("*.html")} - {other_pages / "page/index.html"}):
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
        page.evaluate((frontend / "node_modules/axe-core/axe.min.js").read_text() + ";0")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
        rules = [(rule["id"], [node["html"] for node in rule["nodes"]][:3]) for rule in found["violations"]]
        assert (file.name, rules, problems) == (file.name, [], [])
    context.close()
