"""What nightly, collect and rebuild print: a few lines, nothing with --quiet; and how long a run took."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import world
from builders import NOW
from typer.testing import CliRunner

from nightboard.flows.cli import runs
from nightboard.flows.cli.main import app
from nightboard.flows.prefect_server.history import NO_HISTORY, History
from nightboard.flows.run.report import RunReport, describe_run, summarize_run
from nightboard.tasks.planning.result import Plan, Skip
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Outcome

OPEN = "5019fa19539d7e09f865d59dcaa39ac9"
GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board over a store in which one attempt has failed and is not collected."""
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    attempt = Store(tmp_path / "store").attempt_dir(OPEN, "all", 1)
    outcome = Outcome(state="failed", reason="no weights", started_at=NOW, ended_at=NOW)
    (attempt / "outcome.json").write_bytes(outcome.to_bytes())
    kinds = {"suites/small": world.SUITE, "watchlists/world": world.WATCHLIST}
    kinds |= {"clusters/quick": world.CLUSTER.format(max_jobs=1)}
    kinds |= {"world": world.BOARD.format(endpoint="http://127.0.0.1:9")}
    for kind, text in kinds.items():
        path = tmp_path / f"{kind}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path / "world.yaml"


def run(*arguments: str, exit_code: int = 0) -> list[str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.output.splitlines()


def report_of(given_up: tuple[Skip, ...] = ()) -> RunReport:
    plan = Plan(board="b", created_at=NOW, evaluations=(), jobs=(), skipped=(), gpu_hours=0, estimate_s=0)
    return RunReport(
        board="b", started_at=NOW, ended_at=NOW, new_commits=(), plan=plan, collected=(), in_flight=(),
        not_started=(), problems=(), given_up=given_up,
    )  # fmt: skip


def test_collect_says_what_has_ended_and_rebuilds_where_the_lake_has_grown(board: Path) -> None:
    warned, log, collected, rebuilt = run("collect", "--board", str(board), exit_code=3)
    assert warned == "! failed lab/three@3333333 s: no weights"
    assert log.startswith(f"  log: {board.parent}/store/runs/"), "a whole path, whatever the width"
    assert collected == "Collect: 1 attempt collected, 0 evaluations still running."
    assert rebuilt.startswith("Rebuild: nightboard-")
    assert run("collect", "--board", str(board)) == [
        "Collect: 0 attempts collected, 0 evaluations still running.",
        "Rebuild: nothing new since the current build.",
    ]


def test_quiet_leaves_warnings_and_the_exit_code(board: Path) -> None:
    assert run("collect", "--board", str(board), "--quiet", exit_code=3) == ["! failed lab/three@3333333 s: no weights"]
    assert run("collect", "--board", str(board), "--quiet") == []


def test_rebuild_builds_again_whether_the_lake_has_grown_or_not(board: Path) -> None:
    run("rebuild", "--board", str(board), "--quiet")
    (rebuilt,) = run("rebuild", "--board", str(board))
    assert rebuilt.startswith("Rebuild: nightboard-")


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_a_night_that_leaves_given_up_models_behind_says_how_many_each_time_and_ends_well(
    board: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = {"lab/a": "CUDA error 700", "lab/b": "CUDA error 719", "lab/c": "no weights"}
    given_up = tuple(
        Skip(model_id=name, revision="1" * 40, suite=suite, kind="gave_up", reason=f"gave up after 2 failures: {why}")
        for name, why in reasons.items()
        for suite in ("s", "t")
    )
    report = report_of(given_up=given_up)
    monkeypatch.setattr("nightboard.flows.cli.leaderboard.show_rankings", lambda *args: None)
    monkeypatch.setattr("nightboard.flows.nightly.run_nightly", lambda *args, **kwargs: report)
    monkeypatch.setattr("nightboard.flows.prefect_server.history.open_history", lambda *a, **k: nullcontext(NO_HISTORY))
    lines = run("nightly", "--board", str(board), *options)
    told = " ".join(lines)
    assert f"! 3 models given up: `nightboard retry --board {board} --all` lets the next run try again;" in told
    assert "`nightboard why MODEL` says what happened." in told
    causes = [line for line in lines if line.startswith("  gave up")]
    assert causes == ([] if options else [
        "  gave up after 2 failures: CUDA error 700 (lab/a, lab/b)", "  gave up after 2 failures: no weights (lab/c)",
    ])  # fmt: skip
    assert summarize_run(report) == "0 evaluations completed, 0 failed, 3 models given up"
    assert "## Given up (3)\n\n- gave up after 2 failures: CUDA error 700 (lab/a, lab/b)\n" in describe_run(report)
    assert "`nightboard retry --board b --all`" in describe_run(report)
    assert not report.has_failures


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_the_time_of_a_run_counts_from_the_start_of_the_command(
    board: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0

    def run_nightly(*args: object, **kwargs: object) -> RunReport:
        nonlocal now_s
        now_s += 3
        return report_of()

    @contextlib.contextmanager
    def open_slow_history(state_dir: Path, **options: bool) -> Iterator[History]:
        nonlocal now_s
        yield NO_HISTORY
        now_s += 22

    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr("nightboard.flows.prefect_server.history.open_history", open_slow_history)
    monkeypatch.setattr("nightboard.flows.cli.leaderboard.show_rankings", lambda *args: None)
    monkeypatch.setattr("nightboard.flows.nightly.run_nightly", run_nightly)
    lines = run("nightly", "--board", str(board), *options)
    assert lines == ([] if options else ["Run finished: 0 evaluations completed, 0 failed, in 25 s."])
