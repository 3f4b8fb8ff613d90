"""Builds the page from the current build of a store: reads the data, renders the files, publishes them as a whole.

The same build gives the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightboard.tasks.page.data import PageData, SuiteData, read_page_data
from nightboard.tasks.page.picture_page import PagePicture, read_pictures, write_pictures
from nightboard.tasks.page.publish import publish
from nightboard.tasks.page.render import FOLDER, as_script, render
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.reader.connection import connect

# So many rows are real HTML, which shows without scripts.
FIRST_ROWS = 100


@dataclass(frozen=True)
class Page:
    """What was published: the file to open, the number of files and of bytes."""

    index: Path
    n_files: int
    n_bytes: int


def build_page(store: Store, out: Path, title: str) -> Page:
    """Write the page of a store's current build into the folder `out`, in place of the one that is there.

    Raises NoBuildError where there is no build, PageError where the folder cannot be written.
    """
    with connect(store.warehouse) as con:
        data = read_page_data(con)
        pictures = read_pictures(con)
    with publish(out) as folder:
        write_page(data, pictures, folder, title)
        files = [path for path in folder.rglob("*") if path.is_file()]
        n_bytes = sum(path.stat().st_size for path in files)
    return Page(out.absolute() / "index.html", len(files), n_bytes)


def write_page(data: PageData, pictures: list[PagePicture], folder: Path, title: str) -> None:
    """Write all files of the page into an empty folder."""
    shutil.copytree(FOLDER / "assets", folder / "assets", dirs_exist_ok=True)
    data_file = _write_data(data, folder / "data")
    suite = data.suites[0] if data.suites else SuiteData("", "", (), (), {"model_id": []})
    era = suite.eras[0] if suite.eras else ""
    rows = suite.list_rows(era, FIRST_ROWS) if era else []
    values = {
        "title": title,
        "root": "",
        "page": data,
        "suite": suite,
        "era": era,
        "rows": rows,
        "data_file": data_file,
    }
    (folder / "index.html").write_text(render("index.html", values))
    write_pictures(pictures, folder, values)


def _write_data(data: PageData, folder: Path) -> str:
    """The rows as a script, in a file whose name tells its content: an old tab never reads the data of a new page."""
    script = as_script("window.nightboard", {"suites": [_describe(suite) for suite in data.suites]})
    name = f"rows-{hashlib.sha256(script.encode()).hexdigest()[:12]}.js"
    folder.mkdir()
    (folder / name).write_text(script)
    return name


def _describe(suite: SuiteData) -> dict[str, Any]:
    return asdict(suite)
