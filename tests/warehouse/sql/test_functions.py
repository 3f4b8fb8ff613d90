"""SQL functions against the same in Python: math.fsum, scipy's Wilson interval, normal distribution and sign test."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import duckdb
import pytest
from scipy.stats import binomtest, norm

from nightboard.warehouse.builder.ddl import create_macro
from nightboard.warehouse.builder.scheduler import run_in_order
from nightboard.warehouse.builder.sql_models import load_models
from nightboard.warehouse.schema.functions import FUNCTIONS

Con = duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def con() -> Iterator[Con]:
    with duckdb.connect() as made:
        made.execute("attach ':memory:' as build; use build")
        functions = [model for model in load_models() if model.folder == "functions"]
        run_in_order(made, functions, lambda own, model: create_macro(own, model, FUNCTIONS[model.name]))
        yield made


def ask(con: Con, expression: str, *values: float | list[float | None]) -> float:
    row = con.execute(f"select {expression}", values).fetchone()
    assert row is not None
    return float(row[0])


def test_sums_and_means_are_exact_in_any_order(con: Con) -> None:
    chance = random.Random(3)
    for _ in range(100):
        numbers = [chance.uniform(-1, 1) * 10 ** chance.randint(-7, 5) for _ in range(200)]
        total = math.fsum(numbers)
        sums = set()
        for _ in range(3):
            chance.shuffle(numbers)
            sums.add(ask(con, "exact_sum(x) from (select unnest(?::double[]) as x)", numbers))
        assert len(sums) == 1
        assert sums.pop() == pytest.approx(total, rel=1e-15, abs=1e-21)
        mean = ask(con, "exact_mean(x) from (select unnest(?::double[]) as x)", numbers)
        assert mean == pytest.approx(total / 200, rel=1e-15, abs=1e-21)


def test_sums_and_means_leave_out_what_is_no_finite_number(con: Con) -> None:
    numbers = [1.0, math.nan, math.inf, None, 2.0]
    assert ask(con, "exact_sum(x) from (select unnest(?::double[]) as x)", numbers) == 3
    assert ask(con, "exact_mean(x) from (select unnest(?::double[]) as x)", numbers) == 1.5
    assert con.execute("select exact_sum(x) from (select 1.0::double as x where false)").fetchone() == (None,)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (1, 30), (37, 74), (541, 541), (11_000, 12_032)])
def test_wilson_intervals_are_those_of_scipy(con: Con, right: int, n: int) -> None:
    mean, variance = right / n, right / n * (1 - right / n) / n
    interval = binomtest(right, n).proportion_ci(method="wilson")
    assert ask(con, "wilson_low(?, ?, ?)", mean, variance, n) == pytest.approx(interval.low, abs=1e-12)
    assert ask(con, "wilson_high(?, ?, ?)", mean, variance, n) == pytest.approx(interval.high, abs=1e-12)


@pytest.mark.parametrize("probability", [1e-9, 1e-4, 0.02, 0.025, 0.3, 0.5, 0.9, 0.975, 0.99999])
def test_normal_quantiles_are_those_of_scipy(con: Con, probability: float) -> None:
    assert ask(con, "normal_quantile(?)", probability) == pytest.approx(norm.ppf(probability), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("z", [0.0, 0.01, -0.5, 1.96, -3.3, 6.0, 12.0])
def test_normal_p_values_are_those_of_scipy(con: Con, z: float) -> None:
    assert ask(con, "normal_p_value(?)", z) == pytest.approx(2 * norm.sf(abs(z)), rel=1e-6)
    assert con.execute("select normal_p_value(null::double)").fetchone() == (None,)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 5), (3, 4), (120, 90), (700, 812)])
def test_sign_tests_are_those_of_scipy(con: Con, wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1
    assert ask(con, "sign_test(?, ?)", wins, losses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("wins", "losses", "n"), [(0, 0, 1), (0, 0, 9), (3, 0, 3), (7, 2, 10), (120, 90, 600)])
def test_paired_differences_of_right_and_wrong_answers_are_those_of_bonett_and_price(
    con: Con, wins: int, losses: int, n: int
) -> None:
    difference = (wins - losses) / n
    spread = ((wins + losses) / n - difference**2) / n
    arguments = [difference, 1.0, float(n), spread]
    p_won, p_lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    variance = (p_won + p_lost - (p_won - p_lost) ** 2) / (n + 2)
    assert ask(con, "paired_variance(?, ?, ?, ?)", *arguments) == pytest.approx(variance)
    expected = (wins - losses) / (wins + losses + 2) ** 0.5
    assert ask(con, "paired_z(?, ?, ?, ?)", *arguments) == pytest.approx(expected)
    margin = ask(con, "paired_margin(?, ?, ?, ?)", *arguments)
    limit = norm.ppf(0.975)
    assert margin == (float("inf") if n + 2 < limit**2 else pytest.approx(
        limit * (variance / (1 - limit**2 / (n + 2))) ** 0.5
    ))  # fmt: skip
    # What has the margin's distance to the difference is just not rejected.
    if n > 1:
        center = p_won - p_lost
        assert abs(margin) / (variance + margin**2 / (n + 2)) ** 0.5 == pytest.approx(limit)
        assert center - margin <= difference <= center + margin
