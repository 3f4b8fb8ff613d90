"""The errors of the Hub: unavailable, gone, gated, disabled, unreadable."""

from __future__ import annotations

from nightboard.tasks.errors import TaskError


class HubError(TaskError):
    """A request to the Hub failed; the message is one plain sentence without any secret."""


class HubUnavailable(HubError):
    """The Hub is down, overloaded or rejects all requests; this says nothing about a single model."""


class Unreadable(HubError):
    """The Hub's answer cannot be read: too large, too deep, wrong types. The repository is at fault."""


class RepoGone(HubError):
    """The repository does not exist or is private (the Hub does not distinguish these)."""


class RevisionGone(HubError):
    """The repository exists, but not the commit, tag or branch."""


class FileGone(HubError):
    """The commit exists, but not the file."""


class GatedNoAccess(HubError):
    """The repository is gated, and the token's account has not accepted its terms."""


class RepoDisabled(HubError):
    """The Hub has disabled the repository."""
