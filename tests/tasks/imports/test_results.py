"""Importing lm-eval's outputs: every value that stands in a file, nothing of a broken one, and nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asked import ask_lake

from nightboard.profiles.loading.load import load_suite
from nightboard.tasks.imports.errors import ImportFileError
from nightboard.tasks.imports.results import Options, ResultsImport, import_results
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.tables import read_table, write_file
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.lake.files import LakeError
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.schema.lake_tables import IMPORTS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUITES = [load_suite("leaderboard-v2"), load_suite("leaderboard-v1")]
STAMP = "2025-02-25T11-24-57.958926"
SHA = "b968826d9c46dd6066d109eabc6255188de91218"

NEW: dict[str, Any] = {
    "results": {
        "boolq": {
            "alias": "boolq", "acc,none": 0.5, "acc_stderr,none": 0.25, "f1,strict": 0.75, "f1_stderr,strict": "N/A",
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
    *_, summary = import_results(store, paths, SUITES, NOW)
    return summary


def ask(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return ask_lake(store.lake, sql)


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
        ("boolq", "acc", "none", 0.5, 0.25, 4, 3, "2.0", "abc", "google/boolq"),
        ("boolq", "f1", "strict", 0.75, None, 4, 3, "2.0", "abc", "google/boolq"),
        ("ppl", "word_perplexity", "none", None, None, None, None, "Yaml", None, None),
    ]
    columns = (
        "model_id, revision, precision, chat_template, fewshot_as_multiturn, backend, harness_version, state, source"
    )
    assert ask(store, f"select {columns} from evaluations") == [
        ("lab/model", SHA, "bfloat16", True, True, "hf", "0.4.11", "done", "import:results")
    ]
    assert ask(store, "select params_b, finished_at from imports") == [(2.0, datetime.fromtimestamp(1740471875.5, UTC))]
    build(store.lake, store.warehouse, NOW)  # all of the warehouse can be built of it
    with connect(store.warehouse) as con:
        assert con.execute("select count(*) from task_scores").fetchall() == [(4,)]


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


def test_a_date_that_has_not_come_yet_is_told_and_not_later_than_the_import(store: Store, tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", NEW | {"date": datetime(2030, 5, 6, 7, 8, tzinfo=UTC).timestamp()})
    done = bring_in(store, tmp_path)
    assert [(each.where, each.reason) for each in done.future] == [
        (str(path), "has an evaluation time in the future (got 2030-05-06 07:08 UTC).")
    ]
    assert ask(store, "select finished_at, imported_at from imports") == [(NOW, NOW)]


FOUR = [sample(doc_id) for doc_id in range(4)]
WITHOUT_COUNT = {key: value for key, value in NEW.items() if key != "n-samples"}


def test_samples_beside_and_inside_the_results(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "a", samples={"boolq": FOUR})
    write_run(tmp_path / "b", WITHOUT_COUNT | {"samples": {"boolq": FOUR[:2]}})
    done = bring_in(store, tmp_path)
    assert [each.n_samples_files for each in done.imported] == [1, 1]
    assert done.left_out == []
    sql = "select count(*), sum(value), min(task), min(doc_hash) from samples group by evaluation_id order by all"
    assert ask(store, sql) == [(2, 1.0, "boolq", "d0"), (4, 2.0, "boolq", "d0")]


CHOSEN = [
    sample(
        number, doc={"question": f"question {number}", "options": ["x", "y"]}, target="B",
        arguments={f"gen_args_{i}": {"arg_0": "?", "arg_1": f" {letter}"} for i, letter in enumerate("AB")},
        filtered_resps=[["-2.5", "False"], ["-1.5", "True"]],
    )
    for number in range(4)
]  # fmt: skip


def test_samples_tell_the_texts_of_documents_and_answers(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "a", samples={"boolq": CHOSEN})
    write_run(tmp_path / "b", NEW | {"config": {"batch_size": 7}}, samples={"boolq": CHOSEN})
    bring_in(store, tmp_path)
    assert len(list((store.lake / "documents").iterdir())) == 1
    columns = "doc_hash, question, choices, target, is_imported, may_publish"
    assert ask(store, f"select {columns} from documents where task = 'boolq' order by doc_hash") == [
        (f"d{number}", f"question {number}", ["(A) x", "(B) y"], "(B) y", True, False) for number in range(4)
    ]
    assert ask(store, "select distinct answer from samples") == [("(B) y",)]


def test_documents_of_an_older_store_come_with_the_next_import(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "a", samples={"boolq": CHOSEN})
    bring_in(store, tmp_path)
    shutil.rmtree(store.lake / "documents")
    bring_in(store, tmp_path)
    assert ask(store, "select count(*) from documents") == [(4,)]


def test_odd_texts_of_documents_are_stored(store: Store, tmp_path: Path) -> None:
    odd = ["\ud800", "a\0b", "x" * 2**20, float("nan")]
    lines = [
        each | {"doc": {"question": text, "options": [text, text]}} for each, text in zip(CHOSEN, odd, strict=True)
    ]
    write_run(tmp_path / "a", samples={"boolq": lines})
    assert bring_in(store, tmp_path).left_out == []
    assert ask(store, "select question from documents where doc_hash <> 'd3' order by doc_hash") == [
        ("?",), ("a\0b",), ("x" * 2**20,),
    ]  # fmt: skip


def test_samples_tell_the_documents_and_their_number(store: Store, tmp_path: Path) -> None:
    """The hash is that of a run: over each document's and target's hash, in order."""
    write_run(tmp_path / "run", WITHOUT_COUNT, {"boolq": FOUR[::-1]})
    bring_in(store, tmp_path / "run")
    expected = hashlib.sha256(b"d0td1td2td3t").hexdigest()
    sql = "select distinct n_samples, doc_set_hash from task_scores where task = 'boolq'"
    assert ask(store, sql) == [(4, expected)]
    assert ask(store, "select count(*) from task_scores") == [(4,)]


def test_samples_without_hashes_or_without_the_first_documents_leave_the_documents_unknown(
    store: Store, tmp_path: Path
) -> None:
    write_run(tmp_path / "a", NEW, {"boolq": [sample(doc_id, target_hash=None) for doc_id in range(4)]})
    write_run(tmp_path / "b", WITHOUT_COUNT, {"boolq": [sample(doc_id) for doc_id in (6, 7)]})
    assert bring_in(store, tmp_path).left_out == []
    sql = "select distinct n_samples, doc_set_hash from task_scores where task = 'boolq' order by all"
    assert ask(store, sql) == [(4, None), (None, None)]
    assert ask(store, "select task, count(distinct samples_hash) from task_scores where samples_hash is not null"
                      " group by task") == [("boolq", 2)]  # fmt: skip


def test_samples_of_older_versions_name_neither_filter_nor_metrics(store: Store, tmp_path: Path) -> None:
    content = NEW | {"results": {"gsm": {"exact_match,strict": 0.0, "exact_match,flexible": 1.0}}, "groups": {}}
    lines = [sample(doc_id, exact_match=float(value)) for value in (0, 1) for doc_id in (0, 1)]
    for line in lines:
        del line["filter"], line["metrics"], line["acc"]
    write_run(tmp_path / "run", content, {"gsm": lines})
    assert bring_in(store, tmp_path / "run").left_out == []
    assert ask(store, "select filter, metric, avg(value), count(*) from samples group by all order by all") == [
        ("flexible", "exact_match", 1.0, 2),
        ("strict", "exact_match", 0.0, 2),
    ]


@pytest.mark.parametrize("values", [("yes", 1.0, 0.0), (0.0, 1.0, "yes"), (0.0, 1.0, None)])
def test_a_text_among_scores_is_seen_where_no_metrics_are_named(
    store: Store, tmp_path: Path, values: tuple[object, ...]
) -> None:
    """The mean of the others is the one of the results file."""
    content = WITHOUT_COUNT | {"results": {"gsm": {"exact_match,none": 0.5}}, "groups": {}}
    lines = [sample(doc_id, exact_match=value) for doc_id, value in enumerate(values)]
    for line in lines:
        del line["filter"], line["metrics"], line["acc"]
    write_run(tmp_path / "run", content, {"gsm": lines})
    assert [each.reason for each in bring_in(store, tmp_path).left_out] == [
        "has a number as exact_match for 2 of its 3 documents, but the results file a finite score."
    ]


def test_the_layout_before_0_4_3_is_one_list_named_by_the_arguments(store: Store, tmp_path: Path) -> None:
    """`results.json`, and `pretrained__lab__old,dtype__float16_boolq.jsonl` that is no JSON lines."""
    config = NEW["config"] | {"model_args": "pretrained=lab/old,dtype=float16"}
    (tmp_path / "results.json").write_text(json.dumps(NEW | {"config": config}))
    lines = [{k: v for k, v in each.items() if k not in ("filter", "metrics", "doc_hash")} for each in FOUR]
    file = tmp_path / "pretrained__lab__old,dtype__float16_boolq.jsonl"
    content = NEW | {"config": config, "results": {"boolq": {"acc,none": 0.5}}, "groups": {}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    file.write_text(json.dumps(lines, indent=2))
    assert bring_in(store, tmp_path).left_out == []
    assert ask(store, "select doc_id, filter, metric, value from samples order by doc_id") == [
        (doc_id, "none", "acc", float(doc_id % 2)) for doc_id in range(4)
    ]
    file.write_text(json.dumps(lines, indent=2)[:-30])
    done = bring_in(Store(tmp_path / "other"), tmp_path / "results.json", file)
    assert [(each.where, "not valid JSON" in each.reason) for each in done.left_out] == [
        (f"{file}:{len(json.dumps(lines, indent=2)[:-30].splitlines())}", True)
    ]


def test_samples_find_their_results_in_another_folder_by_the_time_in_both_names(store: Store, tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", samples={"boolq": FOUR})
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere" / path.name)
    assert bring_in(store, tmp_path).imported[0].n_samples_files == 1


def test_samples_beside_a_renamed_results_file_need_content_that_shows_it(store: Store, tmp_path: Path) -> None:
    right = write_run(tmp_path / "run", samples={"boolq": FOUR})
    right.rename(right.with_name("llama.json"))
    other = NEW | {"results": {"boolq": {"acc,none": 0.25}}}
    (tmp_path / "run" / "gemma.json").write_text(json.dumps(other))
    done = bring_in(store, tmp_path)
    assert [(Path(each.file).name, each.n_samples_files) for each in done.imported] == [
        ("gemma.json", 0),
        ("llama.json", 1),
    ]
    assert done.left_out == []


def test_samples_that_could_be_of_two_renamed_results_files_are_left_with_none(store: Store, tmp_path: Path) -> None:
    right = write_run(tmp_path / "run", samples={"boolq": FOUR})
    right.rename(right.with_name("llama.json"))
    (tmp_path / "run" / "gemma.json").write_text(json.dumps(NEW | {"date": 5.0}))
    done = bring_in(store, tmp_path)
    assert [each.n_samples_files for each in done.imported] == [0, 0]
    assert ["(gemma.json, llama.json)" in each.reason for each in done.left_out] == [True]
    assert ask(store, "select count(*) from samples") == [(0,)]


def test_the_hash_over_all_prompts_tells_two_renamed_results_files_apart(store: Store, tmp_path: Path) -> None:
    lines = [sample(doc_id, prompt_hash=f"p{doc_id}") for doc_id in range(4)]
    text = "".join(f"{each['doc_hash']}{each['prompt_hash']}{each['target_hash']}" for each in lines)
    hashes = {"task_hashes": {"boolq": hashlib.sha256(text.encode()).hexdigest()}}
    write_run(tmp_path / "run", NEW | hashes, {"boolq": lines}).rename(tmp_path / "run" / "llama.json")
    (tmp_path / "run" / "gemma.json").write_text(json.dumps(NEW))
    assert [each.n_samples_files for each in bring_in(store, tmp_path).imported] == [0, 1]


def test_importing_again_from_anywhere_changes_nothing(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "a", samples={"boolq": FOUR})
    bring_in(store, tmp_path / "a")
    before = snapshot(store)
    write_run(tmp_path / "elsewhere", samples={"boolq": FOUR})
    again = bring_in(store, tmp_path / "a", tmp_path / "elsewhere")
    assert [(each.is_new, each.n_samples_files) for each in again.imported] == [(False, 1), (False, 1)]
    assert again.left_out == []
    assert snapshot(store) == before


def test_a_broken_samples_file_is_left_out_whole_and_taken_when_it_is_repaired(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples={"boolq": FOUR})
    file = tmp_path / "run" / f"samples_boolq_{STAMP}.jsonl"
    whole = file.read_text()
    file.write_text(whole[:-9])
    done = bring_in(store, tmp_path)
    assert [each.where for each in done.left_out] == [f"{file}:4"]
    assert ask(store, "select count(*) from samples") == [(0,)]
    assert ask(store, "select count(*) from task_scores where doc_set_hash is null") == [(4,)]
    file.write_text(whole)
    assert bring_in(store, tmp_path).left_out == []
    assert ask(store, "select count(*) from samples") == [(4,)]
    assert ask(store, "select count(*), count(doc_set_hash) from task_scores") == [(4, 2)]


BROKEN_SAMPLES: list[tuple[list[Any], str]] = [
    (FOUR[:3], "has 3 documents, but the results file has 4"),
    ([*FOUR, FOUR[3]], "document 3 occurs twice"),
    ([*FOUR[:3], sample(3, acc=0.0)], "gives 0.25 as acc,none, but the results file has 0.5"),
    ([*FOUR[:3], sample(3, filter="nine")], "different documents for different filters"),
    ([*FOUR[:3], sample(3, metrics=["acc", "f1"])], "lists (got 'f1')"),
    ([*FOUR[:3], sample(3, metrics="acc")], "metrics is not a list"),
    ([*FOUR[:3], sample(3, metrics=["doc_id"])], "lists (got 'doc_id')"),
    ([*FOUR[:3], {**FOUR[3], "doc_id": None}], "it has no doc_id"),
    ([*FOUR[:3], {**FOUR[3], "doc_id": "abc"}], '(got "abc")'),
    ([*FOUR[:3], sample(-1)], "its doc_id must be a whole number from 0 up, below 2^62 (got -1)"),
    ([*FOUR[:3], sample(2**70)], "(got 1180591620717411303424)"),
    ([sample(99, acc=0.0), *FOUR[1:]], "has doc_id 99, but the 4 documents of the results file are 0 to 3"),
    ([*FOUR[:3], sample(3, acc=float("nan"))], "has NaN as acc (filter none), but the results file a finite score"),
    ([*FOUR[:3], sample(3, acc="yes")], 'has "yes" as acc'),
    ([*FOUR[:3], sample(3, acc=[1.0])], "has [1.0] as acc"),
    ([*FOUR[:3], sample(3, acc=None)], "has null as acc"),
    ([*FOUR[:3], sample(3, filtered_resps=None)], "it has no filtered_resps"),
    ([*FOUR[:3], [3]], "is not a JSON object"),
    ([sample(each, acc=None) for each in range(4)], "has null as acc"),
    ([sample(each, acc=[each, 1.0]) for each in range(4)], ""),
    ([sample(each, acc=bool(each % 2)) for each in range(4)], ""),
    ([sample(each, metrics=["acc", "em"], em=[None, 1.0, "yes", float("nan")][each]) for each in range(4)], ""),
    ([sample(each, filtered_resps=[[float("-inf"), 10**400, "\ud800"]]) for each in range(4)], ""),
    ([], "has no samples"),
]


@pytest.mark.parametrize(("lines", "says"), BROKEN_SAMPLES)
def test_samples_that_are_not_all_of_the_run_are_refused(
    store: Store, tmp_path: Path, lines: list[Any], says: str
) -> None:
    """Values that are no numbers are taken as none where the results file has no score that they went into."""
    write_run(tmp_path / "run", samples={"boolq": lines})
    done = bring_in(store, tmp_path)
    assert [each.reason for each in done.left_out if says not in each.reason] == []
    assert len(done.left_out) == bool(says)
    assert ask(store, "select count(distinct doc_id) from samples") == [(0 if says else 4,)]
    assert ask(store, "select count(*) from task_scores") == [(4,)]


def test_a_value_that_is_no_number_is_named_with_its_line_and_blocks_nothing(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples={"boolq": [*FOUR[:2], sample(2, acc=float("nan")), FOUR[3]]})
    done = bring_in(store, tmp_path)
    assert [each.where for each in done.left_out] == [str(tmp_path / "run" / f"samples_boolq_{STAMP}.jsonl") + ":3"]
    write_run(tmp_path / "run", samples={"boolq": FOUR})
    assert bring_in(store, tmp_path).left_out == []
    assert ask(store, "select count(*), count(value) from samples") == [(4, 4)]


@pytest.mark.parametrize("is_embedded", [False, True])
def test_answers_that_are_no_finite_numbers_are_told_each_time_and_score_nothing(
    store: Store, tmp_path: Path, is_embedded: bool
) -> None:
    answers = [["-1.5", "-2"], ["nan", "-2"], ["-inf", "-1"], ["-2", "-1"]]
    samples = [sample(i, resps=[[[number, "False"]] for number in each]) for i, each in enumerate(answers)]
    if is_embedded:
        write_run(tmp_path / "run", NEW | {"samples": {"boolq": samples}})
    else:
        write_run(tmp_path / "run", samples={"boolq": samples})
    for _ in range(2):
        [left_out] = bring_in(store, tmp_path).left_out
        assert left_out.reason == (
            "2 of 4 documents (50.0%) have an answer that is not a finite number; the first is document 1 (got nan)."
            " boolq counts as not scored."
        )
    told = "select distinct not_finite_answers, empty_answers, only_answer from task_scores where task = 'boolq'"
    assert ask(store, told) == [(2, 0, None)]


@pytest.mark.parametrize(("values", "is_taken"), [((0.1, 0.2, "x"), False), (("a", "b", "c"), True), ((0, 1, 2), True)])
def test_a_metric_that_is_no_mean_may_have_texts_but_not_among_numbers(
    store: Store, tmp_path: Path, values: tuple[object, ...], is_taken: bool
) -> None:
    content = WITHOUT_COUNT | {"results": {"own": {"rank,none": 7.0}}, "groups": {}}
    lines = [sample(doc_id, metrics=["rank"], rank=value) for doc_id, value in enumerate(values)]
    write_run(tmp_path / "run", content, {"own": lines})
    assert (bring_in(store, tmp_path).left_out == []) is is_taken


def test_two_different_samples_files_of_one_task_are_both_refused(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples={"boolq": FOUR})
    other = [sample(doc_id, acc=float(doc_id < 2)) for doc_id in range(4)]
    file = tmp_path / "run" / f"samples_boolq_{STAMP}.json"
    file.write_text(json.dumps(other, indent=1))
    done = bring_in(store, tmp_path)
    assert [each.reason.partition(". ")[0] for each in done.left_out] == [
        "the same run has different samples of boolq"
    ] * 2
    assert ask(store, "select count(*) from samples") == [(0,)]
    # Of the one that is there already nothing is changed by another one.
    file.rename(tmp_path / file.name)
    assert bring_in(store, tmp_path / "run").left_out == []
    assert len(bring_in(store, tmp_path).left_out) == 2
    assert ask(store, "select count(*), sum(value) from samples where doc_id < 2") == [(2, 1.0)]


def test_an_import_keeps_the_path_of_its_file_as_it_was_given_and_is_the_same_from_elsewhere(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/a"))
    bring_in(store, Path("runs"))
    fingerprint = ask(store, "select fingerprint from evaluations")
    assert read_table(store, IMPORTS)["row_name"].to_pylist() == [f"runs/a/results_{STAMP}.json"]
    write_run(tmp_path / "elsewhere")
    before = snapshot(store)
    assert not bring_in(store, tmp_path / "elsewhere").imported[0].is_new
    assert snapshot(store) == before
    other = Store(tmp_path / "other")
    bring_in(other, tmp_path / "elsewhere")
    assert ask(other, "select fingerprint from evaluations") == fingerprint


def test_a_model_without_a_commit_is_known_by_the_name_of_its_file_not_by_its_folder(
    store: Store, tmp_path: Path
) -> None:
    for folder, value in (("a", 0.5), ("b", 0.75)):
        write_run(tmp_path / folder, OLD | {"results": {"nsmc": {"acc": value}}})
    bring_in(store, tmp_path)
    assert ask(store, "select count(*), count(distinct fingerprint) from evaluations") == [(2, 1)]


MODELS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({"model_args": "pretrained=a/b,load_in_4bit=True"}, ("a/b", None, "4bit")),
    ({"model_args": "pretrained=a/b,load_in_8bit=True,dtype=float16"}, ("a/b", None, "8bit")),
    ({"model_args": "pretrained=a/b,load_in_8bit=False,dtype=half"}, ("a/b", None, "float16")),
    ({"model_args": "pretrained=a/b,autogptq=model.safetensors"}, ("a/b", None, "GPTQ")),
    ({"model_args": f"pretrained=a/b,revision={SHA},dtype=torch.bfloat16"}, ("a/b", SHA, "bfloat16")),
    ({"model_args": "pretrained=a/b,revision=main", "model_sha": ""}, ("a/b", None, None)),
    ({"model_args": "pretrained=a/b,dtype=auto", "model_dtype": "torch.float16"}, ("a/b", None, "float16")),
    ({"model_args": '{"pretrained": "a/b", "dtype": "float"}'}, ("a/b", None, "float32")),
    ({"model_args": {"model": "gpt-4o"}}, ("gpt-4o", None, None)),
    ({"model_args": "pretrained=a/b,peft=a/lora", "model_sha": "0" * 40, "peft_sha": SHA}, ("a/lora", SHA, None)),
]


@pytest.mark.parametrize(("config", "expected"), MODELS)
def test_model_revision_and_precision_are_read_from_the_arguments(
    store: Store, tmp_path: Path, config: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    write_run(tmp_path, OLD | {"config": config})
    bring_in(store, tmp_path)
    assert read_table(store, IMPORTS).select(["model_id", "revision", "precision"]).to_pylist() == [
        dict(zip(("model_id", "revision", "precision"), expected, strict=True))
    ]


@pytest.mark.parametrize(
    ("template", "expected"), [({}, None), ({"chat_template": None}, False), ({"chat_template": ""}, None)]
)
def test_the_chat_template_is_unknown_where_the_file_does_not_tell(
    store: Store, tmp_path: Path, template: dict[str, Any], expected: bool | None
) -> None:
    write_run(tmp_path, OLD | template)
    bring_in(store, tmp_path)
    assert read_table(store, IMPORTS)["chat_template"].to_pylist() == [expected]


def test_what_an_option_says_of_a_file_replaces_what_was_said_before(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", NEW | {"config": {"model": "gguf", "model_args": "base_url=http://h:1,revision=r64"}})

    def said(**options: Any) -> list[tuple[Any, ...]]:
        *_, done = import_results(store, [tmp_path / "run"], SUITES, NOW, Options(**options))
        assert len(done.imported) + len(done.left_out) == 1
        columns = "model_id, revision, revision_name, is_revision_inferred, supersedes"
        return ask(store, f"select {columns} from imports order by all") if done.imported else []

    assert said() == []
    first = ("org/said", None, "r64", None, None)
    assert said(model_id="org/said") == [first]
    before = snapshot(store)
    assert said(model_id="org/said") == [first]
    assert snapshot(store) == before
    assert ask(store, "select settings from imports") == [("chat_template_sha=c0",)]
    assert said(model_id="org/said", supersedes=True) == [("org/said", None, "r64", None, True)]
    assert ask(store, "select settings from imports") == [(None,)], "as of an own run"
    assert said(model_id="org/said") == [first]
    found = ("org/said", SHA, "r64", True, None)
    assert said(model_id="org/said", find_commit=lambda model, name, moment: SHA) == [found]
    assert said(model_id="org/said") == [found]
    assert said(model_id="org/other") == [("org/other", None, "r64", None, None), found]


def test_a_file_that_an_older_version_imported_is_described_again(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", NEW | {"system_instruction": "Be brief."})
    bring_in(store, tmp_path)
    [file] = (store.lake / "imports").iterdir()
    write_file(store, IMPORTS, file.stem, [read_table(store, IMPORTS).to_pylist()[0] | {"not_comparable": None}])
    assert ask(store, "select not_ranked from evaluations") == [(None,)]
    bring_in(store, tmp_path)
    assert ask(store, "select not_ranked from evaluations") == [("not comparable: system_instruction=Be brief.",)]


LIGHTEVAL: dict[str, Any] = {
    "config_general": {
        "lighteval_sha": "ab12", "model_name": "org/light", "model_sha": SHA,
        "model_config": {"model_name": "org/light", "dtype": "float16", "revision": "v2"},
    },
    "results": {
        "leaderboard|arc:challenge|25|0": {"acc": 0.25, "acc_stderr": 0.5}, "mmlu:law|5": {"acc": 0.75},
        "mmlu:_average|5": {"acc": 0.75}, "all": {"acc": 0.5},
    },
    "versions": {"mmlu:law|5": 0},
}  # fmt: skip


def test_numbers_of_lighteval_are_read_and_named_as_such(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path, LIGHTEVAL)
    assert bring_in(store, tmp_path).left_out == []
    columns = "task, metric, value, stderr, n_shot, task_version, harness_version"
    assert ask(store, f"select {columns} from task_scores order by value") == [
        ("leaderboard|arc:challenge|25|0", "acc", 0.25, 0.5, 25, None, "lighteval ab12"),
        ("mmlu:law|5", "acc", 0.75, None, 5, "0", "lighteval ab12"),
    ]
    columns = "model_id, revision, precision, backend, not_ranked, suite"
    assert ask(store, f"select {columns} from evaluations") == [
        ("org/light", SHA, "float16", "lighteval", "not comparable: model=lighteval", None)
    ]


def test_metrics_that_are_objects_are_listed(store: Store, tmp_path: Path) -> None:
    results = {"a": {"acc,none": 0.5, "confusion,none": {"x": 1}, "sample_count": {"acc": 3}}}
    path = write_run(tmp_path, OLD | {"results": results})
    done = bring_in(store, path)
    assert [(skipped.where, skipped.reason) for skipped in done.left_out] == [
        (f"{path}: results.a", "confusion,none is an object or a list, not a number, so it is no score.")
    ]
    assert ask(store, "select task, metric, value from task_scores") == [("a", "acc", 0.5)]


def test_endings_of_names_are_read_in_any_case(store: Store, tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", samples={"boolq": [sample(doc_id) for doc_id in range(4)]})
    path.rename(path.with_suffix(".JSON"))
    [lines] = tmp_path.rglob("*.jsonl")
    lines.rename(lines.with_suffix(".JSONL"))
    assert [each.n_samples_files for each in bring_in(store, tmp_path).imported] == [1]


@pytest.mark.parametrize("name", ["samples_boolq_L2.jsonl", "mine-boolq.jsonl", "boolq.jsonl"])
def test_samples_without_a_time_in_their_name_are_matched_by_their_content(
    store: Store, tmp_path: Path, name: str
) -> None:
    write_run(tmp_path)
    lines = [sample(doc_id) | {"acc": float(doc_id % 2)} for doc_id in range(4)]
    (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [each.n_samples_files for each in bring_in(store, tmp_path).imported] == [1]
    assert ask(store, "select count(*) from samples") == [(4,)]


def test_lines_that_are_no_samples_are_said_to_be_none(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "questions.jsonl").write_text('{"id": "1", "question": "q"}\n')
    [skipped] = bring_in(store, tmp_path).left_out
    assert skipped.where == f"{tmp_path / 'questions.jsonl'}:1"
    assert skipped.reason == "is not a samples file of lm-eval: it has no doc_id."


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
        ('{"results": {"a": {"acc,none": 1.0}}}', "", "does not name the evaluated model"),
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
    done = bring_in(store, tmp_path)
    assert [(each.where, each.reason) for each in done.left_out] == [
        (str(file), "has no results file of the same run among the given files. Give the paths of both in one command.")
    ]


def test_samples_that_come_after_their_results_are_taken_with_them(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run", samples={"boolq": FOUR})
    samples = tmp_path / "run" / f"samples_boolq_{STAMP}.jsonl"
    (tmp_path / "later").mkdir()
    samples = samples.rename(tmp_path / "later" / samples.name)
    bring_in(store, tmp_path / "run")
    assert "Give the paths of both in one command" in bring_in(store, tmp_path / "later").left_out[0].reason
    assert bring_in(store, tmp_path / "run", tmp_path / "later").left_out == []
    assert ask(store, "select count(*) from samples") == [(4,)]


def test_a_pipe_is_left_out_and_not_waited_for(store: Store, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    pipe = tmp_path / "run" / "pipe.json"
    os.mkfifo(pipe)
    done = bring_in(store, tmp_path)
    assert len(done.imported) == 1
    assert [(each.where, "is a pipe, socket or device" in each.reason) for each in done.left_out] == [(str(pipe), True)]
    assert [each.where for each in bring_in(store, pipe).left_out] == [str(pipe)]


@pytest.mark.parametrize("n_kept", [0, 200, -300])
def test_a_damaged_file_of_the_lake_is_named(store: Store, tmp_path: Path, n_kept: int) -> None:
    write_run(tmp_path / "run")
    bring_in(store, tmp_path)
    (file,) = (store.lake / "task_scores").glob("*.parquet")
    data = file.read_bytes()
    file.write_bytes(data[:n_kept] if n_kept >= 0 else data[:50] + bytes(200) + data[250:])
    with pytest.raises(LakeError, match=f"{file}: is damaged and cannot be read completely. Restore it from a backup."):
        bring_in(store, tmp_path)


def test_a_path_that_is_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="no such file"):
        bring_in(store, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportFileError, match=r"no \.json"):
        bring_in(store, tmp_path / "empty")
