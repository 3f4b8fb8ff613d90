"""A night runs the benchmarks whose data it has, and says of the others why they are left out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import NOW, make_commit
from rich.console import Console
from screen import show_on_screen
from served_hub import ServedHub, serve_hub
from suite_nights import CLUSTER, SUITE, WATCH, change

from nightboard.flows.display.console import Terminal
from nightboard.flows.display.plan import show_plan
from nightboard.flows.nightly import fetch_datasets
from nightboard.flows.run.report import RunReport, describe_run
from nightboard.flows.run.state import RunState
from nightboard.profiles.models.suite import Suite
from nightboard.profiles.suite_version import resolve_suite
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.planning.history import History
from nightboard.tasks.planning.plan import PlanInputs, make_plan
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import ResolvedSuite

QUESTIONS = b'{"q": "a"}\n'


@pytest.fixture
def hub() -> Iterator[ServedHub]:
    with serve_hub() as served:
        for name in ("open", "shut"):
            served.loopback.create_repo(f"own/{name}", "dataset")
            served.loopback.commit(f"own/{name}", {"x.jsonl": QUESTIONS}, "add", kind="dataset")
        yield served


def make_board(hub: ServedHub, root: Path, suite: Suite, token: str | None = None) -> OpenBoard:
    bundle = SimpleNamespace(suites={suite.suite: suite}, cluster=CLUSTER)
    return OpenBoard(bundle, Store(root), hub.client(token), None)  # type: ignore[arg-type]


TWO = change(long={"dataset": {"id": "own/open"}}, short={"dataset": {"id": "own/shut"}})


def test_a_gated_dataset_costs_its_benchmark_and_no_other(hub: ServedHub, tmp_path: Path) -> None:
    [suite], _ = make_board(hub, tmp_path, TWO).resolve_suites()
    assert not suite.unavailable
    hub.loopback.set_access("own/shut", kind="dataset", gated=True)
    [gated], [problem] = make_board(hub, tmp_path, TWO).resolve_suites()
    assert gated.unavailable.keys() == {"short"}
    assert problem.startswith("Suite s runs without short: The dataset own/shut is gated")
    assert gated.version == suite.version, "who may read a data set decides no score"
    [opened], problems = make_board(hub, tmp_path, TWO, "good").resolve_suites()
    assert (opened, problems) == (suite, [])


def test_a_dataset_without_a_commit_costs_its_benchmark_and_no_other(hub: ServedHub, tmp_path: Path) -> None:
    hub.loopback.set_access("own/shut", kind="dataset", private=True)
    [suite], [problem] = make_board(hub, tmp_path, TWO).resolve_suites(dry_run=True)
    assert "does not exist or is private" in problem
    assert (suite.suite.benchmarks["short"].dataset.sha, suite.unavailable.keys()) == (None, {"short"})
    assert not (tmp_path / "pins").exists()


@dataclass
class Data:
    """A board that only fetches data sets; `missing` are the benchmarks that it cannot fetch."""

    missing: dict[str, str]
    asked: list[list[str]] = field(default_factory=list)

    def fetch_datasets(self, suite: ResolvedSuite, benchmarks: Iterable[str]) -> dict[str, str]:
        self.asked.append(list(benchmarks))
        return {name: self.missing[name] for name in self.asked[-1] if name in self.missing}


def plan_of(suites: list[ResolvedSuite], **changes: object) -> Plan:
    return make_plan(PlanInputs("board", WATCH, suites, CLUSTER, [make_commit("lab/a", **changes)], History(), NOW))


def make_night(data: Data) -> tuple[RunState, Console]:
    lines = Console(file=io.StringIO(), record=True, width=200)
    return RunState(data, Terminal(lines)), lines  # type: ignore[arg-type]


def test_what_cannot_be_fetched_is_left_out_of_the_plan_that_follows_and_not_asked_again() -> None:
    data = Data({"short": "dataset own/data: no answer."})
    night, _ = make_night(data)
    suites = [ResolvedSuite(suite=SUITE, version=resolve_suite(SUITE, {})[1])]
    assert not fetch_datasets.fn(night, plan_of(suites), suites)
    assert night.problems == ["Suite s runs without short: dataset own/data: no answer."]
    plan = plan_of(suites)
    assert [planned.shard.benchmarks for job in plan.jobs for planned in job.attempts] == [("long",)]
    assert fetch_datasets.fn(night, plan, suites)
    assert data.asked == [["long", "short"]]


def test_the_plan_shows_which_benchmarks_run_and_why_others_do_not() -> None:
    suites = [ResolvedSuite(suite=SUITE, version="v", unavailable={"short": "The dataset is gated."})]
    night, lines = make_night(Data({}))
    plan = plan_of(suites)
    show_plan(night.ui, plan)
    text = " ".join(lines.export_text(clear=False).split())
    assert "job model suite benchmarks estimate" in text
    assert "1 lab/a s long 2 min" in text
    assert "lab/a 1111111 s (short) The dataset is gated." in text
    nothing = RunReport(
        board="b", started_at=NOW, ended_at=NOW, new_commits=(), plan=plan, collected=(), in_flight=(),
        not_started=(), problems=(),
    )  # fmt: skip
    assert "`lab/a` @ `1111111` on s (short): The dataset is gated." in describe_run(nothing)


def test_a_plan_fits_a_narrow_terminal_and_hides_the_revision_first() -> None:
    plan = plan_of([ResolvedSuite(suite=SUITE, version="v", unavailable={"short": "The dataset is gated."})])
    lines = show_on_screen(70, lambda: show_plan(Terminal(), plan)).splitlines()
    assert max(map(len, lines)) <= 70
    assert lines[1].split()[:5] == ["job", "model", "suite", "benchmarks", "estimate"]
    assert "2 columns hidden: chat template, revision; a wider terminal shows them." in " ".join(lines)


def test_a_plan_of_whole_suites_names_no_benchmarks() -> None:
    night, lines = make_night(Data({}))
    show_plan(night.ui, plan_of([ResolvedSuite(suite=SUITE, version="v")]))
    assert "benchmarks" not in lines.export_text()
