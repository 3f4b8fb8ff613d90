"""Eras: only what was measured with the same versions, shots and documents is ranked together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from make_lake import SMALL_SUITE, Lake, declare_task

Ask = Callable[..., list[tuple[Any, ...]]]

ERAS = "select model_id, era, rank, is_current_era from leaderboard order by model_id"


def test_versions_that_the_suite_names_rank_in_its_eras_apart(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("old", {"task": "truth", "task_version": "1.0"}, is_current=False)
    lake.era("new", {"task": "truth", "task_version": "2.0"}, position=2)
    for model, version in {"a": "1.0", "b": "2.0", "c": "1.0", "d": "3.0"}.items():
        lake.commit(model)
        lake.done(model, model, versions={"truth": version})
    rows = ask(ERAS)
    assert rows[:3] == [("a", "old", 1, False), ("b", "new", 1, True), ("c", "old", 2, False)]
    assert re.fullmatch(r"era-[0-9a-f]{8}", rows[3][1]) and rows[3][2:] == (1, False)


def test_documents_left_open_are_those_of_the_first_evaluation_over_all_suite_versions(lake: Lake, ask: Ask) -> None:
    lake.suite(version="v1")
    lake.suite(version="v2", hours=1)
    lake.era("now", version="v2", hours=1)
    for hours, (model, documents, version) in enumerate(
        [("first", "x", "v1"), ("other", "y", "v2"), ("same", "x", "v2"), ("other again", "y", "v1")], start=1
    ):
        lake.commit(model)
        lake.done(model, model, documents={"truth": documents}, suite_version=version, hours=hours)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["first"] == eras["same"] == "now"
    assert re.fullmatch(r"now-docs-[0-9a-f]{8}", eras["other"])
    assert eras["other again"] == eras["other"]


def test_an_incomplete_evaluation_settles_no_documents(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now")
    lake.done("partial", "partial", documents={"truth": "wrong"}, hours=1).pop(0)
    lake.done("whole", "whole", documents={"truth": "right"}, hours=2)
    assert ask("select model_id, era from leaderboard") == [("whole", "now")]


def test_declared_documents_and_shots_are_required(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now", {"task": "truth", "doc_set_hash": "right", "n_shot": 0})
    lake.done("wrong", "wrong", documents={"truth": "wrong"}, hours=1)
    lake.done("right", "right", documents={"truth": "right"}, hours=2)
    shots = [task | {"n_shot": 5} for task in SMALL_SUITE]
    lake.suite(shots, version="v0", hours=-1)
    lake.done("shots", "shots", tasks=shots, suite_version="v0", documents={"truth": "right"}, hours=3)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["right"] == "now"
    assert eras["wrong"].startswith("now-docs-")
    assert eras["shots"].startswith("era-")


def test_eras_that_differ_by_documents_alone_are_told_apart(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("x", {"task": "truth", "doc_set_hash": "x"}, is_current=False)
    lake.era("y", {"task": "truth", "doc_set_hash": "y"}, position=2)
    for model in ("x", "y"):
        lake.done(model, model, documents={"truth": model})
    assert {model: era for model, era, *_ in ask(ERAS)} == {"x": "x", "y": "y"}


def test_a_suite_without_eras_shows_the_combination_that_ran_last(lake: Lake, ask: Ask) -> None:
    lake.suite()
    for hours, version in enumerate(["1.0", "2.0", "1.0"]):
        lake.done(f"m{hours}", f"m{hours}", versions={"truth": version}, hours=hours)
    eras = {model: (era, rank, current) for model, era, rank, current in ask(ERAS)}
    assert eras["m0"][0] == eras["m2"][0] != eras["m1"][0]
    assert (eras["m0"][2], eras["m1"][2], eras["m2"][2]) == (True, False, True)


def test_what_lacks_a_benchmark_of_the_newest_version_does_not_rank_and_coverage_says_so(lake: Lake, ask: Ask) -> None:
    more = [*SMALL_SUITE, declare_task("more", "more", benchmark_position=3)]
    lake.suite(version="v1")
    lake.suite(more, version="v2", hours=1)
    lake.era("now", version="v2", hours=1)
    lake.done("a", "a", tasks=more, suite_version="v2", hours=1)
    lake.done("b", "b", hours=2)
    assert ask(ERAS) == [("a", "now", 1, True)]
    assert ask("select benchmark, problem from coverage where not is_complete") == [("more", "more: no value for acc")]


def test_an_era_wants_every_task_that_it_names(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now", {"task": "truth", "task_version": "1.0"}, {"task": "gone", "task_version": "1.0"})
    lake.done("a", "a")
    assert ask(ERAS)[0][1].startswith("era-")


def test_the_newest_declaration_of_the_newest_suite_version_decides(lake: Lake, ask: Ask) -> None:
    lake.suite(version="v1")
    lake.era("former", version="v1")
    lake.suite(version="v2", hours=1)
    lake.era("first try", version="v2", hours=1)
    lake.era("renamed", version="v2", hours=2)
    lake.done("a", "a", suite_version="v1")
    assert ask(ERAS) == [("a", "renamed", 1, True)]
    assert ask("select era from eras order by era") == [("former",), ("renamed",)]


OURS = {"arc_easy": "docs of arc_easy", "arc_hard": "docs of arc_hard", "truth": "docs of truth"}
OTHER = OURS | {"truth": "other docs"}


def test_an_import_that_does_not_know_its_documents_joins_the_era_of_its_versions_and_settles_nothing(
    lake: Lake, ask: Ask
) -> None:
    lake.suite()
    lake.era("old", {"task": "truth", "task_version": "0.0"}, is_current=False)
    lake.era("now", {"task": "truth", "task_version": "1.0"}, position=2)
    lake.imported("unknown", "unknown", hours=0)
    lake.imported("older", "older", hours=0, versions={"truth": "0.0"})
    assert {model: era for model, era, *_ in ask(ERAS)} == {"unknown": "now", "older": "old"}
    # The first run settles the documents, though the import finished before it.
    lake.done("first", "first", hours=2)
    lake.done("other", "other", hours=3, documents=OTHER)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert (eras["unknown"], eras["first"], eras["older"]) == ("now", "now", "old")
    assert eras["other"].startswith("now-docs-")


def test_an_import_that_knows_its_documents_is_held_to_those_of_the_first_run(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now")
    lake.imported("same", "same", hours=0, documents=OURS)
    lake.imported("other", "other", hours=0, documents=OTHER)
    lake.imported("partly same", "partly same", hours=0, documents={"truth": OURS["truth"]})
    lake.imported("partly other", "partly other", hours=0, documents={"truth": OTHER["truth"]})
    lake.done("run", "run", hours=5)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["run"] == eras["same"] == eras["partly same"] == "now"
    # What is known of the two others differs in nothing: they rank together.
    assert eras["other"] == eras["partly other"]
    assert eras["other"].startswith("now-docs-")


def test_without_a_run_an_import_that_knows_all_its_documents_settles_them(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now")
    lake.imported("unknown", "unknown", hours=0)
    lake.imported("first", "first", hours=1, documents=OURS)
    lake.imported("second", "second", hours=2, documents=OTHER)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["unknown"] == eras["first"] == "now"
    assert eras["second"].startswith("now-docs-")


def test_an_import_of_versions_that_no_era_names_ranks_with_the_runs_of_these_versions(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now", {"task": "truth", "task_version": "1.0"})
    versions = {"truth": "7.0"}
    lake.imported("unknown", "unknown", hours=0, versions=versions)
    lake.imported("alone", "alone", hours=0, versions={"truth": "8.0"})
    lake.done("run", "run", hours=2, versions=versions)
    lake.done("later", "later", hours=3, versions=versions, documents=OTHER)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["unknown"] == eras["run"]
    assert len({eras[model] for model in ("run", "later", "alone")}) == 3
    assert all(re.fullmatch(r"era-[0-9a-f]{8}", era) for era in eras.values())


def test_declared_documents_are_not_held_against_an_import_that_does_not_know_its_own(lake: Lake, ask: Ask) -> None:
    lake.suite()
    lake.era("now", {"task": "truth", "doc_set_hash": "right"})
    lake.imported("unknown", "unknown")
    lake.imported("right", "right", documents={"truth": "right"})
    lake.imported("wrong", "wrong", documents={"truth": "wrong"})
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["unknown"] == eras["right"] == "now"
    assert eras["wrong"].startswith("now-docs-")


def test_tasks_that_the_suite_has_no_more_tell_nothing_apart(lake: Lake, ask: Ask) -> None:
    more = [*SMALL_SUITE, declare_task("more", "more", benchmark_position=3)]
    lake.suite(version="v2", hours=1)
    lake.suite(more, version="v1")
    lake.era("now", version="v2", hours=1)
    lake.done("run", "run", tasks=more, suite_version="v1")
    lake.imported("fewer", "fewer")
    assert ask(ERAS) == [("fewer", "now", 1, True), ("run", "now", 2, True)]


def test_shots_that_an_era_leaves_open_are_those_that_the_suite_declares_now(lake: Lake, ask: Ask) -> None:
    shots = [task | {"n_shot": 5} for task in SMALL_SUITE]
    lake.suite(version="v1")
    lake.suite(shots, version="v2", hours=1)
    lake.era("now", version="v2", hours=1)
    lake.done("before", "before", hours=1)
    lake.done("after", "after", tasks=shots, suite_version="v2", hours=2)
    eras = {model: era for model, era, *_ in ask(ERAS)}
    assert eras["after"] == "now"
    assert eras["before"].startswith("era-")
