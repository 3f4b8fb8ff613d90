"""`nightboard rank`: what its filters let through, how it says so, and what it answers where nothing fits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from make_lake import START, Lake
from typer.testing import CliRunner, Result

from nightboard.flows.cli.leaderboard import describe_filters
from nightboard.flows.cli.main import app
from nightboard.flows.display.leaderboard import list_footnotes
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.questions import Filters
from nightboard.warehouse.reader.questions import Result as Rows

MODELS: dict[str, dict[str, Any]] = {
    "fr/a": {"params_b": 70.0, "model_type": "chat"},
    "fr/b": {"params_b": 7.0, "model_type": "merge", "license": "mit"},
    "cn/c": {"params_b": 3.0, "model_type": "chat", "license": "mit"},
    "cn/d": {"params_b": None, "license": None},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models, a best, d worst, an hour apart; a flagged one of a board; one of an era that is not current."""
    lake, folder = Lake(), tmp_path_factory.mktemp("store")
    lake.suite()
    lake.era("old", {"task": "truth", "task_version": "0"}, is_current=False)
    lake.era("now", {"task": "truth", "task_version": "1.0"}, position=2)
    lake.add("organizations", "o", [
        {"organization": "fr", "display_name": "Fr", "country": "FR", "declared_at": START},
    ])  # fmt: skip
    for number, (model, known) in enumerate(MODELS.items()):
        lake.commit(model, hours=number, **known)
        precision = "float16" if model == "cn/d" else "bfloat16"
        rows = lake.done(f"e{number}", model, scores=0.9 - number / 10, hours=number + 1, precision=precision)
        for row in rows:
            row["cut_prompts"] = {"fr/b": 2, "cn/c": 0}.get(model)
    lake.board_row("flagged", "xx/e", 0.3, era="now", is_flagged=True)
    lake.add("models", "b", [{"model_id": "fr/b", "organization": "fr", "state": "deleted", "observed_at": START}])
    lake.done("old", "fr/a", "r0", versions={"truth": "0"})
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


def call(store: Path, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["rank", "--store", str(store), *arguments])


def read_lines(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "a b c d e"),
        ("--top 2", "a b"),
        ("--max-params 7", "b c"),
        ("--min-params 3 --max-params 70", "a b"),
        ("--type Chat", "a c"),
        ("--precision float16", "d"),
        ("--license MIT --top 1", "b"),
        ("--organization cn", "c d"),
        ("--country fr", "a b"),
        ("--as-of 2026-01-01T02:00", "a b e"),
        ("--as-of 2026-01-01T03:00+01:00", "a b e"),
        ("--as-of 2026-01-01", ""),
        ("--no-merges", "a c d e"),
        ("--no-flagged", "a b c d"),
        ("--no-unavailable --license mit", "c"),
    ],
)
def test_rank_shows_what_the_filters_let_through(store: Path, options: str, expected: str) -> None:
    records = json.loads(call(store, *options.split(), "--format", "json").output)
    assert [record["model_id"][-1] for record in records] == expected.split()
    assert [record["selected_rank"] for record in records] == list(range(1, len(records) + 1))


def test_a_selection_says_its_filters_and_keeps_the_ranks_among_all(store: Path) -> None:
    title, titles, first, second, note, approximate, _, _ = read_lines(
        call(store, "--license", "mit", "--max-params", "7.5")
    )
    assert " ".join(title) == "Leaderboard of small (era now): up to 7.5 B, licence mit"
    assert titles[:4] == ["here", "#", "places", "model"]
    assert (first[:2], second[:2]) == (["1", "2"], ["2", "3"])
    assert " ".join(note).startswith("#: the place among all rows")
    assert " ".join(approximate) == "~: an approximate interval, not from samples alone."
    assert first[titles.index("95%") + 1].startswith("~")  # the model has a mark, which is a word of its own


def test_the_whole_board_is_shown_as_before_with_the_other_eras_named(store: Path) -> None:
    title, titles, *rows, _, _, others = read_lines(call(store))
    assert " ".join(title) == "Leaderboard of small (era now)"
    assert titles[:3] == ["#", "places", "model"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert " ".join(others) == "Not comparable, so ranked apart: era old (1 row). Show one with --era."
    assert " ".join(read_lines(call(store, "--era", "old"))[-1]).endswith(
        "apart: era now (5 rows). Show one with --era."
    )


def test_a_row_says_who_measured_it_where_not_all_are_ours(store: Path) -> None:
    titles, *rows = read_lines(call(store))[1:7]
    assert titles[-1] == "source"
    assert [row[-1] for row in rows] == ["run"] * 4 + ["import:board"]
    output = call(store, "--organization", "xx").output
    assert "source " not in output
    assert "Source of all rows: import:board." in output
    assert "ource" not in call(store, "--top", "4").output


@pytest.mark.parametrize("options", [[], ["--as-of", "2026-01-01T03:30"]])
def test_models_whose_prompts_were_cut_are_marked_in_a_table_and_counted_for_machines(
    store: Path, options: list[str]
) -> None:
    output = call(store, *options).output
    assert [word for word in output.split() if "/" in word][:3] == ["fr/a", "fr/b", "cn/c"]
    assert "fr/b *" in output and output.count(" * ") == 1
    assert "*: prompts that did not fit into the model's context lost their beginning" in output
    rows = json.loads(call(store, *options, "--format", "json").output)
    assert [row["cut_prompts"] for row in rows][:3] == [None, 6, 0]
    assert "*" not in call(store, *options, "--organization", "cn").output


def test_a_time_has_no_intervals_of_today(store: Path) -> None:
    title, titles, *_ = read_lines(call(store, "--as-of", "2026-01-01T03:30"))
    assert " ".join(title) == "Leaderboard of small (era now): as of 2026-01-01 03:30 UTC"
    assert titles[:2] == ["#", "model"]
    assert "95%" not in titles


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--license", "mti"],
            "no row of this ranking has the licence mti. There is, the nearest first: mit, apache-2.0.",
        ),
        (["--type", "char"], "has the type char. There is, the nearest first: chat, merge."),
        (["--precision", "float61"], "has the precision float61. There is, the nearest first: float16, bfloat16."),
        (["--organization", "cm"], "has the organisation cm. There is, the nearest first: cn, fr, xx."),
        (["--country", "CN"], "has the country CN. There is, the nearest first: FR."),
        (["--country", "FR", "--era", "old", "--license", "mit"], "has the licence mit. None has any."),
        (["--country", "x' or 1=1 --"], "has the country x' or 1=1 --."),
    ],
)
def test_a_value_that_no_row_has_is_answered_with_those_that_there_are(
    store: Path, options: list[str], says: str
) -> None:
    result = call(store, *options)
    assert says in str(result.exception)
    assert result.stdout == ""


def test_filters_that_nothing_passes_give_an_empty_table_that_says_so(store: Path, tmp_path: Path) -> None:
    options = ("--country", "FR", "--max-params", "1")
    lines = read_lines(call(store, *options))
    assert [" ".join(line) for line in lines[:2]] == [
        "Leaderboard of small: up to 1 B, country FR",
        "no row passes all filters",
    ]
    columns = []
    for name in ("none.parquet", "all.parquet"):
        assert call(store, *options[: 4 * (name == "none.parquet")], "--output", str(tmp_path / name)).exit_code == 0
        columns.append(pq.read_table(tmp_path / name).column_names)
    assert columns[0] == columns[1] and "arc" in columns[0]


@pytest.mark.parametrize(
    "options",
    [
        "--as-of soon", "--as-of 2026-02-30", "--as-of 0001-01-01T00:00+23:00", "--max-params nan", "--max-params -1",
        "--min-params 7b", "--min-params 7 --max-params 7",
    ],
)  # fmt: skip
def test_wrong_values_of_filters_are_wrong_usage(store: Path, options: str) -> None:
    assert call(store, *options.split()).exit_code == 2


def test_filters_are_told_in_words() -> None:
    assert describe_filters(Filters()) == ""
    told = describe_filters(
        Filters(
            min_params_b=0.5, max_params_b=8, model_type="chat", precision="4bit", organization="lab", country="FR",
            as_of=datetime(2026, 1, 31, tzinfo=UTC), with_merges=False, with_flagged=False, with_unavailable=False,
        )
    )  # fmt: skip
    assert told == (
        "over 0.5 B, up to 8 B, type chat, precision 4bit, organisation lab, country FR, no merges, no flagged ones,"
        " no unavailable ones, as of 2026-01-31"
    )
    assert (
        describe_filters(Filters(as_of=datetime(2026, 1, 31, 0, 0, 5, tzinfo=UTC))) == "as of 2026-01-31 00:00:05 UTC"
    )


def test_a_comparison_names_the_revisions_and_says_what_its_numbers_are_worth(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    for model in ("lab/a", "lab/b"):
        lake.commit(model, "0123456789")
        lake.done(f"e {model}", model, "0123456789")
        lake.samples(f"e {model}")
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    arguments = ["compare", "lab/a", "lab/b@0123", "--store", str(tmp_path)]
    lines = CliRunner(env={"COLUMNS": "60"}).invoke(app, arguments).output.splitlines()
    assert lines[0].startswith("lab/a@0123456 (a) and lab/b@0123456 (b) in small")
    assert lines[-1].startswith("Fewer than 30 questions in arc: there the 95% interval is rough; trust p")
    result = Rows(["suite", "benchmark", "low", "n_questions"], [("small", "arc", None, 1)])
    assert list(list_footnotes(result))[1:] == ["No 95% or p: a task has one document, so there is no standard error."]
