"""`nightboard rank`: what its filters let through, how it says so, and what it answers where nothing fits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from make_lake import START, Lake
from screen import run_on_screen, show_on_screen
from typer.testing import CliRunner, Result

from nightboard.flows.cli.leaderboard import parse_time, show_rankings
from nightboard.flows.cli.main import app
from nightboard.flows.display.leaderboard import describe_filters, print_ranking
from nightboard.flows.run.report import rank_records
from nightboard.profiles.loading.load import load_board
from nightboard.tasks.store.layout import Store
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.questions import Filters, explain_comparison
from nightboard.warehouse.reader.result import Result as Rows

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
        ("--as-of 2026-01-01T00:00", ""),
        ("--as-of 2025-12-31", ""),
        ("--as-of 2026-01-01", "a b c d e"),
        ("--as-of Yesterday", "a b c d e"),
        ("--as-of today", "a b c d e"),
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
    title, titles, first, second, note, _, approximate, _, _ = read_lines(
        call(store, "--license", "mit", "--max-params", "7.5")
    )
    assert " ".join(title) == "Leaderboard of small (era now): up to 7.5 B, license mit"
    assert titles[:4] == ["here", "#", "places", "model"]
    assert (first[:2], second[:2]) == (["1", "2"], ["2", "3"])
    assert " ".join(note).startswith("#: rank among all rows")
    assert " ".join(approximate) == "~: an approximate interval, not computed from samples alone."
    assert first[titles.index("95%") + 1].startswith("~")  # the model has a mark, which is a word of its own


def test_the_whole_board_is_shown_as_before_with_the_other_eras_named(store: Path) -> None:
    title, titles, *rows, _, sources, _, _, others = read_lines(call(store))
    assert " ".join(title) == "Leaderboard of small (era now)"
    assert titles[:3] == ["#", "places", "model"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert " ".join(sources).endswith("a model may have several: run (4 rows), import:board (1 row).")
    assert " ".join(others) == "Other eras do not compare and are ranked separately: old (1 row). Show one with --era."
    assert " ".join(read_lines(call(store, "--era", "old"))[-1]).endswith(
        "separately: now (5 rows). Show one with --era."
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
    assert "*: prompts longer than the model's context lost their beginning" in output
    rows = json.loads(call(store, *options, "--format", "json").output)
    assert [row["cut_prompts"] for row in rows][:3] == [None, 6, 0]
    assert "*" not in call(store, *options, "--organization", "cn").output


def test_a_time_has_no_intervals_of_today(store: Path) -> None:
    title, titles, *_ = read_lines(call(store, "--as-of", "2026-01-01T03:30"))
    assert " ".join(title) == "Leaderboard of small (era now): as of 2026-01-01 03:30 UTC"
    assert titles[:2] == ["#", "model"]
    assert "95%" not in titles
    note = "No places and no 95% with --as-of: the build computes them for the newest leaderboard only."
    assert note in call(store, "--as-of", "2026-01-01T03:30").output
    assert note not in call(store).output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--license", "mti"],
            "no row of this ranking has the license mti. Known, the nearest first: mit, apache-2.0.",
        ),
        (["--type", "char"], "has the type char. Known, the nearest first: chat, merge."),
        (["--precision", "float61"], "has the precision float61. Known, the nearest first: float16, bfloat16."),
        (["--organization", "cm"], "has the organization cm. Known, the nearest first: cn, fr, xx."),
        (["--country", "CN"], "has the country CN. Known, the nearest first: FR."),
        (["--country", "FR", "--era", "old", "--license", "mit"], "has the license mit. No row has any."),
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
        "No row matches all filters.",
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
            as_of=parse_time("2026-01-31"), with_merges=False, with_flagged=False, with_unavailable=False,
        )
    )  # fmt: skip
    assert told == (
        "over 0.5 B, up to 8 B, type chat, precision 4bit, organization lab, country FR, no merges, no flagged models,"
        " no unavailable models, as of 2026-01-31"
    )
    for moment, text in (("00:00:05", "00:00:05"), ("00:00", "00:00"), ("23:59:59", "23:59:59")):
        filters = Filters(as_of=parse_time(f"2026-01-31T{moment}"))
        assert describe_filters(filters) == f"as of 2026-01-31 {text} UTC"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--sort params_b", "c b a d e"),
        ("--sort params_b --reverse", "a b c d e"),
        ("--sort average", "a b c d e"),
        ("--sort ARC --reverse --top 2", "e d"),
        ("--sort arc --top 2", "a b"),
        ("--sort license", "a b c d e"),
        ("--sort model_id --organization cn", "c d"),
        ("--reverse --top 1", "e"),
    ],
)
def test_a_ranking_is_sorted_by_a_column_scores_from_the_highest(store: Path, options: str, expected: str) -> None:
    records = json.loads(call(store, *options.split(), "--format", "json").output)
    assert [record["model_id"][-1] for record in records] == expected.split()


def test_an_unknown_column_is_answered_with_those_that_there_are(store: Path) -> None:
    result = call(store, "--sort", "params")
    assert str(result.exception).startswith(
        "no column of the ranking is called params. Did you mean params_b? Columns: "
    )
    assert "model_id, average, params_b, license, arc" in str(result.exception)


def test_machines_and_people_get_the_most_telling_columns_first(store: Path) -> None:
    columns = call(store, "--format", "csv").output.split("\n")[0].split(",")
    assert columns.index("license") < columns.index("arc") < columns.index("precision") < columns.index("revision")
    titles = " ".join(read_lines(call(store))[1])
    assert titles.startswith("# places model average 95% params (B) license arc")


def test_a_terminal_shows_the_first_hundred_rows_unless_more_are_asked_for_and_says_so(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightboard.flows.display.leaderboard.SHOWN_ROWS", 3)
    arguments = ("rank", "--store", str(store))
    models = [word for line in run_on_screen(200, *arguments) for word in line.split() if word in MODELS]
    assert models == ["fr/a", "fr/b", "cn/c"]
    text = " ".join(run_on_screen(200, *arguments))
    assert "... and 2 more rows. `nightboard rank` shows them with --top 5; --output ranking.csv" in text
    for whole in (" ".join(run_on_screen(200, *arguments, "--top", "5")), call(store).output):
        assert "xx/e" in whole and "more row" not in whole
    assert "... and 1 more row." in " ".join(run_on_screen(200, *arguments, "--sort", "arc", "--no-flagged"))


@pytest.mark.parametrize("width", [30, 60, 80])
def test_a_narrow_terminal_hides_the_revision_before_the_license_and_says_so(store: Path, width: int) -> None:
    lines = run_on_screen(width, "rank", "--store", str(store))
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    shown = lines[1].split()
    hidden = re.search(r"(\d+) columns? hidden: (.*); a wider terminal or --format csv shows (it|them)\.", text)
    assert hidden and "revision" in hidden[2]
    assert shown[:1] == ["#"] and "model" in shown
    assert ("license" in shown) is (width > 30)
    assert not {"revision", "precision"} & {*shown}


def test_a_wide_terminal_shows_every_column(store: Path) -> None:
    lines = run_on_screen(200, "rank", "--store", str(store))
    assert "revision" in lines[1].split()
    assert not any("hidden" in line for line in lines)


def test_the_column_that_is_sorted_by_is_shown_before_others(store: Path) -> None:
    titles = run_on_screen(42, "rank", "--store", str(store), "--sort", "revision")[1].split()
    assert "revision" in titles
    assert "license" not in titles


def test_a_long_id_is_folded_where_it_has_a_slash_or_a_dash_and_only_on_a_terminal() -> None:
    name = "an-organization-with-a-name/Some-Model-of-Long-Name-72B-Instruct"
    columns = ["rank", "model_id", "average", "params_b", "license", "era", "source", "cut_prompts", "selected_rank",
               "rank_low", "rank_high", "average_low", "average_high", "is_approximate"]  # fmt: skip
    result = Rows(columns, [(1, name, 50.0, 7.0, "mit", "e", "run", None, 1, None, None, None, None, False)])
    for width, is_whole in ((80, False), (140, True)):
        text = show_on_screen(width, lambda: print_ranking(result, "Board"))
        assert (name in text) is is_whole
        assert {"50.00", "7", "mit"} <= {*text.split()}
        assert name in "".join(line[3:].split("  ")[0] for line in text.splitlines()[2:])


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
    assert " ".join(lines).endswith("detects: the true difference that p finds in 80% of cases.")
    assert not any("one evaluation" in line for line in lines)
    row = {"benchmark": "arc", "low": None, "evaluation_a": "e", "evaluation_b": "e"}
    assert list(explain_comparison([row]))[1:3] == [
        "No 95% and p for arc: a task has one document, so there is no standard error.",
        "Both are one evaluation: the models have identical files and settings.",
    ]
    arguments = ["compare", "A", "b@0123", "--store", str(tmp_path)]
    assert CliRunner(env={"COLUMNS": "60"}).invoke(app, arguments).output.splitlines() == lines, "endings are enough"
    narrow = run_on_screen(50, *arguments)
    assert max(map(len, narrow)) <= 50
    (titles,) = [line.split() for line in narrow if line.startswith("benchmark")]
    assert titles[0] == "benchmark" and "p" in titles and "questions" not in titles
    wide = run_on_screen(80, *arguments)
    assert max(map(len, wide)) <= 80
    (titles,) = [line for line in wide if line.startswith("benchmark")]
    assert " ".join(titles.split()) == "benchmark a b a - b 95% p Holm p detects questions"


def write_boards(folder: Path, store: Path) -> None:
    """Two boards on one store: one follows fr without fr/b, the other cn/c and what was imported as board."""
    watched = {"french": "organizations: [fr]\nexclude: [fr/b]\n", "chinese": "models: [cn/c, cn/none]\n"}
    (folder / "watchlists").mkdir()
    small = "limit: 1\nextends: quickstart\n"
    (folder / "suites").mkdir()
    (folder / "suites/small.yaml").write_text(f"suite: small\ntitle: Small\n{small}")
    for name, models in watched.items():
        (folder / f"watchlists/{name}.yaml").write_text(f"watchlist: {name}\n{models}")
        board = f"board: {name}\ntitle: T\nwatch: {name}\nsuites: [small]\ncluster: local\nstore: {store}\n"
        (folder / f"{name}.yaml").write_text(board + ("imports: [import:board]\n" if name == "chinese" else ""))


@pytest.mark.parametrize(
    ("board", "options", "expected", "left_out"),
    [
        ("french", "", "a", "4 rows"),
        ("chinese", "", "c e", "3 rows"),
        ("french", "--all", "a b c d e", None),
        ("chinese", "--no-flagged", "c", "3 rows"),
        ("chinese", "--license mit", "c", "1 row"),
        ("chinese", "--as-of 2026-01-01T02:00", "e", "2 rows"),
        ("chinese", "--era old", "", "1 row"),
        ("french", "--era old", "a", None),
        ("french", "--top 1 --sort arc --reverse", "a", "4 rows"),
    ],
)
def test_a_board_shows_its_watch_list_and_the_imports_it_names_and_counts_the_rest(
    store: Path, tmp_path: Path, board: str, options: str, expected: str, left_out: str | None
) -> None:
    write_boards(tmp_path, store)
    arguments = ["rank", "--board", str(tmp_path / f"{board}.yaml"), *options.split()]
    records = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).output)
    assert [record["model_id"][-1] for record in records] == expected.split()
    assert [record["selected_rank"] for record in records] == list(range(1, len(records) + 1))
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    note = "of other boards or no longer watched: `nightboard rank` shows them with --all."
    told = [line.strip().removesuffix(note).strip() for line in shown.output.splitlines() if line.endswith(note)]
    assert told == ([left_out] if left_out else [])


def test_a_board_shows_models_that_were_submitted_to_it_and_accepted(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    for number, (board, state) in enumerate([("french", "done"), ("french", "rejected"), ("chinese", "done")]):
        name = f"xx/{number}"
        lake.commit(name)
        lake.done(f"e{number}", name)
        row = {"request_id": name, "board": board, "kind": "submission", "asked_by": "ada", "asked_at": START}
        lake.add("requests", name, [row | {"source": "command", "priority": 0, "model_id": name}])
        event = {"request_id": name, "changed_at": START, "state": state, "changed_by": "ada"}
        lake.add("request_events", name, [event])
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    write_boards(tmp_path, tmp_path)
    rows = rank_records(load_board(tmp_path / "french.yaml"), Store(tmp_path), "small")
    assert [row["model_id"] for row in rows] == ["xx/0"]


def test_the_rankings_after_a_night_and_its_artifacts_are_those_of_the_board(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_boards(tmp_path, store)
    bundle = load_board(tmp_path / "chinese.yaml")
    assert [row["model_id"] for row in rank_records(bundle, Store(store), "small")] == ["cn/c", "xx/e"]
    show_rankings(bundle, Store(store))
    output = capsys.readouterr().out
    assert "cn/c" in output and "xx/e" in output and "fr/a" not in output
    assert rank_records(bundle, Store(tmp_path / "none"), "small") == []
