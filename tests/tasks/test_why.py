"""Why a model is where it is: what the plan, the open attempts and the tables say, with what changes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from builders import NOW, make_commit
from fake_cluster import FakeExecutor
from make_lake import Lake

from nightboard.profiles.declared_rows import suite_rows
from nightboard.profiles.loading.load import BoardBundle, load_board, load_suite
from nightboard.tasks import why
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.cluster.executor import JobReport
from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.hub.discover import Discovery
from nightboard.tasks.requests.backfill import BackfillOrder
from nightboard.tasks.requests.book import add_events, add_requests
from nightboard.tasks.runs.launch import Launcher
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.files import claim_file, write_bytes
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import (
    AttemptOwner,
    Commit,
    DatasetPin,
    Outcome,
    Progress,
    Request,
    RequestEvent,
    RequestTarget,
    as_row,
)
from nightboard.tasks.store.tables import append_rows
from nightboard.tasks.why import Known, Why, WhyError, explain_in_store, explain_on_board, find_heads, find_name
from nightboard.warehouse.builder.build import build
from nightboard.warehouse.reader.connection import QueryError
from nightboard.warehouse.schema.lake_tables import COMMITS, MODELS

BOARD = "board: mine\ntitle: Mine\nwatch: few\nsuites: [small, other]\ncluster: here\nstore: ./store\n"
WATCH = """\
watchlist: few
organizations: [lab]
include: [lab/*]
exclude: ["*-GGUF"]
max_params_b: 3
models:
  - far/away
  - id: lab/steps
    branches: [step*]
rules:
  - match: "*"
    suites: [small]
"""
SUITE = "suite: {}\ntitle: S\nextends: leaderboard-v2\nonly: [musr]\nlimit: 2\n"
CLUSTER = "cluster: here\nexecutor: local\ntiers:\n  - {name: all, up_to_params_b: 2}\n"
COMMIT = "1" * 40


@dataclass
class Board:
    """A board of one's own, whose store has commits; its other suite is for no model."""

    folder: Path
    executor: FakeExecutor

    @property
    def path(self) -> str:
        return str(self.folder / "mine.yaml")

    @property
    def bundle(self) -> BoardBundle:
        return load_board(self.path)

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def know(self, *commits: Commit) -> None:
        append_rows(self.store, COMMITS, [as_row(commit) for commit in commits])

    def launch(self) -> str:
        """The first evaluation of the plan, launched; its id."""
        known, bundle = Known.read(self.store), self.bundle
        plan = why.plan_known(known, bundle, find_heads(bundle.watch, known.commits), NOW)
        suites = [why.resolve_known(known, suite) for suite in bundle.suites.values()]
        Launcher(
            store=self.store, board="mine", cluster=bundle.cluster, executor=self.executor,
            evaluations={each.evaluation_id: each for each in plan.evaluations},
            suites={each.version: each for each in suites},
            shards={each.evaluation_id: each for each in plan.shards},
        ).launch(plan.jobs, NOW)  # fmt: skip
        return plan.evaluations[0].evaluation_id

    def fail(self, evaluation_id: str, attempt: int, state: str = "failed") -> None:
        folder = self.store.attempt_dir(evaluation_id, "all", attempt)
        (folder / "log.txt").write_text("one\ntwo\n")
        told = {"state": state, "reason": "CUDA error", "log_tail": ("one", "two")}
        outcome = Outcome.model_validate(told | {"started_at": NOW, "ended_at": NOW})
        (folder / "outcome.json").write_bytes(outcome.to_bytes())
        reconcile(self.store, self.executor, NOW)

    def ask(self, name: str) -> list[Why]:
        """What is said of a model in the suite that is for it."""
        known, bundle = Known.read(self.store), self.bundle
        model = find_name(name, known, bundle)
        whys = explain_on_board(known.about(model, None, NOW), bundle, self.path, model, NOW)
        return [each for each in whys if each.suite == "small"]

    def ask_one(self, name: str) -> Why:
        (only,) = self.ask(name)
        return only


@pytest.fixture
def board(tmp_path: Path) -> Board:
    files = {"mine": BOARD, "watchlists/few": WATCH, "clusters/here": CLUSTER}
    files |= {f"suites/{name}": SUITE.format(name) for name in ("small", "other")}
    for name, text in files.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    made = Board(tmp_path, FakeExecutor())
    pin = DatasetPin(dataset_id="TAUR-Lab/MuSR", sha="a" * 40)
    made.store.pins.mkdir(parents=True)
    write_bytes(made.store.pin_file(pin.dataset_id), pin.to_bytes())
    return made


def test_a_model_that_is_not_followed_is_told_the_rule_and_the_line_to_edit(board: Board) -> None:
    board.know(make_commit("lab/a"), make_commit("xx/b"))
    file = board.folder / "watchlists/few.yaml"
    for name, reason, do in (
        ("lab/a-GGUF", "the watch list excludes it by the pattern *-GGUF", f"Change the pattern in {file}:4."),
        ("xx/b", "the watch list few does not follow it", f"Add `- xx/b` below models: in {file}:6."),
        ("lap/a", "the watch list few does not follow it; similar names that it follows: lab/a", None),
    ):
        told = board.ask_one(name)
        assert (told.state, told.reason) == ("left out", reason)
        assert do in (None, told.do)
    (board.folder / "watchlists/few.yaml").write_text(WATCH.replace("[lab/*]", "[lab/x*, lab/y]"))
    assert board.ask_one("a").reason == "no pattern of the watch list's include matches it (lab/x*, lab/y)"
    assert board.ask_one("a").do == f"Add a pattern in {file}:3."


def test_a_suite_that_is_not_for_the_model_names_the_rule(board: Board) -> None:
    board.know(make_commit("lab/a"))
    known = Known.read(board.store).about("lab/a", None, NOW)
    other = explain_on_board(known, board.bundle, board.path, "lab/a", NOW)[-1]
    assert (other.suite, other.state) == ("other", "left out")
    assert other.reason == "the watch list runs only small for it"
    assert other.do == f"Add other in {board.folder / 'watchlists/few.yaml'}:12."


@pytest.mark.parametrize(
    ("changes", "reason", "do"),
    [
        ({"params_b": 9.0}, "the watch list takes up to 3B", "Raise max_params_b in {}/watchlists/few.yaml:5."),
        ({"params_b": 2.5}, "the cluster's largest tier takes 4 GB", "Add a larger tier in {}/clusters/here.yaml:3."),
        (
            {"needs_remote_code": True},
            "trust_remote_code is off",
            "If you trust its code, set trust_remote_code: true in {}/watchlists/few.yaml:1.",
        ),
        (
            {"state": "rejected", "reason": "no safetensors", "fingerprint": None},
            "no safetensors",
            "Each run looks at new commits of the model, and again at this one where access or code is refused.",
        ),
    ],
)
def test_a_commit_that_the_plan_leaves_out_has_its_reason_and_what_changes_it(
    board: Board, changes: dict[str, object], reason: str, do: str
) -> None:
    board.know(make_commit("lab/a", **changes))
    told = board.ask_one("a")
    assert (told.state, told.revision) == ("left out", COMMIT)
    assert reason in told.reason
    assert told.do == do.format(board.folder)


def test_a_template_that_is_asked_for_and_missing_names_the_key(board: Board) -> None:
    board.know(make_commit("lab/a"))
    (board.folder / "watchlists/few.yaml").write_text(WATCH.replace("max_params_b: 3", "chat_template: always"))
    told = board.ask_one("lab/a")
    assert "the watch list asks for one" in told.reason
    assert told.do == f"Set chat_template: auto for it in {board.folder / 'watchlists/few.yaml'}:5."


def test_a_model_waits_for_the_next_run_or_to_be_seen(board: Board) -> None:
    board.know(make_commit("lab/a"))
    told = board.ask_one("lab/a")
    assert (told.state, told.reason) == ("waits", "the next run evaluates it")
    assert told.do == f"nightboard nightly --board {board.path}"
    unseen = board.ask_one("far/away")
    assert (unseen.state, unseen.do) == ("waits", f"nightboard plan --board {board.path}")
    assert unseen.reason.startswith("no run has seen it on the Hub yet")
    state = {"model_id": "far/away", "organization": "far", "state": "deleted", "observed_at": NOW}
    append_rows(board.store, MODELS, [state])
    assert board.ask_one("far/away").reason.endswith("the Hub has it as deleted")


def test_what_waits_for_the_budget_is_told_as_the_whole_plan_has_it(board: Board) -> None:
    board.know(make_commit("lab/a"), make_commit("lab/b", committed_at=NOW + timedelta(minutes=1)))
    Path(board.path).write_text(BOARD + "budget: {gpu_hours_per_night: 0.01}\n")
    told = board.ask_one("lab/b")
    assert (told.state, told.reason.partition(":")[0]) == ("waits", "waits for budget"), told
    assert board.ask_one("lab/a").reason == "the next run evaluates it", "the first one of a night may be larger"


def test_the_newest_commit_of_each_followed_branch_counts(board: Board) -> None:
    later = NOW + timedelta(hours=1)
    board.know(make_commit("lab/a"), make_commit("lab/a", "2", discovered_at=later))
    assert board.ask_one("lab/a").revision == "2" * 40
    board.know(*(make_commit("lab/steps", number, ref=f"step{number}") for number in "34"))
    board.know(make_commit("lab/steps", "5", ref="main"))
    assert [each.revision for each in board.ask("steps")] == ["3" * 40, "4" * 40]


def test_an_evaluation_that_runs_or_waits_names_its_job(board: Board) -> None:
    board.know(make_commit("lab/a"), make_commit("copy/a", fingerprint="lab/a:1"))
    evaluation_id = board.launch()
    report = JobReport("PENDING", is_over=False, reason="is held (Held)", waits_for="Held", advice="Release it.")
    waiting = ask_cluster(board, report)
    assert (waiting.state, waiting.reason, waiting.do) == ("waits", "job 1_0: is held (Held)", "Release it.")
    folder = board.store.attempt_dir(evaluation_id, "all", 1)
    owner = AttemptOwner(kind="job", process=current_process(), job_id="1_0", at=NOW)
    assert claim_file(folder / "owner.1.json", owner.to_bytes())
    (folder / "progress.json").write_bytes(Progress(benchmark="musr", finished=(), total=1, at=NOW).to_bytes())
    running = ask_cluster(board, JobReport("RUNNING", is_over=False))
    assert (running.state, running.reason, running.benchmark) == ("runs", "job 1_0: musr (1 of 1)", "musr")
    assert running.left_s and running.evaluation_id == evaluation_id
    outcome = Outcome(state="failed", reason="no", started_at=NOW, ended_at=NOW)
    (folder / "outcome.json").write_bytes(outcome.to_bytes())
    ended = ask_cluster(board, JobReport("RUNNING", is_over=False))
    assert (ended.state, ended.do) == ("waits", f"nightboard collect --board {board.path}")


def ask_cluster(board: Board, report: JobReport | None) -> Why:
    board.executor.report = report
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(why, "open_executor", lambda name: board.executor)
        known, bundle = Known.read(board.store).about("lab/a", "local", NOW), board.bundle
        return explain_on_board(known, bundle, board.path, "lab/a", NOW)[0]


def test_a_failure_has_its_ending_and_log_and_gave_up_the_command_to_retry(board: Board) -> None:
    board.know(make_commit("lab/a"))
    evaluation_id = board.launch()
    board.fail(evaluation_id, 1)
    again = board.ask_one("lab/a")
    assert again.state == "waits"
    assert again.reason == "the next run tries it again; the last attempt ended as failed: CUDA error"
    assert again.do == f"nightboard nightly --board {board.path}"
    assert board.launch() == evaluation_id
    board.fail(evaluation_id, 2)
    failed = board.ask_one("lab/a")
    assert (failed.state, failed.ending, failed.at) == ("failed", "failed", NOW)
    assert failed.reason == "gave up after 2 failed attempts: CUDA error"
    assert failed.do == f"nightboard retry --board {board.path} lab/a"
    assert failed.log == str(board.store.attempt_dir(evaluation_id, "all", 2) / "log.txt")
    assert failed.log_tail == ("one", "two")
    (in_store,) = explain_in_store(Known.read(board.store).about("lab/a", None, NOW), "lab/a")
    assert (in_store.state, in_store.ending, in_store.do) == ("failed", "failed", None)


def test_a_backfill_is_planned_with_what_it_lets_run_again(board: Board) -> None:
    board.know(make_commit("lab/a"))
    evaluation_id = board.launch()
    board.fail(evaluation_id, 1, "cancelled")
    opened = OpenBoard.open(board.path, None, pytest.fail)
    suites = [why.resolve_known(Known.read(board.store), opened.bundle.suites["small"])]
    found, _ = opened.make_backfill(BackfillOrder("state:failed"), suites, "ada", NOW)
    shown = opened.plan_backfill(found, suites, NOW)
    assert [each.evaluation_id for each in shown.evaluations] == [evaluation_id], "what is shown, and asked about"
    assert shown.device_hours > 0
    assert not opened.plan(Discovery(), suites, NOW, requests=[found.entry]).evaluations, "nothing is written yet"
    opened.accept_backfill(found)
    assert opened.plan_backfill(replace(found, is_known=True), suites, NOW).evaluations == shown.evaluations


def test_a_dataset_that_could_not_be_had_is_why_a_benchmark_is_left_out(board: Board) -> None:
    board.know(make_commit("lab/a"))
    board.store.pin_file("TAUR-Lab/MuSR").unlink()
    told = board.ask_one("lab/a")
    assert (told.state, told.benchmarks) == ("left out", ("musr",))
    assert told.reason == "its dataset has no commit yet: the next run asks the Hub"


def test_a_scored_model_has_its_rank_and_what_is_missing_of_it(board: Board) -> None:
    known = Known.read(board.store)
    resolved = why.resolve_known(known, load_suite(board.folder / "suites/small.yaml"))
    rows = suite_rows(resolved.suite, resolved.version, NOW)
    lake = Lake()
    lake.suite(rows, suite="small", version=resolved.version)
    for name, score in {"lab/a": 0.9, "xx/b": 0.5}.items():
        lake.done(f"e {name}", name, COMMIT, scores=score, tasks=rows, suite_version=resolved.version)
        board.know(make_commit(name, fingerprint=f"{name}@{COMMIT}"))
    board.know(make_commit("lab/late", fingerprint=f"lab/late@{COMMIT}"))
    build(lake.write(board.store.lake), board.store.warehouse, NOW)
    scored = board.ask_one("lab/a")
    assert (scored.state, scored.rank, scored.evaluation_id) == ("scored", 1, "e lab/a")
    assert scored.reason.startswith("rank 1 of 2 in era ") and scored.average and scored.at and scored.do is None
    (rank, left_out) = board.ask("xx/b")
    assert (rank.rank, left_out.state) == (2, "left out"), "what is not watched any more is in the store"
    lake.done("late", "lab/late", COMMIT, tasks=rows, suite_version=resolved.version)
    lake.write(board.store.lake)
    late = board.ask_one("lab/late")
    assert (late.state, late.do) == ("scored", f"nightboard rebuild --board {board.path}")
    assert "the warehouse is older than the score" in late.reason
    (in_store,) = explain_in_store(Known.read(board.store).about("xx/b", None, NOW), "xx/b")
    assert (in_store.state, in_store.rank) == ("scored", 2)


def test_a_name_is_a_unique_ending_or_a_whole_id(board: Board) -> None:
    board.know(make_commit("lab/strong"), make_commit("xx/weak"), make_commit("yy/weak"))
    known, bundle = Known.read(board.store), board.bundle
    assert find_name("rong", known, None) == "lab/strong"
    assert find_name("Lab/Strong", known, None) == "lab/strong"
    assert find_name("away", known, bundle) == "far/away"
    assert find_name("ab/strong", known, bundle) == "ab/strong", "a whole id is never taken for an ending"
    with pytest.raises(QueryError, match="weak matches 2 models"):
        find_name("weak", known, None)
    request = Request(
        request_id="ab12" * 8, board="mine", kind="submission", asked_by="ada", asked_at=NOW, model_id="yy/weak"
    )
    add_requests(board.store, [request])
    assert find_name("ab12", known, None) == "yy/weak", "the id of a request, as `queue` shows it"
    with pytest.raises(WhyError, match=r"no model of the store or the watch list has this name.* Similar: lab/strong"):
        find_name("stronk", known, bundle)
    with pytest.raises(WhyError, match=r" Similar: lab/strong\."):
        find_name("stro", known, None)
    for odd in ("../x", "a/b/c", "", "lab/\x1b"):
        with pytest.raises(WhyError):
            find_name(odd, known, bundle)


def ask_for(
    board: Board, commit: Commit, kind: str, state: str, reason: str | None = None, suites: tuple[str, ...] = ()
) -> None:
    request = Request.model_validate(
        {"request_id": "r" * 32, "board": "mine", "kind": kind, "asked_by": "ada", "asked_at": NOW}
        | {"suites": suites}
        | ({"model_id": commit.model_id, "revision": commit.revision} if kind == "submission" else {})
    )
    target = RequestTarget(
        request_id=request.request_id, model_id=commit.model_id, revision=commit.revision, suite="small", mode="missing"
    )
    add_requests(board.store, [request], [target])
    event = {"request_id": request.request_id, "changed_at": NOW, "state": state, "changed_by": "ada", "reason": reason}
    add_events(board.store, [RequestEvent.model_validate(event)])


def test_a_model_that_is_not_watched_and_asked_for_is_where_its_request_is(board: Board) -> None:
    commit = make_commit("xx/b")
    board.know(commit)
    ask_for(board, commit, "submission", "accepted")
    told = board.ask_one("xx/b")
    assert (told.state, told.reason, told.revision) == ("waits", "the next run evaluates it", COMMIT)
    ask_for(board, commit, "submission", "done")
    assert board.ask("xx/b") == [], "what was submitted is not left out; its scores are told from the build"
    ask_for(board, commit, "submission", "rejected", "no license\nno card")
    rejected, unwatched = board.ask("xx/b")
    assert (rejected.state, rejected.reason) == (
        "left out",
        "submission rrrrrrrr by ada is rejected: no license\nno card",
    )
    assert unwatched.reason.startswith("the watch list few does not follow it")
    ask_for(board, commit, "submission", "pending")
    assert [each.state for each in board.ask("xx/b")] == ["waits", "left out"]


@pytest.mark.parametrize(("suite", "told"), [("small", 1), ("other", 0), ("none of the board", 1)])
def test_a_rejected_request_is_told_in_the_suites_that_it_is_for(board: Board, suite: str, told: int) -> None:
    commit = make_commit("xx/b")
    board.know(commit)
    ask_for(board, commit, "submission", "rejected", "no license", suites=(suite,))
    assert sum("is rejected" in each.reason for each in board.ask("xx/b")) == told


def test_past_commits_of_a_backfill_are_no_heads_and_are_told_while_they_are_asked_for(board: Board) -> None:
    later = NOW + timedelta(hours=1)
    past = make_commit("lab/a", "0", committed_at=NOW - timedelta(days=9), discovered_at=later)
    board.know(make_commit("lab/a"), past)
    assert [each.revision for each in board.ask("lab/a")] == [COMMIT]
    ask_for(board, past, "backfill", "accepted")
    assert [each.revision for each in board.ask("lab/a")] == [COMMIT, "0" * 40]
