"""Two answers of the warehouse, the ranking and a comparison, against pandas on the JSON files they came from.

The old Open LLM Leaderboard's back end read every results file of its data set whenever it ranked. Its files here are
lean: a real line of samples repeats its few-shot prompt, about 50 kB of it, which pandas would have to read, too.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from nightboard.warehouse.reader import questions as query
from nightboard.warehouse.reader.connection import connect
from warehouse import N_EVALUATIONS, Cells, build_lake, make_lake

N_ASKED = 20
N_PEER = 3


def measure_answers() -> Iterator[Cells]:
    """p50 and p95 of both answers; raises AssertionError where pandas finds other numbers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lake = make_lake(folder / "store", 0, N_EVALUATIONS)
        build_lake(lake)
        with connect(lake.parent / "warehouse") as con:
            models = [
                row[0] for row in con.execute("select model_id from leaderboard order by rank limit 200").fetchall()
            ]
            pairs = [(models[i], models[-1 - i]) for i in range(len(models) // 2)]
            write_json(con, lake, folder / "json", [model for pair in pairs[:N_PEER] for model in pair])
            ranked = Answers(N_ASKED, lambda _: query.rank(con))
            compared = Answers(N_ASKED, lambda i: query.compare(con, *pairs[i % len(pairs)]))
        theirs = ask_pandas(folder / "json", pairs[:N_PEER])
    agree_on_ranks(ranked.first, theirs["ranking"])
    agree_on_differences(compared.first, theirs["differences"])
    yield from _cells(f"ranking of {N_EVALUATIONS:,} models", ranked.seconds, theirs["rank_s"])
    yield from _cells("compare, 22,147 answers each", compared.seconds, theirs["compare_s"])


def _cells(what: str, ours: list[float], theirs: list[float]) -> Iterator[Cells]:
    for percentile in (50, 95):
        own, other = (float(np.percentile(seconds, percentile)) for seconds in (ours, theirs))
        yield f"{what}, p{percentile}", f"{own:.3f} s", "pandas on the JSON files", f"{other:.2f} s", own / other


class Answers:
    """What was answered first, and how long each answer took, in seconds."""

    def __init__(self, n: int, ask: Callable[[int], query.Result]) -> None:
        self.seconds: list[float] = []
        for i in range(n):
            start = time.perf_counter()
            answer = ask(i)
            self.seconds.append(time.perf_counter() - start)
            if i == 0:
                self.first = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


# -------------------------------------------------------------------------------------------------------- JSON files


def write_json(con: duckdb.DuckDBPyConnection, lake: Path, folder: Path, compared: list[str]) -> None:
    """A results file of every evaluation, the samples files of the models that are compared, and the suite."""
    folder.mkdir()
    columns = "task, benchmark, aggregate, normalize, task_lower_bound, benchmark_lower_bound, n_samples"
    suite = con.execute(f"select {columns} from suites").fetchall()
    names = columns.split(", ")
    (folder / "suite.json").write_text(json.dumps([dict(zip(names, row, strict=True)) for row in suite]))
    scores = (
        "select model_id, revision, map(list(task), list(scores)) from ("
        " select evaluation_id, task, map(list(metric || ',' || filter), list(value)) as scores from task_scores"
        " group by all) inner join evaluations using (evaluation_id) group by all"
    )
    for model, revision, results in con.execute(scores).fetchall():
        content = {"results": results, "config": {"model_args": f"pretrained={model},revision={revision}"}}
        _write(folder / "results" / model / "results.json", json.dumps(content))
    for model in compared:
        lines: dict[str, list[str]] = {}
        answers = (
            "select task, doc_id, doc_hash, question_hash, target, response, map(list(metric), list(value))"
            " from samples where evaluation_id = (select evaluation_id from leaderboard where model_id = ?)"
            " group by all order by task, doc_id"
        )
        for task, doc_id, doc_hash, question, target, response, values in con.execute(answers, [model]).fetchall():
            line = {"doc_id": doc_id, "doc_hash": doc_hash, "question": question, "target": target, **values}
            lines.setdefault(task, []).append(json.dumps(line | {"filtered_resps": [response]}))
        for task, texts in lines.items():
            _write(folder / "samples" / model / f"samples_{task}.jsonl", "\n".join(texts) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ask_pandas(folder: Path, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Answers and times of a process that has only pandas."""
    command = [sys.executable, "-c", _PANDAS, str(folder), json.dumps(pairs)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


# The scores are those of the profile, the comparison is paired by document and linearised, as ours.
_PANDAS = """
import json, sys, time
from pathlib import Path
import numpy as np
import pandas as pd

folder, pairs = Path(sys.argv[1]), json.loads(sys.argv[2])
suite = pd.DataFrame(json.loads((folder / "suite.json").read_text()))
suite["weight"] = np.where(suite["aggregate"] == "pooled", suite["n_samples"], 1)
by_task = suite["normalize"] == "task"
suite["bound"] = np.where(by_task, suite["task_lower_bound"], suite["benchmark_lower_bound"])
suite["share"] = suite["weight"] / suite.groupby("benchmark")["weight"].transform("sum")

def rank():
    rows = []
    for path in sorted((folder / "results").rglob("results.json")):
        content = json.loads(path.read_text())
        for task, values in content["results"].items():
            rows.append((content["config"]["model_args"].split(",")[0][11:], task, np.mean(list(values.values()))))
    scores = pd.DataFrame(rows, columns=["model", "task", "value"]).merge(suite, on="task")
    tasks = scores["normalize"] == "task"
    scores["part"] = scores["share"] * np.where(
        tasks, (scores["value"] - scores["bound"]).clip(lower=0) / (1 - scores["bound"]), scores["value"])
    sums = scores.groupby(["model", "benchmark", "normalize", "benchmark_lower_bound"], dropna=False)["part"].sum()
    sums = sums.reset_index()
    whole = (sums["part"] - sums["benchmark_lower_bound"]).clip(lower=0) / (1 - sums["benchmark_lower_bound"])
    sums["normalized"] = 100 * np.where(sums["normalize"] == "task", sums["part"], whole)
    wide = sums.pivot(index="model", columns="benchmark", values="normalized")
    wide["average"] = wide.mean(axis=1)
    return wide.sort_values("average", ascending=False)

def read_answers(model):
    frames = []
    for path in sorted((folder / "samples" / model).iterdir()):
        frame = pd.read_json(path, lines=True).assign(task=path.stem.removeprefix("samples_"))
        metrics = [name for name in frame if name in METRICS]
        keys = ["task", "doc_id", "doc_hash", "question"]
        frames.append(frame.melt(id_vars=keys, value_vars=metrics, var_name="metric"))
    return pd.concat(frames)

METRICS = {"acc", "acc_norm", "exact_match", "prompt_level_strict_acc", "inst_level_strict_acc"}

def compare(a, b):
    both = read_answers(a).merge(read_answers(b), on=["task", "metric", "doc_hash"], suffixes=("_a", "_b"))
    both = both.merge(suite, on="task")
    groups = both.groupby(["task", "metric"])
    parts, n_metrics = groups["doc_hash"].transform("count"), both.groupby("task")["metric"].transform("nunique")
    both["points"] = 100 * both["share"] / n_metrics / (1 - both["bound"]) / parts
    both["lead"] = both["value_a"] - both["value_b"]
    both["influence"] = both["points"] * (both["lead"] - groups["lead"].transform("mean"))
    both["difference"] = both["points"] * both["lead"]
    own = both["task"] + ":" + both["doc_id_a"].astype(str)
    both["unit"] = both["question_a"].astype(object).where(both["question_a"].notna(), own)
    units = both.groupby(["benchmark", "unit"])[["influence", "difference", "lead"]].sum()
    found = units.groupby("benchmark").agg(
        difference=("difference", "sum"), n=("lead", "count"), squares=("influence", lambda x: (x ** 2).sum()),
        wins=("lead", lambda x: int((x > 1e-9).sum())), losses=("lead", lambda x: int((x < -1e-9).sum())))
    found["stderr"] = np.sqrt(found["squares"] * found["n"] / (found["n"] - 1))
    return found[["difference", "stderr", "wins", "losses"]]

def timed(work, *arguments):
    start = time.perf_counter()
    answer = work(*arguments)
    return answer, time.perf_counter() - start

ranked = [timed(rank) for _ in range(3)]
compared = [timed(compare, *pair) for pair in pairs]
print(json.dumps({
    "ranking": ranked[0][0].reset_index().to_dict("records"), "rank_s": [seconds for _, seconds in ranked],
    "differences": compared[0][0].reset_index().to_dict("records"), "compare_s": [seconds for _, seconds in compared],
}))
"""


# -------------------------------------------------------------------------------------------------------- agreement


def agree_on_ranks(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """The same models in the same order (ties in any), every score within 1e-9."""
    scores = {row["model"]: row for row in theirs}
    assert len(ours) == len(scores) == N_EVALUATIONS
    for row in ours:
        for name, value in scores[row["model_id"]].items():
            assert name == "model" or abs(row[name] - value) < 1e-9, (row, name, value)
    averages = [scores[row["model_id"]]["average"] for row in ours]
    assert all(a > b - 1e-9 for a, b in itertools.pairwise(averages))


def agree_on_differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Difference and standard error of every benchmark within 1e-9, wins and losses equal."""
    found = {row["benchmark"]: row for row in ours}
    assert {row["benchmark"] for row in theirs} == found.keys() - {"average"}
    for row in theirs:
        for name in ("difference", "stderr", "wins", "losses"):
            assert abs(found[row["benchmark"]][name] - row[name]) < 1e-9, (row, found[row["benchmark"]])
