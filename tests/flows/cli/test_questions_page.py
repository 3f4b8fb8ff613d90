"""docs/questions.md: every query runs, and the answers that it shows are those of today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from make_lake import START

from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.formats import to_bytes
from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.board import import_board
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.result import Result
from nightboard.warehouse.schema.analyses import QUESTION_TABLES
from nightboard.warehouse.schema.macros import MACROS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "questions.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)\n```\n(?:\n```text\n(.*?)\n```)?", PAGE, flags=re.DOTALL)
BOARD = ROOT.parent / "shared" / "data" / "open_llm_leaderboard_contents_2025-02_sample.csv"
# What others are made of.
PARTS = {
    "ranks_as_of", "ranked_revisions_as_of", "revision_scores_as_of", "comparable_evaluations", "paired_answers",
    "paired_effects",
}  # fmt: skip


def answer_all(store: Store) -> list[str]:
    """What each query of the page prints; nothing for no rows."""
    build(store.lake, store.warehouse, START)
    answers = []
    with connect(store.warehouse) as con:
        for sql, _ in QUERIES:
            cursor = con.execute(sql)
            result = Result([column[0] for column in cursor.description or []], cursor.fetchall())
            lines = to_bytes(result, Format.table).decode().rstrip().splitlines() if result.rows else []
            answers.append("\n".join(line.rstrip() for line in lines))
    return answers


def test_every_query_of_the_page_runs_where_nothing_was_evaluated_yet(tmp_path: Path) -> None:
    assert len(QUERIES) == PAGE.count("```sql") > 10
    assert answer_all(Store(tmp_path)) == [""] * len(QUERIES)


@pytest.mark.skipif(not BOARD.exists(), reason="the board that the page's answers are from is not here")
def test_the_page_shows_what_its_queries_give(tmp_path: Path) -> None:
    import_board(Store(tmp_path), BOARD, load_suite("leaderboard-v2"), "math-parser-fix", "board", START)
    assert answer_all(Store(tmp_path)) == [answer for _, answer in QUERIES]


def test_the_page_has_every_table_and_macro_that_answers_a_question() -> None:
    answering = {table.name for table in QUESTION_TABLES} | (MACROS.keys() - PARTS)
    assert {name for name in answering if not re.search(rf"\b{name}\b", PAGE)} == set()
