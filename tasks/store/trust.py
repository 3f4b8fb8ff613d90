"""Who may have written a file of the store, and how open what this process writes is.

A file that is unpickled runs whatever its writer wanted. So it is read only when nobody but this user, root and, in a
store of a group, the group's members can have put it there; and nothing is ever made that others may write to.

A store belongs to a group when its own folder may be written to by that group.
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
    """Let this process make nothing more open than 0755 and 0644, in the store of a group 0775 and 0664.

    A stricter umask of the user's stays, but for the group's own rights in its store.
    """
    set_umask(is_of_group=_gets_group(root))


def close_to_others(root: Path) -> None:
    """Take from everybody else the right to write into the folders that lead to jobs' calls, as an open umask left it.

    In one user's store the group is everybody else, too. Raises StoreError when that is somebody else's to do.
    """
    unwanted = _OTHERS if _find_group(root) is not None else _OTHERS | _GROUP
    for folder in (root, Store(root).launches, Store(root).runs):
        if not folder.is_dir() or not folder.stat().st_mode & unwanted:
            continue
        try:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~unwanted)
        except OSError:
            raise StoreError(
                f"{folder}: others may write here, and so run code as whoever uses this store. "
                f"Let its owner say: chmod {'o' if unwanted == _OTHERS else 'go'}-w {folder}"
            ) from None


def check_trust(path: Path, root: Path) -> None:
    """Raise StoreError when somebody else can have written `path`, a file of the store at `root`."""
    group = _find_group(root)
    for each in [path, *path.parents]:
        _check(each, group)
        if each == root:
            return


def _check(path: Path, group: int | None) -> None:
    """A link counts as what it leads to; but whoever made it must be trusted, too."""
    try:
        found, owners = path.stat(), {path.lstat().st_uid, path.stat().st_uid}
    except FileNotFoundError:
        return
    if found.st_mode & _OTHERS or (found.st_mode & _GROUP and found.st_gid != group):
        raise StoreError(
            f"{path}: others may write to it (mode {stat.S_IMODE(found.st_mode):o}), so it is not read. "
            f"Make sure that it is as it was, then say: chmod go-w {path}"
        )
    for uid in owners - {os.geteuid(), 0}:
        if not _is_member(uid, group):
            raise StoreError(f"{path}: belongs to {_name(uid)}, not to this user, so it is not read.")


def _find_group(root: Path) -> int | None:
    """The group that the store belongs to; None when it is one user's."""
    try:
        found = root.stat()
    except OSError:
        return None
    return found.st_gid if found.st_mode & _GROUP else None


def _gets_group(root: Path) -> bool:
    """Whether what is made in the store gets its group."""
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
