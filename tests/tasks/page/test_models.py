"""The page of a model: its scores with intervals, what made them, what repeats them, its history and its failures."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from make_lake import Lake, after
from page_lake import EVIL, TURNED, share_store

from nightboard.tasks.page.build import Shown, build_page
from nightboard.tasks.page.data import read_page_data
from nightboard.tasks.page.models import _TABLES, Models, cut_log, describe_model, read_models
from nightboard.tasks.page.render import name_model_file
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import Filters, list_page_table


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return share_store(tmp_path_factory)


@pytest.fixture(scope="module")
def out(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "page"
    build_page(store, folder, Shown("The board"))
    return folder


def read_page(out: Path, model_id: str) -> str:
    return (out / "models" / name_model_file(model_id)).read_text(encoding="utf-8")


def describe(store: Store, model_id: str, filters: Filters | None = None) -> dict[str, Any]:
    with connect(store.warehouse) as con:
        models = read_models(con, filters or Filters())
    (model,) = [row for row in models.models if row["model_id"] == model_id]
    return describe_model(models, model, {"small": "Small"})


def test_every_model_has_a_page_with_a_path_back(out: Path) -> None:
    names = {"lab/strong", "lab/weak", EVIL, TURNED, "lab/waits", "lab/broken-1", "lab/broken-2"}
    assert {path.name for path in (out / "models").iterdir()} == set(map(name_model_file, names))
    for name in names:
        assert '<a href="../index.html">The board</a>' in read_page(out, name)


def test_scores_have_intervals_places_and_what_made_them(store: Store) -> None:
    (section,) = describe(store, "lab/weak")["sections"]
    assert section["title"] == "Small"
    first, older = section["entries"]
    assert (first["row"]["revision"], first["row"]["rank"], first["row"]["average"]) == ("3" * 40, 2, 50.0)
    assert (older["row"]["revision"], older["row"]["rank"]) == ("2" * 40, None)
    assert first["row"]["rank_low"] <= 2 <= first["row"]["rank_high"] <= first["row"]["n_ranked"] == 4
    assert first["row"]["average_low"] < 50 < first["row"]["average_high"]
    assert [(score["title"], score["normalized"]) for score in first["scores"]] == [("BBH", 50.0), ("GPQA", 50.0)]
    assert all(score["normalized_low"] < 50 < score["normalized_high"] for score in first["scores"])
    facts = dict(first["facts"])
    assert facts["Commit"] == ["3" * 40]
    assert facts["Datasets"] == [f"org/bbh@{'d' * 40}", f"org/gpqa@{'d' * 40}"]
    assert facts["Libraries"] == ["torch 2.8.0+cu128, transformers 4.57.1"]
    names = ("Precision", "Chat template", "Batch size", "lm-eval", "Node", "Device")
    assert [facts[name] for name in names] == [["bfloat16"], ["no"], ["8"], ["0.4.13"], ["gpu-17"], ["NVIDIA H100"]]
    assert (facts["Task versions"], facts["Shots"]) == (["1.0"], ["0"])
    assert first["unknown"] == []
    assert "pretrained=lab/weak,revision=" + "3" * 40 in first["commands"].lines
    assert "--tasks=group_bbh,group_gpqa" in first["commands"].lines


def test_the_history_has_each_commit_newest_first(store: Store) -> None:
    (section,) = describe(store, "lab/weak")["sections"]
    steps = [(step["row"]["revision"][0], step["scores"]["bbh"]["normalized"]) for step in section["history"]]
    assert steps == [("3", 50.0), ("2", 25.0)]
    for step in section["history"]:
        assert step["row"]["average_low"] < step["row"]["average"] < step["row"]["average_high"]
    (section,) = describe(store, "lab/strong")["sections"]
    assert section["history"] == [], "one commit has no history"


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A model that was evaluated twice, the second time for ten seconds, and a copy of it."""
    lake, store = Lake(), Store(tmp_path_factory.mktemp("repeated"))
    lake.suite()
    for number, model in enumerate(("lab/first", "copycat/copy")):
        lake.commit(model, "a" * 40, hours=number, fingerprint="same")
    lake.commit("lab/first", "b" * 40, hours=-1)
    lake.done("older" * 4, "lab/first", "b" * 40, hours=1)
    for hours, name in enumerate(("original", "repeated"), start=1):
        lake.done(name * 4, "lab/first", "a" * 40, hours=hours, fingerprint="same", replicate=hours - 1)
    lake.files["outcomes", "repeated" * 4][0].update(elapsed_s=10.0, gpu_hours=None)
    build(lake.write(store.lake), store.warehouse, after(9))
    return store


def test_a_repeated_evaluation_is_once_in_the_history_and_names_what_replaced_it(repeated: Store) -> None:
    (section,) = describe(repeated, "lab/first")["sections"]
    assert [step["row"]["evaluation_id"] for step in section["history"]] == ["repeated" * 4, "older" * 4]
    assert {entry["row"]["evaluation_id"][:8]: entry["replaced_by"] for entry in section["entries"]} == {
        "repeated": "", "original": "the newer evaluation repeated", "olderold": "the newer commit aaaaaaa",
    }  # fmt: skip


def test_small_costs_have_digits_and_a_copy_has_none_of_its_own(repeated: Store, tmp_path: Path) -> None:
    build_page(repeated, tmp_path / "page", Shown("Board"))
    first, copy = (read_page(tmp_path / "page", model) for model in ("lab/first", "copycat/copy"))
    assert "Cost: 0.0028 hours." in first
    assert "All evaluations of this model: 2.00 hours, 2.00 GPU-hours," in first
    assert re.search(r"Cost to evaluate <a .*lab/first.*: 0.0028 hours\.", copy)
    assert re.search(r"None of its own\. It has scores of <a .*lab/first.*, whose files are the same", copy)
    assert "replaced by the newer evaluation repeated" in copy
    assert "The average has no interval, because another evaluation counts for this commit." in copy


def test_what_did_not_work_is_told_with_its_reason(store: Store, out: Path) -> None:
    weak, broken = describe(store, "lab/weak"), describe(store, "lab/broken-1")
    assert [(row["revision"], row["reason"]) for row in weak["rejected"]] == [("6" * 40, "closed: no weights")]
    assert [(row["state"], row["attempt"]) for row in broken["attempts"]] == [
        ("out_of_memory", 2),
        ("out_of_memory", 1),
    ]
    assert [(row["state"], row["reason"]) for row in broken["unranked"]] == [("failed", "no memory for <lab/broken-1>")]
    page = read_page(out, "lab/broken-1")
    assert "No complete evaluation of this model yet." in page
    assert "no memory for &lt;lab/broken-1&gt;" in page
    assert "\\x1b[31mRuntimeError" in page
    assert len(page) < 20_000, "a line of the log without end is cut"


def test_models_with_the_same_weights_are_named(store: Store, out: Path) -> None:
    assert [row["other_id"] for row in describe(store, "lab/strong")["copies"]] == [EVIL]
    page = read_page(out, "lab/strong")
    assert f'<a href="{name_model_file(EVIL)}"><bdi>{html.escape(EVIL)}</bdi></a>' in page


def test_names_are_texts_and_unknown_facts_are_left_out(store: Store, out: Path) -> None:
    page = read_page(out, EVIL)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not {"License", "Size"} & {name for name, _ in describe(store, EVIL)["facts"]}
    assert "rtl/abc\\u202edef" in read_page(out, TURNED)
    assert "\u202e" not in read_page(out, TURNED)


def test_pages_allow_no_inline_script_or_style(out: Path) -> None:
    for path in out.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "Content-Security-Policy" in text
        assert "unsafe" not in text
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick" not in text


def test_a_board_shows_its_models_alone(store: Store, tmp_path: Path) -> None:
    filters = Filters(models=["lab/weak", "lab/broken-2"], sources=[])
    build_page(store, tmp_path / "page", Shown("Mine", filters, ["small"], "mine"))
    pages = {path.name for path in (tmp_path / "page/models").iterdir()}
    assert pages == {"lab--weak.html", "lab--broken-2.html"}
    index = (tmp_path / "page/index.html").read_text()
    assert "lab--weak.html" in index
    assert "lab--strong.html" not in index
    queue = (tmp_path / "page/queue.html").read_text()
    assert "lab--broken-2.html" in queue
    assert not [name for name in ("lab--waits.html", "lab--broken-1.html", "org:lab-0") if name in queue]


def test_a_board_without_an_import_does_not_show_its_rows(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path)
    lake.suite()
    lake.commit("org/model")
    lake.done("own", "org/model")
    lake.board_row("imported", "org/model", 0.4, precision="float16")
    build(lake.write(store.lake), store.warehouse, after(9))

    def list_shown(filters: Filters) -> list[str]:
        sections = describe(store, "org/model", filters)["sections"]
        return sorted(entry["row"]["evaluation_id"] for section in sections for entry in section["entries"])

    assert list_shown(Filters()) == ["imported", "own"]
    assert list_shown(Filters(models=["org/model"], sources=[])) == ["own"]
    with connect(store.warehouse) as con:
        (source,) = {row["source"] for row in list_page_table(con, "scored") if row["evaluation_id"] == "imported"}
    assert list_shown(Filters(models=[], sources=[source])) == ["imported"]


def test_a_suite_that_a_board_has_not_is_not_shown(store: Store, tmp_path: Path) -> None:
    build_page(store, tmp_path / "page", Shown("Mine", suites=["another"]))
    assert "No complete evaluation of this model yet." in read_page(tmp_path / "page", "lab/strong")


def test_imported_rows_say_where_they_come_from_and_what_is_not_known(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path)
    lake.suite()
    lake.board_row("b1", "org/model", 0.5)
    build(lake.write(store.lake), store.warehouse, after(9))
    (entry,) = describe(store, "org/model")["sections"][0]["entries"]
    assert dict(entry["facts"])["Source"][0].startswith("import:")
    assert {"Batch size", "lm-eval", "Datasets", "Libraries", "Node", "Device"} <= set(entry["unknown"])
    assert "The version of lm-eval is not known: the import does not tell it." in entry["commands"].notes


def test_a_model_without_an_owner_has_no_organization_and_small_sizes_are_in_millions(tmp_path: Path) -> None:
    lake, store = Lake(), Store(tmp_path)
    lake.suite()
    lake.commit("gpt2", params_b=0.01234)
    lake.done("e", "gpt2")
    build(lake.write(store.lake), store.warehouse, after(9))
    facts = dict(describe(store, "gpt2")["facts"])
    assert "Organization" not in facts
    assert facts["Size"] == "12.3 M parameters"
    with connect(store.warehouse) as con:
        (suite,) = read_page_data(con).suites
    assert suite.columns["organization"] == [None]
    assert suite.columns["is_approximate"] == [True], "it has no samples"
    assert suite.columns["average_low"][0] < suite.columns["average"][0] < suite.columns["average_high"][0]


def test_queries_do_not_grow_with_the_models(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "nightboard.tasks.page.models.list_page_table", lambda con, table, *_: asked.append(table) or []
    )
    with connect(store.warehouse) as con:
        assert read_models(con) == Models([], {table: {} for table in _TABLES})
    assert len(asked) == len(set(asked)) == 8


def test_a_log_ends_with_its_last_lines() -> None:
    assert cut_log(None) == cut_log([]) == ""
    assert cut_log([str(number) for number in range(30)]).split("\n")[0] == "10"
    assert cut_log(["x" * 1000]) == "x" * 300 + " ..."
