"""What the tests of pages share: a Chromium, and the files built from the sources of the scripts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from once import make_once

from nightboard.tasks.page.render import FOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with their libraries, as the lock file names them; beside it `assets`, built from them."""
    if shutil.which("npm") is None:
        pytest.skip("no node and npm are installed: apt-get install npm")
    return make_once(tmp_path_factory, "built page", build_frontend) / "frontend"


def build_frontend(root: Path) -> None:
    folder = root / "frontend"
    shutil.copytree(FOLDER / "frontend", folder, ignore=shutil.ignore_patterns("node_modules"))
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    for command in (["npm", "ci", *options], ["npm", "run", "check"], ["npm", "run", "build"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
