"""Samples: lm-eval's lines become the same rows in Parquet, or an error names the line."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightboard.warehouse.lake.convert_samples import convert_samples
from nightboard.warehouse.lake.samples_file import ConvertError
from nightboard.warehouse.schema.lake_tables import SAMPLES


def line(**changes: Any) -> str:
    """A line as lm-eval 0.4.13 writes it."""
    sample = {
        "doc_id": 0, "doc": {"question": "?"}, "target": "A", "arguments": {"gen_args_0": {"arg_0": "?"}},
        "resps": [["text"]], "filtered_resps": ["text"], "filter": "none", "metrics": ["acc"], "doc_hash": "d",
        "prompt_hash": "p", "target_hash": "t", "acc": 1.0,
    } | changes  # fmt: skip
    return json.dumps(sample, ensure_ascii=False) + "\n"


def convert(path: Path, *lines: str) -> list[dict[str, Any]]:
    file = path / "samples_task_2026-01-01.jsonl"
    file.write_text("".join(lines))
    out = io.BytesIO()
    n_rows = convert_samples({"task": file}, "bench", "e1", out)
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table.schema.remove_metadata() == SAMPLES.arrow
    assert table.num_rows == n_rows
    return list(table.to_pylist())


def test_a_document_becomes_one_row_per_metric(tmp_path: Path) -> None:
    rows = convert(tmp_path, line(metrics=["acc", "acc_norm"], acc_norm=0))
    assert rows[0] == {
        "evaluation_id": "e1", "benchmark": "bench", "task": "task", "doc_id": 0, "doc_hash": "d",
        "question_hash": None, "filter": "none", "metric": "acc", "value": 1.0, "weight": 1.0,
        "target": "A", "response": "text", "answer": "text",
    }  # fmt: skip
    assert (rows[1]["metric"], rows[1]["value"]) == ("acc_norm", 0.0)


@pytest.mark.parametrize(
    ("value", "expected", "weight"),
    [
        (1.0, 1.0, 1.0),
        (0, 0.0, 1.0),
        (0.25, 0.25, 1.0),
        (True, 1.0, 1.0),
        (False, 0.0, 1.0),
        ([True, False, False, True, True], 0.6, 5.0),
        ([False], 0.0, 1.0),
        (None, None, 1.0),
        ([-12.5, 3], None, 1.0),  # a pair that only the whole task can score
        (["a", "b"], None, 1.0),
        ("0.5", 0.5, 1.0),
        ("half", None, 1.0),
        ({"a": 1}, None, 1.0),
    ],
)
def test_a_value_is_a_number_a_truth_or_a_list_of_truths(
    tmp_path: Path, value: object, expected: float | None, weight: float
) -> None:
    (row,) = convert(tmp_path, line(acc=value))
    assert (row["value"], row["weight"]) == (expected, weight)


def test_a_question_is_known_again_in_another_task(tmp_path: Path) -> None:
    hashes = []
    for choices in (["a", "b"], ["b", "a"]):
        file = tmp_path / "samples.jsonl"
        file.write_text(line(doc={"Question": "why?", "choices": choices}) + line(doc_id=1, doc={"choices": choices}))
        convert_samples({"task": file}, "bench", "e1", tmp_path / "out.parquet", "Question")
        hashes.append(pq.read_table(tmp_path / "out.parquet")["question_hash"].to_pylist())
    assert hashes[0] == hashes[1] == [hashlib.sha256(b"why?").hexdigest(), None]


def test_nan_stays_nan_for_the_validation_to_see(tmp_path: Path) -> None:
    (row,) = convert(tmp_path, line(acc=float("nan")))
    assert row["value"] != row["value"]


@pytest.mark.parametrize(
    ("filtered", "response"),
    [
        (["an answer"], "an answer"),
        (['["quoted", "True"]'], '["quoted", "True"]'),
        ([""], ""),
        (["ünïcode \u2028 \\n 🙂"], "ünïcode \u2028 \\n 🙂"),
        ([["first", "second"]], "first"),
        ([["-1.5", "False"], ["-2.25", "True"]], "[-1.5,-2.25]"),
        (["12", "13"], "12"),
        ([], None),
        ([[]], None),
        ([None], None),
        ([{"a": 1}], '{"a":1}'),
        ([["-1e-07", "False"], ["-inf", "False"], ["x", "True"], [None, "False"]], "[-1e-7,null,null,null]"),
        ([["1, 2", "False"], ["-1.0", "True"]], "[null,-1.0]"),
        ([["1,2", "False"], ["[3", "True"], ["4]", "False"]], "[null,null,null]"),
        ([["true", "False"], ["-1", "True"], ['"x"', "False"]], "[null,-1.0,null]"),
    ],
)
def test_a_response_is_the_first_answer_or_the_log_likelihoods(
    tmp_path: Path, filtered: list[Any], response: str | None
) -> None:
    (row,) = convert(tmp_path, line(filtered_resps=filtered))
    assert row["response"] == response


def test_only_listed_metrics_count_whatever_other_lines_list(tmp_path: Path) -> None:
    rows = convert(tmp_path, line(), line(doc_id=1, metrics=["em"], em=1, acc=0.0), line(doc_id=2, extra=3))
    assert [(row["doc_id"], row["metric"]) for row in rows] == [(0, "acc"), (1, "em"), (2, "acc")]


def test_a_metric_that_is_listed_twice_gives_one_row(tmp_path: Path) -> None:
    assert len(convert(tmp_path, line(metrics=["acc", "acc"]))) == 1


def test_filters_stay_apart(tmp_path: Path) -> None:
    rows = convert(tmp_path, line(filter="strict"), line(filter="flexible", acc=0.0))
    assert [(row["filter"], row["value"]) for row in rows] == [("strict", 1.0), ("flexible", 0.0)]


def test_tasks_of_a_benchmark_go_into_one_file(tmp_path: Path) -> None:
    files = {}
    for task in ("b", "a"):
        files[task] = tmp_path / f"{task} [1]*.jsonl"
        files[task].write_text(line() + line(doc_id=1))
    assert convert_samples(files, "bench", "e1", tmp_path / "samples.parquet") == 4
    assert pq.read_table(tmp_path / "samples.parquet")["task"].to_pylist() == ["a", "a", "b", "b"]


def test_an_empty_file_gives_no_rows(tmp_path: Path) -> None:
    assert convert(tmp_path) == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (line(doc_id=1)[:60], "not valid JSON"),
        (line(doc_id=1).rstrip() + line(doc_id=2), "not valid JSON"),
        ("42\n", "not a JSON object"),
        ("\0\0\0\0\n", "not valid JSON"),
        (line(doc_id="one"), "doc_id is not a number"),
        (line(doc_id=None), "lacks doc_id"),
        (line(metrics=None), "lacks metrics"),
        (line(filtered_resps=None), "lacks filtered_resps"),
        ('{"doc_id": 1}\n', "lacks filter, metrics, filtered_resps"),
        (line(doc_id=True), "not a sample of lm-eval"),
        (line(doc_id=2**63), "doc_id does not fit into 64 bits"),
        (line(doc_id=10**30), "doc_id does not fit into 64 bits"),
        (line(metrics=[1]), "not a sample of lm-eval"),
        (line(metrics={"acc": 1}), "not a sample of lm-eval"),
        (line(filtered_resps="text"), "not a sample of lm-eval"),
        (line(filter=["none"]), "not a sample of lm-eval"),
        (line(doc={"question": "\\udc00"}).replace("\\\\", "\\"), "not valid JSON"),
        (line(doc=float("nan"), filter=None), "lacks filter"),
    ],
)
@pytest.mark.parametrize("is_last", [True, False])
def test_a_broken_line_is_named_with_its_file(tmp_path: Path, broken: str, problem: str, is_last: bool) -> None:
    lines = [line(), broken] if is_last else [line(), broken.rstrip("\n") + "\n", line(doc_id=3)]
    with pytest.raises(ConvertError, match=rf"samples_task_2026-01-01\.jsonl: line 2: {problem}"):
        convert(tmp_path, *lines)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_bytes(line().encode() + line(doc_id=1).encode().replace(b"?", b"\xff"))
    with pytest.raises(ConvertError, match=r"samples\.jsonl: line 2: not valid JSON \('utf-8' codec"):
        convert_samples({"task": tmp_path / "samples.jsonl"}, "bench", "e1", io.BytesIO())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"cannot be read \(Is a directory\)"):
        convert_samples({"task": tmp_path}, "bench", "e1", io.BytesIO())


@pytest.mark.parametrize("n_bytes", [1, 7, 400, 1000, 100_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n \t\n"])
def test_lines_are_whole_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int, end: str
) -> None:
    monkeypatch.setattr("nightboard.warehouse.lake.samples_file._READ_BYTES", n_bytes)
    monkeypatch.setattr("nightboard.warehouse.lake.samples_file._FETCH_FROM_BYTES", 20_000 * (n_bytes % 2))
    texts = ["x" * length for length in (0, 1, 500, 5, 3000, 90, 12_000, 2)]
    rows = convert(tmp_path, end.join(line(doc_id=i, target=text).strip() for i, text in enumerate(texts)))
    assert [(row["doc_id"], row["target"]) for row in rows] == [*enumerate(texts)]


def test_rows_beyond_a_batch_are_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightboard.warehouse.lake.convert_samples._BATCH_ROWS", 3)
    rows = convert(tmp_path, *(line(doc_id=i, metrics=["acc", "em"], em=0) for i in range(5)))
    assert [(row["doc_id"], row["metric"]) for row in rows] == [
        (i, metric) for i in range(5) for metric in ("acc", "em")
    ]


@pytest.mark.parametrize(
    ("target", "text"),
    [("A", "A"), ("", ""), (3, "3"), (None, None), (["a", "ü"], '["a","ü"]'), ({"a": [1, None]}, '{"a":[1,null]}')],
)
@pytest.mark.parametrize("prompt", ["?", float("nan")])
def test_a_target_is_a_text_or_json(tmp_path: Path, target: object, text: str | None, prompt: object) -> None:
    (row,) = convert(tmp_path, line(target=target, arguments=prompt))
    assert row["target"] == text


def test_a_number_beyond_a_double_is_no_value(tmp_path: Path) -> None:
    (row,) = convert(tmp_path, line(acc=10**400))
    assert (row["value"], row["weight"]) == (None, 1.0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"gone\.jsonl: the file does not exist"):
        convert_samples({"task": tmp_path / "gone.jsonl"}, "bench", "e1", io.BytesIO())


def test_a_full_disk_is_the_callers_error(tmp_path: Path) -> None:
    class FullDisk(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    file = tmp_path / "samples.jsonl"
    file.write_text("".join(line(doc_id=i, target="x" * 1000) for i in range(2000)))
    with pytest.raises(OSError, match="No space left"):
        convert_samples({"task": file}, "bench", "e1", FullDisk())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT, st.one_of(st.booleans(), st.floats(0, 1), st.lists(st.booleans(), min_size=1)))))
def test_any_text_and_value_come_back_as_they_were(tmp_path: Path, documents: list[tuple[str, str, Any]]) -> None:
    lines = [line(doc_id=i, target=t, filtered_resps=[r], acc=v) for i, (t, r, v) in enumerate(documents)]
    rows = convert(tmp_path, *lines)
    assert [(row["doc_id"], row["target"], row["response"]) for row in rows] == [
        (i, target, response) for i, (target, response, _) in enumerate(documents)
    ]
    for row, (_, _, value) in zip(rows, documents, strict=True):
        mean = sum(value) / len(value) if isinstance(value, list) else float(value)
        assert row["value"] == pytest.approx(mean, abs=1e-15)


LIKELIHOODS = {
    "doc": {"question": "?", "options": ["forty", "42"]},
    "arguments": {f"gen_args_{i}": {"arg_0": "?", "arg_1": f" {letter}"} for i, letter in enumerate("AB")},
    "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
}


def test_an_answer_is_the_chosen_option_or_the_text(tmp_path: Path) -> None:
    rows = convert(
        tmp_path,
        line(**LIKELIHOODS),
        line(doc_id=1, filtered_resps=[["-1.5", "False"]]),  # one log-likelihood is no choice
        line(doc_id=2, **LIKELIHOODS | {"filtered_resps": [["nan", "False"], ["-0.5", "True"]]}),
        line(doc_id=3, filtered_resps=["12", "13"]),
    )
    assert [row["answer"] for row in rows] == ["(B) 42", None, None, "12"]


def test_each_metric_has_its_own_answer(tmp_path: Path) -> None:
    arguments = {f"gen_args_{i}": {"arg_0": "?", "arg_1": f" {text}"} for i, text in enumerate(["a long one", "no"])}
    resps = [["-4.0", "False"], ["-3.0", "True"]]
    metrics = {"metrics": ["acc", "acc_norm"], "acc_norm": 0.0}
    rows = convert(tmp_path, line(arguments=arguments, filtered_resps=resps, **metrics))
    assert {row["metric"]: row["answer"] for row in rows} == {"acc": "(B) no", "acc_norm": "(A) a long one"}


def test_what_may_not_be_published_is_not_in_the_answer(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text(line(**LIKELIHOODS))
    convert_samples({"task": file}, "bench", "e1", tmp_path / "out.parquet", may_publish=False)
    assert pq.read_table(tmp_path / "out.parquet")["answer"].to_pylist() == ["(B)"]


@pytest.mark.parametrize("text", ["x" * 2**20, "a\0b", "\u202e\u2028", "<script>"])
def test_odd_texts_stay_what_they_are(tmp_path: Path, text: str) -> None:
    rows = convert(
        tmp_path, line(filtered_resps=[text]), line(doc_id=1, **LIKELIHOODS | {"doc": {"options": ["", text]}})
    )
    assert [row["answer"] for row in rows] == [text, f"(B) {text}"]


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": None}, {"arguments": []}, {"arguments": {"gen_args_0": []}}, {"arguments": [[1, 2], [3, 4]]},
        {"arguments": "x"}, {"doc": None}, {"doc": []}, {"doc": {"options": 7}}, {"doc": {"options": {"A": 1}}},
        {"doc": {"options": {"text": 7}}}, {"doc": {"choices": [[], {}]}},
    ],
)  # fmt: skip
def test_odd_documents_still_tell_the_letter(tmp_path: Path, changes: dict[str, Any]) -> None:
    (row,) = convert(tmp_path, line(**LIKELIHOODS | changes))
    assert str(row["answer"]).startswith("(B)")
