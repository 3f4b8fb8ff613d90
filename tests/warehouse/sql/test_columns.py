"""Every column of every mart is asserted: what is copied from the lake here, all else by a test that names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from make_lake import START, Lake, after, declare_task

from nightboard.warehouse.schema.columns import BOOL, DOUBLE, INT, STRING, STRINGS, UTC_TIMESTAMP
from nightboard.warehouse.schema.lake_tables import LAKE_TABLES
from nightboard.warehouse.schema.marts import MODEL_TABLES

Ask = Callable[..., list[tuple[Any, ...]]]

TESTS = Path(__file__).parents[2]
# Columns of the lake by what they are: a mart's column of the same name and meaning is a copy.
LAKE_COLUMNS = {
    (column.name, column.description): [
        name for name, table in LAKE_TABLES.items() if column.name in {other.name for other in table.columns}
    ]
    for table in LAKE_TABLES.values()
    for column in table.columns
}
# Columns that other tests name: imports have none of their own, costs are sums, and the last four spoil a score.
NOT_COPIED = {
    ("evaluations", "fingerprint"), ("evaluations", "planned_at"), ("candidates", "fingerprint"),
    ("model_costs", "elapsed_s"), ("model_costs", "gpu_hours"),
    ("evaluations", "left_out"), ("task_scores", "empty_answers"), ("task_scores", "only_answer"),
    ("imports", "not_comparable"),
}  # fmt: skip
COPIED = {
    (name, column.name): LAKE_COLUMNS[column.name, column.description]
    for name, table in MODEL_TABLES.items()
    for column in table.columns
    if (column.name, column.description) in LAKE_COLUMNS and (name, column.name) not in NOT_COPIED
}
# What makes a score count.
PLAIN = {
    "not_comparable": None, "not_finite_answers": 0, "empty_answers": None, "only_answer": None, "left_out": None,
    "stderr": 0.01,
}  # fmt: skip


def fill(lake: Lake) -> None:
    """Give every column of every row a value of its own, where it has none yet."""
    for (table, _), rows in lake.files.items():
        for row in rows:
            for place, column in enumerate(LAKE_TABLES[table].columns):
                row.setdefault(column.name, PLAIN.get(column.name, invent(table, column.name, column.type, place)))


def invent(table: str, name: str, kind: str, place: int) -> Any:
    number = 1000 * [*LAKE_TABLES].index(table) + place
    return {
        STRING: f"{table} {name}",
        STRINGS: [f"{table} {name}"],
        BOOL: True,
        UTC_TIMESTAMP: START + timedelta(minutes=number),
        DOUBLE: number + 0.5,
        INT: number,
    }[kind]


@pytest.fixture
def full(lake: Lake) -> Lake:
    """Something of everything: a model whose second commit is worse, its copy, a failure, imports, a ranking."""
    tasks = [declare_task("arc", "arc", n_samples=100), declare_task("truth", "truth", n_samples=100)]
    for suite in ("leaderboard-v1", "leaderboard-v2"):
        lake.suite(tasks, suite=suite, version=suite)
        era = {"task": "arc", "task_version": "1.0", "n_shot": 0, "doc_set_hash": "docs of arc"}
        lake.era("now", era, suite=suite, version=suite)
        for hours, score in enumerate((0.9, 0.3)):
            name = f"{suite} {hours}"
            common = {"suite": suite, "suite_version": suite}
            made = {"scores": score, "hours": hours + 1, "tasks": tasks, "energy_kwh": 3.0}
            rows = lake.done(name, "org/m", f"r{hours}", **made, **common)
            for row in rows if hours else ():
                row["measured_by"] = None  # the second one ran all of its benchmarks
            lake.attempt(name, "completed")
        lake.planned(f"{suite} broken", "org/m", "r1", suite=suite, suite_version=suite, precision="float32")
        lake.attempt(f"{suite} broken", "failed")
    for hours in (0, 1):
        lake.commit("org/m", f"r{hours}", hours, weights_hash=f"w{hours}")
    lake.commit("copy/m", "c", 2, weights_hash="w1")
    lake.add("models", "m", [{"model_id": "org/m", "organization": "org", "state": "available"}])
    lake.add("organizations", "o", [{"organization": "org"}])
    lake.imported("file", "org/file", suite="leaderboard-v2", suite_version="leaderboard-v2", tasks=tasks)
    lake.files["imports", "file"][0]["era"] = None  # its task versions tell
    lake.board_row("board", "org/board", suite="leaderboard-v2", era="now")
    lake.add("rankings", "arena", [{"ranking": "arena", "model_name": "org/m"}])
    request = {"request_id": "request"}
    for table in ("requests", "request_targets", "request_events", "votes", "request_files"):
        lake.add(table, "request", [dict(request)])
    sample = {"task": "arc", "metric": "acc", "filter": "none", "value": 1.0, "weight": 1.0}
    lake.add("samples", "m", [{"evaluation_id": "leaderboard-v2 0", "benchmark": "arc", "doc_id": 0} | sample])
    lake.add("documents", "d", [{"task": "arc", "doc_hash": "d"}])
    fill(lake)
    return lake


def test_what_a_mart_takes_from_the_lake_is_the_same_value(full: Lake, ask: Ask) -> None:
    """And not always null: a column that is read from the wrong place is another value, or none."""
    written: dict[str, set[Any]] = {}
    for (table, _), rows in full.files.items():
        for row in rows:
            for name, value in row.items():
                written.setdefault(f"{table}.{name}", set()).add(comparable(value))
    wrong = {}
    for table in MODEL_TABLES:
        columns = [column for name, column in COPIED if name == table]
        rows = ask(f"select {', '.join(columns)} from {table}") if columns else []
        for place, column in enumerate(columns):
            expected = set().union(*(written.get(f"{source}.{column}", set()) for source in COPIED[table, column]))
            found = {comparable(row[place]) for row in rows} - {None}
            if not found or found - expected:
                wrong[table, column] = found - expected or "always null"
    assert not wrong, "\n".join(f"{where}: {what}" for where, what in wrong.items())


def test_what_marts_compute_of_it_is_known_beforehand(full: Lake, ask: Ask) -> None:
    v2 = "suite = 'leaderboard-v2'"
    columns = "benchmark, revision, ranked_as, normalized, average"
    assert ask(f"select {columns} from history where {v2} and model_id = 'org/m'") == [
        (benchmark, revision, "run", score, score)
        for revision, score in (("r0", 90), ("r1", 30))
        for benchmark in ("arc", "truth")
    ]
    ends = ("normalized_low", "normalized_high", "average_low", "average_high")
    equal = " and ".join(f"history.{end} = {'scores' if 'norm' in end else 'leaderboard'}.{end}" for end in ends)
    scored = "benchmark_scores scores using (evaluation_id, benchmark) join leaderboard using (evaluation_id)"
    assert ask(f"select bool_and({equal}), count(*) > 4 from history join {scored}") == [(True, True)]
    columns = "evaluated_model_id, average, is_merged, is_flagged, known_at, fingerprint"
    key = "era, settings, ranked_as, is_current_era"
    assert ask(f"select {key}, {columns} from candidates where {v2} and model_id = 'org/m' and revision = 'r1'") == [
        ("now", "", "run", True, "org/m", 30, None, False, after(2), "org/m@r1")
    ]
    columns = "evaluated_model_id, average, is_merged, is_flagged, known_at, starts_with(fingerprint, 'import:')"
    assert ask(f"select {columns} from candidates where {v2} and model_id = 'org/board'") == [
        ("org/board", 50, True, True, after(1), True)
    ]
    ((cut_prompts, cut_answers),) = ask(
        "select cut_prompts, cut_answers from task_scores where task = 'arc' and evaluation_id = 'leaderboard-v2 0'"
    )
    assert ask("select distinct cut_prompts from candidates where cut_prompts is not null") == [(2 * cut_prompts,)]
    assert ask("select distinct cut_answers from coverage where cut_answers is not null") == [(cut_answers,)]
    assert ask("select model_id, match, is_newest from rankings") == [("org/m", "id", True)]
    score = full.files["rankings", "arena"][0]["score"]
    assert ask("select suite, era, their_score, our_average from ranking_comparisons order by 1") == [
        ("leaderboard-v1", "now", score, 30), ("leaderboard-v2", "now", score, 30),
    ]  # fmt: skip
    assert ask("select model_id, average_a, average_b from rank_shifts") == [("org/m", 30, 30)]
    assert ask("select distinct era, settings, ranked_as from regressions") == [("now", "", "run")]
    assert ask("select model_id, first_at, model_state from identical_weights order by first_at") == [
        ("org/m", after(1), "available"), ("copy/m", after(2), None),
    ]  # fmt: skip
    assert ask("select model_id, last_ended_at from failure_causes") == [("org/m", after(1))]
    spent = 4 * 3600 + 2 * 1800, 4 * 1 + 2 * 0.5 * 2
    assert ask("select elapsed_s, gpu_hours from model_costs where model_id = 'org/m'") == [spent]
    ((gpu_hours, co2_kg),) = ask("select distinct gpu_hours, estimated_co2_kg from benchmark_costs")
    assert co2_kg == pytest.approx(gpu_hours * 0.7 * 0.2698)
    columns = "planned_at, starts_with(fingerprint, 'import:')"
    assert ask(f"select {columns} from evaluations where evaluation_id = 'board'") == [(after(1), True)]


def comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def find_asserted() -> set[tuple[str, str]]:
    """Tables and columns that a test names together."""
    asserted = set()
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = {*re.findall(r"\w+", ast.get_source_segment(text, node) or "")}
                asserted |= {(name, word) for name in MODEL_TABLES.keys() & words for word in words}
    return asserted


def test_every_column_of_every_mart_is_asserted_somewhere() -> None:
    """A column that no test reads may be empty for years: golden values only say that it does not change."""
    columns = {(name, column.name) for name, table in MODEL_TABLES.items() for column in table.columns}
    assert sorted(columns - COPIED.keys() - find_asserted()) == []
