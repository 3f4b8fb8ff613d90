"""`nightboard plot`: a file as it was asked for, or one sentence that says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from make_lake import START, Lake
from typer.testing import CliRunner, Result

from nightboard.flows.cli.main import app
from nightboard.tasks.page.pictures.catalog import PICTURES
from nightboard.warehouse.builder.build import build

COMMAND = str(Path(sys.executable).with_name("nightboard"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, folder = Lake(), tmp_path_factory.mktemp("store")
    lake.suite()
    lake.era("now")
    for number, model in enumerate(("org/good", "org/fair")):
        lake.commit(model)
        lake.done(f"e{number}", model, scores=0.9 - number / 2)
        lake.samples(f"e{number}")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


def plot(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plot", *arguments])


def test_the_list_has_a_line_for_each_picture() -> None:
    lines = plot("--list").output.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [*PICTURES]
    assert all(line.endswith(".") for line in lines)


def test_a_picture_is_written_once_and_replaced_when_forced(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "size.svg"
    arguments = ["size", "--store", str(store), "--out", str(out), "--width", "500"]
    assert plot(*arguments).output == f"Drawn to {out}.\n"
    assert ElementTree.parse(out).getroot().attrib["width"] == "500"
    assert plot(*arguments).exit_code == 1
    assert plot(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize("names", [["history", "good"], ["compare", "good", "fair"], ["size"]])
def test_models_are_named_as_compare_takes_them(names: list[str], store: Path, tmp_path: Path) -> None:
    out = tmp_path / "picture.svg"
    assert plot(*names, "--store", str(store), "--out", str(out)).exit_code == 0
    assert "org/good" in out.read_text()


def test_a_png_is_drawn_where_the_package_is_installed(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    assert plot("size", "--store", str(store), "--out", str(tmp_path / "size.png")).exit_code == 0
    assert (tmp_path / "size.png").read_bytes().startswith(b"\x89PNG")


def test_without_data_one_sentence_tells_and_no_file_is_left(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "shifts.svg"
    command = [COMMAND, "plot", "shifts", "--store", str(store), "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "nightboard: no model is ranked in both leaderboard-v1 and leaderboard-v2.\n"
    assert not out.exists()
