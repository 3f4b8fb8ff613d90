"""Evaluations of models whose true scores are known: answers are drawn, one by one, with known chances.

As in the real suite, GPQA asks some questions in three tasks, most answers to one question agree, and the instructions
of an IFEval prompt are followed or not together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from make_lake import Lake

from nightboard.warehouse.schema.lake_tables import SAMPLES

Row = dict[str, Any]
Table = dict[str, Any]

# Mass of the distribution that a prompt's chance is drawn from: small, so that prompts differ a lot.
_PROMPTS_DIFFER = 1.5
# How often the answer to a question that is asked again is the same without another draw.
_SAME_ANSWER = 0.8


@dataclass(frozen=True)
class SyntheticModel:
    """Chance of a right answer by task."""

    chances: Mapping[str, float]


def true_value(task: Row, chance: float) -> float:
    """What a task's score is on average over all documents there could be."""
    if len(task["metrics"]) == 1:
        return chance
    singles, pairs = _count_prompts(task["n_samples"])
    a, total = chance * _PROMPTS_DIFFER, _PROMPTS_DIFFER
    both = a * (a + 1) / (total * (total + 1))
    prompts = (singles * chance + pairs * both) / (singles + pairs)
    return (prompts + chance) / 2


def true_scores(tasks: list[Row], model: SyntheticModel) -> dict[str, tuple[float, float]]:
    """By benchmark: true raw and normalized score."""
    scores = {}
    for benchmark in dict.fromkeys(task["benchmark"] for task in tasks):
        own = [task for task in tasks if task["benchmark"] == benchmark]
        weights = np.array([task["n_samples"] if task["aggregate"] == "pooled" else 1.0 for task in own])
        values = np.array([true_value(task, model.chances[task["task"]]) for task in own])
        raw = float(values @ weights / weights.sum())
        bounds = np.array([task["task_lower_bound"] for task in own])
        of_tasks = np.maximum(0, values - bounds) / (1 - bounds) * 100
        bound = own[0]["benchmark_lower_bound"]
        whole = max(0.0, raw - bound) / (1 - bound) * 100
        is_by_task = own[0]["normalize"] == "task"
        scores[benchmark] = raw, float(of_tasks @ weights / weights.sum()) if is_by_task else whole
    return scores


def add_models(
    lake: Lake, folder: Path, tasks: list[Row], models: Mapping[str, SyntheticModel], chance: np.random.Generator
) -> None:
    """Add a complete evaluation of each model (by its id): scores to `lake`, samples to `folder`."""
    tables = []
    for name, model in models.items():
        scores: dict[tuple[str, str], float] = {}
        for table in _draw_evaluation(name, tasks, model, chance):
            tables.append(table)
            value = np.average(table["value"].to_numpy(), weights=table["weight"].to_numpy())
            scores[table["task"][0].as_py(), table["metric"][0].as_py()] = float(value)
        rows = lake.done(
            name, f"lab/{name}", tasks=tasks, suite=tasks[0]["suite"], suite_version=tasks[0]["suite_version"]
        )
        for row in rows:
            row["value"] = scores[row["task"], row["metric"]]
    (folder / SAMPLES.name).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables), folder / SAMPLES.name / f"models from {next(iter(models))}.parquet")


def _draw_evaluation(
    evaluation_id: str, tasks: list[Row], model: SyntheticModel, chance: np.random.Generator
) -> Iterator[pa.Table]:
    """One table per task and metric."""
    # Every set of a benchmark that shares questions is the beginning of the larger ones.
    shared = {
        task["benchmark"]: chance.random(max(t["n_samples"] for t in tasks if t["benchmark"] == task["benchmark"]))
        for task in tasks
        if task["independent_share"] < 1
    }
    for task in tasks:
        n, p = task["n_samples"], model.chances[task["task"]]
        if len(task["metrics"]) == 1:
            draws = chance.random(n)
            if task["benchmark"] in shared:
                draws = np.where(chance.random(n) < _SAME_ANSWER, shared[task["benchmark"]][:n], draws)
            yield to_samples(evaluation_id, task, task["metrics"][0], (draws < p).astype(float), np.ones(n))
            continue
        singles, pairs = _count_prompts(n)
        parts = np.repeat([1.0, 2.0], [singles, pairs])
        prompts = chance.beta(p * _PROMPTS_DIFFER, (1 - p) * _PROMPTS_DIFFER, n)
        followed = chance.binomial(parts.astype(int), prompts)
        yield to_samples(evaluation_id, task, task["metrics"][0], (followed == parts).astype(float), np.ones(n))
        yield to_samples(evaluation_id, task, task["metrics"][1], followed / parts, parts)


def _count_prompts(n: int) -> tuple[int, int]:
    """Prompts with one instruction and with two: 834 instructions in 541 prompts."""
    pairs = round(n * (834 - 541) / 541)
    return n - pairs, pairs


def to_samples(evaluation_id: str, task: Row, metric: str, values: Any, weights: Any) -> pa.Table:
    """Answers to all documents of a task as rows of samples."""
    n = len(values)
    names = {"evaluation_id": evaluation_id, "benchmark": task["benchmark"], "task": task["task"], "metric": metric}
    columns: Table = {name: pa.repeat(pa.scalar(value), n) for name, value in names.items()}
    columns |= {
        "filter": pa.repeat(pa.scalar(task["filter"]), n),
        "doc_id": pa.array(np.arange(n)),
        "doc_hash": _name_documents(task["task"], n),
        "question_hash": _name_documents("question", n) if task["independent_share"] < 1 else pa.nulls(n, pa.string()),
        "value": pa.array(values),
        "weight": pa.array(weights),
        "target": pa.nulls(n, pa.string()),
        "response": pa.nulls(n, pa.string()),
        "answer": pa.nulls(n, pa.string()),
    }
    return pa.table([columns[name] for name in SAMPLES.arrow.names], schema=SAMPLES.arrow)


@functools.cache
def _name_documents(what: str, n: int) -> pa.Array:
    return pa.array([f"{what}:{i}" for i in range(n)])
