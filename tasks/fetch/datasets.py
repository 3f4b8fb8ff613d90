"""Downloads datasets and NLTK data into the store's cache, by commit, and pins datasets to commits.

Downloads run in a separate process (download_process.py).
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nightboard.profiles.models.suite import Benchmark, Suite
from nightboard.profiles.suite_version import open_datasets
from nightboard.tasks.fetch.download_process import REASON_MARK, WAIT_MARK
from nightboard.tasks.fetch.publish import FetchError, build_alone, explaining, put_in_place
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.errors import GatedNoAccess, HubError, HubUnavailable, RepoDisabled
from nightboard.tasks.hub.http_retry import Say
from nightboard.tasks.store.files import claim_file, write_bytes
from nightboard.tasks.store.layout import COMPLETE_FILE, Store
from nightboard.tasks.store.records import DatasetPin, FetchedDataset

NLTK_TIMEOUT_S = 300
# Environment variables that would direct a download to the user's own caches, or away from the Hub.
_FOREIGN_SETTINGS = (
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE",
    "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE",
    "HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------- datasets


def pin_datasets(hub: Hub, store: Store | None, suites: Iterable[Suite], *, dry_run: bool = False) -> dict[str, str]:
    """Commits, by id, of the datasets that suites do not pin: the store's pin, otherwise the head, which is pinned now.

    The first process to pin wins; all use the pin on disk. With `dry_run`, or without a store, nothing is written.
    Raises HubUnavailable if the Hub is down, FetchError if a dataset cannot be read.
    """
    pins: dict[str, str] = {}
    for dataset_id in dict.fromkeys(name for suite in suites for name in open_datasets(suite)):
        path = store.pin_file(dataset_id) if store else None
        with explaining(f"dataset {dataset_id}", passing=HubUnavailable):
            pins[dataset_id] = _read_pin(path) or _pin(hub, path, dataset_id, dry_run=dry_run)
    return pins


def _read_pin(path: Path | None) -> str | None:
    return DatasetPin.read(path).sha if path and path.exists() else None


def _pin(hub: Hub, path: Path | None, dataset_id: str, *, dry_run: bool) -> str:
    try:
        sha = hub.dataset_sha(dataset_id)
    except HubUnavailable as error:
        hub.raise_if_down(error)
        raise FetchError(str(error)) from error
    if path is None or dry_run or claim_file(path, DatasetPin(dataset_id=dataset_id, sha=sha).to_bytes()):
        return sha
    return DatasetPin.read(path).sha


def check_access(hub: Hub, store: Store, benchmark: Benchmark, pins: Mapping[str, str]) -> None:
    """Raise FetchError for a benchmark whose dataset is not in the cache and not accessible; downloads nothing."""
    dataset, configs = benchmark.dataset, {task.config for task in benchmark.tasks.values()}
    folder = store.dataset_dir(dataset.id, dataset.sha or pins[dataset.id])
    with explaining(f"dataset {dataset.id}", passing=HubUnavailable):
        if configs <= set(_complete_configs(folder)):
            return
        try:
            hub.check_dataset(dataset.id)
        except GatedNoAccess as error:
            raise FetchError(f"{error} Accept the terms on its page with the account of HF_TOKEN.") from error
        except HubUnavailable as error:
            hub.raise_if_down(error)
        except RepoDisabled:
            raise
        except HubError:
            pass  # a mirror may not support this request; the download will show whether it has the files


def fetch_dataset(
    store: Store,
    endpoint: str,
    token: str | None,
    dataset_id: str,
    sha: str,
    configs: Sequence[str | None],
    say: Say | None = None,
) -> Path:
    """A folder to use as HF_DATASETS_CACHE, in which `load_dataset(id, config)` gives this commit offline.

    `configs` are added to the complete ones. `say` is called when a long wait for the Hub starts.
    """
    name = f"dataset {dataset_id}@{sha[:7]}"
    folder = store.dataset_dir(dataset_id, sha)
    with explaining(name):
        if set(configs) <= set(_complete_configs(folder)):
            return folder
        with build_alone(folder) as part:
            there = _complete_configs(folder)
            missing = [config for config in dict.fromkeys(configs) if config not in there]
            if missing:
                built = part / "datasets"
                # The client's own cache next to it is kept, so that a killed download can be resumed.
                shutil.rmtree(built, ignore_errors=True)
                arguments = ["dataset", dataset_id, sha, str(built), json.dumps(missing)]
                _run_download(name, arguments, _environment(endpoint, token, part), say=say)
                _take_over(built, folder, sha, name)
                marker = FetchedDataset(dataset_id=dataset_id, sha=sha, configs=(*there, *missing))
                write_bytes(folder / COMPLETE_FILE, marker.to_bytes())
                shutil.rmtree(part)
    return folder


def _complete_configs(folder: Path) -> tuple[str | None, ...]:
    """The configurations that the marker lists, without those that were removed since."""
    marker = folder / COMPLETE_FILE
    named = FetchedDataset.read(marker).configs if marker.exists() else ()
    patterns = {config: "*" if config is None else glob.escape(config) for config in named}
    return tuple(c for c in named if any(folder.glob(f"*/{patterns[c]}/*/{folder.name}/dataset_info.json")))


def _take_over(built: Path, folder: Path, sha: str, name: str) -> None:
    """Move each built configuration into the cache atomically: offline, `datasets` treats any folder as complete."""
    versions = [path.parent for path in built.glob(f"*/*/*/{sha}/dataset_info.json")]
    if not versions:
        raise FetchError(f"{name}: `datasets` built no cache of this commit.")
    for version in versions:
        config = version.parents[1]
        target = folder / config.relative_to(built)
        target.parent.mkdir(parents=True, exist_ok=True)
        put_in_place(config, target, [str(version.relative_to(config) / "dataset_info.json")])


def _environment(endpoint: str, token: str | None, part: Path) -> dict[str, str]:
    """The environment of a download: its own caches, our Hub. The token is passed only here, never as an argument."""
    own = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(part / "home"),
        "HF_DATASETS_CACHE": str(part / "datasets"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }
    inherited = {key: value for key, value in os.environ.items() if key not in _FOREIGN_SETTINGS}
    return inherited | own | ({"HF_TOKEN": token} if token else {})


# -------------------------------------------------------------------------------------------------------------- nltk


def fetch_nltk(store: Store, resources: Iterable[str]) -> Path:
    """The folder with NLTK data such as punkt_tab, downloaded if it is missing."""
    for resource in resources:
        if not _has_nltk(store.nltk_dir, resource):
            with explaining(f"NLTK's {resource}"), build_alone(store.nltk_dir / resource) as part:
                _fetch_nltk(store.nltk_dir, resource, part)
    return store.nltk_dir


def _fetch_nltk(folder: Path, resource: str, part: Path) -> None:
    if _has_nltk(folder, resource):
        return
    try:
        _run_download(f"NLTK's {resource}", ["nltk", resource, str(part)], dict(os.environ), NLTK_TIMEOUT_S)
    except FetchError as error:
        by_hand = f"unpack {resource}.zip of nltk_data so that {folder}/tokenizers/{resource}/ exists"
        raise FetchError(f"{error} To install it by hand, {by_hand}.") from None
    for path in part.glob(f"*/{resource}"):
        target = folder / path.relative_to(part)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, target)
    shutil.rmtree(part)


def _has_nltk(folder: Path, resource: str) -> bool:
    return any(folder.glob(f"[!.]*/{resource}"))


# ------------------------------------------------------------------------------------------------------------ common


def _run_download(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float | None = None,
    say: Say | None = None,
) -> None:
    """Run download_process.py in a separate process. Raises FetchError with its reason if it fails."""
    command = [sys.executable, "-P", "-m", "nightboard.tasks.fetch.download_process", *arguments]
    returncode, last = _run(command, environment, timeout_s, say)
    if returncode is None:
        raise FetchError(f"{name}: no data arrived within {timeout_s:.0f} s.")
    if returncode:
        reason = last.removeprefix(REASON_MARK) if last else f"the download ended with exit code {returncode}"
        token = environment.get("HF_TOKEN")
        raise FetchError(f"{name}: {reason.replace(token, '***') if token else reason}")


def _run(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None, say: Say | None
) -> tuple[int | None, str]:
    """The exit code of a program (None: it ran too long) and its last line; announced waits are passed on at once."""
    is_late = threading.Event()
    lines: deque[str] = deque(maxlen=1)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd="/"
    ) as process:

        def stop() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(timeout_s or threading.TIMEOUT_MAX, stop)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout or ():
                if say and line.startswith(WAIT_MARK):
                    say(line.removeprefix(WAIT_MARK).strip())
                elif line.strip():
                    lines.append(line.strip())
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    return None if is_late.is_set() else process.returncode, "".join(lines)
