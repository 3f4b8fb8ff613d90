"""Freeing: what gave up or was cancelled is tried again as if for the first time, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import NOW, make_commit
from fake_cluster import FakeExecutor, finish, make_evaluation, make_job, make_launcher

from nightboard.profiles.models.cluster import Cluster, Tier
from nightboard.profiles.models.endings import Ending
from nightboard.tasks.planning.history import Done, History, ScoreKey, Tries, read_history
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.runs.retry_stopped import FreeError, Stopped, choose_stopped, find_meant, find_stopped, free
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.connection import QueryError

CLUSTER = Cluster(
    cluster="c",
    executor="slurm",
    tiers=(Tier(name="one", up_to_params_b=10, batch_size=4), Tier(name="two", up_to_params_b=20, batch_size=1)),
)
EVALUATIONS = [make_evaluation(name) for name in "abc"]
COMMITS = [make_commit(f"lab/{name}", fingerprint=name) for name in "abc"]


def history(changes: dict[str, Any] | None = None, **states: dict[Ending, int]) -> History:
    tries = {(name, "all"): Tries(counts, "so it was", next(iter(counts))) for name, counts in states.items()}  # type: ignore[arg-type]
    return History(tries=tries, last_attempts=dict.fromkeys(tries, 7), **(changes or {}))


def stopped(found: History) -> list[tuple[str, Ending]]:
    return [(each.evaluation.model_id, each.ending) for each in find_stopped(found, EVALUATIONS, COMMITS, CLUSTER)]


def test_what_gave_up_or_was_cancelled_is_found() -> None:
    assert stopped(history(a={"failed": 2}, b={"cancelled": 1}, c={"failed": 1})) == [
        ("lab/a", "failed"),
        ("lab/b", "cancelled"),
    ]


def test_what_ran_out_of_memory_in_the_largest_tier_is_found() -> None:
    assert stopped(history(a={"out_of_memory": 3}, b={"out_of_memory": 2})) == [("lab/a", "out_of_memory")]


def test_what_goes_on_or_is_scored_is_not() -> None:
    assert not stopped(history(a={"environment": 99}, b={"node_fail": 99}, c={"completed": 1}))
    states: dict[str, Any] = {"a": {"failed": 2}}
    assert not stopped(history({"done": {ScoreKey.of(EVALUATIONS[0]): [Done(EVALUATIONS[0])]}}, **states))
    assert not stopped(history({"shards_in_flight": frozenset({("a", "all")})}, **states))
    assert not stopped(history({"finished": frozenset({("a", "all")})}, **states))


def test_a_name_is_a_model_a_revision_or_an_evaluation() -> None:
    found = find_stopped(history(a={"failed": 2}, b={"failed": 2}), EVALUATIONS, COMMITS, CLUSTER)
    for target in ("lab/a", "lab/a@111"):
        assert [each.evaluation.model_id for each in choose_stopped(found, [target], EVALUATIONS)] == ["lab/a"]
    named = make_evaluation("a").model_copy(update={"evaluation_id": "abcdef0123"})
    assert choose_stopped([Stopped(named, "all", "failed", "", 2)], ["abcdef"], [])
    with pytest.raises(FreeError, match=r"^lab/aa: matches no stopped .*\. Similar: lab/a, lab/b\.$"):
        choose_stopped(found, ["lab/aa"], EVALUATIONS)
    with pytest.raises(FreeError, match=r"^lab/c: is neither stopped nor cancelled"):
        choose_stopped(found, ["lab/c"], EVALUATIONS)
    with pytest.raises(FreeError, match="Nothing is stopped or cancelled"):
        choose_stopped([], ["lab/x"], EVALUATIONS)


def test_a_short_name_means_the_same_whatever_has_stopped_and_two_that_fit_are_listed() -> None:
    evaluations = [
        make_evaluation("a").model_copy(update={"evaluation_id": key * 8, "model_id": model, "revision": revision * 40})
        for key, model, revision in [
            ("abcd", "lab/strong", "1"), ("abce", "other/very-strong", "2"), ("ffff", "other/weak", "3"),
        ]
    ]  # fmt: skip
    assert find_meant("STRONG", evaluations) == find_meant("lab/Strong@11", evaluations) == {"abcd" * 8}
    assert find_meant("very-strong", evaluations) == find_meant("ABCE", evaluations) == {"abce" * 8}
    for nothing in ("abc", "ab/strong", "strong@2", "strong@", ""):
        assert find_meant(nothing, evaluations) == set(), nothing
    with pytest.raises(QueryError, match=r"^rong matches 2 models\. Name one: lab/strong, other/very"):
        find_meant("rong", evaluations)
    twins = [
        *evaluations,
        evaluations[0].model_copy(update={"evaluation_id": "abcd" + "0" * 28, "revision": "12" * 20}),
    ]
    with pytest.raises(QueryError, match=r"^abcd begins 2 ids\. Write more letters of one: abcd0000, abcdabcd\.$"):
        find_meant("abcd", twins)
    with pytest.raises(
        QueryError, match=r"^strong@1 matches 2 revisions\. Write more letters of one: 1111111, 1212121"
    ):
        find_meant("strong@1", twins)
    assert len(find_meant("strong", twins)) == 2, "all of a model"
    stopped_one = [Stopped(evaluations[1], "all", "failed", "", 2)]
    with pytest.raises(FreeError, match=r"^strong: is neither stopped nor cancelled"):
        choose_stopped(stopped_one, ["strong"], evaluations)


def test_freeing_forgets_what_was_and_keeps_its_rows(tmp_path: Path) -> None:
    store, executor = Store(tmp_path / "store"), FakeExecutor()
    make_launcher(store, executor).launch([make_job("a"), make_job("b")], NOW)
    for name in "ab":
        finish(store, name, "failed", "no")
    reconcile(store, executor, NOW)
    chosen = [Stopped(make_evaluation("a"), "all", "failed", "no", 1)]
    for _ in range(2):
        free(store, chosen, "ada", NOW)
        found = read_history(store)
        assert set(found.tries) == {("b", "all")}
        assert found.last_attempts["a", "all"] == 1, "the next one is the second"
    make_launcher(store, executor).launch([make_job("a", attempt=2)], NOW)
    (store.attempt_dir("a", "all", 2) / "outcome.json").write_bytes(
        (store.attempt_dir("a", "all", 1) / "outcome.json").read_bytes()
    )
    reconcile(store, executor, NOW)
    assert dict(read_history(store).tries["a", "all"].states) == {"failed": 1}, "what came after counts"
