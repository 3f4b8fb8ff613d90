"""What analysts call: SQL from an argument or a pipe, printed or written in the format that was meant."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from make_lake import START, Lake, after
from screen import run_on_screen
from typer.testing import CliRunner, Result
from warm import warm_command

from nightboard.flows.cli.main import app
from nightboard.warehouse.builder.build import build

COMMAND = str(Path(sys.executable).with_name("nightboard"))
MODELS = {"org/good": 0.75, "org/fair": 0.5}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake, folder = Lake(), tmp_path_factory.mktemp("store")
    lake.suite()
    for model, score in MODELS.items():
        lake.commit(model)
        lake.done(f"e {model}", model, scores=score)
        lake.samples(f"e {model}")
    build(lake.write(folder / "lake"), folder / "warehouse", START)
    return folder


def run(store: Path, *arguments: str, typed: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own; its standard input is what is `typed`."""
    command = warm_command(*arguments, "--store", str(store))
    return subprocess.run(
        command, input=typed or "", capture_output=True, text=True, check=False, env=os.environ | environment
    )


def call(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--store", str(store)])


def test_sql_prints_a_table_a_statement(store: Path) -> None:
    done = run(store, "sql", "select 'x' as a; select count(*) as n from samples")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["a", "x", "n", "8"], "")


def test_sql_is_read_from_a_pipe(store: Path) -> None:
    done = run(store, "sql", "--format", "csv", typed="select model_id\nfrom leaderboard -- by rank\norder by rank;\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "model_id\norg/good\norg/fair\n", "")


@pytest.mark.parametrize("arguments", [["select 1\udcff"], []])
def test_sql_that_is_no_utf_8_is_said(store: Path, arguments: list[str]) -> None:
    command = [COMMAND, "sql", *arguments, "--store", str(store)]
    done = subprocess.run(command, input=b"select\n1\xff", capture_output=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        rb"nightboard: the SQL is not UTF-8 \(line [12]: byte 0xff\)\. Save it as UTF-8\.\n", done.stderr
    )


def test_a_mistake_in_sql_is_one_message_with_the_place_and_exit_code_1(store: Path) -> None:
    done = run(store, "sql", "select modl\nfrom leaderboard")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[:3] == [
        "nightboard: no column is called modl. Did you mean model_id?",
        "LINE 1: select modl",
        "               ^^^^",
    ]
    assert "Traceback" not in done.stderr


WIDE = (
    'select 1 as "a b", 2 as "sum(x, y)", 3 as "c d e f g h", 4 as "d", 12345 as "e", 1 as "count_star()", null as gone'
)


@pytest.mark.parametrize("width", ["60", "1"])
def test_a_table_keeps_every_column_on_a_narrow_terminal(store: Path, width: str) -> None:
    done = run(store, "sql", WIDE, COLUMNS=width)
    titles, values = done.stdout.splitlines()
    assert re.split("  +", titles) == ["a b", "sum(x, y)", "c d e f g h", "d", "e", "count_star()", "gone"]
    assert values.split() == ["1", "2", "3", "4", "12345", "1"]


def test_words_stay_whole_and_texts_are_folded_between_them(store: Path) -> None:
    model, text = "organization/a-model-with-a-long-name-8B", "some words that go on and on for longer than a line has"
    done = run(store, "sql", f"select '{model}' as model, '{text}' as said, 'x\ty' as tab, 1 as n", COLUMNS="60")
    assert done.stdout.split()[4] == model
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert [word for word in text.split() if word not in done.stdout.split()] == []
    narrow = run(store, "sql", "from leaderboard", COLUMNS="60").stdout.split()
    assert {"org/good", "org/fair"} <= set(narrow)


def test_a_narrow_terminal_shows_what_fits_and_names_the_rest(store: Path) -> None:
    lines = run_on_screen(80, "sql", "from leaderboard", "--store", str(store))
    assert max(map(len, lines)) <= 80
    assert {"rank", "model_id"} <= {*lines[0].split()}
    assert "org/good" in lines[1].split()
    assert re.search(
        r"\d\d columns hidden: .* more; a wider terminal or --format csv shows them\.", " ".join(lines[3:])
    )


def test_few_rows_that_are_too_wide_are_lines_of_column_and_value(store: Path) -> None:
    lines = run_on_screen(80, "sql", "from leaderboard order by rank limit 1", "--store", str(store))
    columns = call(store, "sql", "from leaderboard limit 1", "--format", "csv").output.splitlines()[0].split(",")
    assert [line.split()[0] for line in lines] == columns
    assert ["model_id", "org/good"] in [line.split() for line in lines]


def test_a_terminal_is_told_that_there_are_no_rows(store: Path) -> None:
    assert run_on_screen(200, "sql", "select 1 as n limit 0", "--store", str(store)) == ["n", "No rows."]
    assert call(store, "sql", "select 1 as n limit 0").output == "n\n"


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("csv", 'a,b,c\ntrue,"[false, null]",\n'),
        ("tsv", "a\tb\tc\ntrue\t[false, null]\t\n"),
        ("json", '[\n{"a": true, "b": [false, null], "c": null}\n]\n'),
        ("jsonl", '{"a": true, "b": [false, null], "c": null}\n'),
        ("md", "| a | b | c |\n| --- | --- | --- |\n| true | [false, null] |  |\n"),
        ("txt", "a    b              c\nyes  [false, null]\n"),
    ],
)
def test_booleans_are_true_and_false_for_machines_and_yes_and_no_in_tables(
    store: Path, tmp_path: Path, ending: str, text: str
) -> None:
    path = tmp_path / f"rows.{ending}"
    sql = "select true as a, [false, null] as b, null::boolean as c"
    assert call(store, "sql", sql, "--output", str(path)).exit_code == 0
    assert path.read_text() == text


@pytest.mark.parametrize("ending", ["csv", "json", "md", "parquet", "txt"])
def test_the_ending_of_the_output_is_its_format(store: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    sql = "select model_id, model_id, average, finished_at from leaderboard order by rank limit 1"
    assert call(store, "sql", sql, "--output", str(path)).exit_code == 0
    average = 0.5 * ((75 + (0.75 - 0.25) / 0.75 * 100) / 2 + 75)
    match ending:
        case "csv":
            assert path.read_text().splitlines()[0] == "model_id,model_id,average,finished_at"
            assert float(path.read_text().splitlines()[1].split(",")[2]) == pytest.approx(average, abs=1e-12)
        case "json":
            (record,) = json.loads(path.read_text())
            assert list(record) == ["model_id", "model_id_1", "average", "finished_at"], "no value is lost"
        case "parquet":
            table = pq.read_table(path)
            assert table.column_names == ["model_id", "model_id_1", "average", "finished_at"]
            assert [str(field.type) for field in table.schema][2:] == ["double", "timestamp[us, tz=UTC]"]
        case "md":
            assert path.read_text().splitlines()[:2] == [
                "| model_id | model_id | average | finished_at |",
                "| --- | --- | --- | --- |",
            ]
        case "txt":
            assert path.read_text().split()[:4] == ["model_id", "model_id", "average", "finished_at"]


@pytest.mark.parametrize("command", [["sql", "select model_id from leaderboard order by rank"], ["rank"]])
def test_a_dash_is_the_standard_output(
    store: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with_dash, without = (call(store, *command, "--format", "csv", *more) for more in (["-o", "-"], []))
    assert with_dash.exit_code == 0
    assert with_dash.output == without.output
    assert list(tmp_path.iterdir()) == []


def test_format_wins_over_the_ending(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.dat"
    assert call(store, "rank", "--format", "csv", "--output", str(path)).exit_code == 0
    assert path.read_text().startswith("rank,model_id,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "select 1", "--output", "rows.dat"], "no format for the name rows.dat. End it in .csv, .tsv,"),
        (["rank", "--output", "rows"], "no format for the name rows."),
        (
            ["sql", "select 1; select 2", "--output", "rows.csv"],
            "Invalid value for --output: 2 statements give 2 tables, and a file holds one. Keep one.",
        ),
        (["export", "leaderboard", "--output", "-"], 'standard output: nightboard sql "from TABLE" --format csv'),
        (["sql", "select 1; select 2", "--format", "json"], "2 statements give 2 tables, and json holds one"),
    ],
)
def test_what_cannot_be_written_as_asked_is_wrong_usage(store: Path, arguments: list[str], message: str) -> None:
    done = call(store, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_a_long_table_shows_its_beginning_and_says_how_many_rows_are_left(store: Path) -> None:
    done = run(store, "sql", "select range as n from range(51234); select 'next' as a")
    assert done.returncode == 0
    assert done.stdout.split() == ["n", *map(str, range(1000)), "a", "next"]
    assert done.stderr == "... and 50,234 more rows. --output rows.csv (or .parquet, .json) has them all.\n"


def test_an_endless_table_does_not_keep_anybody_waiting(store: Path) -> None:
    done = run(store, "sql", "select range as n from range(1_000_000_000_000)")
    assert done.returncode == 0
    assert done.stderr.startswith("... and at least ")


def test_parquet_goes_through_a_pipe(store: Path, tmp_path: Path) -> None:
    command = [COMMAND, "sql", "from samples", "--format", "parquet", "--store", str(store)]
    (tmp_path / "rows.parquet").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 8


def test_a_failing_query_leaves_the_old_output_as_it_was(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")
    sql = "select case when n < 500_000 then n else error('odd') end from range(1_000_000) t(n)"
    done = run(store, "sql", sql, "--output", str(path), "--force")
    assert (done.returncode, path.read_text()) == (1, "old")
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_export_writes_a_table_or_all_of_them(store: Path, tmp_path: Path) -> None:
    done = call(store, "export", "leaderboard", "--output", str(tmp_path / "board.json"))
    assert (done.exit_code, "leaderboard: 2 rows in" in done.output) == (0, True)
    assert {row["model_id"] for row in json.loads((tmp_path / "board.json").read_text())} == set(MODELS)
    assert call(store, "export", "--all", "--output", str(tmp_path / "all")).exit_code == 0
    assert pq.read_table(tmp_path / "all" / "samples.parquet").num_rows == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "rows.csv"],
        ["leaderboard", "--all", "--output", "rows"],
        ["leaderboard", "--output", "rows.md"],
        ["leaderboard"],
    ],
)
def test_wrong_usage_of_export_is_exit_code_2(store: Path, arguments: list[str]) -> None:
    assert call(store, "export", *arguments).exit_code == 2


@pytest.mark.parametrize("command", [["export", "leaderboard", "--force"], ["sql", "select 1"]])
def test_writing_into_the_store_is_refused_in_one_message_with_exit_code_1(store: Path, command: list[str]) -> None:
    done = run(store, *command, "--output", str(store / "rows.csv"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert not (store / "rows.csv").exists()


@pytest.mark.parametrize("command", [["rank"], ["compare", "org/good", "org/fair"], ["sql", "select 1"]])
def test_no_command_writes_into_a_store_or_over_a_file(store: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    for path, says in ((store / "lake" / "x.csv", "is inside the store"), (tmp_path / "mine.csv", "--force")):
        done = call(store, *command, "--output", str(path))
        assert done.exit_code == 1
        assert says in str(done.exception)
    assert call(store, *command, "--output", str(tmp_path / "mine.csv"), "--force").exit_code == 0
    assert (tmp_path / "mine.csv").read_text() != "mine"


def show(store: Path, *arguments: str) -> bytes:
    """What the command shows on a terminal."""
    ours, its = pty.openpty()
    command = [COMMAND, *arguments, "--store", str(store)]
    with subprocess.Popen(command, stdout=its, stderr=its, stdin=its) as process:
        os.close(its)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 10_000)
            except OSError:  # how a terminal ends
                break
        process.wait()
    os.close(ours)
    return shown


STEERING = "select chr(27) || '[31mred' || chr(155) || '2J' as a"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_machines_format_shows_codes_on_a_terminal_and_has_them_in_a_pipe(store: Path, form: str) -> None:
    shown = show(store, "sql", STEERING, "--format", form)
    assert not re.search("[\x1b\x9b]", shown.decode())
    assert re.search(rb"(\\x1b|\\u001b)\[31mred\\x9b2J", shown)
    piped = run(store, "sql", STEERING, "--format", form).stdout
    assert "\x9b2J" in piped
    assert ("\\u001b" if form == "json" else "\x1b") in piped


@pytest.mark.parametrize("select", ["interval 1 month", "union_value(n := 1)", "[interval 1 day]"])
def test_a_type_that_parquet_does_not_have_is_said_with_its_column(store: Path, tmp_path: Path, select: str) -> None:
    done = call(store, "sql", f"select 1 as n, {select} as odd", "--output", str(tmp_path / "x.parquet"))
    assert done.exit_code == 2
    assert "column odd is of a type that Parquet does not have" in " ".join(done.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []
    assert call(store, "sql", f"select {select} as odd", "--output", str(tmp_path / "x.csv")).exit_code == 0


def test_json_has_no_number_that_json_lacks_however_deep(store: Path) -> None:
    sql = "select [1.5, 'nan'::double] as l, {'x': ['inf'::double]} as s, map {2: 'nan'::double} as m"
    done = call(store, "sql", sql, "--format", "json")
    assert (done.exit_code, done.output) == (0, '[\n{"l": [1.5, null], "s": {"x": [null]}, "m": {"2": null}}\n]\n')


def test_more_than_sql_through_a_pipe_is_refused(store: Path) -> None:
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run([COMMAND, "sql", "--store", str(store)], stdin=endless, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == b"nightboard: the standard input has more than 16,777,216 bytes. Pipe in SQL, not data.\n"


def test_times_are_written_in_utc_wherever_the_reader_is(store: Path, tmp_path: Path) -> None:
    select = "select model_id, finished_at from leaderboard"
    for arguments in (["export", "leaderboard"], ["sql", select]):
        for ending in ("csv", "json"):
            path = tmp_path / f"{arguments[0]}.{ending}"
            command = warm_command(*arguments, "--store", str(store), "--output", str(path))
            subprocess.run(command, env=os.environ | {"TZ": "Asia/Tokyo"}, capture_output=True, check=True)
            rows = (
                json.loads(path.read_text()) if ending == "json" else [*csv.DictReader(path.read_text().splitlines())]
            )
            times = [datetime.fromisoformat(row["finished_at"]) for row in rows]
            assert times == [after(1)] * len(MODELS)
            assert [time.utcoffset() for time in times] == [timedelta(0)] * len(MODELS), path.read_text()
