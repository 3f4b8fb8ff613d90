"""Models leave the cache when nobody needs them, never while somebody does; together they keep to a budget."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import NOW
from fake_cluster import FakeExecutor, finish, make_job, make_launcher

from nightboard.tasks.cluster.processes import current_process
from nightboard.tasks.fetch import model_cache as module
from nightboard.tasks.fetch.model_cache import ModelCache, Wanted
from nightboard.tasks.runs.reconcile import reconcile
from nightboard.tasks.store.layout import Store

KB = 1e-6
"""In GB."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def cache(store: Store) -> ModelCache:
    return ModelCache(store)


def add(store: Store, fingerprint: str, age_s: float = 0, size: int = 1000) -> Path:
    folder = store.model_dir(fingerprint)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(size))
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def lying(store: Store) -> set[str]:
    return {path.name for path in (store.cache / "models").iterdir() if path.is_dir()}


@pytest.fixture
def other_flow(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that has marked the model `marked`."""
    code = (
        "import sys, time; from pathlib import Path; from nightboard.tasks.fetch.model_cache import ModelCache\n"
        "from nightboard.tasks.store.layout import Store\n"
        "ModelCache(Store(Path(sys.argv[1]))).reserve({'marked': 2e-6}); print('ready', flush=True); time.sleep(600)"
    )
    flow = subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE, text=True)
    assert flow.stdout
    assert flow.stdout.readline() == "ready\n"
    yield flow
    flow.kill()
    flow.wait()
    flow.stdout.close()


def test_what_nobody_needs_goes(store: Store, cache: ModelCache) -> None:
    for name in ("a", "reserved", "later", ".b.part", ".later.part"):
        add(store, name)
    cache.reserve({"reserved": KB})
    assert sorted(cache.tidy(later=["later"])) == ["a", "b"]
    assert lying(store) == {"reserved", "later", ".later.part"}
    cache.keep_only(())
    cache.tidy()
    assert lying(store) == set()
    assert not list((store.cache / "wanted").iterdir()), "nothing is left behind"


def test_an_attempt_under_way_keeps_its_model_whoever_launched_it(store: Store, cache: ModelCache) -> None:
    add(store, "a")
    add(store, "b")
    executor = FakeExecutor()
    make_launcher(store, executor).launch([make_job("a")], NOW)
    assert cache.tidy() == ["b"]
    finish(store, "a", "failed")
    reconcile(store, executor, NOW)
    assert cache.tidy() == ["a"]


def test_models_are_kept_where_the_profile_says_so_but_not_what_is_half_fetched(store: Store) -> None:
    add(store, "a")
    add(store, ".b.part")
    ModelCache(store, keep_models=True).tidy()
    assert lying(store) == {"a"}


def test_a_reservation_that_does_not_fit_reserves_nothing(store: Store) -> None:
    cache = ModelCache(store, budget_gb=3 * KB)
    assert cache.reserve({"a": 2 * KB})
    assert not cache.reserve({"b": KB, "c": KB}), "what is being fetched counts with all that it will take"
    assert cache.reserve({"b": KB})
    cache.keep_only(["b"])
    assert cache.reserve({"c": 2 * KB})


def test_room_is_made_by_what_nobody_needs_the_least_recently_used_first(store: Store) -> None:
    for age_s, name in enumerate(["new", "middle", "old", "oldest-but-later"]):
        add(store, name, age_s=100 * age_s)
    cache = ModelCache(store, budget_gb=4 * KB, keep_models=True)
    assert cache.reserve({"x": 2 * KB}, later=["oldest-but-later"])
    assert lying(store) == {"new", "oldest-but-later"}
    assert cache.reserve({"y": 2 * KB}, later=["oldest-but-later"]), "it is fetched again when its turn comes"
    assert lying(store) == set()


def test_nothing_is_removed_for_a_reservation_that_fails_all_the_same(store: Store) -> None:
    add(store, "a")
    cache = ModelCache(store, budget_gb=3 * KB, keep_models=True)
    assert cache.reserve({"x": 2 * KB})
    assert not cache.reserve({"y": 2 * KB})
    assert lying(store) == {"a"}


def test_the_part_of_a_dead_fetch_takes_room_until_it_is_removed(store: Store) -> None:
    add(store, ".dead.part", size=3000)
    cache = ModelCache(store, budget_gb=4 * KB)
    assert cache.reserve({"a": 2 * KB})
    assert lying(store) == set()


def test_reserving_a_model_makes_it_recent(store: Store) -> None:
    add(store, "old", age_s=300)
    add(store, "new", age_s=10)
    cache = ModelCache(store, budget_gb=2 * KB, keep_models=True)
    cache.reserve({"old": KB})
    cache.keep_only(())
    assert cache.reserve({"x": KB})
    assert lying(store) == {"old"}


def test_the_marks_of_another_flow_count_while_it_lives(store: Store, other_flow: subprocess.Popen[str]) -> None:
    cache = ModelCache(store, budget_gb=3 * KB)
    assert not cache.reserve({"b": 2 * KB}), "the other flow is fetching 2 KB"
    add(store, "marked")
    assert cache.tidy() == []
    other_flow.kill()
    other_flow.wait()
    assert cache.tidy() == ["marked"]
    assert not list((store.cache / "wanted").iterdir())
    assert cache.reserve({"b": 2 * KB})


def test_a_flow_on_another_host_lives_while_it_touches_its_marks(
    store: Store, cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "a")
    mark = store.cache / "wanted/elsewhere.json"
    mark.parent.mkdir()
    elsewhere = current_process().model_copy(update={"host": "elsewhere"})
    mark.write_bytes(Wanted(process=elsewhere, sizes_gb={"a": KB}).to_bytes())
    assert cache.tidy() == []
    os.utime(mark, (time.time() - module.MARK_LIMIT_S - 60,) * 2)
    assert cache.tidy() == ["a"]


def test_a_flow_touches_its_marks_and_writes_them_again_when_somebody_has_removed_them(
    store: Store, cache: ModelCache
) -> None:
    cache.reserve({"a": KB})
    (mark,) = (store.cache / "wanted").iterdir()
    os.utime(mark, (0, 0))
    cache.touch()
    assert mark.stat().st_mtime > 1e9
    mark.unlink()
    cache.touch()
    assert Wanted.read(mark).sizes_gb == {"a": KB}


def test_marks_are_read_before_attempts(store: Store, cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever launches claims its attempt, then takes its mark off: read in this order, one of them is seen."""
    add(store, "a")
    other = ModelCache(store)
    other.reserve({"a": KB})
    seen: list[bool] = []

    def list_open(_store: Store) -> set[str]:
        seen.append(bool(list((store.cache / "wanted").iterdir())))
        other._marked = {}
        next((store.cache / "wanted").iterdir()).unlink()
        return set()

    monkeypatch.setattr(module, "list_open_models", list_open)
    cache.tidy()
    assert seen == [True]
    assert lying(store) == {"a"}


def test_a_flow_cannot_mark_while_another_removes(
    store: Store, cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    add(store, "a")

    def list_open(_store: Store) -> set[str]:
        with (store.cache / "lock").open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return {"a"}

    monkeypatch.setattr(module, "list_open_models", list_open)
    assert cache.tidy() == []
    assert lying(store) == {"a"}


def test_what_a_killed_flow_was_deleting_is_deleted(store: Store, cache: ModelCache) -> None:
    add(store, ".gone.a.123")
    cache.tidy()
    assert lying(store) == set()
