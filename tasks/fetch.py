"""Puts what the nodes need into the store's cache, by commit: model files, data sets, nltk's data.

Owns `cache/` and `pins/` of the store. Everything appears under its final name whole and checked, by a rename; two
fetches of one thing at once do it once. Decides nothing about what is evaluated.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from nightboard.profiles.models import Benchmark, Ending, Suite
from nightboard.profiles.resolve import open_datasets
from nightboard.tasks.download import REASON_MARK, WAIT_MARK
from nightboard.tasks.hub import GatedNoAccess, Hub, HubError, HubUnavailable, RepoDisabled
from nightboard.tasks.model_folder import (
    DamagedFolder,
    HashedFile,
    HashedFiles,
    NotTheModel,
    check_folder,
    is_intact,
    protect,
    remove_folder,
    write_list,
)
from nightboard.tasks.patience import Say
from nightboard.tasks.records import Commit, DatasetPin, FetchedDataset, RecordError
from nightboard.tasks.store import Store, StoreError, claim_file, escape_id, write_bytes
from nightboard.warehouse.builds import open_lock

COMPLETE = "complete.json"
NLTK_TIMEOUT_S = 300
# Settings that would lead a download to the user's own caches or keep it from the Hub.
_FOREIGN_SETTINGS = (
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE",
    "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE",
    "HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip
# What a repository cannot bring about: nothing can be fetched before somebody looks at the store.
_STORE_ERRNOS = frozenset(
    {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOTCONN}
)


class FetchError(Exception):
    """Something could not be fetched; the message says what and why, in words."""

    @property
    def ending(self) -> Ending:
        """How an attempt ends that needs it: by the repository, or by a Hub that answers with errors."""
        return "hub_failed" if isinstance(self.__cause__, HubUnavailable) else "fetch_failed"


# ----------------------------------------------------------------------------------------------------------- models


def fetch_model(hub: Hub, store: Store, commit: Commit) -> Path:
    """The folder with exactly the files of the commit's fingerprint, downloaded and verified if it is not there yet."""
    name = f"{commit.model_id}@{commit.revision[:7]}"
    if commit.fingerprint is None:
        raise FetchError(f"{name}: there is nothing to fetch, the commit is rejected ({commit.reason}).")
    folder = store.model_dir(commit.fingerprint)
    with _explaining(name):
        if not _is_as_fetched(folder, commit):
            with _alone(folder) as part:
                if not _is_as_fetched(folder, commit):
                    files = _download_model(hub, commit, part, name)
                    if folder.exists() and not _is_as_fetched(folder, commit):
                        remove_folder(folder)
                    write_list(folder, files)
                    _put_in_place(part, folder, commit.files)
        protect(folder)
    return folder


def _is_as_fetched(folder: Path, commit: Commit) -> bool:
    """Whether the folder has all of the commit's files, and nobody has changed them since; weights by their sizes."""
    if not _has_files(folder, commit.files):
        return False
    has_code = any(path.endswith(".py") for path in commit.files)
    try:
        check_folder(folder, str(commit.fingerprint), has_allowed_code=has_code)
    except DamagedFolder:
        return False
    except NotTheModel:
        pass  # as it was hashed, and the node says why it cannot be loaded
    return True


def _download_model(hub: Hub, commit: Commit, part: Path, name: str) -> dict[str, HashedFile]:
    """Download and verify a commit's files; returns what they are."""
    tree = {file.path: file for file in hub.tree(commit.model_id, commit.revision)}
    if any(path not in tree for path in commit.files):
        raise FetchError(f"{name}: the Hub no longer shows all of its files.")
    expected = {path: HashedFile(content_id=tree[path].content_id, size=tree[path].size) for path in commit.files}
    if HashedFiles(files=expected).fingerprint != commit.fingerprint:
        raise FetchError(f"{name}: the Hub shows other files than when the commit was discovered.")
    sizes = {path: file.size for path, file in expected.items()}
    hub.download_files(commit.model_id, commit.revision, sizes, part)
    for path, file in expected.items():
        if not is_intact(part / path, file):
            shutil.rmtree(part)
            raise FetchError(f"{name}: {path} arrived damaged (its hash is not the one that the Hub names).")
    # What the client notes for itself.
    shutil.rmtree(part / ".cache", ignore_errors=True)
    return expected


# --------------------------------------------------------------------------------------------------------- data sets


def pin_datasets(hub: Hub, store: Store | None, suites: Iterable[Suite], *, dry_run: bool = False) -> dict[str, str]:
    """Commits, by id, of the data sets that suites leave open: the pinned one, else the head, which is pinned now.

    The first to pin wins; everybody uses what is on disk. With `dry_run`, or without a store, nothing is written.
    Raises HubUnavailable when the Hub is down, FetchError when it does not give a data set.
    """
    pins: dict[str, str] = {}
    for dataset_id in dict.fromkeys(each for suite in suites for each in open_datasets(suite)):
        path = store.pins / f"{escape_id(dataset_id)}.json" if store else None
        with _explaining(f"data set {dataset_id}", passing=HubUnavailable):
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
    """Raise FetchError for a benchmark whose data set is not in the cache and gated to us; nothing is fetched."""
    dataset, configs = benchmark.dataset, {task.config for task in benchmark.tasks.values()}
    folder = store.dataset_dir(dataset.id, dataset.sha or pins[dataset.id])
    with _explaining(f"data set {dataset.id}", passing=HubUnavailable):
        if configs <= set(_complete_configs(folder)):
            return
        try:
            hub.check_dataset(dataset.id)
        except GatedNoAccess as error:
            raise FetchError(f"{error} Accept its terms on its page with the account of HF_TOKEN.") from error
        except HubUnavailable as error:
            hub.raise_if_down(error)
        except RepoDisabled:
            raise
        except HubError:
            pass  # a mirror may not know the question; whether it gives the files is seen when they are fetched


def fetch_dataset(
    store: Store,
    endpoint: str,
    token: str | None,
    dataset_id: str,
    sha: str,
    configs: Sequence[str | None],
    say: Say | None = None,
) -> Path:
    """A folder to use as HF_DATASETS_CACHE in which `load_dataset(id, config)` gives this commit offline.

    `configs` are added to those that are complete already. `say` is called when a long wait for the Hub begins.
    """
    name = f"data set {dataset_id}@{sha[:7]}"
    folder = store.dataset_dir(dataset_id, sha)
    with _explaining(name):
        if set(configs) <= set(_complete_configs(folder)):
            return folder
        with _alone(folder) as part:
            there = _complete_configs(folder)
            missing = [config for config in dict.fromkeys(configs) if config not in there]
            if missing:
                built = part / "datasets"
                # The client's own cache beside it stays, so that what a killed download has fetched is not lost.
                shutil.rmtree(built, ignore_errors=True)
                arguments = ["dataset", dataset_id, sha, str(built), json.dumps(missing)]
                _run_download(name, arguments, _environment(endpoint, token, part), say=say)
                _take_over(built, folder, sha, name)
                done = FetchedDataset(dataset_id=dataset_id, sha=sha, configs=(*there, *missing))
                write_bytes(folder / COMPLETE, done.to_bytes())
                shutil.rmtree(part)
    return folder


def _complete_configs(folder: Path) -> tuple[str | None, ...]:
    """The configurations that the marker names, but for those that somebody has removed since."""
    marker = folder / COMPLETE
    named = FetchedDataset.read(marker).configs if marker.exists() else ()
    patterns = {config: "*" if config is None else glob.escape(config) for config in named}
    return tuple(c for c in named if any(folder.glob(f"*/{patterns[c]}/*/{folder.name}/dataset_info.json")))


def _take_over(built: Path, folder: Path, sha: str, name: str) -> None:
    """Move each built configuration into the cache, whole. Offline, `datasets` takes any folder for a complete one."""
    found = [path.parent for path in built.glob(f"*/*/*/{sha}/dataset_info.json")]
    if not found:
        raise FetchError(f"{name}: `datasets` has built no cache of this commit.")
    for version in found:
        config = version.parents[1]
        target = folder / config.relative_to(built)
        target.parent.mkdir(parents=True, exist_ok=True)
        _put_in_place(config, target, [str(version.relative_to(config) / "dataset_info.json")])


def _environment(endpoint: str, token: str | None, part: Path) -> dict[str, str]:
    """The surroundings of a download: its own caches, our Hub. The token travels here alone, never as an argument."""
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
    kept = {key: value for key, value in os.environ.items() if key not in _FOREIGN_SETTINGS}
    return kept | own | ({"HF_TOKEN": token} if token else {})


# -------------------------------------------------------------------------------------------------------------- nltk


def fetch_nltk(store: Store, resources: Iterable[str]) -> Path:
    """The folder with nltk's data, such as punkt_tab, downloaded where it is not there yet."""
    for resource in resources:
        if not _has_nltk(store.nltk_dir, resource):
            with _explaining(f"nltk's {resource}"), _alone(store.nltk_dir / resource) as part:
                _fetch_nltk(store.nltk_dir, resource, part)
    return store.nltk_dir


def _fetch_nltk(folder: Path, resource: str, part: Path) -> None:
    if _has_nltk(folder, resource):
        return
    try:
        _run_download(f"nltk's {resource}", ["nltk", resource, str(part)], dict(os.environ), NLTK_TIMEOUT_S)
    except FetchError as error:
        by_hand = f"unpack {resource}.zip of nltk_data so that {folder}/tokenizers/{resource}/ exists"
        raise FetchError(f"{error} To put it there by hand, {by_hand}.") from None
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
    """Run `download.py` in a process of its own; FetchError with its reason when it fails."""
    command = [sys.executable, "-P", "-m", "nightboard.tasks.download", *arguments]
    returncode, last = _run(command, environment, timeout_s, say)
    if returncode is None:
        raise FetchError(f"{name}: nothing came within {timeout_s:.0f} s.")
    if returncode:
        reason = last.removeprefix(REASON_MARK) if last else f"the download ended with {returncode}"
        token = environment.get("HF_TOKEN")
        raise FetchError(f"{name}: {reason.replace(token, '***') if token else reason}")


def _run(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None, say: Say | None
) -> tuple[int | None, str]:
    """How a program ended (None: it ran too long) and its last line; what it says of waits is passed on at once."""
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


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to build it in, held by one process at a time; what a killed one left there is found."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    with open_lock(folder.with_name(f".{folder.name}.lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            # A file system without locks: each builds apart, and the rename still lets one win.
            part = folder.with_name(f"{part.name}.{uuid4().hex}")
        part.mkdir(exist_ok=True)
        yield part
        with contextlib.suppress(OSError):
            part.rmdir()


def _has_files(folder: Path, files: Iterable[str]) -> bool:
    return all((folder / path).is_file() for path in files)


def _put_in_place(part: Path, folder: Path, files: Iterable[str]) -> None:
    """Rename the finished folder. One that somebody else has finished meanwhile stays; one that lacks files goes."""
    if folder.exists() and not _has_files(folder, files):
        remove_folder(folder)
    try:
        os.rename(part, folder)
    except OSError:
        if not _has_files(folder, files):
            raise
        shutil.rmtree(part)


@contextlib.contextmanager
def _explaining(name: str, passing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn what goes wrong into a FetchError, but for the errors `passing`."""
    try:
        yield
    except passing:
        raise
    except HubError as error:
        raise FetchError(str(error)) from error
    except RecordError as error:
        raise FetchError(f"{error} Remove the file and fetch again.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # No fault of this model's: nothing can be fetched before somebody makes room.
            raise StoreError(
                f"{name}: no space left on the disk of the store. Free some space; nothing is lost."
            ) from error
        if error.errno in _STORE_ERRNOS:
            raise StoreError(
                f"{error.filename or name}: the store's cache cannot be written ({error.strerror}). Check its disk and"
                " its permissions."
            ) from error
        raise FetchError(f"{name}: {error.strerror or error} ({error.filename or 'while writing'}).") from error
