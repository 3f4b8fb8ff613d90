"""Downloads the files of a model's commit into the store's cache and verifies them.

A model appears under its final name complete and checked, by a rename; concurrent downloads of a model run once.
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
    """The folder with exactly the files of the commit's fingerprint, downloaded and verified if it is missing."""
    name = f"{commit.model_id}@{commit.revision[:7]}"
    if commit.fingerprint is None:
        raise FetchError(f"{name}: nothing to download, because the commit is rejected ({commit.reason}).")
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
    """Whether the folder has all of the commit's files unchanged; weights are compared by size."""
    if not has_files(folder, commit.files):
        return False
    has_code = any(path.endswith(".py") for path in commit.files)
    try:
        check_folder(folder, str(commit.fingerprint), has_allowed_code=has_code)
    except DamagedFolder:
        return False
    except NotTheModel:
        pass  # it is as hashed; the node reports why it cannot be loaded
    return True


def _download_model(hub: Hub, commit: Commit, part: Path, name: str) -> dict[str, HashedFile]:
    """Download and verify a commit's files; returns their list."""
    tree = {file.path: file for file in hub.tree(commit.model_id, commit.revision)}
    if any(path not in tree for path in commit.files):
        raise FetchError(f"{name}: the Hub no longer lists all of its files.")
    expected = {path: HashedFile(content_id=tree[path].content_id, size=tree[path].size) for path in commit.files}
    if HashedFiles(files=expected).fingerprint != commit.fingerprint:
        raise FetchError(f"{name}: the Hub lists other files than when the commit was discovered.")
    sizes = {path: file.size for path, file in expected.items()}
    hub.download_files(commit.model_id, commit.revision, sizes, part)
    for path, file in expected.items():
        if not is_intact(part / path, file):
            shutil.rmtree(part)
            raise FetchError(f"{name}: {path} is damaged (its hash differs from the Hub's).")
    # The client's own metadata.
    shutil.rmtree(part / ".cache", ignore_errors=True)
    return expected
