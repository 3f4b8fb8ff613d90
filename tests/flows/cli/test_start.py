"""A command imports what it needs and no more, so that it answers at once; shells complete what is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Set
from pathlib import Path

import pytest
from make_lake import START, Lake
from typer.main import get_command

from nightboard.flows.cli.main import app, choose_app
from nightboard.warehouse.builder.build import build

COMMAND = str(Path(sys.executable).with_name("nightboard"))
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
HELPS = [
    "--version",
    "--help",
    *(f"{name} --help" for name in COMMANDS),
    *(f"import {name} --help" for name in COMMANDS["import"].commands),
]
# Names the outside modules that a command has imported when it ends, whatever its exit code.
IMPORTED = """
import atexit, json, sys
from nightboard.flows.cli.main import main

def show():
    names = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
    print(json.dumps(sorted(names)), file=open(out, "w"))

out = sys.argv.pop(1)
atexit.register(show)
main()
"""
# What Python itself imports where a package is installed as a link, and the parts of these libraries.
PYTHON = {"__editable___nightboard_0_1_0_finder", "_distutils_hack", "__main__", "nightboard"}
TYPER = {"typer", "shellingham", "annotated_doc", "typing_extensions"}
# Typer converts the value of an option with it.
PYDANTIC = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
HELP = PYTHON | TYPER
QUERY = HELP | PYDANTIC | {"duckdb", "_duckdb", "rich"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, folder = Lake(), tmp_path_factory.mktemp("store")
    lake.suite()
    for model in ("org/good", "org/fair"):
        lake.commit(model)
        lake.done(f"e {model}", model, scores=0.5)
        lake.samples(f"e {model}")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


def list_imported(arguments: list[str], folder: Path) -> set[str]:
    out = folder / "imported.json"
    command = [sys.executable, "-c", IMPORTED, str(out), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    # Helpers of compiled modules and of the interpreter's build say nothing about a library.
    return {name for name in json.loads(out.read_text()) if not name.startswith(("_sysconfig", "_cython", "cython"))}


@pytest.mark.parametrize("arguments", HELPS)
def test_help_imports_typer_alone(arguments: str, tmp_path: Path) -> None:
    assert list_imported(arguments.split(), tmp_path) - HELP == set()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["rank"], {"rank", "compare"}),
        (["import"], {"import"}),
        (["--version"], set()),
        (["--help"], COMMANDS.keys()),
        (["rnak"], COMMANDS.keys()),
        ([], COMMANDS.keys()),
    ],
)
def test_a_command_makes_the_options_of_its_own_group_alone(words: list[str], left: Set[str]) -> None:
    assert get_command(choose_app(*words)).commands.keys() == left  # type: ignore[attr-defined]
    assert get_command(app).commands.keys() == COMMANDS.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ["rank"],
        ["rank", "--format", "csv", "--no-merges"],
        ["compare", "org/good", "org/fair"],
        ["sql", "select model_id from leaderboard"],
        ["sql", "select model_id from leaderboard", "--format", "json"],
    ],
)
def test_a_query_imports_neither_arrow_nor_what_reads_profiles(
    arguments: list[str], store: Path, tmp_path: Path
) -> None:
    assert list_imported([*arguments, "--store", str(store)], tmp_path) - QUERY == set()


def test_a_picture_imports_no_more_than_a_query_and_the_templates(store: Path, tmp_path: Path) -> None:
    arguments = ["plot", "size", "--store", str(store), "--out", str(tmp_path / "size.svg")]
    assert list_imported(arguments, tmp_path) - QUERY == {"jinja2", "markupsafe"}


def test_the_ranking_of_a_board_reads_its_profiles_and_no_tables(store: Path, tmp_path: Path) -> None:
    board = tmp_path / "mine.yaml"
    board.write_text(f"board: mine\ntitle: M\nwatch: quickstart\nsuites: [small]\ncluster: local\nstore: {store}\n")
    (tmp_path / "small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nlimit: 1\n")
    assert list_imported(["rank", "--board", str(board)], tmp_path) - QUERY == {"ruamel", "_ruamel_yaml"}


def test_a_page_needs_its_templates_and_no_tables(store: Path, tmp_path: Path) -> None:
    imported = list_imported(["page", "--store", str(store), "--out", str(tmp_path / "page"), "--quiet"], tmp_path)
    assert imported - QUERY == {"jinja2", "markupsafe", "pytz", "ruamel", "_ruamel_yaml"}


def test_status_reads_profiles_and_no_tables(tmp_path: Path) -> None:
    board = tmp_path / "mine.yaml"
    board.write_text(
        f"board: mine\ntitle: M\nwatch: quickstart\nsuites: [quickstart]\ncluster: local\nstore: {tmp_path}/store\n"
    )
    read_profiles = {"ruamel", "_ruamel_yaml", "cronsim"}
    assert list_imported(["status", "--board", str(board)], tmp_path) - HELP - PYDANTIC - read_profiles == {"rich"}


def test_the_queue_reads_tables_without_arrow(store: Path, tmp_path: Path) -> None:
    assert list_imported(["queue", "--store", str(store)], tmp_path) - QUERY == set()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("nightboard rank", "rank"),
        ("nightboard import ra", "ranking"),
        ("nightboard plan --board q", "quickstart"),
        ("nightboard rank --suite leaderboard", "leaderboard-v1\nleaderboard-v2"),
        ("nightboard rank --format cs", "csv"),
        ("nightboard nightly --dry", "--dry-run"),
        ("nightboard plot si", "size"),
    ],
)
def test_a_shell_completes_commands_options_and_their_values(words: str, completed: str) -> None:
    asked = {
        "_NIGHTBOARD_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    ended = subprocess.run([COMMAND], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, completed + "\n", "")


def test_completion_installs_itself_for_the_shell_that_calls(tmp_path: Path) -> None:
    script = f"{COMMAND} --install-completion"
    ended = subprocess.run(
        ["bash", "-c", f"{script}; exit $?"],
        env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "bash completion installed" in ended.stdout
    assert "complete_bash" in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
