"""Detects suspicious answers in a task's samples: NaN, empty, or always the same.

Reads the answers in the layouts of all versions of lm-eval. Independent of metrics and suites.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Of a long text that every document got, so much is kept.
_LONGEST = 200


@dataclass
class Answers:
    """The answers to a task's documents, added one by one.

    `n_not_finite`: documents with a log-likelihood that is NaN or infinite; it wins or loses whatever the model knows.
    `n_empty`: documents for which no text was generated. `only`: the answer that all of them got, None where they
    differ: the text, or the choice with the highest log-likelihood (1: the first).
    """

    n_documents: int = 0
    n_not_finite: int = 0
    n_empty: int = 0
    only: str | None = None
    first_not_finite: tuple[int, float] | None = None

    def add(self, doc_id: int, sample: dict[str, Any]) -> None:
        """Take the answers to one document; of a sample that is there once a filter, only once."""
        answers = [*_read_answers(sample)]
        numbers = [answer for answer in answers if isinstance(answer, float)]
        texts = [answer for answer in answers if isinstance(answer, str)]
        strange = next((number for number in numbers if not math.isfinite(number)), None)
        if strange is not None:
            self.n_not_finite += 1
            self.first_not_finite = self.first_not_finite or (doc_id, strange)
        self.n_empty += bool(texts) and not any(map(str.strip, texts))
        chosen = _shorten(texts[0]) if texts else _name_choice(numbers)
        self.only = chosen if self.n_documents == 0 or self.only == chosen else None
        self.n_documents += 1

    def explain_not_finite(self) -> str | None:
        """What is wrong with answers that are no numbers, in words; None where all are."""
        if self.first_not_finite is None:
            return None
        doc_id, value = self.first_not_finite
        return (
            f"{self.n_not_finite} of {self.n_documents} documents ({self.n_not_finite / self.n_documents:.1%}) have an"
            f" answer that is not a finite number; the first is document {doc_id} (got {value})."
        )


def _shorten(text: str) -> str:
    """The beginning of a text in one line, as Parquet can hold it."""
    return " ".join(text.split())[:_LONGEST].encode("utf-8", "replace").decode()


def _name_choice(numbers: list[float]) -> str | None:
    """The choice that wins, the first of equals as in lm-eval; of a single text its log-likelihood."""
    if len(numbers) == 1:
        return f"log-likelihood {numbers[0]}"
    return f"choice {1 + numbers.index(max(numbers))}" if numbers else None


def _read_answers(sample: dict[str, Any]) -> Iterator[float | str]:
    """Each answer to each request, before any filter: a log-likelihood or a text.

    Every request has a list of answers. One is a text, or [log-likelihood, whether it is what the model would write],
    or the log-likelihood of a whole document, whose request has one argument. Numbers are written as texts since 0.4.3.
    """
    requests = sample.get("resps")
    if not isinstance(requests, list):
        filtered = sample.get("filtered_resps")
        requests = [[response] for response in filtered] if isinstance(filtered, list) else []
    is_whole = _count_arguments(sample.get("arguments")) == 1
    for request in requests:
        for answer in request if isinstance(request, list) else ():
            if isinstance(answer, list):
                if len(answer) == 2 and str(answer[1]) in ("True", "False"):
                    yield _to_number(answer[0])
            elif isinstance(answer, str) and not (is_whole and _is_number(answer)):
                yield answer
            elif isinstance(answer, str | float):
                yield _to_number(answer)


def _count_arguments(arguments: object) -> int | None:
    """How many arguments the first request has; None where the sample does not say."""
    if isinstance(arguments, dict):
        arguments = [*arguments.values()]
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    return len(first) if isinstance(first, list | dict) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _to_number(value: object) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return math.nan
