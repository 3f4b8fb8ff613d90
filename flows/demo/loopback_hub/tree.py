"""What the Hub's API says about the files and folders of a commit.

Owns the rows of a tree and of a look at single paths. Speaks no HTTP.
"""

from __future__ import annotations

from nightboard.flows.demo.loopback_hub.payloads import Json, format_time
from nightboard.flows.demo.loopback_hub.repos import Blob, Commit, HubError


def list_tree(commit: Commit, folder: str, *, recursive: bool, expand: bool) -> list[Json]:
    """Files and folders below `folder`; EntryNotFound when there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in commit.files.items() if path.startswith(prefix)}
    if folder and not inside:
        raise HubError(404, "EntryNotFound", f"{folder} does not exist on {commit.sha}")
    paths: dict[str, Blob | None] = {}
    for path, blob in inside.items():
        parts = path.removeprefix(prefix).split("/")
        depth = len(parts) if recursive else 1
        paths |= {prefix + "/".join(parts[:end]): None for end in range(1, min(depth + 1, len(parts)))}
        if depth == len(parts):
            paths[path] = blob
    return [describe_path(commit, path, blob, expand=expand) for path, blob in sorted(paths.items())]


def describe_paths(commit: Commit, paths: list[str], *, expand: bool) -> list[Json]:
    """Files and folders by name; names that do not exist are left out."""
    found = commit.files
    known = [p for p in paths if p in found or any(name.startswith(f"{p}/") for name in found)]
    return [describe_path(commit, path, found.get(path), expand=expand) for path in known]


def describe_path(commit: Commit, path: str, blob: Blob | None, *, expand: bool) -> Json:
    """One row of a tree: a file, or a folder where there is no blob."""
    row: Json
    if blob is None:
        row = {"type": "directory", "oid": commit.sha, "size": 0, "path": path}
    else:
        row = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
        if blob.lfs_sha256:
            row["lfs"] = {"oid": blob.lfs_sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    if expand:
        last = commit.last_change(path)
        row["lastCommit"] = {"id": last.sha, "title": last.message.partition("\n")[0], "date": format_time(last.at)}
    return row
