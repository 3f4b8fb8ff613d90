"""Models leave the cache when nobody needs them, and never while somebody does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightboard.tasks.cache import ModelCache
from nightboard.tasks.store import Store


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(Store(tmp_path / "store"), budget_gb=None)


def add(cache: ModelCache, fingerprint: str, age_s: float = 0, size: int = 1000) -> Path:
    folder = cache.store.model_dir(fingerprint)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(size))
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def lying(cache: ModelCache) -> set[str]:
    return {path.name for path in (cache.store.cache / "models").iterdir()}


def test_what_nobody_needs_goes(cache: ModelCache) -> None:
    for name in "abc":
        add(cache, name)
    add(cache, ".d.part")
    cache.want("b")
    assert sorted(cache.evict(lambda: ["c"])) == ["a", "d"]
    assert lying(cache) == {"b", "c"}
    cache.release("b")
    cache.evict(lambda: ["c"])
    assert lying(cache) == {"c"}


def test_no_more_goes_than_is_asked_for_the_least_recently_used_first(cache: ModelCache) -> None:
    add(cache, "old", age_s=300), add(cache, "new"), add(cache, "middle", age_s=100)
    assert cache.evict(list, enough_gb=1500 / 1e9) == ["old", "middle"]
    assert lying(cache) == {"new"}
    assert cache.used_gb() == pytest.approx(1000 / 1e9)


def test_wanting_a_model_makes_it_recent(cache: ModelCache) -> None:
    add(cache, "old", age_s=300), add(cache, "new", age_s=10)
    cache.want("old")
    cache.release("old")
    assert cache.evict(list, enough_gb=1 / 1e9) == ["new"]


def test_the_mark_of_another_flow_counts_while_that_flow_lives(cache: ModelCache) -> None:
    add(cache, "a")
    code = (
        "import sys, time; from pathlib import Path; from nightboard.tasks.cache import ModelCache\n"
        "from nightboard.tasks.store import Store\n"
        "ModelCache(Store(Path(sys.argv[1])), None).want('a'); print('marked', flush=True); time.sleep(600)"
    )
    flow = subprocess.Popen([sys.executable, "-c", code, str(cache.store.root)], stdout=subprocess.PIPE, text=True)
    assert flow.stdout
    assert flow.stdout.readline() == "marked\n"
    assert cache.evict(list) == []
    flow.kill()
    flow.wait()
    flow.stdout.close()
    assert cache.evict(list) == ["a"]
    assert not list((cache.store.cache / "wanted").glob("*/*.json"))


def test_what_is_needed_is_asked_for_while_nobody_can_mark(cache: ModelCache) -> None:
    add(cache, "a")

    def needed() -> list[str]:
        # Whoever launches first claims and then takes its mark off; asked now, one of the two is seen.
        import fcntl

        with (cache.store.cache / "lock").open("a") as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ["a"]

    assert cache.evict(needed) == []
