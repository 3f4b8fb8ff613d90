"""Request files in folders, datasets and pull requests: each content is read once, and a bad one harms no other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served_hub import ServedHub
from submissions import Desk, good_model

from nightboard.flows.display.requests import describe_intake, list_unusable
from nightboard.tasks.requests import intake as module
from nightboard.tasks.requests.intake import Intake, read_request_files
from nightboard.tasks.requests.request_file import RequestFileError, parse_request_file
from nightboard.tasks.store.tables import read_table
from nightboard.warehouse.schema.request_tables import REQUEST_FILES

# The keys of the Open LLM Leaderboard's own request files.
REQUEST = {
    "model": "lab/m0", "base_model": "", "revision": "main", "precision": "bfloat16", "params": 7.24,
    "architectures": "LlamaForCausalLM", "weight_type": "Original", "status": "PENDING",
    "submitted_time": "2024-06-08T11:49:49Z", "model_type": "pretrained", "job_id": -1, "job_start_time": None,
    "use_chat_template": False, "sender": "ada",
}  # fmt: skip
DATASET = "boards/requests"


def write(**changes: Any) -> bytes:
    return json.dumps(REQUEST | changes).encode()


@pytest.fixture
def desk(hub: ServedHub, tmp_path: Path) -> Desk:
    for number in range(3):
        hub.add(f"lab/m{number}", good_model(number))
    hub.loopback.create_repo(DATASET, "dataset")
    (tmp_path / "requests").mkdir()
    return Desk(hub, tmp_path)


@pytest.fixture
def read(desk: Desk) -> Callable[[], Intake]:
    folder = desk.root / "requests"
    return lambda: read_request_files(desk.store, desk.inputs(), [folder], [DATASET])


def put(desk: Desk, **files: bytes) -> None:
    """Write files into the folder; __ in a name stands for a slash."""
    for name, content in files.items():
        path = desk.root / "requests" / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def commit(desk: Desk, **files: bytes) -> str:
    named = {f"{name.replace('__', '/')}.json": content for name, content in files.items()}
    return desk.hub.loopback.commit(DATASET, named, "requests", kind="dataset")


def asked(desk: Desk) -> list[tuple[str | None, str, str]]:
    return sorted((e.request.model_id, e.state, e.request.asked_by) for e in desk.book().values())


def rows(desk: Desk) -> list[dict[str, Any]]:
    """What is remembered of files; a row without a path is a whole commit."""
    return [row for row in read_table(desk.store, REQUEST_FILES).to_pylist() if row["path"]]


def test_files_of_a_folder_and_a_dataset_become_requests_once(desk: Desk, read: Callable[[], Intake]) -> None:
    put(desk, lab__m0=write(), lab__m1=write(model="lab/m1", status="RERUN", use_chat_template=True, sender=None))
    sha = commit(desk, lab__m2=write(model="lab/m2", precision="float16"))
    assert read().became == {"accepted": 2, "rejected": 1}
    assert asked(desk) == [
        ("lab/m0", "accepted", "ada"),
        ("lab/m1", "rejected", "unknown"),
        ("lab/m2", "accepted", "ada"),
    ]
    found = {entry.request.model_id: entry.request for entry in desk.book().values()}
    assert (found["lab/m0"].source, found["lab/m0"].source_file) == (f"folder:{desk.root}/requests", "lab/m0.json")
    third = found["lab/m2"]
    assert (third.source, third.source_file, third.source_revision) == (f"dataset:{DATASET}", "lab/m2.json", sha)
    assert (third.precision, third.chat_template) == ("float16", "never")
    assert found["lab/m1"].chat_template == "always"
    desk.hub.loopback.requests.clear()
    assert not read().is_news
    assert not desk.hub.requests("/tree/") and not desk.hub.requests("/resolve/"), (
        "a commit that was read is not listed"
    )


def test_a_changed_file_is_another_content_and_settings_make_another_request(
    desk: Desk, read: Callable[[], Intake]
) -> None:
    put(desk, a=write())
    read()
    put(desk, a=write(sender="bob"), b=write(precision="float32"))
    assert read().became == {"known": 1, "accepted": 1}
    assert len(asked(desk)) == 2


def test_what_others_did_is_no_request(desk: Desk, read: Callable[[], Intake]) -> None:
    put(desk, a=write(status="FINISHED"), b=write(status="RUNNING"), c=write(status="FAILED", job_id="12"))
    assert read().became == {"not a request": 3}
    assert sorted(row["reason"] for row in rows(desk)) == [
        "its status is FAILED", "its status is FINISHED", "its status is RUNNING",
    ]  # fmt: skip
    assert not asked(desk)


@pytest.mark.parametrize("precision", ["8bit", "4bit", "GPTQ"])
def test_a_precision_that_cannot_be_run_is_a_finding_of_the_request(
    desk: Desk, read: Callable[[], Intake], precision: str
) -> None:
    put(desk, a=write(precision=precision))
    assert read().became == {"rejected": 1}
    (entry,) = desk.book().values()
    assert (entry.event.reason or "").startswith(f"precision {precision} cannot be run. Ask for auto, float32,")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (write(sendr="x"), "sendr is not a known key"),
        (write(model=5, revision=["main"]), "model has a wrong value (got 5); revision has a wrong value (got a list)"),
        (write(use_chat_template="yes"), "use_chat_template has a wrong value (got 'yes')"),
        (write(status="SOON"), "status has a wrong value (got 'SOON')"),
        (write(weight_type="LoRA"), "weight_type has a wrong value (got 'LoRA')"),
        (b'{"model": "lab/m0"}', "status is missing"),
        (b"[1, 2]", "the file has a wrong value (got a list)"),
        (b"{", "invalid JSON"),
        (b"", "invalid JSON"),
        (b"\xff\xfe", "invalid JSON"),
        (b"[" * 50_000, "invalid JSON"),
        (write(model="lab/../../etc"), "'lab/../../etc' is not a name on the Hub"),
        (write(model="lab/a..b"), "'lab/a..b' is not a name on the Hub"),
    ],
)
def test_a_bad_file_is_one_message_and_the_others_are_read(
    desk: Desk, read: Callable[[], Intake], content: bytes, words: str
) -> None:
    put(desk, a=content, b=write())
    intake = read()
    assert intake.became == {"unusable": 1, "accepted": 1}
    (line,) = list_unusable(intake)
    assert line.startswith(f"folder:{desk.root}/requests a.json: ") and words in line and "\n" not in line
    assert not read().is_news, "and it is said once"


def test_a_file_of_ten_megabytes_is_not_read(
    desk: Desk, read: Callable[[], Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "parse_request_file", pytest.fail)
    put(desk, a=b" " * 10_000_000)
    commit(desk, b=b" " * 10_000_001)
    intake = read()
    assert intake.became == {"unusable": 2}
    assert next(list_unusable(intake)).endswith(
        "a.json: it has 10,000,000 bytes, and a request takes at most 65,536. Correct the file."
    )
    assert not desk.hub.requests("/resolve/")


def test_a_file_that_may_not_be_read_or_is_gone_holds_up_no_other(
    desk: Desk, read: Callable[[], Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(desk, a=b"x", b=b"y", c=write())
    errors = {"a.json": PermissionError(13, "Permission denied"), "b.json": FileNotFoundError(2, "gone")}
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name in errors:
            raise errors[path.name]
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    intake = read()
    assert (intake.became, intake.problems) == ({"unusable": 1, "accepted": 1}, [])
    assert next(list_unusable(intake)).endswith(
        "requests a.json: cannot be read (Permission denied). Let the user who runs nightboard read it."
    )
    assert not read().is_news, "and it is said once"
    errors.clear()
    put(desk, a=write(model="lab/m1"))
    assert read().became["accepted"] == 1, "what can be read now is read"


def test_links_hidden_files_and_pipes_of_a_folder_are_left_alone(desk: Desk, read: Callable[[], Intake]) -> None:
    put(desk, a=write())
    folder = desk.root / "requests"
    (folder / ".hidden.json").write_bytes(write(model="lab/m1"))
    (folder / "note.txt").write_bytes(b"x")
    (folder / "link.json").symlink_to(folder / ".hidden.json")
    os.mkfifo(folder / "pipe.json")
    (folder / os.fsdecode(b"odd\xff.json")).write_bytes(write(model="lab/m2"))
    assert read().became == {"accepted": 2}


def test_a_folder_or_dataset_that_is_away_is_a_problem_of_its_own(desk: Desk) -> None:
    put(desk, a=write())
    folders = [desk.root / "gone", desk.root / "requests"]
    intake = read_request_files(desk.store, desk.inputs(), folders, ["boards/gone"])
    assert intake.became == {"accepted": 1}
    assert intake.problems == [
        f"{desk.root}/gone: request files cannot be read (No such file or directory). Check the path.",
        "The dataset boards/gone does not exist or is private.",
    ]


def test_a_dataset_of_many_requests_is_read_in_pages_and_bounded_in_a_run(
    desk: Desk, read: Callable[[], Intake]
) -> None:
    desk.rules["files_per_run"] = 30
    finished = {f"lab__f{number:05}": write(model=f"lab/f{number}", status="FINISHED") for number in range(1100)}
    commit(desk, **finished, zz=write())
    intake = read()
    assert describe_intake(intake) == "Requests: 30 new files: 30 not a request. 1,071 files left for the next run."
    assert len(desk.hub.requests("/tree/")) == 2, "pages of a thousand"
    assert len(desk.hub.requests("/resolve/")) == 30
    assert read().n_left == 1041, "where it stopped, it goes on"
    desk.rules["files_per_run"] = 2000
    assert read().became == {"not a request": 1040, "accepted": 1}
    assert not read().is_news


def test_files_of_a_folder_that_ask_for_nothing_do_not_hold_up_those_that_do(
    desk: Desk, read: Callable[[], Intake]
) -> None:
    desk.rules["files_per_run"] = 1
    put(desk, a=write(status="FINISHED"), b=b"{", c=write(), d=write(status="FINISHED"), e=write(model="lab/m1"))
    first, second = read(), read()
    assert (first.became, first.n_left) == ({"not a request": 1, "unusable": 1, "accepted": 1}, 2)
    assert (second.became, second.n_left) == ({"not a request": 1, "accepted": 1}, 0)


def test_an_open_pull_request_is_a_submission_of_what_it_adds(desk: Desk, read: Callable[[], Intake]) -> None:
    commit(desk, m0=write(status="FINISHED"))
    hub = desk.hub.loopback
    hub.open_pull_request(DATASET, {"m1.json": write(model="lab/m1")}, "bob", kind="dataset")
    hub.open_pull_request(DATASET, {"m0.json": write(precision="float32")}, "eve", kind="dataset")
    closed = hub.open_pull_request(DATASET, {"m2.json": write(model="lab/m2")}, "eve", kind="dataset")
    hub.close_pull_request(DATASET, closed, kind="dataset")
    assert read().became == {"not a request": 1, "accepted": 1}
    assert asked(desk) == [("lab/m1", "accepted", "bob")], "who opened it asks, whatever the file says"
    desk.hub.loopback.requests.clear()
    assert not read().is_news
    assert not desk.hub.requests("/tree/")
    commit(desk, m1=write(model="lab/m1"))
    assert not read().became, "merged, it is the same content"


def test_pull_requests_are_bounded_in_a_run(
    desk: Desk, read: Callable[[], Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_SETS_PER_RUN", 2)
    for number in range(3):
        name = f"lab/m{number}"
        desk.hub.loopback.open_pull_request(DATASET, {f"{number}.json": write(model=name)}, "bob", kind="dataset")
    first = read()
    assert describe_intake(first) == "Requests: 1 new file: 1 accepted. 2 pull requests left for the next run."
    assert (read().n_sets_left, read().n_sets_left) == (0, 0)
    assert len(asked(desk)) == 3


@pytest.mark.parametrize("stop", ["record", "append_rows"])
def test_killed_before_it_is_stored_a_file_is_read_again(
    desk: Desk, read: Callable[[], Intake], stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(_store: object, *rows: list[object]) -> None:
        if rows[-1]:
            raise Killed

    put(desk, a=write())
    with monkeypatch.context() as patched:
        patched.setattr(module, stop, die)
        with pytest.raises(Killed):
            read()
    read()
    assert asked(desk) == [("lab/m0", "accepted", "ada")]
    assert [row["path"] for row in rows(desk)] == ["a.json"]


def test_a_request_whose_writer_was_killed_is_answered_in_the_next_run(
    desk: Desk, read: Callable[[], Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightboard.tasks.requests import submission

    with monkeypatch.context() as patched:
        patched.setattr(submission, "add_events", lambda *_: None)
        desk.submit("lab/m0")
        desk.submit("lab/m1", revision="nothing")
    assert {state for _, state, _ in asked(desk)} == {"pending"}
    read()
    assert asked(desk) == [("lab/m0", "accepted", "ada"), ("lab/m1", "rejected", "ada")]


def test_a_model_that_the_hub_cannot_show_now_is_asked_again_in_the_next_run(
    desk: Desk, read: Callable[[], Intake]
) -> None:
    put(desk, a=write(), b=write(model="lab/m1"))
    desk.hub.loopback.fail_next(6, 503, path_contains="/api/models/lab/m0")
    intake = read()
    assert intake.became == {"accepted": 1} and "lab/m0" not in str(asked(desk))
    assert len(intake.problems) == 1 and "a.json" in intake.problems[0]
    assert read().became == {"accepted": 1}


def test_the_layout_of_the_old_leaderboard_is_read_as_it_is() -> None:
    file = parse_request_file(write(base_model="lab/base", revision=""))
    form = file.to_form()
    assert (form.model_id, form.revision, form.base_model, form.chat_template) == ("lab/m0", None, "lab/base", "never")
    with pytest.raises(RequestFileError, match=r"^not a request: a is not a known key; .*; 1 more. Correct the file.$"):
        parse_request_file(write(a=1, b=1, c=1, d=1))
