"""A lake with all that pages show: ranked models with commits and samples, copies, failures, a queue, odd texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_lake import Lake, after, declare_task
from once import make_once

from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build

EVIL = "evil/<script>alert(1)</script>"
TURNED = "rtl/abc\u202edef"
LONG = "y" * 2**20
LIBRARIES = json.dumps({"torch": "2.8.0+cu128", "transformers": "4.57.1", "vllm": None})
TASKS = [
    declare_task(
        name, f"task_{name}", benchmark_title=name.upper(), benchmark_position=position,
        publish_documents=name != "gpqa", measurement=json.dumps({"group": f"group_{name}", "seed": 1234}), n_samples=4,
    )
    for position, name in enumerate(("bbh", "gpqa"))
]  # fmt: skip
# By model and commit: right or wrong for each of the four documents of each task.
ANSWERS = {
    ("lab/strong", "1" * 40): "1111",
    ("lab/weak", "2" * 40): "1000",
    ("lab/weak", "3" * 40): "1010",
    (EVIL, "4" * 40): "0000",
    (TURNED, "5" * 40): "1100",
}


def share_store(factory: pytest.TempPathFactory) -> Store:
    """The store of all tests that only read it."""
    return Store(make_once(factory, "store of pages", make_store))


def make_store(root: Path) -> Store:
    """The store, with its build."""
    lake, store = Lake(), Store(root)
    lake.suite(TASKS)
    for hours, ((model_id, revision), answers) in enumerate(ANSWERS.items(), start=1):
        _add_evaluation(lake, model_id, revision, answers, hours)
    for task in TASKS:
        rows = [_describe_document(task["task"], number) for number in range(4)]
        lake.add("documents", task["task"], rows)
    _add_troubles(lake)
    _add_requests(lake)
    build(lake.write(store.lake), store.warehouse, after(100))
    return store


def _add_evaluation(lake: Lake, model_id: str, revision: str, answers: str, hours: int) -> None:
    evaluation_id = f"e{revision}"
    weights = "copied" if model_id in ("lab/strong", EVIL) else revision
    lake.commit(model_id, revision, hours=hours, weights_hash=weights, params_b=None if model_id == EVIL else 1.5,
                license=None if model_id == EVIL else "mit")  # fmt: skip
    scores = {task["task"]: answers.count("1") / 4 for task in TASKS}
    rows = lake.done(evaluation_id, model_id, revision, scores=scores, hours=hours, tasks=TASKS)
    for row in rows:
        row |= {
            "dataset_id": f"org/{row['benchmark']}", "dataset_sha": "d" * 40, "batch_size": "8", "node": "gpu-17",
            "harness_version": "0.4.13", "library_versions": LIBRARIES, "device": "NVIDIA H100",
        }  # fmt: skip
        lake.add("samples", evaluation_id, [
            {"evaluation_id": evaluation_id, "benchmark": row["benchmark"], "task": row["task"], "doc_id": number,
             "doc_hash": f"{row['task']} {number}", "filter": "none", "metric": "acc", "value": float(answer),
             "weight": 1.0, "target": "(A) secret", "response": "[-1,-2]",
             "answer": ("(A) secret" if answer == "1" else "(B) <b>wrong</b> \x00") + LONG * (number == 3)}
            for number, answer in enumerate(answers)
        ])  # fmt: skip


def _describe_document(task: str, number: int) -> dict[str, object]:
    return {
        "task": task, "doc_hash": f"{task} {number}", "doc_set_hash": "set", "is_imported": False,
        "question": f"<i>Secret</i> question {number}?", "choices": ["(A) secret", "(B) <b>wrong</b>"],
        "target": "(A) secret", "category": None,
    }  # fmt: skip


def _add_troubles(lake: Lake) -> None:
    lake.commit("lab/weak", "6" * 40, hours=9, state="rejected", reason="closed: no weights", fingerprint=None)
    lake.planned("waits", "lab/waits")
    for number in (1, 2):
        evaluation_id = f"broken{number}"
        lake.planned(evaluation_id, f"lab/broken-{number}")
        for attempt in (1, 2):
            lake.attempt(
                evaluation_id, "out_of_memory", attempt, reason=f"no memory for <lab/broken-{number}>", node="gpu-3",
                log_tail=["\x1b[31mRuntimeError", LONG],
            )  # fmt: skip


def _add_requests(lake: Lake) -> None:
    for number, (state, reason) in enumerate((("accepted", None), ("pending", "needs a second vote"), ("done", None))):
        lake.add("requests", str(number), [
            {"request_id": f"{number}" * 32, "board": "mine" if number else "other", "kind": "backfill",
             "asked_by": "someone@here", "asked_at": after(number), "source": "command", "reason": "<b>noise</b>",
             "priority": number, "suites": ["small"], "benchmarks": ["bbh"], "selection": f"org:lab-{number}",
             "is_replicate": False}
        ])  # fmt: skip
        lake.add("request_events", str(number), [
            {"request_id": f"{number}" * 32, "changed_at": after(number + 1), "state": state, "changed_by": "nightly",
             "reason": reason, "n_targets": 4, "n_done": number, "n_failed": 0, "gpu_hours": 0.0}
        ])  # fmt: skip
