"""Simulations with a known truth: how often intervals hold it, how often tests find what is there or not.

Answers are drawn, the warehouse is built from them, and its own tables and macros are counted. Tests run them small,
`make bench ONLY=coverage` runs them large for docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from make_lake import START, Lake, declare_task
from synthetic_models import SyntheticModel, add_models, to_samples, true_scores, true_value

from nightboard.profiles.declared_rows import suite_rows
from nightboard.profiles.loading.load import load_suite
from nightboard.warehouse.builder.build import build

Row = dict[str, Any]
Share = Callable[[int], float]

# ------------------------------------------------------------------------------------------------------- intervals

FEW = 20


@dataclass(frozen=True)
class Scene:
    """Models of equal ability: by the position of a task, the share of what there is above its baseline."""

    share: Share
    has_few: bool = False


SCENES = {
    "even": Scene(lambda _: 0.45),
    "spread": Scene(lambda position: 0.15 + 0.7 * (position * 7 % 39) / 38),
    "ceiling": Scene(lambda _: 0.97),
    "few documents, even": Scene(lambda _: 0.45, has_few=True),
    "few documents, ceiling": Scene(lambda _: 0.95, has_few=True),
    "guessing": Scene(lambda _: 0.004),
    "half-guessing": Scene(lambda position: 0.5 if position % 2 else 0.004),
}
# Beside each interval what it is to hold: table, key and name of the bounds.
INTERVALS = {
    "tasks": ("task_scores", "task", "value"),
    "raw": ("benchmark_scores", "benchmark", "raw"),
    "normalized": ("benchmark_scores", "benchmark", "normalized"),
    "average": ("leaderboard", "'average'", "average"),
}


@dataclass(frozen=True)
class Simulated:
    """A warehouse of evaluations `<scene>-<number>`, and the true values of each scene by kind of interval."""

    path: Path
    truths: dict[str, dict[str, dict[str, float]]]

    def cover(self, kind: str, scenes: Iterable[str]) -> dict[str, float]:
        """How often the intervals of these scenes hold the truth, by task or benchmark."""
        table, key, name = INTERVALS[kind]
        rows = [(scene, what, value) for scene in scenes for what, value in self.truths[kind][scene].items()]
        with duckdb.connect(str(self.path), read_only=True) as con:
            con.execute("create temp table truths (scene varchar, key varchar, truth double)")
            con.executemany("insert into truths values (?, ?, ?)", rows)
            holds = f"truth between {name}_low - 1e-9 and {name}_high + 1e-9"
            scores = f"select *, {key} as key, regexp_replace(evaluation_id, '-[0-9]+$', '') as scene from {table}"
            sql = f"select key, avg(({holds})::int) from ({scores}) join truths using (scene, key) group by key"
            return dict(con.execute(sql).fetchall())


def simulate_scores(folder: Path, n_models: int, scenes: Mapping[str, Scene] = SCENES) -> Simulated:
    """Evaluations in the suite of the Open LLM Leaderboard v2, with fewer documents of MMLU-PRO than there are.

    One task of many documents is the easiest of all. A scene with few documents has 20 in each task.
    """
    lake, chance = Lake(), np.random.default_rng(20260101)
    declared = suite_rows(load_suite("leaderboard-v2"), "v1", START)
    full = [row | ({"n_samples": 1000} if row["benchmark"] == "mmlu_pro" else {}) for row in declared]
    few = [row | {"suite": "few", "suite_version": "few", "n_samples": FEW, "independent_share": 1.0} for row in full]
    lake.add("suites", "v1", full)
    lake.add("suites", "few", few)
    truths: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in INTERVALS}
    for name, scene in scenes.items():
        tasks = few if scene.has_few else full
        model = _make_model(tasks, scene.share)
        for first in range(0, n_models, 100):
            names = [f"{name}-{number}" for number in range(first, min(n_models, first + 100))]
            add_models(lake, folder / "lake", tasks, dict.fromkeys(names, model), chance)
        scores = true_scores(tasks, model)
        single = [task for task in tasks if len(task["metrics"]) == 1]
        truths["tasks"][name] = {task["task"]: true_value(task, model.chances[task["task"]]) for task in single}
        truths["raw"][name] = {benchmark: raw for benchmark, (raw, _) in scores.items()}
        truths["normalized"][name] = {benchmark: normalized for benchmark, (_, normalized) in scores.items()}
        truths["average"][name] = {"average": float(np.mean([normalized for _, normalized in scores.values()]))}
    return Simulated(build(lake.write(folder / "lake"), folder / "warehouse", START).path, truths)


def _make_model(tasks: list[Row], share: Share) -> SyntheticModel:
    bounds = [task["task_lower_bound"] for task in tasks]
    chances = {
        task["task"]: bound + (1 - bound) * share(position)
        for position, (task, bound) in enumerate(zip(tasks, bounds, strict=True))
    }
    return SyntheticModel(chances)


def simulate_boards(folder: Path, n_rows: int) -> dict[str, float]:
    """Rows of an imported board by a model that guesses, in tasks with baselines: how often 0 is in the interval.

    By whether the benchmark is one or the average is meant.
    """
    bounds = np.array([0.5, 0.5, 0.2, 0.25, 0.5, 1 / 3, 1 / 6, 0.2, 0.5, 0.25, 1 / 7, 0.5])
    lake, chance = Lake(), np.random.default_rng(4)
    names = ("arc", "truth")
    tasks = [
        declare_task(benchmark, f"{benchmark}-{i}", n_samples=100, task_lower_bound=bound)
        for benchmark in names
        for i, bound in enumerate(bounds)
    ]
    lake.suite(tasks)
    for number in range(n_rows):
        lake.board_row(f"b{number}", f"lab/m{number}")
        for row in lake.files["imported_scores", f"b{number}"]:
            values = chance.binomial(100, bounds) / 100
            row["raw"] = float(np.mean(values))
            row["published"] = float(np.mean(np.maximum(0, values - bounds) / (1 - bounds)) * 100)
    built = build(lake.write(folder / "lake"), folder / "warehouse", START)
    with duckdb.connect(str(built.path), read_only=True) as con:
        sql = "select avg((normalized_low <= 0)::int) from benchmark_scores union all"
        rows = con.execute(f"{sql} select avg((average_low <= 0)::int) from leaderboard").fetchall()
    return dict(zip(("benchmark", "average"), (share for (share,) in rows), strict=True))


def simulate_places(folder: Path, n_repeats: int, n_tied: int = 50) -> float:
    """How often the true rank among nearly tied models is in `rank_low..rank_high`."""
    lake, chance = Lake(), np.random.default_rng(7)
    chances = np.linspace(0.5, 0.53, n_tied)
    places: dict[str, int] = {}
    for repeat in range(n_repeats):
        suite = f"suite-{repeat}"
        task = {
            "suite": suite, "suite_version": suite, "suite_title": suite, "declared_at": START,
            "independent_share": 1.0, **declare_task("arc", "arc", n_samples=600),
        }  # fmt: skip
        lake.add("suites", suite, [task])
        names = [f"{suite}-{number}" for number in range(n_tied)]
        models = {name: SyntheticModel({"arc": chances[number]}) for number, name in enumerate(names)}
        places |= {name: n_tied - number for number, name in enumerate(names)}
        add_models(lake, folder / "lake", [task], models, chance)
    built = build(lake.write(folder / "lake"), folder / "warehouse", START)
    with duckdb.connect(str(built.path), read_only=True) as con:
        rows = con.execute("select evaluation_id, rank, rank_low, rank_high from leaderboard").fetchall()
    assert len(rows) == n_tied * n_repeats
    assert all(low <= rank <= high for _, rank, low, high in rows)
    return float(np.mean([low <= places[name] <= high for name, _, low, high in rows]))


# ----------------------------------------------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class Pairs:
    """Pairs of models in a suite: chances of a right answer by task, of a and of b.

    `agreement`: how often both give the same answer to a document without drawing again.
    """

    tasks: list[Row]
    chances_a: Mapping[str, float]
    chances_b: Mapping[str, float]
    agreement: float = 0.6


def _declare(suite: str, *tasks: Row) -> list[Row]:
    common = {"suite": suite, "suite_version": suite, "suite_title": suite, "declared_at": START}
    return [common | {"independent_share": 1.0} | task for task in tasks]


def _same(suite: str, chance: float, *tasks: Row) -> Pairs:
    chances = {task["task"]: chance for task in tasks}
    return Pairs(_declare(suite, *tasks), chances, chances)


def _tiny(n: int, chance: float) -> Pairs:
    return _same(
        f"{n} questions, {chance:.0%} right", chance,
        *(declare_task(f"b{i}", f"t{i}", n_samples=n, benchmark_position=i + 1) for i in range(6)),
    )  # fmt: skip


_MIXED = [
    declare_task("mixed", f"t{i}", n_samples=n, benchmark_position=1, task_lower_bound=bound)
    for i, (n, bound) in enumerate([(250, 0.5), (250, 0.2), (150, 0.5), (150, 0.25), (60, 0.5), (60, 0.1)])
]
_LARGE = [declare_task(f"b{i}", f"t{i}", n_samples=400, benchmark_position=i + 1) for i in range(6)]
# Models of equal scores: false alarms.
EQUALS = {
    "6 benchmarks of 400 questions": _same("large", 0.6, *_LARGE),
    # What a loses in the large tasks it wins in the small ones: the score is the same, the number of right answers not.
    "other strengths, equal score": Pairs(
        _declare("mixed", *_MIXED),
        {f"t{i}": row["task_lower_bound"] + (1 - row["task_lower_bound"]) * 0.5 for i, row in enumerate(_MIXED)},
        {
            f"t{i}": row["task_lower_bound"] + (1 - row["task_lower_bound"]) * (0.4 if row["n_samples"] > 200 else 0.55)
            for i, row in enumerate(_MIXED)
        },
    ),
    **{f"{n} questions": _tiny(n, chance) for n, chance in ((5, 0.5), (10, 0.9), (20, 0.5), (50, 0.9))},
}
# One model is better by four points everywhere: what is found.
BETTER = Pairs(_declare("better", *_LARGE), {f"t{i}": 0.62 for i in range(6)}, {f"t{i}": 0.58 for i in range(6)}, 0.7)


def simulate_comparisons(folder: Path, pairs: Pairs, n_pairs: int, seed: int = 3) -> list[Row]:
    """The rows of `compare` for many pairs, with the number of the pair and the true difference."""
    lake, chance = Lake(), np.random.default_rng(seed)
    lake.add("suites", pairs.tasks[0]["suite"], pairs.tasks)
    tables = []
    for number in range(n_pairs):
        values: dict[str, dict[str, float]] = {"a": {}, "b": {}}
        for task in pairs.tasks:
            name, n = task["task"], task["n_samples"]
            shared, is_shared = chance.random(n), chance.random(n) < pairs.agreement
            for side, chances in (("a", pairs.chances_a), ("b", pairs.chances_b)):
                draws = np.where(is_shared, shared, chance.random(n))
                right = (draws < chances[name]).astype(float)
                values[side][name] = float(right.mean())
                tables.append(to_samples(f"{side}{number}", task, "acc", right, np.ones(n)))
        for side, scores in values.items():
            suite = pairs.tasks[0]["suite"]
            lake.done(
                f"{side}{number}", f"lab/{side}{number}", tasks=pairs.tasks, scores=scores,
                suite=suite, suite_version=suite,
            )  # fmt: skip
    (folder / "lake" / "samples").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), folder / "lake" / "samples" / "pairs.parquet")
    built = build(lake.write(folder / "lake"), folder / "warehouse", START)
    scores_a, scores_b = (
        true_scores(pairs.tasks, SyntheticModel(chances)) for chances in (pairs.chances_a, pairs.chances_b)
    )
    truths = {benchmark: scores_a[benchmark][1] - scores_b[benchmark][1] for benchmark in scores_a}
    truths["average"] = float(np.mean([*truths.values()]))
    rows = []
    with duckdb.connect(str(built.path), read_only=True) as con:
        for number in range(n_pairs):
            found = con.execute("from compare(?, ?)", [f"lab/a{number}", f"lab/b{number}"])
            columns = [column[0] for column in found.description]
            rows += [
                dict(zip(columns, row, strict=True))
                | {"pair": number, "truth": truths[row[columns.index("benchmark")]]}
                for row in found.fetchall()
            ]
    return rows


def count_alarms(rows: list[Row]) -> dict[str, float]:
    """Of the rows of `simulate_comparisons`: how often intervals hold the truth, and how often each p is below 5%.

    `any ...`: in any benchmark of a pair.
    """
    benchmarks = [row for row in rows if row["benchmark"] != "average"]
    averages = [row for row in rows if row["benchmark"] == "average"]
    by_pair: dict[int, list[Row]] = {}
    for row in benchmarks:
        by_pair.setdefault(row["pair"], []).append(row)

    def any_below(column: str) -> float:
        return float(np.mean([any(row[column] < 0.05 for row in group) for group in by_pair.values()]))

    return {
        "interval": float(np.mean([row["low"] <= row["truth"] <= row["high"] for row in rows])),
        "p_value": float(np.mean([row["p_value"] < 0.05 for row in benchmarks])),
        "mcnemar_p": float(np.mean([row["mcnemar_p"] < 0.05 for row in benchmarks])),
        "average": float(np.mean([row["p_value"] < 0.05 for row in averages])),
        "any p_value": any_below("p_value"),
        "any holm_p": any_below("holm_p"),
    }


# ----------------------------------------------------------------------------------------------------- regressions

# Shares of the answers to a document that a commit keeps from the one before: most commits change little.
KEPT_ANSWERS = 0.9


@dataclass(frozen=True)
class Listed:
    """Shares of commits that are listed: of those that are as good as the one before, and of those that are worse."""

    false_alarms: float
    found: float
    found_unpaired: float


def simulate_commits(folder: Path, n_equal: int, n_worse: int, drop: float = 0.01, seed: int = 11) -> Listed:
    """Models with two commits in one night, in six benchmarks of 1,000 documents.

    `found_unpaired`: a benchmark or the average drops by 1.96 standard errors, if the commits are taken as independent.
    """
    tasks = _declare("nights", *(
        declare_task(f"b{i}", f"t{i}", n_samples=1000, benchmark_position=i + 1) for i in range(6)
    ))  # fmt: skip
    lake, chance, tables = Lake(), np.random.default_rng(seed), []
    lake.add("suites", "nights", tasks)
    for number in range(n_equal + n_worse):
        name, lost = f"{'worse' if number >= n_equal else 'equal'}{number}", drop if number >= n_equal else 0.0
        answers = {task["task"]: chance.random(task["n_samples"]) for task in tasks}
        for commit in range(2):
            if commit:
                answers = {
                    task: np.where(chance.random(len(draws)) < KEPT_ANSWERS, draws, chance.random(len(draws)))
                    for task, draws in answers.items()
                }
            scores = {}
            for task in tasks:
                right = (answers[task["task"]] < 0.5 - lost * commit).astype(float)
                scores[task["task"]] = float(right.mean())
                tables.append(to_samples(f"{name}-{commit}", task, "acc", right, np.ones(len(right))))
            lake.commit(f"lab/{name}", f"r{commit}", commit)
            lake.done(
                f"{name}-{commit}", f"lab/{name}", f"r{commit}", hours=commit + 1, tasks=tasks, scores=scores,
                suite="nights", suite_version="nights",
            )  # fmt: skip
    (folder / "lake" / "samples").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), folder / "lake" / "samples" / "commits.parquet")
    built = build(lake.write(folder / "lake"), folder / "warehouse", START)
    with duckdb.connect(str(built.path), read_only=True) as con:
        listed = {name for (name,) in con.execute("select model_id from regressions").fetchall()}
        unpaired = {name for (name,) in con.execute(_UNPAIRED).fetchall()}

    def share(names: set[str], what: str, n: int) -> float:
        return sum(what in name for name in names) / n

    return Listed(
        share(listed, "equal", n_equal), share(listed, "worse", n_worse), share(unpaired, "worse", n_worse)
    )  # fmt: skip


_UNPAIRED = """
with scores as (
    select model_id, revision, benchmark, normalized as score, normalized_stderr as stderr from benchmark_scores
    union all
    select model_id, revision, 'average', avg(normalized), sqrt(sum(normalized_stderr ** 2)) / count(*)
    from benchmark_scores group by model_id, revision
)
select distinct a.model_id from scores as a inner join scores as b using (model_id, benchmark)
where a.revision = 'r0' and b.revision = 'r1' and a.score - b.score > 1.96 * sqrt(a.stderr ** 2 + b.stderr ** 2)
"""
