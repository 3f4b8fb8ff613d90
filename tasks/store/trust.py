"""Permissions of a store: which files are safe to unpickle, and the umask for new files.

Unpickling a file runs its writer's code. So a file is read only if just this user, root and, in a group's store, the
group's members can have written it; and no file is created that others can write.

A store belongs to a group if the group can write to its folder.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from nightboard.tasks.store.files import set_umask
from nightboard.tasks.store.layout import Store, StoreError

_OTHERS, _GROUP = stat.S_IWOTH, stat.S_IWGRP


def limit_umask(root: Path) -> None:
    """Set the umask so that new files are at most 0755 and 0644, in a group's store 0775 and 0664.

    A stricter umask of the user is kept, except for the group's rights in its store.
    """
    set_umask(is_of_group=_gets_group(root))


def close_to_others(root: Path) -> None:
    """Remove others' write permission from the folders above jobs' pickled calls, which an open umask may have left.

    In one user's store, the group counts as others. Raises StoreError if only the folder's owner can do this.
    """
    unwanted = _OTHERS if _find_group(root) is not None else _OTHERS | _GROUP
    for folder in (root, Store(root).launches, Store(root).runs):
        if not folder.is_dir() or not folder.stat().st_mode & unwanted:
            continue
        try:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~unwanted)
        except OSError:
            raise StoreError(
                f"{folder}: is writable by others, who could run code as a user of this store. "
                f"Ask its owner to run: chmod {'o' if unwanted == _OTHERS else 'go'}-w {folder}"
            ) from None


def check_trust(path: Path, root: Path) -> None:
    """Raise StoreError if others can have written `path`, a file of the store at `root`."""
    group = _find_group(root)
    for folder in [path, *path.parents]:
        _check(folder, group)
        if folder == root:
            return


def _check(path: Path, group: int | None) -> None:
    """Check a path; for a link, its target and the owner of the link."""
    try:
        info, owners = path.stat(), {path.lstat().st_uid, path.stat().st_uid}
    except FileNotFoundError:
        return
    if info.st_mode & _OTHERS or (info.st_mode & _GROUP and info.st_gid != group):
        raise StoreError(
            f"{path}: is writable by others (mode {stat.S_IMODE(info.st_mode):o}), so it is not read. "
            f"Check that it is unchanged, then run: chmod go-w {path}"
        )
    for uid in owners - {os.geteuid(), 0}:
        if not _is_member(uid, group):
            raise StoreError(f"{path}: belongs to {_name(uid)}, not to this user, so it is not read.")


def _find_group(root: Path) -> int | None:
    """The group that the store belongs to; None if it is one user's."""
    try:
        info = root.stat()
    except OSError:
        return None
    return info.st_gid if info.st_mode & _GROUP else None


def _gets_group(root: Path) -> bool:
    """Whether new files in the store get its group."""
    group = _find_group(root)
    return group is not None and (bool(root.stat().st_mode & stat.S_ISGID) or group == os.getegid())


def _is_member(uid: int, group: int | None) -> bool:
    if group is None:
        return False
    try:
        user = pwd.getpwuid(uid)
        return group in os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, OSError):
        return False


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
