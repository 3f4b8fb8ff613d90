"""What a night launches, when, and what it does about what goes wrong, on a cluster that exists in memory only."""

from __future__ import annotations

import contextlib
import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import make_commit, make_suite
from rich.console import Console
from simulated_slurm import SimulatedSlurm

from nightboard.flows.display.console import Terminal
from nightboard.flows.run import dispatcher as module
from nightboard.flows.run import state as state_module
from nightboard.flows.run import submit_wave
from nightboard.flows.run.dispatcher import run_jobs
from nightboard.flows.run.report import RunReport
from nightboard.flows.run.state import RunState
from nightboard.profiles.models.budget import NO_BUDGET, Budget
from nightboard.profiles.models.cluster import Cluster
from nightboard.profiles.models.schedule import Schedule
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.cluster.executor import ExecutorError, JobReport
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.discover import Discovery, WatchedHead
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.planning.history import read_history
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs import collect, open_runs, reconcile
from nightboard.tasks.runs.retry_stopped import choose_stopped
from nightboard.tasks.store.layout import Store, StoreError
from nightboard.tasks.store.records import AttemptSpec, Commit

SMALL = {"name": "small", "up_to_params_b": 10, "gpus": 1, "mem_gb": 1}
LARGE = {"name": "large", "up_to_params_b": 100, "gpus": 8, "mem_gb": 1}


@dataclass(frozen=True)
class Board(OpenBoard):
    """A board whose Hub is a dictionary: fetching writes one file of the model's size, or does what a test wants."""

    fetch: Callable[[Commit], None] = lambda commit: None

    def fetch_model(self, commit: Commit) -> None:
        self.fetch(commit)
        folder = self.store.model_dir(str(commit.fingerprint))
        if not folder.exists():
            part = folder.with_name(f".{folder.name}.part")
            part.mkdir(parents=True)
            (part / "model.safetensors").write_bytes(bytes(int((commit.size_gb or 0) * 1e9)))
            part.rename(folder)


@dataclass
class Site:
    folder: Path
    slurm: SimulatedSlurm = field(default_factory=SimulatedSlurm)
    cluster: dict[str, Any] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    fetch: Callable[[Commit], None] = lambda commit: None
    hub_is_up: bool = True
    pauses: int = 0
    until: float = field(default_factory=lambda: time.monotonic() + 120)
    at_pause: Callable[[int], None] = lambda number: None
    lines: Console = field(default_factory=lambda: Console(file=io.StringIO(), record=True, width=300))
    plans: list[Plan] = field(default_factory=list)
    budget: Budget = NO_BUDGET

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def text(self) -> str:
        return self.lines.export_text(clear=False)

    def add(self, *names: str, size_gb: float = 1e-6, **changes: object) -> None:
        self.commits += [make_commit(f"lab/{name}", fingerprint=name, size_gb=size_gb, **changes) for name in names]

    def board(self) -> Board:
        values = {"cluster": "simulated", "executor": "slurm", "max_jobs": 8, "poll_interval_s": 1e-3}
        cluster = Cluster.model_validate(values | {"tiers": [SMALL, LARGE]} | self.cluster)
        bundle = SimpleNamespace(
            cluster=cluster,
            board=SimpleNamespace(board="test", budget=self.budget, schedule=Schedule()),
            watch=WatchList(watchlist="w", organizations=("lab",)),
            suites={"small": make_suite().suite},
        )
        hub = SimpleNamespace(is_up=lambda: self.hub_is_up)
        return Board(bundle, self.store, hub, self.slurm, self.fetch)  # type: ignore[arg-type]

    def discover(self) -> Discovery:
        heads = tuple(WatchedHead(c.model_id, "main", c.revision) for c in self.commits)
        return Discovery(heads=heads, commits=tuple(self.commits), model_states=(), problems=())

    def night(self, wait_min: float | None = None) -> RunReport:
        night = RunState(self.board(), Terminal(self.lines))
        discovery = self.discover()
        night.board.record_discovery(discovery)
        suites = [make_suite()]

        def plan(started_at: datetime | None) -> Plan:
            self.plans.append(night.board.plan(discovery, suites, datetime.now(UTC), started_at))
            return self.plans[-1]

        first = plan(None)
        left = run_jobs(night, first, suites, wait_min, lambda: plan(night.started_at))
        return RunReport(
            board="test",
            started_at=night.started_at,
            ended_at=datetime.now(UTC),
            new_commits=(),
            plan=first,
            collected=tuple(night.collected),
            in_flight=tuple(night.open_runs.in_flight),
            not_started=tuple(left),
            problems=tuple(night.problems),
            given_up=night.given_up,
        )

    def pause(self, seconds: float) -> None:
        """A round of the flow is a step of the cluster."""
        self.pauses += 1
        assert self.pauses < 3000 or time.monotonic() < self.until, "the night does not end"
        time.sleep(min(seconds, 2e-3))
        self.at_pause(self.pauses)
        self.slurm.step()

    def lying(self) -> set[str]:
        models = self.store.cache / "models"
        return {path.name for path in models.iterdir() if path.is_dir()} if models.is_dir() else set()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=site.pause, monotonic=time.monotonic))
    monkeypatch.setattr(open_runs, "SUBMITTING_LIMIT", timedelta(0))
    # Results are validated elsewhere.
    monkeypatch.setattr(collect, "_verify", lambda store, spec, outcome: outcome)
    monkeypatch.setattr(collect, "merge_shards", lambda *args: None)
    return site


def names(site: Site) -> list[str]:
    return sorted(commit.model_id for commit in site.commits)


def evaluated(report: RunReport) -> list[str]:
    return sorted(each.model_id for each in report.evaluated)


# ------------------------------------------------------------------------------------------------------------- waves


def test_jobs_are_launched_in_waves_not_one_by_one(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(40)))
    report = site.night()
    assert evaluated(report) == names(site)
    assert len(site.slurm.arrays) <= 40 / 2, "at least a quarter of the places a wave"
    assert not site.lying()
    assert not (site.store.cache / "wanted").exists() or not list((site.store.cache / "wanted").iterdir())


def test_no_more_jobs_are_open_than_may_be(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(20)))
    most = []

    def look(_number: int) -> None:
        states = [state for array in site.slurm.arrays for state in array.states]
        most.append(sum(state in ("PENDING", "RUNNING") for state in states))

    site.at_pause = look
    site.night()
    assert 0 < max(most) <= 8


def test_two_nights_together_keep_to_the_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add(*(f"m{index}" for index in range(12)))
    other = Site(site.folder, site.slurm)
    other.add(*(f"other{index}" for index in range(6)))
    launching, most = submit_wave.launching, list[int]()

    @contextlib.contextmanager
    def launch_after_the_other(store: Store) -> Iterator[None]:
        monkeypatch.setattr(submit_wave, "launching", launching)
        other.night(wait_min=0)
        with launching(store):
            yield

    def look(_number: int) -> None:
        states = [state for array in site.slurm.arrays for state in array.states]
        most.append(sum(state in ("PENDING", "RUNNING") for state in states))

    monkeypatch.setattr(submit_wave, "launching", launch_after_the_other)
    site.at_pause = look
    report = site.night()
    assert evaluated(report)[:12] == names(site)
    assert len(site.slurm.begun) == 18
    assert max(most) == 8


def test_jobs_of_one_tier_and_time_go_as_one_array(site: Site) -> None:
    site.add("a", "b", "c")
    site.add("d", "e", params_b=70.0)
    site.cluster = {"max_jobs": 100, "poll_interval_s": 0.5}
    site.night()
    assert sorted(len(array.calls) for array in site.slurm.arrays) == [2, 3]


def test_the_cluster_is_asked_once_an_interval_however_many_jobs_there_are(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(8)))
    site.cluster = {"poll_interval_s": 0.3}
    started = time.monotonic()
    site.night()
    assert site.slurm.polls <= (time.monotonic() - started) / 0.3 + 1


# -------------------------------------------------------------------------------------------------------------- GPUs


def test_all_arrays_together_keep_to_the_gpus_and_use_them(site: Site) -> None:
    site.add(*(f"s{index}" for index in range(30)))
    site.add("l1", "l2", "l3", params_b=70.0)
    site.cluster = {"max_jobs": 100, "max_gpus": 12}
    report = site.night()
    assert evaluated(report) == names(site)
    assert site.slurm.most_gpus == 12, "one large and four small ones at once"


def test_what_a_drained_array_leaves_goes_to_others_when_the_queue_is_empty(site: Site) -> None:
    site.add("l1", params_b=70.0)
    site.add(*(f"s{index}" for index in range(40)))
    site.cluster = {"max_jobs": 100, "max_gpus": 9}
    small: list[int] = []
    site.at_pause = lambda _: small.append(sum(array.running for array in site.slurm.arrays if array.gpus == 1))
    site.night()
    assert max(small) == 9
    assert site.slurm.most_gpus <= 9


def test_a_throttle_that_the_cluster_refuses_costs_nothing_but_time(site: Site) -> None:
    def refuse(*_args: object) -> None:
        raise ExecutorError("scontrol: not allowed")

    site.slurm.set_parallelism = refuse  # type: ignore[method-assign]
    site.add("l1", params_b=70.0)
    site.add(*(f"s{index}" for index in range(6)))
    site.cluster = {"max_jobs": 100, "max_gpus": 9}
    report = site.night()
    assert evaluated(report) == names(site)
    assert site.slurm.most_gpus <= 9
    assert "cannot be throttled: scontrol: not allowed" in report.problems[0]


# ----------------------------------------------------------------------------------------------------- planning again


def test_what_the_cluster_took_away_is_tried_again_the_same_night(site: Site) -> None:
    site.add("a", "b")
    site.slurm.ends = lambda spec: (
        "NODE_FAIL" if spec.planned.number < 3 and "a" in spec.evaluation.model_id[4:] else "completed"
    )
    report = site.night()
    assert evaluated(report) == ["lab/a", "lab/b"]
    assert [each.state for each in report.retried] == ["node_fail", "node_fail"]
    assert not report.failed
    assert not report.has_failures
    assert site.slurm.begun.count(("lab/b", 1)) == 1
    assert sorted(site.slurm.begun) == [("lab/a", 1), ("lab/a", 2), ("lab/a", 3), ("lab/b", 1)]


def test_what_the_model_did_is_left_for_the_next_night(site: Site) -> None:
    site.add("a", "b")
    site.slurm.ends = lambda spec: "failed" if spec.evaluation.model_id == "lab/a" else "completed"
    report = site.night()
    assert [(each.model_id, each.attempt) for each in report.failed] == [("lab/a", 1)]
    assert [skip.kind for skip in site.plans[-1].skipped if skip.model_id == "lab/a"] == ["later"]
    assert site.night().failed[0].attempt == 2
    assert not site.night().collected, "it is given up"


def test_an_evaluation_that_never_succeeds_ends_the_night_all_the_same(site: Site) -> None:
    site.add("a")
    site.slurm.ends = lambda spec: "PREEMPTED"
    site.cluster = {"retries": {"preempted": {"attempts": 3}}}
    report = site.night()
    assert len(site.slurm.begun) == 3
    assert [(each.model_id, each.attempt) for each in report.failed] == [("lab/a", 3)]
    assert [each.attempt for each in report.retried] == [1, 2]


def test_planning_again_keeps_the_budget_of_the_night(site: Site) -> None:
    """One of three jobs loses its node at once: what then may be launched is what the night has left, not more."""
    site.add(*(f"m{index}" for index in range(6)))
    one = site.board().plan(site.discover(), [make_suite()], datetime.now(UTC)).gpu_hours / 6
    site.budget = Budget(gpu_hours_per_night=3.5 * one)
    site.slurm.ends = lambda spec: "NODE_FAIL" if spec.planned.number == 1 and is_first(spec) else "RUNNING"
    open_jobs: list[int] = []

    def is_first(spec: AttemptSpec) -> bool:
        return spec.evaluation.model_id == "lab/m0"

    def look(number: int) -> None:
        open_jobs.append(len(site.board().list_open(datetime.now(UTC)).open))
        if number == 20:
            site.slurm.ends = lambda spec: "completed"

    site.at_pause = look
    report = site.night()
    assert max(open_jobs) == 3
    assert len(site.plans) > 1
    assert {skip.reason.partition(":")[0] for skip in report.plan.skipped} == {"waits for budget"}
    assert len(evaluated(report)) == 3
    assert sorted(evaluated(report) + evaluated(site.night())) == names(site), "they took less than estimated"


def test_planning_again_takes_a_small_part_of_the_time_only(site: Site) -> None:
    site.add("a", "long")
    planned_at: list[float] = []
    board_plan = OpenBoard.plan

    def plan(*args: Any) -> Plan:
        planned_at.append(time.monotonic())
        time.sleep(0.05)
        return board_plan(*args)

    def end(spec: AttemptSpec) -> str:
        if spec.evaluation.model_id == "lab/long":
            return "RUNNING" if len(planned_at) < 5 else "completed"
        return "PREEMPTED"

    site.slurm.ends = end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenBoard, "plan", plan)
        report = site.night()
    assert evaluated(report) == ["lab/long"]
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(planned_at[1:5]))


# --------------------------------------------------------------------------------------------------------- troubles


def test_a_cluster_that_is_away_is_waited_for_with_one_line(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(20)))

    def go_away(number: int) -> None:
        site.slurm.is_away = 3 <= number < 60

    site.at_pause = go_away
    report = site.night()
    assert evaluated(report) == names(site)
    assert site.text.count("The cluster does not answer") == 1
    assert site.text.count("The cluster answers again") == 1
    assert not report.problems
    assert len(site.slurm.begun) == 20, "nothing ran twice"


def test_a_cluster_that_is_away_while_an_array_is_submitted_loses_nothing(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(4)))
    site.slurm.is_away = True
    site.at_pause = lambda number: setattr(site.slurm, "is_away", number < 50)
    report = site.night()
    assert evaluated(report) == names(site)
    assert len(site.slurm.begun) == 4
    assert not report.failed


def test_an_array_that_the_cluster_refuses_ends_launching_with_its_words(site: Site) -> None:
    site.add("a", "b")
    site.slurm.refusal = "sbatch: error: Invalid account"
    report = site.night()
    assert report.problems == ("Stopped launching jobs for this run: sbatch: error: Invalid account",)
    assert len(report.not_started) == 2
    assert not site.lying()
    site.slurm.refusal = None
    assert evaluated(site.night()) == ["lab/a", "lab/b"]
    tries = [dict(each.states) for each in read_history(site.store).tries.values()]
    assert tries == [{"not_started": 1, "completed": 1}] * 2


def test_a_night_with_no_time_to_wait_launches_what_there_are_places_for(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(12)))
    report = site.night(wait_min=0)
    assert (len(report.in_flight), len(report.not_started)) == (8, 4)
    assert len(site.lying()) == 8, "what runs keeps its model; what was not started needs none now"
    while any(array.states.count("COMPLETED") < len(array.states) for array in site.slurm.arrays):
        site.slurm.step()
    report = site.night()
    assert len(report.evaluated) == 12
    assert not site.lying(), "the next night removes what the first one left"


def test_what_goes_wrong_in_one_way_is_told_once_with_a_count(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(8)))
    site.cluster = {"poll_interval_s": 0.5}
    site.slurm.ends = lambda spec: "NODE_FAIL" if spec.planned.number == 1 else "failed"
    site.night()
    assert site.text.count("node_fail lab") == 1, site.text
    assert site.text.count("failed lab") == 1
    assert site.text.count("and 7 others (lab/") == 2


def test_a_job_that_waits_for_somebody_is_told_of_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "STUCK_LIMIT", timedelta(0))
    site.add("a", "b")
    site.slurm.waits = JobReport(
        "PENDING", is_over=False, reason="is held", waits_for="JobHeldUser", advice="Let it go."
    )

    def release(number: int) -> None:
        site.slurm.waits = site.slurm.waits if number < 20 else None

    site.at_pause = release
    report = site.night()
    assert evaluated(report) == ["lab/a", "lab/b"]
    assert site.text.count(": is held; ") == 1
    assert "Let it go." in site.text


def test_what_gave_up_is_tried_again_when_somebody_frees_it(site: Site) -> None:
    site.add("a", "b")
    site.slurm.ends = lambda spec: "failed"
    assert not site.night().given_up
    assert [skip.model_id for skip in site.night().given_up] == ["lab/a", "lab/b"], "in the night that gives them up"
    later = site.night()
    assert not later.collected, "both are given up"
    assert [skip.model_id for skip in later.given_up] == ["lab/a", "lab/b"], "and in each one after it"
    board = site.board()
    stopped, known = board.find_stopped()
    board.free(choose_stopped(stopped, ["lab/a"], known), "ada", datetime.now(UTC))
    site.slurm.ends = lambda spec: "completed"
    report = site.night()
    assert evaluated(report) == ["lab/a"]
    assert [each.attempt for each in report.evaluated] == [3], "its history stays"
    assert [each.evaluation.model_id for each in board.find_stopped()[0]] == ["lab/b"]


# -------------------------------------------------------------------------------------- environments that do not work


def test_a_node_on_which_nothing_works_is_left_out_for_the_rest_of_the_night(site: Site) -> None:
    site.add("only")
    site.slurm.nodes, site.slurm.broken = ("gpu1", "gpu2"), {"gpu1"}
    site.cluster = {"slurm": {"exclude": "gpu9"}}
    report = site.night()
    assert evaluated(report) == ["lab/only"]
    assert [each.state for each in report.retried] == ["environment"] * 3
    assert [array.excluded for array in site.slurm.arrays] == ["gpu9", "gpu9", "gpu9", "gpu9,gpu1"]
    (problem,) = report.problems
    assert problem.startswith("Node gpu1: 3 attempts in a row failed for their environment")
    assert report.has_failures, "an operator should look"
    assert read_history(site.store).tries
    site.add("next")
    site.slurm.broken = set()
    assert evaluated(site.night()) == ["lab/next"]
    assert site.slurm.arrays[-1].excluded == "gpu9", "the next night looks at the node again"


def test_jobs_that_wait_already_do_not_run_into_a_bad_node(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(12)))
    site.slurm.nodes, site.slurm.broken = ("gpu1", "gpu2"), {"gpu1"}
    site.cluster = {"max_jobs": 20, "max_gpus": 1}
    report = site.night()
    assert evaluated(report) == names(site)
    assert len(report.retried) < 8, "most of the array has not been on it"


def test_a_tier_whose_environment_does_not_work_stops_and_others_go_on(site: Site) -> None:
    site.add(*(f"s{index}" for index in range(6)))
    site.add("l", params_b=70.0)
    site.slurm.nodes = ("gpu1",)
    site.slurm.ends = lambda spec: "environment" if spec.tier == "small" else "completed"
    site.cluster = {"max_jobs": 2}
    report = site.night()
    assert evaluated(report) == ["lab/l"]
    assert len(report.not_started) == 6, "all of them are left for the next run"
    assert not report.failed
    assert len(report.problems) == 2
    assert report.problems[1].startswith("Tier small: nothing more is launched in it in this run, which excludes gpu1")
    site.slurm.ends = lambda spec: "completed"
    assert len(site.night().evaluated) == 6


def test_a_machine_on_which_nothing_works_launches_nothing_more(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(9)))
    here = current_process().host
    site.slurm.name, site.slurm.nodes, site.slurm.broken = "local", (here,), {here}
    site.cluster = {"executor": "local", "max_jobs": 1}
    report = site.night()
    assert len(site.slurm.begun) == 3
    assert report.problems[0].startswith(f"Node {here}: 3 attempts in a row")
    assert len(report.not_started) + len(report.failed) == 9


def test_two_nights_of_a_broken_environment_give_up_no_model(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(4)))
    site.slurm.nodes, site.slurm.broken = ("gpu1", "gpu2", "gpu3"), {"gpu1", "gpu2", "gpu3"}
    for _ in range(2):
        report = site.night()
        assert report.has_failures
        assert any(problem.startswith("Tier small: 3 attempts in a row") for problem in report.problems)
        assert not any(skip.kind == "gave_up" for plan in site.plans for skip in plan.skipped)
    assert len(site.slurm.begun) < 60, "a night does not try for ever"
    site.slurm.broken = set()
    assert evaluated(site.night()) == names(site)


def test_a_job_that_no_node_is_left_for_may_have_them_again(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(8)))
    site.slurm.broken = {"gpu1"}
    site.cluster = {"max_jobs": 20, "max_gpus": 1}
    report = site.night()
    assert not report.evaluated
    assert not report.in_flight, "nothing waits for ever"
    assert "gave_up" not in {skip.kind for plan in site.plans for skip in plan.skipped}


# ----------------------------------------------------------------------------------------------------------- fetching


def test_a_model_that_cannot_be_had_stops_its_evaluation_only(site: Site) -> None:
    site.add("a", "b")

    def fetch(commit: Commit) -> None:
        if commit.model_id == "lab/a":
            raise FetchError("lab/a is gated")

    site.fetch = fetch
    report = site.night()
    assert evaluated(report) == ["lab/b"]
    assert [(each.model_id, each.state, each.reason) for each in report.failed] == [
        ("lab/a", "fetch_failed", "lab/a is gated")
    ]


def test_a_hub_that_fails_one_repository_costs_it_nothing(site: Site) -> None:
    site.add("a", "b")

    def fetch(commit: Commit) -> None:
        if commit.model_id == "lab/a":
            raise FetchError("lab/a: 500") from HubUnavailable("500")

    site.fetch = fetch
    assert evaluated(site.night()) == ["lab/b"]
    for _ in range(4):
        report = site.night()
        assert [(each.model_id, each.state) for each in report.failed] == [("lab/a", "hub_failed")]
    site.fetch = lambda commit: None
    assert evaluated(site.night()) == ["lab/a"]


def test_a_model_larger_than_the_cache_is_a_failed_fetch_with_that_reason(site: Site) -> None:
    site.add("a", size_gb=5e-6)
    site.add("b")
    site.cluster = {"cache_gb": 3e-6}
    report = site.night()
    assert evaluated(report) == ["lab/b"]
    assert "takes 5e-06 GB, more than models may take in the cache (3e-06 GB)" in str(report.failed[0].reason)


@pytest.mark.parametrize("share_min", [0, 60])
def test_the_cache_keeps_to_its_budget_and_everything_is_done(site: Site, share_min: float) -> None:
    site.add(*(f"m{index}" for index in range(12)), size_gb=1e-6)
    site.add("large", size_gb=3e-6, params_b=5.0)
    site.cluster = {"cache_gb": 3.5e-6, "tiers": [SMALL | {"share_job_below_min": share_min}, LARGE]}
    most = []

    def look(_number: int) -> None:
        whole = [name for name in site.lying() if not name.startswith(".")]
        most.append(len(whole) * 1000 + ("large" in whole) * 2000)

    site.at_pause = look
    report = site.night()
    assert evaluated(report) == names(site)
    assert 2000 <= max(most) <= 3500


def test_the_next_models_are_fetched_while_jobs_run(site: Site) -> None:
    site.add("a", "b")
    site.cluster = {"max_jobs": 1}
    states: list[list[str]] = []
    both = threading.Event()

    def fetch(_commit: Commit) -> None:
        states.append([state for array in site.slurm.arrays for state in array.states])
        if len(states) == 2:
            both.set()

    site.fetch = fetch
    site.at_pause = lambda number: both.wait(2) and None
    site.night()
    assert "COMPLETED" not in states[1]


def test_a_download_of_hours_does_not_stop_the_rest(site: Site) -> None:
    arrived = threading.Event()
    site.add("slow", "b", "c")
    site.fetch = lambda commit: (commit.model_id == "lab/slow" and arrived.wait(300)) and None
    finished: list[int] = []

    def look(_number: int) -> None:
        done = len(list((site.store.lake / "outcomes").glob("*")))
        finished.append(done)
        if done == 2:
            arrived.set()

    site.at_pause = look
    report = site.night()
    assert 2 in finished, "collected while the download went on"
    assert len(report.evaluated) == 3


def test_a_hub_that_goes_down_lets_what_is_there_run(site: Site) -> None:
    site.add(*(f"m{index}" for index in range(6)))
    site.hub_is_up = False
    fetched: list[str] = []

    def fetch(commit: Commit) -> None:
        fetched.append(commit.model_id)
        if len(fetched) > 3:
            raise FetchError("no") from HubUnavailable("the Hub does not answer")

    site.fetch = fetch
    site.cluster = {"fetch_parallelism": 1}
    report = site.night()
    assert len(report.evaluated) == 3
    assert len(report.not_started) == 3
    assert report.problems == ("Stopped downloading models for this run: the Hub does not answer",)
    assert not report.failed, "it costs no model an attempt"


def test_a_full_disk_fetches_nothing_more_and_fails_no_model(site: Site) -> None:
    site.add("a", "b")

    def fetch(_commit: Commit) -> None:
        raise StoreError("no space left")

    site.fetch = fetch
    report = site.night()
    assert report.problems == ("Stopped downloading models for this run: no space left",)
    assert len(report.not_started) == 2
    assert not read_history(site.store).tries


def test_models_are_kept_where_the_profile_says_so(site: Site) -> None:
    site.add("a")
    site.cluster = {"keep_models": True}
    site.night()
    assert len(site.lying()) == 1


def test_what_another_flow_collected_and_left_is_tried_again(site: Site) -> None:
    site.add("a", "b")
    site.slurm.ends = lambda spec: "NODE_FAIL" if spec.planned.number == 1 else "completed"

    def collect_before_the_night_does(_number: int) -> None:
        site.slurm.step()
        site.slurm.step()
        reconcile.reconcile(site.store, site.slurm, datetime.now(UTC))

    site.at_pause = collect_before_the_night_does
    report = site.night()
    assert evaluated(report) == ["lab/a", "lab/b"]
    assert len(report.retried) == 2
