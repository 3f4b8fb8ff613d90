"""Success is validated output: every kind of damage to lm-eval's files is refused, and named."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from builders import NOW

from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Harness, Suite, TaskSpec
from nightboard.tasks.evaluation.outputs import Provenance, check_finished, finish_benchmark, set_aside
from nightboard.tasks.evaluation.validate import OutputError, read_outputs
from nightboard.tasks.store.layout import StoreError
from nightboard.tasks.store.records import AttemptSpec, Evaluation, PlannedAttempt, ResolvedSuite, Shard

WHOLE = Shard(benchmarks=("bench",))

Edit = Callable[[Any], None]
PLACE = Provenance(harness_version="0.4.13", library_versions="{}", node="node", device="cpu")


def make_suite(limit: int | None = None, shots: int = 3, **benchmark: Any) -> Suite:
    declared = {
        "title": "T", "group": "group", "dataset": DatasetSpec(id="own/data", sha="a" * 40), "shots": shots,
        "metrics": ("acc",), "aggregate": "mean", "normalize": "task",
        "tasks": {"one": TaskSpec(samples=4), "two": TaskSpec(samples=2)},
    } | benchmark  # fmt: skip
    benchmarks = {"bench": Benchmark.model_validate(declared)}
    return Suite(suite="s", title="s", limit=limit, harness=Harness(version="0.4.13"), benchmarks=benchmarks)


def make_sample(doc_id: int, acc: Any, chosen: str = "none") -> dict[str, Any]:
    return {
        "doc_id": doc_id, "doc": {"q": doc_id}, "target": "A", "filter": chosen, "metrics": ["acc"], "acc": acc,
        "doc_hash": f"doc{doc_id}", "prompt_hash": "p", "target_hash": "t", "resps": [["x"]], "filtered_resps": ["x"],
        "arguments": {},
    }  # fmt: skip


def make_results(**values: float) -> dict[str, Any]:
    counts = {"one": 4, "two": 2}
    return {
        "results": {
            task: {"alias": task, "acc,none": value, "acc_stderr,none": 0.1} for task, value in values.items()
        } | {"group": {"alias": "group", " ": " "}},
        "versions": dict.fromkeys(values, 1.0),
        "n-shot": dict.fromkeys(values, 3),
        "n-samples": {task: {"original": counts[task], "effective": counts[task]} for task in values},
        "task_hashes": dict.fromkeys(values, "h"),
        "chat_template_sha": None,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What lm-eval leaves when all is well: two tasks, and a group row that prints blanks."""
    write_samples(tmp_path, "one", [make_sample(i, i % 2) for i in range(4)])
    write_samples(tmp_path, "two", [make_sample(i, 1.0) for i in range(2)])
    (tmp_path / "results.json").write_text(json.dumps(make_results(one=0.5, two=1.0)))
    return tmp_path


def write_samples(folder: Path, task: str, samples: list[dict[str, Any]]) -> None:
    (folder / f"samples_{task}.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))


def edit_results(folder: Path, edit: Edit) -> None:
    results = json.loads((folder / "results.json").read_text())
    edit(results)
    (folder / "results.json").write_text(json.dumps(results))


def reasons_for(folder: Path, suite: Suite | None = None, **options: Any) -> list[str]:
    with pytest.raises(OutputError) as caught:
        read_outputs(folder, suite or make_suite(), WHOLE, "bench", **({"is_templated": False} | options))
    return caught.value.reasons


# ------------------------------------------------------------------------------------------------------ what passes


def test_complete_output_is_accepted_and_hashed_over_its_ordered_documents(folder):
    output = read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False)
    one, two = output.tasks
    assert (one.task, one.n_samples, one.n_shot, one.task_version, one.task_hash) == ("one", 4, 3, "1.0", "h")
    assert one.doc_set_hash == hashlib.sha256(b"doc0tdoc1tdoc2tdoc3t").hexdigest()
    assert [(s.metric, s.filter, s.value, s.stderr) for s in two.scores] == [("acc", "none", 1.0, 0.1)]


def test_the_order_of_the_lines_does_not_matter_but_the_documents_do(folder):
    first = read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False).tasks[0].doc_set_hash
    write_samples(folder, "one", [make_sample(i, i % 2) for i in (3, 1, 2, 0)])
    assert read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False).tasks[0].doc_set_hash == first
    write_samples(folder, "one", [make_sample(i, i % 2) | {"doc_hash": f"new{i}"} for i in range(4)])
    assert read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False).tasks[0].doc_set_hash != first


def test_a_standard_error_that_lm_eval_does_not_give_is_null(folder):
    edit_results(folder, lambda r: r["results"]["one"].update({"acc_stderr,none": "N/A"}))
    assert read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False).tasks[0].scores[0].stderr is None


def test_a_document_with_several_parts_counts_once_a_part(folder):
    write_samples(folder, "two", [make_sample(0, [True, False, False]), make_sample(1, [True])])
    edit_results(folder, lambda r: r["results"]["two"].update({"acc,none": 0.5}))
    read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False)
    edit_results(folder, lambda r: r["results"]["two"].update({"acc,none": (1 / 3 + 1) / 2}))
    assert "mean over samples_two.jsonl is 0.5" in reasons_for(folder)[0]


def test_all_filters_may_be_reported_but_the_declared_one_counts(folder):
    both = [make_sample(i, i % 2, chosen) for chosen in ("strict", "loose") for i in range(4)]
    write_samples(folder, "one", both)
    write_samples(folder, "two", [make_sample(i, 1, "strict") for i in range(2)])

    def rename(results: Any) -> None:
        results["results"]["one"] = {"acc,strict": 0.5, "acc,loose": 0.9}
        results["results"]["two"] = {"acc,strict": 1.0}

    edit_results(folder, rename)
    read_outputs(folder, make_suite(filter="strict"), WHOLE, "bench", is_templated=False)
    assert reasons_for(folder)[0].startswith("samples_one.jsonl: no sample at the declared filter none")


def test_a_limited_suite_expects_the_limit(folder):
    write_samples(folder, "one", [make_sample(i, i) for i in range(2)])
    edit_results(folder, lambda r: r["n-samples"]["one"].update(effective=2))
    read_outputs(folder, make_suite(limit=2), WHOLE, "bench", is_templated=False)
    assert len(reasons_for(folder)) == 2


# ----------------------------------------------------------------------------------------------------- what does not


def test_a_truncated_results_file_is_named(folder):
    path = folder / "results.json"
    path.write_bytes(path.read_bytes()[:-40])
    assert reasons_for(folder)[0].startswith("results.json: not readable to its end, it was cut off or damaged")


def test_a_job_that_wrote_nothing_is_refused(tmp_path):
    assert reasons_for(tmp_path) == [
        "results.json: lm-eval did not save it (No such file or directory).",
        "samples_one.jsonl: lm-eval did not save it (No such file or directory).",
        "samples_two.jsonl: lm-eval did not save it (No such file or directory).",
    ]


def test_a_samples_file_cut_in_the_middle_of_a_line_is_named_with_the_line(folder):
    path = folder / "samples_one.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert reasons_for(folder)[0].startswith("samples_one.jsonl:4: the line is cut off in the middle")


def test_a_damaged_line_is_named(folder):
    path = folder / "samples_one.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:20] + b"\xff\n" + lines[2] + lines[3])
    assert reasons_for(folder)[0].startswith("samples_one.jsonl:2: the line is damaged")


@pytest.mark.parametrize("line", ["[]", "{}", '{"doc_id": "x", "filter": "none"}'])
def test_a_line_that_is_no_sample_is_named(folder, line):
    with (folder / "samples_one.jsonl").open("a") as file:
        file.write(line + "\n")
    assert reasons_for(folder)[0].startswith("samples_one.jsonl:5: ")


def test_a_missing_task_is_named(folder):
    edit_results(folder, lambda r: r["results"].pop("two"))
    assert reasons_for(folder) == ["results.json: results.two: the task is missing; lm-eval did not run it."]


def test_a_task_run_on_fewer_samples_than_declared_is_refused(folder):
    write_samples(folder, "one", [make_sample(i, i % 2) for i in range(2)])
    edit_results(folder, lambda r: r["n-samples"]["one"].update(effective=2))
    assert reasons_for(folder) == [
        "samples_one.jsonl: filter none: the suite declares 4 documents (got 2 lines).",
        "results.json: n-samples.one.effective: the suite declares 4 scored documents (got 2).",
    ]


def test_a_dataset_of_another_size_is_refused_even_under_a_limit(folder):
    """Versions of lm-eval that lost MATH's level filter had 5000 documents instead of 1324."""
    for task in ("one", "two"):
        write_samples(folder, task, [make_sample(i, 1) for i in range(2)])
    edit_results(folder, lambda r: r["n-samples"].update(one={"original": 15, "effective": 2}))
    edit_results(folder, lambda r: r["results"]["one"].update({"acc,none": 1}))
    assert reasons_for(folder, make_suite(limit=2)) == [
        "results.json: n-samples.one.original: the suite declares 4 documents in the dataset (got 15)."
    ]


def test_other_shots_than_declared_are_refused(folder):
    edit_results(folder, lambda r: r["n-shot"].update(one=0))
    assert reasons_for(folder) == ["results.json: n-shot.one: the suite declares 3 few-shot examples (got 0)."]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, True, " "])
def test_a_score_that_is_no_finite_number_is_refused(folder, value):
    edit_results(folder, lambda r: r["results"]["one"].update({"acc,none": value}))
    [reason] = reasons_for(folder)
    assert reason.startswith("results.json: results.one.acc,none: not a finite number")


def test_a_standard_error_that_is_nan_is_refused(folder):
    edit_results(folder, lambda r: r["results"]["one"].update({"acc_stderr,none": float("nan")}))
    assert "results.one.acc_stderr,none: not a finite number (got nan)" in reasons_for(folder)[0]


@pytest.mark.parametrize("value", [float("nan"), "1", None, [True, None]])
def test_a_sample_whose_metric_is_no_finite_number_is_named_with_its_line(folder, value):
    write_samples(folder, "one", [make_sample(0, 1), make_sample(1, value), make_sample(2, 1), make_sample(3, 1)])
    assert reasons_for(folder)[0].startswith("samples_one.jsonl:2: acc: not a finite number")


@pytest.mark.parametrize("value", ["nan", "-inf", "inf"])
def test_one_answer_that_is_no_finite_number_makes_the_benchmark_invalid(folder, value):
    samples = [make_sample(i, i % 2) | {"resps": [[["-1.5", "False"]], [["-2.5", "True"]]]} for i in range(4)]
    samples[2]["resps"][1][0][0] = value
    write_samples(folder, "one", samples)
    [reason] = reasons_for(folder)
    assert reason.startswith(
        "samples_one.jsonl: 1 of 4 documents (25.0%) have an answer that is not a finite number; the first is document"
        f" 2 (got {value}). The model computes NaN or infinity"
    )


def test_answers_that_are_empty_or_all_the_same_are_counted_and_valid(folder):
    write_samples(folder, "one", [make_sample(i, i % 2) | {"resps": [[["x", " "][i // 3]]]} for i in range(4)])
    finish(folder)
    rows = pq.read_table(folder / "task_scores.parquet").to_pylist()
    columns = ("task", "not_finite_answers", "empty_answers", "only_answer", "cut_prompts")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("one", 0, 1, None, None),
        ("two", 0, 0, "x", None),
    ]


def test_a_declared_metric_that_is_missing_is_refused(folder):
    edit_results(folder, lambda r: r["results"]["one"].update({"acc_norm,none": r["results"]["one"].pop("acc,none")}))
    assert (
        "results.one.acc,none: the declared metric is missing (got acc_stderr,none, acc_norm" in reasons_for(folder)[0]
    )


def test_a_document_that_comes_twice_is_refused(folder):
    write_samples(folder, "one", [make_sample(i, i % 2) for i in (0, 1, 2, 1)])
    assert reasons_for(folder) == [
        "samples_one.jsonl: filter none: the document ids must be 0 to 3, each once (missing [3])."
    ]


def test_a_score_that_is_not_the_mean_of_its_samples_is_refused(folder):
    edit_results(folder, lambda r: r["results"]["one"].update({"acc,none": 0.5 + 1e-8}))
    assert "reported 0.50000001, but the mean over samples_one.jsonl is 0.5" in reasons_for(folder)[0]
    edit_results(folder, lambda r: r["results"]["one"].update({"acc,none": 0.5 + 1e-12}))
    read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=False)


def test_a_chat_template_that_was_not_applied_or_not_asked_for_is_refused(folder):
    assert "asks for a chat template applied (got None)" in reasons_for(folder, is_templated=True)[0]
    edit_results(folder, lambda r: r.update(chat_template_sha="abc"))
    assert "asks for no chat template (got abc)" in reasons_for(folder)[0]
    assert read_outputs(folder, make_suite(), WHOLE, "bench", is_templated=True).chat_template_hash == "abc"


@pytest.mark.parametrize("content", ["[]", "{}", '{"results": 1, "n-samples": {"one": 3}}'])
def test_a_results_file_of_another_shape_is_refused_and_does_not_crash(folder, content):
    (folder / "results.json").write_text(content)
    assert reasons_for(folder)


def test_everything_that_is_wrong_is_said_at_once(folder):
    edit_results(folder, lambda r: (r["n-shot"].update(one=0), r["results"].pop("two")))
    (folder / "samples_two.jsonl").unlink()
    assert len(reasons_for(folder)) == 3


# ----------------------------------------------------------------------------------------------- finished benchmarks


def make_spec(**benchmark: Any) -> AttemptSpec:
    suite = make_suite(**benchmark)
    evaluation = Evaluation(
        evaluation_id="e", suite="s", suite_version="v", model_id="own/m", revision="1" * 40, fingerprint="f",
        precision="float32", chat_template=False, fewshot_as_multiturn=False, harness_version="0.4.13",
    )  # fmt: skip
    return AttemptSpec(
        launch_id="l",
        array_task=0,
        evaluation=evaluation,
        suite=ResolvedSuite(suite=suite, version="v"),
        planned=PlannedAttempt(evaluation_id="e", shard=WHOLE, batch_size=8, estimate_s=1),
        tier="cpu",
        device="cpu",
        batch_size="auto",
        gpus=0,
        created_at=NOW,
    )


def finish(folder: Path) -> None:
    finish_benchmark(folder, make_spec(), "bench", PLACE, NOW, NOW)


@pytest.mark.parametrize(("publish", "answer"), [(True, "(B) y"), (False, "(B)")])
def test_answers_name_options_only_where_these_may_be_published(folder, publish, answer):
    """Also on the node, which knows the suite from its record."""
    chosen = {
        "doc": {"question": "?", "options": ["x", "y"]}, "filtered_resps": [["-2.5", "False"], ["-1.5", "True"]],
        "arguments": {f"gen_args_{i}": {"arg_0": "?", "arg_1": f" {letter}"} for i, letter in enumerate("AB")},
    }  # fmt: skip
    write_samples(folder, "two", [make_sample(i, 1.0) | chosen for i in range(2)])
    spec = AttemptSpec.model_validate_json(make_spec(publish_documents=publish).to_bytes())
    finish_benchmark(folder, spec, "bench", PLACE, NOW, NOW)
    answers = pq.read_table(folder / "samples.parquet", filters=[("task", "=", "two")])["answer"].to_pylist()
    assert answers == [answer, answer]


def test_a_finished_benchmark_has_tables_and_a_manifest_that_vouches_for_all(folder):
    finish(folder)
    assert check_finished(folder, make_suite(), WHOLE, "bench") == []
    rows = pq.read_table(folder / "task_scores.parquet").to_pylist()
    assert [(r["task"], r["metric"], r["value"], r["n_samples"], r["batch_size"]) for r in rows] == [
        ("one", "acc", 0.5, 4, "auto"), ("two", "acc", 1.0, 2, "auto"),
    ]  # fmt: skip
    assert {r["dataset_sha"] for r in rows} == {"a" * 40}
    samples = pq.read_table(folder / "samples.parquet").to_pylist()
    assert [(r["task"], r["doc_id"], r["value"]) for r in samples[:2]] == [("one", 0, 0.0), ("one", 1, 1.0)]
    assert len(samples) == 6


def test_invalid_output_gets_no_manifest(folder):
    edit_results(folder, lambda r: r["n-shot"].update(one=0))
    with pytest.raises(OutputError):
        finish(folder)
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize(
    "name", ["results.json", "samples_one.jsonl", "samples_two.jsonl", "task_scores.parquet", "samples.parquet"]
)
def test_any_file_that_was_cut_changed_or_lost_after_finishing_is_found(folder, name):
    finish(folder)
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert f"{path}: must have {len(content)} bytes" in check_finished(folder, make_suite(), WHOLE, "bench")[0]
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert check_finished(folder, make_suite(), WHOLE, "bench") == [
        f"{path}: its content is not what its manifest says."
    ]
    path.unlink()
    assert check_finished(folder, make_suite(), WHOLE, "bench") == [
        f"{path}: cannot be read (No such file or directory)."
    ]


def test_a_manifest_that_is_missing_damaged_or_of_another_benchmark_is_found(folder):
    finish(folder)
    suite = make_suite(tasks={"one": TaskSpec(samples=4), "three": TaskSpec(samples=1)})
    assert "files: samples_three.jsonl is not listed" in check_finished(folder, suite, WHOLE, "bench")[0]
    assert "benchmark: must be other (got bench)" in check_finished(folder, make_suite(), WHOLE, "other")[0]
    (folder / "manifest.json").write_text("{")
    assert "cannot be read as BenchmarkManifest" in check_finished(folder, make_suite(), WHOLE, "bench")[0]
    (folder / "manifest.json").unlink()
    assert len(check_finished(folder, make_suite(), WHOLE, "bench")) == 1


def test_a_full_disk_while_writing_a_table_leaves_nothing_that_looks_finished(folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(StoreError, match=r"task_scores\.parquet: no space left on the disk"):
        finish(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["results.json", "samples_one.jsonl", "samples_two.jsonl"]


def test_what_is_set_aside_is_kept_each_time(tmp_path):
    for text in ("first", "second"):
        (tmp_path / "bench").mkdir()
        (tmp_path / "bench" / "file").write_text(text)
        set_aside(tmp_path / "bench")
    assert sorted(path.read_text() for path in tmp_path.glob("bench.damaged-*/file")) == ["first", "second"]
