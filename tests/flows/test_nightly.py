"""Whole nights with the real Prefect server, Hub client, submitit and lm-eval; and what can go wrong in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from world import BENCHMARKS, World, make_models, open_world

from nightboard.flows.server import prefect_server
from nightboard.tasks.patience import HubUnavailable, Patience
from nightboard.tasks.store import StoreError

pytestmark = pytest.mark.real

EVERY_STEP = (
    "collect earlier runs",
    "discover",
    "pin data sets",
    "plan",
    "fetch data sets",
    "claim",
    "launch",
    "rebuild",
    "report",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as url:
        assert url
        yield url


@pytest.fixture
def server(server_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """One server for all nights of this file; each would otherwise start its own."""
    from prefect.context import refresh_global_settings_context

    monkeypatch.setenv("PREFECT_API_URL", server_url)
    refresh_global_settings_context()
    return server_url


@pytest.fixture
def world(tmp_path: Path, models: Path, server: str) -> Iterator[World]:
    with open_world(tmp_path, models) as opened:
        yield opened


def completed_once(world: World, evaluations: int) -> None:
    """Every evaluation is done, by exactly one completed attempt."""
    rows = world.query("select evaluation_id, count(*) from attempts where state = 'completed' group by all")
    assert [count for _, count in rows] == [1] * evaluations
    assert len(list((world.store.lake / "outcomes").iterdir())) == evaluations


def read_artifacts() -> dict[str, str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        response = client.request("POST", "/artifacts/latest/filter", json={})
        return {each["key"]: str(each["data"]) for each in response.json()}


def test_nights_evaluate_what_is_new_and_nothing_else(world: World) -> None:
    world.add_model("lab/twin", source="lab/strong")
    first = world.night()
    assert sorted(each.model_id for each in first.evaluated) == ["lab/strong", "lab/weak"]
    assert world.ranking() == [("lab/strong", 1), ("lab/twin", 2), ("lab/weak", 3)]
    assert world.query("select identical_to from leaderboard where model_id = 'lab/twin'") == [("lab/strong",)]
    artifacts = read_artifacts()
    assert "lab/strong" in artifacts["world-ranking-small"]
    assert "## Evaluated (2)" in artifacts["world-night"]
    assert float(artifacts["world-evaluations"]) == 100

    world.hub.commit("lab/weak", {"README.md": b"# Better words"}, "Edit the card")
    readme = world.night()
    assert len(readme.new_commits) == 1
    assert not readme.plan.evaluations
    assert world.query("select count(*) from commits where model_id = 'lab/weak'") == [(2,)]
    newest = world.query("select revision from commits where model_id = 'lab/weak' order by discovered_at desc limit 1")
    assert world.query("select revision from leaderboard where model_id = 'lab/weak'") == newest

    weights = world.models / "lab/strong" / "model.safetensors"
    world.hub.commit("lab/weak", {"model.safetensors": weights}, "Take somebody's weights")
    assert not world.night().plan.evaluations, "weights and all else are those of lab/strong now"

    unchanged = world.snapshot()
    requests = len(world.hub.requests)
    quiet = world.night()
    assert not quiet.new_commits
    assert not quiet.plan.evaluations
    assert world.snapshot() == unchanged, "a night without news changes nothing"
    assert len(world.hub.requests) - requests == 1, "it asks the Hub for one page"
    completed_once(world, 2)


def test_a_model_that_vanishes_between_discover_and_launch_stops_itself_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightboard.flows import nightly as module

    make_plan = module.make_plan
    monkeypatch.setattr(module, "make_plan", lambda *args: (make_plan(*args), world.hub.delete_repo("lab/weak"))[0])
    report = world.night()
    assert [each.model_id for each in report.evaluated] == ["lab/strong"]
    assert [(each.model_id, each.state) for each in report.failed] == [("lab/weak", "fetch_failed")]
    assert "lab/weak" in str(report.failed[0].reason)
    assert world.ranking() == [("lab/strong", 1)]


def test_damaged_output_is_named_not_ranked_and_only_its_benchmark_is_redone(world: World) -> None:
    world.night(wait_min=0)
    outcomes = world.wait_for_outcomes(2)
    assert len(outcomes) == 2
    assert not list(world.store.lake.glob("outcomes/*")), "a night that does not wait collects nothing yet"
    work = [path.parent.parent / "work" for path in outcomes]
    results, samples = work[0] / "musr" / "results.json", next((work[1] / "mmlu_pro").glob("samples_*.jsonl"))
    results.write_bytes(results.read_bytes()[:-500])
    samples.write_bytes(samples.read_bytes()[:-100])
    kept = {path: (path / "mmlu_pro/manifest.json").stat().st_mtime_ns for path in work[:1]}

    report = world.night()
    assert {each.state for each in report.setbacks} == {"invalid"}
    assert not report.failed, "they were done in the end"
    text = " ".join(str(each.reason) for each in report.setbacks)
    assert "results.json" in text
    assert samples.name in text
    assert len(report.evaluated) == 2, "the same night tries again, and redoes what was damaged"
    assert {path: (path / "mmlu_pro/manifest.json").stat().st_mtime_ns for path in kept} == kept
    assert [model for model, _ in world.ranking()] == ["lab/strong", "lab/weak"]
    completed_once(world, 2)


def test_a_full_disk_while_collecting_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.night(wait_min=0)
    assert len(world.wait_for_outcomes(2)) == 2

    def no_space(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", no_space)
        with pytest.raises(StoreError, match="no space left on the disk"):
            world.night()
    assert not list(world.store.lake.rglob("*.tmp"))
    assert not list((world.store.lake).glob("outcomes/*"))
    report = world.night()
    assert not report.plan.evaluations
    assert len(report.evaluated) == 2
    completed_once(world, 2)


def test_a_hub_that_is_down_ends_the_night_with_one_message_and_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightboard.flows import nightly as module
    from nightboard.tasks import hub

    monkeypatch.setattr(module, "NETWORK_RETRY_DELAYS_S", (0.0,))
    monkeypatch.setattr(hub, "Patience", lambda: Patience(tries=2, sleep=lambda _: None))
    world.night(wait_min=0)
    world.wait_for_outcomes(2)
    world.night()
    before = world.snapshot()
    world.hub.fail_next(1000, 503)
    with pytest.raises(HubUnavailable) as caught:
        world.night()
    assert "\n" not in str(caught.value)
    assert world.snapshot() == before
    world.hub.fail_next(0, 503)


def test_one_repository_with_lasting_errors_stops_nobody_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from nightboard.tasks import hub

    monkeypatch.setattr(hub, "Patience", lambda: Patience(tries=2, sleep=lambda _: None))
    world.hub.fail_next(1000, 500, path_contains="lab/weak/tree")
    report = world.night()
    assert [each.model_id for each in report.evaluated] == ["lab/strong"]
    assert "lab/weak" in report.problems[0]


def test_a_broken_model_fails_alone_and_is_given_up(world: World) -> None:
    weights = (world.models / "lab/weak" / "model.safetensors").read_bytes()
    world.add_model("lab/broken", source="lab/weak", **{"model.safetensors": weights[:-4000]})
    report = world.night()
    assert len(report.evaluated) == 2
    assert {each.model_id for each in report.failed} == {"lab/broken"}
    assert report.failed[0].log_tail
    again = world.night()
    assert not again.plan.evaluations or {e.model_id for e in again.plan.evaluations} == {"lab/broken"}
    given_up = world.night()
    assert [(skip.model_id, skip.kind) for skip in given_up.plan.skipped if skip.kind != "done"] == [
        ("lab/broken", "gave_up")
    ]
    assert [model for model, _ in world.ranking()] == ["lab/strong", "lab/weak"]


def test_a_gated_data_set_costs_its_benchmark_alone_which_runs_alone_once_it_opens(world: World) -> None:
    world.hub.delete_repo("lab/weak")
    world.hub.set_access("TIGER-Lab/MMLU-Pro", kind="dataset", gated=True)
    gated = world.night()
    assert [(skip.kind, skip.benchmarks) for skip in gated.plan.skipped] == [("unavailable", ("mmlu_pro",))]
    assert len(gated.evaluated) == 1
    assert world.ranking() == [], "a model without a benchmark has no rank"
    assert world.query("select benchmark, starts_with(problem, 'left out: ') from coverage where not is_complete") == [
        ("mmlu_pro", True)
    ]
    world.hub.set_access("TIGER-Lab/MMLU-Pro", kind="dataset", gated=False)
    opened = world.night()
    assert [shard.benchmarks for job in opened.plan.jobs for shard in job.shards] == [("mmlu_pro",)]
    assert not opened.problems
    assert world.ranking() == [("lab/strong", 1)]
    assert world.query("select count(distinct measured_by) from task_scores") == [(1,)]


def test_a_flow_killed_after_any_step_is_finished_by_the_next(world: World) -> None:
    for step in EVERY_STEP:
        process = world.start_night(stop_after=step)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, f"{step}: {errors[-2000:]}"
    last = world.start_night()
    output, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors[-2000:]
    report = json.loads(output.splitlines()[-1])
    assert not report["problems"]
    assert not report["in_flight"]
    completed_once(world, 2)
    assert [model for model, _ in world.ranking()] == ["lab/strong", "lab/weak"]


def test_two_nights_at_once_evaluate_everything_once(world: World) -> None:
    flows = [world.start_night(), world.start_night()]
    for each in flows:
        _, errors = each.communicate(timeout=400)
        assert each.returncode == 0, errors[-2000:]
    world.night()
    completed_once(world, 2)
    assert world.query("select max(attempt) from attempts") == [(1,)]


def test_a_job_killed_half_way_is_resumed_without_redoing_a_finished_benchmark(world: World) -> None:
    world.hub.delete_repo("lab/weak")
    world.night(wait_min=0)
    finished = _wait_for_first_benchmark(world)
    manifest = finished / "manifest.json"
    before = manifest.stat().st_mtime_ns
    owner = json.loads(next(world.store.runs.glob("*/all/1/owner.1.json")).read_text())
    controller = json.loads(next(world.store.launches.glob("*/submission.json")).read_text())["job_ids"][0]
    for pid in (owner["process"]["pid"], int(controller)):
        os.kill(pid, signal.SIGKILL)
    report = world.night()
    assert len(report.evaluated) == 1
    states = [state for (state,) in world.query("select state from attempts order by attempt")]
    assert states == ["interrupted", "completed"]
    assert manifest.stat().st_mtime_ns == before
    second = next(world.store.runs.glob("*/all/2/log.txt")).read_text()
    assert "1 of 2 benchmarks to run" in second, "the finished benchmark is not asked again"
    completed_once(world, 1)


def _wait_for_first_benchmark(world: World) -> Path:
    import time

    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for benchmark in BENCHMARKS:
            if found := list(world.store.runs.glob(f"*/all/work/{benchmark}/manifest.json")):
                return found[0].parent
        time.sleep(0.02)
    raise AssertionError("no benchmark was finished")


def test_the_command_line_says_how_a_night_ended(world: World, server: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("nightboard")), *arguments, "--board", world.board]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    started = run("nightly", "--wait", "0")
    assert started.returncode == 0, started.stdout + started.stderr
    assert "2 evaluations still running" in started.stdout
    world.wait_for_outcomes(2)
    collected = run("collect")
    assert collected.returncode == 0, collected.stdout + collected.stderr
    ranked = run("rank", "--format", "json")
    assert [row["model_id"] for row in json.loads(ranked.stdout)] == ["lab/strong", "lab/weak"]
    assert "Traceback" not in started.stdout + started.stderr
