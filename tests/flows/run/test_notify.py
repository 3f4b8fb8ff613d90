"""People are told of failures over HTTP, each cause once, and no night fails because nobody can be told."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import NOW
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem
from rich.console import Console
from webhook import Webhook, serve_webhook

from nightboard.flows.display.console import Terminal
from nightboard.flows.prefect_server.server import OwnServer
from nightboard.flows.run.notify import (
    MOST_CAUSES,
    Cause,
    list_causes,
    list_collected_causes,
    notify,
    notify_of_error,
)
from nightboard.flows.run.report import RunReport
from nightboard.flows.run.state import RunState
from nightboard.profiles.models.cluster import Cluster
from nightboard.tasks.planning.result import Plan, Skip
from nightboard.tasks.runs.collect import Collected
from nightboard.tasks.store.layout import Store

CLUSTER = Cluster.model_validate({"cluster": "c", "executor": "local", "tiers": [{"name": "a", "up_to_params_b": 1}]})
FULL, LOST = Cause("failed: disk N", "failed: disk 7"), Cause("problem: gone", "The dataset is gone.")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with serve_webhook() as served:
        monkeypatch.setenv("OPS_WEBHOOK", served.url)
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def make_run(store: Store, *places: str) -> tuple[RunState, Console]:
    lines = Console(file=io.StringIO(), record=True, width=300)
    board = SimpleNamespace(board="mine", notify=places)
    bundle = SimpleNamespace(board=board, path=None, cluster=CLUSTER)
    return RunState(SimpleNamespace(bundle=bundle, store=store), Terminal(lines)), lines  # type: ignore[arg-type]


def tell(store: Store, *causes: Cause, is_night: bool = True, places: tuple[str, ...] = ("env/OPS_WEBHOOK",)) -> str:
    """What a run with these causes prints."""
    run, lines = make_run(store, *places)
    notify(run, causes, is_night=is_night)
    return lines.export_text()


def texts(hook: Webhook) -> list[str]:
    return [str(body["text"]) for body in hook.bodies]


def attempt(model: str, state: str = "failed", reason: str = "no weights") -> Collected:
    return Collected(
        evaluation_id=model, shard="all", attempt=1, suite="s", model_id=model, revision="1" * 40, state=state,
        reason=reason, log="/log", has_started=True, is_scored=state == "completed",
    )  # fmt: skip


def give_up(model: str, reason: str) -> Skip:
    return Skip(model_id=model, revision="1" * 40, suite="s", kind="gave_up", reason=reason)


# ------------------------------------------------------------------------------------------------------------- causes


def test_what_went_wrong_in_one_way_is_one_cause(store: Store) -> None:
    report = RunReport(
        board="mine", started_at=NOW, ended_at=NOW, new_commits=(), in_flight=(), not_started=(),
        plan=Plan(board="mine", created_at=NOW, evaluations=(), jobs=(), skipped=(), gpu_hours=0, estimate_s=0),
        collected=(attempt("lab/a", reason="node 1"), attempt("lab/b", reason="node 2"), attempt("lab/c", "completed")),
        problems=("Suite s: 3 tries", "Suite s: 4 tries"),
        given_up=(give_up("lab/x", "gave up after 2 tries"), give_up("lab/y", "gave up after 3 tries")),
    )  # fmt: skip
    assert list_causes(report) == [
        Cause("failed: node N", "failed: lab/a@1111111 on s, and 1 other (lab/b): node 1"),
        Cause("given up: gave up after N tries", "given up: gave up after 2 tries (lab/x, lab/y)"),
        Cause("problem: Suite s: N tries", "Suite s: 3 tries"),
    ]


def test_a_run_that_only_collects_leaves_out_what_the_next_run_tries_again_by_itself(store: Store) -> None:
    run, _ = make_run(store)
    run.collected = [attempt("lab/a"), attempt("lab/b", "preempted"), attempt("lab/c", "completed")]
    run.problems = ["Odd."]
    assert [cause.key for cause in list_collected_causes(run)] == ["failed: no weights", "problem: Odd."]


# -------------------------------------------------------------------------------------------------------------- once


def test_a_cause_is_told_once_until_a_night_was_without_it(store: Store, hook: Webhook) -> None:
    tell(store, FULL)
    tell(store, FULL, LOST)
    tell(store, FULL, LOST)
    told = texts(hook)
    assert ["disk 7" in text for text in told] == [True, False]
    assert told[1].splitlines() == [
        "nightboard mine: 1 new cause of failures",
        "- The dataset is gone.",
        'Reasons and logs: nightboard sql --board mine "from failures"',
    ]
    tell(store, LOST)
    tell(store, FULL, LOST)
    assert ["disk 7" in text for text in texts(hook)] == [True, False, True]


def test_runs_that_see_a_part_of_the_board_forget_nothing(store: Store, hook: Webhook) -> None:
    tell(store, FULL, is_night=False)
    tell(store, is_night=False)
    tell(store, FULL, is_night=False)
    tell(store, FULL)
    assert len(hook.bodies) == 1


def test_what_could_not_be_sent_is_a_warning_without_the_address_and_sent_next_time(
    store: Store, hook: Webhook
) -> None:
    hook.status = 404
    said = tell(store, FULL)
    assert said == "! notify: env/OPS_WEBHOOK: the webhook answered 404. Check its address\n"
    hook.status = 200
    tell(store, FULL)
    assert len(hook.bodies) == 1


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (None, "the environment variable is not set. Set it to the address of a webhook"),
        ("http://127.0.0.1:9/secret", "it could not be sent (ConnectError). Check its address, "),
        ("no address", "it could not be sent (UnsupportedProtocol). "),
        ("http://secret:port", "it could not be sent (InvalidURL). "),
    ],
)
def test_an_address_that_is_no_good_fails_nothing(
    store: Store, address: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address:
        monkeypatch.setenv("OPS_WEBHOOK", address)
    said = tell(store, FULL)
    assert f"! notify: env/OPS_WEBHOOK: {says}" in said
    assert "secret" not in said


def test_one_place_that_takes_it_is_enough(store: Store, hook: Webhook) -> None:
    places = ("env/UNSET", "env/OPS_WEBHOOK")
    assert "env/UNSET" in tell(store, FULL, places=places)
    assert tell(store, FULL, places=places) == ""
    assert len(hook.bodies) == 1


def test_a_long_list_of_causes_is_cut(store: Store, hook: Webhook) -> None:
    tell(store, *(Cause(f"failed: {number}", f"cause {number}") for number in range(MOST_CAUSES + 5)))
    [text] = texts(hook)
    assert text.startswith("nightboard mine: 25 new causes of failures\n- cause 0\n")
    assert f"- cause {MOST_CAUSES - 1}\n- and 5 more\n" in text


def test_an_error_that_ends_the_run_is_told_and_goes_on(store: Store, hook: Webhook) -> None:
    run, _ = make_run(store, "env/OPS_WEBHOOK")
    for _ in range(2):
        with pytest.raises(ValueError, match="no answer"), notify_of_error(run):
            raise ValueError("no answer")
    [text] = texts(hook)
    assert "- The run stopped: no answer\n" in text


def test_without_a_place_nothing_is_written_and_a_damaged_record_is_started_again(store: Store, hook: Webhook) -> None:
    tell(store, FULL, places=())
    tell(store)
    assert not store.notified_file("mine").exists()
    store.notified_file("mine").parent.mkdir()
    store.notified_file("mine").write_text("{")
    assert "All causes are told again." in tell(store, FULL)
    assert tell(store, FULL) == ""
    assert len(hook.bodies) == 1


# ------------------------------------------------------------------------------------------------------------- blocks


def test_a_block_needs_a_configured_server(store: Store) -> None:
    said = tell(store, FULL, places=("slack-webhook/ops",))
    assert said.startswith("! notify: slack-webhook/ops: no Prefect server is configured that has the block. Set ")


@pytest.mark.real
def test_prefects_own_blocks_are_loaded_and_notify(
    store: Store, hook: Webhook, monkeypatch: pytest.MonkeyPatch, state_dir: Path
) -> None:
    from prefect.context import refresh_global_settings_context

    own = OwnServer(state_dir)
    own.open_client()
    monkeypatch.setenv("PREFECT_API_URL", str(own.url))
    refresh_global_settings_context()
    data = {"text": "{{subject}}\n{{body}}"}
    CustomWebhookNotificationBlock(name="ops", url=hook.url, json_data=data).save("ops")
    Secret(value=hook.url).save("hook")
    LocalFileSystem().save("other")
    names = ("custom-webhook/ops", "secret/hook", "custom-webhook/none", "local-file-system/other")
    said = tell(store, FULL, places=names)
    own.stop()
    expected = "nightboard mine: 1 new cause of failures\n- failed: disk 7\nReasons and logs: "
    assert [text.startswith(expected) for text in texts(hook)] == [True, True]
    assert said.splitlines() == [
        "! notify: custom-webhook/none: the Prefect server has no such block. Create it, or correct the name",
        "! notify: local-file-system/other: is neither a notification block nor a secret. Name another one",
    ]
