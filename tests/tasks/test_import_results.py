"""Importing lm-eval's outputs: every value that stands in a file, nothing of a broken one, and nothing twice."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightboard.tasks.import_results import ResultsImport, import_results
from nightboard.tasks.store import Store
from nightboard.tasks.table_file import ImportFileError
from nightboard.warehouse.build import build
from nightboard.warehouse.query import connect

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = "2025-02-25T11-24-57.958926"
SHA = "b968826d9c46dd6066d109eabc6255188de91218"

NEW: dict[str, Any] = {
    "results": {
        "boolq": {
            "alias": "boolq", "acc,none": 0.75, "acc_stderr,none": 0.25, "f1,strict": 0.5, "f1_stderr,strict": "N/A",
        },
        "ppl": {"name": "ppl", "sample_len": 4, "word_perplexity,none": float("nan"), "sample_count": {"x": 1}},
    },
    "groups": {"all": {"acc,none": 0.6, "alias": "all"}, "blank": {" ": " ", "alias": "blank"}},
    "configs": {"boolq": {"dataset_path": "google/boolq", "num_fewshot": 9}},
    "versions": {"boolq": 2.0, "ppl": "Yaml"},
    "n-shot": {"boolq": 3},
    "n-samples": {"boolq": {"original": 9, "effective": 4}},
    "task_hashes": {"boolq": "abc"},
    "config": {
        "model": "hf", "model_args": {"pretrained": "lab/model", "dtype": "bfloat16"}, "model_sha": SHA,
        "model_num_parameters": 2_000_000_000, "batch_size": "auto",
    },
    "lm_eval_version": "0.4.11",
    "date": 1740471875.5,
    "chat_template": "{% x %}",
    "chat_template_sha": "c0",
    "fewshot_as_multiturn": True,
}  # fmt: skip
OLD: dict[str, Any] = {
    "results": {"nsmc": {"acc": 0.5, "acc_stderr": 0.01, "macro_f1": 0.4, "macro_f1_stderr": 0.02}},
    "versions": {"nsmc": 0},
    "config": {"model": "gpt2", "model_args": "pretrained=lab/old,dtype=float16,revision=main", "num_fewshot": 10},
}


def sample(doc_id: int, **changes: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id, "doc": {}, "target": "A", "arguments": [], "resps": [["A"]], "filtered_resps": ["A"],
        "filter": "none", "metrics": ["acc"], "doc_hash": f"d{doc_id}", "target_hash": "t", "acc": float(doc_id % 2),
    } | changes  # fmt: skip


def write_run(folder: Path, content: Mapping[str, Any] = NEW, samples: Mapping[str, list[Any]] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"results_{STAMP}.json"
    path.write_text(json.dumps(content))
    for task, lines in (samples or {}).items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"samples_{task}_{STAMP}.jsonl").write_text(text)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def bring_in(store: Store, *paths: Path) -> ResultsImport:
    *_, summary = import_results(store, paths, NOW)
    return summary


def ask(store: Store, sql: str) -> list[tuple[Any, ...]]:
    build(store.lake, store.warehouse, NOW)
    with connect(store.warehouse) as con:
        return con.execute(sql).fetchall()


def snapshot(store: Store) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in store.lake.rglob("*.parquet")}


SCORES = (
    "select task, metric, filter, value, stderr, n_samples, n_shot, task_version, task_hash, dataset_id"
    " from task_scores order by all"
)


def test_every_number_of_a_results_file_is_a_row(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    done = bring_in(store, tmp_path / "run")
    assert [(each.model_id, each.n_tasks, each.n_scores, each.is_new) for each in done.imported] == [
        ("lab/model", 3, 4, True)
    ]
    assert done.left_out == []
    assert ask(store, SCORES) == [
        ("all", "acc", "none", 0.6, None, None, None, None, None, None),
        ("boolq", "acc", "none", 0.75, 0.25, 4, 3, "2.0", "abc", "google/boolq"),
        ("boolq", "f1", "strict", 0.5, None, 4, 3, "2.0", "abc", "google/boolq"),
        ("ppl", "word_perplexity", "none", None, None, None, None, "Yaml", None, None),
    ]
    columns = (
        "model_id, revision, precision, chat_template, fewshot_as_multiturn, backend, harness_version, state, source"
    )
    assert ask(store, f"select {columns} from evaluations") == [
        ("lab/model", SHA, "bfloat16", True, True, "hf", "0.4.11", "done", "import:results")
    ]
    assert ask(store, "select params_b, finished_at from imports") == [(2.0, datetime.fromtimestamp(1740471875.5, UTC))]


def test_results_before_0_4_and_renamed_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "nsmc_10_shot.json").write_text(json.dumps(OLD))
    assert bring_in(store, tmp_path / "nsmc_10_shot.json").left_out == []
    assert ask(store, "select metric, value, stderr, n_shot, task_version from task_scores order by metric") == [
        ("acc", 0.5, 0.01, 10, "0"),
        ("macro_f1", 0.4, 0.02, 10, "0"),
    ]
    assert ask(store, "select model_id, revision, precision, chat_template from evaluations") == [
        ("lab/old", None, "float16", None)
    ]


def test_samples_beside_and_inside_the_results(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "a", samples={"boolq": [sample(0), sample(1)]})
    write_run(tmp_path / "b", NEW | {"samples": {"boolq": [sample(0), sample(1), sample(2)]}})
    done = bring_in(store, tmp_path)
    assert [each.n_samples_files for each in done.imported] == [1, 1]
    sql = "select count(*), sum(value), min(task), min(doc_hash) from samples group by evaluation_id order by all"
    assert ask(store, sql) == [(2, 1.0, "boolq", "d0"), (3, 1.0, "boolq", "d0")]


def test_samples_of_older_versions_name_neither_filter_nor_metrics(store: Store, tmp_path: Path) -> None:
    content = NEW | {"results": {"gsm": {"exact_match,strict": 0.5, "exact_match,flexible": 1.0}}, "groups": {}}
    lines = [sample(doc_id, exact_match=float(value)) for value in (0, 1) for doc_id in (0, 1)]
    for line in lines:
        del line["filter"], line["metrics"], line["acc"]
    write_run(tmp_path / "run", content, {"gsm": lines})
    assert bring_in(store, tmp_path / "run").left_out == []
    assert ask(store, "select filter, metric, avg(value), count(*) from samples group by all order by all") == [
        ("flexible", "exact_match", 1.0, 2),
        ("strict", "exact_match", 0.0, 2),
    ]


def test_importing_again_from_anywhere_changes_nothing(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "a", samples={"boolq": [sample(0)]})
    bring_in(store, tmp_path / "a")
    before = snapshot(store)
    write_run(tmp_path / "elsewhere", samples={"boolq": [sample(0)]})
    assert [each.is_new for each in bring_in(store, tmp_path / "a", tmp_path / "elsewhere").imported] == [False, False]
    assert snapshot(store) == before


def test_a_broken_samples_file_is_left_out_whole_and_taken_when_it_is_mended(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples={"boolq": [sample(0), sample(1)]})
    file = tmp_path / "run" / f"samples_boolq_{STAMP}.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-9])
    done = bring_in(store, tmp_path)
    assert [each.where for each in done.left_out] == [f"{file}:2"]
    assert ask(store, "select count(*) from samples") == [(0,)]
    file.write_text(whole)
    assert bring_in(store, tmp_path).left_out == []
    assert ask(store, "select count(*) from samples") == [(2,)]


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (LFS, "", "Git LFS pointer"),
        ("", ":1", "not valid JSON"),
        ('{"results":\n {"a": \n', ":3", "not valid JSON"),
        ('["results"]', "", "not a results file"),
        ('{"scores": {}}', "", "not a results file"),
        ('{"results": [1]}', "", "unknown layout"),
        ('{"results": {"a": 1}}', "", "unknown layout"),
        ('{"results": {"a": {"alias": "a"}}}', "", "unknown layout"),
        ('{"results": {"a": {"acc,none": 1.0}}}', "", "which model"),
        ("[" * 100_000, "", "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_read_is_listed(store: Store, tmp_path: Path, text: str, line: str, says: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(text)
    done = bring_in(store, file)
    assert [each.where for each in done.left_out] == [f"{file}{line}"]
    assert says in done.left_out[0].reason
    assert snapshot(store) == {}


def test_samples_without_results_are_listed(store: Store, tmp_path: Path) -> None:
    file = tmp_path / f"samples_boolq_{STAMP}.jsonl"
    file.write_text(json.dumps(sample(0)) + "\n")
    assert [each.where for each in bring_in(store, tmp_path).left_out] == [str(file)]


def test_a_path_that_is_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="no such file"):
        bring_in(store, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportFileError, match=r"no \.json"):
        bring_in(store, tmp_path / "empty")


STRANGE: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e308, float("nan"), float("inf"), "", " ", "\ud800", "x" * 10_000, [], [1], {}, {"a": 1},
)  # fmt: skip


def mutate(value: Any, chance: random.Random) -> Any:
    """One change somewhere inside: a key dropped, a value of another type in its place."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: mutate(value[key], chance)}
    return chance.choice(STRANGE)


def spoil(text: bytes, chance: random.Random) -> bytes:
    """Bytes cut off or flipped."""
    if chance.random() < 0.5:
        return text[: chance.randrange(len(text))]
    at = chance.randrange(len(text))
    return text[:at] + bytes([text[at] ^ chance.randrange(1, 256)]) + text[at + 1 :]


def test_a_thousand_damaged_files_give_no_error_and_nothing_half(store: Store, tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(500):
        folder = tmp_path / "runs" / str(number)
        lines: list[Any] = [sample(i) for i in range(4)]
        content = NEW if number % 2 else OLD
        task = "boolq" if number % 2 else "nsmc"
        if number % 4 < 2:
            content = mutate(content, chance)
            lines[chance.randrange(4)] = mutate(lines[0], chance)
        if not isinstance(content, dict):
            content = {"results": content}
        results = write_run(folder, content, {task: lines})
        if number % 4 >= 2:
            for file in (results, folder / f"samples_{task}_{STAMP}.jsonl"):
                file.write_bytes(spoil(file.read_bytes(), chance))
    done = bring_in(store, tmp_path / "runs")
    assert len(done.imported) > 100
    assert len(done.left_out) > 100
    # Whatever is in has its scores, and samples files are whole: four lines, of one metric or more.
    assert ask(store, "select count(*) from evaluations anti join task_scores using (evaluation_id)") == [(0,)]
    sizes = "select distinct count(distinct doc_id) from samples group by evaluation_id, task"
    assert {row[0] for row in ask(store, sizes)} <= {3, 4}
    before = snapshot(store)
    assert len(bring_in(store, tmp_path / "runs").left_out) == len(done.left_out)
    assert snapshot(store) == before
