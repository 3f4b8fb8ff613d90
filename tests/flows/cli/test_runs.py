"""The commands that run evaluations: what a retry chooses, and waiting times."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
import world
from builders import NOW
from fake_cluster import FakeExecutor, make_job, make_launcher
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.flows.cli.runs import parse_minutes
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Outcome

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


def test_retry_frees_what_gave_up_once_and_says_what(tmp_path: Path) -> None:
    kinds = {"suites/small": world.SUITE, "watchlists/world": world.WATCHLIST}
    kinds |= {"world": world.BOARD.format(endpoint="http://127.0.0.1:9"), "clusters/quick": world.CLUSTER}
    for kind, text in kinds.items():
        path = tmp_path / f"{kind}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(max_jobs=1) if kind.startswith("clusters") else text)
    store, executor = Store(tmp_path / "store"), FakeExecutor()
    for attempt in (1, 2):
        make_launcher(store, executor).launch([make_job("a", "b", attempt=attempt)], NOW)
        for name in "ab":
            state = "failed" if name == "a" else "environment"
            outcome = Outcome(state=state, reason="CUDA error", started_at=NOW, ended_at=NOW)
            (store.attempt_dir(name, "all", attempt) / "outcome.json").write_bytes(outcome.to_bytes())
        reconcile(store, executor, NOW)

    def retry(*arguments: str) -> str:
        result = runner.invoke(app, ["retry", "-b", str(tmp_path / "world.yaml"), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "would retry  lab/a@1111111 small: gave up after 2 failed attempts: CUDA error" in retry(
        "--all", "--dry-run"
    )
    assert not list(store.runs.glob("*/freed.json"))
    assert "No matching evaluation" in retry("--all", "--state", "cancelled")
    assert "No matching evaluation" in retry("--all", "--reason", "disk")
    assert "1 evaluation to retry." in retry("lab/a", "--state", "failed", "--reason", "CUDA")
    assert "No matching evaluation" in retry("--all"), "what its environment failed has not given up"
    missed = runner.invoke(app, ["retry", "-b", str(tmp_path / "world.yaml"), "lab/b"])
    assert "lab/b: is neither stopped nor cancelled" in str(missed.exception)
