"""What fails for one organisation, model or commit stays its own trouble, and what a repository holds stays data.

Everything here goes over HTTP, with the real client; what is found is written as a night writes it.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from served_hub import ServedHub, make_model, make_safetensors, serve_hub

from nightboard.flows.demo.loopback_hub import payloads as describe
from nightboard.flows.demo.loopback_hub.server import HubHandler
from nightboard.flows.run.report import NewCommit
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.board import OpenBoard
from nightboard.tasks.fetch.datasets import pin_datasets
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub import client as hub_module
from nightboard.tasks.hub import discover as discover_module
from nightboard.tasks.hub.discover import Discovery, Known, discover
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.planning.history import read_commits
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit

FOR_EVER = 100_000


@pytest.fixture
def hub() -> Iterator[ServedHub]:
    with serve_hub(page_size=2) as served:
        yield served


def _remember(discovery: Discovery) -> Known:
    commits = {(commit.model_id, commit.revision): commit for commit in discovery.commits}
    return Known(commits, {state.model_id: state.state for state in discovery.model_states})


def _found(discovery: Discovery) -> list[str]:
    return [head.model_id for head in discovery.heads]


# ------------------------------------------------------------------------------------------------- an organisation


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_organization_that_cannot_be_listed_stops_no_other(hub: ServedHub, status: int) -> None:
    for name in ("bad/a", "bad/b", "good/m"):
        hub.add(name, make_model())
    first = hub.discover(organizations=["bad", "good"])
    hub.loopback.fail_next(FOR_EVER, status, path_contains="author=bad")

    night = hub.discover(_remember(first), organizations=["bad", "good"])

    assert _found(night) == ["good/m"]
    assert [problem.subject for problem in night.problems] == ["bad"]
    assert night.model_states == ()  # not one is said to be deleted


def test_an_organization_that_was_renamed_is_a_problem_and_its_models_are_gone(hub: ServedHub) -> None:
    hub.add("old/m", make_model())
    hub.add("good/m", make_model())
    first = hub.discover(organizations=["old", "good"])
    hub.loopback.delete_repo("old/m")
    hub.add("new/m", make_model())

    night = hub.discover(_remember(first), organizations=["old", "good"])

    assert _found(night) == ["good/m"]
    assert "lists no models of this organization" in str(night.problems[0])
    assert [(state.model_id, state.state) for state in night.model_states] == [("old/m", "deleted")]


def test_what_a_listing_shows_before_it_breaks_off_counts(hub: ServedHub) -> None:
    names = [f"org/m{number}" for number in range(6)]
    for name in [*names, "good/m"]:
        hub.add(name, make_model())
    first = hub.discover(organizations=["org", "good"])
    hub.loopback.fail_next(FOR_EVER, 502, path_contains="cursor=2")

    night = hub.discover(_remember(first), organizations=["org", "good"])

    assert _found(night) == ["good/m", *names[:2]]
    assert [problem.subject for problem in night.problems] == ["org"]
    assert night.model_states == ()


def test_a_listing_without_end_is_a_problem(hub: ServedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        hub.add(f"org/m{number}", make_model())
    monkeypatch.setattr(hub_module, "MOST_PAGES", 2)

    night = hub.discover(organizations=["org"])

    assert len(night.heads) == 4
    assert "has more than 2 pages" in str(night.problems[0])


def test_a_model_named_by_the_watch_list_is_found_where_its_organization_cannot_be_listed(hub: ServedHub) -> None:
    hub.add("bad/m", make_model())
    hub.add("good/m", make_model())
    hub.loopback.fail_next(FOR_EVER, 500, path_contains="author=bad")

    assert set(_found(hub.discover(models=["bad/m", "good/m"]))) == {"bad/m", "good/m"}


def test_a_hub_that_lists_no_organization_at_all_is_down(hub: ServedHub) -> None:
    hub.add("a/m", make_model())
    hub.loopback.fail_next(FOR_EVER, 500, path_contains="author=")

    with pytest.raises(HubUnavailable):
        hub.discover(organizations=["a", "b"])


def test_a_page_that_answers_everything_is_no_hub(hub: ServedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HubHandler, "_route", lambda self, path: self._send(200, b"<html>Log in to the hotel", {}))

    with pytest.raises(HubUnavailable, match="does not answer like a Hub"):
        hub.discover(models=["a/m"])


def test_an_interrupt_does_not_wait_for_what_waits_for_the_hub() -> None:
    may_end, has_begun = threading.Event(), threading.Event()
    ended: list[int] = []

    def ask(number: int) -> None:
        if number == 0:
            has_begun.wait(10)
            raise KeyboardInterrupt
        has_begun.set()
        may_end.wait(10)
        ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        discover_module._spread(ask, [0, 1])
    assert ended == []
    may_end.set()


# --------------------------------------------------------------------------------------------------------- a model


@pytest.mark.parametrize("status", [401, 500])
@pytest.mark.parametrize(
    "route", ["/api/models/org/bad?", "/org/bad/refs", "/org/bad/commits/", "/org/bad/tree/", "/org/bad/resolve/"]
)
def test_a_model_that_answers_with_errors_for_ever_stops_no_other(hub: ServedHub, route: str, status: int) -> None:
    old = hub.add("org/bad", make_model())
    hub.loopback.create_branch("org/bad", "dev")
    hub.loopback.commit("org/bad", {"model.safetensors": make_safetensors(fill=2)}, "more")
    hub.add("org/good", make_model())
    hub.loopback.fail_next(FOR_EVER, status, path_contains=route)
    if route.endswith("?"):  # it is asked for alone where the listing does not show it
        hub.loopback.fail_next(FOR_EVER, 500, path_contains="author=")

    night = hub.discover(models=[{"id": "org/bad", "revisions": [old], "branches": ["dev"]}, "org/good"])

    assert "org/good" in _found(night)
    assert [commit.model_id for commit in night.commits if commit.state == "ok"] == ["org/good"]
    assert any("org/bad" in str(problem) for problem in night.problems)


def test_one_dataset_that_answers_with_errors_stops_no_other(hub: ServedHub) -> None:
    from types import SimpleNamespace

    hub.loopback.create_repo("good/set", "dataset")
    hub.loopback.fail_next(FOR_EVER, 503, path_contains="bad/set")
    suites = [
        SimpleNamespace(benchmarks={"b": SimpleNamespace(dataset=SimpleNamespace(id=name, sha=None))})
        for name in ("bad/set", "good/set")
    ]

    with pytest.raises(FetchError, match="is not available"):
        pin_datasets(hub.client(), None, suites[:1])  # type: ignore[arg-type]
    assert pin_datasets(hub.client(), None, suites[1:]).keys() == {"good/set"}  # type: ignore[arg-type]


def test_a_pattern_that_matches_very_many_branches_follows_the_first(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/m", make_model())
    for number in range(9):
        hub.loopback.create_branch("org/m", f"step-{number}")
    monkeypatch.setattr(discover_module, "MOST_BRANCHES", 3)

    night = hub.discover(models=[{"id": "org/m", "branches": ["step-*"]}])

    assert [str(problem) for problem in night.problems] == [
        "org/m: 9 branches match step-*; only the first 3 are followed"
    ]


# ---------------------------------------------------------------------------------------------- what a commit holds

SURROGATE = "\ud800"
CODES = "\x1b]0;gotcha\x07\u202e\x00"
Files = dict[str, bytes]


def _json(**content: object) -> bytes:
    return json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"} | content).encode()


def _header(shape: object, dtype: object = "BF16") -> bytes:
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, 2]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0\0"


def _index(*shards: object) -> Files:
    weight_map = {str(number): shard for number, shard in enumerate(shards)}
    return {"model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()}


ODD_FILES: dict[str, Files] = {
    "surrogate in architectures": {"config.json": _json(architectures=[SURROGATE])},
    "codes in architectures": {"config.json": _json(architectures=[CODES + "ForCausalLM"])},
    "long architecture": {"config.json": _json(architectures=["A" * 1_000_000 + "ForCausalLM"])},
    "shape of 10**400": {"model.safetensors": _header([10**400])},
    "shape of many sides": {"model.safetensors": _header([2**40] * 50)},
    "shape of texts": {"model.safetensors": _header(["ab" * 1_000, 10**9])},
    "shape below nothing": {"model.safetensors": _header([-5])},
    "dtype without half": {"model.safetensors": _header([1], SURROGATE)},
    "dtype that is a list": {"model.safetensors": _header([1], [1])},
    "dtype in config": {"config.json": _json(torch_dtype=SURROGATE), "model.safetensors": b"\xff" * 20},
    "dtype without end": {"config.json": _json(torch_dtype="f" * 100_000), "model.safetensors": b"\xff" * 20},
    "deep config": {"config.json": b'{"a":' * 5_000 + b"1" + b"}" * 5_000},
    "number without end in config": {"config.json": b'{"a": ' + b"9" * 5_000 + b"}"},
    "config in Latin-1": {"config.json": b'{"a": "\xe4"}'},
    "deep tokenizer": {"tokenizer_config.json": b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"},
    "surrogate in index": _index(f"{SURROGATE}.safetensors"),
    "number in index": _index(10**400, 3),
    "long name in index": _index("x" * 500_000 + ".safetensors"),
    "auto map of anything": {"config.json": _json(auto_map={"AutoModelForCausalLM": [[[{}]], SURROGATE]})},
}  # fmt: skip


def _spoil_model(odd: str, **model: str) -> Files:
    files = make_model(**model) | ODD_FILES[odd]  # type: ignore[arg-type]
    if "model.safetensors.index.json" in files:
        del files["model.safetensors"]
    return files


def _write(discovery: Discovery, folder: Path) -> dict[tuple[str, str], Commit]:
    """Write it as a night does, and read it back; what a night prints and reports must be possible, too."""
    store = Store(folder)
    OpenBoard(None, store, None, None).record_discovery(discovery)  # type: ignore[arg-type]
    for commit in discovery.commits:
        NewCommit(
            model_id=commit.model_id, revision=commit.revision, state=commit.state, reason=commit.reason
        ).to_bytes()
    for text in [*map(str, discovery.problems), *(commit.reason or "" for commit in discovery.commits)]:
        text.encode()
        assert len(text) < 2_000
        assert text.isprintable(), text
    for path in store.lake.rglob("*.parquet"):
        pq.read_table(path)
    return read_commits(store)


@pytest.mark.parametrize("odd", ODD_FILES)
def test_what_a_pushed_file_holds_spoils_its_commit_at_most(
    hub: ServedHub, tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "describe_repo", _describe_plainly)
    hub.add("org/good", make_model())
    sha = hub.add("org/odd", _spoil_model(odd))

    night = hub.discover(organizations=["org"])

    written = _write(night, tmp_path)
    assert {commit.model_id: commit.state for commit in written.values()}["org/good"] == "ok"
    commit = written["org/odd", sha]
    assert commit.state == "ok" or commit.reason
    assert hub.discover(_remember(night), organizations=["org"]).commits == ()


def _describe_plainly(repo: Any, commit: Any, fields: tuple[str, ...], **_: object) -> dict[str, Any]:
    """As the Hub shows a model of whose files it has read nothing."""
    return {"id": repo.repo_id, "sha": commit.sha, "lastModified": describe.format_time(commit.at), "gated": False}


def test_a_shape_that_no_tensor_has_rejects_the_commit_with_a_reason(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "count_parameters", lambda commit: {"parameters": {"BF16": 10**400}})
    hub.add("org/m", make_model() | {"model.safetensors": _header([10**400])})

    (commit,) = hub.discover(organizations=["org"]).commits

    assert commit.state == "rejected"
    assert "the header gives an impossible shape for 'w'" in str(commit.reason)


def test_a_card_too_deep_to_read_costs_its_own_model_alone(
    hub: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of the listing cannot be read with that card in it."""
    for name in ("org/a", "org/deep", "org/z"):
        hub.add(name, make_model())

    def send(self: HubHandler, value: Any) -> None:
        text = json.dumps(value)
        deep = '"cardData": ' + '{"a":' * 100_000 + "1" + "}" * 100_000
        if "expand=cardData" in self.path:
            text = text.replace('"id": "org/deep"', f'"id": "org/deep", {deep}')
        self._send(200, text.encode(), self.extra_headers)

    monkeypatch.setattr(HubHandler, "_send_json", send)
    night = hub.discover(organizations=["org"])

    assert {commit.model_id: commit.state for commit in night.commits} == {
        "org/a": "ok", "org/deep": "rejected", "org/z": "ok",
    }  # fmt: skip
    licenses = {commit.model_id: commit.license for commit in _write(night, tmp_path).values()}
    assert licenses == {"org/a": "apache-2.0", "org/deep": None, "org/z": "apache-2.0"}
    assert hub.discover(_remember(night), organizations=["org"]).commits == ()


@pytest.mark.parametrize("error", [OverflowError("x"), ArithmeticError(), AssertionError(SURROGATE)])
def test_whatever_reading_a_commit_raises_rejects_it(
    hub: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    hub.add("org/m", make_model())

    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(discover_module, "inspect_commit", fail)
    (commit,) = _write(hub.discover(organizations=["org"]), tmp_path).values()

    assert commit.state == "rejected"
    assert type(error).__name__ in str(commit.reason)


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device")])
def test_what_fails_on_this_machine_is_a_problem_and_asked_again(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    hub.add("org/m", make_model())

    def fail(*_args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(discover_module, "inspect_commit", fail)
        night = hub.discover(organizations=["org"])
    assert night.commits == ()
    assert [problem.subject for problem in night.problems] == ["org/m@main"]
    assert [commit.state for commit in hub.discover(organizations=["org"]).commits] == ["ok"]


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("2024-01-02T03:04:05.000Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05+02:00", datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2024-01-02", datetime(2024, 1, 2, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("1066-10-14", None),
        (SURROGATE, None),
        (1704164645, None),
    ],
)
def test_a_date_is_in_utc_and_of_this_age(
    hub: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: object, read: datetime | None
) -> None:
    monkeypatch.setattr(describe, "format_time", lambda at: told)
    hub.add("org/m", make_model())

    (commit,) = _write(hub.discover(organizations=["org"]), tmp_path).values()

    assert commit.committed_at == read


# ------------------------------------------------------------------------------------------------ anything at all

_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, 2**63, 1.5, float("nan"), float("inf"), "", SURROGATE, CODES, "x" * 20_000, "../../etc",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-01-01", [], [None], [[]], [SURROGATE] * 3, {},
    {"a": {}}, [{"a": [10**400]}], {SURROGATE: SURROGATE}, "f" * 40, ["x"] * 2_000,
)  # fmt: skip


def _spoil(value: Any, rng: random.Random) -> Any:
    """The value with some parts of it replaced by something odd."""
    if rng.random() < 0.04:
        return rng.choice(_ODD)
    if isinstance(value, dict):
        return {key: _spoil(each, rng) for key, each in value.items() if rng.random() > 0.02}
    if isinstance(value, list):
        return [_spoil(each, rng) for each in value]
    return value


@pytest.mark.parametrize("seed", range(12))
def test_no_answer_about_models_ends_a_night(
    hub: ServedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    _add_many(hub, rng)
    describe_repo = describe.describe_repo

    def describe_somehow(*args: Any, **options: Any) -> dict[str, Any]:
        try:
            return describe_repo(*args, **options)
        except Exception:  # our own Hub cannot read odd files either
            return _describe_plainly(*args)

    monkeypatch.setattr(describe, "describe_repo", describe_somehow)
    send_json: Callable[[HubHandler, Any], None] = HubHandler._send_json

    def send(self: HubHandler, value: Any) -> None:
        is_odd = "org/good" not in self.path and "limit=1" not in self.path
        send_json(self, _spoil(value, rng) if is_odd else value)

    monkeypatch.setattr(HubHandler, "_send_json", send)
    watch = WatchList.model_validate(
        {"watchlist": "odd", "organizations": ["org"], "models": [{"id": "org/m1", "branches": ["*"]}, "org/good"]}
    )
    night = discover(hub.client(tries=1), watch, Known(), hub.now)

    written = _write(night, tmp_path)
    assert written.keys() == {(commit.model_id, commit.revision) for commit in night.commits}
    for commit in written.values():
        assert commit.committed_at is None or commit.committed_at < datetime(2200, 1, 1, tzinfo=UTC)


def _add_many(hub: ServedHub, rng: random.Random) -> None:
    card = 'license: other\nlicense_name: "{}"\nbase_model: [a/b]\ntags: [merge]'.format("l" * 50)
    hub.add("org/good", make_model())
    for number in range(6):
        hub.add(f"org/m{number}", _spoil_model(rng.choice(list(ODD_FILES)), card=card))
    hub.loopback.create_branch("org/m1", "dev")
