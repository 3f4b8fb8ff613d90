"""The examples in docs/ run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from make_lake import SMALL_SUITE, START, Lake

from nightboard.warehouse.builder.build import build

DOCUMENT = Path(__file__).parent.parent / "docs" / "python.md"
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
