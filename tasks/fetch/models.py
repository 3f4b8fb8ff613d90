"""Puts what the nodes need into the store's cache, by commit: model files, data sets, nltk's data.

Owns `cache/` and `pins/` of the store. Everything appears under its final name whole and checked, by a rename; two
fetches of one thing at once do it once. Decides nothing about what is evaluated.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from nightboard.tasks.fetch.publish import FetchError, build_alone, explaining, has_files, put_in_place
from nightboard.tasks.hub.client import Hub
from nightboard.tasks.hub.model_folder import (
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
from nightboard.tasks.store.layout import Store
from nightboard.tasks.store.records import Commit

# ----------------------------------------------------------------------------------------------------------- models


def fetch_model(hub: Hub, store: Store, commit: Commit) -> Path:
    """The folder with exactly the files of the commit's fingerprint, downloaded and verified if it is not there yet."""
    name = f"{commit.model_id}@{commit.revision[:7]}"
    if commit.fingerprint is None:
        raise FetchError(f"{name}: there is nothing to fetch, the commit is rejected ({commit.reason}).")
    folder = store.model_dir(commit.fingerprint)
    with explaining(name):
        if not _is_as_fetched(folder, commit):
            with build_alone(folder) as part:
                if not _is_as_fetched(folder, commit):
                    files = _download_model(hub, commit, part, name)
                    if folder.exists() and not _is_as_fetched(folder, commit):
                        remove_folder(folder)
                    write_list(folder, files)
                    put_in_place(part, folder, commit.files)
        protect(folder)
    return folder


def _is_as_fetched(folder: Path, commit: Commit) -> bool:
    """Whether the folder has all of the commit's files, and nobody has changed them since; weights by their sizes."""
    if not has_files(folder, commit.files):
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
