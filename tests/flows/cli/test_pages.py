"""`nightboard page`: what it writes, for a store, a board and a pair, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_lake import share_store
from typer.testing import CliRunner, Result

from nightboard.flows.cli.main import app, describe_error
from nightboard.tasks.store.layout import Store

BOARD = "board: mine\ntitle: Our board\nwatch: quickstart\nsuites: [small]\ncluster: local\nstore: {store}\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return share_store(tmp_path_factory)


def run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["page", *map(str, arguments)])


def write_board(folder: Path, store: Store, more: str = "") -> Path:
    (folder / "small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nlimit: 1\n")
    (folder / "mine.yaml").write_text(BOARD.format(store=store.root) + more)
    return folder / "mine.yaml"


def test_a_store_becomes_a_page_and_the_file_to_open_is_told(store: Store, tmp_path: Path) -> None:
    made = run("--store", store.root, "--out", tmp_path / "page", "--title", "Ours")
    assert made.exit_code == 0, made.output
    assert made.output.startswith("Page of 7 models, ")
    assert made.output.endswith(f" MB: open {tmp_path}/page/index.html\n")
    assert "<h1>Ours</h1>" in (tmp_path / "page/index.html").read_text()
    assert (tmp_path / "page/queue.html").exists()
    again = run("--store", store.root, "--out", tmp_path / "page", "--no-queue", "--quiet")
    assert (again.exit_code, again.output) == (0, "")
    assert not (tmp_path / "page/queue.html").exists()
    assert not (tmp_path / "page/sql.html").exists()
    assert run("--store", store.root, "--out", tmp_path / "page", "--sql").exit_code == 0
    assert (tmp_path / "page/sql.html").exists()


def test_a_board_names_folder_and_title(store: Store, tmp_path: Path) -> None:
    board = write_board(tmp_path, store, "page: {out: www}\n")
    made = run("--board", board)
    assert made.exit_code == 0, made.output
    assert "<h1>Our board</h1>" in (tmp_path / "www/index.html").read_text()
    assert made.output.startswith("Page of 0 models"), "none of the store's models is watched"


def test_a_pair_is_named_as_in_compare(store: Store, tmp_path: Path) -> None:
    made = run("--store", store.root, "--out", tmp_path / "pair", "--pair", "strong", "weak")
    assert made.exit_code == 0, made.output
    assert made.output == f"Page of strong and weak: open {tmp_path}/pair/index.html\n"
    assert (tmp_path / "pair/small--bbh--1.html").exists()


def test_without_a_folder_it_says_where_to_name_one(store: Store, tmp_path: Path) -> None:
    for arguments in (["--store", store.root], ["--board", write_board(tmp_path, store)]):
        failed = run(*arguments)
        assert failed.exit_code == 2
        assert "name the folder of the page" in " ".join(failed.output.split())


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("{store}/page", "is inside the store, which only nightboard writes to. Choose another folder."),
        ("{folder}/thesis", "holds files that are no page of nightboard's. Name another folder with --out."),
        (
            "{folder}/thesis/file/page",
            "the page cannot be written (File exists). A page that is there stays. Check the path",
        ),
    ],
)
def test_a_wrong_folder_is_one_sentence(store: Store, tmp_path: Path, out: str, said: str) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/file").touch()
    failed = run("--store", store.root, "--out", out.format(store=store.root, folder=tmp_path))
    assert failed.exit_code == 1
    assert isinstance(failed.exception, Exception)
    assert said in describe_error(failed.exception)


def test_a_folder_that_is_no_store_is_told(tmp_path: Path) -> None:
    failed = run("--store", tmp_path / "none", "--out", tmp_path / "page")
    assert failed.exit_code == 1
    assert "there is no store here. Check the path, or run `nightboard nightly` first." in describe_error(
        failed.exception
    )  # type: ignore[arg-type]
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("{out: store/www}", "must not be inside the store"),
        ("{out: .}", "nor the store in it"),
        ("{out: ~nobody-here/www}", "is not the path of a folder"),
        ("{}", "page.out"),
        ("{out: www, isqueue: true}", "page.isqueue"),
    ],
)
def test_a_mistake_in_the_board_has_its_line(tmp_path: Path, page: str, said: str) -> None:
    board = write_board(tmp_path, Store(tmp_path / "store"), f"page: {page}\n")
    failed = run("--board", board)
    assert failed.exit_code == 1
    text = describe_error(failed.exception)  # type: ignore[arg-type]
    assert said in text
    assert "mine.yaml:7" in text
