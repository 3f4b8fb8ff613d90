"""Pictures: well-formed SVG with known points at known places, texts that stay texts, and a sentence without data."""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pytest
from make_lake import START, Lake, after, declare_task

from nightboard.tasks.page.build import Shown, build_page
from nightboard.tasks.page.pictures.asked import Ask, Look, NothingToDrawError
from nightboard.tasks.page.pictures.axes import Frame, Labels, Scale, make_scale
from nightboard.tasks.page.pictures.catalog import PICTURES
from nightboard.tasks.page.pictures.drawing import PALETTE, Drawing, fit, make_style, measure
from nightboard.tasks.page.pictures.make import PictureError, make_png, make_svg
from nightboard.tasks.page.pictures.scatter import Mark, draw_panel, find_front, thin
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import QueryError, connect
from nightboard.warehouse.reader.questions import Filters

SVG = "{http://www.w3.org/2000/svg}"
TASKS = [
    declare_task(name, name, benchmark_position=place, n_samples=20) for place, name in enumerate(("arc", "truth"))
]
# Right-to-left marks, halves of characters, HTML and much of it.
ODD = f"lab/<img src=x onerror=alert(1)>&\"'\u202e\x00\x1b\ufffe{'y' * 200}"
SHOWN = ("size", "organizations", "countries", "shifts", "external", "nights", "costs")


def answer(lake: Lake, evaluation_id: str, score: float) -> None:
    """The first documents of each task are answered correctly."""
    lake.add("samples", evaluation_id, (
        {"evaluation_id": evaluation_id, "benchmark": task["benchmark"], "task": task["task"], "doc_id": place,
         "doc_hash": f"{task['task']}{place}", "filter": "none", "metric": "acc",
         "value": float(place < 20 * score), "weight": 1.0}
        for task in TASKS for place in range(20)
    ))  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of 1, 10 and 100 billion parameters with averages 20, 40 and 60, one of unknown size, and an odd one."""
    lake, folder = Lake(), tmp_path_factory.mktemp("pictures")
    for suite in ("leaderboard-v1", "leaderboard-v2"):
        lake.suite(TASKS, suite=suite, version=suite)
        lake.era("now", suite=suite, version=suite)
    owners = {"small": "FR", "middle": "DE", "large": "FR", "lab": None}
    lake.add("organizations", "o", (
        {"organization": owner, "country": country, "declared_at": START} for owner, country in owners.items()
    ))  # fmt: skip
    models = {
        "small/s": (1.0, 0.2),
        "middle/m": (10.0, 0.4),
        "large/l": (100.0, 0.6),
        "lab/none": (None, 0.7),
        ODD: (5.0, 0.1),
    }
    for number, (model, (params_b, score)) in enumerate(models.items()):
        lake.commit(model, hours=24 * number, params_b=params_b)
        name = f"e{number}"
        settings: dict[str, Any] = {"suite": "leaderboard-v2", "suite_version": "leaderboard-v2"}
        lake.done(
            name, model, scores=score, hours=24 * number + 2, tasks=TASKS, energy_kwh=10.0**number,
            planned_at=after(24 * number), **settings,
        )  # fmt: skip
        answer(lake, name, score)
    lake.files["commits", "odd"] = lake.files.pop(next(key for key in lake.files if ODD.replace("/", "--") in key[1]))
    # The order of v1 is the other way round.
    for number, model in enumerate(("small/s", "middle/m", "large/l")):
        lake.done(
            f"old{number}", model, scores=0.9 - number / 10, tasks=TASKS, hours=1,
            suite="leaderboard-v1", suite_version="leaderboard-v1",
        )  # fmt: skip
    lake.commit("small/s", "r2", hours=240)
    lake.done("again", "small/s", "r2", scores=0.25, hours=242, tasks=TASKS, planned_at=after(240), **settings)
    answer(lake, "again", 0.25)
    lake.planned("waits", "small/s", "r1", precision="float32", planned_at=after(24), **settings)
    lake.planned("broken", "small/s", "r1", precision="float16", planned_at=after(24), **settings)
    lake.attempt("broken", "failed", ended_at=after(49))
    lake.add("requests", "r", [{"request_id": "r", "asked_at": after(25), "board": "theirs"}])
    lake.add("rankings", "arena", (
        {"ranking": "arena", "model_name": model, "rank": place, "imported_at": START}
        for place, model in enumerate(("middle/m", "large/l", "small/s"), start=1)
    ))  # fmt: skip
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


@pytest.fixture
def con(store: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(store / "warehouse") as connection:
        yield connection


NAMES = {"history": ("small/s",), "compare": ("small/s", "middle/m", "large/l", "lab/none")}


def draw(con: duckdb.DuckDBPyConnection, name: str, width: int = 960, ask: Ask | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(make_svg(con, name, ask or Ask(NAMES.get(name, ())), width))


def list_titled(svg: ElementTree.Element, start: str = "") -> dict[str, ElementTree.Element]:
    """Elements by the first lines of their titles."""
    found = {}
    for element in svg.iter():
        title = element.find(f"{SVG}title")
        if title is not None and (title.text or "").startswith(start):
            found[(title.text or "").partition("\n")[0]] = element
    return found


def place(element: ElementTree.Element) -> tuple[float, float]:
    if "points" in element.attrib:
        corners = [tuple(map(float, point.split(","))) for point in element.attrib["points"].split()]
        xs, ys = zip(*corners, strict=True)
        return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return float(element.attrib["cx"]), float(element.attrib["cy"])


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("width", [300, 960, 2560])
def test_a_picture_is_xml_without_scripts_and_all_of_it_is_inside(
    con: duckdb.DuckDBPyConnection, name: str, width: int
) -> None:
    text = make_svg(con, name, Ask(NAMES.get(name, ())), width)
    svg = ElementTree.fromstring(text)
    tags = {element.tag.removeprefix(SVG) for element in svg.iter()}
    assert tags <= {"svg", "style", "rect", "circle", "polygon", "path", "text", "title", "a"}
    attributes = {attribute for element in svg.iter() for attribute in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or name == "style"}
    assert all(element.attrib["href"].startswith("https://huggingface.co/") for element in svg.iter(f"{SVG}a"))
    left, top, right, bottom = map(float, svg.attrib["viewBox"].split())
    for element in svg.iter():
        if element.tag in (f"{SVG}circle", f"{SVG}polygon"):
            x, y = place(element)
            assert left <= x <= right, element.attrib
            assert top <= y <= bottom, element.attrib
    assert make_svg(con, name, Ask(NAMES.get(name, ())), width) == text


def test_size_is_on_a_scale_of_powers_and_the_front_is_marked(con: duckdb.DuckDBPyConnection) -> None:
    marks = {name: place(mark) for name, mark in list_titled(draw(con, "size")).items() if "/" in name}
    (x1, y1), (x2, y2), (x3, y3) = (marks[name] for name in ("small/s", "middle/m", "large/l"))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    # Averages 25, 40 and 60, upwards.
    assert (y1 - y2) / (y2 - y3) == pytest.approx(15 / 20, abs=0.01)
    assert "lab/none" not in marks
    colors = {name: mark.attrib["class"] for name, mark in list_titled(draw(con, "size")).items() if "/" in name}
    assert {name for name, color in colors.items() if color == "p-s2"} == {"small/s", "middle/m", "large/l"}
    texts = [element.text for element in draw(con, "size").iter(f"{SVG}text")]
    assert "other models; 1 of unknown size left out" in texts
    assert {"s", "m", "l"} <= {*texts}, "the models of the front are named"


def test_the_front_is_that_of_the_macro(con: duckdb.DuckDBPyConnection) -> None:
    front = {row[0] for row in con.execute("select model_id from size_front('leaderboard-v2')").fetchall()}
    marks = list_titled(draw(con, "size"))
    assert {name for name, mark in marks.items() if mark.attrib["class"] == "p-s2"} == front


def test_the_pictures_of_a_board_show_its_models_alone(con: duckdb.DuckDBPyConnection) -> None:
    mine = Filters(models=["small/s", "large/l"], sources=[])
    ask = Ask(filters=mine, suites=("leaderboard-v2", "leaderboard-v1"), board="mine")
    for name in SHOWN:
        svg = draw(con, name, ask=ask)
        titles = [title.text or "" for title in svg.iter(f"{SVG}title")]
        others = {"middle/m", "lab/none", "DE", "middle", "lab"}
        assert not others & {re.split(r"[\n:]", title)[0] for title in titles}, name
        assert not others & {text.text for text in svg.iter(f"{SVG}text")}, name
    assert "large/l\nv1: place 2, average 70.00\nv2: place 1, average 60.00" in [
        title.text for title in draw(con, "shifts", ask=ask).iter(f"{SVG}title")
    ]
    waiting = [title.text for title in draw(con, "nights", ask=ask).iter(f"{SVG}title")]
    assert "2026-01-02: 2 evaluations and 0 requests waiting" in waiting, "the request is another board's"
    with pytest.raises(NothingToDrawError, match="no model is ranked in both"):
        draw(con, "shifts", ask=Ask(filters=mine, suites=("leaderboard-v2",)))


def test_costs_show_the_cheapest_good_ones(con: duckdb.DuckDBPyConnection) -> None:
    svg = draw(con, "costs")
    titles = [title.text or "" for title in svg.iter(f"{SVG}title")]
    assert any(re.search(r"^middle/m\n.*\n2.7 kg CO2$", title) for title in titles), titles
    assert any(re.search(r"^middle/m\n.*\n1 GPU-hours$", title) for title in titles)


def test_records_grow_and_the_shares_are_counted(con: duckdb.DuckDBPyConnection) -> None:
    svg = draw(con, "countries")
    titles = [title.text for title in svg.iter(f"{SVG}title")]
    assert titles.count("small/s\nFR, 2026-01-01: average 20.00") == 1
    assert titles.count("large/l\nFR, 2026-01-03: average 60.00") == 1
    assert titles.count("middle/m\nDE, 2026-01-02: average 40.00") == 1
    assert {"FR: 2 of 5", "DE: 1 of 5", "all others: 2 of 5"} <= {*titles}
    assert "lab/none\nlab, 2026-01-04: average 70.00" in [
        t.text for t in draw(con, "organizations").iter(f"{SVG}title")
    ]


def test_v1_against_v2_shows_who_fell(con: duckdb.DuckDBPyConnection) -> None:
    marks = list_titled(draw(con, "shifts"))
    assert marks["small/s"].attrib["class"] == "p-s2"
    assert marks["large/l"].attrib["class"] == "p-s1"
    assert marks["middle/m"].attrib["class"] == "p-others"
    (x1, y1), (x2, y2), (x3, y3) = (place(marks[name]) for name in ("small/s", "middle/m", "large/l"))
    # Places 1, 2, 3 of v1 from the right, and 3, 2, 1 of v2 from the top.
    assert x1 > x2 > x3
    assert y1 > y2 > y3
    assert x1 - x2 == pytest.approx(x2 - x3, abs=0.2)


def test_another_ranking_is_chosen_by_name(con: duckdb.DuckDBPyConnection) -> None:
    marks = list_titled(draw(con, "external"))
    assert {name: marks[name].attrib["class"] for name in NAMES["compare"][:3]} == {
        "small/s": "p-others", "middle/m": "p-s2", "large/l": "p-s1",
    }  # fmt: skip
    texts = [element.text or "" for element in draw(con, "external").iter(f"{SVG}text")]
    assert "3 models in common; Spearman's rho 0.50" in texts
    assert draw(con, "external", ask=Ask(("arena",))) is not None
    with pytest.raises(NothingToDrawError, match=r"called other\. Known: arena\."):
        draw(con, "external", ask=Ask(("other",)))


def test_a_models_commits_have_intervals(con: duckdb.DuckDBPyConnection) -> None:
    svg = draw(con, "history")
    titles = [title.text or "" for title in svg.iter(f"{SVG}title")]
    found = [title for title in titles if "Average: " in title]
    assert [re.sub(r"\(.*\)", "()", title) for title in found] == [
        "r1\n2026-01-01 00:00 UTC\nAverage: 20.00 ()", "r2\n2026-01-11 00:00 UTC\nAverage: 25.00 ()",
    ]  # fmt: skip
    assert len([title for title in titles if "ARC: " in title or "TRUTH: " in title]) == 4
    assert draw(con, "history", ask=Ask(("s",), suite="leaderboard-v1")) is not None
    with pytest.raises(NothingToDrawError, match="lab/none has no complete commit in suite leaderboard-v1"):
        draw(con, "history", ask=Ask(("none",), suite="leaderboard-v1"))


def test_models_are_compared_with_the_first(con: duckdb.DuckDBPyConnection) -> None:
    svg = draw(con, "compare")
    titles = [title.text or "" for title in svg.iter(f"{SVG}title")]
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert any((text or "").startswith("Score minus that of small/s") for text in texts)
    assert "points; right of 0: better than small/s" in texts
    # 3 others, 2 benchmarks and the average.
    assert len(titles) == 9
    assert any(title.startswith("large/l\n+35.00 (") and "60.00 against 25.00" in title for title in titles)
    by_x = {title.partition("\n")[0]: place(mark)[0] for title, mark in list_titled(svg).items()}
    assert by_x["middle/m"] < by_x["large/l"] < by_x["lab/none"]
    hollow = [mark for mark in svg.iter() if mark.attrib.get("fill") == "none" and mark.find(f"{SVG}title") is not None]
    assert hollow
    assert all("middle/m" in (mark.findtext(f"{SVG}title") or "") for mark in hollow), "only 15 points may be chance"
    with pytest.raises(NothingToDrawError, match="small/s is compared with itself"):
        draw(con, "compare", ask=Ask(("small/s", "s")))


def test_nights_count_what_was_done_failed_and_waits(con: duckdb.DuckDBPyConnection) -> None:
    titles = [title.text for title in draw(con, "nights").iter(f"{SVG}title")]
    assert "2026-01-01: 2 done" not in titles
    waiting = [title for title in titles if title and "waiting" in title]
    assert waiting[0] == "2026-01-01: 0 evaluations and 0 requests waiting"
    assert waiting[1] == "2026-01-02: 2 evaluations and 1 requests waiting"
    assert waiting[2] == "2026-01-03: 1 evaluations and 1 requests waiting", "what failed for good waits no more"
    assert "2026-01-03: 1 done, 1 attempts failed" in titles


def test_texts_of_models_are_cut_and_never_markup(con: duckdb.DuckDBPyConnection) -> None:
    text = make_svg(con, "size", Ask(), 960)
    assert "<img" not in text
    assert not {"\u202e", "\x00", "\x1b", "\ufffe"} & {*text}
    title = next(name for name in list_titled(ElementTree.fromstring(text)) if name.startswith("lab/<img"))
    assert "\\u202e\\x00\\x1b\ufffd" in title
    assert max(len(element.text or "") for element in ElementTree.fromstring(text).iter(f"{SVG}title")) < 200


def test_without_data_a_picture_says_what_is_missing(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite(TASKS, suite="leaderboard-v2", version="v2")
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        for name in SHOWN:
            with pytest.raises(NothingToDrawError) as caught:
                make_svg(con, name, Ask(), 960)
            assert re.fullmatch(r"[a-z][^\n]*\.", str(caught.value))


def test_one_model_is_drawn(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.era("now")
    lake.commit("lab/one")
    lake.done("e", "lab/one", scores=1.0, energy_kwh=0.0)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        for name, names in {"size": (), "organizations": (), "nights": (), "costs": (), "history": ("one",)}.items():
            for width in (300, 1920):
                assert list_titled(draw(con, name, width, Ask(names))), name


def test_of_identical_models_the_evaluated_one_is_named_and_one_day_is_no_month(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.era("now")
    for hours, model in enumerate(("original/strong", "copycat/new")):
        lake.commit(model, hours=hours, fingerprint="same")
    lake.done("e", "original/strong", hours=3, scores=0.9, fingerprint="same")
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        sizes, records = draw(con, "size"), draw(con, "organizations")
    texts = [text.text for text in records.iter(f"{SVG}text")]
    assert "strong" in texts and "new" not in texts
    assert "original" in texts and "copycat" not in texts
    assert "Jan 1 00:00" in texts
    titles = [title.text or "" for title in sizes.iter(f"{SVG}title")]
    assert [title.partition("\n")[0] for title in titles] == ["copycat/new", "original/strong"], "drawn above the copy"
    named = [text.text for text in sizes.iter(f"{SVG}text") if text.text in ("new", "strong")]
    assert named[0] == "strong"


def test_the_page_embeds_each_picture_or_says_what_is_missing(store: Path, tmp_path: Path) -> None:
    build_page(Store(store), tmp_path / "page", Shown("Board"))
    build_page(Store(store), tmp_path / "again", Shown("Board"))
    assert '<a href="pictures.html">Pictures</a>' in (tmp_path / "page" / "index.html").read_text()
    page = (tmp_path / "page" / "pictures.html").read_text()
    assert page == (tmp_path / "again" / "pictures.html").read_text()
    assert page.count("<svg ") == 2 * len(SHOWN)
    assert "<title>Pictures - Board</title>" in page
    assert '<a href="index.html">Board</a> <a href="queue.html">Queue</a>' in page
    assert "<style" not in page, "the page's policy allows style sheets as files only"
    assert 'href="models/middle--m.html"' in page
    files = {path.stem for path in (tmp_path / "page" / "pictures").iterdir()}
    assert files == {*SHOWN}
    assert 'href="../models/middle--m.html"' in (tmp_path / "page" / "pictures" / "size.svg").read_text()
    style = (tmp_path / "page" / "assets" / "pictures.css").read_text()
    assert all(f"light-dark({light}, {dark})" in style for light, dark in PALETTE.values())


def test_the_page_of_a_model_has_the_picture_of_its_commits(
    con: duckdb.DuckDBPyConnection, store: Path, tmp_path: Path
) -> None:
    build_page(Store(store), tmp_path / "page", Shown("Board"))
    folder = tmp_path / "page" / "models"
    page = (folder / "small--s.html").read_text()
    (embedded,) = re.findall(r'<div class="for-wide">(<svg .*?</svg>)\s*</div>', page, re.DOTALL)
    assert ElementTree.canonicalize(embedded) == ElementTree.canonicalize(
        make_svg(con, "history", Ask(NAMES["history"], suite="leaderboard-v2"), 960).replace(
            f"<style>\n{make_style('both')}</style>", ""
        )
    )
    assert '<div class="for-narrow"><svg ' in page
    assert '<link rel="stylesheet" href="../assets/pictures.css">' in page
    other = (folder / "middle--m.html").read_text()
    assert "for-wide" not in other, "it has one commit"
    assert "pictures.css" not in other


def test_a_page_without_a_queue_has_no_picture_of_it(store: Path, tmp_path: Path) -> None:
    build_page(Store(store), tmp_path / "page", Shown("Board", has_queue=False))
    page = (tmp_path / "page" / "pictures.html").read_text()
    assert re.findall(r'<figure id="(\w+)">', page) == [name for name in SHOWN if name != "nights"]
    assert not (tmp_path / "page" / "pictures" / "nights.svg").exists()


def test_the_page_of_an_empty_warehouse_has_a_sentence_in_each_place(tmp_path: Path) -> None:
    build(Lake().write(tmp_path / "lake"), tmp_path / "warehouse", START)
    build_page(Store(tmp_path), tmp_path / "page", Shown("Board"))
    page = (tmp_path / "page" / "pictures.html").read_text()
    assert "<svg" not in page
    with duckdb.connect(str((tmp_path / "warehouse" / "current.duckdb").resolve())) as con:
        con.execute("drop table requests")
    with pytest.raises(QueryError, match="rebuild"):
        build_page(Store(tmp_path), tmp_path / "page", Shown("Board"))
    assert (tmp_path / "page" / "pictures.html").read_text() == page, "a build that lacks a table is no empty one"
    assert re.findall(r'<p class="missing">(.*)</p>', page)[0].startswith("Nothing is ranked yet. ")
    assert page.count('class="missing"') == len(SHOWN)


def test_a_png_has_the_width_that_was_asked_for(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    resvg_py = pytest.importorskip("resvg_py")
    png = make_png(con, "size", Ask(), 1200)
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1200
    without_fonts = functools.partial(resvg_py.svg_to_bytes, skip_system_fonts=True)
    monkeypatch.setattr(resvg_py, "svg_to_bytes", without_fonts)
    with pytest.raises(PictureError, match="a PNG needs a font"):
        make_png(con, "size", Ask(), 1200)
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(PictureError, match=f"Run `{sys.executable} -m pip install resvg-py`"):
        make_png(con, "size", Ask(), 1200)


# ------------------------------------------------------------------------------------------------------ parts


def test_many_marks_are_thinned_and_the_first_stay() -> None:
    frame = Frame(Scale(0, 100, 0, 500), Scale(0, 100, 300, 0))
    marks = [Mark(x / 2, y / 2, f"{x} {y}", "") for x, y in itertools.product(range(200), range(100))]
    found = thin(frame, marks, 1000)
    assert 300 < len(found) <= 1000
    assert sum(more + 1 for _, more in found) == len(marks)
    assert found[0][0] == marks[0]


def test_without_a_front_the_models_are_drawn() -> None:
    drawing = Drawing(400, 300, "")
    draw_panel(drawing, Look(400, str), (40, 40, 380, 250), [Mark(1, 50, "lab/a", "lab/a")], ("x", "y"))
    assert [*list_titled(ElementTree.fromstring(drawing.finish()))] == ["lab/a"]


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_dates_that_cannot_be_are_placed_and_have_ticks(year: int) -> None:
    times = [datetime(year, 6, 1, tzinfo=UTC).timestamp(), START.timestamp()]
    ticks = make_scale(times, 0, 100, "time").list_ticks(3)
    assert 1 <= len(ticks) <= 3


def test_the_front_is_what_nothing_beats() -> None:
    assert find_front([(1, 1), (1, 2), (2, 2), (3, 1), (4, 5), (4, 4)]) == {(1, 2), (4, 5)}


YEARS = ["2025", "2026", "2027", "2028"]
TICKS: dict[str, tuple[Callable[[], Scale], int, list[str]]] = {
    "numbers": (lambda: Scale(0, 47, 0, 1), 5, ["0", "10", "20", "30", "40"]),
    "small numbers": (lambda: Scale(0.11, 0.14, 0, 1), 4, ["0.11", "0.12", "0.13", "0.14"]),
    "powers": (lambda: Scale(0.007, 80, 0, 1, "log"), 6, ["0.01", "0.1", "1", "10"]),
    "few powers": (lambda: Scale(0.8, 9, 0, 1, "log"), 8, ["1", "2", "5"]),
    "no power": (lambda: Scale(2.1, 2.9, 0, 1, "log"), 4, ["2.2", "2.4", "2.6", "2.8"]),
    "thousands": (lambda: Scale(0, 2500, 0, 1), 3, ["0", "1,000", "2,000"]),
    "days": (
        lambda: Scale(after(0).timestamp(), after(72).timestamp(), 0, 1, "time"),
        4,
        ["Jan 1", "Jan 2", "Jan 3", "Jan 4"],
    ),
    "minutes": (
        lambda: Scale(START.timestamp(), after(0.2).timestamp(), 0, 1, "time"), 3, ["Jan 1 00:00", "00:05", "00:10"],
    ),
    "a night": (
        lambda: Scale(after(22).timestamp(), after(26).timestamp(), 0, 1, "time"), 5,
        ["Jan 1 22:00", "23:00", "Jan 2 00:00", "01:00", "02:00"],
    ),
    "scores": (lambda: Scale(3, 86, 0, 1), 4, ["20", "40", "60", "80"]),
    "never one alone": (lambda: Scale(15, 85, 0, 1), 3, ["20", "40", "60", "80"]),
    "years": (lambda: Scale(after(-9000).timestamp(), after(20000).timestamp(), 0, 1, "time"), 4, YEARS),
}  # fmt: skip


@pytest.mark.parametrize("case", TICKS)
def test_ticks_are_round_and_inside(case: str) -> None:
    make, most, labels = TICKS[case]
    ticks = make().list_ticks(most)
    assert [label for _, label in ticks] == labels
    assert all(make().low - 1e-9 <= value <= make().high + 1e-9 for value, _ in ticks)


@pytest.mark.parametrize("values", [[5], [0, 0], [1e-9, 1e9], [-3, 3]])
@pytest.mark.parametrize("kind", ["number", "time", "log"])
def test_a_scale_of_any_values_has_room(values: list[float], kind: Any) -> None:
    if kind == "log" and min(values) <= 0:
        return
    scale = make_scale(values, 10, 110, kind)
    assert all(10 < scale.place(value) < 110 for value in values)


def test_labels_cover_neither_marks_nor_each_other() -> None:
    labels = Labels(Drawing(300, 100, ""), (0, 0, 300, 100))
    assert [labels.add((150, 50), "a name of a model") for _ in range(20)].count(True) < 9
    for one, other in itertools.combinations(labels.taken, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


def test_a_text_is_cut_to_its_width() -> None:
    assert fit("short", 100) == "short"
    cut = fit("W" * 100 + "漢字", 100)
    assert cut.endswith("…")
    assert measure(cut) <= 100


def test_each_color_has_a_rule_for_every_theme() -> None:
    for themes in ("light", "both", "page"):
        assert all(f".p-{name} {{ color:" in make_style(themes) for name in PALETTE)  # type: ignore[arg-type]
    assert "light-dark" not in make_style("both"), "other programs than browsers read the files, too"
    assert Look(300, str).is_narrow
