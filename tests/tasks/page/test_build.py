"""The page as a whole: the same build gives the same bytes; empty, small and wide boards; a full disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from make_lake import Lake, after, declare_task
from page_lake import share_store
from ruamel.yaml import YAML

from nightboard.profiles.loading.load import load_board
from nightboard.tasks.page.build import Shown, build_page, show_board
from nightboard.tasks.page.publish import PageError
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.builder.publish import NoBuildError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return share_store(tmp_path_factory)


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_build_gives_the_same_bytes_and_no_broken_links(store: Store, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    page = build_page(store, tmp_path / "one", Shown("T", has_sql=True), lambda *done: told.append(done))
    build_page(store, tmp_path / "two", Shown("T", has_sql=True))
    files = read_files(tmp_path / "one")
    assert files == read_files(tmp_path / "two")
    assert (page.index, page.n_files, page.n_models) == (tmp_path / "one/index.html", len(files) - 1, 7)
    assert told[-1] == ("Pages of models", 7, 7)
    for name in (name for name in files if name.endswith(".html")):
        folder = (tmp_path / "one" / name).parent
        for link in re.findall(r'(?:href|src)="([^"]+)"', files[name].decode()):
            assert link.startswith(("https://huggingface.co/", "data:")) or (folder / link).exists(), (name, link)


def test_only_a_page_that_asks_for_it_has_sql_and_what_it_needs(store: Store, tmp_path: Path) -> None:
    build_page(store, tmp_path / "page", Shown("T"))
    plain = read_files(tmp_path / "page")
    build_page(store, tmp_path / "page", Shown("T", has_sql=True))
    asked = read_files(tmp_path / "page")
    tables = [name for name in asked if name.startswith("data/tables-")]
    assert asked.keys() - plain.keys() == {"sql.html", "assets/sql.js", "assets/sql.css", "assets/duckdb.js", *tables}
    html = {name for name in asked if name.endswith(".html")}
    assert {name for name in html if b"sql.html" in asked[name]} == html - {"pictures.html"}
    assert not [name for name in plain if b"sql.html" in plain[name]]
    assert [name for name in asked if b"'wasm-unsafe-eval'; worker-src blob:" in asked[name]] == ["sql.html"]
    assert (tmp_path / "page/sql.html").read_text().count("<summary>") == 9


def test_an_empty_warehouse_gives_a_page_that_is_a_static_space(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    build(Lake().write(store.lake), store.warehouse, after(0))
    page = build_page(store, tmp_path / "page", Shown('Ours: "best"', has_sql=True))
    assert page.n_models == 0
    _, card, _ = (tmp_path / "page/README.md").read_text().split("---\n")
    assert YAML(typ="safe").load(card) == {"title": 'Ours: "best"', "sdk": "static", "app_file": "index.html"}
    assert "Nothing has failed." in (tmp_path / "page/queue.html").read_text()


@pytest.mark.parametrize("n_benchmarks", [1, 50])
def test_a_suite_may_have_one_benchmark_or_fifty(tmp_path: Path, n_benchmarks: int) -> None:
    lake, store = Lake(), Store(tmp_path / "store")
    tasks = [declare_task(f"b{number}", f"t{number}", benchmark_position=number) for number in range(n_benchmarks)]
    lake.suite(tasks)
    lake.done("e", "one/model", tasks=tasks)
    build(lake.write(store.lake), store.warehouse, after(9))
    build_page(store, tmp_path / "page", Shown("T"))
    assert (tmp_path / "page/models/one--model.html").read_text().count("<td>50.00</td>") == n_benchmarks + 1


def test_a_store_without_a_build_says_what_to_do_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoBuildError):
        build_page(Store(tmp_path / "store"), tmp_path / "page", Shown("T"))
    assert not (tmp_path / "page").exists()


def test_a_disk_that_fills_up_leaves_the_old_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_page(store, tmp_path / "page", Shown("Old"))
    before, write = read_files(tmp_path / "page"), Path.write_text

    def fill(path: Path, text: str, **options: str) -> int:
        if path.name == "lab--weak.html":
            with open("/dev/full", "w") as full:
                return full.write(text)
        return write(path, text, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(PageError, match=r"No space left on device\). A page that is there stays\. Make room"):
        build_page(store, tmp_path / "page", Shown("New"))
    assert read_files(tmp_path / "page") == before
    assert not [path for path in tmp_path.iterdir() if ".new-" in path.name]


BOARD = "board: mine\ntitle: Mine\nwatch: quickstart\nsuites: [small]\ncluster: local\nstore: store\n"


def write_board(folder: Path, more: str = "") -> Path:
    (folder / "small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nlimit: 1\n")
    (folder / "mine.yaml").write_text(BOARD + more)
    return folder / "mine.yaml"


def test_a_board_shows_its_models_with_a_score_or_without(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path / "store")
    lake.suite()
    lake.planned("e", "HuggingFaceTB/SmolLM2-135M")
    lake.attempt("e", "out_of_memory")
    lake.commit("HuggingFaceTB/SmolLM2-135M-Instruct", state="rejected", reason="no weights", fingerprint=None)
    lake.planned("other", "lab/unwatched")
    build(lake.write(store.lake), store.warehouse, after(9))
    build_page(store, tmp_path / "page", show_board(load_board(write_board(tmp_path)), store))
    pages = sorted(path.stem for path in (tmp_path / "page/models").iterdir())
    assert pages == ["HuggingFaceTB--SmolLM2-135M", "HuggingFaceTB--SmolLM2-135M-Instruct"]
    queue = (tmp_path / "page/queue.html").read_text()
    assert "out_of_memory" in queue
    assert re.search(r'SmolLM2-135M-Instruct.html">.*</a>.*<td class="text">no weights</td>', queue)


def test_a_board_tells_title_suites_and_which_pages_there_are(store: Store, tmp_path: Path) -> None:
    shown = show_board(load_board(write_board(tmp_path)), store)
    assert (shown.title, shown.suites, shown.board, shown.has_queue) == ("Mine", ["small"], "mine", True)
    assert not shown.has_sql
    assert (shown.filters.models, shown.filters.sources) == ([], []), "none of these models is watched"
    more = "page: {out: www, title: Our models, is_queue_shown: false, is_sql_shown: true}\n"
    bundle = load_board(write_board(tmp_path, more))
    shown = show_board(bundle, store)
    assert (bundle.page, shown.title) == (tmp_path / "www", "Our models")
    assert (shown.has_queue, shown.has_sql) == (False, True)
    assert show_board(bundle, store, "Given").title == "Given"
