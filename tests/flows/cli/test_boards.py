"""The commands about a board: why a model is where it is, for people and for machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from make_lake import START, Lake
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.why import print_why
from nightboard.tasks.runs.why import Why
from nightboard.warehouse.builder.build import build

runner = CliRunner(env={"COLUMNS": "100"})


def test_why_tells_suites_of_which_the_same_holds_together(tmp_path: Path) -> None:
    board = tmp_path / "mine.yaml"
    board.write_text("board: mine\ntitle: M\nwatch: few\nsuites: [quickstart, demo]\ncluster: local\nstore: store\n")
    watch = tmp_path / "few.yaml"
    watch.write_text("watchlist: few\nmodels: [lab/small]\n")
    arguments = ["why", "--board", str(board), "lab/other"]
    shown = runner.invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == [
        "quickstart, demo: left out lab/other",
        "  the watch list few does not follow it.",
        f"  do: Add `- lab/other` below models: in {watch}:2.",
    ]
    rows = json.loads(runner.invoke(app, [*arguments, "--format", "json"]).output)
    assert [(row["suite"], row["state"]) for row in rows] == [("quickstart", "left out"), ("demo", "left out")]
    missing = runner.invoke(app, ["why", "--board", str(board), "nothing"])
    assert "no model of the store or the watch list has this name" in str(missing.exception)


def test_why_needs_no_board_where_a_store_is_named(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.done("e0123456789", "lab/one")
    lake.commit("lab/one", has_chat_template=False, needs_remote_code=False, is_gated=False)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    shown = runner.invoke(app, ["why", "--store", str(tmp_path), "one"])
    first, reason, facts = shown.output.splitlines()
    assert first == "small: scored lab/one@r1"
    assert reason.startswith("  rank 1 of 1 in era ")
    assert facts.startswith("  average ") and "evaluation e0123456, 2026-01-01 01:00 UTC." in facts
    empty = runner.invoke(app, ["why", "--store", str(tmp_path / "none"), "one"])
    assert "is not a store" in str(empty.exception)


def test_a_failure_shows_the_end_of_its_log_and_a_command_that_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = Why(
        "small", "failed", "gave up after 2 failed attempts: no", "lab/a", "1" * 40, ("bbh",), "e" * 32,
        at=datetime(2026, 1, 1, tzinfo=UTC), ending="failed", log="/a store/" + "long " * 40 + "log.txt",
        log_tail=tuple(map(str, range(9))), do="nightboard retry --board mine lab/a",
    )  # fmt: skip
    print_why([failed], Format.table, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small (bbh): failed lab/a@1111111"
    assert lines[2] == "  evaluation eeeeeeee, 2026-01-01 00:00 UTC."
    assert lines[3:8] == [f"  | {number}" for number in range(4, 9)]
    assert lines[8:] == [f"  log: {failed.log}", f"  do: {failed.do}"]
