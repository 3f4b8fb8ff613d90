"""The pages of a pair: how two models compare, and the documents on which they differ, asked and answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightboard.tasks.page.data import PageData
from nightboard.tasks.page.picture_page import embed, write_style
from nightboard.tasks.page.pictures.compared import Compared, draw
from nightboard.tasks.page.publish import publish
from nightboard.tasks.page.render import copy_assets, make_hub_link, name_model_file, write_html
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import (
    compare,
    complete_name,
    explain_comparison,
    list_benchmarks,
    list_page_table,
    list_suites,
    name_compared,
    read_build_name,
)

if TYPE_CHECKING:
    import duckdb

    from nightboard.warehouse.builder.publish import Report

Row = dict[str, Any]

# Documents on one page; each is folded.
A_PAGE = 200
# Longer texts are cut, with a mark.
MOST_CHARACTERS = 4000


@dataclass(frozen=True)
class Part:
    """The documents of a benchmark on which the models differ, and the files that have them."""

    suite: str
    benchmark: str
    suite_title: str
    title: str
    documents: Sequence[Row]

    @property
    def n_better(self) -> tuple[int, int]:
        """How many documents the first model answers better, and how many the second; others differ both ways."""
        signs = [_compare(document) for document in self.documents]
        return signs.count(1), signs.count(-1)

    @property
    def n_pages(self) -> int:
        return -(-len(self.documents) // A_PAGE)

    def name_file(self, number: int) -> str:
        """The file of a page, from 1."""
        return name_model_file(f"{self.suite}/{self.benchmark}/{number}")

    def list_page(self, number: int) -> Sequence[Row]:
        """The documents of a page, from 1."""
        return self.documents[(number - 1) * A_PAGE : number * A_PAGE]


@dataclass(frozen=True)
class Pair:
    """Two models as they were compared: their scores by suite, and the parts with documents."""

    page: PageData
    names: tuple[str, str]
    suites: Sequence[Row]
    parts: Sequence[Part]


def read_pair(con: duckdb.DuckDBPyConnection, model_a: str, model_b: str) -> Pair:
    """Compare two models, which may be named as `compare` takes them. Raises QueryError where nothing compares."""
    result = compare(con, model_a, model_b)
    compared = name_compared(con, result, model_a, model_b)
    titles = {suite: title for suite, title, *_ in list_suites(con).rows}
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    suites = [
        _describe_suite(con, suite, titles.get(suite, suite), compared[suite], list(group))
        for (suite, _), group in groupby(rows, key=lambda row: (row["suite"], row["era"]))
    ]
    whole_a, whole_b = complete_name(con, model_a), complete_name(con, model_b)
    # One more than is shown, so that what is cut is known.
    most = MOST_CHARACTERS + 1
    documents = list_page_table(con, "pair", model_a=whole_a, model_b=whole_b, most=most)
    order = [(row["suite"], row["benchmark"]) for row in rows]
    documents.sort(key=lambda row: order.index((row["suite"], row["benchmark"])))
    named = {(each["suite"], key): (each["title"], title) for each in suites for key, title in each["titles"].items()}
    parts = [
        Part(suite, benchmark, *named.get((suite, benchmark), (suite, benchmark)), list(group))
        for (suite, benchmark), group in groupby(documents, key=lambda row: (row["suite"], row["benchmark"]))
    ]
    return Pair(PageData(*read_build_name(con), ()), _name_both(compared, whole_a, whole_b), suites, parts)


def build_pair(store: Store, out: Path, model_a: str, model_b: str, report: Report = lambda *_: None) -> Path:
    """Write the pages of a pair into a folder, in place of the one that is there; returns the file to open.

    Raises QueryError where nothing compares, PageError where the folder cannot be written.
    """
    with connect(store.warehouse) as con:
        pair = read_pair(con, model_a, model_b)
    with publish(out) as folder:
        total = sum(part.n_pages for part in pair.parts)
        for number, _ in enumerate(write_pair(pair, folder), start=1):
            report("Documents", number, total)
    return out.absolute() / "index.html"


def write_pair(pair: Pair, folder: Path) -> Iterator[str]:
    """Write the files of a pair into an empty folder; yields the name of each page of documents."""
    copy_assets(folder)
    write_style(folder)
    name_a, name_b = pair.names
    values = {"title": f"{name_a} and {name_b}", "root": "", "page": pair.page, "pair": pair}
    write_html(folder / "index.html", "pair.html", values | {"part": None})
    for part in pair.parts:
        for number in range(1, part.n_pages + 1):
            documents = [_describe(row) for row in part.list_page(number)]
            page = values | {"part": part, "number": number, "documents": documents}
            write_html(folder / part.name_file(number), "pair.html", page)
            yield part.name_file(number)


def _describe_suite(
    con: duckdb.DuckDBPyConnection, suite: str, title: str, names: tuple[str, str], rows: Sequence[Row]
) -> Row:
    """How the two compare in a suite, as table and as picture, both of the first one against the second."""
    first, second = names
    titles = {key: title for key, title, _ in list_benchmarks(con, suite).rows} | {"average": "Average"}
    data = Compared(second, title, rows[0]["era"], titles, {first: [*rows]})
    picture = embed(draw, data, make_hub_link)
    return {
        "suite": suite, "title": title, "era": data.era, "names": names, "rows": rows, "titles": titles,
        "picture": picture, "notes": [*explain_comparison(rows, titles)],
    }  # fmt: skip


def _name_both(compared: dict[str, tuple[str, str]], model_a: str, model_b: str) -> tuple[str, str]:
    """The names with commits where all suites compare the same two, else without."""
    names = set(compared.values())
    return names.pop() if len(names) == 1 else (model_a, model_b)


def _compare(document: Row) -> int:
    """1 where the first model is better by every metric that differs, -1 where the second is, else 0."""
    pairs = zip(document["values_a"], document["values_b"], strict=True)
    signs = {(a > b) - (a < b) for a, b in pairs if a != b and a is not None and b is not None}
    return signs.pop() if len(signs) == 1 else 0


def _describe(document: Row) -> Row:
    texts = {name: shorten(document[name]) for name in ("question", "target", "answer_a", "answer_b", "category")}
    scores = list(zip(document["metrics"], document["values_a"], document["values_b"], strict=True))
    choices = [shorten(choice) for choice in document["choices"] or ()]
    return document | texts | {"choices": choices, "scores": scores, "better": _compare(document)}


def shorten(text: str | None) -> str | None:
    """A text that is not too long to show, with a mark where it is cut."""
    if text is None or len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]} [... cut]"
