"""The command line: help, exit codes, formats, and one message for what a user got wrong."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import subprocess
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
import world
from builders import NOW
from fake_cluster import FakeExecutor, make_job, make_launcher
from rich.console import Console
from typer.testing import CliRunner
from warm import warm_command

from nightboard.flows.cli import main as cli
from nightboard.flows.cli.main import app, describe_os_error, parse_minutes
from nightboard.flows.display.console import Terminal
from nightboard.flows.display.formats import Format, to_bytes, to_score_text, to_text
from nightboard.flows.display.rows import tell_logs
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.layout import Store, StoreError
from nightboard.tasks.store.records import Outcome
from nightboard.warehouse.reader.questions import Result

runner = CliRunner()


def list_commands(typed: typer.Typer, before: str = "") -> list[str]:
    names = [before + (each.name or each.callback.__name__) for each in typed.registered_commands if each.callback]
    groups = [(each.name, each.typer_instance) for each in typed.registered_groups]
    return names + [name for title, group in groups if group for name in list_commands(group, f"{before}{title} ")]


COMMANDS = sorted(list_commands(app))
RESULT = Result(
    ["rank", "model_id", "average", "license"], [(1, "lab/a|b", 42.123456789012345, None), (2, "lab/c", 1.0, "mit")]
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(warm_command(*arguments), capture_output=True, text=True, check=False)


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(COMMANDS) >= {"demo", "nightly", "plan", "collect", "rebuild", "rank", "sql", "validate"}
    assert set(COMMANDS) >= {"import board", "import ranking", "import results"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = runner.invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"nightboard {command}" in result.output


def test_a_mistake_in_a_board_is_one_message_and_exit_code_1(tmp_path: Path) -> None:
    board = tmp_path / "mine.yaml"
    board.write_text("board: mine\ntitle: Mine\nwatch: quickstart\nsuits: [quickstart]\ncluster: lokal\nstore: 7\n")
    result = run("plan", "--board", str(board))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "mine.yaml:4: suits" in result.stderr
    assert "suites" in result.stderr
    assert "mine.yaml:5: cluster" in result.stderr
    assert "local" in result.stderr


def test_no_warehouse_yet_is_said_with_what_to_do(tmp_path: Path) -> None:
    result = run("rank", "--store", str(tmp_path))
    assert result.returncode == 1
    assert "nightboard nightly" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["rank"],
        ["rank", "--store", ".", "--top", "0"],
        ["rank", "--store", ".", "--top", "9" * 20],
        ["nightly", "-b", "demo", "--wait", "soon"],
        ["retry", "-b", "demo"],
        ["retry", "-b", "demo", "lab/a", "--all"],
        ["retry", "-b", "demo", "--all", "--state", "broken"],
        ["no"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("text", "minutes"), [(None, None), ("0", 0), ("90s", 1.5), ("30m", 30), ("8h", 480), ("1.5d", 2160)]
)
def test_waiting_times_are_read_in_the_usual_units(text: str | None, minutes: float | None) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["8", "h", "-1h", "1w", ""])
def test_a_waiting_time_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_minutes(text)


def test_machines_get_full_precision_and_people_two_decimals() -> None:
    records = json.loads(to_bytes(RESULT, Format.json))
    assert records[0] == {"rank": 1, "model_id": "lab/a|b", "average": 42.123456789012345, "license": None}
    assert to_bytes(RESULT, Format.csv).decode().splitlines()[1] == "1,lab/a|b,42.123456789012344,"
    assert pq.read_table(io.BytesIO(to_bytes(RESULT, Format.parquet))).to_pylist() == records
    markdown = to_bytes(RESULT, Format.markdown).decode().splitlines()
    assert markdown[2] == "| 1 | lab/a\\|b | 42.12 |  |"
    assert "42.12" in to_bytes(RESULT, Format.table).decode()


def test_a_cell_shows_short_revisions_and_small_sizes() -> None:
    assert to_text("revision", "a" * 40) == "aaaaaaa"
    assert to_text("params_b", 0.0012345) == "0.00123"
    assert to_text("license", None) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00412, "0.00412"), (-0.0012345, "-0.00123"), (0.05, "0.05"), (3.1e-7, "3.1e-07"), (0.0, "0.00"),
        (0.125, "0.12"), (99.999, "100.00"), (123456789.123, "123456789.12"), (1e300, "1e+300"),
        (-1.5e15, "-1.5e+15"), (Decimal("0.0030"), "0.003"), (math.inf, "inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_rounding_hides_no_small_number_and_prints_no_endless_one(value: float | Decimal, text: str) -> None:
    assert to_text("stderr", value) == text


def test_scores_have_two_decimals_however_small() -> None:
    assert to_score_text("arc", 0.0123) == "0.01"
    assert to_score_text("params_b", 0.0123) == "0.0123"
    assert to_score_text("license", None) == ""


def test_what_the_system_refuses_is_told_with_what_to_do() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert describe_os_error(full) == "No space left on device. Make room on the disk, then run it again."
    closed = PermissionError(errno.EACCES, "Permission denied", "/a")
    assert describe_os_error(closed) == "/a: Permission denied. Check the path and its permissions."


def fail(error: BaseException) -> None:
    raise error


def run_main(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with an error, with exit code 1."""
    monkeypatch.setattr(cli, "app", lambda: fail(error))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), RuntimeError("two\nlines"), MemoryError()])
def test_what_nobody_foresaw_is_one_sentence_and_a_log_with_the_traceback(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (line,) = run_main(error, monkeypatch, capsys).splitlines()
    (log,) = tmp_path.iterdir()
    assert f"Its traceback is in {log}" in line
    assert "Traceback" in log.read_text()
    assert type(error).__name__ in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_a_traceback_that_no_file_can_take_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/1/nothing")
    assert "Traceback" in run_main(KeyError("x"), monkeypatch, capsys)


def test_a_reader_that_has_gone_is_nothing_to_talk_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(BrokenPipeError(), monkeypatch, capsys) == ""


@pytest.mark.parametrize("error", [StoreError("\x1b]0;x\x07a\x9b2J\u202eb\ud800"), KeyError("\x1b[31m")])
def test_no_message_steers_the_terminal(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", run_main(error, monkeypatch, capsys))


@pytest.mark.parametrize("place", ["~nosuchuser/x", "loop", "file", "a?b", "a\\b", "loop/below", "file/below"])
def test_a_store_that_can_lie_nowhere_is_one_message(place: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    given = place if place.startswith("~") else str(tmp_path / place)
    board = tmp_path / "b.yaml"
    board.write_text(
        f"board: b\ntitle: B\nwatch: quickstart\nsuites: [quickstart]\ncluster: local\nstore: {json.dumps(given)}\n"
    )
    before = sorted(os.listdir(tmp_path))
    for arguments in (["rank", "--store", given], ["plan", "--board", str(board)]):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 1
        assert result.exception is not None
        (line,) = cli.describe_error(result.exception).splitlines()  # type: ignore[arg-type]
        assert "store: " in line
        assert "traceback" not in line
    assert sorted(os.listdir(tmp_path)) == before


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

    assert "would free  lab/a@1111111 small: gave up after 2 failed attempts: CUDA error" in retry("--all", "--dry-run")
    assert not list(store.runs.glob("*/freed.json"))
    assert "Nothing of the kind" in retry("--all", "--state", "cancelled")
    assert "Nothing of the kind" in retry("--all", "--reason", "disk")
    assert "1 evaluation freed." in retry("lab/a", "--state", "failed", "--reason", "CUDA")
    assert "Nothing of the kind" in retry("--all"), "what its environment failed has not given up"
    missed = runner.invoke(app, ["retry", "-b", str(tmp_path / "world.yaml"), "lab/b"])
    assert "lab/b: has neither given up nor been cancelled" in str(missed.exception)


def test_the_path_of_a_log_can_be_pasted(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/log.txt").touch()
    tell = tell_logs(Store(tmp_path))
    assert tell("log", "runs/log.txt") == str(tmp_path / "runs/log.txt")
    assert tell("log", "runs/gone.txt") == "runs/gone.txt"
    assert tell("reason", "runs/log.txt") == "runs/log.txt"
    text = io.StringIO()
    Terminal(Console(file=text, width=20)).say(f"  log: {tmp_path}/runs/log.txt")
    assert f"{tmp_path}/runs/log.txt" in text.getvalue(), "however narrow the terminal is"
