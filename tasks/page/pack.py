"""Packs the rows of a suite into few bytes: texts as numbers of a list, numbers as whole ones, one list a column.

`frontend/src/data.ts` unpacks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from nightboard.tasks.page.columns import list_columns, list_spans, shorten
from nightboard.tasks.page.data import DECIMALS, OF_BENCHMARKS, SuiteData
from nightboard.tasks.page.render import name_model_file

# A commit is told from others by so many characters.
_REVISION_LENGTH = 7
# The front page tells rows apart by what it shows.
_LEFT_OUT = {"evaluation_id", "is_current_era", *OF_BENCHMARKS}


def pack_suite(suite: SuiteData) -> dict[str, Any]:
    """All that the script needs of a suite."""
    columns = {name: _pack(name, values) for name, values in suite.columns.items() if name not in _LEFT_OUT}
    return {
        "suite": suite.suite,
        "title": suite.title,
        "eras": suite.eras,
        "n": suite.n_rows,
        "columns": [asdict(column) for column in list_columns(suite)],
        "benchmarks": [benchmark.key for benchmark in suite.benchmarks],
        "spans": list_spans(suite),
        "values": columns,
        "scores": _pack_scores(suite),
        "files": _list_odd_files(suite.columns["model_id"]),
    }


def _pack(name: str, values: Sequence[Any]) -> dict[str, Any]:
    if name == "revision":
        values = [value and value[:_REVISION_LENGTH] for value in values]
    if any(isinstance(value, str) for value in values):
        return _pack_texts([value and shorten(value) for value in values])
    return _pack_numbers(values, DECIMALS.get(name, 0))


def _list_odd_files(models: Sequence[str]) -> dict[str, str]:
    """The pages of models whose names have odd signs, by the name that is shown; those of others follow from it."""
    files = {shorten(model): name_model_file(model) for model in models}
    return {model: file for model, file in files.items() if file != f"{model.replace('/', '--')}.html"}


def _pack_texts(values: Sequence[str | None]) -> dict[str, Any]:
    """The texts in the order of their first row, and the number of each row's text; none if each row has its own."""
    texts = list(dict.fromkeys(value for value in values if value is not None))
    if len(texts) == len(values):
        return {"texts": texts}
    numbers = {text: number for number, text in enumerate(texts)}
    return {"texts": texts, "of": [None if value is None else numbers[value] for value in values]}


def _pack_numbers(values: Iterable[float | None], decimals: int) -> dict[str, Any]:
    scale = 10**decimals
    return {"scale": scale, "numbers": [None if value is None else round(value * scale) for value in values]}


def _pack_scores(suite: SuiteData) -> list[dict[str, Any]]:
    """For each benchmark: raw and normalized scores, and how far from the latter its interval goes."""
    packed = []
    for position in range(len(suite.benchmarks)):
        raw, normalized, low, high = (
            [None if row is None else row[position] for row in suite.columns[name]]
            for name in ("raw", "normalized", "low", "high")
        )
        packed.append(
            {
                "raw": _pack_numbers(raw, OF_BENCHMARKS["raw"]),
                "normalized": _pack_numbers(normalized, OF_BENCHMARKS["normalized"]),
                "low": _pack_numbers(map(_subtract, normalized, low), OF_BENCHMARKS["low"]),
                "high": _pack_numbers(map(_subtract, high, normalized), OF_BENCHMARKS["high"]),
            }
        )
    return packed


def _subtract(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right
