"""The examples in docs/ run as they are, and what the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from make_lake import SMALL_SUITE, START, Lake

from nightboard.warehouse.builder.build import build

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
DOCUMENT = ROOT / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
MODELS = {"org/good": 0.75, "org/fair": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    lake = Lake()
    lake.suite(suite="leaderboard-v2")
    for model, score in MODELS.items():
        lake.commit(model)
        lake.done(f"e {model}", model, scores=score, suite="leaderboard-v2", tasks=SMALL_SUITE)
        lake.samples(f"e {model}")
    store = tmp_path / "nightboard-store"
    build(lake.write(store / "lake"), store / "warehouse", START)
    return store


# duckdb's df() calls pandas as pandas 4 will not have it.
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
def test_the_python_example_runs_block_by_block_and_finds_the_models(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(store.parent)
    names: dict[str, object] = {}
    printed = []
    for block in BLOCKS:
        exec(compile(block, str(DOCUMENT), "exec"), names)
        printed.append(capsys.readouterr().out)
    ranking, polars, pandas, paired, batches, ranked = printed
    for table in (ranking, polars, pandas, ranked):
        assert all(model in table for model in MODELS)
    assert "average" in paired and "p_value" in paired
    assert sum(map(int, batches.split())) == 8
    assert len(names["hardest"]) == 4


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_file_or_folder_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"`((?:flows|tasks|profiles|warehouse|tests|docs)/[\w./-]*)`", text)
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = {name for name in named if not (ROOT / name).exists() and "NAME" not in name}
    assert missing | {name for name in linked if not (document.parent / name).exists()} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_to_a_section_finds_its_heading(document: Path) -> None:
    for name, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
        headings = re.findall(r"^#+ (.*)$", (document.parent / name if name else document).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def test_every_package_has_a_row_in_the_tree_of_architecture() -> None:
    tree = set(re.findall(r"^\| `([\w/]+/)`", (ROOT / "docs" / "architecture.md").read_text(), flags=re.MULTILINE))
    packages = {
        f"{path.parent.relative_to(ROOT)}/"
        for room in ("flows", "tasks", "profiles", "warehouse")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert packages - tree <= {"profiles/", "warehouse/"}
