"""Places that noise does not exclude: counted in bulk they are those of comparing each pair, whatever the averages."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace

import duckdb
import pytest

from nightboard.warehouse.builder.ddl import create_macro
from nightboard.warehouse.builder.scheduler import run_in_order
from nightboard.warehouse.builder.sql_models import SQL_FOLDER, load_models
from nightboard.warehouse.schema.functions import FUNCTIONS

MODELS = ("competitors", "rank_bounds", "rank_intervals")

Con = duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class Rival:
    """A ranked evaluation: its era, how many rows of the ranking show it, and its average with what noise allows."""

    name: str
    era: str
    n_rows: int
    average: float | None
    average_floor: float | None
    floor_half: float | None
    top_half: float | None


@pytest.fixture(scope="module")
def con() -> Iterator[Con]:
    with duckdb.connect() as made:
        made.execute("attach ':memory:' as build; attach ':memory:' as staging; use build")
        functions = [model for model in load_models() if model.folder == "functions"]
        run_in_order(made, functions, lambda own, model: create_macro(own, model, FUNCTIONS[model.name]))
        yield made


def count_places(con: Con, rivals: list[Rival]) -> dict[str, tuple[int, int]]:
    """Lowest and highest place by name, as the SQL files of the warehouse find them."""
    con.execute("create or replace table rivals (name text, era text, n int, a double, f double, fh double, th double)")
    con.executemany("insert into rivals values (?, ?, ?, ?, ?, ?, ?)", [astuple(rival) for rival in rivals])
    con.execute(
        "create or replace table staging.ranked_revisions as"
        " select 'small' as suite, era, name as evaluation_id, unnest(range(n)) as setting from rivals"
    )
    con.execute(
        "create or replace table staging.average_intervals as select name as evaluation_id,"
        " a as average, f as average_floor, fh as floor_half, th as top_half from rivals"
    )
    for name in MODELS:
        sql = (SQL_FOLDER / "staging" / f"{name}.sql").read_text()
        con.execute(f"create or replace table staging.{name} as {sql}")
    found = con.execute("select evaluation_id, rank_low, rank_high from staging.rank_intervals").fetchall()
    assert len(found) == len(rivals)
    return {name: (low, high) for name, low, high in found}


def compare_pairs(con: Con, rivals: list[Rival]) -> dict[str, tuple[int, int]]:
    """The same, pair by pair."""
    places: dict[str, tuple[int, int]] = {}
    for era in {rival.era for rival in rivals}:
        members = [rival for rival in rivals if rival.era == era]
        widening = find_widening(con, len(members))
        for one in members:
            low = 1 + sum(other.n_rows for other in members if is_better(other, one, widening))
            high = sum(other.n_rows for other in members if not is_better(one, other, widening))
            places[one.name] = (low, high)
    return places


def find_widening(con: Con, n_members: int) -> float:
    sql = "select normal_quantile(1 - 0.025 / greatest(1, ? - 1)) / normal_quantile(0.975)"
    return float((con.execute(sql, [n_members]).fetchone() or ())[0])


def is_better(better: Rival, worse: Rival, widening: float) -> bool:
    if better.average_floor is None or better.floor_half is None or worse.average is None or worse.top_half is None:
        return False
    noise = widening * math.sqrt(math.pow(better.floor_half, 2) + math.pow(worse.top_half, 2))
    return better.average_floor - worse.average > noise


def make_measured(chance: random.Random) -> tuple[float, ...]:
    average = chance.gauss(30, 8)
    return average, average - chance.choice([0, chance.random()]), chance.uniform(1, 1.5), chance.uniform(1, 1.5)


def make_tied(chance: random.Random) -> tuple[float, ...]:
    average = chance.randint(0, 20)
    return average, average - chance.randint(0, 1), chance.choice([0, 3, 4]), chance.choice([0, 3, 4])


def make_extreme(chance: random.Random) -> tuple[float, ...]:
    average = chance.uniform(0, 100)
    floor = average + chance.choice([0, 1e-13, -1e-13, chance.uniform(-20, 5)])
    floor_half, top_half = (chance.choice([0, 10 ** chance.uniform(-14, 2)]) for _ in range(2))
    return average, floor, floor_half, top_half


def make_gaps(chance: random.Random) -> tuple[float | None, ...]:
    return tuple(value if chance.random() < 0.8 else None for value in make_measured(chance))


def make_outlier(chance: random.Random) -> tuple[float, ...]:
    average, floor, floor_half, top_half = make_measured(chance)
    size = 30 if chance.random() < 0.03 else 1
    return average, floor, floor_half * size, top_half * size


Make = Callable[[random.Random], tuple[float | None, ...]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [make_measured, make_tied, make_extreme, make_gaps, make_outlier])
def test_places_are_those_of_comparing_each_pair(con: Con, make: Make, seed: int) -> None:
    chance = random.Random(seed)
    eras = [era for era, n in [("first", 150), ("second", 60), ("two", 2), ("alone", 1)] for _ in range(n)]
    rivals = [Rival(str(number), era, chance.choice([1, 1, 3]), *make(chance)) for number, era in enumerate(eras)]
    assert count_places(con, rivals) == compare_pairs(con, rivals)


@pytest.mark.parametrize("seed", range(3))
def test_a_pair_within_a_rounding_error_of_the_bound_is_compared_exactly(con: Con, seed: int) -> None:
    chance, n_models = random.Random(seed), 120
    widening = find_widening(con, n_models)
    rivals = []
    for number in range(0, n_models, 2):
        average, half = chance.uniform(20, 90), chance.uniform(1, 5)
        better = Rival(str(number), "era", 1, average, average, half, chance.uniform(1, 5))
        edge = average - widening * math.sqrt(math.pow(half, 2) + math.pow(half, 2))
        for _ in range(chance.randint(0, 3)):
            edge = math.nextafter(edge, chance.choice([-math.inf, math.inf]))
        rivals += [better, replace(better, name=str(number + 1), average=edge, average_floor=edge, top_half=half)]
    assert count_places(con, rivals) == compare_pairs(con, rivals)


def test_a_difference_as_large_as_its_noise_decides_nothing(con: Con) -> None:
    rivals = [Rival("first", "era", 1, 55, 55, 3, 0), Rival("second", "era", 1, 50, 50, 0, 4)]
    assert count_places(con, rivals) == {"first": (1, 2), "second": (1, 2)}
    rivals[1] = replace(rivals[1], average=math.nextafter(50, 0))
    assert count_places(con, rivals) == {"first": (1, 1), "second": (2, 2)}
