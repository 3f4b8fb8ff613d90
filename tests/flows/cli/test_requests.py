"""The commands of people who ask: submit, queue, vote, withdraw; and the step of the nightly flow that reads files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import world
from click.testing import Result
from served_hub import ServedHub, serve_hub
from submissions import good_model
from typer.testing import CliRunner

from nightboard.flows.cli.main import app
from nightboard.flows.demo.questions import make_datasets
from nightboard.flows.display.console import Terminal
from nightboard.flows.display.requests import estimate_when
from nightboard.profiles.models.budget import Budget
from nightboard.tasks import why
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.hub.discover import Discovery
from nightboard.tasks.requests import checks
from nightboard.tasks.requests.book import read_book
from nightboard.tasks.requests.changes import UnknownRequestError
from nightboard.tasks.requests.submission import SubmissionError
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Evaluation, utc_now
from nightboard.warehouse.reader.queue import list_queue

RULES = "submissions:\n  do_not_submit: ['lab/secret*']\n  folders: [requests]\n"

Run = Callable[..., Result]


@pytest.fixture
def hub() -> Iterator[ServedHub]:
    with serve_hub() as served:
        for repo_id, files in make_datasets().items():
            served.loopback.create_repo(repo_id, "dataset")
            served.loopback.commit(repo_id, files, "Add the questions", kind="dataset")
        served.add("lab/good", good_model())
        yield served


@pytest.fixture
def run(hub: ServedHub, tmp_path: Path) -> Run:
    """Calls a command for a board over the Hub."""
    for kind, text in {
        "world": world.BOARD.format(endpoint=hub.url) + RULES, "suites/small": world.SUITE,
        "watchlists/world": world.WATCHLIST, "clusters/quick": world.CLUSTER.format(max_jobs=1),
    }.items():  # fmt: skip
        (tmp_path / kind).parent.mkdir(exist_ok=True)
        (tmp_path / f"{kind}.yaml").write_text(text)
    (tmp_path / "requests").mkdir()
    return lambda *words: CliRunner().invoke(app, [*words, "--board", str(tmp_path / "world.yaml")])


def test_a_submission_is_accepted_listed_voted_for_and_withdrawn(run: Run, tmp_path: Path) -> None:
    given = run("submit", "lab/good", "--user", "ada", "--reason", "It is new.")
    request_id = given.output.split()[1]
    assert given.output.startswith(f"accepted  {request_id}  lab/good@") and given.exit_code == 0
    assert "The next nightly run evaluates it in small." in given.output
    assert "ada asked for it at" in run("submit", "lab/good").output, "asked twice, it is one request"
    run("submit", "lab/good", "--precision", "float16", "--priority", "1", "--user", "bob")
    assert run("vote", request_id, "--user", "eve").output == f"voted  {request_id}  lab/good\n"
    assert "has your vote already" in run("vote", request_id, "--user", "eve").output
    rows = json.loads(run("queue", "--format", "json").output)
    assert [(row["asked_by"], row["priority"], row["votes"]) for row in rows] == [("bob", 1, 0), ("ada", 0, 1)]
    shown = " ".join(run("queue").output.split())
    assert "2 open requests: planned by priority, then votes, then age." in shown
    assert "float16" in shown, "what tells two requests for one model apart"
    rows = json.loads(run("queue", "--format", "json", "--top", "1").output)
    (row,) = rows
    assert (row["place"], row["precision"], row["asked_by"], row["votes"]) == (1, "float16", "bob", 0)
    assert "The first 1 of 2; --top N shows more" in run("queue", "--top", "1").output
    ended = run("withdraw", request_id, "--reason", "a mistake")
    assert ended.output == f"withdrawn  {request_id}  lab/good.\n"
    assert "1 open request:" in run("queue").output
    assert isinstance(run("withdraw", request_id).exception, UnknownRequestError)
    entry = next(e for key, e in read_book(Store(tmp_path / "store")).items() if key.startswith(request_id))
    assert (entry.request.reason, entry.event.reason, entry.event.state) == ("It is new.", "a mistake", "withdrawn")


def test_a_submission_says_what_is_scored_already_its_place_and_how_to_ask_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = Evaluation(
        evaluation_id="e1", suite="small", suite_version="v1", model_id="lab/good", revision="1a2b3c4d" * 5,
        fingerprint="f", precision="float16", chat_template=False, fewshot_as_multiturn=False, harness_version="0.4.13",
    )  # fmt: skip
    row = {"evaluation_id": "e1", "rank": 3, "n_ranked": 12, "era": "math-verify", "average": 45.234}
    monkeypatch.setattr(checks, "find_scored", lambda *_: {"small": scored})
    given = run("submit", "lab/good", "--precision", "float16")
    assert "The next nightly run" not in given.output
    assert "small has it already, as lab/good@1a2b3c4: not ranked." in given.output, "before it is in a build"
    monkeypatch.setattr(why, "ask_warehouse", lambda *_: [row])
    given = run("submit", "lab/good", "--precision", "float16", "--revision", "main", "--suite", "small")
    said = " ".join(given.output.split())
    assert "small has it already, as lab/good@1a2b3c4: rank 3 of 12 in era math-verify, average 45.23." in said
    assert "To evaluate it again, beside that score: nightboard backfill --board " in said
    assert said.endswith(" --select model:lab/good,revision:1a2b3c4,suite:small,precision:float16 --replicate")


def test_a_mistake_in_a_selection_is_told_before_the_hub_is_asked(run: Run, hub: ServedHub) -> None:
    given = run("backfill", "--select", "modell:Qwen/*", "--dry-run")
    assert "Did you mean model?" in str(given.exception)
    assert hub.loopback.requests == []


def test_a_rejection_lists_all_findings(run: Run, hub: ServedHub) -> None:
    hub.add("lab/secret-1", good_model(2, about=""))
    given = run("submit", "lab/secret-1", "--weights", "delta", "--suite", "tiny")
    assert given.exit_code == 1
    assert given.output.startswith("rejected  ")
    assert [line[:18] for line in given.output.splitlines() if line.startswith("- ")] == [
        "- the board has no", "- delta weights ar", "- lab/secret-1 is ", "- the model card h",
    ]  # fmt: skip
    assert json.loads(run("queue", "--format", "json").output) == [], "what was rejected does not wait"


@pytest.mark.parametrize(
    "words", [["submit"], ["submit", "lab/a", "--from", "x"], ["submit", "lab/a", "--weights", "x"]]
)
def test_wrong_usage_is_named(run: Run, words: list[str]) -> None:
    given = run(*words)
    assert (given.exit_code, "Usage:" in given.output) == (2, True)


def test_what_is_no_name_is_refused_before_anything_is_asked(run: Run, hub: ServedHub) -> None:
    given = run("submit", "../etc")
    assert isinstance(given.exception, SubmissionError) and "is not a name on the Hub" in str(given.exception)
    given = run("submit", "--from", "no/such/folder")
    assert (given.exit_code, "no such folder, and no dataset's name (got no/such/folder)" in given.output) == (2, True)
    assert not hub.loopback.requests


def test_a_folder_of_files_is_submitted_by_hand(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.json").write_text('{"model": "lab/good", "status": "PENDING"}')
    given = run("submit", "--from", str(folder))
    assert (given.exit_code, given.output) == (0, "Requests: 1 new file: 1 accepted.\n")
    (folder / "b.json").write_text("{")
    given = run("submit", "--from", str(folder))
    assert given.exit_code == 3 and "b.json: not a request: invalid JSON" in " ".join(given.output.split())


def test_the_nightly_step_reads_what_the_board_declares(run: Run, tmp_path: Path, capsys: Any) -> None:
    from nightboard.flows.nightly import read_requests

    opened = OpenBoard.open(str(tmp_path / "world.yaml"))
    problems: list[str] = []
    flow: Any = SimpleNamespace(board=opened, ui=Terminal(), report_problems=problems.extend)
    suites, _ = opened.resolve_suites(dry_run=True)
    read_requests.fn(flow, suites)
    assert capsys.readouterr().out == "", "nothing new, nothing said"
    (tmp_path / "requests" / "a.json").write_text('{"model": "lab/good", "status": "PENDING"}')
    (tmp_path / "requests" / "b.json").write_text('{"model": "lab/good"}')
    read_requests.fn(flow, suites)
    said = capsys.readouterr().out
    assert said.startswith("Requests: 2 new files: 1 accepted, 1 unusable.\n!")
    assert "b.json: not a request: status is missing. Correct the file." in said
    assert not problems, "what others write does not fail the run"
    assert [entry.state for entry in opened.read_requests()] == ["accepted"]


def test_what_a_run_has_not_got_to_is_left_to_the_next_one_and_not_now(run: Run, tmp_path: Path) -> None:
    from nightboard.flows.nightly import record_requests

    run("submit", "lab/good")
    opened = OpenBoard.open(str(tmp_path / "world.yaml"))
    suites, _ = opened.resolve_suites(dry_run=True)
    plan = opened.plan(Discovery(), suites, utc_now())
    assert [target.state for target in plan.targets] == ["planned"]
    opened.record_requests(plan, "nightly", plan.created_at)
    flow: Any = SimpleNamespace(board=opened)
    record_requests(flow, plan, lambda: plan)
    (row,) = json.loads(run("queue", "--format", "json").output)
    assert (row["state"], row["waits_for"]) == ("accepted", "the next nightly run")


@pytest.mark.parametrize(
    ("kind", "state", "hours", "budget", "expected"),
    [
        ("submission", "running", 5.0, {}, "now"),
        ("submission", "accepted", None, {}, "next run"),
        ("submission", "accepted", 5.0, {"gpu_hours_per_night": 20}, "next night"),
        ("submission", "accepted", 13.0, {"gpu_hours_per_night": 20}, "~3 nights"),
        ("backfill", "accepted", 13.0, {"gpu_hours_per_night": 20}, "~4 nights"),
        ("backfill", "accepted", 1.0, {"gpu_hours_per_night": 20, "shares": {"backfills": 0}}, "in spare time"),
        ("backfill", "accepted", 1.0, {"gpu_hours_per_night": 0}, "never: the budget is 0"),
        ("backfill", "pending", None, {"gpu_hours_per_night": 20}, ""),
    ],
)
def test_the_queue_says_roughly_when(
    kind: str, state: str, hours: float | None, budget: dict[str, object], expected: str
) -> None:
    row = {"kind": kind, "state": state, "gpu_hours_until": hours}
    assert estimate_when(row, Budget.model_validate(budget)) == expected


def test_the_queue_of_an_empty_or_damaged_store_is_one_sentence(run: Run, tmp_path: Path) -> None:
    assert run("queue").output.startswith("No requests are open."), "a board may have no store yet"
    alone = CliRunner().invoke(app, ["queue", "--store", str(tmp_path / "none")])
    assert "is not a store" in str(alone.exception)
    (tmp_path / "store/lake/requests").mkdir(parents=True)
    assert run("queue").output == "No requests are open. `nightboard submit` asks for an evaluation.\n"
    (tmp_path / "store/lake/requests/a.parquet").write_bytes(b"x")
    assert "a.parquet: is damaged" in str(run("queue").exception)


def test_the_queue_needs_no_build_and_two_boards_do_not_mix(run: Run, tmp_path: Path) -> None:
    run("submit", "lab/good")
    result, n_open = list_queue(tmp_path / "store/lake", "other")
    assert (result.rows, n_open) == ([], 0)
    assert list_queue(tmp_path / "store/lake")[1] == 1
