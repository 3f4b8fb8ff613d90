"""Builds the page from the current build of a store: reads the data, renders the files, publishes them as a whole.

The same build gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from nightboard.tasks.page.columns import list_columns, write_rows
from nightboard.tasks.page.data import PageData, SuiteData, read_page_data
from nightboard.tasks.page.pack import pack_suite
from nightboard.tasks.page.picture_page import read_pictures, write_pictures
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
        write_page(data, folder, title, has_pictures=True)
        write_pictures(pictures, folder, {"title": title, "root": "", "page": data})
        files = [path for path in folder.rglob("*") if path.is_file()]
        n_bytes = sum(path.stat().st_size for path in files)
    return Page(out.absolute() / "index.html", len(files), n_bytes)


def write_page(data: PageData, folder: Path, title: str, *, has_pictures: bool = False) -> None:
    """Write the front page with its data into an empty folder."""
    shutil.copytree(FOLDER / "assets", folder / "assets", dirs_exist_ok=True)
    data_files = _write_data(data, folder / "data")
    suite = data.suites[0] if data.suites else SuiteData("", "", (), (), {"model_id": []})
    era = suite.eras[0] if suite.eras else ""
    ranked = suite.list_rows(era) if era else []
    columns = [column for column in list_columns(suite) if column.is_shown]
    values = {
        "title": title,
        "root": "",
        "page": data,
        "suite": suite,
        "era": era,
        "columns": columns,
        "rows": write_rows(suite, columns, ranked[:FIRST_ROWS], len(ranked)),
        "n_ranked": len(ranked),
        "data_files": data_files,
        "has_pictures": has_pictures,
    }
    (folder / "index.html").write_text(render("index.html", values), encoding="utf-8")


def _write_data(data: PageData, folder: Path) -> dict[str, str]:
    """The rows of each suite as a script. Its name tells its content: an old tab never reads the rows of a new page."""
    folder.mkdir()
    return {suite.suite: _write_suite(suite, folder) for suite in data.suites}


def _write_suite(suite: SuiteData, folder: Path) -> str:
    script = as_script(f"(window.nightboard??={{}})[{json.dumps(suite.suite)}]", pack_suite(suite))
    name = f"rows-{hashlib.sha256(script.encode()).hexdigest()[:12]}.js"
    (folder / name).write_text(script)
    return name
