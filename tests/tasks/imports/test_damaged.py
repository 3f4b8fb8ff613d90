"""A thousand damaged results and samples files: never an error, never half a file, and a warehouse that builds."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.results import ResultsImport, import_results
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import connect

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUITES = [load_suite("demo"), load_suite("leaderboard-v2")]
STAMP = "2025-02-25T11-24-57.958926"
SHA = "b968826d9c46dd6066d109eabc6255188de91218"
TASK = "leaderboard_musr_team_allocation"

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, 2**63, 1e308, 1e-320, float("nan"), float("inf"), -float("inf"), "", " ", "\ud800",
    "x" * 10_000, "'; drop table samples --", "../../x", "\x00", [], [1], [[]], {}, {"a": 1}, {"": None},
)  # fmt: skip
KEYS = ("", " ", "\ud800", "acc,none", "doc_id", "a,b,c", "_stderr", "results", "\x00", "metric", "score", "ACC")


def make_results() -> dict[str, Any]:
    return {
        "results": {
            TASK: {"alias": TASK, "acc_norm,none": 0.5, "acc_norm_stderr,none": 0.25, "f1,strict": 0.5},
            "ppl": {"word_perplexity,none": 7.5, "word_perplexity_stderr,none": "N/A"},
        },
        "groups": {"all": {"acc,none": 0.6, "alias": "all"}, "blank": {" ": " "}},
        "configs": {TASK: {"dataset_path": "a/b", "num_fewshot": 0, "metric_list": [{"metric": "f1"}]}},
        "versions": {TASK: 1.0},
        "n-shot": {TASK: 0},
        "n-samples": {TASK: {"original": 4, "effective": 4}},
        "task_hashes": {TASK: "abc"},
        "config": {
            "model": "hf", "model_args": {"pretrained": "lab/model", "dtype": "bfloat16", "revision": SHA},
            "model_sha": SHA, "model_num_parameters": 2_000_000_000, "batch_size": "auto",
        },
        "git_hash": "abc", "date": 1740471875.5, "chat_template": "{% x %}", "fewshot_as_multiturn": True,
    }  # fmt: skip


def make_samples() -> list[Any]:
    return [
        {
            "doc_id": doc_id, "doc": {"q": "?"}, "target": "A", "arguments": {}, "resps": [["A"]],
            "filtered_resps": [["-1.5", "False"], ["-2", "True"]], "filter": "none", "metrics": ["acc_norm"],
            "doc_hash": f"d{doc_id}", "prompt_hash": "p", "target_hash": "t", "acc_norm": float(doc_id % 2),
        }
        for doc_id in range(4)
    ]  # fmt: skip


def mutate(value: Any, chance: random.Random) -> Any:
    """One change somewhere inside: a key dropped, added or renamed, an item doubled, a value of another type."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if (kind := chance.random()) < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.25:
            return value | {chance.choice(KEYS): chance.choice(STRANGE)}
        if kind < 0.3:
            return {(chance.choice(KEYS) if k == key else k): v for k, v in value.items()}
        return value | {key: mutate(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        if chance.random() < 0.2:
            return [*value, copy.deepcopy(value[at])]
        return [*value[:at], mutate(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)


def spoil(data: bytes, chance: random.Random) -> bytes:
    """Bytes cut off, flipped, dropped, doubled, or nested too deep."""
    at, kind = chance.randrange(len(data)), chance.random()
    if kind < 0.4:
        return data[:at]
    if kind < 0.8:
        return data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :]
    if kind < 0.9:
        end = min(len(data), at + chance.randrange(1, 50))
        return data[:at] + data[end:] if kind < 0.85 else data[:end] + data[at:]
    return (
        data[:at]
        + chance.choice([b"[" * 100_000, b'{"a":' * 5_000, b"\xef\xbb\xbf", b"\x00", b"9" * 5_000])
        + data[at:]
    )


def write_damaged(folder: Path, number: int, chance: random.Random) -> None:
    """A run of which one file is damaged, in one of the layouts."""
    folder.mkdir(parents=True)
    results, samples = make_results(), make_samples()
    if number % 4 == 0:
        results = mutate(results, chance)
    elif number % 4 == 1:
        samples = mutate(samples, chance)
    layout = chance.choice(("lines", "array", "embedded", "renamed"))
    if layout == "embedded" and isinstance(results, dict):
        results["samples"] = {TASK: samples}
    results_file = folder / ("mine.json" if layout == "renamed" else f"results_{STAMP}.json")
    results_file.write_text(json.dumps(results))
    samples_file = folder / f"samples_{TASK}_{STAMP}.json{'' if layout == 'array' else 'l'}"
    if layout == "array":
        samples_file.write_text(json.dumps(samples, indent=2))
    elif layout != "embedded":
        lines = samples if isinstance(samples, list) else [samples]
        samples_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if number % 4 == 2:
        results_file.write_bytes(spoil(results_file.read_bytes(), chance))
    elif number % 4 == 3 and samples_file.exists():
        samples_file.write_bytes(spoil(samples_file.read_bytes(), chance))


def bring_in(store: Store, folder: Path) -> ResultsImport:
    *_, done = import_results(store, [folder], SUITES, NOW)
    return done


def snapshot(store: Store) -> Iterator[tuple[str, bytes]]:
    return ((str(path), path.read_bytes()) for path in sorted(store.lake.rglob("*.parquet")))


HALF_IMPORTED = """
select evaluation_id, task, count(distinct doc_id) as n from samples group by all having n != 4
union all
select evaluation_id, null, 0 from evaluations anti join task_scores using (evaluation_id)
union all
select evaluation_id, task, doc_id from samples group by evaluation_id, task, doc_id, filter, metric having count(*) > 1
"""


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_give_no_error_and_nothing_half(tmp_path: Path, seed: int) -> None:
    """25 runs at a time: samples without a results file beside them are compared with every run of the same time."""
    chance = random.Random(seed)
    for number in range(250):
        write_damaged(tmp_path / "runs" / f"{number // 25}" / f"{number:03}", number, chance)
    store, folders = Store(tmp_path / "store"), sorted((tmp_path / "runs").iterdir())
    done = [bring_in(store, folder) for folder in folders]
    assert sum(len(each.imported) for each in done) > 100
    left_out = [skipped for each in done for skipped in each.left_out]
    assert len(left_out) > 60
    assert all("\ud800" not in each.where + each.reason for each in left_out)
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        assert con.execute(HALF_IMPORTED).fetchall() == []
        assert con.execute("select count(*) from samples").fetchone() != (0,)
    before = [*snapshot(store)]
    for folder, first in list(zip(folders, done, strict=True))[::4]:
        assert bring_in(store, folder).left_out == first.left_out, "what was imported is not imported again"
    assert [*snapshot(store)] == before
