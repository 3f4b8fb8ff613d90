"""Makes a small lake of Parquet files for tests of the warehouse: says what happened in few words, writes real rows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from nightboard.tasks.store.tables import write_parquet
from nightboard.warehouse.schema.lake_tables import LAKE_TABLES

START = datetime(2026, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def declare_task(benchmark: str, task: str, **changes: Any) -> Row:
    """A task as a suite declares it: 4 documents, one metric, no baseline."""
    return {
        "benchmark": benchmark,
        "benchmark_title": benchmark.upper(),
        "benchmark_position": 1,
        "task": task,
        "metrics": ["acc"],
        "filter": "none",
        "n_shot": 0,
        "n_samples": 4,
        "aggregate": "mean",
        "normalize": "task",
        "task_lower_bound": 0.0,
        "benchmark_lower_bound": 0.0,
        **changes,
    }


SMALL_SUITE = [
    declare_task("arc", "arc_easy", benchmark_position=1),
    declare_task("arc", "arc_hard", benchmark_position=1, task_lower_bound=0.25),
    declare_task("truth", "truth", benchmark_position=2),
]


def read_build(path: Path) -> dict[str, list[Any]]:
    """Everything that a build holds, but for its own name and files."""
    with duckdb.connect(str(path), read_only=True) as con:
        tables = con.execute("select table_schema, table_name from information_schema.tables").fetchall()
        queries = {
            f"{schema}.{name}": f"from {schema}.{name}" + " order by all" * (name == "samples")
            for schema, name in sorted(tables)
            if not name.startswith("build_")
        }
        return {name: con.execute(query).fetchall() for name, query in queries.items()}


class Lake:
    """Rows by table and file, written at the end, so that the same rows can be written in other ways."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], list[Row]] = {}

    def add(self, table: str, name: str, rows: Iterable[Row]) -> None:
        self.files.setdefault((table, name), []).extend(rows)

    def suite(
        self, tasks: Iterable[Row] = SMALL_SUITE, suite: str = "small", version: str = "v1", hours: float = 0
    ) -> None:
        common = {"suite": suite, "suite_version": version, "suite_title": suite.title(), "declared_at": after(hours)}
        self.add("suites", version, [common | task for task in tasks])

    def era(
        self, era: str, *tasks: Row, suite: str = "small", version: str = "v1", hours: float = 0, **changes: Any
    ) -> None:
        """Declare an era; each task row has `task` and what it must have."""
        common = {"suite": suite, "suite_version": version, "era": era, "position": 1, "is_current": True} | changes
        nothing = {"task": None, "task_version": None, "n_shot": None, "doc_set_hash": None}
        rows = [common | nothing | {"declared_at": after(hours)} | task for task in tasks or ({},)]
        self.add("eras", f"{version}-{hours}", rows)

    def commit(self, model_id: str, revision: str = "r1", hours: float = 0, **changes: Any) -> None:
        row: Row = {
            "model_id": model_id,
            "organization": model_id.partition("/")[0],
            "revision": revision,
            "ref": "main",
            "committed_at": after(hours),
            "discovered_at": after(hours),
            "state": "ok",
            "fingerprint": f"{model_id}@{revision}",
            "params_b": 1.0,
            "license": "apache-2.0",
            "files": ["config.json"],
        } | changes
        self.add("commits", f"{model_id.replace('/', '--')}-{revision}-{row['discovered_at']:%H%M}", [row])

    def planned(self, evaluation_id: str, model_id: str, revision: str = "r1", **changes: Any) -> Row:
        """An evaluation that was launched and is not done."""
        row: Row = {
            "evaluation_id": evaluation_id,
            "suite": "small",
            "suite_version": "v1",
            "model_id": model_id,
            "revision": revision,
            "fingerprint": f"{model_id}@{revision}",
            "precision": "bfloat16",
            "chat_template": False,
            "fewshot_as_multiturn": False,
            "backend": "hf",
            "replicate": 0,
            "harness_version": "0.4.13",
            "planned_at": START,
        } | changes
        self.add("evaluations", evaluation_id, [row])
        return row

    def attempt(self, evaluation_id: str, state: str, attempt: int = 1, shard: str = "all", **changes: Any) -> None:
        row = {
            "evaluation_id": evaluation_id,
            "shard": shard,
            "attempt": attempt,
            "state": state,
            "reason": None if state == "completed" else f"{state} {attempt}",
            "log": f"runs/{evaluation_id}/{shard}/{attempt}/log.txt",
            "ended_at": after(attempt),
            "elapsed_s": 1800.0,
            "gpus": 2,
        }
        self.add("attempts", f"{evaluation_id}-{shard}-{attempt}", [row | changes])

    def done(
        self,
        evaluation_id: str,
        model_id: str,
        revision: str = "r1",
        *,
        scores: Mapping[str, float] | float = 0.5,
        hours: float = 1,
        tasks: Iterable[Row] = SMALL_SUITE,
        versions: Mapping[str, str] | None = None,
        documents: Mapping[str, str] | None = None,
        energy_kwh: float | None = None,
        **changes: Any,
    ) -> list[Row]:
        """A complete evaluation; `scores` for all tasks or by task. Returns its task scores, to be spoiled."""
        self.planned(evaluation_id, model_id, revision, **changes)
        self.add("outcomes", evaluation_id, [{
            "evaluation_id": evaluation_id, "finished_at": after(hours),
            "elapsed_s": 3600.0, "gpu_hours": 1.0, "energy_kwh": energy_kwh, "source": "run",
        }])  # fmt: skip
        rows = [
            {
                "evaluation_id": evaluation_id,
                "benchmark": task["benchmark"],
                "task": task["task"],
                "metric": metric,
                "filter": task["filter"],
                "value": scores if isinstance(scores, float) else scores[task["task"]],
                "n_samples": task["n_samples"],
                "n_shot": task["n_shot"],
                "task_version": (versions or {}).get(task["task"], "1.0"),
                "doc_set_hash": (documents or {}).get(task["task"], f"docs of {task['task']}"),
            }
            for task in tasks
            for metric in task["metrics"]
        ]
        self.add("task_scores", evaluation_id, rows)
        return self.files["task_scores", evaluation_id]

    def imported(
        self,
        evaluation_id: str,
        model_id: str,
        *,
        hours: float = 1,
        documents: Mapping[str, str | None] | None = None,
        suite: str | None = "small",
        **changes: Any,
    ) -> list[Row]:
        """A results file that was brought in, of an unknown commit. `documents`: by task; other tasks know none."""
        rows = self.done(evaluation_id, model_id, suite=suite, **changes)
        for table in ("evaluations", "outcomes"):
            del self.files[table, evaluation_id]
        for row in rows:
            row["doc_set_hash"] = (documents or {}).get(row["task"])
        self.add("imports", evaluation_id, [{
            "evaluation_id": evaluation_id, "source": "import:results", "row_name": f"{evaluation_id}.json",
            "suite": suite, "model_id": model_id, "precision": "bfloat16", "chat_template": False,
            "finished_at": after(hours), "imported_at": after(hours),
        }])  # fmt: skip
        return rows

    def board_row(
        self, evaluation_id: str, model_id: str, score: float = 0.5, hours: float | None = 1, **changes: Any
    ) -> None:
        """An evaluation from an imported board, submitted at `hours`, with the same raw score in both benchmarks."""
        row: Row = {
            "evaluation_id": evaluation_id, "source": "import:board", "row_name": evaluation_id, "suite": "small",
            "era": "main", "model_id": model_id, "revision": "r1", "precision": "bfloat16", "chat_template": False,
            "finished_at": None if hours is None else after(hours), "imported_at": after(1000),
        } | changes  # fmt: skip
        self.add("imports", evaluation_id, [row])
        scores = [
            {"evaluation_id": evaluation_id, "benchmark": benchmark, "raw": score, "published": 100 * score,
             "imported_at": row["imported_at"]}
            for benchmark in ("arc", "truth")
        ]  # fmt: skip
        self.add("imported_scores", evaluation_id, scores)

    def samples(self, evaluation_id: str, n_documents: int = 4) -> None:
        rows = [
            {"evaluation_id": evaluation_id, "benchmark": "arc", "task": "arc_easy", "doc_id": i, "doc_hash": str(i),
             "filter": "none", "metric": "acc", "value": float(i % 2), "weight": 1.0, "target": "A", "response": "B"}
            for i in range(n_documents)
        ]  # fmt: skip
        self.add("samples", evaluation_id, rows)

    def write(self, lake: Path, seed: int | None = None) -> Path:
        """Write all files; with a seed, rows and file names in another order."""
        chance = random.Random(seed)
        for (table, name), rows in self.files.items():
            if seed is not None:
                rows, name = chance.sample(rows, len(rows)), f"{chance.random()}-{name}"
            write_parquet(lake / table / f"{name}.parquet", LAKE_TABLES[table], rows)
        return lake
