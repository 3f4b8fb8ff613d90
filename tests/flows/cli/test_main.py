"""The command line: help, exit codes, formats, and one message for what a user got wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer
import world
from typer.testing import CliRunner
from warm import warm_command

from nightboard.flows.cli import main as cli
from nightboard.flows.cli.main import app, describe_os_error
from nightboard.tasks.cluster.executor import ExecutorError
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.errors import HubError
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.output_file import OutputFileError
from nightboard.tasks.runs.cancel import CancelError
from nightboard.tasks.runs.retry_stopped import FreeError
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import RecordError
from nightboard.warehouse.builder.build import BuildError
from nightboard.warehouse.builder.publish import NoBuildError
from nightboard.warehouse.lake.files import LakeError
from nightboard.warehouse.reader.connection import QueryError
from nightboard.warehouse.reader.shell import ShellError

runner = CliRunner()


def list_commands(typed: typer.Typer, before: str = "") -> list[str]:
    names = [before + (each.name or each.callback.__name__) for each in typed.registered_commands if each.callback]
    for group in typed.registered_groups:
        assert group.typer_instance
        names += list_commands(group.typer_instance, f"{before}{group.name} " if group.name else before)
    return names


COMMANDS = sorted(list_commands(app))


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


@pytest.mark.parametrize("arguments", [["--help"], ["import", "--help"]])
def test_the_list_of_commands_has_a_whole_sentence_for_each(arguments: list[str]) -> None:
    listed = runner.invoke(app, arguments, terminal_width=80).output.partition("Commands:")[2].strip().splitlines()
    assert len(listed) > 3
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


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


def test_validate_and_board_take_a_name_without_ending_and_say_which_of_two_they_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "title: Mine\nwatch: quickstart\nsuites: [quickstart]\ncluster: local\nstore: ./store\n"
    for name in ("mine", "quickstart"):
        Path(f"{name}.yaml").write_text(f"board: {name}\n{text}")
    alone, both = (runner.invoke(app, ["validate", name]) for name in ("mine", "quickstart"))
    assert (alone.exit_code, alone.output) == (0, "1 profile: no mistakes.\n")
    assert both.exit_code == 0
    says = "quickstart: using the file quickstart.yaml in this folder, not the shipped "
    assert both.stderr == f"{says}profile.\n"
    assert runner.invoke(app, ["rank", "--board", "mine"]).stderr == ""
    assert runner.invoke(app, ["rank", "--board", "quickstart"]).stderr == f"{says}board.\n"


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
        ["plot"],
        ["plot", "no", "--store", ".", "--out", "a.svg"],
        ["plot", "size", "--store", "."],
        ["plot", "size", "--store", ".", "--out", "a.pdf"],
        ["plot", "size", "lab/a", "--store", ".", "--out", "a.svg"],
        ["plot", "compare", "lab/a", "--store", ".", "--out", "a.svg"],
        ["plot", "size", "--store", ".", "--out", "a.svg", "--width", "10"],
        ["no"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def test_what_the_system_refuses_is_told_with_what_to_do() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert describe_os_error(full) == "No space left on device. Make room on the disk, then run it again."
    closed = PermissionError(errno.EACCES, "Permission denied", "/a")
    assert describe_os_error(closed) == "/a: Permission denied. Check the path and its permissions."


def fail(error: BaseException) -> None:
    raise error


def run_main(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with an error, with exit code 1."""
    monkeypatch.setattr(cli, "choose_app", lambda *words: lambda: fail(error))
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


@pytest.mark.parametrize(
    "known",
    [
        BuildError, CancelError, ExecutorError, FetchError, FreeError, HubError, ImportFileError, LakeError,
        NoBuildError, OutputFileError, QueryError, RecordError, ShellError, StoreError,
    ],
)  # fmt: skip
def test_what_a_task_or_the_warehouse_refuses_is_its_message_alone(
    known: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(known("no such thing"), monkeypatch, capsys) == "nightboard: no such thing\n"


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank", "--format", "jsonlines"], "'jsonlines' is not one of 'table', 'csv'"),
        (["rank", "--top", "0"], "must be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_of_an_option_is_said_in_plain_words(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightboard", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2
    assert message in shown and "Value error" not in shown and "Input should" not in shown


def test_a_store_that_is_not_there_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nightboard", "rank", "--store", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        cli.main()
    says = f"{tmp_path}/nowhere: there is no store here. Check the path, or run `nightboard nightly` first."
    assert says in capsys.readouterr().err


def test_validate_reads_the_selections_beside_a_board_and_points_at_each_mistake(tmp_path: Path) -> None:
    names = ("suites/small", "watchlists/world", "clusters/quick", "world")
    texts = (world.SUITE, world.WATCHLIST, world.CLUSTER.format(max_jobs=1), world.BOARD.format(endpoint="http://hub"))
    for name, text in zip(names, texts, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    file = tmp_path / "selectors.yaml"
    file.write_text("selectors:\n  bad: org:lab,state:mising\n  good: org:lab\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    for given in (tmp_path / "world.yaml", file, tmp_path):
        result = runner.invoke(app, ["validate", "--no-harness", str(given)])
        assert result.exit_code == 1
        told = result.output[result.output.index(str(file)) :]
        assert told.startswith(f"{file}:2: selectors.bad: unknown state 'mising'. Did you mean missing? ")
        assert told.splitlines()[1:3] == ["  org:lab,state:mising", "                ^"]
        assert told.splitlines()[3] == ("1 mistake." if given != tmp_path else "2 mistakes."), "each once"
    file.write_text("selectors:\n  good: org:lab\n")
    assert runner.invoke(app, ["validate", "--no-harness", str(tmp_path / "world.yaml")]).exit_code == 0
