"""The commands `import ...` as a user meets them: what they print, and how they end."""

from __future__ import annotations

import io
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from board_table import board_row, write_csv
from served_hub import serve_hub
from warm import warm_command

from nightboard.flows.display.ranking_import import describe_agreement
from nightboard.profiles.loading.load import load_suite


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "400"} | environment
    return subprocess.run(warm_command(*arguments), capture_output=True, text=True, check=False, env=environment)


def test_a_board_comes_straight_from_the_hub_by_its_id(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([board_row("lab/a")]), buffer)
    with serve_hub() as hub:
        hub.loopback.create_repo("lab/contents", "dataset")
        sha = hub.loopback.commit("lab/contents", {"a.parquet": buffer.getvalue()}, "add", kind="dataset")
        options = ("--store", str(tmp_path / "store"), "--era", "math-parser-fix")
        done = run("import", "board", "lab/contents", *options, "--format", "json", HF_ENDPOINT=hub.url)
        missing = run("import", "board", "lab/content", *options, HF_ENDPOINT=hub.url)
        pinned = run("import", "board", "lab/contents", *options, "--revision", sha, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["revision"] == sha
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "lab/content: is neither an existing file nor a public dataset" in missing.stderr
    assert pinned.returncode == 0
    assert f"lab/contents@{sha}: 1 row as import:open-llm-leaderboard" in pinned.stdout
    assert "all already imported" in pinned.stdout


def test_a_board_with_a_bad_row_ends_with_3_and_says_which(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "contents.csv", [board_row("lab/a"), board_row("lab/b", **{"GPQA Raw": "much"})])
    done = run("import", "board", str(file), "--store", str(tmp_path / "store"), "--era", "math-parser-fix")
    assert done.returncode == 3
    assert f"skipped: {file}:3: gpqa raw: is not a number (got 'much')." in done.stderr + done.stdout


def test_rows_of_a_board_that_do_not_rank_and_dates_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    rows = [
        board_row("lab/a"),
        board_row("lab/b", **{"GPQA Raw": "", "GPQA": ""}),
        board_row("lab/c", **{"Submission Date": "tomorrow", "Upload To Hub Date": ""}),
    ]
    file = write_csv(tmp_path / "contents.csv", rows)
    options = ("import", "board", str(file), "--store", str(tmp_path / "store"), "--era", "math-parser-fix")
    done = run(*options)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert f"imported without its date: {file}:4: submission date: is not an ISO date (got 'tomorrow')." in said
    assert "1 row without all benchmarks: not ranked. See table coverage for what is missing." in said
    report = json.loads(run(*options, "--format", "json").stdout)
    assert (report["n_imported"], report["n_incomplete"]) == (3, 1)
    assert [each["where"] for each in report["unread_dates"]] == [f"{file}:4"]


def test_a_board_in_a_wrong_era_is_told_and_taken_out_again(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "contents.csv", [board_row("lab/a")])
    store = ("--store", str(tmp_path / "store"))
    missing = run("import", "remove", "--name", "board", *store)
    assert (missing.returncode, "is not a store" in missing.stderr) == (1, True)
    run("import", "board", str(file), "--name", "board", "--era", "math-parser-fix", *store)
    done = run("import", "board", str(file), "--name", "board", "--era", "math-verify", *store)
    assert (
        "also imported in era math-parser-fix: 1 row of the same model, commit and precision. If one of the two eras is"
        " wrong: nightboard import remove --name board --era WRONG" in done.stdout + done.stderr
    )
    gone = run("import", "remove", "--name", "board", "--era", "math-verify", *store)
    assert gone.returncode == 0, gone.stderr
    assert "Removed 1 row of import:board in era math-verify" in gone.stdout
    assert run("sql", *store, "--format", "csv", "select era from leaderboard").stdout == "era\nmath-parser-fix\n"


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with five models of a board, a best, e worst."""
    folder = tmp_path_factory.mktemp("ranked")
    rows = [board_row(f"lab/{name}", **{"IFEval Raw": 0.9 - i / 10}) for i, name in enumerate("abcde")]
    done = run(
        "import", "board", str(write_csv(folder / "board.csv", rows)), "--store", str(folder / "store"),
        "--era", "math-parser-fix",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "store"


def test_an_external_ranking_is_shown_beside_ours_with_the_correlation_in_words(ranked: Path, tmp_path: Path) -> None:
    file = tmp_path / "arena.csv"
    file.write_text("Model,Elo\nA,1300\ngpt-4o,1400\nlab/b,1100\nC,1250\nd,1000\ne,900\nbad,much\n")
    options = (str(file), "--name", "arena", "--store", str(ranked), "--date", "2025-03-01")
    done = run("import", "ranking", *options)
    assert done.returncode == 3
    lines = [" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines()]
    assert f"! skipped: {file}:8: elo: is not a number (got 'much')." in lines
    assert "arena of 2025-03-01 and leaderboard-v2 (era math-parser-fix): ranks among 5 common models" in lines[1]
    at = next(i for i, line in enumerate(lines) if line.startswith("model "))
    assert lines[at + 1 : at + 3] == ["lab/c 2 3 -1 3 3 1250.00 40.00", "lab/b 3 2 +1 4 2 1100.00 41.66"]
    assert "Not matched to our models: gpt-4o." in lines
    assert lines[-2].endswith(
        "5 common models, almost the same order: Spearman's rho 0.90 (95%: -0.17 to 1.00),"
        " Kendall's tau-b 0.80 (95%: -0.19 to 0.98). With fewer than 10 models, the intervals are rough."
    )
    again = run("import", "ranking", *options, "--format", "json")
    report = json.loads(again.stdout)
    assert (report["is_new"], report["dates"]) == (False, ["2025-03-01T00:00:00+00:00"])
    assert report["correlations"][0]["spearman_rho"] == pytest.approx(0.9)
    assert [each["model_name"] for each in report["unmatched"]] == ["gpt-4o"]
    rows = run("sql", "--store", str(ranked), "--format", "csv", "select n_common from ranking_correlations")
    assert rows.stdout == "n_common\n5\n"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--name", "Arena!"), 1, "--name: is not a valid name"),
        (("--name", "arena", "--column", "elo=x"), 2, "must be one of model, rank, score, date"),
        (("--name", "arena", "--date", "soon"), 2, "soon"),
        (("--name", "arena", "--suite", "leaderbord-v2"), 1, "Did you mean leaderboard-v2?"),
        (("--name", "arena", "--era", "launched"), 1, "no era is called launched"),
        ((), 2, "--name"),
    ],
)
def test_a_mistake_in_the_options_is_said(
    ranked: Path, tmp_path: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    file = tmp_path / "arena.csv"
    file.write_text("model,rank\na,1\n")
    done = run("import", "ranking", str(file), "--store", str(ranked), *options)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert says in done.stderr


@pytest.mark.parametrize(
    ("rho", "words"),
    [
        (0.8999, "almost the same order"),
        (0.75, "a similar order"),
        (0.1, "no similar order"),
        (-0.7, "a similar order, but reversed"),
        (0.999, "the same order"),
        (-0.999, "the reverse order"),
    ],
)
def test_a_correlation_is_told_in_words(rho: float, words: str) -> None:
    row = {
        "ranking": "arena", "suite": "s", "era": "e", "is_current_era": True, "n_common": 9, "spearman_rho": rho,
        "spearman_low": None, "spearman_high": None, "kendall_tau_b": 0.5, "kendall_low": 0.25, "kendall_high": 0.75,
    }  # fmt: skip
    said = describe_agreement(row)
    assert f"9 common models, {words}: Spearman's rho {rho:.2f}, Kendall's tau-b 0.50 (95%: 0.25 to 0.75)." in said
    assert said.endswith("(95%: 0.25 to 0.75). With fewer than 10 models, the intervals are rough.")
    assert "rough" not in describe_agreement(row | {"n_common": 10})
    assert "rough" not in describe_agreement(row | {"kendall_low": None, "kendall_high": None})
    said = describe_agreement(row | {"spearman_rho": None, "n_common": 1})
    assert said == "arena and s (era e): 1 common model, too few to compare the rankings."
    said = describe_agreement(row | {"spearman_rho": None})
    assert said == "arena and s (era e): 9 common models, but one of the two rankings ties them all."


def test_a_ranking_of_which_nothing_is_left_says_so(ranked: Path, tmp_path: Path) -> None:
    file = tmp_path / "arena.csv"
    file.write_text("model,elo\n" + "".join(f"m{number},x{number}\n" for number in range(25)) + ",7\n")
    done = run("import", "ranking", str(file), "--name", "empty", "--store", str(ranked))
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"! skipped: {file}:2 and 24 other rows: elo: is not a number (got 'x0').",
        f"! skipped: {file}:27: model: is empty.",
        f"{file}: nothing to import, 26 rows skipped.",
    ]
    file.write_text("model,rank\n" + "".join(f"m{number},1\nm{number},2\n" for number in range(21)))
    lines = run("import", "ranking", str(file), "--name", "empty", "--store", str(ranked)).stdout.splitlines()
    assert len(lines) == 22
    assert lines[-2] == "! ... and 2 more; --format json lists all."


def test_dates_that_make_another_ranking_the_newest_are_told(ranked: Path, tmp_path: Path) -> None:
    file = tmp_path / "arena.csv"
    options = (str(file), "--name", "dated", "--store", str(ranked), "--date")
    file.write_text("model,elo\na,3\nb,2\nc,1\n")
    assert "! The date 2999-01-01 is in the future" in run("import", "ranking", *options, "2999-01-01").stdout
    file.write_text("model,elo\na,1\nb,2\nc,3\n")
    said = run("import", "ranking", *options, "2025-01-01").stdout
    assert "! Compared is dated of 2999-01-01, imported before and newer than this file, of" in said
    assert "future" not in said


# ------------------------------------------------------------------------------------------------------------ results


def write_outputs(folder: Path, n_orphans: int) -> Path:
    """Results of a suite and of none, a broken file, and samples that belong to nothing."""
    folder.mkdir()
    stamp = "2025-02-25T11-24-57.958926"
    content = {
        "results": {"leaderboard_ifeval": {"prompt_level_strict_acc,none": 0.5, "inst_level_strict_acc,none": 0.5}},
        "versions": {"leaderboard_ifeval": 2.0},
        "n-shot": {"leaderboard_ifeval": 0},
        "n-samples": {"leaderboard_ifeval": {"original": 541, "effective": 541}},
        "config": {"model": "hf", "model_args": "pretrained=lab/model"},
    }
    (folder / f"results_{stamp}.json").write_text(json.dumps(content))
    content["results"] = {"boolq": {"acc,none": 0.5}}
    (folder / "boolq.json").write_text(json.dumps(content))
    (folder / "broken.json").write_text('{"results": {\n')
    for number in range(n_orphans):
        sample = {"doc_id": 0, "filtered_resps": ["A"], "acc": 1.0}
        (folder / f"samples_task{number:02}_{stamp}.jsonl").write_text(json.dumps(sample) + "\n")
    return folder


def test_results_are_summed_up_by_model_and_suite_and_what_is_left_out_is_listed(tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", 2)
    done = run("import", "results", str(outputs), "--store", str(tmp_path / "store"))
    assert done.returncode == 3
    assert "lab/model        2    2       3        0" in done.stdout
    assert f"skipped: {outputs}/broken.json:2: is not valid JSON" in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("has no results file of the same run") == 2
    assert "Suite leaderboard-v2: 1 evaluation, 0 with all benchmarks" in done.stdout
    assert "2 results files with 2 different contents, 2 of them new; 0 samples files; 3 skipped." in done.stdout


def test_files_that_do_not_rank_are_told_with_the_setting_and_the_sources_of_rows_are_named(tmp_path: Path) -> None:
    """A board's row, the same model greedy and sampled, a checkpoint, and a file without a model."""
    suite = load_suite("leaderboard-v2")
    tasks = [(b, name, task) for b in suite.benchmarks.values() for name, task in b.tasks.items()]
    versions = {era.name: era.task_versions for era in suite.eras}["math-verify"]
    content = {
        "results": {name: {f"{metric},none": 0.5 for metric in b.metrics} for b, name, _ in tasks},
        "versions": {name: versions.get(name, "1.0") for _, name, _ in tasks},
        "n-shot": {name: b.shots for b, name, _ in tasks},
        "n-samples": {name: {"effective": task.samples} for _, name, task in tasks},
        "chat_template": None, "date": 1742000000.0,
    }  # fmt: skip
    arguments = f"pretrained=lab/a,dtype=bfloat16,revision={'a' * 40}"
    configs = {
        "greedy": {"model": "hf", "model_args": arguments},
        "sampled": {"model": "hf", "model_args": arguments, "gen_kwargs": "temperature=0.6"},
        "step": {"model": "hf", "model_args": "pretrained=lab/a,dtype=bfloat16,revision=step7"},
        "served": {"model": "gguf", "model_args": "base_url=http://h:1"},
    }
    folder = tmp_path / "outputs"
    folder.mkdir()
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(content | {"config": config}))
    file, store = (
        write_csv(tmp_path / "board.csv", [board_row("lab/a", **{"Chat Template": False})]),
        ("--store", str(tmp_path / "store")),
    )
    assert run("import", "board", str(file), *store, "--era", "math-verify").returncode == 0
    done = run("import", "results", str(folder), *store)
    told = done.stdout + done.stderr
    assert done.returncode == 3
    assert f"imported, but not comparable: {folder}/sampled.json: temperature=0.6" in told
    assert f"skipped: {folder}/served.json: does not name the evaluated model, only its back end (got gguf)" in told
    assert "Suite leaderboard-v2: 3 evaluations, 3 with all benchmarks, 2 ranked; 1 not comparable" in told
    ranked = run("rank", *store).stdout
    assert ranked.count("lab/a") == 3
    assert "revision=step7" in ranked
    assert "several sources, so a model may have several: import:results (2 rows), import:open-llm" in ranked
    assert run("import", "results", str(folder), *store, "--model-id", "lab/served", "--supersede").returncode == 0
    rows = json.loads(run("rank", *store, "--format", "json").stdout)
    assert sorted((row["model_id"], row["settings"], row["source"]) for row in rows) == [
        ("lab/a", "", "import:results"), ("lab/a", "revision=step7", "import:results"),
        ("lab/served", "", "import:results"),
    ]  # fmt: skip


def test_the_hub_is_asked_for_the_commit_of_a_branch_if_the_user_wants_it(tmp_path: Path) -> None:
    content = {"results": {"boolq": {"acc,none": 0.5}}, "config": {"model_args": "pretrained=lab/m,revision=step1"}}
    file, store = tmp_path / "results.json", ("--store", str(tmp_path / "store"))
    file.write_text(json.dumps(content | {"date": datetime(2026, 1, 8, tzinfo=UTC).timestamp()}))
    with serve_hub() as hub:
        hub.loopback.create_repo("lab/m")
        sha = hub.loopback.commit("lab/m", {"a": b"1"}, "then", at=datetime(2026, 1, 7, tzinfo=UTC))
        hub.loopback.commit("lab/m", {"a": b"2"}, "later", at=datetime(2026, 1, 9, tzinfo=UTC))
        hub.loopback.create_branch("lab/m", "step1")
        assert run("import", "results", str(file), *store, HF_ENDPOINT=hub.url).returncode == 0
        columns = "revision, revision_name, is_revision_inferred"
        sql = ("sql", *store, "--format", "csv", f"select {columns} from imports")
        assert run(*sql).stdout.splitlines()[1:] == [",step1,"]
        assert run("import", "results", str(file), *store, "--ask-hub", HF_ENDPOINT=hub.url).returncode == 0
    assert run(*sql).stdout.splitlines()[1:] == [f"{sha},step1,true"]


def test_where_only_scores_without_a_suite_exist_rank_says_where_they_are(tmp_path: Path) -> None:
    content = {"results": {"boolq": {"acc,none": 0.5}}, "config": {"model_args": "pretrained=a/b"}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    store = ("--store", str(tmp_path / "store"))
    assert run("import", "results", str(tmp_path / "results.json"), *store).returncode == 0
    told = run("rank", *store).stderr
    assert "nothing to rank yet" in told and "task_scores" in told


def test_a_date_in_the_future_is_told(tmp_path: Path) -> None:
    content = {"results": {"boolq": {"acc,none": 0.5}}, "config": {"model_args": "pretrained=a/b"}, "date": 4e9}
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content))
    done = run("import", "results", str(file), "--store", str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    assert (
        f"imported with the present time: {file}: has an evaluation time in the future (got 2096-10-02"
        in done.stdout + done.stderr
    )


def test_many_files_of_one_folder_with_one_reason_are_one_line(tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", 30)
    options = ("import", "results", str(outputs), "--store", str(tmp_path / "store"))
    done = run(*options, COLUMNS="80")
    text = " ".join((done.stdout + done.stderr).split())
    assert text.count("has no results file of the same run") == 1
    assert "30 files, samples_task00_" in text
    assert max(map(len, done.stdout.splitlines())) <= max(80, len(f"{outputs}/broken.json:2:")), "paths are whole"
    whole = json.loads(run(*options, "--format", "json").stdout)
    assert len(whole["left_out"]) == 31
    assert [each["suite"] for each in whole["imported"]] == [None, "leaderboard-v2"]
    assert whole["suites"] == [
        {"suite": "leaderboard-v2", "n_evaluations": 1, "n_complete": 0, "n_not_comparable": 0, "n_ranked": 0}
    ]


def test_results_are_scored_by_the_suite_that_is_named(tmp_path: Path) -> None:
    outputs = write_outputs(tmp_path / "outputs", 0)
    (outputs / "broken.json").unlink()
    options = ("import", "results", str(outputs), "--store", str(tmp_path / "store"))
    done = run(*options, "--suite", "demo", "--format", "json")
    assert (done.returncode, [each["suite"] for each in json.loads(done.stdout)["imported"]]) == (0, [None, "demo"])
    unknown = run(*options, "--suite", "leaderbord-v2")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "leaderboard-v2" in unknown.stderr


def test_names_from_a_file_steer_no_terminal(tmp_path: Path) -> None:
    """Names of files need not be text either."""
    content = {"results": {"boolq": {"acc,none": 0.5}}, "config": {"model_args": "pretrained=[red]a\u001b[2Jb"}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    (tmp_path / os.fsdecode(b"bad\xff\x1b.json")).write_text("{")
    done = run("import", "results", str(tmp_path), "--store", str(tmp_path / "store"))
    assert done.returncode == 3, done.stderr
    assert "[red]a\N{REPLACEMENT CHARACTER}[2Jb" in done.stdout
    assert "\u001b[2J" not in done.stdout + done.stderr
    assert "bad?\N{REPLACEMENT CHARACTER}.json:1: is not valid JSON" in done.stdout + done.stderr
