"""What `nightboard validate` asks lm-eval about suites, and how it says what was not checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from nightboard.profiles.errors import Mistake
    from nightboard.profiles.loading.load import FoundSuite
    from nightboard.tasks.fetch.row_counts import RowCounts


def ask_harness(paths: Sequence[str], *, asks_all: bool) -> list[str]:
    """What the installed lm-eval has otherwise than the suites of these profiles say, one line a mistake.

    About suites of one's own, or all; a shipped one is as the lm-eval that it declares.
    """
    from nightboard.profiles.errors import sort_mistakes
    from nightboard.profiles.loading.load import find_suites

    suites = [found for found in find_suites(paths) if found.is_own or asks_all]
    return [str(mistake) for mistake in sort_mistakes(mistake for found in suites for mistake in _ask(found))]


def _ask(found: FoundSuite) -> list[Mistake]:
    from nightboard.flows.display.console import clean, count
    from nightboard.tasks.evaluation.check_suite import compare_suite

    name, counts = found.suite.suite, open_counts(found)
    typer.echo(f"Asking lm-eval about suite {name}, which takes some seconds ...", err=True)
    findings = compare_suite(found.suite, counts.count)
    unchecked = [each for each in findings if each.is_unchecked]
    if whole := [each.text for each in unchecked if not each.key]:
        typer.echo(clean(f"Suite {name} is not compared with lm-eval: {whole[0]}."), err=True)
    else:
        of_tasks = Counter(each.text for each in unchecked)
        for text, number in of_tasks.items():
            typer.echo(clean(f"Not checked for {count(number, 'task')} of suite {name}: {text}. A run does."), err=True)
    if counts.is_away:
        typer.echo(f"The Hub does not answer: {counts.hub.endpoint}.", err=True)
    return [found.document.mistake(each.key, each.text) for each in findings if not each.is_unchecked]


def open_counts(found: FoundSuite) -> RowCounts:
    """The board's store, where one is known, and the Hub, which is not waited for."""
    from nightboard.tasks.fetch.row_counts import RowCounts
    from nightboard.tasks.hub.client import open_hub
    from nightboard.tasks.hub.http_retry import RetryPolicy
    from nightboard.tasks.store.layout import Store

    policy = RetryPolicy(tries=1, connect_timeout_s=5, read_timeout_s=10, answer_timeout_s=15, longest_retry_after_s=0)
    board = found.board
    hub = open_hub(board.board.hub if board else None, policy=policy)
    return RowCounts(Store(board.store) if board else None, hub)
