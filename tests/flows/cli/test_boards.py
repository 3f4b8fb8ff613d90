"""The commands about a board: a new one, and why a model is where it is, for people and for machines."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from make_lake import START, Lake
from served_hub import make_model
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.flows.display.format_choice import Format
from nightboard.flows.display.why import print_why
from nightboard.profiles.loading.load import load_board
from nightboard.profiles.models.suite import Suite
from nightboard.tasks.evaluation.check_suite import Finding
from nightboard.tasks.why import Why
from nightboard.warehouse.builder.build import build

runner = CliRunner(env={"COLUMNS": "100"})

SINFO = "gpu*|up|1-00:00:00|38|64|1030000|gpu:h100:8(S:0-1)|idle\nold|up|infinite|1|8|16000|(null)|down*\n"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    fake.answer("sinfo", SINFO)
    monkeypatch.setenv("PATH", fake.path)
    return fake


def test_init_takes_options_and_shows_what_it_found(slurm: FakeSlurm, tmp_path: Path) -> None:
    options = ["--name", "mine", "--follow", "allenai", "--suite", "leaderboard-v2", "--where", "slurm:gpu"]
    options += ["--store", "/shared/s", "--gpus", "4", "--gpu-memory", "64", "--time-limit", "90"]
    made = runner.invoke(app, ["init", str(tmp_path / "new"), *options])
    assert made.exit_code == 0, made.output
    said = " ".join(made.output.split())
    assert "! Partition old is left out: none of its nodes is up." in said
    assert "slurm:gpu: SLURM's partition gpu, 38 nodes, up to 8 GPUs (h100) of 80 GB a node, 304 in all" in said
    assert f"Look before you run: nightboard plan --board {tmp_path}/new/mine.yaml" in said
    bundle = load_board(tmp_path / "new/mine.yaml")
    assert (bundle.store, list(bundle.suites)) == (Path("/shared/s"), ["leaderboard-v2"])
    assert [(tier.gpus, tier.time_min) for tier in bundle.cluster.tiers] == [(1, 90), (2, 90), (4, 90)]
    assert (bundle.cluster.tiers[0].up_to_params_b, bundle.cluster.max_gpus) == (12, 152)
    again = runner.invoke(app, ["init", str(tmp_path / "new"), *options])
    assert "exist already, and nothing was written" in str(again.exception)


def test_init_asks_five_questions_again_after_a_wrong_answer(slurm: FakeSlurm, tmp_path: Path) -> None:
    answers = "Not a name\nmine\nlab/one lab/two\nnone\n\nslurm:old\ncpu\n\n"
    made = runner.invoke(app, ["init", str(tmp_path / "new")], input=answers)
    assert made.exit_code == 0, made.output
    assert made.output.count("Name of the board [new]:") == 2
    assert "(got slurm:old)" in made.output and "(got none)" in made.output
    bundle = load_board(tmp_path / "new/mine.yaml")
    assert [model.id for model in bundle.watch.models] == ["lab/one", "lab/two"]
    assert (bundle.cluster.executor, list(bundle.suites)) == ("local", ["quickstart"])
    assert bundle.store == tmp_path / "new/mine-store"


def test_init_takes_what_it_would_propose(slurm: FakeSlurm, tmp_path: Path) -> None:
    assert runner.invoke(app, ["init", str(tmp_path / "My Board"), "--yes"]).exit_code == 0
    assert load_board(tmp_path / "My Board/my-board.yaml").cluster.slurm.partition == "gpu"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--yes --where gpu", "write one of slurm:gpu, cpu (got gpu)"),
        ("--yes --where cpu --gpus 2", "cpu has no GPUs"),
        ("--yes --name A", "(got A)"),
        ("--yes --follow a/b/c", "(got a/b/c)"),
    ],
)
def test_a_wrong_option_of_init_is_wrong_usage(slurm: FakeSlurm, tmp_path: Path, options: str, says: str) -> None:
    wrong = runner.invoke(app, ["init", str(tmp_path / "new"), *options.split()])
    assert wrong.exit_code == 2
    assert says in " ".join(re.sub("[│╭╰─╮╯]", "", wrong.output).split())
    assert not (tmp_path / "new").exists()


def test_answers_that_end_too_early_are_one_message(slurm: FakeSlurm, tmp_path: Path) -> None:
    ended = runner.invoke(app, ["init", str(tmp_path / "new")], input="mine\n")
    assert "no answer to: Models or organizations to follow" in str(ended.exception)
    assert not (tmp_path / "new").exists()


def test_a_new_board_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = LoopbackHub()
    hub.create_repo("lab/one")
    hub.commit("lab/one", make_model(), "Add")
    hub.create_repo("TAUR-Lab/MuSR", "dataset")
    hub.commit("TAUR-Lab/MuSR", {"README.md": b"questions"}, "Add", kind="dataset")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (
        runner.invoke(app, ["init", str(tmp_path / "new"), "--name", "mine", "--follow", "lab", "--yes"]).exit_code == 0
    )
    suites = tmp_path / "new/suites"
    suites.mkdir()
    (suites / "small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nonly: [musr]\n")
    board = tmp_path / "new/mine.yaml"
    with serve(hub) as endpoint:
        board.write_text(board.read_text().replace("[quickstart]", "[small]") + f"hub: {endpoint}\n")
        planned = runner.invoke(app, ["plan", "--board", str(board)])
    assert planned.exit_code == 0, planned.output
    assert "lab/one" in planned.output and "Plan: 1 evaluation in 1 job" in planned.output


def test_why_tells_suites_of_which_the_same_holds_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = tmp_path / "mine.yaml"
    board.write_text("board: mine\ntitle: M\nwatch: few\nsuites: [quickstart, demo]\ncluster: local\nstore: store\n")
    watch = tmp_path / "few.yaml"
    watch.write_text("watchlist: few\nmodels: [lab/small]\n")
    arguments = ["why", "--board", str(board), "lab/other"]
    shown = runner.invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == [
        "quickstart, demo: left out lab/other",
        "  the watch list few does not follow it.",
        f"  do: Add `- lab/other` below models: in {watch}:2.",
    ]
    rows = json.loads(runner.invoke(app, [*arguments, "--format", "json"]).output)
    assert [(row["suite"], row["state"]) for row in rows] == [("quickstart", "left out"), ("demo", "left out")]
    monkeypatch.chdir(tmp_path)
    assert runner.invoke(app, ["why", "lab/other"]).output.splitlines()[0] == shown.output.splitlines()[0]
    missing = runner.invoke(app, ["why", "--board", str(board), "nothing"])
    assert "no model of the store or the watch list has this name" in str(missing.exception)


def test_why_needs_no_board_where_a_store_is_named(tmp_path: Path) -> None:
    lake = Lake()
    lake.suite()
    lake.done("e0123456789", "lab/one")
    facts = {"has_chat_template": False, "needs_remote_code": False, "is_gated": False}
    lake.commit("lab/one", **facts)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    shown = runner.invoke(app, ["why", "--store", str(tmp_path), "one"])
    first, reason, score = shown.output.splitlines()
    assert first == "small: scored lab/one@r1"
    assert reason.startswith("  rank 1 of 1 in era ") and "identical" not in reason
    assert score.startswith("  average ") and "evaluation e0123456, 2026-01-01 01:00 UTC." in score
    lake.commit("copy/cat", hours=1, fingerprint="lab/one@r1", **facts)
    build(lake.write(tmp_path / "lake"), tmp_path / "warehouse", START)
    copied = " ".join(runner.invoke(app, ["why", "--store", str(tmp_path), "cat"]).output.split())
    assert ", by the evaluation of lab/one, whose files are identical. average " in copied
    empty = runner.invoke(app, ["why", "--store", str(tmp_path / "none"), "one"])
    assert "is not a store" in str(empty.exception)


def test_a_failure_shows_the_end_of_its_log_and_a_command_that_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = Why(
        "small", "failed", "gave up after 2 failed attempts: no", "lab/a", "1" * 40, ("bbh",), "e" * 32,
        at=datetime(2026, 1, 1, tzinfo=UTC), ending="failed", log="/a store/" + "long " * 40 + "log.txt",
        log_tail=tuple(map(str, range(9))), do="nightboard retry --board mine lab/a",
    )  # fmt: skip
    print_why([failed], Format.table, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small (bbh): failed lab/a@1111111"
    assert lines[2] == "  evaluation eeeeeeee, 2026-01-01 00:00 UTC."
    assert lines[3:8] == [f"  | {number}" for number in range(4, 9)]
    assert lines[8:] == [f"  log: {failed.log}", f"  do: {failed.do}"]


def test_a_long_reason_is_told_once_and_shortened_where_the_log_has_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reason = "the weights are not the model's: they lack " + ", ".join(f"layers.{n}.weight" for n in range(40))
    failed = Why(
        "small", "failed", f"gave up: {reason}", "lab/a", log="/a/log.txt",
        log_tail=("Loading ...", f"2026-01-01 ERROR {reason}", "x" * 500),
    )  # fmt: skip
    print_why([failed], Format.table, None)
    said = capsys.readouterr().out
    assert " ".join(said.split()).count("the weights are not the model's") == 1
    shown = " ".join(said.split())
    assert "| Loading ... | xxx" in shown and shown.endswith("x ... log: /a/log.txt")
    assert len(said) < 500
    print_why([failed], Format.json, None)
    assert json.loads(capsys.readouterr().out)[0]["reason"] == f"gave up: {reason}", "machines get all of it"


def test_findings_of_a_request_are_sentences_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_why([Why("small", "left out", "it is rejected: No card. (None.)\nNo license.", "lab/a")], Format.table, None)
    assert capsys.readouterr().out.splitlines()[1:] == ["  it is rejected: No card. (None.)", "  No license."]


OWN_SUITE = """\
suite: own
title: Own
harness: {version: 0.4.13}
benchmarks:
  arc:
    title: ARC
    group: arc_easy
    dataset: {id: a/b}
    shots: 0
    metrics: [acc]
    aggregate: mean
    normalize: task
    tasks: {arc_easy: {samples: 3}}
"""


def test_validate_asks_lm_eval_about_suites_of_ones_own_or_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/own.yaml").write_text(OWN_SUITE)
    (tmp_path / "suites/less.yaml").write_text("suite: less\ntitle: L\nextends: own\nlimit: 2\n")
    (tmp_path / "suites/small.yaml").write_text("suite: small\ntitle: S\nextends: quickstart\nlimit: 1\n")
    board = "board: mine\ntitle: M\nwatch: quickstart\nsuites: [{}]\ncluster: local\nstore: store\n"
    (tmp_path / "mine.yaml").write_text(board.format("less, small"))
    (tmp_path / "theirs.yaml").write_text(board.replace("mine", "theirs").format("small, demo"))
    asked: list[str] = []

    def compare(suite: Suite, count_rows: object) -> list[Finding]:
        asked.append(suite.suite)
        key = ("benchmarks", "arc", "tasks", "arc_easy", "samples")
        return [Finding(("benchmarks", "arc", "dataset"), "wrong"), Finding(key, "the number", is_unchecked=True)]

    monkeypatch.setattr("nightboard.tasks.evaluation.check_suite.compare_suite", compare)
    wrong = runner.invoke(app, ["validate", str(tmp_path / "mine.yaml"), str(tmp_path / "suites/own.yaml")])
    assert (wrong.exit_code, asked) == (1, ["own"]), "once, by the file that declares the tasks"
    assert f"{tmp_path}/suites/own.yaml:8: benchmarks.arc.dataset: wrong" in wrong.stderr
    assert "Not checked for 1 task of suite own: the number. A run does." in wrong.stderr
    for arguments, expected in (
        (["theirs.yaml"], []),
        (["mine.yaml", "--no-harness"], []),
        (["theirs.yaml", "--harness"], ["leaderboard-v2"]),
    ):
        asked.clear()
        runner.invoke(app, ["validate", str(tmp_path / arguments[0]), *arguments[1:]])
        assert asked == expected
    monkeypatch.setattr(
        "nightboard.tasks.evaluation.check_suite.compare_suite",
        lambda *_: [Finding((), "no lm-eval", is_unchecked=True)],
    )
    nothing = runner.invoke(app, ["validate", str(tmp_path / "mine.yaml")])
    assert nothing.exit_code == 0
    assert "Suite own is not compared with lm-eval: no lm-eval." in nothing.stderr
