"""Whole nights with the real Prefect server, Hub client, submitit and lm-eval; and what can go wrong in one."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from once import make_once
from warm import warm_command, warm_job
from world import BENCHMARKS, World, make_models, open_world

from nightboard.flows.prefect_server.history import History
from nightboard.flows.prefect_server.reporter import Reporter
from nightboard.flows.prefect_server.server import ConfiguredServer, OwnServer
from nightboard.flows.run.report import RunReport
from nightboard.tasks.cluster import submission
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.hub.http_retry import RetryPolicy
from nightboard.tasks.store.layout import StoreError

pytestmark = pytest.mark.real

JOB = """
import sys
from pathlib import Path
from nightboard.tasks.evaluation.job_process import main
sys.exit(main(Path(sys.argv[1])))
"""
EVERY_STEP = (
    "collect",
    "discover",
    "pin datasets",
    "read requests",
    "plan",
    "fetch datasets",
    "claim",
    "launch",
    "rebuild",
    "report",
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_once(tmp_path_factory, "models", make_models)


@pytest.fixture(scope="module")
def server_url(empty_history: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    own = OwnServer(Path(shutil.copytree(empty_history, tmp_path_factory.mktemp("history") / "prefect")))
    own.open_client()
    assert own.url
    yield own.url
    own.stop()


@pytest.fixture
def server(server_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """One server for all nights of this file that have a history; each would otherwise start its own."""
    from prefect.context import refresh_global_settings_context

    monkeypatch.setenv("PREFECT_API_URL", server_url)
    refresh_global_settings_context()
    return server_url


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first night that needs a dataset leaves it to the other tests."""
    return make_once(tmp_path_factory, "datasets", lambda _: None)


@pytest.fixture
def world(tmp_path: Path, models: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Jobs of nights in this process begin with their imports done; those of nights in another are started for real."""
    monkeypatch.setattr(submission, "make_command", lambda _, folder: shlex.join(warm_job(JOB, str(folder))))
    with open_world(tmp_path, models) as opened:
        opened.share_datasets(datasets)
        yield opened


def completed_once(world: World, evaluations: int) -> None:
    """Every evaluation is done, by exactly one completed attempt."""
    rows = world.query("select evaluation_id, count(*) from attempts where state = 'completed' group by all")
    assert [count for _, count in rows] == [1] * evaluations
    assert len(list((world.store.lake / "outcomes").iterdir())) == evaluations


def ask_prefect(path: Any, **wanted: object) -> list[dict[str, Any]]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found: list[dict[str, Any]] = client.request("POST", path, json=wanted).json()
        return found


def read_artifacts() -> dict[str, str]:
    return {each["key"]: str(each["data"]) for each in ask_prefect("/artifacts/latest/filter")}


def read_flow_runs() -> list[dict[str, Any]]:
    return ask_prefect("/flow_runs/filter", sort="START_TIME_ASC")


def read_steps(flow_run_id: str) -> list[tuple[str, str]]:
    found = ask_prefect("/task_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}})
    return [(each["name"], each["state_type"]) for each in sorted(found, key=lambda each: int(each["dynamic_key"]))]


def read_log(flow_run_id: str) -> list[tuple[int, str]]:
    """What the flow run's log says: levels, and the first word of each line."""
    found = ask_prefect("/logs/filter", logs={"flow_run_id": {"any_": [flow_run_id]}})
    return [(line["level"], line["message"].split()[0]) for line in found if line["name"] == "nightboard"]


def night_with_history(world: World) -> RunReport:
    history = History(Reporter(ConfiguredServer()))
    report = world.night(history=history)
    history.close()
    assert history.take_news() == []
    return report


def test_nights_evaluate_what_is_new_and_nothing_else(world: World, server: str) -> None:
    world.forget_datasets()
    world.add_model("lab/twin", source="lab/strong")
    first = night_with_history(world)
    assert sorted(each.model_id for each in first.evaluated) == ["lab/strong", "lab/weak"]
    assert world.ranking() == [("lab/strong", 1), ("lab/twin", 2), ("lab/weak", 3)]
    assert world.query("select identical_to from leaderboard where model_id = 'lab/twin'") == [("lab/strong",)]
    artifacts = read_artifacts()
    assert "lab/strong" in artifacts["world-ranking-small"]
    assert "## Evaluated (2)" in artifacts["world-report"]
    assert float(artifacts["world-evaluations"]) == 100
    run = read_flow_runs()[-1]
    assert (run["name"], run["state_name"], run["tags"]) == ("nightly world", "Completed", ["board:world"])
    steps = read_steps(run["id"])
    scored = [name.partition("@")[0] for name, state in steps if "@" in name and state == "COMPLETED"]
    assert sorted(scored) == ["lab/strong", "lab/weak"]
    told = [word for level, word in read_log(run["id"]) if level == logging.INFO]
    assert {"Collect:", "Discover:", "Plan:", "Launch:", "completed", "Rebuild:"} <= set(told)

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

    make_plan = module.make_plan.fn
    delete = lambda *args: (make_plan(*args), world.hub.delete_repo("lab/weak"))[0]  # noqa: E731
    monkeypatch.setattr(module.make_plan, "fn", delete)
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
    from nightboard.tasks.hub import client as hub

    monkeypatch.setattr(module.discover_commits, "retry_delay_seconds", 0)
    monkeypatch.setattr(hub, "RetryPolicy", lambda: RetryPolicy(tries=2, sleep=lambda _: None))
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


def test_one_repository_with_lasting_errors_stops_nobody_else_and_the_wait_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nightboard.tasks.hub import client as hub

    monkeypatch.setattr(hub, "RetryPolicy", lambda: RetryPolicy(tries=3, sleep=lambda _: None))
    world.hub.fail_next(1000, 500, path_contains="lab/weak/tree")
    odd = {"config.json": b'{"architectures": ["\\ud800\\u001b[31m"]}', "README.md": b"---\nlicense: \\uD800\n---\n"}
    world.add_model("lab/odd", source="lab/weak", **odd)
    report = world.night()
    assert {each.model_id: each.state for each in report.new_commits} == {"lab/odd": "rejected", "lab/strong": "ok"}
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("is not available (it answered 500): retrying until ") == 1
    assert [each.model_id for each in report.evaluated] == ["lab/strong"]
    assert "lab/weak" in report.problems[0]


def test_a_broken_model_fails_alone_and_is_given_up(world: World, server: str) -> None:
    weights = (world.models / "lab/weak" / "model.safetensors").read_bytes()
    world.add_model("lab/broken", source="lab/weak", **{"model.safetensors": weights[:-4000]})
    report = night_with_history(world)
    assert len(report.evaluated) == 2
    told = read_flow_runs()[-1]
    assert (told["state_type"], told["state_name"]) == ("FAILED", "Failed")
    assert set(told["tags"]) == {"board:world", "with-failures"}
    assert {each.model_id for each in report.failed} == {"lab/broken"}
    assert report.failed[0].log_tail
    again = world.night()
    assert not again.plan.evaluations or {e.model_id for e in again.plan.evaluations} == {"lab/broken"}
    given_up = world.night()
    assert [(skip.model_id, skip.kind) for skip in given_up.plan.skipped if skip.kind != "done"] == [
        ("lab/broken", "gave_up")
    ]
    assert [skip.model_id for skip in given_up.given_up] == ["lab/broken"]
    assert not given_up.has_failures, "it is no failure of this night"
    assert [model for model, _ in world.ranking()] == ["lab/strong", "lab/weak"]


def test_a_gated_dataset_costs_its_benchmark_alone_which_runs_alone_once_it_opens(world: World) -> None:
    world.forget_datasets()
    world.hub.delete_repo("lab/weak")
    world.hub.set_access("TIGER-Lab/MMLU-Pro", kind="dataset", gated=True)
    gated = world.night()
    assert [(skip.kind, skip.benchmarks) for skip in gated.plan.skipped] == [("unavailable", ("mmlu_pro",))]
    assert len(gated.evaluated) == 1
    assert world.ranking() == [], "a model without a benchmark has no rank"
    assert world.query("select benchmark, starts_with(problem, 'not run: ') from coverage where not is_complete") == [
        ("mmlu_pro", True)
    ]
    world.hub.set_access("TIGER-Lab/MMLU-Pro", kind="dataset", gated=False)
    opened = world.night()
    assert [shard.shard.benchmarks for job in opened.plan.jobs for shard in job.attempts] == [("mmlu_pro",)]
    assert not opened.problems
    assert world.ranking() == [("lab/strong", 1)]
    assert world.query("select count(distinct measured_by) from task_scores") == [(1,)]


def test_a_flow_killed_after_any_step_is_finished_by_the_next(world: World) -> None:
    world.forget_datasets()
    for step in EVERY_STEP:
        process = world.start_night(stop_after=step)
        _, errors = process.communicate(timeout=900)
        assert process.returncode == -signal.SIGKILL, f"{step}: {errors[-2000:]}"
    last = world.start_night()
    output, errors = last.communicate(timeout=900)
    assert last.returncode == 0, errors[-2000:]
    report = json.loads(output.splitlines()[-1])
    assert not report["problems"]
    assert not report["in_flight"]
    completed_once(world, 2)
    assert [model for model, _ in world.ranking()] == ["lab/strong", "lab/weak"]


def test_two_nights_at_once_evaluate_everything_once_and_leave_nothing_open_to_others(world: World) -> None:
    world.forget_datasets()
    flows = [world.start_night(umask=0), world.start_night(umask=0)]
    for each in flows:
        _, errors = each.communicate(timeout=900)
        assert each.returncode == 0, errors[-2000:]
    world.night()
    completed_once(world, 2)
    assert world.query("select max(attempt) from attempts") == [(1,)]
    made = [path for path in world.store.root.rglob("*") if not path.is_symlink()]
    assert [str(path) for path in made if path.stat().st_mode & 0o022] == []


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

    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for benchmark in BENCHMARKS:
            if found := list(world.store.runs.glob(f"*/all/work/{benchmark}/manifest.json")):
                return found[0].parent
        time.sleep(0.02)
    raise AssertionError("no benchmark was finished")


def test_a_night_that_prefect_starts_is_shown_in_the_run_that_prefect_made(world: World, server: str) -> None:
    from nightboard.flows.nightly import nightly

    (world.folder / "watchlists/world.yaml").write_text("watchlist: world\nmodels: [lab/strong, lab/none]\n")
    world.hub.delete_repo("lab/strong")
    before = len(read_flow_runs())
    nightly(world.board, models=["lab/none"], return_state=True)
    runs = read_flow_runs()
    assert len(runs) == before + 1
    log = read_log(runs[-1]["id"])
    assert [word for level, word in log if level == logging.INFO][:2] == ["Collect:", "Asking"]
    assert (logging.WARNING, "lab/none:") in log
    assert (logging.WARNING, "lab/strong:") not in log, "it is gone, too, but was not asked for"
    state = (runs[-1]["state_type"], runs[-1]["state_name"])
    assert (state, runs[-1]["tags"]) == (("FAILED", "Failed"), ["board:world", "with-failures"])
    assert [name for name, _ in read_steps(runs[-1]["id"])] == [
        "collect", "discover", "pin datasets", "read requests", "plan", "fetch datasets", "rebuild", "report",
    ]  # fmt: skip


def test_the_command_line_says_how_a_night_ended_also_when_no_prefect_server_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = warm_command(*arguments, "--board", world.board)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    started = run("nightly", "--wait", "0")
    assert started.returncode == 0, started.stdout + started.stderr
    assert "2 evaluations still running" in started.stdout
    world.wait_for_outcomes(2)
    collected = run("collect")
    assert collected.returncode == 0, collected.stdout + collected.stderr
    ranked = run("rank", "--format", "json")
    assert [row["model_id"] for row in json.loads(ranked.stdout)] == ["lab/strong", "lab/weak"]
    assert started.stdout.count("No history: the Prefect server at http://127.0.0.1:9/api") == 1
    assert started.stderr == "", "neither Prefect nor DuckDB has a word of its own"
