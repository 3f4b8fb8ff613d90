"""The rows of the page are few bytes, and the same ones each time."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from page_data import BENCHMARKS, ODD_NAMES, make_page_data, make_row, make_small_suite, make_suite

from nightboard.tasks.page.build import write_page
from nightboard.tasks.page.columns import shorten
from nightboard.tasks.page.data import Benchmark, SuiteData
from nightboard.tasks.page.pack import pack_suite
from nightboard.tasks.page.render import name_model_file


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_texts_are_numbers_of_a_list_and_numbers_are_whole() -> None:
    packed = pack_suite(make_small_suite())
    assert packed["values"]["era"] == {"texts": ["now", "old"], "of": [0, 0, 0, 1]}
    assert packed["values"]["model_id"] == {"texts": ["lab/small-1", "lab/small-2", "lab/small-3", "lab/old"]}
    assert packed["values"]["average"] == {"scale": 100, "numbers": [5900, 5800, 5700, 5000]}
    assert packed["values"]["average_low"]["numbers"] == [5700, 5600, 5500, 4800]
    assert packed["values"]["country"] == {"scale": 1, "numbers": [None] * 4}
    assert packed["values"]["is_merged"] == {"scale": 1, "numbers": [0] * 4}
    assert packed["scores"][0] == {
        "raw": {"scale": 10_000, "numbers": [3200, 3150, 3100, 2750]},
        "normalized": {"scale": 100, "numbers": [6400, 6300, 6200, 5500]},
        "low": {"scale": 100, "numbers": [200] * 4},
        "high": {"scale": 100, "numbers": [200] * 4},
    }
    assert [benchmark.key for benchmark in BENCHMARKS] == packed["benchmarks"]


def test_same_data_give_the_same_files_and_other_data_another_name(tmp_path: Path) -> None:
    for name, suites in (("a", [make_suite()]), ("b", [make_suite()]), ("c", [make_small_suite()])):
        (tmp_path / name).mkdir()
        write_page(make_page_data(*suites), tmp_path / name, "Models")
    files = read_files(tmp_path / "a")
    assert files == read_files(tmp_path / "b")
    assert {name for name in files if "rows-" in name}.isdisjoint(read_files(tmp_path / "c"))


def test_thousand_models_times_forty_columns_are_a_fifth_of_900_kb(tmp_path: Path) -> None:
    """Random scores and names, which compress worse than real ones."""
    chance = random.Random(1)
    benchmarks = tuple(Benchmark(f"b{number}", f"Benchmark {number}") for number in range(10))

    def make(rank: int) -> dict[str, Any]:
        scores = [round(chance.uniform(0, 95), 2) for _ in benchmarks]
        return make_row(
            rank, f"org{chance.randrange(300)}/{chance.getrandbits(40):x}", round(90 - rank / 20, 2),
            raw=[round(score / 100, 4) for score in scores],
            normalized=scores,
            low=[score - round(chance.uniform(0, 4), 2) for score in scores],
            high=[score + round(chance.uniform(0, 4), 2) for score in scores],
            revision=f"{chance.getrandbits(160):040x}",
            params_b=round(chance.uniform(0, 100), 3),
            license=f"license-{chance.randrange(20)}",
            base_model=f"org{chance.randrange(300)}/{chance.randrange(500)}",
            co2_kg=round(chance.uniform(0, 30), 2),
            likes=chance.randrange(1000),
            uploaded_at=f"2025-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
            known_at=f"2025-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        )  # fmt: skip

    rows = [make(rank) for rank in range(1, 1001)]
    suite = SuiteData("big", "Big", benchmarks, ("now",), {name: [row[name] for row in rows] for name in rows[0]})
    assert len(pack_suite(suite)["columns"]) == 40
    write_page(make_page_data(suite), tmp_path, "Models")
    size = sum(len(gzip.compress(content, 6)) for content in read_files(tmp_path).values())
    assert size < 900_000 / 5


def test_texts_of_any_length_and_with_any_signs_stay_texts(tmp_path: Path) -> None:
    row = make_row(1, "a/</script><b>", 50.0, license="x" * 1_000_000, base_model="\ud800\x00\u202e")
    suite = SuiteData("odd", "<b>", BENCHMARKS, ("now",), {name: [value] for name, value in row.items()})
    write_page(make_page_data(suite), tmp_path, "T")
    files = read_files(tmp_path)
    assert all(b"</script><b>" not in content for content in files.values())
    assert len(files["index.html"]) < 20_000
    (script,) = (content.decode() for name, content in files.items() if "rows-" in name)
    values = json.loads(script[script.index("=", 25) + 1 : -2])["values"]
    assert values["license"]["texts"] == ["x" * 300 + "…"]
    assert values["base_model"]["texts"] == ["\\ud800\\x00\\u202e"]


def test_odd_names_of_pages_are_in_the_data() -> None:
    files = pack_suite(make_suite())["files"]
    assert files == {shorten(name): name_model_file(name) for name in ODD_NAMES.values()}
