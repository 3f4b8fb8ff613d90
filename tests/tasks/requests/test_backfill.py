"""A backfill: which targets a selection becomes, asked once or twice, and which past commits it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import NOW, make_suite
from suite_nights import SUITE

from nightboard.tasks.requests.backfill import (
    Backfill,
    BackfillOrder,
    NothingSelectedError,
    find_past,
    make_backfill,
    require_benchmarks,
)
from nightboard.tasks.requests.selection import parse_selection
from nightboard.tasks.requests.units import Unit
from nightboard.tasks.requests.values import State
from nightboard.tasks.store.records import Evaluation, RequestState, ResolvedSuite

RESOLVED = ResolvedSuite(suite=SUITE, version="v1")
ORDER = BackfillOrder("model:lab/*")


def make_unit(model: str = "lab/a", benchmark: str = "short", state: State = "missing", revision: str = "1") -> Unit:
    return Unit(
        model_id=model, organization="lab", revision=revision * 40, ref="main", committed_at=NOW, discovered_at=NOW,
        nth_newest=1, params_b=1.0, suite=SUITE.suite, benchmark=benchmark, precision="bfloat16", chat_template=False,
        state=state,
    )  # fmt: skip


def make_evaluation(replicate: int) -> Evaluation:
    return Evaluation(
        evaluation_id=f"e{replicate}", suite=SUITE.suite, suite_version="v1", model_id="lab/a", revision="1" * 40,
        fingerprint="f", precision="bfloat16", chat_template=False, fewshot_as_multiturn=False,
        harness_version="0.4.13", replicate=replicate,
    )  # fmt: skip


def order_it(
    order: BackfillOrder, *units: Unit, evaluations: tuple[Evaluation, ...] = (), book: tuple[Backfill, ...] = ()
) -> Backfill:
    entries = {each.entry.request.request_id: each.entry for each in book}
    return make_backfill(order, units, [RESOLVED], evaluations, entries, "board", "ada", NOW)


def targets(found: Backfill) -> list[tuple[str, tuple[str, ...], str, int]]:
    return [(each.model_id, each.benchmarks, each.mode, each.replicate) for each in found.entry.targets]


def test_what_is_scored_is_left_and_the_rest_is_asked_for_in_its_mode() -> None:
    found = order_it(
        ORDER,
        make_unit("lab/new", "short"),
        make_unit("lab/new", "long"),
        make_unit("lab/old", "short", "stale"),
        make_unit("lab/old", "long", "done"),
        make_unit("lab/broken", "short", "failed"),
        make_unit("lab/both", "short", "failed"),
        make_unit("lab/both", "long", "stale"),
    )
    assert targets(found) == [
        ("lab/new", (), "missing", 0),
        ("lab/old", ("short",), "stale", 0),
        ("lab/broken", ("short",), "failed", 0),
        ("lab/both", (), "stale", 0),
    ]
    assert found.n_scored == 1
    assert found.entry.state == "accepted"


def test_a_replicate_takes_the_next_number_of_the_model_and_suite() -> None:
    order = replace(ORDER, is_replicate=True)
    units = make_unit(state="done"), make_unit("lab/b", state="missing")
    assert targets(order_it(order, *units)) == [
        ("lab/a", ("short",), "replicate", 1),
        ("lab/b", ("short",), "missing", 0),
    ]
    known = make_evaluation(0), make_evaluation(2)
    assert targets(order_it(order, *units, evaluations=known))[0][3] == 3


def test_a_commit_in_two_settings_is_two_targets_and_each_counts_its_replicates() -> None:
    submitted = replace(make_unit(state="done"), precision="float32", chat_template=True)
    order = replace(ORDER, is_replicate=True)
    found = order_it(order, make_unit(state="done"), submitted, evaluations=(make_evaluation(1),))
    assert [(each.precision, each.chat_template, each.replicate) for each in found.entry.targets] == [
        ("bfloat16", "never", 2),
        ("float32", "always", 1),
    ]


def test_only_the_benchmarks_of_the_option_are_asked_for() -> None:
    found = order_it(replace(ORDER, benchmarks=("short",)), make_unit(benchmark="long"), make_unit())
    assert targets(found) == [("lab/a", ("short",), "missing", 0)]


def test_an_unknown_benchmark_is_an_error_that_names_the_near_ones() -> None:
    with pytest.raises(NothingSelectedError, match=r"no suite of the board has it \(got bhb\). Did you mean bbh\?"):
        require_benchmarks(replace(ORDER, benchmarks=("bhb",)), [make_suite()])


def test_asked_twice_it_is_one_request_until_that_is_over() -> None:
    first = order_it(ORDER, make_unit(), make_unit("lab/b"))
    again = order_it(ORDER, make_unit("lab/b"), book=(first,))
    assert again.is_known
    assert again.entry == first.entry, "with the targets that were selected first"
    over: RequestState
    for over in ("done", "failed", "withdrawn", "rejected"):
        ended = replace(first.entry, event=first.entry.event.model_copy(update={"state": over}))
        later = order_it(ORDER, make_unit(), book=(replace(first, entry=ended),))
        assert (later.is_known, later.entry.request.request_id != first.entry.request.request_id) == (False, True)
    assert (
        order_it(replace(ORDER, is_replicate=True), make_unit()).entry.request.request_id
        != first.entry.request.request_id
    )


@pytest.mark.parametrize(
    ("expression", "models", "newest"),
    [
        ("model:lab/*", [], 0),
        ("model:lab/*,commits:newest", [], 0),
        ("model:lab/a,commits:all", ["lab/a"], None),
        ("model:lab/a,commits:newest-3 model:lab/b", ["lab/a", "lab/b"], 3),
        ("revision:1a2b3c,model:lab/b", ["lab/b"], None),
        ("state:stale,since:2026-01-01", ["lab/a", "lab/b"], None),
        ("commits:newest-3,model:other/*", [], 3),
    ],
)
def test_past_commits_are_asked_for_where_a_term_means_them(
    expression: str, models: list[str], newest: int | None
) -> None:
    units = [make_unit("lab/a"), make_unit("lab/b")]
    assert find_past(parse_selection(expression), units) == (models, newest)
