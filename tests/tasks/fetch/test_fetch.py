"""Models, data sets and nltk's data reach the store's cache whole, by commit and once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from odd_server import send, serve
from served_hub import ServedHub, make_model, make_safetensors
from warm import warm_job

from nightboard.flows.demo.loopback_hub import server as server_module
from nightboard.flows.demo.loopback_hub.repos import Blob
from nightboard.flows.demo.loopback_hub.server import HubHandler
from nightboard.profiles.models.suite import Benchmark, DatasetSpec, Suite, TaskSpec
from nightboard.tasks.fetch import datasets, publish
from nightboard.tasks.fetch.datasets import check_access, fetch_dataset, fetch_nltk, pin_datasets
from nightboard.tasks.fetch.models import fetch_model
from nightboard.tasks.fetch.publish import FetchError
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import HubUnavailable
from nightboard.tasks.hub.http_retry import RetryPolicy
from nightboard.tasks.store.layout import Store, StoreError
from nightboard.tasks.store.records import Commit, FetchedDataset

DATASET = "org/Questions.v2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _discover_one(hub: ServedHub, model_id: str = "org/m") -> Commit:
    (commit,) = hub.discover(models=[model_id]).commits
    return commit


# ----------------------------------------------------------------------------------------------------------- models


def test_a_model_is_fetched_with_exactly_the_files_of_its_fingerprint(hub: ServedHub, store: Store) -> None:
    files = make_model()
    hub.add("org/m", files | {"m.gguf": b"x", "additional_chat_templates/t.jinja": b"{{ m }}", "run.py": b"1"})
    commit = _discover_one(hub)

    folder = fetch_model(hub.client(), store, commit)

    assert folder == store.model_dir(str(commit.fingerprint))
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del files["README.md"]
    assert found == files | {"additional_chat_templates/t.jinja": b"{{ m }}"}
    assert [path for path in folder.parent.iterdir() if path.name.endswith(".part")] == []


def test_a_model_that_is_there_costs_no_request(hub: ServedHub, store: Store) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub)
    fetch_model(hub.client(), store, commit)
    hub.loopback.requests.clear()

    fetch_model(hub.client(), store, commit)

    assert hub.loopback.requests == []


def test_a_commit_is_fetched_though_its_branch_has_moved_on(hub: ServedHub, store: Store) -> None:
    old = make_model()
    hub.add("org/m", old)
    commit = _discover_one(hub)
    hub.loopback.commit("org/m", {"model.safetensors": make_safetensors(fill=9)}, "new weights")

    folder = fetch_model(hub.client(), store, commit)

    assert (folder / "model.safetensors").read_bytes() == old["model.safetensors"]


def test_two_fetches_at_once_download_once(hub: ServedHub, store: Store) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub)

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: fetch_model(hub.client(), store, commit), range(4)))

    assert folders == {store.model_dir(str(commit.fingerprint))}
    assert hub.loopback.requests.count(("GET", f"/org/m/resolve/{commit.revision}/model.safetensors")) == 1


def test_two_fetches_at_once_are_safe_without_file_locks(
    hub: ServedHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(publish, "fcntl", SimpleNamespace(flock=refuse, LOCK_EX=2))
    hub.add("org/m", make_model())
    commit = _discover_one(hub)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch_model(hub.client(), store, commit), range(4)))

    folder = store.model_dir(str(commit.fingerprint))
    assert sorted(path.name for path in folder.iterdir()) == list(commit.files)


def test_a_folder_that_lacks_a_file_is_fetched_again(hub: ServedHub, store: Store) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub)
    folder = fetch_model(hub.client(), store, commit)
    folder.chmod(0o755)
    (folder / "model.safetensors").unlink()

    assert (fetch_model(hub.client(), store, commit) / "model.safetensors").is_file()


def test_what_a_killed_fetch_has_left_is_used(hub: ServedHub, store: Store) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub)
    hub.loopback.fail_next(99, 503, path_contains="/tokenizer_config.json")
    with pytest.raises(FetchError):
        fetch_model(hub.client(), store, commit)
    hub.loopback._faults.clear()
    hub.loopback.requests.clear()

    fetch_model(hub.client(), store, commit)

    assert hub.requests("model.safetensors") == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_download_is_refused(
    hub: ServedHub, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub)
    stream, size = Blob.stream, hub.loopback.repo("org/m").head.files[name].size

    def damage(blob: Blob, start: int, length: int) -> Iterator[bytes]:
        data = b"".join(stream(blob, start, length))
        yield data[:-1] + b"?" if blob.size == size else data

    monkeypatch.setattr(Blob, "stream", damage)
    with pytest.raises(FetchError, match=f"org/m@.*{name} is damaged"):
        fetch_model(hub.client(), store, commit)
    assert not store.model_dir(str(commit.fingerprint)).exists()

    monkeypatch.setattr(Blob, "stream", stream)
    assert fetch_model(hub.client(), store, commit).is_dir()


def test_a_commit_whose_files_changed_under_its_name_is_refused(hub: ServedHub, store: Store) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub).model_copy(update={"fingerprint": "0" * 64})

    with pytest.raises(FetchError, match="other files than when the commit was discovered"):
        fetch_model(hub.client(), store, commit)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda hub: hub.delete_repo("org/m"), "does not exist or is private"),
        (lambda hub: hub.set_access("org/m", private=True), "does not exist or is private"),
        (lambda hub: hub.set_access("org/m", gated=True), "is gated, and this token has not been granted access"),
        (lambda hub: hub.set_access("org/m", disabled=True), "is disabled on the Hub"),
        (lambda hub: hub.fail_next(99, 502), "is not available"),
    ],
)
def test_a_model_that_went_away_since_it_was_discovered_is_a_plain_reason(
    hub: ServedHub, store: Store, change: object, reason: str
) -> None:
    hub.add("org/m", make_model())
    commit = _discover_one(hub)
    change(hub.loopback)  # type: ignore[operator]

    with pytest.raises(FetchError, match=reason):
        fetch_model(hub.client(), store, commit)
    assert not store.model_dir(str(commit.fingerprint)).exists()


def test_a_rejected_commit_is_not_fetched(hub: ServedHub, store: Store) -> None:
    hub.add("org/m", {"m.gguf": b"x"})

    with pytest.raises(FetchError, match=r"nothing to download.*only GGUF"):
        fetch_model(hub.client(), store, _discover_one(hub))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "x"), r"org/m@.*no space left on the store's disk"),
        (OSError(30, "Read-only file system", "/cache"), r"^/cache: the store's cache cannot be written \(Read-only"),
        (PermissionError(13, "Permission denied", "/cache"), r"^/cache: the store's cache cannot be written \(Perm"),
        (OSError(5, "Input/output error"), r"^org/m@.*: the store's cache cannot be written"),
    ],
)
def test_a_disk_that_cannot_be_used_is_no_fault_of_the_model(
    hub: ServedHub, store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def fill(*args: object) -> None:
        raise error

    hub.add("org/m", make_model())
    commit = _discover_one(hub)
    monkeypatch.setattr(Hub, "download_files", fill)

    # Not a FetchError: that would spend one of the model's attempts.
    with pytest.raises(StoreError, match=words):
        fetch_model(hub.client(), store, commit)


@pytest.mark.real
def test_nothing_is_written_into_the_users_own_caches(hub: ServedHub, store: Store, tmp_path: Path) -> None:
    hub.add("org/m", make_model())
    code = f"""
from datetime import UTC, datetime
from pathlib import Path
from nightboard.profiles.models.watchlist import WatchList
from nightboard.tasks.hub.discover import Known, discover
from nightboard.tasks.fetch.models import fetch_model
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.store.layout import Store, StoreError
hub = Hub({hub.url!r})
watch = WatchList(watchlist="w", models=["org/m"])
(commit,) = discover(hub, watch, Known(), datetime.now(UTC)).commits
fetch_model(hub, Store(Path({str(store.root)!r})), commit)
"""
    own = {"HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "home" / "hf"), "HF_ENDPOINT": hub.url}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "home").exists()
    # Nor does the client ask for anything of its own.
    assert all("org" in path for _, path in hub.loopback.requests)


# ------------------------------------------------------------------------------------------------------------- pins


def _suite(**datasets: str | None) -> Suite:
    benchmarks = {
        name: {
            "title": name, "group": name, "dataset": {"id": f"org/{name}", "sha": sha}, "shots": 0, "metrics": ["acc"],
            "aggregate": "mean", "normalize": "task", "tasks": {name: {"samples": 1}},
        }
        for name, sha in datasets.items()
    }  # fmt: skip
    return Suite.model_validate({"suite": "s", "title": "S", "harness": {"version": "1"}, "benchmarks": benchmarks})


def _commit_dataset(hub: ServedHub, name: str, text: str) -> str:
    if ("dataset", f"org/{name}") not in hub.loopback._repos:
        hub.loopback.create_repo(f"org/{name}", "dataset")
    return hub.loopback.commit(f"org/{name}", {"data.txt": text.encode()}, text, kind="dataset")


def test_a_dataset_left_open_is_pinned_on_first_use_for_good(hub: ServedHub, store: Store) -> None:
    first = _commit_dataset(hub, "a", "one")
    assert pin_datasets(hub.client(), store, [_suite(a=None, b="1" * 40)]) == {"org/a": first}

    _commit_dataset(hub, "a", "two")
    hub.loopback.requests.clear()

    assert pin_datasets(hub.client(), store, [_suite(a=None)]) == {"org/a": first}
    assert hub.loopback.requests == []


def test_a_dry_run_reads_pins_and_writes_none(hub: ServedHub, store: Store) -> None:
    first = _commit_dataset(hub, "a", "one")
    assert pin_datasets(hub.client(), store, [_suite(a=None)], dry_run=True) == {"org/a": first}
    assert not store.pins.exists()
    pin_datasets(hub.client(), store, [_suite(a=None)])
    second = _commit_dataset(hub, "a", "two")

    assert pin_datasets(hub.client(), store, [_suite(a=None)], dry_run=True) == {"org/a": first}
    assert pin_datasets(hub.client(), None, [_suite(a=None)]) == {"org/a": second}


def test_the_first_to_pin_wins(hub: ServedHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _commit_dataset(hub, "a", "one")
    other = Store(store.root)

    def ask(self: Hub, dataset_id: str) -> str:
        monkeypatch.setattr(Hub, "dataset_sha", lambda self, dataset_id: "1" * 40)
        pin_datasets(hub.client(), other, [_suite(a=None)])
        return "2" * 40

    monkeypatch.setattr(Hub, "dataset_sha", ask)

    assert pin_datasets(hub.client(), store, [_suite(a=None)]) == {"org/a": "1" * 40}


def test_a_dataset_that_cannot_be_pinned_is_a_plain_reason(hub: ServedHub, store: Store) -> None:
    with pytest.raises(FetchError, match="dataset org/nowhere does not exist or is private"):
        pin_datasets(hub.client(), store, [_suite(nowhere=None)])
    with pytest.raises(HubUnavailable):
        pin_datasets(Hub("http://127.0.0.1:9", retry_policy=RetryPolicy(tries=1)), store, [_suite(a=None)])
    store.pins.mkdir(parents=True)
    (store.pins / "org--a.json").write_text("{")
    with pytest.raises(FetchError, match=r"org--a\.json: cannot be read"):
        pin_datasets(hub.client(), store, [_suite(a=None)])


# -------------------------------------------------------------------------------------------------------- data sets

LOAD_OFFLINE = """
import datasets, json, os, pathlib, sys
read = []
for folder, config in json.loads(sys.argv[1]):
    datasets.config.HF_DATASETS_CACHE = pathlib.Path(folder)
    read.append(datasets.load_dataset("org/Questions.v2", config)["train"]["q"][:])
print(json.dumps(read))
"""


def _load_offline(home: Path, wanted: list[tuple[Path, str]]) -> list[list[str]]:
    """Load as a node does: one process, several caches one after another, no Hub."""
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(home),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    command = warm_job(LOAD_OFFLINE, json.dumps([(str(folder), config) for folder, config in wanted]))
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return read


def _commit_questions(hub: ServedHub, tag: str) -> str:
    configs = [{"config_name": name, "data_files": [{"split": "train", "path": f"{name}.jsonl"}]} for name in "xy"]
    files = {f"{name}.jsonl": json.dumps({"q": f"{tag}{name}"}).encode() + b"\n" for name in "xy"}
    files["README.md"] = f"---\nconfigs: {json.dumps(configs)}\n---\n{tag}".encode()
    if not hub.loopback.repos("dataset"):
        hub.loopback.create_repo(DATASET, "dataset")
    return hub.loopback.commit(DATASET, files, tag, kind="dataset")


@pytest.mark.real
def test_each_commit_of_a_dataset_is_read_back_offline_from_its_own_cache(
    hub: ServedHub, store: Store, tmp_path: Path
) -> None:
    shas = [_commit_questions(hub, tag) for tag in ("old", "new")]
    old, new = (fetch_dataset(store, hub.url, None, DATASET, sha, ["x", "y"]) for sha in shas)

    read = _load_offline(tmp_path / "home", [(new, "x"), (old, "x"), (old, "y"), (new, "y"), (new, "x")])

    assert read == [["newx"], ["oldx"], ["oldy"], ["newy"], ["newx"]]
    assert not (tmp_path / "home").exists()


@pytest.mark.real
def test_configurations_are_added_to_a_cache_and_fetched_once(hub: ServedHub, store: Store, tmp_path: Path) -> None:
    sha = _commit_questions(hub, "a")
    folder = fetch_dataset(store, hub.url, None, DATASET, sha, ["x"])
    fetch_dataset(store, hub.url, None, DATASET, sha, ["x", "y"])
    asked = len(hub.loopback.requests)
    fetch_dataset(store, hub.url, None, DATASET, sha, ["y", "x"])

    assert len(hub.loopback.requests) == asked
    assert _load_offline(tmp_path / "home", [(folder, "x"), (folder, "y")]) == [["ax"], ["ay"]]
    # Nothing of the download is left beside the cache, and nothing in it is half-built.
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".part")] == []
    assert list(folder.rglob("*.incomplete")) == []


@pytest.mark.real
def test_a_configuration_that_was_removed_is_fetched_again(hub: ServedHub, store: Store, tmp_path: Path) -> None:
    sha = _commit_questions(hub, "a")
    folder = fetch_dataset(store, hub.url, None, DATASET, sha, ["x", "y"])
    shutil.rmtree(folder / "org___questions.v2" / "y" / "0.0.0" / sha)

    fetch_dataset(store, hub.url, None, DATASET, sha, ["x", "y"])

    assert _load_offline(tmp_path / "home", [(folder, "x"), (folder, "y")]) == [["ax"], ["ay"]]


@pytest.mark.real
def test_a_gated_dataset_needs_the_token_which_shows_nowhere(
    hub: ServedHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = _commit_questions(hub, "a")
    hub.loopback.set_access(DATASET, kind="dataset", gated=True)
    monkeypatch.setenv("HF_TOKEN", "good")  # the user's own, which was not passed

    with pytest.raises(FetchError, match="gated") as caught:
        fetch_dataset(store, hub.url, "hf_wrong", DATASET, sha, ["x"])
    assert "hf_wrong" not in str(caught.value)
    with pytest.raises(FetchError, match="gated"):
        fetch_dataset(store, hub.url, None, DATASET, sha, ["x"])
    folder = fetch_dataset(store, hub.url, "good", DATASET, sha, ["x"])
    assert not any(b"good" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_access_to_a_dataset_is_asked_before_it_is_fetched_and_not_once_it_is_there(
    hub: ServedHub, store: Store
) -> None:
    sha = _commit_questions(hub, "a")
    benchmark = Benchmark(
        title="T", group="g", dataset=DatasetSpec(id=DATASET), shots=0, metrics=("acc",), aggregate="mean",
        normalize="task", tasks={"t": TaskSpec(samples=1, config="x")},
    )  # fmt: skip
    pins = {DATASET: sha}
    check_access(hub.client(), store, benchmark, pins)
    hub.loopback.set_access(DATASET, kind="dataset", gated=True)
    for token in (None, "hf_wrong"):
        with pytest.raises(FetchError, match=r"Questions\.v2 is gated, .* Accept the terms on its page") as caught:
            check_access(hub.client(token), store, benchmark, pins)
        assert "hf_wrong" not in str(caught.value)
    check_access(hub.client("good"), store, benchmark, pins)
    hub.loopback.fail_next(6, 503, path_contains="auth-check")
    check_access(hub.client("good"), store, benchmark, pins)  # the Hub is up: the download tells
    hub.loopback.fail_next(1, 404, path_contains="auth-check")
    check_access(hub.client(), store, benchmark, pins)  # a mirror without that page: the download tells

    folder = store.dataset_dir(DATASET, sha)
    (folder / "org___questions.v2" / "x" / "0.0.0" / sha).mkdir(parents=True)
    (folder / "org___questions.v2" / "x" / "0.0.0" / sha / "dataset_info.json").write_text("{}")
    (folder / datasets.COMPLETE_FILE).write_bytes(
        FetchedDataset(dataset_id=DATASET, sha=sha, configs=("x",)).to_bytes()
    )
    asked = len(hub.requests())
    check_access(hub.client(), store, benchmark, pins)
    assert len(hub.requests()) == asked


@pytest.mark.real
def test_a_dataset_keeps_the_token_to_its_hub_and_a_long_wait_for_it_is_told(
    hub: ServedHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = _commit_questions(hub, "a")
    hub.loopback.set_access(DATASET, kind="dataset", gated=True)
    list_tree = HubHandler.list_tree
    lines: list[str] = []

    def lead_away(self: HubHandler, groups: dict[str, str]) -> None:
        self.extra_headers["Link"] = f'<{elsewhere.url}/more>; rel="next"'
        list_tree(self, groups)

    routes = tuple((m, p, lead_away if h is list_tree else h) for m, p, h in server_module._ROUTES)
    monkeypatch.setattr(server_module, "_ROUTES", routes)
    hub.loopback.fail_next(2, 503, path_contains="/tree/")
    with serve(lambda handler: send(handler, b"[]")) as elsewhere:
        fetch_dataset(store, hub.url, "good", DATASET, sha, ["x"], lines.append)

    assert elsewhere.tokens
    assert {token for _, token in elsewhere.tokens} == {None}
    assert len(lines) == 1
    assert lines[0].startswith(f"The Hub at {hub.url} is not available (it answered 503): retrying until ")


@pytest.mark.real
def test_a_dataset_that_cannot_be_fetched_is_a_plain_reason_and_leaves_no_cache(hub: ServedHub, store: Store) -> None:
    sha = _commit_questions(hub, "a")
    broken = hub.loopback.commit(DATASET, {"x.jsonl": b'{"q": "a"}\n{"q": '}, "broken", kind="dataset")

    for dataset, commit, config, reason in [
        (DATASET, sha, "z", r"BuilderConfig 'z' not found. Available: \['x', 'y'\]"),
        (DATASET, broken, "x", r"dataset org/Questions.v2@.......: \S+"),
        ("org/nowhere", sha, None, "doesn't exist on the Hub"),
    ]:
        with pytest.raises(FetchError, match=reason) as caught:
            fetch_dataset(store, hub.url, None, dataset, commit, [config])
        assert "\n" not in str(caught.value)
        assert not store.dataset_dir(dataset, commit).exists()


@pytest.mark.real
def test_a_killed_download_of_a_dataset_leaves_nothing_that_counts(hub: ServedHub, store: Store) -> None:
    sha = _commit_questions(hub, "a")
    half = store.dataset_dir(DATASET, sha).with_name(f".{sha}.part") / "datasets" / "org___questions.v2" / "x" / "0.0.0"
    (half / f"{sha}.incomplete").mkdir(parents=True)

    folder = fetch_dataset(store, hub.url, None, DATASET, sha, ["x"])

    assert [path.parent.name for path in folder.rglob("dataset_info.json")] == [sha]
    assert list(folder.rglob("*.incomplete")) == []


# ------------------------------------------------------------------------------------------------------------- nltk


def test_nltk_data_that_lies_there_is_used(store: Store) -> None:
    (store.nltk_dir / "tokenizers" / "punkt_tab").mkdir(parents=True)

    assert fetch_nltk(store, ["punkt_tab"]) == store.nltk_dir


def test_nltk_data_appears_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, arguments: list[str], *rest: object) -> None:
        data = Path(arguments[2]) / "tokenizers" / "punkt_tab"
        data.mkdir(parents=True)
        (data / "words").write_text("data")

    monkeypatch.setattr(datasets, "_run_download", download)

    assert (fetch_nltk(store, ["punkt_tab"]) / "tokenizers" / "punkt_tab" / "words").read_text() == "data"


@pytest.mark.real
def test_nltk_data_that_cannot_be_downloaded_can_be_put_there_by_hand(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")

    with pytest.raises(FetchError, match=r"NLTK's punkt_tab: .+ To install it by hand, unpack punkt_tab.zip"):
        fetch_nltk(store, ["punkt_tab"])
