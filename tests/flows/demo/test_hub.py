"""The loopback Hub answers the real huggingface_hub client as the real Hub does."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from nightboard.flows.demo.loopback_hub.hub import LoopbackHub
from nightboard.flows.demo.loopback_hub.server import serve

README = b"---\nlicense: apache-2.0\nbase_model: acme/base\ntags: [tiny]\n---\n# A model\n"
CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4}).encode()
TOKENIZER = json.dumps({"eos_token": "</s>", "chat_template": "{{ messages }}", "model_max_length": 9}).encode()


def make_weights(count: int = 3) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * count)


MODEL = {
    "README.md": README,
    "config.json": CONFIG,
    "tokenizer_config.json": TOKENIZER,
    "model.safetensors": make_weights(),
}


@pytest.fixture
def hub() -> LoopbackHub:
    hub = LoopbackHub(accepted_tokens=["hf_good"])
    hub.create_repo("acme/tiny")
    hub.commit("acme/tiny", MODEL, "Add the model")
    return hub


@pytest.fixture
def endpoint(hub: LoopbackHub) -> Iterator[str]:
    with serve(hub) as url:
        yield url


@pytest.fixture
def api(endpoint: str) -> HfApi:
    return HfApi(endpoint=endpoint, token=False)


def test_listing_gives_heads_with_everything_that_was_asked_for(hub: LoopbackHub, api: HfApi) -> None:
    (model,) = api.list_models(
        author="acme",
        expand=["sha", "lastModified", "safetensors", "gated", "private", "disabled", "cardData", "config", "tags"],
    )
    assert model.id == "acme/tiny"
    assert model.sha == hub.repo("acme/tiny").head.sha
    assert model.last_modified == hub.repo("acme/tiny").head.at
    assert model.safetensors is not None and model.safetensors.parameters == {"F32": 3} and model.safetensors.total == 3
    assert (model.gated, model.private, model.disabled) == (False, False, False)
    assert model.card_data is not None and model.card_data.license == "apache-2.0"
    assert model.card_data.base_model == "acme/base"
    assert model.config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "tokenizer_config": {"chat_template": "{{ messages }}", "eos_token": "</s>"},
    }
    assert model.tags is not None and {"license:apache-2.0", "base_model:acme/base", "tiny", "llama"} <= set(model.tags)


def test_listing_leads_through_all_pages_and_obeys_a_limit(api: HfApi, hub: LoopbackHub) -> None:
    hub.page_size = 3
    for number in range(10):
        hub.create_repo(f"acme/m{number}")
    hub.requests.clear()
    assert len(list(api.list_models(author="acme", expand=["sha"]))) == 11
    assert len(hub.requests) == 4
    hub.requests.clear()
    assert [model.id for model in api.list_models(author="acme", limit=2)] == ["acme/m0", "acme/m1"]
    assert len(hub.requests) == 1


def test_listing_refuses_an_unknown_property(api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        list(api.list_models(author="acme", expand=["shaa"]))  # type: ignore[list-item]
    assert caught.value.response.status_code == 400


def test_listing_shows_only_the_author_asked_for(api: HfApi, hub: LoopbackHub) -> None:
    hub.create_repo("other/model")
    hub.create_repo("acme/data", "dataset")
    assert [model.id for model in api.list_models(author="acme")] == ["acme/tiny"]
    assert [data.id for data in api.list_datasets(author="acme")] == ["acme/data"]


def test_info_is_that_of_the_revision(api: HfApi, hub: LoopbackHub) -> None:
    old = hub.repo("acme/tiny").head.sha
    new = hub.commit("acme/tiny", {"model.safetensors": make_weights(5)}, "Grow")
    assert api.model_info("acme/tiny").sha == new
    info = api.model_info("acme/tiny", revision=old)
    assert info.sha == old and info.safetensors is not None and info.safetensors.total == 3
    assert api.model_info("acme/tiny", revision=old, files_metadata=True).siblings is not None


def test_shas_follow_from_the_content() -> None:
    def build(message: str) -> str:
        hub = LoopbackHub()
        hub.create_repo("acme/tiny")
        return hub.commit("acme/tiny", MODEL, message, at=datetime(2026, 5, 1, tzinfo=UTC))

    assert build("one") == build("one") != build("two")
    assert len(build("one")) == 40


def test_tree_gives_git_ids_and_lfs_hashes(api: HfApi, hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(bytes(10_000_001))
    hub.commit("acme/tiny", {"large.txt": tmp_path / "large.txt", "code/a/b.py": b"x"}, "More")
    rows = {row.path: row for row in api.list_repo_tree("acme/tiny", recursive=True)}
    config, weights = rows["config.json"], rows["model.safetensors"]
    assert isinstance(config, RepoFile) and isinstance(weights, RepoFile)
    assert config.blob_id == hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest() and config.lfs is None
    assert weights.lfs is not None and weights.lfs.sha256 == hashlib.sha256(make_weights()).hexdigest()
    assert weights.size == weights.lfs.size == len(make_weights()) and weights.blob_id != config.blob_id
    assert rows["large.txt"].lfs is not None  # type: ignore[union-attr]
    assert isinstance(rows["code/a"], RepoFolder) and isinstance(rows["code/a/b.py"], RepoFile)
    assert {row.path for row in api.list_repo_tree("acme/tiny")} >= {"code", "README.md"}
    assert "code/a" not in {row.path for row in api.list_repo_tree("acme/tiny")}
    assert [row.path for row in api.list_repo_tree("acme/tiny", "code")] == ["code/a"]


def test_tree_comes_in_pages_and_names_last_commits(api: HfApi, hub: LoopbackHub) -> None:
    sha = hub.commit("acme/tiny", {f"f{number}.txt": b"%d" % number for number in range(120)}, "Many\n\nfiles")
    hub.requests.clear()
    rows = {row.path: row for row in api.list_repo_tree("acme/tiny", expand=True)}
    assert len(rows) == 125 and len(hub.requests) == 3
    last, first = rows["f7.txt"].last_commit, rows["README.md"].last_commit
    assert last is not None and (last.oid, last.title) == (sha, "Many")
    assert first is not None and first.title == "Add the model"


def test_commits_refs_and_paths(api: HfApi, hub: LoopbackHub) -> None:
    old = hub.repo("acme/tiny").head.sha
    hub.tag("acme/tiny", "v1")
    hub.create_branch("acme/tiny", "step-100")
    step = hub.commit("acme/tiny", {"model.safetensors": make_weights(7)}, "Step", branch="step-100")
    refs = api.list_repo_refs("acme/tiny")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": old, "step-100": step}
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.tags] == [("v1", "refs/tags/v1", old)]
    commits = api.list_repo_commits("acme/tiny", revision="step-100")
    assert [commit.title for commit in commits] == ["Step", "Add the model", "initial commit"]
    assert api.model_info("acme/tiny", revision="refs/heads/step-100").sha == step
    infos = api.get_paths_info("acme/tiny", ["config.json", "missing"], revision=old)
    assert [info.path for info in infos] == ["config.json"]


def test_files_download_by_revision_and_are_cached_by_content(hub: LoopbackHub, endpoint: str, tmp_path: Path) -> None:
    old = hub.repo("acme/tiny").head.sha
    hub.commit("acme/tiny", {"config.json": b"{}"}, "Empty the config", delete=["README.md"])
    kwargs = {"endpoint": endpoint, "cache_dir": tmp_path, "token": False}
    path = Path(hf_hub_download("acme/tiny", "model.safetensors", revision=old, **kwargs))
    assert path.read_bytes() == make_weights() and old in path.parts
    assert path.resolve().name == hashlib.sha256(make_weights()).hexdigest()
    folder = Path(snapshot_download("acme/tiny", revision=old, **kwargs))
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name in MODEL} == MODEL
    head = Path(snapshot_download("acme/tiny", **kwargs))
    assert (head / "config.json").read_bytes() == b"{}" and not (head / "README.md").exists()


def test_file_on_disk_is_served_in_ranges(hub: LoopbackHub, endpoint: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "weights.bin").write_bytes(content)
    hub.commit("acme/tiny", {"pytorch_model.bin": tmp_path / "weights.bin"}, "Weights")
    url = f"{endpoint}/acme/tiny/resolve/main/pytorch_model.bin"
    part = httpx2.get(url, headers={"Range": "bytes=1500000-1500009"})
    assert part.status_code == 206 and part.content == content[1500000:1500010]
    assert part.headers["Content-Range"] == f"bytes 1500000-1500009/{len(content)}"
    assert httpx2.get(url, headers={"Range": "bytes=2559990-"}).content == content[-10:]
    assert httpx2.get(url, headers={"Range": "bytes=2560000-"}).status_code == 416
    head = httpx2.head(url)
    assert head.headers["Content-Length"] == head.headers["X-Linked-Size"] == str(len(content))
    assert head.headers["X-Repo-Commit"] == hub.repo("acme/tiny").head.sha


def test_what_is_missing_is_told_apart(api: HfApi, endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/tiny", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("acme/tiny", "no/folder"))
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("acme/tiny", "none.txt", endpoint=endpoint, cache_dir=tmp_path, token=False)


def test_deleted_repository_is_gone(api: HfApi, hub: LoopbackHub) -> None:
    hub.delete_repo("acme/tiny")
    assert list(api.list_models(author="acme")) == []
    with pytest.raises(RepositoryNotFoundError):
        list(api.list_repo_tree("acme/tiny"))


def test_gated_repository_shows_its_tree_but_no_file(
    hub: LoopbackHub, endpoint: str, api: HfApi, tmp_path: Path
) -> None:
    hub.set_access("acme/tiny", gated=True)
    assert api.model_info("acme/tiny").gated == "manual"
    assert "config.json" in {row.path for row in api.list_repo_tree("acme/tiny")}
    for token, status in ((False, 401), ("hf_other", 403)):
        with pytest.raises(GatedRepoError) as caught:
            hf_hub_download("acme/tiny", "config.json", endpoint=endpoint, cache_dir=tmp_path, token=token)
        assert caught.value.response.status_code == status
    path = hf_hub_download("acme/tiny", "config.json", endpoint=endpoint, cache_dir=tmp_path, token="hf_good")
    assert Path(path).read_bytes() == CONFIG


def test_private_repository_does_not_exist_for_strangers(hub: LoopbackHub, endpoint: str, api: HfApi) -> None:
    hub.set_access("acme/tiny", private=True)
    assert list(api.list_models(author="acme")) == []
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/tiny")
    friend = HfApi(endpoint=endpoint, token="hf_good")
    assert friend.model_info("acme/tiny").private is True
    assert [model.id for model in friend.list_models(author="acme")] == ["acme/tiny"]


def test_disabled_repository_is_listed_and_refused(hub: LoopbackHub, api: HfApi) -> None:
    hub.set_access("acme/tiny", disabled=True)
    (model,) = api.list_models(author="acme", expand=["disabled"])
    assert model.disabled is True
    with pytest.raises(DisabledRepoError):
        api.model_info("acme/tiny")


def test_faults_hit_the_next_requests_and_stop(hub: LoopbackHub, endpoint: str) -> None:
    hub.fail_next(2, 429, retry_after=7, path_contains="/tree/")
    assert httpx2.get(f"{endpoint}/api/models/acme/tiny").status_code == 200
    answers = [httpx2.get(f"{endpoint}/api/models/acme/tiny/tree/main") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"


def test_hub_that_went_down_answers_on_no_old_connection(hub: LoopbackHub) -> None:
    with httpx2.Client() as client:
        with serve(hub) as url:
            assert client.get(f"{url}/api/models").status_code == 200
        with pytest.raises(httpx2.HTTPError):
            client.get(f"{url}/api/models")


def test_card_that_does_not_parse_is_no_card(hub: LoopbackHub, api: HfApi) -> None:
    hub.commit("acme/tiny", {"README.md": b"---\nlicense: [\n---\n"}, "Break the card")
    assert api.model_info("acme/tiny").card_data is None
