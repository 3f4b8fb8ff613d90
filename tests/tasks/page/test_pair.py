"""The pages of a pair: documents on which two models differ, with texts only where these may be published."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from make_lake import Lake, after
from page_lake import EVIL, share_store
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.tasks.page import pair as module
from nightboard.tasks.page.pair import build_pair, read_pair
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import QueryError, connect


def make_two(n_documents: int = 4) -> Lake:
    """Two models that both answered so many documents."""
    lake = Lake()
    lake.suite()
    for model, score in {"lab/a": 1.0, "lab/b": 0.5}.items():
        lake.commit(model)
        lake.done(f"e {model}", model, scores=score)
        lake.samples(f"e {model}", n_documents)
    return lake


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return share_store(tmp_path_factory)


@pytest.fixture(scope="module")
def out(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "pair"
    assert build_pair(store, folder, "strong", "weak") == folder / "index.html"
    return folder


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_first_page_compares_and_leads_to_the_documents(out: Path) -> None:
    assert {path.name for path in out.glob("*.html")} == {
        "index.html", "small--bbh--1.html", "small--gpqa--1.html"
    }  # fmt: skip
    index = read(out / "index.html")
    assert "lab/strong@1111111" in index
    assert "lab/weak@3333333" in index
    assert index.index('href="small--bbh--1.html"') < index.index('href="small--gpqa--1.html"')
    assert "not shown: they may not be published" in index


def test_the_first_page_draws_the_differences_as_its_table_has_them(out: Path) -> None:
    index = read(out / "index.html")
    assert "Score minus that of lab/weak@3333333, Small" in index
    assert index.count("<title>lab/strong@1111111\n+50.00 (") == 2 * 3, "wide and narrow: average and two benchmarks"
    assert index.count('<th scope="row">BBH</th>') == 1
    assert "light-dark(" in read(out / "assets/pictures.css")


def test_a_pair_has_the_columns_and_the_sentences_of_the_command(tmp_path: Path) -> None:
    lake, store = make_two(1), Store(tmp_path / "store")
    build(lake.write(store.lake), store.warehouse, after(9))
    build_pair(store, tmp_path / "pair", "lab/a", "lab/b")
    index = html.unescape(read(tmp_path / "pair/index.html"))
    told = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["compare", "a", "b", "--store", str(tmp_path / "store")])
    _, titles, *rows = told.output.splitlines()
    shown = re.findall(r'<th scope="col">(.*?)</th>', index.partition("Documents on which they differ")[0])
    written = [title.lower().replace("\N{MINUS SIGN}", "-").replace("95% interval", "95%") for title in shown]
    assert written == re.split(r"  +", titles.lower())
    notes = rows[2:]
    assert notes[1].startswith("No 95% and p for arc, average: a task has one document")
    notes[1] = notes[1].replace("arc, average", "ARC, Average")
    assert re.findall(r'<p class="quiet">([^<]*)</p>', index) == notes


def test_documents_that_differ_have_question_target_and_both_answers(store: Store, out: Path) -> None:
    with connect(store.warehouse) as con:
        bbh, gpqa = read_pair(con, "lab/strong", "lab/weak").parts
    assert [document["doc_id"] for document in bbh.documents] == [1, 3], "those that both got right are not among them"
    assert (bbh.n_better, gpqa.n_better) == ((2, 0), (2, 0))
    page = read(out / "small--bbh--1.html")
    assert "task_bbh, document 1: A is better" in page
    assert "&lt;i&gt;Secret&lt;/i&gt; question 1?" in page
    assert "question 0?" not in page
    assert "(B) &lt;b&gt;wrong&lt;/b&gt; \\x00" in page
    assert '<span class="right">right</span>' in page
    assert '<span class="wrong">wrong</span>' in page


def test_a_text_of_a_megabyte_is_cut_with_a_mark(out: Path) -> None:
    page = read(out / "small--bbh--1.html")
    assert page.count("[... cut]") == 2, "both models' answers to document 3"
    assert len(page) < 30_000


def test_what_may_not_be_published_shows_numbers_only(store: Store, out: Path) -> None:
    with connect(store.warehouse) as con:
        _, gpqa = read_pair(con, "lab/strong", "lab/weak").parts
    texts = ("question", "choices", "target", "category", "answer_a", "answer_b")
    assert {document[name] for document in gpqa.documents for name in texts} == {None}
    page = read(out / "small--gpqa--1.html")
    assert "task_gpqa, document 1: A is better" in page
    assert "the numbers of the documents are here" in page
    for text in ("Secret", "secret", "wrong", "yyy"):
        assert text not in page


def test_many_documents_are_several_pages(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "A_PAGE", 3)
    build_pair(store, tmp_path / "pair", "lab/strong", EVIL)
    first, second = (read(tmp_path / f"pair/small--bbh--{number}.html") for number in (1, 2))
    assert [first.count("A is better</b>"), second.count("A is better</b>")] == [3, 1]
    assert '<a href="small--bbh--2.html">2</a>' in first
    assert '<a href="small--bbh--2.html" aria-current="page">2</a>' in second
    assert "<script>alert" not in first + read(tmp_path / "pair/index.html")


def test_two_that_never_differ_are_told_so(store: Store, tmp_path: Path) -> None:
    build_pair(store, tmp_path / "pair", "lab/weak", "lab/weak@" + "3" * 40)
    assert "the two have the same scores on every document" in read(tmp_path / "pair/index.html")


def test_an_unknown_model_writes_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no ranked model"):
        build_pair(store, tmp_path / "pair", "lab/strong", "nobody/nothing")
    assert not (tmp_path / "pair").exists()


def test_samples_without_their_documents_show_numbers_only(tmp_path: Path) -> None:
    lake, store = make_two(), Store(tmp_path / "store")
    rows = next(rows for (table, name), rows in lake.files.items() if table == "samples" and name == "e lab/b")
    rows[0]["value"] = 1 - rows[0]["value"]
    build(lake.write(store.lake), store.warehouse, after(9))
    build_pair(store, tmp_path / "pair", "lab/a", "lab/b")
    assert "not in the store" in read(tmp_path / "pair/index.html")
