"""A model's folder in the cache is what was hashed: nothing more, less or else, and nobody writes into it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from served_hub import ServedHub, make_model, make_safetensors

from nightboard.tasks.fetch.model_cache import ModelCache
from nightboard.tasks.fetch.models import fetch_model
from nightboard.tasks.hub.model_folder import NotTheModel, check_folder, list_file
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def fetch(hub: ServedHub, store: Store, model_id: str = "org/m", fill: int = 1) -> Path:
    hub.add(model_id, make_model(fill=fill) | {"additional_chat_templates/t.jinja": b"{{ m }}"})
    [commit] = hub.discover(models=[model_id]).commits
    return fetch_model(hub.client(), store, commit)


def unlock(folder: Path) -> None:
    for where, _, names in os.walk(folder):
        for path in (Path(where), *(Path(where, name) for name in names)):
            path.chmod(0o755)


def complaint(folder: Path) -> str:
    with pytest.raises(NotTheModel) as caught:
        check_folder(folder, folder.name)
    return str(caught.value)


def test_a_fetched_folder_is_read_only_and_holds_what_is_hashed(hub: ServedHub, store: Store) -> None:
    folder = fetch(hub, store)

    assert check_folder(folder, folder.name).weights == ("model.safetensors",)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert {mode & 0o222 for mode in modes.values()} == {0}


def test_a_folder_that_a_group_may_write_into_stays_removable_for_its_members(hub: ServedHub, store: Store) -> None:
    before = os.umask(0o002)
    try:
        folder = fetch(hub, store)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & stat.S_IWGRP
    assert not (folder / "config.json").stat().st_mode & 0o222


def test_each_change_to_a_folder_is_noticed(hub: ServedHub, store: Store) -> None:
    victim = fetch(hub, store, "org/victim", fill=2)
    folder = fetch(hub, store)
    unlock(folder)
    changes = {
        "it contains more.txt, which is not one": lambda: (folder / "more.txt").write_text("x"),
        "it contains sub/model.safetensors": lambda: (folder / "sub" / "model.safetensors").write_text("x"),
        "it lacks tokenizer_config.json": lambda: (folder / "tokenizer_config.json").unlink(),
        "generation_config.json differs from": lambda: (folder / "generation_config.json").write_text("[]"),
        "model.safetensors differs from": lambda: (folder / "model.safetensors").write_bytes(make_safetensors(7)),
        "special_tokens_map.json differs from": lambda: (folder / "special_tokens_map.json").write_text("{}"),
        "model.safetensors is a link": lambda: link(folder, victim),
    }
    (folder / "sub").mkdir()
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for words, change in changes.items():
        change()
        assert words in complaint(folder)
        for path in [path for path in folder.rglob("*") if not path.is_dir()]:
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
    check_folder(folder, folder.name)


def test_a_folder_that_somebody_changed_is_fetched_again(hub: ServedHub, store: Store) -> None:
    folder = fetch(hub, store)
    unlock(folder)
    (folder / "config.json").write_text("{}")
    (commit,) = hub.discover(models=["org/m"]).commits
    assert fetch_model(hub.client(), store, commit) == folder
    check_folder(folder, folder.name)


def link(folder: Path, victim: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(victim / "model.safetensors")


def test_another_models_list_does_not_vouch_for_a_folder(hub: ServedHub, store: Store) -> None:
    victim, folder = fetch(hub, store, "org/victim", fill=2), fetch(hub, store)
    list_file(folder).write_bytes(list_file(victim).read_bytes())
    assert "belongs to another model" in complaint(folder)


def test_a_folder_from_before_there_were_lists_is_used_and_protected(hub: ServedHub, store: Store) -> None:
    folder = fetch(hub, store)
    unlock(folder)
    list_file(folder).unlink()
    commit = hub.discover(models=["org/m"]).commits[0]
    hub.loopback.requests.clear()

    assert fetch_model(hub.client(), store, commit) == folder
    assert hub.loopback.requests == []
    assert not folder.stat().st_mode & 0o222
    check_folder(folder, folder.name)


@pytest.mark.parametrize("where", ["../victim/model.safetensors", "/store/victim/model.safetensors"])
def test_a_folder_that_leads_elsewhere_is_refused_even_if_it_came_into_the_cache(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "attack"
    folder.mkdir()
    index = json.dumps({"metadata": {}, "weight_map": {"w": where}})
    files = {**make_model(transformers_weights="tokenizer.safetensors.index.json")}
    del files["README.md"]
    for name, content in (files | {"tokenizer.safetensors.index.json": index.encode()}).items():
        (folder / name).write_bytes(content)
    assert complaint(folder).startswith("config.json: transformers_weights refers to something outside the model")

    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")
    (folder / "model.safetensors.index.json").write_text(index)
    assert complaint(folder).endswith(f"lists {where}, which is not in the repository")


def test_a_protected_folder_can_be_removed_and_fetched_again(hub: ServedHub, store: Store) -> None:
    folder = fetch(hub, store)
    commit: Commit = hub.discover(models=["org/m"]).commits[0]

    assert ModelCache(store).tidy() == [folder.name]
    assert sorted(path.name for path in folder.parent.iterdir()) == []
    fetch_model(hub.client(), store, commit)
    check_folder(folder, folder.name)
