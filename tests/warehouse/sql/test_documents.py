"""Documents: one row each with its texts, joined with what was answered, and marked where it may not be published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from make_lake import START, Lake, declare_task

from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect

Ask = Callable[..., list[tuple[Any, ...]]]
PAGE = Path(__file__).parents[3] / "docs" / "questions.md"


def document(task: str, doc_hash: str, **changes: Any) -> dict[str, Any]:
    return {
        "task": task, "doc_hash": doc_hash, "doc_set_hash": "set", "is_imported": False, "question": f"{doc_hash}?",
        "choices": ["(A) yes", "(B) no"], "target": "(A) yes",
    } | changes  # fmt: skip


def test_a_document_that_several_sets_have_is_one_row_as_a_run_read_it(lake: Lake, ask: Ask) -> None:
    for name, is_imported in (("0", True), ("2", False), ("1", False), ("9", True)):
        row = document("arc_easy", "d", doc_set_hash=name, is_imported=is_imported, question=f"question {name}")
        lake.add("documents", name, [row])
    lake.add("documents", "other", [document("arc_hard", "d", is_imported=True)])
    assert ask("select task, question, is_imported from documents order by task") == [
        ("arc_easy", "question 1", False), ("arc_hard", "d?", True),
    ]  # fmt: skip


def test_documents_may_be_published_where_a_suite_says_so_and_none_forbids_it(lake: Lake, ask: Ask) -> None:
    """Each task is declared by two suites, which say one thing each; None: an old row."""
    said = {
        (True, True): True, (False, False): False, (True, False): False, (False, True): False, (None, None): False,
        (None, True): True, (None, False): False,
    }  # fmt: skip
    for suite in (0, 1):
        tasks = [declare_task("arc", str(each), publish_documents=each[suite]) for each in said]
        lake.suite(tasks, suite=f"s{suite}", version=f"v{suite}")
    lake.add("documents", "d", [document(str(each), "d") for each in (*said, "of no suite")])
    assert dict(ask("select task, may_publish from documents")) == {
        **{str(each): expected for each, expected in said.items()}, "of no suite": False,
    }  # fmt: skip


def test_the_pages_question_shows_where_two_models_disagree(lake: Lake, tmp_path: Path) -> None:
    lake.suite()
    for model, letters in {"org/a": "AAB", "org/b": "ABA"}.items():
        lake.commit(model)
        lake.done(f"e {model}", model)
        lake.add("samples", f"e {model}", [
            {"evaluation_id": f"e {model}", "benchmark": "arc", "task": "arc_easy", "doc_id": number,
             "doc_hash": f"d{number}", "filter": "none", "metric": "acc", "value": float(letter == "A"), "weight": 1.0,
             "target": "0", "response": "[-1,-2]", "answer": {"A": "(A) yes", "B": "(B) no"}[letter]}
            for number, letter in enumerate(letters)
        ])  # fmt: skip
    lake.add("documents", "d", [document("arc_easy", f"d{number}") for number in range(3)])
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    (sql,) = [text for text in PAGE.read_text().split("```") if "paired_answers('org/a'" in text]
    with connect(tmp_path / "warehouse") as con:
        assert con.execute(sql.removeprefix("sql\n")).fetchall() == [
            ("arc", "arc_easy", "d1?", "(A) yes", "(A) yes", "(B) no"),
            ("arc", "arc_easy", "d2?", "(A) yes", "(B) no", "(A) yes"),
        ]


def test_a_query_on_scores_reads_no_texts(lake: Lake, tmp_path: Path) -> None:
    lake.suite()
    lake.done("e", "org/m")
    lake.samples("e")
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    with connect(tmp_path / "warehouse") as con:
        plan = con.execute("explain (format json) select avg(value) from samples").fetchall()[0][1]
    [read] = [node for node in walk(json.loads(plan)) if "PARQUET" in node["name"]]
    columns = read["extra_info"]["Projections"]
    assert "value" in columns and not {"target", "response", "answer"} & {*columns}


def walk(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for node in nodes for found in (node, *walk(node["children"]))]


def test_odd_texts_are_read_as_they_were_written(lake: Lake, ask: Ask) -> None:
    texts = ["x" * 2**20, "a\0b", "\u202e\u2028", "<script>", 'it\'s "quoted"']
    rows = [document("arc", text[:9], question=text, choices=[text], target=text, category=text) for text in texts]
    lake.add("documents", "d", rows)
    found = ask("select question, choices, target, category from documents")
    assert sorted(found) == sorted((text, [text], text, text) for text in texts)


def test_a_store_without_documents_has_an_empty_table(lake: Lake, ask: Ask) -> None:
    lake.suite()
    assert ask("select count(*) from documents") == [(0,)]
