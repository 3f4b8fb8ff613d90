"""The commands that run evaluations: what a retry chooses, and waiting times."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
import world
from builders import NOW
from fake_cluster import FakeExecutor, make_job, make_launcher
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.flows.cli.runs import confirm_cost, parse_minutes
from nightboard.tasks.cluster.dry_run import DryExecutor
from nightboard.tasks.planning.result import Plan
from nightboard.tasks.runs.open_runs import find_executor
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Outcome, Submission

runner = CliRunner()


@pytest.mark.parametrize(
    ("text", "minutes"), [(None, None), ("0", 0), ("90s", 1.5), ("30m", 30), ("8h", 480), ("1.5d", 2160)]
)
def test_waiting_times_are_read_in_the_usual_units(text: str | None, minutes: float | None) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["8", "h", "-1h", "1w", ""])
def test_a_waiting_time_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_minutes(text)


def write_world(tmp_path: Path) -> str:
    kinds = {"suites/small": world.SUITE, "watchlists/world": world.WATCHLIST}
    kinds |= {"world": world.BOARD.format(endpoint="http://127.0.0.1:9"), "clusters/quick": world.CLUSTER}
    for kind, text in kinds.items():
        path = tmp_path / f"{kind}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(max_jobs=1) if kind.startswith("clusters") else text)
    return str(tmp_path / "world.yaml")


def test_to_cancel_all_where_nothing_runs_says_so(tmp_path: Path) -> None:
    cancelled = runner.invoke(app, ["cancel", "-b", write_world(tmp_path), "--all"])
    assert (cancelled.exit_code, cancelled.output) == (0, "No evaluations are running or waiting; nothing changed.\n")


def test_retry_frees_what_gave_up_once_and_says_what(tmp_path: Path) -> None:
    board = write_world(tmp_path)
    store, executor = Store(tmp_path / "store"), FakeExecutor()
    for attempt in (1, 2):
        make_launcher(store, executor).launch([make_job("a", "b", attempt=attempt)], NOW)
        for name in "ab":
            state = "failed" if name == "a" else "environment"
            outcome = Outcome(state=state, reason="CUDA error", started_at=NOW, ended_at=NOW)
            (store.attempt_dir(name, "all", attempt) / "outcome.json").write_bytes(outcome.to_bytes())
        reconcile(store, executor, NOW)

    def retry(*arguments: str) -> str:
        result = runner.invoke(app, ["retry", "-b", board, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "would retry  lab/a@1111111 small: gave up after 2 failed attempts: CUDA error" in retry(
        "--all", "--dry-run"
    )
    assert not list(store.runs.glob("*/freed.json"))
    nothing = retry("--all", "--state", "cancelled")
    assert "No matching evaluation" in nothing and "after `nightboard collect`" in " ".join(nothing.split())
    assert "No matching evaluation" in retry("--all", "--reason", "disk")
    assert "1 evaluation to retry." in retry("lab/a", "--state", "failed", "--reason", "CUDA")
    assert "No matching evaluation" in retry("--all"), "what its environment failed has not given up"
    missed = runner.invoke(app, ["retry", "-b", board, "lab/b"])
    assert str(missed.exception) == (
        "lab/b: is neither stopped nor cancelled, so it needs no retry. What has just failed or been cancelled can be"
        " retried after `nightboard collect`."
    )


def test_status_needs_no_board_where_a_store_is_named(tmp_path: Path) -> None:
    missing = runner.invoke(app, ["status", "--store", str(tmp_path / "store")])
    assert "is not a store" in str(missing.exception)
    store = Store(tmp_path / "store")
    store.lake.mkdir(parents=True)
    shown = runner.invoke(app, ["status", "--store", str(store.root)]).output
    assert shown.startswith("No evaluations are running.\nDisk: ")
    make_launcher(store, DryExecutor()).launch([make_job("a")], NOW)
    assert find_executor(store, NOW) == "dry"
    shown = runner.invoke(app, ["status", "--store", str(store.root), "--format", "json"], catch_exceptions=False)
    (row,) = json.loads(shown.output)["open"]
    report = DryExecutor().poll([Submission.read(next(store.launches.glob("*/submission.json")))], NOW)
    assert row["model_id"] == "lab/a" and row["state"] == report[row["job_id"]].state


def test_status_finds_the_one_board_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "title: M\nwatch: quickstart\nsuites: [quickstart]\ncluster: local\nstore: store\n"
    (tmp_path / "notes.yaml").write_text("not: a board\n")
    (tmp_path / "mine.yaml").write_text(f"board: mine\n{text}")
    shown = runner.invoke(app, ["status"], catch_exceptions=False).output
    assert "Next run: " in shown and "02:00 UTC" in shown
    (tmp_path / "boards").mkdir()
    for name in ("third", "other"):
        (tmp_path / f"boards/{name}.yaml").write_text(f"board: {name}\n{text}")
    assert runner.invoke(app, ["status"]).output == shown, "a board in this folder comes first"
    (tmp_path / "mine.yaml").rename(tmp_path / "boards/mine.yaml")
    assert "name one with --board: mine, other, third" in read_box(["status"])
    (tmp_path / "boards/third.yaml").unlink()
    (tmp_path / "boards/other.yaml").unlink()
    assert runner.invoke(app, ["status"]).output == shown.replace("/store", "/boards/store")


READERS = ["rank", "compare a b", "sql from_x", "page", "plot size --out x.svg", "export models -o x.csv", "status"]


@pytest.mark.parametrize("command", [*READERS, "queue", "why a", "plan"])
def test_who_reads_finds_the_board_here_and_says_where_it_looked(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    says = "no board in this folder or in boards/; add --store FOLDER or --board BOARD"
    assert says in read_box(command.split())
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards/mine.yaml").write_text("board: mine\ntitle: M\n")
    assert "mine.yaml:1: watch: " in str(runner.invoke(app, command.split()).exception)


def read_box(command: list[str]) -> str:
    """What a command says of wrong usage, without its frame."""
    wrong = runner.invoke(app, command)
    assert wrong.exit_code == 2
    return " ".join(re.sub("[│╭╰─╮╯]", "", wrong.output).split())


def test_a_backfill_of_no_benchmark_is_wrong_usage_and_not_all_of_them() -> None:
    given = runner.invoke(app, ["backfill", "--board", "mine", "--select", "model:*", "--benchmarks", " , "])
    assert (given.exit_code, "names no benchmark; leave it away for all" in given.output) == (2, True)


def test_a_backfill_above_the_boards_limit_needs_a_yes() -> None:
    job = make_job("a").model_copy(update={"gpus": 4})
    plan = Plan(board="b", created_at=NOW, evaluations=(), jobs=(job,), skipped=(), gpu_hours=0, estimate_s=0)
    hours = job.estimate_s * 4 / 3600
    assert plan.device_hours == pytest.approx(hours)
    assert confirm_cost(plan, None, is_sure=False)
    assert confirm_cost(plan, hours + 1, is_sure=False)
    assert confirm_cost(plan, 0, is_sure=True)
    with pytest.raises(typer.BadParameter, match=r"above the 0 of ask_above_gpu_hours; add --yes to launch it"):
        confirm_cost(plan, 0, is_sure=False)
