"""What can go wrong with the Hub, as errors that say in a sentence what is wrong with what."""

from __future__ import annotations

from nightboard.tasks.errors import TaskError


class HubError(TaskError):
    """Something the Hub did not give; the message is one plain sentence without any secret."""


class HubUnavailable(HubError):
    """The Hub is down, overloaded or refuses us altogether; nothing about a single model can be concluded."""


class Unreadable(HubError):
    """The Hub's answer cannot be read: too large, too deep, of wrong types. That is a fault of what it is about."""


class RepoGone(HubError):
    """The repository does not exist, or not for us (the Hub does not tell a private one from a missing one)."""


class RevisionGone(HubError):
    """The repository exists, the commit, tag or branch does not."""


class FileGone(HubError):
    """The commit exists, the file does not."""


class GatedNoAccess(HubError):
    """The repository asks for accepted terms, and this token has not accepted them."""


class RepoDisabled(HubError):
    """The Hub has disabled the repository."""
